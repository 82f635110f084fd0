"""What may have spoiled the numbers of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from enos_crdb.config.bench import Bench
from enos_crdb.config.cockroachdb import CockroachDB
from enos_crdb.record import RunRecord
from enos_crdb.store import read_json
from enos_crdb.summary.rows import LOCAL, Row, headlines

BUSY_CLIENT = 0.70
"""Above this share of the cores that it can use, Rally measures itself rather than Keystone."""
RALLY_PER_CORE_S = 25.0
"""Iterations of 15 HTTP requests that one core of Rally manages in a second, 3 ms of CPU per request. Measured with
rally-openstack 4.1.0 on 2 cores against a Keystone that answers at once: 20 (one at a time) to 33 (eight) in all."""
KEPT_RATE = 0.95
"""An open loop that starts less than this share of what was asked has not made the load that it is named for."""
STEADY_NEEDS = 10
"""A steady window with fewer iterations is most likely a mistake in its limits."""
SATURATED = 0.95
"""Local hosts compete for the processors of one machine; above this share, they wait for each other."""
OTHERS = 0.15
"""The kernel's own work for the hosts, which is no process of theirs, was seen to take up to a tenth."""
YOUNG_DAYS = 6
"""Older clusters of CockroachDB without a licence key are warned of."""
P99_NEEDS = 100
"""With fewer values, the 99th percentile is little else than the largest."""


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """A sentence. Those of the same ``kind`` about the same thing say the same, with other numbers."""

    kind: str
    text: str
    about: str = ""


def doubts(rows: Sequence[Row], run: RunRecord) -> Iterator[Doubt]:
    """What the rows themselves, the hosts and the configuration give reason to doubt."""
    whole = headlines(rows)
    bench = run.configuration.bench
    for row in whole:
        yield from _windows(row)
        yield from _rate(row, bench)
        if row.never:
            meant = row.never + row.iterations
            yield _of(
                row,
                "never started",
                f"{row.never} of {meant} iterations that were meant to start never did: they would have waited "
                "longest, and are in no percentile. Ask for a lower rate, or give it more time (`scenario_timeout_s`).",
            )
        yield from _rally(row, len(run.clients))
    busiest = max((row.machine_cpu for row in whole if not math.isnan(row.machine_cpu)), default=0.0)
    if run.provider == LOCAL and busiest > SATURATED:
        yield Doubt(
            kind="busy machine",
            text=f"all hosts shared one machine, which was {busiest:.0%} busy: durations contain waiting for a "
            "processor. Compare them only with runs on this machine; a lower concurrency waits less.",
        )
    worst = max((row for row in whole if row.others_cpu > OTHERS), key=lambda row: row.others_cpu, default=None)
    if worst:
        yield Doubt(
            kind="others",
            text=f"work of others took up to {worst.others_cpu:.0%} of this machine's processors "
            f"({worst.statistics.scenario}): durations contain waiting for it. Measure on a quiet machine.",
        )
    few = [row for row in whole if 0 < row.statistics.n - row.statistics.failures < P99_NEEDS]
    if few:
        least = min(row.statistics.n - row.statistics.failures for row in few)
        text = f"p99 rests on as few as {least} iterations: below {P99_NEEDS}, read it as the slowest one."
        yield Doubt(kind="few iterations", text=text)
    threads = run.configuration.openstack.keystone.threads
    if threads > 1:
        yield Doubt(
            kind="threads",
            text=f"Keystone ran {threads} threads per worker: Keystone 28 to 30 mixes up the tokens of requests that "
            "one worker serves at once. Use `openstack.keystone.workers` instead.",
        )
    yield from _shared(run)


def _of(row: Row, kind: str, text: str) -> Doubt:
    """A doubt about one scenario, which its sentence names."""
    return Doubt(kind=kind, about=row.statistics.scenario, text=f"{row.statistics.scenario}: {text}")


def _windows(row: Row) -> Iterator[Doubt]:
    if row.iterations and row.statistics.n < min(row.iterations, STEADY_NEEDS):
        yield _of(
            row,
            "window",
            f"the steady window holds {row.statistics.n or 'none'} of {row.iterations} "
            "iterations. Make the load longer, or `warm_up_s` shorter.",
        )


def _rate(row: Row, bench: Bench) -> Iterator[Doubt]:
    """An open loop that fell behind, and whom it waited for."""
    asked, started = row.load.asked_per_s, row.load.started_per_s
    if not asked or not started or started >= KEPT_RATE * asked:
        return
    said = f"{started:.3g} of {asked:.3g} iterations a second were started"
    if row.load.most_in_flight >= bench.concurrency:
        yield _of(
            row,
            "slow Keystone",
            f"{said}: as many as `concurrency` allows ({bench.concurrency}) were waiting for Keystone. It does "
            "not keep up, and latencies grow with the length of the load: ask for a lower rate.",
        )
    else:
        yield _of(
            row,
            "slow Rally",
            f"{said}, with {row.load.most_in_flight} in flight of the {bench.concurrency} that `concurrency` "
            "allows: Rally did not keep up. Ask for a lower rate, or use more hosts with `load: heavy`.",
        )


def _rally(row: Row, clients: int) -> Iterator[Doubt]:
    """Whether Rally was the limit, by its CPU; by its rate where nobody looked at its CPU."""
    if row.client_cpu > BUSY_CLIENT:
        yield _of(
            row,
            "busy Rally",
            f"Rally used {row.client_cpu:.0%} of the cores that it can use, so the "
            "load was limited by Rally. Use more hosts for it with `load: heavy`, or a lower concurrency or rate.",
        )
    elif math.isnan(row.client_cpu) and row.statistics.throughput > BUSY_CLIENT * RALLY_PER_CORE_S * clients:
        yield _of(
            row,
            "fast Rally",
            f"{row.statistics.throughput:.0f} iterations a second from {clients} "
            f"Rall{'y' if clients == 1 else 'ies'}, whose CPU is not known. About {RALLY_PER_CORE_S:.0f} per core are "
            "as many as Rally was seen to make: the load may have been limited by Rally.",
        )


def _shared(run: RunRecord) -> Iterator[Doubt]:
    places = {client.rally for client in run.clients}
    shared = [host.name for host in run.hosts if host.name in places and {*host.roles} - {"rally"}]
    if shared:
        text = f"Rally shared {', '.join(shared)} with what it measured; give it a host of its own."
        yield Doubt(kind="shared host", about=text, text=text)


def throttled_soon(directory: Path, run: RunRecord) -> Iterator[Doubt]:
    """Without a licence key, a CockroachDB cluster of several nodes is throttled seven days after it was made."""
    database = run.configuration.database
    if not isinstance(database, CockroachDB) or database.license_file:
        return
    found = sorted(directory.glob("hosts/*/files/var/lib/enos_crdb/export/cluster.json"))
    if found and len(run.names("database")) > 1:
        made = datetime.fromisoformat(read_json(found[0])["initialised_at"])
        age_days = (datetime.fromisoformat(run.started_at) - made).total_seconds() / 86400
        if age_days > YOUNG_DAYS:
            yield Doubt(
                kind="throttled soon",
                text=f"the CockroachDB cluster was {age_days:.1f} days old and has no licence key: after 7 days it "
                "takes no more than 5 transactions at once. `destroy --hosts keep`, then `deploy`, makes a new one.",
            )
