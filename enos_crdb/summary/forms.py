"""The forms a summary takes: a table for a terminal, and ``summary.csv``."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from enos_crdb import traffic
from enos_crdb.model import RESPONSE
from enos_crdb.store import write_text
from enos_crdb.summary.contents import Summary
from enos_crdb.summary.rows import Row, headlines
from enos_crdb.tables import Column, Fitted


def table(summary: Summary) -> RenderableType:
    """One line per scenario (whole iterations), below what it was measured on."""
    rows = headlines(summary.rows)
    counted = any(row.traffic for row in rows)
    legend = {
        **(_OPEN if any(row.statistics.metric == RESPONSE for row in rows) else _CLOSED),
        **(_ASKED if (asked := any(row.load.asked_per_s for row in rows)) else {}),
        **_LEGEND,
        **(_SQL if counted else {}),
    }
    headings = (*_HEADINGS, *(_ASKED if asked else ()), *_LEGEND, *(_SQL if counted else ()))
    shown = Fitted(
        title=f"Run {summary.run}",
        columns=[
            Column(heading="scenario"),
            *(Column(heading=h, number=True, optional=_ORDER.get(h)) for h in headings),
        ],
        rows=[(*_cells(row, asked=asked), *(_traffic_cells(row) if counted else ())) for row in rows],
        styles=["" if row.status == "ok" else "red" for row in rows],
    )
    if any(row.never for row in rows):
        legend["a + b failed"] = "a failed, and b that were meant to start never did"
    facts = Table.grid(padding=(0, 2))
    for name, value in {**legend, **summary.facts}.items():
        facts.add_row(Text(name, style="bold"), Text(value))
    return Group(shown, "", facts)


_ORDER = {name: place for place, name in enumerate(("p50", "p95", "p99", "asked", "ok/s", "CPU", "SQL", "replays"))}
"""On a narrow terminal, the last of these are left out first."""
_HEADINGS = ("n", "failed", "mean", "p50", "p95", "p99")
_CLOSED = {"mean ... p99": "milliseconds, of successful iterations"}
_OPEN = {"mean ... p99": "milliseconds from the intended start to the end, of successful iterations"}
_ASKED = {"asked": "iterations that were meant to start per second, all Rallies together"}
_LEGEND = {
    "ok/s": "successful iterations per second, all Rallies together",
    "CPU": "what Rally used of the cores that it can use",
}
_SQL = {
    "SQL": "round trips between Keystone and database per iteration, what Rally prepares left out",
    "replays": "transactions repeated because the database asked for it, or was lost",
}


def _cells(row: Row, *, asked: bool) -> tuple[str, ...]:
    found = row.statistics
    durations = (found.mean, found.p50, found.p95, found.p99)
    return (
        found.scenario.removeprefix("keystone/"),
        str(found.n),
        f"{found.failures} + {row.never}" if row.never else str(found.failures),
        *("-" if math.isnan(seconds) else f"{seconds * 1000:.0f}" for seconds in durations),
        *((_rate(row.load.asked_per_s),) if asked else ()),
        "-" if math.isnan(found.throughput) else f"{found.throughput:.1f}",
        "?" if math.isnan(row.client_cpu) else f"{row.client_cpu:.0%}",
    )


def _rate(per_s: float | None) -> str:
    return "-" if per_s is None else f"{per_s:.1f}"


def _traffic_cells(row: Row) -> tuple[str, str]:
    if row.traffic is None or not row.iterations:
        return "-", "-"
    lost = f" ({row.traffic.gave_up} given up)" if row.traffic.gave_up else ""
    return f"{row.traffic.round_trips / row.iterations:.0f}", f"{row.traffic.replays}{lost}"


def write_csv(summary: Summary, directory: Path) -> Path:
    """Write ``summary.csv``: a line per scenario and metric, each with everything it was measured on."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_MEASURED, *summary.labels])
    for row in summary.rows:
        found = row.statistics
        measured = (
            summary.run,
            found.scenario,
            found.metric,
            row.status,
            found.n,
            found.failures,
            row.never,
            *(_plain(value) for value in (found.mean, found.p50, found.p95, found.p99, found.throughput)),
            *(getattr(row.load, name) for name in _PACE),
            _plain(100 * row.client_cpu),
            _plain(100 * row.machine_cpu),
            _plain(100 * row.others_cpu),
            *_sent(row.traffic),
        )
        writer.writerow([*measured, *summary.labels.values()])
    path = directory / "summary.csv"
    write_text(path, text.getvalue())
    return path


_PACE = ("asked_per_s", "started_per_s", "warm_up", "after", "most_in_flight")
_MEASURED = (
    "run",
    "scenario",
    "metric",
    "status",
    "n",
    "failures",
    "never_started",
    "mean_s",
    "p50_s",
    "p95_s",
    "p99_s",
    "throughput_per_s",
    *_PACE,
    "rally_cpu_percent",
    "machine_cpu_percent",
    "others_cpu_percent",
    "sql_round_trips",
    "sql_statements",
    "sql_replays",
    "sql_gave_up",
)


def _sent(found: traffic.Traffic | None) -> tuple[str, ...]:
    if found is None:
        return ("",) * 4
    return tuple(str(count) for count in (found.round_trips, found.statements, found.replays, found.gave_up))


def _plain(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
