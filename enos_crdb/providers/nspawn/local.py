"""`Nspawn`, an EnOSlib provider, as the engine's `Provider`."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from enos_crdb.config.emulation import Link
from enos_crdb.model import Host, Resources, System
from enos_crdb.providers.contract import Request, plan_hosts
from enos_crdb.providers.nspawn.configuration import Configuration, HostRequest, NetworkRequest
from enos_crdb.providers.nspawn.prerequisites import message
from enos_crdb.providers.nspawn.provider import Nspawn
from enos_crdb.providers.systems import system_of


class LocalHosts:
    """Containers of this machine, for the engine."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._nspawn = self._make({})

    @property
    def control_path_dir(self) -> Path:
        return self._nspawn.control_path_dir

    @property
    def system(self) -> System:
        return system_of(self._nspawn.suite, platform.machine())

    @property
    def sees_binds(self) -> bool:
        return True

    @property
    def owns_hosts(self) -> bool:
        return True

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
        resources = self._nspawn.acquire()
        return replace(resources, hosts=tuple(replace(host, system=self.system) for host in resources.hosts))

    def release(self) -> None:
        self._nspawn.destroy()

    def layer_exists(self, key: str) -> bool:
        return self._nspawn.layer_exists(key)

    @contextmanager
    def building(self, keys: Mapping[str, tuple[str, ...]]) -> Iterator[Mapping[str, Host]]:
        with self._nspawn.building(keys) as hosts:
            yield {key: replace(host, system=self.system) for key, host in hosts.items()}

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
    """The deployment file's machines and networks as EnOSlib configuration."""
    configuration = Configuration()
    section = request.configuration
    configuration.suite = section.nspawn.suite
    configuration.mirror = section.nspawn.mirror
    for host in plan_hosts(section):
        configuration.machines.append(
            HostRequest(
                name=host.name,
                roles=tuple(host.group.roles),
                site=host.site,
                cpus=host.group.cpus,
                memory_mb=host.group.memory_mb,
                layer=layers.get(host.name),
            )
        )
    configuration.networks = [
        NetworkRequest(name="control", cidr=section.networks.control.cidr),
        NetworkRequest(name="database", cidr=section.networks.database.cidr),
    ]
    return configuration
