"""Statistics of samples. Ours, from every iteration: Rally's own mix failed and successful ones.

For one metric of one scenario, over all its clients, in the steady window (warm-up and what follows are left out):

- ``n``: measurements, failures included; ``failures``: those that failed.
- ``mean``, ``p50``, ``p95``, ``p99``: of the successful ones only, in the samples' unit. Percentile q is the value at
  rank (k - 1) q / 100 of the k sorted values, linear between neighbours (NumPy's default). NaN when none succeeded.
- ``throughput``: successful ones per second of the load window, which lasts from the start of the first iteration
  to the end of the last one, failed ones included. 0 when all failed, NaN when there was no iteration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enos_crdb.model import STEADY
from enos_crdb.stats.samples import ITERATION

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """One metric of one scenario. Durations in seconds, throughput per second; ``window`` is (start, end), epoch."""

    scenario: str
    metric: str
    n: int
    failures: int
    mean: float
    p50: float
    p95: float
    p99: float
    throughput: float
    window: tuple[float, float]


def statistics(table: pandas.DataFrame, scenarios: Sequence[str] | None = None) -> tuple[Statistics, ...]:
    """Per scenario (in the order of `scenarios`, or of appearance), the whole iteration first, then each action."""
    found: list[Statistics] = []
    table = table[table["window"] == STEADY]
    for scenario in scenarios if scenarios is not None else list(dict.fromkeys(table["scenario"])):
        rows = table[table["scenario"] == scenario]
        window = _window(rows[rows["metric"] == ITERATION])
        metrics = [ITERATION, *(metric for metric in dict.fromkeys(rows["metric"]) if metric != ITERATION)]
        found += [_describe(scenario, metric, rows[rows["metric"] == metric], window) for metric in metrics]
    return tuple(found)


def _window(iterations: pandas.DataFrame) -> tuple[float, float]:
    if iterations.empty:
        return math.nan, math.nan
    return float(iterations["started_at"].min()), float((iterations["started_at"] + iterations["value"]).max())


def _describe(scenario: str, metric: str, rows: pandas.DataFrame, window: tuple[float, float]) -> Statistics:
    good = rows.loc[rows["outcome"] == "ok", "value"]
    p50, p95, p99 = (float(good.quantile(q)) for q in (0.50, 0.95, 0.99))
    seconds = window[1] - window[0]
    return Statistics(
        scenario=scenario,
        metric=metric,
        n=len(rows),
        failures=len(rows) - len(good),
        mean=float(good.mean()),
        p50=p50,
        p95=p95,
        p99=p99,
        throughput=len(good) / seconds if seconds > 0 else math.nan,
        window=window,
    )
