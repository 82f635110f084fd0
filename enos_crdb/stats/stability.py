"""Whether runs of one combination agree, and whether each stayed the same while it was measured. Values only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[numpy.float64]

SIGNIFICANCE = 0.01
CORRELATED = 0.1
"""Share of the variance between runs from which they disagree: their spread is then a third of that in a run."""
MEDIUM = 0.33
"""Cliff's delta from which a difference is called medium (Romano et al. 2006)."""
THIRD = 10
"""Iterations a third of a run must have before it is asked for a drift."""


@dataclass(frozen=True, kw_only=True)
class Stability:
    """``unstable`` with its ``reasons``, ``stable``, or ``unknown`` when one run is all there is and it did not drift.

    ``between``: intraclass correlation, the share of the variance of (logarithms of) durations that lies between runs.
    ``disagreement``: p-value of Kruskal and Wallis over the runs. ``drifts``: for each run, Cliff's delta of its last
    third to its first, positive when it became slower. NaN where it cannot be told.
    """

    verdict: Literal["stable", "unstable", "unknown"]
    reasons: tuple[str, ...]
    between: float
    disagreement: float
    drifts: tuple[float, ...]


def stability(values_by_run: Mapping[Any, ArrayLike] | Sequence[ArrayLike]) -> Stability:
    """Judge runs whose values stand in the order in which they were measured, as `by_run` gives them.

    Runs disagree when Kruskal and Wallis's test says so at 1 % (1952, *JASA* 47) and the one-way intraclass correlation
    (Shrout and Fleiss 1979, ICC(1); unequal sizes as in Donner 1986) is at least 0.1: with many iterations the test
    alone finds differences that do not matter. A run drifts when its last third differs from its first, at 1 % by Mann
    and Whitney and by a Cliff's delta of 0.33 or more; most runs must drift in the same direction.
    """
    import numpy

    given = values_by_run.values() if isinstance(values_by_run, Mapping) else values_by_run
    runs = [run for run in (numpy.asarray(one, dtype=float) for one in given) if len(run)]
    between, disagreement = _disagreement(runs)
    drifts = tuple(_drift(run) for run in runs)
    reasons = []
    if disagreement < SIGNIFICANCE and between >= CORRELATED:
        medians = [float(numpy.median(run)) for run in runs]
        reasons.append(
            f"runs disagree: {between:.0%} of the variance lies between them, "
            f"medians from {min(medians):.4g} to {max(medians):.4g}"
        )
    for word, sign in (("slower", 1.0), ("faster", -1.0)):
        count = sum(sign * drift >= MEDIUM for drift in drifts)
        if 2 * count > len(runs):
            reasons.append(f"{count} of {len(runs)} runs became {word} while they were measured")
    known = len(runs) > 1 and not math.isnan(disagreement)
    verdict: Literal["stable", "unstable", "unknown"] = "unstable" if reasons else "stable" if known else "unknown"
    return Stability(verdict=verdict, reasons=tuple(reasons), between=between, disagreement=disagreement, drifts=drifts)


def _disagreement(runs: Sequence[Array]) -> tuple[float, float]:
    """Intraclass correlation of the runs, and Kruskal and Wallis's p-value."""
    import numpy
    from scipy import stats as tests

    n = sum(len(run) for run in runs)
    if len(runs) < 2 or n <= len(runs):
        return math.nan, math.nan
    positive = all(run.min() > 0 for run in runs)
    scaled = [numpy.log(run) if positive else run for run in runs]
    pooled = numpy.concatenate(scaled)
    if pooled.min() == pooled.max():
        return 0.0, 1.0
    grand = pooled.mean()
    among = sum(len(run) * (run.mean() - grand) ** 2 for run in scaled) / (len(runs) - 1)
    within = sum(((run - run.mean()) ** 2).sum() for run in scaled) / (n - len(runs))
    size = (n - sum(len(run) ** 2 for run in runs) / n) / (len(runs) - 1)
    between = float((among - within) / (among + (size - 1) * within))
    return between, float(tests.kruskal(*scaled).pvalue)


def _drift(run: Array) -> float:
    """Cliff's delta of the last third to the first; NaN for a short run, 0 for a difference that chance explains."""
    from scipy import stats as tests

    third = len(run) // 3
    if third < THIRD:
        return math.nan
    test = tests.mannwhitneyu(run[-third:], run[:third], method="asymptotic")
    return float(2 * test.statistic / third**2 - 1) if test.pvalue < SIGNIFICANCE else 0.0
