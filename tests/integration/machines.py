"""Containers that play machines somebody already has: enos_crdb is told their addresses, and nothing of containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from enos_crdb import config, inventory, software
from enos_crdb.command import SubprocessRunner
from enos_crdb.model import Host
from enos_crdb.phases.context import cache_directory
from enos_crdb.providers.nspawn import Configuration, HostRequest, NetworkRequest, Nspawn
from enos_crdb.providers.nspawn.image import image_name
from enos_crdb.providers.nspawn.layers import Cache
from enos_crdb.providers.nspawn.prerequisites import missing
from tests.integration.engine import Engine

RUNNER = SubprocessRunner()


def skip_without_hosts(suite: str = "bookworm") -> None:
    """Skip where no local hosts of `suite` can be started, with the reason."""
    hopeless = [lack for lack in missing(RUNNER, suite=suite) if lack.package is None]
    if hopeless:
        pytest.skip("; ".join(f"{lack} {lack.remedy}" for lack in hopeless))


@dataclass(frozen=True)
class Machines:
    """Containers by name, and how the tests reach them behind the back of enos_crdb."""

    provider: Nspawn
    hosts: Mapping[str, Host]

    def on(self, name: str, command: str, *, check: bool = True) -> str:
        return RUNNER.run([*self.provider.ssh_command(name), command], check=check, timeout_s=300).stdout.strip()

    def add_user(self, name: str, user: str, *, sudo: bool) -> None:
        """An account with root's key; with `sudo`, it may become root without a password."""
        rule = (
            f"echo '{user} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{user}" if sudo else f"rm -f /etc/sudoers.d/{user}"
        )
        self.on(
            name,
            f"set -e; id {user} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash {user}; "
            f"install -d -m 700 -o {user} ~{user}/.ssh; "
            f"install -m 600 -o {user} ~/.ssh/authorized_keys ~{user}/.ssh/; {rule}",
        )

    def files(self, names: Sequence[str], **options: str) -> list[dict[str, object]]:
        """Entries of ``static.hosts``."""
        return [{"address": self.hosts[name].address, **options} for name in names]

    @property
    def keyfile(self) -> str:
        return str(next(iter(self.hosts.values())).keyfile)

    def listening(self, name: str) -> str:
        """What serves somebody on a machine, by the name of its process, but sshd."""
        lines = self.on(name, "ss -Hltnp").splitlines()
        return " ".join(sorted({line.split('"')[1] for line in lines if '"' in line and "sshd" not in line}))


def boot(
    directory: Path,
    machines: Mapping[str, str | None],
    *,
    suite: str = "bookworm",
    mirror: str | None = None,
    binds: Mapping[Path, str] | None = None,
) -> Machines:
    """Boot one container for each name, from the layer (a key) where one is given and in the cache."""
    configuration = Configuration()
    configuration.suite, configuration.mirror = suite, mirror
    cache = Cache(cache_directory())
    for name, key in machines.items():
        found = key is not None and cache.layer(image_name(suite), key).is_dir()
        configuration.machines.append(HostRequest(name=name, roles=(), layer=key if found else None))
    configuration.networks = [NetworkRequest(name="control"), NetworkRequest(name="database")]
    provider = Nspawn(
        configuration, state_dir=directory, cache_dir=cache_directory(), runner=RUNNER, read_only_binds=binds
    )
    resources = provider.acquire()
    return Machines(provider, {host.name: host for host in resources.hosts})


def layers_of(file: str, directory: Path) -> dict[str, str]:
    """Layers by host with the software of a deployment file: made by enos_crdb unless they are there."""
    engine = Engine(directory / "layers-of")
    engine.run("deploy", "--env", file, "--phase", "layers")
    return dict(engine.state["layers"])


def layer(file: Path, *roles: str) -> str:
    """Key of the layer with the software of `roles` for a deployment file; a deployment before may have left it."""
    configuration = config.load(file)
    locks = tuple(inventory.lock_files(configuration).values())
    return software.layer_key(configuration, roles, locks, "bookworm")
