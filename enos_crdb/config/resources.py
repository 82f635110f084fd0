"""Where the hosts come from: ``machines``, ``networks`` and one section per provider."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

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


def _labels(value: object) -> object:
    """One label of a site, or several."""
    labels = value if isinstance(value, list) else [value]
    if not labels:
        raise ValueError("is empty; give the label of a site, or a list of labels")
    for label in labels:
        if not isinstance(label, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]*", label):
            raise ValueError(f"must be lower case letters, digits and hyphens (no hyphen first), found {label!r}")
    if len(set(labels)) < len(labels):
        raise ValueError("a site is given twice; each takes its turn anyway")
    return value


class Machines(Section):
    """A group of equal hosts."""

    roles: Annotated[list[Role], AfterValidator(_each_once)] = Field(min_length=1)
    """What runs on the hosts."""
    count: int = Field(default=1, ge=1, le=200)
    """How many hosts the group has."""
    min: int | None = Field(default=None, ge=1)
    """How many hosts are enough when the testbed loses some (Grid'5000's kadeploy); by default all."""
    site: Annotated[str | list[str], BeforeValidator(_labels)] = "local"
    """Site of the hosts, or a list of sites that the hosts take in turn. Keystone prefers a database node of its own
    site."""
    cpus: float | None = Field(default=None, gt=0)
    """Cores of a virtual machine; for local containers, a limit on CPU time (where the machine's cgroup allows it)."""
    memory_mb: int | None = Field(default=None, ge=128)
    """Memory of a virtual machine; for local containers, a limit (where the machine's cgroup allows it)."""

    @model_validator(mode="after")
    def _no_more_than_there_are(self) -> Machines:
        if self.min is not None and self.min > self.count:
            raise ValueError(f"min: {self.min} is above count, {self.count}")
        return self

    @property
    def sites(self) -> tuple[str, ...]:
        """The places, in the order in which hosts take them."""
        return (self.site,) if isinstance(self.site, str) else tuple(self.site)

    @property
    def enough(self) -> int:
        """How many hosts of the group there must be."""
        return self.count if self.min is None else self.min


@dataclass(frozen=True, kw_only=True)
class PlannedHost:
    """A host that a deployment file asks for. ``group`` is its entry of ``machines``, ``index`` its place there."""

    name: str
    site: str
    index: int
    group: Machines


def plan_hosts(machines: Sequence[Machines]) -> tuple[PlannedHost, ...]:
    """Every host, in file order; its name is the first role of its group and a number (``database-1``)."""
    numbers: dict[str, int] = {}
    planned = []
    for index, group in enumerate(machines):
        for turn in range(group.count):
            role = group.roles[0]
            numbers[role] = numbers.get(role, 0) + 1
            site = group.sites[turn % len(group.sites)]
            planned.append(PlannedHost(name=f"{role}-{numbers[role]}", site=site, index=index, group=group))
    return tuple(planned)


class LocalNetwork(Section):
    """One of the two networks of every host."""

    cidr: Cidr = "auto"
    """IPv4 subnet. With ``auto``, local hosts and virtual machines get a subnet that this machine does not use; other
    testbeds have their own."""


class Networks(Section):
    """``control`` carries ssh, Rally and Keystone's API; ``database`` carries SQL and replication."""

    control: LocalNetwork = LocalNetwork()
    database: LocalNetwork = LocalNetwork()


class Nspawn(Section):
    """Local hosts: systemd-nspawn containers on this machine. They need root."""

    suite: Literal["bookworm", "trixie", "jammy", "noble"] | None = None
    """Debian or Ubuntu suite of the hosts; by default this machine's own, or bookworm."""
    mirror: str | None = None
    """Package mirror for the base image; by default this machine's own."""
    layers: bool = True
    """Keep installed software as a layer from which the next deployment boots."""
