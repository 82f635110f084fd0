"""Which subnets the machines' networks get."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from enos_crdb.command import Runner
from enos_crdb.config.vagrant import VIRTUALBOX_RANGE
from enos_crdb.errors import ProviderError
from enos_crdb.store import read_json, write_json

LIBVIRT_RANGE = IPv4Network("192.168.64.0/19")
"""Where libvirt's go when those that VirtualBox could have are taken (the default networks of both are elsewhere)."""


def choose(asked: Mapping[str, str], taken: Iterable[IPv4Network], *, backend: str) -> dict[str, str]:
    """A subnet for each network: the one that is asked for, or for ``auto`` one that overlaps none of `taken`.

    Raises `ProviderError` when all are taken.
    """
    used = [*taken, *(IPv4Network(cidr) for cidr in asked.values() if cidr != "auto")]
    ranges = (VIRTUALBOX_RANGE, *((LIBVIRT_RANGE,) if backend == "libvirt" else ()))
    candidates = (subnet for pool in ranges for subnet in pool.subnets(new_prefix=24))
    free = (str(subnet) for subnet in candidates if not any(subnet.overlaps(other) for other in used))
    chosen = {name: next(free, "") if cidr == "auto" else cidr for name, cidr in asked.items()}
    if not all(chosen.values()):
        raise ProviderError(
            f"This machine uses every subnet that machines of Vagrant could have ({', '.join(map(str, ranges))}).\n"
            "Destroy deployments that are not needed, or name free /24s in networks.control.cidr and "
            "networks.database.cidr."
        )
    return chosen


def taken(runner: Runner, *, backend: str) -> list[IPv4Network]:
    """Subnets in which this machine has an address, or to which it has a route (not the default route)."""
    links = json.loads(runner.run(["ip", "-json", "-4", "address", "show"]).stdout or "[]")
    routes = json.loads(runner.run(["ip", "-json", "-4", "route", "show", "table", "all"]).stdout or "[]")
    if backend == "virtualbox" and not _virtualbox_runs(runner):
        # VirtualBox keeps its host-only networks for the next machines.
        links = [link for link in links if not link["ifname"].startswith("vboxnet")]
        routes = [route for route in routes if not route.get("dev", "").startswith("vboxnet")]
    words = [f"{item['local']}/{item['prefixlen']}" for link in links for item in link.get("addr_info", [])]
    words += [route["dst"] for route in routes if route.get("dst", "")[:1].isdigit()]
    found = [IPv4Network(word, strict=False) for word in words]
    return [subnet for subnet in found if subnet.prefixlen > 0]


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What the deployments of this cache chose: their networks appear on this machine a good while later."""

    directory: Path

    def others(self, deployment: Path) -> list[IPv4Network]:
        """Subnets of deployments that are there, but for `deployment`."""
        claims = [read_json(file) for file in sorted(self.directory.glob("*.json"))]
        living = [
            claim for claim in claims if claim["deployment"] != str(deployment) and Path(claim["deployment"]).exists()
        ]
        return [IPv4Network(cidr) for claim in living for cidr in claim["subnets"]]

    def add(self, name: str, deployment: Path, chosen: Iterable[str]) -> None:
        """Claim `chosen` for `deployment`, under a `name` of its own."""
        self.directory.mkdir(parents=True, exist_ok=True)
        write_json(self.directory / f"{name}.json", {"deployment": str(deployment), "subnets": list(chosen)})

    def remove(self, name: str) -> None:
        (self.directory / f"{name}.json").unlink(missing_ok=True)


def _virtualbox_runs(runner: Runner) -> bool:
    return bool(runner.run(["VBoxManage", "list", "runningvms"], check=False).stdout.strip())
