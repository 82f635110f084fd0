"""The values every layer shares. Frozen, without behaviour that touches the world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Network:
    """A labelled network: ``control`` (Ansible, Rally, Keystone's API) or ``database``."""

    name: str
    cidr: str
    gateway: str | None = None


@dataclass(frozen=True, kw_only=True)
class System:
    """What a host runs: ``debian``, ``12``, ``bookworm``, its ``/usr/bin/python3`` (``3.11``), ``x86_64``."""

    distribution: str
    version: str
    codename: str
    python: str
    machine: str


@dataclass(frozen=True, kw_only=True)
class Host:
    """A machine or container reachable by Ansible.

    ``address`` is what ssh connects to; ``addresses`` maps a network's name to the host's IPv4 on it.
    ``site`` is the place the host stands for (a label; equal sites are near each other).
    ``variables`` go to Ansible as they are (``ansible_python_interpreter``), but ``gateway`` and ``gateway_user`` name
    a host to jump over. ``system`` is None until somebody asked.
    """

    name: str
    roles: tuple[str, ...]
    address: str
    addresses: Mapping[str, str]
    site: str = "local"
    user: str = "root"
    port: int | None = None
    keyfile: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    system: System | None = None

    @property
    def on_one_network(self) -> bool:
        """Whether the host's two networks are one: the same address on both."""
        return len(self.addresses) > 1 and len(set(self.addresses.values())) == 1

    @property
    def local(self) -> bool:
        """Whether it is this very machine, reached without ssh."""
        return self.variables.get("ansible_connection") == "local"


LOAD = "load"
"""Role of the hosts where Rally runs: those of the role that ``bench.placement`` names. No deployment file gives it."""


def placed(roles: tuple[str, ...], placement: str) -> tuple[str, ...]:
    """All roles of a host that the deployment file gives `roles`, under ``bench.placement``."""
    return (*(role for role in roles if role != LOAD), *((LOAD,) if placement in roles else ()))


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a provider gave: hosts in the order of the configuration, and networks.

    A network that has several subnets (one per site) is there once per subnet.
    """

    hosts: tuple[Host, ...]
    networks: tuple[Network, ...]

    def with_role(self, role: str) -> tuple[Host, ...]:
        """Hosts that carry `role`, in the order of the configuration (never EnOSlib's, which is random)."""
        return tuple(host for host in self.hosts if role in host.roles)

    def placed(self, placement: str) -> Resources:
        """The same hosts, those where Rally runs under ``bench.placement`` with the role ``load``."""
        return replace(self, hosts=tuple(replace(host, roles=placed(host.roles, placement)) for host in self.hosts))

    def host(self, name: str) -> Host:
        """The host called `name`. Raises `KeyError`."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A reservation of hosts: until when (seconds since the epoch), and what its owner calls it (jobs)."""

    ends_at: float
    jobs: tuple[str, ...] = ()

    def remaining_s(self, at: float) -> float:
        """Time left at the moment `at`, in seconds; negative when it is over."""
        return self.ends_at - at


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something a user may want to see while it happens.

    ``kind``: ``phase`` (begins), ``phase-done``, ``phase-failed``, ``playbook``, ``play``, ``task``, ``ok``,
    ``changed``, ``failed``, ``unreachable``, ``skipped``, ``retry``, ``stats``, ``note``, ``warning``, ``progress``,
    ``item`` (a campaign begins a run).
    """

    kind: str
    text: str = ""
    host: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


RESPONSE = "response"
"""Metric of an iteration from its intended start to its end: what a user of an open loop waits."""

WARM_UP, STEADY, AFTER = "warm-up", "steady", "after"
"""Windows of a scenario's load. Only what began in the steady one is measured; the others are kept."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One row of measurement: an iteration of a scenario, or one of its atomic actions.

    ``started_at`` is in seconds since the epoch, ``value`` in ``unit``.
    ``outcome`` is ``ok`` or ``failed``; ``error`` the exception's class and message, without a traceback.
    ``window`` tells warm-up from what is measured, by the start of the iteration. ``intended_at`` is when an open
    loop meant the iteration to start (seconds since the epoch); None in a closed loop, which means nothing.
    """

    run: str
    scenario: str
    client: str
    iteration: int
    metric: str
    value: float
    unit: str
    started_at: float
    outcome: str
    error: str = ""
    window: str = STEADY
    intended_at: float | None = None


def slug(index: int, scenario: str) -> str:
    """The `index`-th scenario of a run (from 1) in a file name: ``02-create-and-list-users``."""
    return f"{index:02d}-{scenario.rpartition('/')[2]}"
