"""Numbers with intervals: mean, quantiles, throughput, share of failures. Values only.

Every interval says what it covers: with a single run the scatter of its iterations, and nothing of how another run
would differ. See `resampling` for how it is made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from enos_crdb.model import STEADY
from enos_crdb.stats.resampling import RESAMPLES, Nested, nested, spreads
from enos_crdb.stats.samples import ITERATION

if TYPE_CHECKING:
    import numpy
    import pandas
    from numpy.typing import ArrayLike, NDArray

SLICES = 10
"""Slices of a lone run's load in which iterations are counted, for the interval of its throughput."""
PER_SLICE = 4
"""Iterations that a slice has to have: what is counted in whole numbers scatters by rounding."""
BEYOND = 5
"""With fewer values beyond a quantile, its interval ends where the values end, not where the truth may be."""
DEFAULT: tuple[str, ...] = ("mean", "p50", "p95", "p99")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """``value`` lies between ``low`` and ``high`` with `confidence`, all in the unit of the values.

    ``covers``: ``iterations`` (one run), ``runs and iterations``, or ``deployments, runs and iterations``.
    ``sparse``: too few values beyond the quantile for its interval to be trusted. NaN where nothing is known.
    """

    statistic: str
    value: float
    low: float
    high: float
    confidence: float
    n: int
    runs: int
    deployments: int
    covers: str
    sparse: bool = False

    @property
    def relative_width(self) -> float:
        """Width of the interval as a share of the value: 0.1 is about plus or minus 5 %."""
        return (self.high - self.low) / abs(self.value) if self.value else math.nan


def by_run(
    table: pandas.DataFrame, scenario: str | None = None, metric: str = ITERATION
) -> dict[tuple[str, str], NDArray[numpy.float64]]:
    """(deployment, run) -> durations of what succeeded in the steady window, in the order in which it began.

    `table` is that of `loading.load` or `stats.read`, or rows of it; `scenario` may be None when it has only one.
    """
    rows = steady(table, scenario, metric)
    rows = rows[rows["outcome"] == "ok"].sort_values("started_at", kind="stable")
    return {key: group["value"].to_numpy() for key, group in _runs(rows)}


def steady(table: pandas.DataFrame, scenario: str | None, metric: str) -> pandas.DataFrame:
    """Rows of one metric of one scenario in the steady window, failed ones included."""
    chosen = (table["metric"] == metric) & (table["window"] == STEADY)
    return table[chosen & (table["scenario"] == scenario) if scenario is not None else chosen]


def _runs(rows: pandas.DataFrame) -> list[tuple[tuple[str, str], pandas.DataFrame]]:
    """Rows by (deployment, run), in the order of their names; a table of one run has no column ``deployment``."""
    if "deployment" not in rows:
        return [(("", str(run)), group) for run, group in rows.groupby("run", observed=True)]
    groups = rows.groupby(["deployment", "run"], observed=True)
    return [((str(deployment), str(run)), group) for (deployment, run), group in groups]


def estimate(
    values_by_run: Mapping[Any, ArrayLike] | Sequence[ArrayLike],
    statistic: str | float = "p50",
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 1,
) -> Estimate:
    """One statistic of all values together, with its interval; see `estimates`."""
    (found,) = estimates(values_by_run, (statistic,), confidence=confidence, resamples=resamples, seed=seed)
    return found


def estimates(
    values_by_run: Mapping[Any, ArrayLike] | Sequence[ArrayLike],
    statistics: Sequence[str | float] = DEFAULT,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 1,
) -> tuple[Estimate, ...]:
    """Several statistics of the same values, cheaper than one after the other.

    `values_by_run` maps (deployment, run) to values, as `by_run` makes it; or is a sequence of runs of one deployment.
    A statistic is ``mean``, ``p50``, ``p99.9`` or a quantile between 0 and 1. Values of all runs are taken together, as
    in a table of one run: a run with more iterations weighs more. Raises `ValueError` for another statistic.
    """
    data = nested(values_by_run)
    quantiles = [quantile(one) for one in statistics]
    if not data.n:
        return tuple(_estimate(data, q, (math.nan,) * 3, confidence) for q in quantiles)
    found = spreads(data, quantiles, resamples=resamples, seed=seed)
    return tuple(
        _estimate(data, q, (plain(data, q), *spread.interval(confidence)), confidence)
        for q, spread in zip(quantiles, found, strict=True)
    )


def _estimate(data: Nested, q: float | None, numbers: tuple[float, ...], confidence: float) -> Estimate:
    value, low, high = numbers
    # The ends come from logarithms, and of a large table from its grid: they may miss equal values by rounding.
    if not math.isnan(low):
        low, high = min(low, value), max(high, value)
    return Estimate(
        statistic="mean" if q is None else f"p{100 * q:g}",
        value=value,
        low=low,
        high=high,
        confidence=confidence,
        n=data.n,
        runs=len(data.values),
        deployments=data.deployments,
        covers=data.covers,
        sparse=q is not None and data.n * min(q, 1 - q) < BEYOND,
    )


def quantile(statistic: str | float) -> float | None:
    """0.5 for ``p50`` or 0.5, None for ``mean``. Raises `ValueError`."""
    if statistic == "mean":
        return None
    if isinstance(statistic, str):
        match = re.fullmatch(r"p(\d+(?:\.\d+)?)", statistic)
        statistic = float(match[1]) / 100 if match else math.nan
    if not 0 <= statistic <= 1:
        raise ValueError("a statistic is 'mean', a percentile such as 'p50' or 'p99.9', or a quantile from 0 to 1")
    return statistic


def plain(data: Nested, q: float | None) -> float:
    """The statistic itself, of all values together."""
    import numpy

    pooled = numpy.concatenate(data.values)
    return float(pooled.mean() if q is None else numpy.quantile(pooled, q))


def throughput(
    table: pandas.DataFrame,
    scenario: str | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 1,
) -> Estimate:
    """Successful iterations per second, the mean of all runs, each from its first start to its last end.

    With a single run, its load is cut into slices of equal length, in which successful ends are counted: their scatter
    stands for that of iterations, which are not independent (batch means: Law 2015, *Simulation Modeling and Analysis*,
    section 9.5.3).
    """
    runs = _runs(steady(table, scenario, ITERATION))
    rates = {key: _rates(group, slices=1 if len(runs) > 1 else SLICES) for key, group in runs}
    found = estimate(rates, "mean", confidence=confidence, resamples=resamples, seed=seed)
    return replace(found, statistic="throughput", n=sum(len(group) for _, group in runs))


def _rates(iterations: pandas.DataFrame, *, slices: int) -> NDArray[numpy.float64]:
    """Successful ends per second in each slice; empty when the load lasted no time."""
    import numpy

    ends = (iterations["started_at"] + iterations["value"]).to_numpy()
    first, last = float(iterations["started_at"].min()), float(ends.max())
    if not last > first:
        return numpy.empty(0)
    slices = max(1, min(slices, len(ends) // PER_SLICE))
    succeeded = ends[(iterations["outcome"] == "ok").to_numpy()]
    counts, _ = numpy.histogram(succeeded, bins=slices, range=(first, last))
    return counts / ((last - first) / slices)


def failures(
    table: pandas.DataFrame, scenario: str | None = None, metric: str = ITERATION, *, confidence: float = 0.95
) -> Estimate:
    """The share of measurements that failed; see `failure_share`."""
    counts = {
        key: (int((group["outcome"] != "ok").sum()), len(group))
        for key, group in _runs(steady(table, scenario, metric))
    }
    return failure_share(counts, confidence=confidence)


def failure_share(
    counts_by_run: Mapping[Any, tuple[int, int]] | Sequence[tuple[int, int]], *, confidence: float = 0.95
) -> Estimate:
    """The share of failures from (failed, all) of each run, with Wilson's score interval (Wilson 1927).

    Failures come in bursts. Where runs differ by more than chance would have it, failed and all are divided by how much
    more (the design effect of Rao and Scott 1992, *Biometrics* 48), which widens the interval. With one run nobody can
    tell, and the interval covers its iterations only.
    """
    keys = list(counts_by_run) if isinstance(counts_by_run, Mapping) else [("", i) for i in range(len(counts_by_run))]
    pairs = list(counts_by_run.values()) if isinstance(counts_by_run, Mapping) else list(counts_by_run)
    runs = [(failed, n) for failed, n in pairs if n]
    failed, n = sum(one for one, _ in runs), sum(one for _, one in runs)
    effect = _design_effect(runs)
    low, high = wilson(failed / effect, n / effect, confidence) if n else (math.nan, math.nan)
    return Estimate(
        statistic="failure share",
        value=failed / n if n else math.nan,
        low=low,
        high=high,
        confidence=confidence,
        n=n,
        runs=len(runs),
        deployments=len({key[0] if isinstance(key, tuple) else "" for key in keys}),
        covers="runs and iterations" if len(runs) > 1 else "iterations",
    )


def _design_effect(runs: Sequence[tuple[int, int]]) -> float:
    """Variance of the share between runs, as a multiple of what chance alone would give; at least 1."""
    failed, n = sum(one for one, _ in runs), sum(one for _, one in runs)
    if len(runs) < 2 or failed in (0, n):
        return 1.0
    share = failed / n
    between = len(runs) / (len(runs) - 1) * sum((k - m * share) ** 2 for k, m in runs) / n**2
    return max(1.0, between * n / (share * (1 - share)))


def wilson(failed: float, n: float, confidence: float) -> tuple[float, float]:
    """Both ends, for counts that need not be whole."""
    from scipy import special

    z2 = float(special.ndtri((1 + confidence) / 2)) ** 2
    centre = (failed + z2 / 2) / (n + z2)
    half = math.sqrt(z2 * (failed * (n - failed) / n + z2 / 4)) / (n + z2)
    return max(0.0, centre - half), min(1.0, centre + half)


def enough(estimate: Estimate, relative_width: float) -> Literal["enough", "more"]:
    """``enough`` when the interval is at most `relative_width` of the value wide, and covers more than one run."""
    narrow = estimate.relative_width <= relative_width  # never true of NaN
    return "enough" if narrow and estimate.runs > 1 and not estimate.sparse else "more"
