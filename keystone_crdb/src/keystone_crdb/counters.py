"""Counters of driver calls, replays, and of what goes over the wire to the database.

Prometheus keeps them: in a file per process when the environment variable ``PROMETHEUS_MULTIPROC_DIR`` names a
directory (right after a fork, and kept when a worker dies), else in memory.
"""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.multiprocess import MultiProcessCollector

WIRE = ("statements", "begins", "commits", "rollbacks", "pings")
"""Messages that the driver waits for, one round trip each."""

CALLS = ("calls", "gave_up", "replays", "reconnects")
"""Driver calls (not those inside others), those ended by a conflict or a lost connection, and repetitions."""

NAME = "keystone_crdb_events"

_counter = Counter(NAME, "Driver calls and round trips to the database", ["operation", "event"], registry=None)
_children: dict[tuple[str, str], Counter] = {}


def add(operation: str, event: str, amount: int = 1) -> None:
    """Count `amount` more of `event`, one of `WIRE` or `CALLS`."""
    child = _children.get((operation, event))
    if child is None:
        child = _children[operation, event] = _counter.labels(operation, event)
    child.inc(amount)


def here() -> dict[str, dict[str, int]]:
    """Operation -> event -> count: of this process, or of all that share its ``PROMETHEUS_MULTIPROC_DIR``."""
    return _table(_counter.collect())


def stored(directory: Path) -> dict[str, dict[str, int]]:
    """Operation -> event -> count, of every process that ever counted into `directory`."""
    registry = CollectorRegistry()
    return _table(MultiProcessCollector(registry, path=str(directory)).collect())


def document(table: dict[str, dict[str, int]]) -> dict[str, dict[str, int] | dict[str, dict[str, int]]]:
    """What ``python -m keystone_crdb counters`` prints: every event of every operation, with sums."""
    operations = {name: _complete(events) for name, events in sorted(table.items())}
    total = {event: sum(events[event] for events in operations.values()) for event in _complete({})}
    return {"operations": operations, "total": total}


def _complete(events: dict[str, int]) -> dict[str, int]:
    full = {event: events.get(event, 0) for event in (*CALLS, *WIRE)}
    return {**full, "round_trips": sum(full[event] for event in WIRE)}


def _table(metrics: list[Metric]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for metric in metrics:
        for sample in metric.samples:
            if sample.name == f"{NAME}_total":
                events = table.setdefault(sample.labels["operation"], {})
                events[sample.labels["event"]] = round(sample.value)
    return table
