"""The bootstrap of nested data: deployments, runs in them, iterations in those.

One resample draws as many deployments as there are, with replacement; from each, as many of its runs; from each, as
many of its iterations (Davison and Hinkley 1997, *Bootstrap Methods and their Application*, section 3.8).

Such resamples give the shape of an interval, not its width. They count the scatter of iterations twice, once among the
runs' own values, and with G units at the top they see (G - 1) / G of the variance between them (ibid.). So the shape is
stretched about the estimate until its variance is the jackknife's over whole units, which has neither fault (Cameron,
Gelbach and Miller 2008), and by Student's t over the normal quantile, because few units say little of their own spread.
It is never below what the scatter of iterations alone gives. Durations are treated on their logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[numpy.float64]

RESAMPLES = 1000
LITERAL = 1000
"""Up to so many iterations, each is drawn. Above, the normal approximation of the same draw takes their place."""
GRID = 2048
"""Points of the distribution that are kept above `LITERAL`."""
FEWEST = 3
"""Fewer deployments than this do not tell their spread: the runs are taken for the highest level."""


@dataclass(frozen=True, kw_only=True)
class Nested:
    """Values of several runs. ``deployment``: for each run the number of its deployment, from 0."""

    values: tuple[Array, ...]
    deployment: tuple[int, ...]

    @property
    def n(self) -> int:
        return sum(len(run) for run in self.values)

    @property
    def deployments(self) -> int:
        return len(set(self.deployment))

    @property
    def top(self) -> tuple[tuple[int, ...], ...]:
        """Units of the highest level that can tell its spread: for each, the numbers of its runs."""
        if self.deployments >= FEWEST:
            numbers = sorted(set(self.deployment))
            return tuple(tuple(i for i, one in enumerate(self.deployment) if one == d) for d in numbers)
        return tuple((i,) for i in range(len(self.values)))

    @property
    def covers(self) -> str:
        """Which scatter an interval includes."""
        if len(self.values) < 2:
            return "iterations"
        return "deployments, runs and iterations" if self.deployments >= FEWEST else "runs and iterations"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A statistic, its resamples, and the variance and degrees of freedom that its interval is to have.

    All of them are of the statistic's logarithm when ``logarithmic``.
    """

    value: float
    resamples: Array
    variance: float
    freedom: float
    logarithmic: bool

    def interval(self, confidence: float) -> tuple[float, float]:
        """Percentiles of the resamples, stretched as said above; NaN when nothing is known of the spread."""
        import numpy
        from scipy import special

        tail = (1 - confidence) / 2
        deviation = float(numpy.std(self.resamples))
        if not (self.freedom > 0 and math.isfinite(deviation)):
            return math.nan, math.nan
        wide = float(special.stdtrit(self.freedom, 1 - tail) / special.ndtri(1 - tail))
        stretch = wide * math.sqrt(self.variance) / deviation if deviation > 0 else 0.0
        ends = self.value + stretch * (numpy.quantile(self.resamples, [tail, 1 - tail]) - self.value)
        low, high = (numpy.exp(ends) if self.logarithmic else ends).tolist()
        return low, high


def nested(by_run: Mapping[Any, ArrayLike] | Sequence[ArrayLike]) -> Nested:
    """Runs with at least one value, from a mapping (deployment, run) -> values, or from runs of one deployment."""
    import numpy

    pairs = list(by_run.items()) if isinstance(by_run, Mapping) else [(("", i), run) for i, run in enumerate(by_run)]
    names: dict[Any, int] = {}
    values, deployment = [], []
    for key, run in pairs:
        array = numpy.sort(numpy.asarray(run, dtype=float))
        if len(array):
            values.append(array)
            deployment.append(names.setdefault(key[0] if isinstance(key, tuple) else "", len(names)))
    return Nested(values=tuple(values), deployment=tuple(deployment))


def spreads(data: Nested, statistics: Sequence[float | None], *, resamples: int, seed: int) -> tuple[Spread, ...]:
    """How far each statistic (a quantile, or None for the mean) of all values together may be off.

    The same arguments give the same numbers. `data` must hold at least one value.
    """
    import numpy

    random = numpy.random.default_rng(seed)
    source = _Drawn(data, statistics) if data.n <= LITERAL else _Approximated(data, statistics)
    logarithmic = all(run[0] > 0 for run in data.values)

    def evaluated(times: NDArray[numpy.int64], *, draw: bool) -> Array:
        found = source.evaluate(times, random if draw else None)
        return numpy.log(found) if logarithmic else found

    value = evaluated(numpy.ones((1, len(data.values)), dtype=int), draw=False)[0]
    drawn = evaluated(_multiplicities(data, resamples, random), draw=True)
    variance, freedom = _variance(data, evaluated, drawn)
    return tuple(
        Spread(
            value=float(value[i]),
            resamples=drawn[:, i],
            variance=float(variance[i]),
            freedom=freedom,
            logarithmic=logarithmic,
        )
        for i in range(len(statistics))
    )


def _variance(data: Nested, evaluated: Callable[..., Array], drawn: Array) -> tuple[Array, float]:
    """The variance that each statistic's interval is to have, and its degrees of freedom."""
    import numpy

    runs = len(data.values)
    if runs == 1:
        freedom = data.n - 1
        return drawn.var(axis=0) * (data.n / freedom if freedom else math.nan), freedom
    units = data.top
    freedom = len(units) - 1
    without = numpy.array([[int(run not in unit) for run in range(runs)] for unit in units])
    left_out = evaluated(without, draw=False)
    jackknife = freedom / len(units) * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0)
    still = evaluated(numpy.ones((max(200, len(drawn) // 5), runs), dtype=int), draw=True)
    return numpy.maximum(jackknife, still.var(axis=0)), freedom


def _multiplicities(data: Nested, resamples: int, random: numpy.random.Generator) -> NDArray[numpy.int64]:
    """How often each run is in each resample: deployments are drawn first, then runs in each that was drawn."""
    import numpy

    deployment = numpy.array(data.deployment)
    times = random.multinomial(data.deployments, [1 / data.deployments] * data.deployments, size=resamples)
    found = numpy.zeros((resamples, len(deployment)), dtype=numpy.int64)
    for number in range(data.deployments):
        runs = numpy.flatnonzero(deployment == number)
        found[:, runs] = random.multinomial(times[:, number] * len(runs), [1 / len(runs)] * len(runs))
    return found


class _Drawn:
    """Every iteration is drawn: exact, for few of them."""

    def __init__(self, data: Nested, statistics: Sequence[float | None]) -> None:
        import numpy

        self.runs, self.statistics = data.values, statistics
        pooled = numpy.concatenate(data.values)
        self.order = numpy.argsort(pooled, kind="stable")
        self.sorted = pooled[self.order]

    def evaluate(self, times: NDArray[numpy.int64], random: numpy.random.Generator | None) -> Array:
        """The statistics (columns) when run r is there `times[b, r]` times, its iterations drawn anew by `random`."""
        import numpy

        weights = numpy.concatenate(
            [self._weights(len(run), times[:, number], random) for number, run in enumerate(self.runs)], axis=1
        )[:, self.order]
        reached = numpy.cumsum(weights, axis=1)
        total = reached[:, -1]
        columns = [
            weights @ self.sorted / total if q is None else self._quantile(reached, (total - 1) * q)
            for q in self.statistics
        ]
        return numpy.stack(columns, axis=1)

    @staticmethod
    def _weights(n: int, times: NDArray[numpy.int64], random: numpy.random.Generator | None) -> NDArray[numpy.int64]:
        import numpy

        if random is None:
            return numpy.repeat(times[:, None], n, axis=1)
        rows = numpy.repeat(numpy.arange(len(times)), times * n)
        cells = rows * n + random.integers(0, n, size=len(rows))
        return numpy.bincount(cells, minlength=len(times) * n).reshape(len(times), n)

    def _quantile(self, reached: NDArray[numpy.int64], rank: Array) -> Array:
        """Linear between neighbours, as everywhere; `rank` counts from 0."""
        import numpy

        below = numpy.floor(rank)
        first = (reached > below[:, None]).argmax(axis=1)
        second = (reached > numpy.ceil(rank)[:, None]).argmax(axis=1)
        value: Array = self.sorted[first] + (rank - below) * (self.sorted[second] - self.sorted[first])
        return value


class _Approximated:
    """The limit of the same draw for many iterations, at a cost that does not grow with them.

    A mean moves by a normal amount (central limit theorem). A quantile moves as if its level did: by a normal amount
    with the variance of the share of values below it, p (1 - p) / n, run by run (Bahadur 1966).
    """

    def __init__(self, data: Nested, statistics: Sequence[float | None]) -> None:
        import numpy

        self.statistics = statistics
        self.n = numpy.array([len(run) for run in data.values], dtype=float)
        self.means = numpy.array([run.mean() for run in data.values])
        self.variances = numpy.array([run.var() for run in data.values])
        body = numpy.linspace(0.0, 1.0, GRID)
        tail = numpy.linspace(0.95, 1.0, GRID // 4)
        pooled = numpy.sort(numpy.concatenate(data.values))
        kept = numpy.unique((numpy.union1d(body, tail) * (len(pooled) - 1)).round().astype(int))
        points = numpy.unique(pooled[kept])
        # Each point twice, with the share below it and that up to it: many equal values are a step, not a slope.
        self.grid = numpy.repeat(points, 2)
        self.shares = numpy.empty((len(data.values), len(self.grid)))
        for number, run in enumerate(data.values):
            self.shares[number, 0::2] = numpy.searchsorted(run, points, "left") / len(run)
            self.shares[number, 1::2] = numpy.searchsorted(run, points, "right") / len(run)

    def evaluate(self, times: NDArray[numpy.int64], random: numpy.random.Generator | None) -> Array:
        """As `_Drawn.evaluate`."""
        import numpy

        weights = times * self.n
        total = weights.sum(axis=1)
        mixed = (weights @ self.shares) / total[:, None]
        columns = []
        for q in self.statistics:
            moved = random.standard_normal(len(times)) if random else numpy.zeros(len(times))
            if q is None:
                scatter = numpy.sqrt(weights @ self.variances) / total
                columns.append(weights @ self.means / total + scatter * moved)
            else:
                at = [int(numpy.searchsorted(row, q)) for row in mixed]
                share = self.shares[:, at].T
                level = q + moved * numpy.sqrt((weights * share * (1 - share)).sum(axis=1)) / total
                columns.append(self._quantile(mixed, level.clip(0.0, 1.0)))
        return numpy.stack(columns, axis=1)

    def _quantile(self, mixed: Array, level: Array) -> Array:
        """Where each row of shares reaches its level, straight between the points of the grid."""
        import numpy

        found = [int(numpy.searchsorted(row, one)) for row, one in zip(mixed, level, strict=True)]
        after = numpy.clip(found, 1, len(self.grid) - 1)
        rows = numpy.arange(len(mixed))
        low, high = mixed[rows, after - 1], mixed[rows, after]
        part = numpy.divide(level - low, high - low, out=numpy.ones_like(low), where=high > low)
        left, right = self.grid[after - 1], self.grid[after]
        moved: Array = left + part.clip(0.0, 1.0) * (right - left)
        return moved
