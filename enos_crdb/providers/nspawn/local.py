"""`Nspawn`, an EnOSlib provider, as the engine's `Provider`."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from enos_crdb.config.emulation import Link
from enos_crdb.model import Host, Resources
from enos_crdb.providers.contract import Request, host_names
from enos_crdb.providers.nspawn.configuration import Configuration, HostRequest, NetworkRequest
from enos_crdb.providers.nspawn.prerequisites import message
from enos_crdb.providers.nspawn.provider import Nspawn

PYTHONS = {"bookworm": "3.11", "trixie": "3.13", "noble": "3.12"}
"""Version of Python that each suite ships; wheels are downloaded for it before a host exists."""


class LocalHosts:
    """Containers of this machine, for the engine."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._nspawn = self._make({})

    @property
    def control_path_dir(self) -> Path:
        return self._nspawn.control_path_dir

    @property
    def host_suite(self) -> str:
        return self._nspawn.suite

    @property
    def host_python(self) -> str:
        return PYTHONS[self.host_suite]

    @property
    def host_machine(self) -> str:
        return platform.machine()

    @property
    def nspawn(self) -> Nspawn:
        """EnOSlib's side of it (stop, kill and cut hosts)."""
        return self._nspawn

    def problems(self) -> list[str]:
        lacks = self._nspawn.missing()
        if os.geteuid() == 0 and all(lack.package for lack in lacks):
            for lack in lacks:
                self._request.notify(f"{lack.what} is missing; `deploy` installs it with apt ({lack.package})")
            return []
        return [message(lacks, root=os.geteuid() == 0)] if lacks else []

    def prepare(self) -> None:
        self._nspawn.prepare()

    def acquire(self, layers: Mapping[str, str]) -> Resources:
        self._nspawn = self._make(layers)
        return self._nspawn.acquire()

    def release(self) -> None:
        self._nspawn.destroy()

    def layer_exists(self, key: str) -> bool:
        return self._nspawn.layer_exists(key)

    def building(self, keys: Mapping[str, tuple[str, ...]]) -> AbstractContextManager[Mapping[str, Host]]:
        return self._nspawn.building(keys)

    def emulate(self, links: Sequence[Link]) -> None:
        self._nspawn.emulate(links)

    def emulation_faults(self, links: Sequence[Link]) -> list[str]:
        return self._nspawn.emulation_faults(links)

    def _make(self, layers: Mapping[str, str]) -> Nspawn:
        request = self._request
        emulation = request.configuration.emulation
        return Nspawn(
            configure(request, layers),
            state_dir=request.directory,
            cache_dir=request.cache,
            runner=request.runner,
            notify=request.notify,
            read_only_binds=request.read_only_binds,
            emulator=emulation.emulator if emulation.constraints else None,
        )


def configure(request: Request, layers: Mapping[str, str]) -> Configuration:
    """The experiment file's machines and networks as EnOSlib configuration."""
    configuration = Configuration()
    section = request.configuration
    configuration.suite = section.nspawn.suite
    configuration.mirror = section.nspawn.mirror
    for name, index in host_names(section):
        group = section.machines[index]
        configuration.machines.append(
            HostRequest(
                name=name,
                roles=tuple(group.roles),
                site=group.site,
                cpus=group.cpus,
                memory_mb=group.memory_mb,
                layer=layers.get(name),
            )
        )
    configuration.networks = [
        NetworkRequest(name="control", cidr=section.networks.control.cidr),
        NetworkRequest(name="database", cidr=section.networks.database.cidr),
    ]
    return configuration
