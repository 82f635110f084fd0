"""Is the network what it should be? Values in, a verdict with sentences out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from enos_crdb.config.emulation import Pair
from enos_crdb.record import Expected, RoundTrip, Tolerance

Word = Literal["ok", "off", "not measured"]

UNLIKELY = 1e-4
"""A number of lost packets that is less likely than this is no accident."""

STRAY = 0.01
"""Answers that any network may lose now and then."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """``off`` when a pair is, else ``not measured`` when a pair could not be, else ``ok``; with a sentence each."""

    verdict: Word
    deviations: tuple[str, ...] = ()


def judge(
    matrix: Sequence[RoundTrip],
    expected: Sequence[Expected],
    tolerance: Tolerance,
    *,
    loss: Mapping[Pair, float] | None = None,
    faults: Sequence[str] = (),
) -> Judgement:
    """Compare a measured matrix with the expected round trips.

    ``loss`` is how likely an answer is lost, by pair. A pair nothing is expected of must only be measurable.
    ``faults`` of the emulator count as deviations: a loss that is not there hardly shows in few samples.
    """
    wanted = {trip.pair: trip.rtt_ms for trip in expected}
    off = list(faults)
    silent: dict[str, list[RoundTrip]] = {}
    for trip in matrix:
        if trip.median_ms is None:
            silent.setdefault(trip.why, []).append(trip)
            continue
        if trip.pair in wanted and not tolerance.allows(trip.median_ms, wanted[trip.pair]):
            off.append(_off(trip, trip.median_ms, wanted[trip.pair], tolerance))
        if trip.pair in wanted and (said := _strange_loss(trip, (loss or {}).get(trip.pair, 0.0))):
            off.append(said)
    verdict: Word = "off" if off else "not measured" if silent else "ok"
    return Judgement(verdict=verdict, deviations=(*off, *(_unmeasured(why, trips) for why, trips in silent.items())))


def _unmeasured(why: str, trips: Sequence[RoundTrip]) -> str:
    """One sentence for all that has one cause: a dead host is not worth a sentence per neighbour."""
    shown = ", ".join(f"{trip.src} to {trip.dst} on {trip.network}" for trip in trips[:3])
    more = f" and {len(trips) - 3} more" if len(trips) > 3 else ""
    return f"not measured: {shown}{more} ({why or 'no answer came'})"


def _off(trip: RoundTrip, measured_ms: float, expected_ms: float, tolerance: Tolerance) -> str:
    return (
        f"{trip.src} to {trip.dst} on {trip.network}: the round trip takes {measured_ms:.2f} ms, "
        f"expected {expected_ms:.2f} ms (tolerated: {max(tolerance.ms, expected_ms * tolerance.percent / 100):.2f} ms)"
    )


def _strange_loss(trip: RoundTrip, probability: float) -> str:
    sent = trip.samples + trip.lost
    if not strange(trip.lost, sent, probability):
        return ""
    return (
        f"{trip.src} to {trip.dst} on {trip.network}: {trip.lost} of {sent} answers were lost, "
        f"expected {probability:.1%}"
    )


def strange(lost: int, sent: int, probability: float) -> bool:
    """Whether so many lost answers, or so few, are no accident where each is lost with that probability."""
    return _tail(lost, sent, max(probability, STRAY)) <= UNLIKELY


def lost_too_many(lost: int, sent: int, probability: float) -> bool:
    return lost > probability * sent and strange(lost, sent, probability)


def _tail(lost: int, sent: int, probability: float) -> float:
    """How likely a count at least as far from the expected one is, on its side."""
    mean = sent * probability
    counts = range(lost, sent + 1) if lost >= mean else range(lost + 1)
    return sum(math.comb(sent, k) * probability**k * (1 - probability) ** (sent - k) for k in counts)
