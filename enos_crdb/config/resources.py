"""Where the hosts come from: ``machines``, ``networks`` and one section per provider."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from enos_crdb.config.base import Section

Role = Literal["database", "keystone", "rally"]


def _cidr(value: str) -> str:
    if value != "auto":
        try:
            network = IPv4Network(value)
        except ValueError as error:
            raise ValueError(
                f"'{value}' is not an IPv4 subnet ({error}); write one like 10.20.0.0/24, or auto"
            ) from None
        if network.prefixlen > 28:
            raise ValueError(f"'{value}' is too small for the hosts; give a /28 or larger (a smaller number)")
    return value


Cidr = Annotated[str, AfterValidator(_cidr)]


def _each_once(value: list[Role]) -> list[Role]:
    if len(set(value)) < len(value):
        raise ValueError("a role is given twice; use `count` for more hosts with the same roles")
    return value


class Machines(Section):
    """A group of equal hosts."""

    roles: Annotated[list[Role], AfterValidator(_each_once)] = Field(min_length=1)
    """What the hosts are for: ``database``, ``keystone``, ``rally``."""
    count: int = Field(default=1, ge=1, le=200)
    """How many of them."""
    site: str = Field(default="local", pattern=r"^[a-z0-9][a-z0-9-]*$")
    """The place they stand for. Keystone prefers a database node of its own site."""
    cpus: float | None = Field(default=None, gt=0)
    """Limit of CPU time, in cores (local containers, where the machine's cgroup allows it)."""
    memory_mb: int | None = Field(default=None, ge=128)
    """Limit of memory (local containers, where the machine's cgroup allows it)."""


def host_names(machines: Sequence[Machines]) -> tuple[tuple[str, int], ...]:
    """(name, index of its group in ``machines``) of every host: first role and a number, in file order."""
    numbers: dict[str, int] = {}
    names = []
    for index, group in enumerate(machines):
        for _ in range(group.count):
            numbers[group.roles[0]] = numbers.get(group.roles[0], 0) + 1
            names.append((f"{group.roles[0]}-{numbers[group.roles[0]]}", index))
    return tuple(names)


class LocalNetwork(Section):
    """One of the two networks of every host."""

    cidr: Cidr = "auto"
    """IPv4 subnet; ``auto`` picks one that this machine does not use."""


class Networks(Section):
    """``control`` carries ssh, Rally and Keystone's API; ``database`` carries SQL and replication."""

    control: LocalNetwork = LocalNetwork()
    database: LocalNetwork = LocalNetwork()


class Nspawn(Section):
    """Local hosts: systemd-nspawn containers of this machine (root needed)."""

    suite: Literal["bookworm", "trixie", "noble"] | None = None
    """Debian or Ubuntu suite of the hosts; by default the machine's own, or bookworm."""
    mirror: str | None = None
    """Package mirror for the base image; by default the machine's own."""
    layers: bool = True
    """Keep what was installed as a layer, from which the next deployment boots."""
