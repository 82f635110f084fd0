"""Round trips as values: what was measured between two hosts, and what is expected of an emulated network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from enos_crdb.config.emulation import Link, Pair
from enos_crdb.record import Expected, RoundTrip


def medians(matrix: Sequence[RoundTrip]) -> tuple[Expected, ...]:
    """What is kept of a matrix that was measured without emulation: one time per pair."""
    return tuple(
        Expected(src=trip.src, dst=trip.dst, network=trip.network, rtt_ms=trip.median_ms)
        for trip in matrix
        if trip.median_ms is not None
    )


def expect(baseline: Sequence[Expected], links: Sequence[Link]) -> tuple[Expected, ...]:
    """What a round trip should take: what it took without emulation, and the delays of both directions."""
    delays = {link.pair: link.delay_ms for link in links}

    def delay_ms(trip: Expected) -> float:
        return delays.get(trip.pair, 0.0) + delays.get((trip.dst, trip.src, trip.network), 0.0)

    return tuple(replace(trip, rtt_ms=round(trip.rtt_ms + delay_ms(trip), 3)) for trip in baseline)


def expected_loss(links: Sequence[Link]) -> dict[Pair, float]:
    """How likely (0 to 1) a packet or its answer is lost, by pair; pairs that lose nothing are left out."""
    losses = {link.pair: link.loss_percent / 100 for link in links if link.loss_percent}
    both = set(losses) | {(dst, src, network) for src, dst, network in losses}
    return {
        (src, dst, network): 1 - (1 - losses.get((src, dst, network), 0)) * (1 - losses.get((dst, src, network), 0))
        for src, dst, network in both
    }
