"""The numbers of a report: per scenario and combination, from the runs that repeat one another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enos_crdb import stats
from enos_crdb.model import STEADY
from enos_crdb.report.material import Combination, Material, Measured
from enos_crdb.stats import ITERATION
from enos_crdb.summary import headlines

if TYPE_CHECKING:
    import numpy
    import pandas

    from enos_crdb.stats import Estimate

SHOWN = ("mean", "p50", "p95", "p99")
MS = 1000.0


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """One scenario in one combination, over all its runs. Durations in seconds, throughput per second."""

    scenario: str
    combination: Combination
    runs: int
    n: int
    failures: int
    never: int
    durations: Mapping[str, Estimate]
    throughput: Estimate
    client_cpu: float
    round_trips: float
    replays: float
    gave_up: int
    statuses: tuple[str, ...]

    def ms(self, statistic: str) -> tuple[float, float, float]:
        """Value, low and high of ``mean``, ``p50``, ``p95`` or ``p99``, in milliseconds."""
        found = self.durations[statistic]
        return MS * found.value, MS * found.low, MS * found.high


def numbers(material: Material) -> tuple[Numbers, ...]:
    """Every scenario of every combination, scenarios in the order they were run."""
    return tuple(
        _numbers(scenario, combination, material)
        for scenario in material.scenarios
        for combination in material.combinations
        if combination.having(scenario)
    )


def others(material: Material, scenario: str, *but: Combination) -> list[Sequence[Measured]]:
    """The runs of each other combination that has the scenario: they tell how runs scatter, too."""
    known = {one.index for one in but}
    found = (one.having(scenario) for one in material.combinations if one.index not in known)
    return [runs for runs in found if runs]


def _numbers(scenario: str, combination: Combination, material: Material) -> Numbers:
    runs = combination.having(scenario)
    rows = [row for run in runs for row in headlines(run.summary.rows) if row.statistics.scenario == scenario]
    rest = others(material, scenario, combination)
    among = [durations(one, scenario) for one in rest]
    n, failures = sum(row.statistics.n for row in rows), sum(row.statistics.failures for row in rows)
    # Keystone counted the warm-up, too.
    sent = [(row.traffic, row.iterations) for row in rows if row.traffic is not None and row.iterations]
    counted = sum(made for _, made in sent)
    return Numbers(
        scenario=scenario,
        combination=combination,
        runs=len(runs),
        n=n,
        failures=failures,
        never=sum(row.never for row in rows),
        durations=dict(zip(SHOWN, stats.estimates(durations(runs, scenario), SHOWN, among=among), strict=True)),
        throughput=stats.throughput_of(iterations(runs, scenario), among=[iterations(one, scenario) for one in rest]),
        client_cpu=max((row.client_cpu for row in rows if not math.isnan(row.client_cpu)), default=math.nan),
        round_trips=sum(found.round_trips for found, _ in sent) / counted if counted else math.nan,
        replays=sum(found.replays for found, _ in sent) / counted if counted else math.nan,
        gave_up=sum(found.gave_up for found, _ in sent),
        statuses=tuple(sorted({row.status for row in rows} - {"ok"})),
    )


def iterations(runs: Sequence[Measured], scenario: str) -> dict[tuple[str, str], pandas.DataFrame]:
    """(deployment, run) -> its steady iterations, failed ones included."""
    found = {(run.deployment, run.name): run.rows(scenario, ITERATION) for run in runs}
    return {key: rows[rows["window"] == STEADY] for key, rows in found.items()}


def durations(runs: Sequence[Measured], scenario: str, metric: str = "") -> dict[tuple[str, str], numpy.ndarray]:
    """(deployment, run) -> durations (s) of the successful ones, as `stats` takes them.

    Of an atomic action, or of whatever counts as the scenario's duration.
    """
    return {(run.deployment, run.name): run.good_s(scenario, metric) for run in runs}


def in_ms(name: str, found: Estimate) -> dict[str, Any]:
    """The cells of an estimate of seconds, in milliseconds, as `parts.estimated` shows them."""
    return {
        f"{name}_ms": MS * found.value,
        f"{name}_ms_low": MS * found.low,
        f"{name}_ms_high": MS * found.high,
        f"{name}_ms_sparse": found.sparse,
    }
