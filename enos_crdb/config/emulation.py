"""The ``emulation`` section: delay, rate and loss between hosts, and what to do when the network is not like that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator, Field

from enos_crdb.config.base import Section

KBIT = {"kbit": 1, "mbit": 1_000, "gbit": 1_000_000}
SLOWEST_KBIT, FASTEST_KBIT = 64, 100_000_000
SHORTEST_MS, LONGEST_MS = 0.1, 2000.0


def rate_kbit(text: str) -> float:
    """``1.5mbit`` as kilobits per second. Raises `ValueError` with a sentence."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(kbit|mbit|gbit)", text)
    if not found:
        raise ValueError(f"'{text}' is not a rate; write a number and kbit, mbit or gbit, such as 100mbit")
    value = float(found[1]) * KBIT[found[2]]
    if not SLOWEST_KBIT <= value <= FASTEST_KBIT:
        raise ValueError(f"'{text}' is out of range; give a rate from {SLOWEST_KBIT}kbit to 100gbit")
    return value


def _rate(text: str) -> str:
    rate_kbit(text)
    return text


def _delay(value: float) -> float:
    if 0 < value < SHORTEST_MS:
        raise ValueError(
            f"{value:g} ms is shorter than anything that can be emulated; give at least {SHORTEST_MS:g}, or 0 for none"
        )
    if value > LONGEST_MS:
        raise ValueError(
            f"{value:g} ms one way is too long: connections would be given up; give at most {LONGEST_MS:g} "
            "(the unit is milliseconds)"
        )
    return value


def _selector(text: str) -> str:
    if not re.fullmatch(r"(site:)?[a-z0-9][a-z0-9-]*", text):
        raise ValueError(f"'{text}' selects nothing; write a role, the name of a host, or site:NAME")
    return text


Rate = Annotated[str, AfterValidator(_rate)]
DelayMs = Annotated[float, Field(ge=0), AfterValidator(_delay)]
Selector = Annotated[str, AfterValidator(_selector)]


class Constraint(Section):
    """Emulation between two sets of hosts, on one network. Pairs without a constraint stay unchanged."""

    between: list[Selector] = Field(min_length=2, max_length=2)
    """The two sets of hosts; each is a role, a host's name (``database-2``), or ``site:NAME``."""
    delay_ms: DelayMs = 0.0
    """One-way delay. With ``symmetric``, answers are delayed too, so the round trip grows by twice this value."""
    loss_percent: float = Field(default=0.0, ge=0, le=50)
    """Share of packets lost, per direction."""
    rate: Rate | None = None
    """Bandwidth of each pair, per direction: ``100mbit``, ``10gbit``."""
    network: Literal["control", "database"] = "database"
    """Which network: ``database`` carries SQL and replication, ``control`` carries Rally and Keystone's API."""
    symmetric: bool = True
    """Apply to both directions; with ``false``, only from the first of ``between`` to the second."""
    across_sites: bool = False
    """Apply only to pairs of hosts at different sites."""

    def describe(self) -> str:
        """For people: ``database <-> database on database: 50 ms one way``."""
        parts = [f"{self.delay_ms:g} ms one way"] if self.delay_ms else []
        parts += [f"{self.loss_percent:g} % lost"] if self.loss_percent else []
        parts += [f"at most {self.rate}"] if self.rate else []
        ways = f"{self.between[0]} {'<->' if self.symmetric else '->'} {self.between[1]} on {self.network}"
        return f"{ways}{', across sites' if self.across_sites else ''}: {', '.join(parts) or 'nothing'}"


class Emulation(Section):
    """Emulation of the network between the hosts. Round trips are measured before and after every run."""

    constraints: list[Constraint] = []
    """The constraints; without any, the network stays unchanged."""
    mismatch: Literal["refuse", "label"] = "refuse"
    """If the measured network of a run is off, ``refuse`` ends it with an error, and ``label`` marks its numbers."""
    tolerance_percent: float = Field(default=5.0, gt=0, le=100)
    """Allowed difference from the expected round trip, in per cent. The larger of the two tolerances counts."""
    tolerance_ms: float = Field(default=1.0, gt=0)
    """Allowed difference from the expected round trip, in milliseconds."""
    emulator: Literal["auto", "netem", "nfqueue"] = "auto"
    """``auto`` uses netem where the hosts' kernel has it, else ``nfqueue``, which only local hosts have."""


Pair = tuple[str, str, str]
"""Names of the source and of the destination, and the network between them."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """From ``src`` to ``dst`` (hosts' names) on a network."""

    src: str
    dst: str
    network: str

    @property
    def pair(self) -> Pair:
        return (self.src, self.dst, self.network)


@dataclass(frozen=True, kw_only=True)
class Link(Way):
    """What happens to packets on a way, in this direction only."""

    delay_ms: float = 0.0
    loss_percent: float = 0.0
    rate_kbit: float | None = None

    @property
    def idle(self) -> bool:
        """Nothing is to be done for it (a level 0 of a factor)."""
        return not (self.delay_ms or self.loss_percent or self.rate_kbit)


class Placed(Protocol):
    """A host, as far as a constraint looks at it."""

    @property
    def name(self) -> str: ...

    @property
    def roles(self) -> Sequence[str]: ...

    @property
    def site(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A host that is asked for and does not exist yet."""

    name: str
    roles: tuple[str, ...]
    site: str


def links(constraints: Sequence[Constraint], hosts: Sequence[Placed]) -> tuple[Link, ...]:
    """The directed links that the constraints name, in their order.

    Raises `ValueError`, beginning with the key to change, when a selector matches no host, a constraint no pair, or
    two constraints the same directed pair.
    """
    found: dict[tuple[str, str, str], tuple[int, Link]] = {}
    for index, constraint in enumerate(constraints):
        for src, dst in _pairs(constraint, hosts, f"emulation.constraints.{index}"):
            key = (src, dst, constraint.network)
            if key in found:
                raise ValueError(
                    f"emulation.constraints.{index}: the way from {src} to {dst} on the network "
                    f"'{constraint.network}' is already decided by emulation.constraints.{found[key][0]}; "
                    "let only one of them name it"
                )
            found[key] = index, _link(constraint, src, dst)
    return tuple(link for _, link in found.values())


def _link(constraint: Constraint, src: str, dst: str) -> Link:
    return Link(
        src=src,
        dst=dst,
        network=constraint.network,
        delay_ms=constraint.delay_ms,
        loss_percent=constraint.loss_percent,
        rate_kbit=rate_kbit(constraint.rate) if constraint.rate else None,
    )


def _pairs(constraint: Constraint, hosts: Sequence[Placed], key: str) -> Iterable[tuple[str, str]]:
    first, second = (_selected(selector, hosts, key) for selector in constraint.between)
    if not constraint.symmetric and constraint.between[0] == constraint.between[1]:
        raise ValueError(
            f"{key}.symmetric: from '{constraint.between[0]}' to itself there are both directions anyway; "
            "leave it out, or name two different sets of hosts"
        )
    ways = [(a, b) for a in first for b in second]
    if constraint.symmetric:
        ways += [(b, a) for a, b in ways]
    pairs = [
        (a.name, b.name) for a, b in ways if a.name != b.name and not (constraint.across_sites and a.site == b.site)
    ]
    if not pairs:
        places = "at different sites " if constraint.across_sites else ""
        raise ValueError(
            f"{key}: there are no two hosts {places}between '{constraint.between[0]}' and '{constraint.between[1]}'; "
            "change `between`, add hosts, or leave the constraint out"
        )
    return dict.fromkeys(pairs)


def _selected(selector: str, hosts: Sequence[Placed], key: str) -> list[Placed]:
    kind, _, site = selector.rpartition(":")
    chosen = [
        host
        for host in hosts
        if (host.site == site if kind == "site" else selector == host.name or selector in host.roles)
    ]
    if not chosen:
        roles = sorted({role for host in hosts for role in host.roles})
        known = [*roles, *(host.name for host in hosts), *sorted({f"site:{host.site}" for host in hosts})]
        shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
        raise ValueError(f"{key}.between: '{selector}' matches no host; there are {shown}")
    return chosen
