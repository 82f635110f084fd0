"""Numbers with intervals: mean, quantiles, throughput, share of failures. Values only.

Every interval says what it covers: with a single run the scatter of its iterations, and nothing of how another run
would differ. With several, it is Student's t over the highest units that are enough; see `units`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from enos_crdb.model import STEADY
from enos_crdb.stats.samples import ITERATION
from enos_crdb.stats.units import COVERS, FEWEST, LEVELS, Nested, effective, nested, of, spread, student

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

    ``covers``: ``iterations``, ``runs and iterations``, or ``deployments, runs and iterations``; ``units`` of that kind
    were there, and ``freedom`` is the degrees of freedom of Student's t (NaN for a quantile of iterations).
    ``sparse``: too few values beyond the quantile for its interval to be trusted. NaN where nothing is known, infinite
    (or 0) where the values do not tell where the interval ends.
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
    units: int = 0
    freedom: float = math.nan
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


Runs = Mapping[Any, "ArrayLike"] | Sequence["ArrayLike"]


def estimate(values_by_run: Runs, statistic: str | float = "p50", **options: Any) -> Estimate:
    """One statistic of all values together, with its interval; see `estimates`."""
    (found,) = estimates(values_by_run, (statistic,), **options)
    return found


def estimates(
    values_by_run: Runs,
    statistics: Sequence[str | float] = DEFAULT,
    *,
    among: Sequence[Runs] = (),
    confidence: float = 0.95,
) -> tuple[Estimate, ...]:
    """Several statistics of the same values. Intervals of higher quantiles begin and end no lower than those below.

    `values_by_run` maps (deployment, run) to values, as `by_run` makes it; or is a sequence of runs of one deployment.
    Each run's values stand in the order of measurement. `among`: other combinations of the same scenario, which tell
    how runs scatter, too. A statistic is ``mean``, ``p50``, ``p99.9`` or a quantile between 0 and 1. Values of all runs
    are taken together, as in a table of one run: a run with more iterations weighs more. Raises `ValueError` for
    another statistic.
    """
    data, others = nested(values_by_run), [nested(one) for one in among]
    quantiles = [quantile(one) for one in statistics]
    found = [_estimate(data, others, q, confidence) for q in quantiles]
    return tuple(_monotone(one, q, found, quantiles) for one, q in zip(found, quantiles, strict=True))


def units_wanted(
    values_by_run: Runs,
    statistic: str | float,
    relative_width: float,
    *,
    among: Sequence[Runs] = (),
    confidence: float = 0.95,
) -> int | None:
    """How many units (of the level that can tell) give an interval so narrow: the second of Stein's two stages.

    (Stein 1945, *Ann. Math. Stat.* 16.) `values_by_run` and `among` are those of the first stage. None when they do not
    tell how units scatter.
    """
    data = nested(values_by_run)
    try:
        known = spread(data, [nested(one) for one in among], quantile(statistic)) if data.n else None
    except ValueError:
        known = None
    if known is None:
        return None
    # Both ends of an interval on the logarithm that is so wide for its value.
    half = math.asinh(relative_width / 2)
    return max(1, math.ceil((known.half_width(1, confidence) / half) ** 2))


def _estimate(data: Nested, others: Sequence[Nested], q: float | None, confidence: float) -> Estimate:
    value = of(data.values, q) if data.n else math.nan
    level, low, high, units, freedom = _interval(data, others, q, value, confidence)
    smallest = min((sum(map(len, runs)) for runs in data.units(level)), default=0) if level in LEVELS else data.n
    return Estimate(
        statistic="mean" if q is None else f"p{100 * q:g}",
        value=value,
        low=low,
        high=high,
        confidence=confidence,
        n=data.n,
        runs=len(data.values),
        deployments=data.deployments,
        covers=COVERS[level],
        units=units,
        freedom=freedom,
        sparse=q is not None and smallest * min(q, 1 - q) < BEYOND,
    )


def _interval(
    data: Nested, others: Sequence[Nested], q: float | None, value: float, confidence: float
) -> tuple[str, float, float, int, float]:
    """Level, both ends, own units of the level, degrees of freedom."""
    if not data.n:
        return "iterations", math.nan, math.nan, 0, math.nan
    try:
        known = spread(data, others, q)
    except ValueError:  # something is not positive: only its own iterations are left
        known = None
    if known is None:
        return "iterations", *_of_iterations(data, q, confidence)
    units = len(data.units(known.level))
    stretch = math.exp(known.half_width(units, confidence))
    return known.level, value / stretch, value * stretch, units, float(known.freedom)


def _of_iterations(data: Nested, q: float | None, confidence: float) -> tuple[float, float, int, float]:
    """As far as iterations tell, of which neighbours are alike.

    A mean by Student's t, a quantile by the values whose ranks hold it (Clopper and Pearson 1934, for a share of so
    many effective values). A rank beyond the last value leaves the interval open.
    """
    import numpy
    from scipy import special

    pooled = numpy.concatenate(data.values)
    n = sum(effective(run) for run in data.values)
    value = of(data.values, q)
    if q is None:
        if n <= 1:
            return math.nan, math.nan, data.n, math.nan
        half = student(n - 1, confidence) * float(pooled.std(ddof=1)) / math.sqrt(n)
        if value <= 0:
            return value - half, value + half, data.n, n - 1
        return value * math.exp(-half / value), value * math.exp(half / value), data.n, n - 1
    tail = (1 - confidence) / 2
    levels = special.betaincinv(q * n, (1 - q) * n + 1, tail), special.betaincinv(q * n + 1, (1 - q) * n, 1 - tail)
    low, high = (float(numpy.quantile(pooled, level)) for level in levels)
    if data.n == 1:
        return math.nan, math.nan, 1, math.nan
    if pooled.min() == pooled.max():
        return low, high, data.n, math.nan
    return (
        0.0 if (1 - q) ** n > tail else low,
        math.inf if q**n > tail else high,
        data.n,
        math.nan,
    )


def _monotone(one: Estimate, q: float | None, found: Sequence[Estimate], quantiles: Sequence[float | None]) -> Estimate:
    """What is longer than most is no shorter than what is longer than half."""
    if q is None or math.isnan(one.low):
        return one
    below = [other for other, level in zip(found, quantiles, strict=True) if level is not None and level <= q]
    return replace(one, low=max(other.low for other in below), high=max(other.high for other in below))


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


def throughput(table: pandas.DataFrame, scenario: str | None = None, *, confidence: float = 0.95) -> Estimate:
    """Successful iterations per second, the mean of all runs; see `throughput_of`. `table` as in `by_run`."""
    return throughput_of(dict(_runs(steady(table, scenario, ITERATION))), confidence=confidence)


def throughput_of(
    runs: Mapping[Any, pandas.DataFrame],
    *,
    among: Sequence[Mapping[Any, pandas.DataFrame]] = (),
    confidence: float = 0.95,
) -> Estimate:
    """Successful iterations per second, the mean of all runs, each from its first start to its last end.

    (deployment, run) -> its steady iterations, failed ones included; `among` as in `estimates`. With a single run, its
    load is cut into slices of equal length, in which successful ends are counted: their scatter stands for that of
    iterations, which are not independent (batch means: Law 2015, *Simulation Modeling and Analysis*, section 9.5.3).
    """
    one_each = [{key: _rates(rows, slices=1) for key, rows in group.items()} for group in among]
    rates = {key: _rates(rows, slices=1 if len(runs) > 1 else SLICES) for key, rows in runs.items()}
    found = estimate(rates, "mean", among=one_each, confidence=confidence)
    return replace(found, statistic="throughput", n=sum(map(len, runs.values())))


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

    Failures come in bursts. Over three runs or more, failed and all are divided by how much more the runs differ than
    chance would have it (the design effect of Rao and Scott 1992, *Biometrics* 48), and by how little so few runs tell
    of that (Student's t over the normal quantile, squared: Korn and Graubard 1998, *Survey Methodology* 24). With fewer
    nobody can tell, and the interval covers their iterations only.
    """
    keys = list(counts_by_run) if isinstance(counts_by_run, Mapping) else [("", i) for i in range(len(counts_by_run))]
    pairs = list(counts_by_run.values()) if isinstance(counts_by_run, Mapping) else list(counts_by_run)
    runs = [(failed, n) for failed, n in pairs if n]
    failed, n = sum(one for one, _ in runs), sum(one for _, one in runs)
    several = len(runs) > FEWEST
    effect = _design_effect(runs, confidence) if several else 1.0
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
        covers=COVERS["runs" if several else "iterations"],
        units=len(runs) if several else n,
        freedom=float(len(runs) - 1) if several else math.nan,
    )


def _design_effect(runs: Sequence[tuple[int, int]], confidence: float) -> float:
    """By what counts have to be divided to be as good as independent ones; at least 1."""
    from scipy import special

    failed, n = sum(one for one, _ in runs), sum(one for _, one in runs)
    if failed in (0, n):
        return 1.0
    share = failed / n
    between = len(runs) / (len(runs) - 1) * sum((k - m * share) ** 2 for k, m in runs) / n**2
    few = student(len(runs) - 1, confidence) / float(special.ndtri((1 + confidence) / 2))
    return max(1.0, between * n / (share * (1 - share)) * few**2)


def wilson(failed: float, n: float, confidence: float) -> tuple[float, float]:
    """Both ends, for counts that need not be whole."""
    from scipy import special

    z2 = float(special.ndtri((1 + confidence) / 2)) ** 2
    centre = (failed + z2 / 2) / (n + z2)
    half = math.sqrt(z2 * (failed * (n - failed) / n + z2 / 4)) / (n + z2)
    return max(0.0, centre - half), min(1.0, centre + half)
