"""The section ``vagrant``: virtual machines of this machine, made by Vagrant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from enos_crdb.config.base import Section

CPUS = 2
"""Cores of a machine that does not say how many."""
MEMORY_MB = 2048
"""Memory of a machine that does not say how much: MariaDB or CockroachDB beside Keystone and Rally."""
ROOM = 236
"""Machines in a /24: EnOSlib leaves ten addresses free at either end."""
VIRTUALBOX_RANGE = IPv4Network("192.168.56.0/21")
"""Where VirtualBox makes host-only networks, unless its administrator allows more (/etc/vbox/networks.conf)."""


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("line breaks and control characters are not allowed here")
    return value


Line = Annotated[str, AfterValidator(_one_line)]


class Vagrant(Section):
    """Virtual machines on this machine, made by Vagrant with libvirt or VirtualBox."""

    backend: Literal["libvirt", "virtualbox"] = "libvirt"
    """Hypervisor; libvirt needs the plugin vagrant-libvirt."""
    box: str = Field(default="debian/bookworm64", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)?$")
    """Name of the box (image): Debian 11, 12, 13, or Ubuntu 22.04, 24.04, with the user ``vagrant``."""
    box_version: str | None = Field(default=None, pattern=r"^[A-Za-z0-9<>=~. ,-]+$")
    """Version of the box, or a condition like ``>= 12.20240905``; by default the newest on this machine."""
    box_url: Annotated[Line, Field(min_length=1)] | None = None
    """URL or path of the box, used when it is not on this machine yet; by default Vagrant's public catalogue."""
    user: str = Field(default="root", pattern=r"^[a-z_][a-z0-9_-]*$")
    """User that Ansible logs in as: ``root``, who gets Vagrant's key, or ``vagrant`` with sudo, where the box forbids
    root."""
    name_prefix: str = Field(default="enos_crdb", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")
    """First part of the machines' names in libvirt or VirtualBox."""
    config_extra: str = ""
    """Ruby code for the Vagrantfile, placed before its machines: ``config.vm.boot_timeout = 900``."""


def misfits(section: Vagrant, machines: Sequence[tuple[float | None, int]], cidrs: Mapping[str, str]) -> list[str]:
    """What cannot be under `section`, a sentence each that begins with its key.

    ``machines``: (``cpus``, ``count``) of each group; ``cidrs``: network's name to subnet or ``auto``.
    """
    problems = [
        f"machines.{index}.cpus: {cpus:g} cores cannot be given to a virtual machine; write a whole number"
        for index, (cpus, _) in enumerate(machines)
        if cpus is not None and (cpus < 1 or cpus != int(cpus))
    ]
    hosts = sum(count for _, count in machines)
    if hosts > ROOM:
        problems.append(
            f"machines: Vagrant gives addresses to at most {ROOM} machines, and these are {hosts}; ask for fewer"
        )
    for name, cidr in cidrs.items():
        if cidr != "auto":
            problems += _misfits_of(section, f"networks.{name}.cidr", IPv4Network(cidr))
    return problems


def _misfits_of(section: Vagrant, key: str, subnet: IPv4Network) -> list[str]:
    if subnet.prefixlen != 24:
        return [
            f"{key}: EnOSlib gives Vagrant's machines the netmask of a /24, and '{subnet}' is not one; write a /24, "
            "or auto"
        ]
    if section.backend == "virtualbox" and not subnet.subnet_of(VIRTUALBOX_RANGE):
        return [
            f"{key}: VirtualBox makes networks inside {VIRTUALBOX_RANGE}, and '{subnet}' is not there; choose one of "
            "these, or auto"
        ]
    return []
