"""Iterations over time, and what hosts and databases did meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from enos_crdb import traffic, usage
from enos_crdb.errors import StateError
from enos_crdb.model import STEADY
from enos_crdb.report import drawing, figures, parts
from enos_crdb.report.figures import Trace
from enos_crdb.report.material import Combination, Material, Measured
from enos_crdb.report.parts import Figure, Section, Table
from enos_crdb.report.results import file_name, short
from enos_crdb.summary import headlines

if TYPE_CHECKING:
    import numpy

RUNS = 8
"""Most time lines on a page: the first run of each combination, then the second ones, and so on."""
EVERY_S = 2.0
"""The sampler looks once a second; a share of two seconds jumps less."""
POINTS = 300


def time_lines(material: Material) -> Section:
    """Every iteration of a run, from its first to its last."""
    chosen = _chosen(material)
    many = len(material.runs)
    lead = (
        "Hollow marks on a yellow ground: warm-up, which is in no number. Crosses: failed iterations. Above "
        f"{2 * figures.BINS} iterations of a scenario, a band from the fastest to the slowest, with their median. "
        "CPU: share of all processors of the machine that were in use, as seen from each host."
        + (f" Shown: {len(chosen)} of {many} runs, the first of each combination." if many > len(chosen) else ""),
    )
    return Section(
        anchor="time",
        title="Iterations over time",
        lead=lead,
        parts=tuple(_figure(run, combination, material) for run, combination in chosen),
    )


def _chosen(material: Material) -> list[tuple[Measured, Combination]]:
    """The first run of every combination; when there is room, the second ones too."""
    found: list[tuple[Measured, Combination]] = []
    for repetition in range(max(len(one.runs) for one in material.combinations)):
        found += [(one.runs[repetition], one) for one in material.combinations if repetition < len(one.runs)]
        if len(found) * 2 > RUNS:
            break
    return found[:RUNS]


def _figure(run: Measured, combination: Combination, material: Material) -> Figure:
    began = datetime.fromisoformat(run.record.started_at).timestamp()
    of = f"{combination.label}, run {run.name}" if material.several or len(material.runs) > 1 else f"run {run.name}"
    failed = sum(row.statistics.failures for row in headlines(run.summary.rows))
    return Figure(
        name=file_name("time", str(combination.index + 1), run.name),
        caption=f"{of}: duration of every iteration, by when it began.",
        alternative=f"Iterations of {of} over time; {failed} failed.",
        draw=lambda: figures.time_line(of, _traces(run, began), _cpu(run, began)),
        wide=True,
    )


def _traces(run: Measured, began: float) -> list[Trace]:
    traces = []
    for index, scenario in enumerate(run.scenarios):
        table = run.rows(scenario)
        traces.append(
            Trace(
                label=short(scenario),
                look=drawing.look(index),
                at_s=table["started_at"].to_numpy(dtype=float) - began,
                value_ms=table["value"].to_numpy(dtype=float) * 1000,
                ok=(table["outcome"] == "ok").to_numpy(),
                steady=(table["window"] == STEADY).to_numpy(),
            )
        )
    return traces


def _cpu(run: Measured, began: float) -> dict[str, tuple[numpy.ndarray, numpy.ndarray]]:
    """Host -> (seconds since the run began, how busy the machine was in percent)."""
    import numpy

    found = {}
    for host in run.record.hosts:
        path = run.directory / "hosts" / host.name / "usage.csv"
        if not path.exists():
            continue
        try:
            used = usage.read(path)
        except StateError:
            continue  # its warning stands beside the numbers
        times = used.machine_busy_s.index.to_numpy(dtype=float)
        if len(times) > 2:
            count = int(min(POINTS, max(2.0, (times[-1] - times[0]) / EVERY_S)))
            instants = numpy.linspace(times[0], times[-1], count + 1)
            busy = numpy.interp(instants, times, used.machine_busy_s.to_numpy(dtype=float))
            share = numpy.diff(busy) / numpy.diff(instants) / used.machine_cores * 100
            found[host.name] = (instants[1:] - began, share)
    return _different_machines(found)


def _different_machines(
    found: Mapping[str, tuple[numpy.ndarray, numpy.ndarray]],
) -> dict[str, tuple[numpy.ndarray, numpy.ndarray]]:
    """Local hosts all see their one machine: then it is shown once."""
    import numpy

    if len(found) < 2:
        return dict(found)
    first = next(iter(found.values()))
    grid = numpy.linspace(first[0][0], first[0][-1], 50)
    lines = [numpy.interp(grid, at, share) for at, share in found.values()]
    alike = all(float(numpy.abs(line - lines[0]).mean()) < 4.0 for line in lines[1:])
    return {"the machine": first} if alike else dict(found)


CHOSEN: Mapping[str, tuple[str, ...]] = {
    "postgresql": ("xact_commit", "xact_rollback", "deadlocks", "tup_fetched", "tup_inserted", "tup_updated",
                   "tup_deleted", "server_wal_bytes"),
    "mariadb": ("Com_commit", "Com_rollback", "Questions", "Com_select", "Com_insert", "Com_update", "Com_delete",
                "Innodb_row_lock_waits", "Innodb_row_lock_time"),
    "galera": ("Com_commit", "Com_rollback", "Questions", "Com_select", "Com_insert", "Com_update", "Com_delete",
               "wsrep_replicated", "wsrep_local_cert_failures", "wsrep_local_bf_aborts",
               "wsrep_flow_control_paused_ns"),
    "cockroachdb": ("sql.txn.commit.count", "sql.txn.abort.count", "sql.txn.rollback.count", "sql.query.count",
                    "sql.select.count", "sql.insert.count", "sql.update.count", "sql.delete.count",
                    "sql.restart_savepoint.count", "txn.restarts"),
}  # fmt: skip
"""Counters worth a line, by backend; all of them are in the raw data."""


def counters(material: Material) -> Section:
    """What the databases counted: a table per backend, a line per scenario and combination."""
    tables = []
    for backend in dict.fromkeys(one.backend for one in material.combinations):
        rows = [
            row
            for scenario in material.scenarios
            for one in material.combinations
            if one.backend == backend
            for row in _counted(scenario, one)
        ]
        if rows:
            tables.append(_counter_table(backend, rows, material.several))
    return Section(anchor="counters", title="Database counters", parts=tuple(tables))


def _counter_table(backend: str, rows: Sequence[Mapping[str, Any]], several: bool) -> Table:
    columns = [parts.text("scenario", "scenario")]
    columns += [parts.text("combination", "combination")] if several else []
    columns += [parts.count("iterations", "iterations")]
    names = [name for name in CHOSEN[backend] if any(name in row for row in rows)]
    return Table(
        name=file_name("counters", backend),
        caption=f"{backend}'s own counters: growth from before to after the load per iteration, all its hosts and runs "
        "together. All counters are in the raw data.",
        columns=(*columns, *(parts.measure(name, name) for name in names)),
        rows=tuple(rows),
    )


def _counted(scenario: str, combination: Combination) -> Iterator[Mapping[str, Any]]:
    total: dict[str, float] = {}
    made = 0
    for run in combination.having(scenario):
        grown = _grown(run, scenario)
        if grown:
            made += len(run.rows(scenario))
        for name, value in grown.items():
            total[name] = total.get(name, 0) + value
    wanted = [name for name in CHOSEN.get(combination.backend, ()) if name in total]
    if wanted and made:
        yield {
            "scenario": short(scenario),
            "combination": combination.label,
            "iterations": made,
            **{name: total[name] / made for name in wanted},
        }


def _grown(run: Measured, scenario: str) -> Mapping[str, float]:
    """Growth of all databases together; empty when one of them was not asked, or its counters cannot be read."""
    try:
        grown = traffic.database(run.directory, run.record.names("database"), run.record.scenario(scenario).slug)
    except StateError:
        return {}
    return {name: value for name, value in (grown or {}).items() if value >= 0}  # a gauge goes down, too
