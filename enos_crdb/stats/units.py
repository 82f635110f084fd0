"""What would scatter if it was measured again: deployments, runs in them, iterations in those. Values only.

A statistic of each unit of the highest level is one number, and these numbers are treated as independent, on their
logarithm: Student's t over units (Kalibera and Jones 2013, *Rigorous benchmarking in reasonable time*). Units of one
kind scatter alike in all combinations of a scenario, as far as Bartlett's test sees; then all of them together tell how
much they do: a mixed model whose only variance is that between units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[numpy.float64]

LEVELS = ("deployments", "runs")
"""From the highest on."""
COVERS: Mapping[str, str] = {
    "deployments": "deployments, runs and iterations",
    "runs": "runs and iterations",
    "iterations": "iterations",
}
FEWEST = 2
"""Degrees of freedom from which on units tell their spread: three units of one combination, or two of two."""
UNLIKE = 0.01
"""Variances that differ so that chance explains it this seldom are not pooled."""


@dataclass(frozen=True, kw_only=True)
class Nested:
    """Values of several runs, each in the order of measurement. ``deployment``: the number of each run's, from 0."""

    values: tuple[Array, ...]
    deployment: tuple[int, ...]

    @property
    def n(self) -> int:
        return sum(len(run) for run in self.values)

    @property
    def deployments(self) -> int:
        return len(set(self.deployment))

    def units(self, level: str) -> list[list[Array]]:
        """The runs of each unit of `level`."""
        if level == "runs":
            return [[run] for run in self.values]
        return [
            [run for run, place in zip(self.values, self.deployment, strict=True) if place == number]
            for number in sorted(set(self.deployment))
        ]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How a statistic scatters between units of ``level``: variance, of its logarithm, and degrees of freedom."""

    level: str
    variance: float
    freedom: int

    def half_width(self, units: int, confidence: float) -> float:
        """Half of the interval of the mean of so many units, on the logarithm."""
        return student(self.freedom, confidence) * math.sqrt(self.variance / units)


def nested(by_run: Mapping[Any, ArrayLike] | Sequence[ArrayLike]) -> Nested:
    """Runs with at least one value, from a mapping (deployment, run) -> values, or from runs of one deployment."""
    import numpy

    pairs = list(by_run.items()) if isinstance(by_run, Mapping) else [(("", i), run) for i, run in enumerate(by_run)]
    names: dict[Any, int] = {}
    values, deployment = [], []
    for key, run in pairs:
        array = numpy.asarray(run, dtype=float)
        if len(array):
            values.append(array)
            deployment.append(names.setdefault(key[0] if isinstance(key, tuple) else "", len(names)))
    return Nested(values=tuple(values), deployment=tuple(deployment))


def of(runs: Sequence[Array], q: float | None) -> float:
    """A quantile of all values together, or their mean (None)."""
    import numpy

    pooled = numpy.concatenate(runs) if len(runs) > 1 else runs[0]
    return float(pooled.mean() if q is None else numpy.quantile(pooled, q))


def of_units(data: Nested, q: float | None, level: str) -> Array:
    """The logarithm of the statistic of each unit. Raises `ValueError` when one is not positive."""
    import numpy

    found = numpy.array([of(runs, q) for runs in data.units(level)])
    if not (found > 0).all():
        raise ValueError("a statistic that is not positive has no logarithm")
    logarithms: Array = numpy.log(found)
    return logarithms


def spread(data: Nested, among: Sequence[Nested], q: float | None) -> Spread | None:
    """What tells the scatter of `data`'s statistic: the highest level that has units enough, with those of `among`.

    None when no level has.
    """
    for level in LEVELS:
        parts = [of_units(one, q, level) for one in (data, *among) if one.n]
        chosen = _scatter(parts if _alike([part for part in parts if len(part) > 1]) else parts[:1])
        if chosen[1] >= FEWEST:
            return Spread(level=level, variance=chosen[0] / chosen[1], freedom=chosen[1])
    return None


def _scatter(parts: Sequence[Array]) -> tuple[float, int]:
    """Squares about the means of the parts, and their degrees of freedom."""
    squares = sum(float(((part - part.mean()) ** 2).sum()) for part in parts)
    return squares, sum(len(part) - 1 for part in parts)


def _alike(parts: Sequence[Array]) -> bool:
    """Whether chance explains how the variances differ (Bartlett 1937)."""
    from scipy import stats as tests

    varied = [part for part in parts if part.var() > 0]
    if len(varied) < 2:
        return True
    return bool(tests.bartlett(*varied).pvalue >= UNLIKE)


def student(freedom: float, confidence: float) -> float:
    """Student's t: the half width of an interval in standard errors."""
    from scipy import special

    return float(special.stdtrit(freedom, (1 + confidence) / 2))


def effective(run: Array) -> float:
    """How many independent values an interval may count a run's as.

    n (1 - r) / (1 + r), as for an autoregression of the first order, with the correlation r of neighbours' ranks, its
    bias in short series taken back (Kendall 1954); 1 at least.
    """
    import numpy
    from scipy import stats as tests

    n = len(run)
    if n < 10 or run.min() == run.max():
        return float(n)
    ranks = tests.rankdata(run) - (n + 1) / 2
    seen = float((ranks[1:] * ranks[:-1]).sum() / (ranks**2).sum())
    r = float(numpy.clip((seen + 1 / n) / (1 - 3 / n), 0.0, 0.98))
    return max(1.0, n * (1 - r) / (1 + r))
