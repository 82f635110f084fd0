"""The latency model: what distance to the database should cost, from what is counted, and how wrong that is.

For a combination and a scenario,

    predicted = service + (round trips + replays) x RTT + replications x replication RTT

- round trips: between Keystone and its database per iteration, each of which the driver waits for; replays:
  transactions done again (each costs at least one more round trip);
- RTT: measured between the Keystone host and the node it connects to;
- replications: commits per iteration that wait for other nodes (Galera's write sets, CockroachDB's commits), once each;
- replication RTT: from that node to those it waits for;
- service: everything else, taken from the combination of the series with the least delay, never from the others.

Waiting for the network and working add up, as in the general response time law (Jain 1991, *The Art of Computer Systems
Performance Analysis*, section 33.4: visits x time per visit), which holds for means, so means are what it predicts. It
knows no queues: where Keystone's workers are all busy, waiting grows faster than it says, and the error shows it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from enos_crdb.stats.estimates import Estimate


@dataclass(frozen=True, kw_only=True)
class Connection:
    """The way from a Keystone to its database. ``share``: of the scenario's round trips that went over it."""

    keystone: str
    node: str
    rtt_ms: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Point:
    """One combination and scenario, all its runs together; counts are per iteration, failed ones included.

    ``series`` names combinations that differ in their network only. ``measured`` is in seconds. ``database`` is what
    the databases' own counters say that corresponds to ``comparable`` of the Keystones' (None: nothing does).
    """

    combination: str
    factors: Mapping[str, str]
    series: str
    backend: str
    scenario: str
    measured: Estimate
    connections: tuple[Connection, ...]
    round_trips: float
    replays: float
    replications: float
    replication_rtt_ms: float
    comparable: float | None = None
    database: float | None = None

    @property
    def rtt_ms(self) -> float:
        """Of all connections, each weighted by its share of the round trips."""
        return sum(connection.rtt_ms * connection.share for connection in self.connections)

    @property
    def network_ms(self) -> float:
        """What the model adds to the service time."""
        return (self.round_trips + self.replays) * self.rtt_ms + self.replications * self.replication_rtt_ms


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A point beside what the model says; ``fitted`` when its service time was taken from this very point."""

    point: Point
    predicted_ms: float
    fitted: bool

    @property
    def measured_ms(self) -> float:
        return 1000 * self.point.measured.value

    @property
    def error_percent(self) -> float:
        """Of the measured value; positive when the model says more."""
        return 100 * (self.predicted_ms - self.measured_ms) / self.measured_ms if self.measured_ms else math.nan

    @property
    def inside(self) -> bool:
        """Whether the prediction lies in the interval of what was measured."""
        return self.point.measured.low <= self.predicted_ms / 1000 <= self.point.measured.high


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One series and scenario. ``service_ms`` comes from the first of ``predictions``, the one with the least delay."""

    series: str
    scenario: str
    service_ms: float
    predictions: tuple[Prediction, ...]

    @property
    def error_percent(self) -> float:
        """Mean absolute percentage error of the points it was not fitted to; NaN when there are none."""
        return _mean_error(self.predictions)


@dataclass(frozen=True, kw_only=True)
class LatencyModel:
    """All fits. ``untested``: series and scenarios with one point only, of which the model says nothing."""

    fits: tuple[Fit, ...]
    untested: tuple[tuple[str, str], ...]

    @property
    def error_percent(self) -> float:
        """Mean absolute percentage error over all points that were not fitted to; NaN when there are none."""
        return _mean_error([one for fit in self.fits for one in fit.predictions])

    @property
    def worst(self) -> Prediction | None:
        """The prediction that is furthest off."""
        tested = [one for fit in self.fits for one in fit.predictions if not one.fitted]
        return max(tested, key=lambda one: abs(one.error_percent), default=None)


def latency_model(points: Sequence[Point]) -> LatencyModel:
    """Fit each series and scenario at its least delay, and predict the rest. Points without a value are left out."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        if point.measured.value > 0:
            groups.setdefault((point.series, point.scenario), []).append(point)
    return LatencyModel(
        fits=tuple(_fit(name, group) for name, group in groups.items() if len(group) > 1),
        untested=tuple(name for name, group in groups.items() if len(group) == 1),
    )


def _fit(name: tuple[str, str], group: Sequence[Point]) -> Fit:
    ordered = sorted(group, key=lambda point: (point.network_ms, point.combination))
    first = ordered[0]
    service_ms = 1000 * first.measured.value - first.network_ms
    return Fit(
        series=name[0],
        scenario=name[1],
        service_ms=service_ms,
        predictions=tuple(
            Prediction(point=point, predicted_ms=service_ms + point.network_ms, fitted=point is first)
            for point in ordered
        ),
    )


def _mean_error(predictions: Sequence[Prediction]) -> float:
    errors = [abs(one.error_percent) for one in predictions if not one.fitted]
    return sum(errors) / len(errors) if errors else math.nan
