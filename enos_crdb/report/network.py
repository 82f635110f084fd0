"""The network as it was measured, and what its distance costs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from enos_crdb.model import slug
from enos_crdb.record import Matrix, Probed
from enos_crdb.report import drawing, figures, parts
from enos_crdb.report.figures import Curve
from enos_crdb.report.material import Combination, Material
from enos_crdb.report.numbers import Numbers
from enos_crdb.report.parts import Figure, Section, Table
from enos_crdb.report.results import file_name, short

MATRICES = 8
"""Most heat maps on a page; the table has all of them."""
APART_MS = 1.0
"""Round trips that differ by less are the same place on an axis."""
EMULATION, PLACES = ("emulation",), ("machines", "sites")
"""Beginnings of the configuration paths that change the round trip, and the number of sites."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What stands below a figure. ``paths``: a factor that sets nothing else is on this axis. ``whole``: a count."""

    name: str
    title: str
    place: Callable[[Combination], float]
    paths: tuple[str, ...]
    whole: bool = False


def matrices(material: Material) -> Section:
    """Round-trip times before and after, and what was expected."""
    rows = [row for combination in material.combinations for row in _pairs(combination)]
    columns = [parts.text("combination", "combination")] if material.several else []
    columns += [parts.text("network", "network"), parts.text("between", "between"), parts.count("pairs", "pairs")]
    columns += [parts.measure("expected (ms)", "expected_ms")]
    columns += [parts.ranged("before (ms)", "before_ms"), parts.ranged("after (ms)", "after_ms")]
    columns += [parts.measure("farthest off (ms)", "off_ms"), parts.text("verdict", "verdict")]
    table = Table(
        name="round-trips",
        caption="Round-trip times between hosts, by the time a TCP connection takes, before and after the load. Pairs "
        "with the same roles and expectation are taken together: median of their medians over all runs [smallest, "
        "largest]. Farthest off: the largest difference from what was expected.",
        columns=tuple(columns),
        rows=tuple(rows),
    )
    maps = [figure for combination in material.combinations for figure in _maps(combination)]
    loaded = _under_load(material)
    return Section(
        anchor="network",
        title="Round-trip times",
        parts=(*_distinct(maps)[:MATRICES], table, *((loaded,) if loaded.rows else ())) if rows else (),
    )


def _under_load(material: Material) -> Table:
    """What the hosts saw of the network while a scenario loaded them."""
    columns = [parts.text("scenario", "scenario")]
    columns += [parts.text("combination", "combination")] if material.several else []
    columns += [parts.text("network", "network"), parts.text("between", "between")]
    columns += [parts.measure("expected (ms)", "expected_ms"), parts.measure("p10 (ms)", "p10_ms")]
    columns += [parts.measure("p50 (ms)", "p50_ms"), parts.measure("p90 (ms)", "p90_ms")]
    columns += [parts.measure("lost (%)", "lost_percent"), parts.measure("sent again (%)", "resent_percent")]
    return Table(
        name="round-trips-under-load",
        caption="Round-trip times while a scenario loads the hosts, five times a second for each pair that requests or "
        "SQL go between: medians over the pairs and runs. Lost: answers that did not come. Sent again: TCP segments of "
        "all hosts.",
        columns=tuple(columns),
        rows=tuple(
            row
            for scenario in material.scenarios
            for combination in material.combinations
            for row in _loaded(scenario, combination)
        ),
    )


def _loaded(scenario: str, combination: Combination) -> Iterator[Mapping[str, Any]]:
    networks = [run.network for run in combination.having(scenario) if run.network]
    seen = [one for network in networks for one in network.during if one.scenario == scenario]
    expected = {trip.pair: trip.rtt_ms for network in networks for trip in network.expected}
    roles = {host.name: "+".join(host.roles) for host in combination.runs[0].record.hosts}
    groups: dict[tuple[Any, ...], list[Probed]] = {}
    for trip in (trip for one in seen for trip in one.trips):
        ends = " - ".join(sorted(roles.get(name, name) for name in trip.pair[:2]))
        wanted = expected.get(trip.pair)
        groups.setdefault((trip.network, ends, None if wanted is None else round(wanted)), []).append(trip)
    again = sum(counts[0] for one in seen for counts in one.retransmitted.values())
    sent = sum(counts[1] for one in seen for counts in one.retransmitted.values())
    for (network, ends, _), trips in groups.items():
        lost, asked = sum(trip.lost for trip in trips), sum(trip.lost + trip.samples for trip in trips)
        yield {
            "scenario": short(scenario),
            "combination": combination.label,
            "network": network,
            "between": ends,
            "expected_ms": statistics.median(expected.get(trip.pair, math.nan) for trip in trips),
            "p10_ms": _median(trip.p10_ms for trip in trips),
            "p50_ms": _median(trip.p50_ms for trip in trips),
            "p90_ms": _median(trip.p90_ms for trip in trips),
            "lost_percent": 100 * lost / asked if asked else math.nan,
            "resent_percent": 100 * again / sent if sent else math.nan,
        }


def _median(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else math.nan


def _distinct(maps: Sequence[tuple[tuple[Any, ...], Figure]]) -> list[Figure]:
    """Combinations on the same network have the same map: the first is shown."""
    return list(dict(reversed(maps)).values())[::-1]


def _measured(matrices: Iterable[Matrix | None]) -> dict[tuple[str, str, str], list[float]]:
    """Network, source and destination -> the medians of all runs."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for matrix in matrices:
        for trip in matrix.rtt if matrix else ():
            if trip.median_ms is not None:
                found.setdefault((trip.network, trip.src, trip.dst), []).append(trip.median_ms)
    return found


def _pairs(combination: Combination) -> Iterator[Mapping[str, Any]]:
    """Pairs of hosts, taken together when they have the same roles and the same expectation."""
    networks = [run.network for run in combination.runs if run.network]
    before, after = _measured(one.before for one in networks), _measured(one.after for one in networks)
    expected = {(trip.network, trip.src, trip.dst): trip.rtt_ms for one in networks for trip in one.expected}
    roles = {host.name: "+".join(host.roles) for host in combination.runs[0].record.hosts}
    verdicts = sorted({one.verdict for one in networks})
    groups: dict[tuple[Any, ...], list[tuple[str, str, str]]] = {}
    for key in sorted(before.keys() | after.keys()):
        ends = " - ".join(sorted(roles.get(name, name) for name in key[1:]))
        wanted = expected.get(key)
        groups.setdefault((key[0], ends, None if wanted is None else round(wanted)), []).append(key)
    for (network, ends, _), pairs in groups.items():
        yield {
            "combination": combination.label,
            "network": network,
            "between": ends,
            "pairs": len(pairs),
            "expected_ms": statistics.median(expected.get(pair, math.nan) for pair in pairs),
            **_middle("before_ms", [value for pair in pairs for value in before.get(pair, ())]),
            **_middle("after_ms", [value for pair in pairs for value in after.get(pair, ())]),
            "off_ms": max(
                (
                    abs(value - expected[pair])
                    for pair in pairs
                    if pair in expected
                    for value in (*before.get(pair, ()), *after.get(pair, ()))
                ),
                default=math.nan,
            ),
            "verdict": ", ".join(verdicts),
        }


def _middle(name: str, values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {name: statistics.median(values), f"{name}_low": min(values), f"{name}_high": max(values)}


def _maps(combination: Combination) -> Iterator[tuple[tuple[Any, ...], Figure]]:
    before = _measured(run.network.before for run in combination.runs if run.network)
    for network in sorted({key[0] for key in before}):
        values = {(key[1], key[2]): statistics.median(found) for key, found in before.items() if key[0] == network}
        names = [host.name for host in combination.runs[0].record.hosts]
        names = [name for name in names if any(name in pair for pair in values)]
        emulated = combination.runs[0].settings["emulation"]
        title = f"{network} network\nemulation: {emulated}"
        told = (
            f"Round-trip times (ms) on the network '{network}', from the host of the row to that of the column, before "
            f"the load. Emulation: {emulated}. Measured in: {combination.label}."
        )
        yield (
            (network, emulated, tuple(names)),
            Figure(
                name=file_name("rtt", network, str(combination.index + 1)),
                caption=told,
                alternative=f"Matrix. {told}",
                draw=partial(figures.matrix, title, names, values),
            ),
        )


def distance(material: Material, found: Sequence[Numbers]) -> Section:
    """Latency against the round-trip time, where that differs between combinations."""
    near = [number for number in (one.rtt_ms for one in material.combinations) if not math.isnan(number)]
    varied = len(near) == len(material.combinations) and near and max(near) - min(near) > APART_MS
    lead = (
        "The round trip is the longest between two hosts, as measured before the load. Bars are 95 % intervals; where "
        "none is seen, it is smaller than the mark.",
    )
    axis = Axis(name="rtt", title="longest round trip (ms)", place=lambda one: one.rtt_ms, paths=EMULATION)
    drawn = _against(material, found, axis)
    return Section(anchor="distance", title="Latency against distance", lead=lead, parts=tuple(drawn) if varied else ())


def sites(material: Material, found: Sequence[Numbers]) -> Section:
    """Latency against the number of sites, or of database hosts, where that differs within a backend."""
    lead = ("Bars are 95 % intervals; where none is seen, it is smaller than the mark.",)
    for axis in (
        Axis(name="sites", title="number of sites", place=_sites, paths=PLACES, whole=True),
        Axis(name="hosts", title="number of database hosts", place=_nodes, paths=PLACES, whole=True),
    ):
        counts: dict[str, set[float]] = {}
        for one in material.combinations:
            counts.setdefault(one.backend, set()).add(axis.place(one))
        if any(len(values) > 1 for values in counts.values()):
            drawn = tuple(_against(material, found, axis))
            return Section(anchor="sites", title=f"Latency against the {axis.title}", lead=lead, parts=drawn)
    return Section(anchor="sites", title="Latency against sites")


def _sites(one: Combination) -> float:
    return float(one.runs[0].sites)


def _nodes(one: Combination) -> float:
    return float(len(one.runs[0].record.names("database")))


def _against(material: Material, found: Sequence[Numbers], axis: Axis) -> Iterator[Figure]:
    """A figure per scenario: the median against the axis, a line for each series."""
    series = series_of(material, axis.paths)
    labels = list(dict.fromkeys(series.values()))
    ticks = sorted({axis.place(one) for one in material.combinations}) if axis.whole else ()
    for index, scenario in enumerate(material.scenarios, 1):
        points: dict[str, list[tuple[float, float, float, float]]] = {}
        for one in found:
            if one.scenario == scenario and one.n > one.failures:
                place = axis.place(one.combination)
                points.setdefault(series[one.combination.index], []).append((place, *one.ms("p50")))
        drawn = [
            Curve(label=label, look=drawing.look(labels.index(label)), points=points[label])
            for label in labels
            if label in points
        ]
        yield Figure(
            name=file_name(axis.name, slug(index, scenario)),
            caption=f"{short(scenario)}: median duration of an iteration against the {axis.title}.",
            alternative=f"Median duration of {short(scenario)} against the {axis.title}. "
            + "; ".join(f"{one.label}: {_spoken(one.points)}" for one in drawn),
            draw=partial(figures.curves, short(scenario), drawn, x=axis.title, y="median (ms)", ticks=ticks),
        )


def _spoken(points: Sequence[tuple[float, float, float, float]]) -> str:
    return ", ".join(f"{parts.number(y)} ms at {parts.number(x)}" for x, y, _, _ in sorted(points))


def series_of(material: Material, paths: Sequence[str]) -> dict[int, str]:
    """Combination -> its label without the factors that stand on the axis (those that set one of `paths`)."""
    declared = material.experiment.get("factors") or {}
    on_axis = {name for name, factor in declared.items() if _sets(factor, paths)}
    on_axis |= {"emulation"} if paths == EMULATION else {"sites", "database hosts", "Keystone hosts", "Rallies"}
    on_axis -= {"backend"}
    labels = {}
    for one in material.combinations:
        rest = {name: level for name, level in one.factors.items() if name not in on_axis and name != "backend"}
        words = [one.backend, *(f"{name} {level}" for name, level in rest.items())]
        labels[one.index] = ", ".join(words)
    return labels


def _sets(factor: Any, paths: Sequence[str]) -> bool:
    """Whether a factor changes nothing but configuration paths that begin with one of `paths`."""
    if not isinstance(factor, Mapping):
        return False
    levels = factor.get("levels")
    touched = {str(factor["path"])} if factor.get("path") else set()
    if isinstance(levels, Mapping):
        touched |= {str(path) for values in levels.values() if isinstance(values, Mapping) for path in values}
    return bool(touched) and all(path.split(".")[0] in paths for path in touched)
