"""The network while it is loaded: what each host's ``probe`` saw, as values, and what is wrong with it."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enos_crdb.config.emulation import Pair
from enos_crdb.model import LOAD, Host
from enos_crdb.network import round_trips
from enos_crdb.network.gate import lost_too_many
from enos_crdb.record import During, Expected, Probed, Tolerance

INTERVAL_S = 0.2
"""Between two probes of a pair."""
TOO_FAST = 0.02
"""Share of answers that come sooner than the emulated distance lets them from which the emulation was off."""
SILENT = 5
"""So many answers in a row that do not come, a second, are a host that is not there, and no loss of a network."""
FEWEST = 2
"""Answers that came too soon may be one measurement gone wrong."""
POSSIBLE = 0.9
"""Share of the time of its round trips that an iteration may take: one may be a little shorter than expected."""
RETRANSMITTED = 0.01
"""Share of TCP segments that a network without loss may make hosts send again."""
SEGMENTS = 20
"""Fewer segments that were sent again say nothing."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """When a scenario loaded the hosts (seconds since the epoch), with how many ``iterations`` of which mean."""

    scenario: str
    begin: float
    end: float
    iterations: int = 0
    mean_ms: float = 0.0


def watched(hosts: Sequence[Host], expected: Sequence[Expected] = ()) -> dict[str, list[dict[str, Any]]]:
    """What each host probes while it is loaded, by its name: the ways that requests and SQL take.

    From Keystones to databases and to the hosts with Rally, and between databases; never from a host with nothing but
    Rally, which has to keep time.
    """
    by_name = {host.name: host for host in hosts}

    def matters(pair: Pair) -> bool:
        src, dst = by_name[pair[0]], by_name[pair[1]]
        sql = "database" in dst.roles and {"keystone", "database"} & set(src.roles)
        requests = LOAD in dst.roles and "keystone" in src.roles
        return bool((sql and pair[2] == "database") or (requests and (pair[2] == "control" or dst.on_one_network)))

    return {
        name: [target for target in targets if matters((name, target["dst"], target["network"]))]
        for name, targets in round_trips.targets(hosts, expected).items()
    }


@dataclass
class _Seen:
    """Answers from one host, in the order in which they were asked for."""

    rtt_ms: list[float] = field(default_factory=list)
    lost: int = 0
    silent: int = 0
    missing: int = 0
    """In a row, until now."""

    def answered(self, rtt_ms: float) -> None:
        self.end()
        self.rtt_ms.append(rtt_ms)

    def end(self) -> None:
        """Count what was missing in a row: of a network that loses packets, or of a host that is not there."""
        if self.missing >= SILENT:
            self.silent += self.missing
        else:
            self.lost += self.missing
        self.missing = 0


def least_ms(expected: Sequence[Expected], tolerance: Tolerance) -> dict[Pair, float]:
    """What nothing that goes so far can be faster than, whatever the load."""
    return {trip.pair: trip.rtt_ms - max(tolerance.ms, trip.rtt_ms * tolerance.percent / 100) for trip in expected}


def during(
    files: Mapping[str, Path], windows: Sequence[Window], expected: Sequence[Expected], tolerance: Tolerance
) -> tuple[During, ...]:
    """What hosts' files (by host name) say of each scenario's load. A file that is missing says nothing."""
    rows = {host: list(_rows(path)) for host, path in files.items() if path.exists()}
    least = least_ms(expected, tolerance)
    return tuple(
        During(
            scenario=window.scenario,
            trips=tuple(trip for host, found in rows.items() for trip in _trips(host, found, window, least)),
            retransmitted={host: _resent(found, window) for host, found in rows.items()},
        )
        for window in windows
    )


_Row = tuple[float, str, str, str]


def _rows(path: Path) -> Iterator[_Row]:
    """Rows that are whole: the last one of a host that died may not be."""
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if None not in row.values():
                yield float(row["time"]), row["dst"], row["network"], row["value"]


def _trips(host: str, rows: Iterable[_Row], window: Window, least: Mapping[Pair, float]) -> Iterator[Probed]:
    seen: dict[tuple[str, str], _Seen] = {}
    for at, dst, network, value in sorted(rows):  # what is given up is written later than what was asked after it
        if dst and window.begin <= at <= window.end:
            found = seen.setdefault((dst, network), _Seen())
            if value:
                found.answered(float(value))
            else:
                found.missing += 1
    for (dst, network), found in seen.items():
        found.end()
        p10, p50, p90 = _percentiles(found.rtt_ms)
        bound = least.get((host, dst, network))
        yield Probed(
            src=host,
            dst=dst,
            network=network,
            samples=len(found.rtt_ms),
            lost=found.lost,
            silent=found.silent,
            min_ms=round(min(found.rtt_ms), 3) if found.rtt_ms else None,
            p10_ms=p10,
            p50_ms=p50,
            p90_ms=p90,
            too_fast=None if bound is None else sum(value < bound for value in found.rtt_ms),
        )


def _percentiles(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    if len(values) < 2:
        only = values[0] if values else None
        return only, only, only
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return round(tenths[0], 3), round(tenths[4], 3), round(tenths[8], 3)


def _resent(rows: Iterable[_Row], window: Window) -> tuple[int, int]:
    """TCP segments of a host that were sent again, and all that were sent, within the window."""
    counts: dict[str, list[int]] = {"retransmitted": [], "sent": []}
    for at, dst, name, value in rows:
        if not dst and name in counts and window.begin <= at <= window.end:
            counts[name].append(int(value))
    again, sent = (values[-1] - values[0] if values else 0 for values in counts.values())
    return again, sent


def impossible(window: Window, trips: Mapping[Pair, int], expected: Sequence[Expected]) -> str:
    """A sentence when iterations took less time than the round trips that were counted in them, else nothing.

    ``trips``: how many round trips went over each pair during the scenario. They follow one another within a request,
    so they cannot take less than their number times their distance.
    """
    rtt_ms = {trip.pair: trip.rtt_ms for trip in expected}
    known = {pair: count for pair, count in trips.items() if pair in rtt_ms}
    if not window.iterations or known.keys() != trips.keys():
        return ""
    count = sum(known.values()) / window.iterations
    least = sum(rtt_ms[pair] * made for pair, made in known.items()) / window.iterations
    if window.mean_ms >= POSSIBLE * least:
        return ""
    return (
        f"iterations took {window.mean_ms:.0f} ms, and their {count:.0f} round trips to the database alone take "
        f"{least:.0f} ms at the expected distance"
    )


def judge(found: Sequence[During], *, loss: Mapping[Pair, float]) -> tuple[str, ...]:
    """A sentence for each thing that was not as it should be under load. ``loss``: how likely one is, by pair.

    What is slower than expected may be the load itself, and is no fault; a host that died costs its own iterations.
    What is faster than the emulated distance lets it be, and what is lost without a loss that was asked for, is one.
    """
    return tuple(f"during {one.scenario}: {said}" for one in found for said in _deviations(one, loss))


def _deviations(one: During, loss: Mapping[Pair, float]) -> Iterator[str]:
    for trip in one.trips:
        way = f"{trip.src} to {trip.dst} on {trip.network}"
        if trip.too_fast and trip.too_fast >= FEWEST and trip.too_fast > TOO_FAST * trip.samples:
            yield (
                f"{way}: {trip.too_fast} of {trip.samples} round trips were faster than the emulated distance allows "
                f"(the fastest {trip.min_ms:.2f} ms)"
            )
        if lost_too_many(trip.lost, trip.samples + trip.lost, loss.get(trip.pair, 0.0)):
            yield f"{way}: {trip.lost} of {trip.samples + trip.lost} answers were lost"
    gone = any(trip.silent for trip in one.trips)  # what is sent to it is sent again and again
    for host, (again, sent) in one.retransmitted.items():
        if not (loss or gone) and again >= SEGMENTS and again > RETRANSMITTED * sent:
            yield f"{host} sent {again} of {sent} TCP segments again ({again / sent:.1%}), and no loss was asked for"
