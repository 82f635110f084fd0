"""The results: a table per scenario, distributions, atomic actions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from enos_crdb import stats
from enos_crdb.model import RESPONSE, slug
from enos_crdb.report import drawing, figures, parts
from enos_crdb.report.figures import Distribution
from enos_crdb.report.material import Combination, Material
from enos_crdb.report.numbers import Numbers, durations, in_ms, others
from enos_crdb.report.parts import Column, Figure, Section, Table
from enos_crdb.stats import ITERATION

SERIES = 6
"""Most lines of one figure; above, there is a figure per backend."""


def short(scenario: str) -> str:
    """A scenario's name as it is shown."""
    return scenario.removeprefix("keystone/")


def file_name(*words: str) -> str:
    """A name for the files of a figure or a table."""
    text = "-".join(words).lower()
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text)
    return "-".join(part for part in kept.split("-") if part)


UNITS = (
    "durations in milliseconds; ok/s is successful iterations per second; SQL round trips and replays per iteration, "
    "what Rally prepares left out; Rally CPU is the share of the processors it could use."
)


def results(material: Material, found: Sequence[Numbers]) -> Section:
    """A table per scenario with a line per combination; one table of all scenarios when there is one combination."""
    lead: tuple[str, ...] = (
        "Durations are of successful iterations in the steady window; failed ones are counted beside them. "
        "In brackets: the interval in which the value lies with 95 % confidence. 'Covers' says what may be repeated "
        "for a value in it: deployments, runs, or only the iterations of these runs, which cannot tell how much runs "
        "differ; and how many there are, with the degrees of freedom, to which all combinations of the scenario add. "
        "\N{INFINITY}: the values do not tell where the interval ends. "
        "\N{DAGGER}: so few values lie beyond this percentile that its interval is not to be trusted.",
    )
    if any(run.headline(scenario) == RESPONSE for run in material.runs for scenario in run.scenarios):
        lead += (
            "Open loop: durations count from when an iteration was meant to start, so that waiting behind slow ones is "
            "in them.",
        )
    if material.several:
        tables = [
            _table(f"{short(scenario)}: {UNITS}", found, ("results", short(scenario)), _by_combination(found, scenario))
            for scenario in material.scenarios
        ]
    else:
        tables = [_table(UNITS[0].upper() + UNITS[1:], found, ("results",), found)]
    return Section(anchor="results", title="Results", lead=lead, parts=tuple(tables))


def _by_combination(found: Sequence[Numbers], scenario: str) -> Sequence[Numbers]:
    return [one for one in found if one.scenario == scenario]


def _table(caption: str, found: Sequence[Numbers], name: Sequence[str], shown: Sequence[Numbers]) -> Table:
    """The same columns in every table of a page: those that `found` has values for."""
    columns: list[Column] = [
        parts.text("scenario", "scenario") if len(name) == 1 else parts.text("combination", "combination"),
        parts.count("runs", "runs"),
        parts.count("iterations", "iterations"),
        parts.count("failed", "failed"),
        parts.text("covers", "covers"),
    ]
    if any(one.never for one in found):
        columns.append(parts.count("never started", "never_started"))
    columns += [parts.estimated(f"{name} (ms)", f"{name}_ms") for name in ("mean", "p50", "p95", "p99")]
    columns += [parts.ranged("ok/s", "throughput_per_s")]
    if any(not math.isnan(one.round_trips) for one in found):
        columns += [parts.measure("SQL round trips", "sql_round_trips"), parts.measure("replays", "sql_replays")]
    if any(one.gave_up for one in found):
        columns.append(parts.count("given up", "sql_gave_up"))
    columns += [parts.measure("Rally CPU (%)", "rally_cpu_percent")]
    if any(one.statuses for one in found):
        columns.append(parts.text("could not run", "statuses"))
    return Table(
        name=file_name(*name),
        caption=caption,
        columns=tuple(columns),
        rows=tuple(_row(one) for one in shown),
    )


def _row(one: Numbers) -> dict[str, Any]:
    row: dict[str, Any] = {
        "scenario": short(one.scenario),
        "combination": one.combination.label,
        "runs": one.runs,
        "iterations": one.n,
        "failed": one.failures,
        "never_started": one.never,
        "covers": covers(one.durations["p50"]),
        "throughput_per_s": one.throughput.value,
        "throughput_per_s_low": one.throughput.low,
        "throughput_per_s_high": one.throughput.high,
        "sql_round_trips": one.round_trips,
        "sql_replays": one.replays,
        "sql_gave_up": one.gave_up,
        "rally_cpu_percent": 100 * one.client_cpu,
        "statuses": ", ".join(one.statuses),
    }
    for name, found in one.durations.items():
        row |= in_ms(name, found)
    return row


def covers(found: stats.Estimate) -> str:
    """What an interval covers, of how many units, and its degrees of freedom."""
    if found.covers == "iterations" or math.isnan(found.freedom):
        return "iterations"
    kind = found.covers.partition(",")[0].partition(" ")[0]
    missing = "; deployments not covered" if kind == "runs" and found.deployments > 1 else ""
    return f"{found.units} {kind}, {found.freedom:g} df{missing}"


def distributions(material: Material) -> Section:
    """Cumulative distributions, failures in them."""
    lead = (
        "A line tells which share of all iterations had succeeded within a time, and ends where the last one did. "
        "Where iterations failed, or were meant to start and never did, it ends below 1, at a cross: the rest never "
        "succeeded.",
    )
    pictures = [
        picture for index, scenario in enumerate(material.scenarios, 1) for picture in _cdfs(index, scenario, material)
    ]
    return Section(anchor="distributions", title="Distributions", lead=lead, parts=tuple(pictures))


def _cdfs(index: int, scenario: str, material: Material) -> Iterator[Figure]:
    combinations = [one for one in material.combinations if one.having(scenario)]
    groups: dict[str, list[Combination]] = {"": combinations}
    if len(combinations) > SERIES:
        groups = {}
        for combination in combinations:
            groups.setdefault(combination.backend, []).append(combination)
    for backend, group in groups.items():
        found = [_distribution(one, scenario) for one in group]
        total, failed = sum(one.n for one in found), sum(one.failures for one in found)
        if not total:
            continue
        title = short(scenario) + (f", {backend}" if backend else "")
        yield Figure(
            name=file_name("cdf", slug(index, scenario), backend),
            caption=f"{title}: share of all iterations that succeeded within a duration. "
            f"{total} iterations, {failed} failed.",
            alternative=f"Cumulative distribution of the durations of {title}. " + "; ".join(map(_told, found)),
            draw=partial(figures.distributions, title, found),
        )


def _distribution(combination: Combination, scenario: str) -> Distribution:
    import numpy

    runs = combination.having(scenario)
    values = numpy.sort(numpy.concatenate([run.good_s(scenario) for run in runs])) * 1000
    return Distribution(
        label=combination.label,
        look=drawing.look(combination.index),
        sorted_ms=values,
        n=sum(run.count(scenario) + run.never(scenario) for run in runs),
    )


def _told(one: Distribution) -> str:
    if not len(one.sorted_ms):
        return f"{one.label}: all failed"
    middle = float(one.sorted_ms[len(one.sorted_ms) // 2])
    return f"{one.label}: median {parts.number(middle)} ms, {one.failures} of {one.n} failed"


OF_ACTIONS = ("mean", "p50", "p95")
"""What is told of atomic actions."""


def actions(material: Material) -> Section:
    """What iterations are made of."""
    rows = [
        row
        for scenario in material.scenarios
        for one in material.combinations
        for row in _actions(scenario, one, material)
    ]
    columns = [parts.text("scenario", "scenario"), parts.text("action", "action")]
    columns += [parts.text("combination", "combination")] if material.several else []
    columns += [parts.count("n", "n"), parts.count("failed", "failed")]
    columns += [parts.estimated(f"{name} (ms)", f"{name}_ms") for name in OF_ACTIONS]
    table = Table(
        name="actions",
        caption="Atomic actions: durations in milliseconds of those that succeeded, with 95 % intervals as above.",
        columns=tuple(columns),
        rows=tuple(rows),
    )
    lead = ("An iteration is made of these; what is missing to its duration is Rally's own time.",)
    return Section(anchor="actions", title="Atomic actions", lead=lead, parts=(table,) if rows else ())


def _actions(scenario: str, combination: Combination, material: Material) -> Iterator[Mapping[str, Any]]:
    runs = combination.having(scenario)
    metrics = dict.fromkeys(
        row.statistics.metric
        for run in runs
        for row in run.summary.rows
        if row.statistics.scenario == scenario and row.statistics.metric not in (ITERATION, RESPONSE)
    )
    for metric in metrics:
        good = durations(runs, scenario, metric)
        made = sum(run.count(scenario, metric) for run in runs)
        row: dict[str, Any] = {
            "scenario": short(scenario),
            "action": metric,
            "combination": combination.label,
            "n": made,
            "failed": made - sum(map(len, good.values())),
        }
        among = [durations(one, scenario, metric) for one in others(material, scenario, combination)]
        for name, found in zip(OF_ACTIONS, stats.estimates(good, OF_ACTIONS, among=among), strict=True):
            row |= in_ms(name, found)
        yield row
