"""How much two combinations differ, with intervals: sizes, not verdicts of significance. Values only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from enos_crdb.stats.estimates import Estimate, Runs, estimate
from enos_crdb.stats.units import nested, of, student

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Array = NDArray[numpy.float64]

THINNED = 2000
"""Values that are compared with another combination's, equally spaced in order."""
BLOCKS = 5
"""With fewer blocks, what pairing takes out is less than what their few degrees of freedom add."""
POWER = 0.8
"""How often a difference of the size that is called detectable would be seen."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """``value`` lies between ``low`` and ``high``; NaN where nothing is known, 0 or infinite where an end is open."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What changes from a to b.

    - ``median_ratio``, ``mean_ratio``: those of b as a multiple of those of a; 1.2 is 20 % longer.
    - ``superiority``: probability that a value of b is larger than one of a, ties counting half (Vargha and Delaney
      2000, *J. Educ. Behav. Stat.* 25, "A"); 0.5 is no difference.
    - ``shift``: median of all differences between a value of b and one of a (Hodges and Lehmann 1963), in their unit.
    - ``detectable``: the ratio of medians that would have been seen in 80 % of such measurements; NaN when unknown.
    - ``covers`` as of an estimate, or ``blocks``: differences within blocks of a campaign, which share their hour.
      ``freedom`` is the degrees of freedom of the interval of ``median_ratio``.
    """

    median_ratio: Interval
    mean_ratio: Interval
    superiority: float
    shift: float
    confidence: float
    covers: str
    freedom: float = math.nan
    detectable: float = math.nan

    @property
    def cliffs_delta(self) -> float:
        """2 x superiority - 1 (Cliff 1993, *Psychol. Bull.* 114); positive when b's values are larger."""
        return 2 * self.superiority - 1


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What `compare` is told beside the values."""

    among: tuple[Runs, ...]
    blocks: Mapping[Any, Any]
    confidence: float


@dataclass(frozen=True, kw_only=True)
class _Ratio:
    found: Interval
    covers: str
    freedom: float


def compare(
    a: Runs,
    b: Runs,
    *,
    among: Sequence[Runs] = (),
    blocks: Mapping[Any, Any] | None = None,
    confidence: float = 0.95,
) -> Effect:
    """How the values of `b` differ from those of `a`; both as `estimate` takes them, and so `among`.

    `blocks`: (deployment, run) -> block, of a and b. With five blocks in common, the interval is Student's t over the
    differences in each. Else both intervals are combined on the logarithm (MOVER: Zou and Donner 2008, *Stat. Med.*
    27), which gives Student's t for a pooled variance. NaN where one of them is empty, or not positive.
    """
    first, second = nested(a), nested(b)
    if not first.n or not second.n:
        nothing = Interval(value=math.nan, low=math.nan, high=math.nan)
        return Effect(
            median_ratio=nothing,
            mean_ratio=nothing,
            superiority=math.nan,
            shift=math.nan,
            confidence=confidence,
            covers="nothing",
        )
    known = _Known(among=tuple(among), blocks=blocks or {}, confidence=confidence)
    median, mean = (_ratio(a, b, statistic, known) for statistic in ("p50", "mean"))
    return Effect(
        median_ratio=median.found,
        mean_ratio=mean.found,
        superiority=_superiority(_pooled(first.values), _pooled(second.values)),
        shift=_shift(_pooled(first.values), _pooled(second.values)),
        confidence=confidence,
        covers=median.covers,
        freedom=median.freedom,
        detectable=_detectable(median, confidence),
    )


def _ratio(a: Runs, b: Runs, statistic: str, known: _Known) -> _Ratio:
    if known.blocks and isinstance(a, Mapping) and isinstance(b, Mapping):
        paired = _paired(a, b, None if statistic == "mean" else 0.5, known)
        if paired:
            return paired
    one = estimate(a, statistic, among=[b, *known.among], confidence=known.confidence)
    other = estimate(b, statistic, among=[a, *known.among], confidence=known.confidence)
    if not (one.value > 0 and other.value > 0):
        nothing = Interval(value=math.nan, low=math.nan, high=math.nan)
        return _Ratio(found=nothing, covers=one.covers, freedom=math.nan)
    covers = min(one.covers, other.covers, key=len)
    freedom = min(one.freedom, other.freedom)
    return _Ratio(found=_mover(one, other), covers=covers, freedom=freedom)


def _mover(one: Estimate, other: Estimate) -> Interval:
    """The interval of other / one from those of both."""
    ratio = other.value / one.value
    parts = [(_distance(one.value, one.high), _distance(other.low, other.value)),
             (_distance(one.low, one.value), _distance(other.value, other.high))]  # fmt: skip
    below, above = (math.hypot(*pair) for pair in parts)
    return Interval(value=ratio, low=ratio * math.exp(-below), high=ratio * math.exp(above))


def _distance(low: float, high: float) -> float:
    """On the logarithm; infinite from 0 and to infinity."""
    return math.inf if low == 0 or math.isinf(high) else math.log(high / low)


def _paired(a: Mapping[Any, Any], b: Mapping[Any, Any], q: float | None, known: _Known) -> _Ratio | None:
    """None with too few blocks that have both, or values that have no logarithm."""
    import numpy

    first, second = _by_block(a, known.blocks), _by_block(b, known.blocks)
    common = sorted(first.keys() & second.keys())
    if len(common) < BLOCKS:
        return None
    values = numpy.array([[of(side[block], q) for block in common] for side in (first, second)])
    if not (values > 0).all():
        return None
    found = numpy.diff(numpy.log(values), axis=0)[0]
    half = student(len(found) - 1, known.confidence) * float(found.std(ddof=1)) / math.sqrt(len(found))
    middle = float(found.mean())
    interval = Interval(value=math.exp(middle), low=math.exp(middle - half), high=math.exp(middle + half))
    return _Ratio(found=interval, covers="blocks", freedom=float(len(found) - 1))


def _by_block(runs: Mapping[Any, Any], blocks: Mapping[Any, Any]) -> dict[Any, list[Array]]:
    found: dict[Any, list[Array]] = {}
    for key, values in runs.items():
        if key in blocks and len(values):
            found.setdefault(blocks[key], []).append(values)
    return found


def _detectable(ratio: _Ratio, confidence: float) -> float:
    """From the width of the interval, which is what a standard error and Student's t make of it."""
    if math.isnan(ratio.freedom) or not 0 < ratio.found.low <= ratio.found.high < math.inf:
        return math.nan
    t = student(ratio.freedom, confidence)
    error = math.log(ratio.found.high / ratio.found.low) / 2 / t
    return math.exp((t + student(ratio.freedom, 2 * POWER - 1)) * error)


def _pooled(runs: Sequence[Array]) -> Array:
    """All values in order, or `THINNED` of them, equally spaced: no share is off by more than 1 / so many."""
    import numpy

    values = numpy.sort(numpy.concatenate(runs))
    if len(values) <= THINNED:
        return values
    kept: Array = values[((numpy.arange(THINNED) + 0.5) * len(values) / THINNED).astype(int)]
    return kept


def _superiority(a: Array, b: Array) -> float:
    import numpy

    below = numpy.searchsorted(a, b, "left") + numpy.searchsorted(a, b, "right")
    return float(below.mean() / (2 * len(a)))


def _shift(a: Array, b: Array) -> float:
    import numpy

    step = 1 if len(a) + len(b) <= THINNED else 2
    return float(numpy.median(b[::step, None] - a[None, ::step]))
