"""What gives hosts. A provider is picked from `PROVIDERS` by the name in the experiment file."""

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


PROVIDERS: dict[str, Callable[[Request], Provider]] = {"nspawn": _nspawn}
