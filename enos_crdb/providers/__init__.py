"""What gives hosts. A provider is picked from `PROVIDERS` by the name in the deployment file."""

from __future__ import annotations

from collections.abc import Callable

from enos_crdb.providers.contract import (
    EmulatingProvider,
    LayeringProvider,
    LeasedProvider,
    Provider,
    Request,
    plan_hosts,
)

__all__ = [
    "PROVIDERS",
    "EmulatingProvider",
    "LayeringProvider",
    "LeasedProvider",
    "Provider",
    "Request",
    "plan_hosts",
    "provide",
]


def provide(request: Request) -> Provider:
    """The provider that the configuration names."""
    return PROVIDERS[request.configuration.provider](request)


def _nspawn(request: Request) -> Provider:
    from enos_crdb.providers.nspawn.local import LocalHosts  # EnOSlib takes half a second to import

    return LocalHosts(request)


def _g5k(request: Request) -> Provider:
    from enos_crdb.providers.g5k import Grid5000

    return Grid5000(request)


def _vagrant(request: Request) -> Provider:
    from enos_crdb.providers.vagrant import VagrantHosts

    return VagrantHosts(request)


def _static(request: Request) -> Provider:
    from enos_crdb.providers.static import StaticHosts

    return StaticHosts(request)


PROVIDERS: dict[str, Callable[[Request], Provider]] = {
    "nspawn": _nspawn,
    "g5k": _g5k,
    "vagrant": _vagrant,
    "static": _static,
}
