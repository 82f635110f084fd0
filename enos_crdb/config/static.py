"""The section ``static``: machines that are there already, and which of them plays which host."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Annotated

from pydantic import AfterValidator, Field

from enos_crdb.config.base import Section
from enos_crdb.config.resources import LocalNetwork, Machines, Networks, PlannedHost, plan_hosts

LOCALHOST = "localhost"
"""The address of the machine that enos_crdb runs on: no ssh is needed there."""


def _address(value: str) -> str:
    if re.fullmatch(r"[0-9.]+", value):
        return _ipv4(value)
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", value):
        raise ValueError(
            f"'{value}' is neither an IPv4 address nor the name of a host; user and port have keys of their own"
        )
    return value


def _ipv4(value: str) -> str:
    try:
        return str(IPv4Address(value))
    except ValueError:
        raise ValueError(f"'{value}' is not an IPv4 address; write one like 10.0.0.11") from None


def _user(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", value):
        raise ValueError(f"'{value}' is not the name of a user; write one like root")
    return value


def _keyfile(value: str) -> str:
    if not value.startswith(("/", "~")):
        raise ValueError(f"'{value}' must be an absolute path, or begin with ~: the command may run in any directory")
    return value


Address = Annotated[str, AfterValidator(_address)]
IPv4 = Annotated[str, AfterValidator(_ipv4)]
User = Annotated[str, AfterValidator(_user)]
KeyFile = Annotated[str, AfterValidator(_keyfile)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Addresses(Section):
    """IPv4 addresses of a host, by network."""

    control: IPv4 | None = None
    """Address on the network ``control``."""
    database: IPv4 | None = None
    """Address on the network ``database``."""


class StaticHost(Section):
    """An existing machine."""

    address: Address
    """Address for ssh: a name or an IPv4 address; ``localhost`` is this machine, without ssh."""
    user: User | None = None
    """User who logs in; by default ``static.user``."""
    port: Port | None = None
    """ssh port; by default ``static.port``."""
    keyfile: KeyFile | None = None
    """Private ssh key; by default ``static.keyfile``."""
    site: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]*$")
    """The only site whose hosts this machine may be; by default any site."""
    addresses: Addresses = Addresses()
    """Addresses at which other hosts reach it, by network; by default the address in ``networks.*.cidr``, or the one
    that ssh uses."""


class Static(Section):
    """Existing machines: your own virtual machines, bare metal, or this machine."""

    user: User = "root"
    """User who logs in: root, or a user who may use sudo without a password."""
    port: Port | None = None
    """ssh port; by default ssh's own choice."""
    keyfile: KeyFile | None = None
    """Private ssh key (``~`` is the home directory); by default ssh's own choice."""
    hosts: list[StaticHost] = []
    """The machines. They become the hosts of ``machines`` in this order; unused ones are not touched."""


def assignments(static: Static, machines: Sequence[Machines]) -> tuple[tuple[PlannedHost, StaticHost | None], ...]:
    """Which machine plays which host, in the order of ``machines``; None where none is left.

    A machine of the host's own site is taken before one that serves any.
    """
    left = list(static.hosts)
    dealt: list[tuple[PlannedHost, StaticHost | None]] = []
    for planned in plan_hosts(machines):
        fitting = [host for host in left if host.site == planned.site] or [host for host in left if host.site is None]
        chosen = fitting[0] if fitting else None
        if chosen is not None:
            left.remove(chosen)
        dealt.append((planned, chosen))
    return tuple(dealt)


def misfits(static: Static, machines: Sequence[Machines], networks: Networks) -> list[str]:
    """What `static` cannot do for the rest of the file, a sentence each; offline.

    Each begins with the key to change.
    """
    return [
        *_shortage(static, machines),
        *_doubles(static.hosts),
        *_limits(machines),
        *_lonely(static, machines, networks),
    ]


def _shortage(static: Static, machines: Sequence[Machines]) -> list[str]:
    dealt = assignments(static, machines)
    lacking = [planned for planned, host in dealt if host is None]
    if not lacking:
        return []
    sites = sorted({planned.site for planned in lacking}) if any(host.site for host in static.hosts) else []
    said = (
        f"static.hosts: machines ask for {len(dealt)} hosts, but of the {len(static.hosts)} given none is left for "
        f"{', '.join(planned.name for planned in lacking)}"
    )
    where = f" (site {', '.join(sites)})" if sites else ""
    return [f"{said}{where}; name more hosts, or lower `count`"]


def _doubles(hosts: Sequence[StaticHost]) -> list[str]:
    found = []
    seen: dict[tuple[str, int | None], int] = {}
    for index, host in enumerate(hosts):
        first = seen.setdefault((host.address, host.port), index)
        if first != index:
            found.append(
                f"static.hosts.{index}.address: '{host.address}' is static.hosts.{first} already; a machine can be one "
                "host only (give the host of `machines` several roles instead)"
            )
    return found


def _limits(machines: Sequence[Machines]) -> list[str]:
    return [
        f"machines.{index}.{key}: machines that are there already have the {what} they have; leave the key out"
        for index, group in enumerate(machines)
        for key, what in (("cpus", "cores"), ("memory_mb", "memory"))
        if getattr(group, key) is not None
    ]


def _lonely(static: Static, machines: Sequence[Machines], networks: Networks) -> list[str]:
    """This machine among others needs addresses that they can reach."""
    used = [host for _, host in assignments(static, machines) if host is not None]
    found = []
    for index, host in enumerate(static.hosts):
        if host.address != LOCALHOST or host not in used or len(used) == 1:
            continue
        for name in ("control", "database"):
            network: LocalNetwork = getattr(networks, name)
            if getattr(host.addresses, name) is None and network.cidr == "auto":
                found.append(
                    f"static.hosts.{index}.addresses.{name}: other hosts cannot reach this machine as 'localhost'; "
                    f"give its address on the network '{name}', or networks.{name}.cidr"
                )
    return found
