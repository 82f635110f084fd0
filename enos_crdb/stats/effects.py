"""How much two combinations differ, with intervals: sizes, not verdicts of significance. Values only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enos_crdb.stats.estimates import plain, wilson
from enos_crdb.stats.resampling import RESAMPLES, Nested, Spread, nested, spreads

if TYPE_CHECKING:
    import numpy
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[numpy.float64]

THINNED = 2000
"""Values of a run that are compared with another's, equally spaced in order; a run with fewer is taken whole."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """``value`` lies between ``low`` and ``high``; NaN where nothing is known."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What changes from a to b.

    - ``median_ratio``, ``mean_ratio``: those of b as a multiple of those of a; 1.2 is 20 % longer.
    - ``superiority``: probability that a value of b is larger than one of a, ties counting half (Vargha and Delaney
      2000, *J. Educ. Behav. Stat.* 25, "A"); 0.5 is no difference.
    - ``cliffs_delta``: 2 x superiority - 1 (Cliff 1993, *Psychol. Bull.* 114); positive when b's values are larger.
    - ``shift``: median of all differences between a value of b and one of a (Hodges and Lehmann 1963), in their unit.
    """

    median_ratio: Interval
    mean_ratio: Interval
    superiority: Interval
    cliffs_delta: Interval
    shift: float
    confidence: float
    covers: str


def compare(
    a: Mapping[Any, ArrayLike] | Sequence[ArrayLike],
    b: Mapping[Any, ArrayLike] | Sequence[ArrayLike],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 1,
) -> Effect:
    """How the values of `b` differ from those of `a`; both as `estimate` takes them.

    Intervals of the ratios combine the resamples of both, on the logarithm, with degrees of freedom by Welch and
    Satterthwaite. NaN where one of them is empty, or not positive.
    """
    first, second = nested(a), nested(b)
    if not first.n or not second.n:
        nothing = Interval(value=math.nan, low=math.nan, high=math.nan)
        return Effect(
            median_ratio=nothing,
            mean_ratio=nothing,
            superiority=nothing,
            cliffs_delta=nothing,
            shift=math.nan,
            confidence=confidence,
            covers="nothing",
        )
    settings = {"resamples": resamples, "seed": seed}
    median, mean = (_ratio(first, second, q, confidence, **settings) for q in (0.5, None))
    superiority = _superiority(first, second, confidence)
    return Effect(
        median_ratio=median,
        mean_ratio=mean,
        superiority=superiority,
        cliffs_delta=Interval(
            value=2 * superiority.value - 1, low=2 * superiority.low - 1, high=2 * superiority.high - 1
        ),
        shift=_shift(first, second),
        confidence=confidence,
        covers=min(first.covers, second.covers, key=len),
    )


def _ratio(a: Nested, b: Nested, q: float | None, confidence: float, *, resamples: int, seed: int) -> Interval:
    below, above = plain(a, q), plain(b, q)
    if below <= 0 or above <= 0:
        return Interval(value=math.nan, low=math.nan, high=math.nan)
    (one,) = spreads(a, [q], resamples=resamples, seed=seed)
    (other,) = spreads(b, [q], resamples=resamples, seed=seed + 1)  # its own draws: they are independent
    if not (one.logarithmic and other.logarithmic):
        return Interval(value=above / below, low=math.nan, high=math.nan)
    variance, freedom = _welch((one.variance, one.freedom), (other.variance, other.freedom))
    both = Spread(
        value=math.log(above / below),
        resamples=other.resamples - one.resamples,
        variance=variance,
        freedom=freedom,
        logarithmic=True,
    )
    low, high = both.interval(confidence)
    return Interval(value=above / below, low=low, high=high)


def _welch(*parts: tuple[float, float]) -> tuple[float, float]:
    """Variance of a difference, and its degrees of freedom, from (variance, degrees of freedom) of both."""
    if any(not freedom > 0 or math.isnan(variance) for variance, freedom in parts):
        return math.nan, math.nan
    total = sum(variance for variance, _ in parts)
    share = sum(variance**2 / freedom for variance, freedom in parts)
    return total, total**2 / share if share else sum(freedom for _, freedom in parts)


def _superiority(a: Nested, b: Nested, confidence: float) -> Interval:
    """With several runs, by leaving out one unit after the other; with one, DeLong et al. 1988, *Biometrics* 44.

    The interval is made on the logit, so that it stays between 0 and 1.
    """
    import numpy
    from scipy import special

    table = _pairs(a, b)
    weights_a, weights_b = (numpy.array([len(run) for run in data.values], dtype=float) for data in (a, b))
    value = float(weights_a @ table @ weights_b / (a.n * b.n))
    parts = [
        _unit_variance(a, table @ weights_b / b.n, weights_a, lambda: _placements(b, a)),
        _unit_variance(b, weights_a @ table / a.n, weights_b, lambda: _placements(a, b)),
    ]
    if value in (0.0, 1.0):
        return _one_sided(value, min(a.n, b.n), confidence)
    variance, freedom = _welch(*parts)
    tail = special.stdtrit(freedom, (1 + confidence) / 2) if freedom > 0 else math.nan
    scatter = math.sqrt(variance) / (value * (1 - value))
    low, high = special.expit(special.logit(value) + numpy.array([-1, 1]) * tail * scatter).tolist()
    return Interval(value=value, low=low, high=high)


def _one_sided(value: float, n: int, confidence: float) -> Interval:
    """No pair contradicts, so there is no variance to be seen: Wilson's interval for none of `n` that did."""
    low, high = wilson(n * value, n, confidence)
    return Interval(value=value, low=low, high=high)


def _unit_variance(data: Nested, by_run: Array, weights: Array, placements: Any) -> tuple[float, float]:
    """Variance that `data` brings to the superiority, and its degrees of freedom."""
    import numpy

    if len(data.values) == 1:
        return (float(numpy.var(placements(), ddof=1)) / data.n, data.n - 1) if data.n > 1 else (math.nan, 0)
    units = data.top
    rest = [numpy.array([run for run in range(len(weights)) if run not in unit]) for unit in units]
    left_out = numpy.array([by_run[kept] @ weights[kept] / weights[kept].sum() for kept in rest])
    freedom = len(units) - 1
    return float(freedom / len(units) * ((left_out - left_out.mean()) ** 2).sum()), freedom


def _pairs(a: Nested, b: Nested) -> Array:
    """For each run of a and each of b: the share of pairs in which b's value is larger, ties counting half."""
    import numpy

    runs_a, runs_b = [thinned(run) for run in a.values], [thinned(run) for run in b.values]
    return numpy.array([[float(_below(one, other).mean()) for other in runs_b] for one in runs_a])


def _placements(reference: Nested, data: Nested) -> Array:
    """For each value of `data`'s only run: the share of `reference` below it."""
    import numpy

    pooled = numpy.sort(numpy.concatenate([thinned(run) for run in reference.values]))
    return _below(pooled, thinned(data.values[0]))


def _below(values: Array, at: Array) -> Array:
    """Share of the sorted `values` below each of `at`, ties counting half."""
    import numpy

    found: Array = (numpy.searchsorted(values, at, "left") + numpy.searchsorted(values, at, "right")) / (
        2 * len(values)
    )
    return found


def thinned(run: Array, most: int = THINNED) -> Array:
    """At most so many of the sorted values, equally spaced in order: no share is off by more than 1 / `most`."""
    import numpy

    if len(run) <= most:
        return run
    kept: Array = run[((numpy.arange(most) + 0.5) * len(run) / most).astype(int)]
    return kept


def _shift(a: Nested, b: Nested) -> float:
    import numpy

    one, other = (thinned(numpy.sort(numpy.concatenate(data.values)), 1000) for data in (a, b))
    return float(numpy.median(other[:, None] - one[None, :]))
