"""Round trips as values: what was measured between two hosts, and what is expected of an emulated network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from enos_crdb.config.emulation import Link

Pair = tuple[str, str, str]
"""Names of the source and of the destination, and the network between them."""


@dataclass(frozen=True, kw_only=True)
class RoundTrip:
    """TCP connect times from ``src`` to ``dst``: how many were answered and lost, and their spread.

    The times are None when there was no answer; ``why`` then tells what is known about it.
    """

    src: str
    dst: str
    network: str
    samples: int = 0
    lost: int = 0
    min_ms: float | None = None
    median_ms: float | None = None
    max_ms: float | None = None
    why: str = ""

    @property
    def pair(self) -> Pair:
        return (self.src, self.dst, self.network)

    def to_json(self) -> dict[str, Any]:
        """As a row of a manifest."""
        row = asdict(self)
        if not self.why:
            del row["why"]
        return row


def read(rows: Sequence[Mapping[str, Any]]) -> tuple[RoundTrip, ...]:
    """Inverse of `RoundTrip.to_json`, for all rows of a matrix."""
    return tuple(RoundTrip(**row) for row in rows)


def medians(matrix: Sequence[RoundTrip]) -> list[dict[str, Any]]:
    """What is kept of a matrix that was measured without emulation: one time per pair."""
    return [
        {"src": trip.src, "dst": trip.dst, "network": trip.network, "rtt_ms": trip.median_ms}
        for trip in matrix
        if trip.median_ms is not None
    ]


def expect(baseline: Sequence[Mapping[str, Any]], links: Sequence[Link]) -> list[dict[str, Any]]:
    """What a round trip should take: what it took without emulation, and the delays of both directions."""
    delays = {(link.src, link.dst, link.network): link.delay_ms for link in links}
    return [
        {
            **row,
            "rtt_ms": round(
                row["rtt_ms"]
                + delays.get((row["src"], row["dst"], row["network"]), 0.0)
                + delays.get((row["dst"], row["src"], row["network"]), 0.0),
                3,
            ),
        }
        for row in baseline
    ]


def expected_loss(links: Sequence[Link]) -> dict[Pair, float]:
    """How likely (0 to 1) a packet or its answer is lost, by pair; pairs that lose nothing are left out."""
    losses = {(link.src, link.dst, link.network): link.loss_percent / 100 for link in links if link.loss_percent}
    both = set(losses) | {(dst, src, network) for src, dst, network in losses}
    return {
        (src, dst, network): 1 - (1 - losses.get((src, dst, network), 0)) * (1 - losses.get((dst, src, network), 0))
        for src, dst, network in both
    }
