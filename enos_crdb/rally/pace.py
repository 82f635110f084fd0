"""What the load of a scenario was: which iterations count, how fast they started, how many at once. Values only."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from enos_crdb.config.bench import Bench, OpenLoop, Rps
from enos_crdb.model import AFTER, STEADY, WARM_UP, Sample
from enos_crdb.rally.results import ITERATION
from enos_crdb.record import Pace


def in_windows(samples: Sequence[Sample], bench: Bench) -> list[Sample]:
    """The samples of one scenario, all its Rallies, each with the window in which its iteration starts.

    Time is counted from the first start. In an open loop the intended starts decide: one that comes late because
    Keystone is slow must not leave the steady window for that.
    """
    if not samples or (bench.warm_up_s == 0 and bench.steady_s is None):
        return list(samples)
    begins = {(row.client, row.iteration): _begins(row) for row in samples if row.metric == ITERATION}
    first = min(begins.values())

    def window(row: Sample) -> str:
        since = begins[row.client, row.iteration] - first
        if since < bench.warm_up_s:
            return WARM_UP
        over = bench.steady_s is not None and since >= bench.warm_up_s + bench.steady_s
        return AFTER if over else STEADY

    return [row if (found := window(row)) == row.window else replace(row, window=found) for row in samples]


def pace(samples: Sequence[Sample], bench: Bench) -> Pace:
    """The pace of one scenario, from the samples of all its Rallies."""
    iterations = [row for row in samples if row.metric == ITERATION]
    windows = Counter(row.window for row in iterations)
    by_client: dict[str, list[Sample]] = {}
    for row in iterations:
        by_client.setdefault(row.client, []).append(row)
    steady = [[row for row in rows if row.window == STEADY] for rows in by_client.values()]
    return Pace(
        warm_up=windows[WARM_UP],
        steady=windows[STEADY],
        after=windows[AFTER],
        asked_per_s=_asked(bench, steady),
        started_per_s=_total([_rate([row.started_at for row in rows]) for rows in steady]),
        most_in_flight=max((_in_flight(rows) for rows in by_client.values()), default=0),
        most_late_s=max((row.started_at - row.intended_at for row in iterations if row.intended_at), default=None),
    )


def _begins(row: Sample) -> float:
    return row.started_at if row.intended_at is None else row.intended_at


def _asked(bench: Bench, by_client: Sequence[Sequence[Sample]]) -> float | None:
    """Random arrivals come somewhat faster or slower than their rate: what counts is when they were meant to come."""
    if isinstance(bench.runner, OpenLoop):
        return _total([_rate([_begins(row) for row in rows]) for rows in by_client])
    return bench.runner.rps * len(by_client) if isinstance(bench.runner, Rps) else None


def _rate(starts: Sequence[float]) -> float | None:
    span = max(starts) - min(starts) if starts else 0.0
    return (len(starts) - 1) / span if span > 0 else None


def _total(rates: Sequence[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


def _in_flight(rows: Sequence[Sample]) -> int:
    most, ends = 0, list[float]()
    for row in sorted(rows, key=lambda row: row.started_at):
        while ends and ends[0] <= row.started_at:
            heapq.heappop(ends)
        heapq.heappush(ends, row.started_at + row.value)
        most = max(most, len(ends))
    return most
