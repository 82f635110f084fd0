"""What the latency model is fed with: durations, traffic and round-trip times of stored runs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from enos_crdb import stats, traffic
from enos_crdb.backends.placement import nearest_node
from enos_crdb.config.cockroachdb import CockroachDB
from enos_crdb.errors import StateError
from enos_crdb.loading import identity
from enos_crdb.loading.combinations import Group, combine
from enos_crdb.loading.stored import StoredRun
from enos_crdb.stats import Connection, Point

if TYPE_CHECKING:
    import pandas

NETWORK = "database"
REPLICATED = ("galera", "cockroachdb")
"""Backends whose commits wait for other nodes."""


@dataclass(frozen=True, kw_only=True)
class _Counted:
    """One scenario of one run."""

    sent: traffic.Traffic
    by_keystone: Mapping[str, int]
    database: Mapping[str, float] | None
    iterations: int


def points(runs: Sequence[StoredRun], table: pandas.DataFrame) -> tuple[tuple[Point, ...], tuple[str, ...]]:
    """The points of all combinations and scenarios of `runs`, whose samples are in `table`; and what is missing, why.

    `table` is that of `load`. A scenario has no point when a Keystone did not count, or nobody measured the network.
    """
    found, missing = [], []
    groups = combine(runs)
    rows = {group.name: table[table["run"].isin([run.name for run in group.runs])] for group in groups}
    for group in groups:
        for scenario in dict.fromkeys(name for run in group.runs for name in run.scenarios):
            mine, *others = (
                rows[one.name][rows[one.name]["scenario"] == scenario]
                for one in (group, *(one for one in groups if one is not group))
            )
            try:
                found.append(_point(group, scenario, mine, [stats.by_run(other) for other in others]))
            except (StateError, ValueError) as error:
                missing.append(f"{group.name}, {scenario}: {error}")
    return _named(found), tuple(missing)


def _point(group: Group, scenario: str, rows: pandas.DataFrame, among: Sequence[stats.Runs]) -> Point:
    runs = [run for run in group.runs if scenario in run.scenarios]
    # The counters saw every iteration, warm-up and failures too.
    each = rows[rows["metric"] == stats.ITERATION].groupby("run", observed=True).size()
    counted = [_counted(run, scenario, int(each.get(run.name, 0))) for run in runs]
    iterations = sum(one.iterations for one in counted)
    if not iterations:
        raise StateError("it has no iterations")
    comparable, database = _compared(runs[0].backend, counted)
    trips = {k: sum(one.by_keystone.get(k, 0) for one in counted) for one in counted for k in one.by_keystone}
    return Point(
        combination=group.name,
        factors={name: str(level) for name, level in runs[0].factors.items()},
        series=_series(runs[0]),
        backend=runs[0].backend,
        scenario=scenario,
        measured=stats.estimate(stats.by_run(rows), "mean", among=among),
        connections=tuple(
            _connection(runs, name, share / max(1, sum(trips.values()))) for name, share in trips.items() if share
        ),
        round_trips=sum(one.sent.round_trips for one in counted) / iterations,
        replays=sum(one.sent.replays for one in counted) / iterations,
        replications=_replications(runs[0], counted) / iterations,
        replication_rtt_ms=_replication_rtt_ms(runs) if runs[0].backend in REPLICATED else 0.0,
        comparable=None if comparable is None else comparable / iterations,
        database=None if database is None else database / iterations,
    )


def _counted(run: StoredRun, scenario: str, iterations: int) -> _Counted:
    name = run.record.scenario(scenario).slug
    keystones = run.record.names("keystone")
    sent = traffic.read(run.directory, keystones, name)
    if sent is None:
        raise StateError(f"a Keystone of run {run.name} did not count what it sent")
    alone = {host: traffic.read(run.directory, [host], name) for host in keystones}
    return _Counted(
        sent=sent,
        by_keystone={host: one.round_trips for host, one in alone.items() if one},
        database=traffic.database(run.directory, run.record.names("database"), name),
        iterations=iterations,
    )


def _compared(backend: str, counted: Sequence[_Counted]) -> tuple[float | None, float | None]:
    """What the Keystones say they sent, and what the databases say they got, where both count the same thing.

    PostgreSQL counts transactions, and a ping is one of its own; MariaDB and Galera count statements, with those that
    begin and end a transaction; CockroachDB counts the statements that are not about transactions.
    """
    if any(one.database is None for one in counted):
        return None, None
    seen = [one.database or {} for one in counted]
    sent = [one.sent for one in counted]
    names, ours = {
        "postgresql": (("xact_commit", "xact_rollback"), sum(s.commits + s.rollbacks + s.pings for s in sent)),
        "mariadb": (("Questions",), sum(s.round_trips for s in sent)),
        "galera": (("Questions",), sum(s.round_trips for s in sent)),
    }.get(backend, (("sql_query_count",), sum(s.statements + s.pings for s in sent)))
    if not all(name in one for one in seen for name in names):
        return None, None
    return float(ours), sum(one[name] for one in seen for name in names)


def _replications(run: StoredRun, counted: Sequence[_Counted]) -> float:
    """Commits that wait for other nodes: Galera's own count of write sets, else what the Keystones committed."""
    if run.backend not in REPLICATED or len(run.record.names("database")) < 2:
        return 0.0
    own = [(one.database or {}).get("wsrep_replicated") for one in counted]
    if run.backend == "galera" and all(value is not None for value in own):
        return sum(value for value in own if value is not None)
    return sum(one.sent.commits for one in counted)


def _connection(runs: Sequence[StoredRun], keystone: str, share: float) -> Connection:
    resources, database = runs[0].record.resources, runs[0].record.configuration.database
    node = nearest_node(resources, resources.host(keystone))
    if isinstance(database, CockroachDB) and database.haproxy:
        raise StateError("Keystone reached its database through haproxy; the way it took is not known")
    rtt_ms = statistics.fmean(_rtt_ms(run, keystone, node.name) for run in runs)
    return Connection(keystone=keystone, node=node.name, rtt_ms=rtt_ms, share=share)


def _rtt_ms(run: StoredRun, source: str, target: str) -> float:
    """The median between two hosts on the network of the database, mean of before and after the run; 0 on one host."""
    if source == target:
        return 0.0
    network = run.record.network
    medians = [
        trip.median_ms
        for matrix in (network.matrices if network else ())
        for trip in matrix.rtt
        if trip.pair == (source, target, NETWORK) and trip.median_ms is not None
    ]
    if not medians:
        raise StateError(f"nobody measured the way from {source} to {target} in run {run.name}")
    return statistics.fmean(medians)


def _replication_rtt_ms(runs: Sequence[StoredRun]) -> float:
    """From each node to those a commit waits for: all of them in Galera (the furthest), in CockroachDB a majority."""
    nodes = runs[0].record.names("database")
    if len(nodes) < 2:
        return 0.0
    waited = []
    for run in runs:
        for node in nodes:
            away = sorted(_rtt_ms(run, node, other) for other in nodes if other != node)
            waited.append(away[-1] if run.backend == "galera" else away[len(nodes) // 2 - 1])
    return statistics.fmean(waited)


def _series(run: StoredRun) -> str:
    """Runs with the same text differ in their network only."""
    return identity.digest(identity.but_for_the_network(run.aspects))


def _named(found: Sequence[Point]) -> tuple[Point, ...]:
    """The points, their series called by the backend and what sets them apart from the others of it."""
    members: dict[str, list[Point]] = {}
    for point in found:
        members.setdefault(point.series, []).append(point)
    names: dict[str, str] = {}
    for series, group in members.items():
        common = [
            f"{factor}={level}"
            for factor, level in group[0].factors.items()
            if level != group[0].backend and all(point.factors.get(factor) == level for point in group)
        ]
        name = ", ".join([group[0].backend, *(common if len(members) > 1 else ())])
        taken = sum(other == name or other.startswith(f"{name} #") for other in names.values())
        names[series] = f"{name} #{taken + 1}" if taken else name
    return tuple(replace(point, series=names[point.series]) for point in found)
