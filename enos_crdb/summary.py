"""The summary of a run, from its directory alone: a table for the terminal and ``summary.csv``."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from enos_crdb import stats, traffic, usage
from enos_crdb.errors import StateError
from enos_crdb.model import Sample, slug
from enos_crdb.stats import ITERATION, Statistics
from enos_crdb.store import read_json, write_text

BUSY_CLIENT = 0.70
"""Above this share of its cores, Rally measures itself rather than Keystone."""
LOCAL, SATURATED = "nspawn", 0.95
"""Local hosts compete for the processors of one machine; above this share, they wait for each other."""
COCKROACHDB = ("CCL", "OSS")
"""Distributions of CockroachDB, as the program names itself."""
P99_NEEDS = 100
"""With fewer values, the 99th percentile is little else than the largest."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one scenario. ``status`` is ``ok`` or how its clients failed; shares are NaN when unknown."""

    statistics: Statistics
    status: str
    client_cpu: float
    machine_cpu: float
    traffic: traffic.Traffic | None
    """Between the Keystones and their databases, for the whole scenario; None when nobody counted."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """``facts``: what was measured, on what, under which load. ``failure`` is empty when all went well."""

    run: str
    facts: Mapping[str, str]
    labels: Mapping[str, Any]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    failure: str


def write_samples(samples: Iterable[Sample], directory: Path) -> Path:
    """Write the run's ``samples.csv``."""
    path = directory / "samples.csv"
    stats.write(samples, path)
    path.chmod(0o600)
    return path


def summarise(directory: Path) -> Summary:
    """Read a run's directory.

    Raises `StateError` when it is not one, is torn, or was made with something else than the database it is named for.
    """
    manifest = read_json(directory / "manifest.json")
    try:
        _refuse_stand_in(directory, manifest)
        rows = tuple(_rows(directory, manifest))
        return Summary(
            run=manifest["run"],
            facts=_facts(directory, manifest),
            labels=_labels(directory, manifest),
            rows=rows,
            warnings=(*manifest["warnings"], *_doubts(rows, manifest)),
            failure=_failure(manifest),
        )
    except (KeyError, TypeError) as error:
        raise StateError(
            f"{directory / 'manifest.json'} is not the manifest of a run: {type(error).__name__} {error}.\n"
            "It was changed by hand, or written by another version of enos_crdb."
        ) from None


def table(summary: Summary) -> RenderableType:
    """One line per scenario (whole iterations), below what it was measured on."""
    shown = Table(
        title=f"Run {summary.run}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    shown.add_column("scenario", overflow="fold")
    rows = [row for row in summary.rows if row.statistics.metric == ITERATION]
    counted = any(row.traffic for row in rows)
    for heading in (*_HEADINGS, *(_SQL if counted else ())):
        shown.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    for row in rows:
        cells = (*_cells(row), *(_traffic_cells(row) if counted else ()))
        shown.add_row(*cells, style="" if row.status == "ok" else "red")
    facts = Table.grid(padding=(0, 2))
    for name, value in {**_LEGEND, **(_SQL if counted else {}), **summary.facts}.items():
        facts.add_row(Text(name, style="bold"), Text(value))
    return Group(shown, facts)


_HEADINGS = ("n", "failed", "mean", "p50", "p95", "p99", "ok/s", "CPU")
_LEGEND = {
    "mean ... p99": "milliseconds, of successful iterations",
    "ok/s": "successful iterations per second, all Rallies together",
    "CPU": "share of its host's cores that Rally used",
}
_SQL = {
    "SQL": "round trips between Keystone and database per iteration, preparation included",
    "replays": "transactions repeated because the database asked for it, or was lost",
}


def _cells(row: Row) -> tuple[str, ...]:
    found = row.statistics
    durations = (found.mean, found.p50, found.p95, found.p99)
    return (
        found.scenario.removeprefix("keystone/"),
        str(found.n),
        str(found.failures),
        *("-" if math.isnan(seconds) else f"{seconds * 1000:.0f}" for seconds in durations),
        "-" if math.isnan(found.throughput) else f"{found.throughput:.1f}",
        "?" if math.isnan(row.client_cpu) else f"{row.client_cpu:.0%}",
    )


def _traffic_cells(row: Row) -> tuple[str, str]:
    if row.traffic is None or not row.statistics.n:
        return "-", "-"
    lost = f" ({row.traffic.gave_up} given up)" if row.traffic.gave_up else ""
    return f"{row.traffic.round_trips / row.statistics.n:.0f}", f"{row.traffic.replays}{lost}"


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
            *(_plain(value) for value in (found.mean, found.p50, found.p95, found.p99, found.throughput)),
            _plain(100 * row.client_cpu),
            _plain(100 * row.machine_cpu),
            *_sent(row.traffic),
        )
        writer.writerow([*measured, *summary.labels.values()])
    path = directory / "summary.csv"
    write_text(path, text.getvalue())
    return path


_MEASURED = (
    "run",
    "scenario",
    "metric",
    "status",
    "n",
    "failures",
    "mean_s",
    "p50_s",
    "p95_s",
    "p99_s",
    "throughput_per_s",
    "rally_cpu_percent",
    "machine_cpu_percent",
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


def _refuse_stand_in(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Tests put a program that answers as CockroachDB does in its place; `cockroach version` tells which it was."""
    if manifest["configuration"]["database"]["backend"] != "cockroachdb":
        return
    for host in manifest["hosts"]:
        said = _said(directory, manifest, host["name"]).get("things", {}).get("database", "")
        distribution = re.search(r"Distribution:[ \t]*(.*)", said) if "database" in host["roles"] else None
        if distribution and distribution[1].strip() not in COCKROACHDB:
            raise StateError(
                f"run {manifest['run']} is not reported: its database was no CockroachDB.\n"
                f"`cockroach version` on {host['name']} says: Distribution: {distribution[1].strip()}.\n"
                f"What was collected is in {directory}; it says nothing about CockroachDB."
            )


def _rows(directory: Path, manifest: Mapping[str, Any]) -> Iterator[Row]:
    samples = directory / "samples.csv"
    if not samples.exists():
        return
    hosts = _usage(directory, manifest)
    rallies = [hosts[host["name"]] for host in manifest["hosts"] if "rally" in host["roles"] and host["name"] in hosts]
    status = {scenario["name"]: _status(scenario) for scenario in manifest["scenarios"]}
    keystones = [host["name"] for host in manifest["hosts"] if "keystone" in host["roles"]]
    sent = {
        scenario["name"]: traffic.read(directory, keystones, slug(scenario["index"], scenario["name"]))
        for scenario in manifest["scenarios"]
    }
    for found in stats.statistics(stats.read(samples), list(status)):
        client = _worst(host.process_share(usage.RALLY, *found.window) for host in rallies)
        machine = _worst(host.machine_share(*found.window) for host in hosts.values())
        yield Row(
            statistics=found,
            status=status[found.scenario],
            client_cpu=client,
            machine_cpu=machine,
            traffic=sent[found.scenario],
        )


def _worst(shares: Iterable[float]) -> float:
    return max((share for share in shares if not math.isnan(share)), default=math.nan)


def _usage(directory: Path, manifest: Mapping[str, Any]) -> dict[str, usage.Usage]:
    """Host name -> what it used, for hosts whose samples came back."""
    limits = [group.get("cpus") for group in manifest["configuration"]["machines"] for _ in range(group["count"])]
    found = {}
    for host, limit in zip(manifest["hosts"], [*limits, *[None] * len(manifest["hosts"])], strict=False):
        path = directory / "hosts" / host["name"] / "usage.csv"
        if path.exists():
            found[host["name"]] = usage.read(path, limit_cores=limit)
    return found


def _status(scenario: Mapping[str, Any]) -> str:
    bad = sorted({client["status"] for client in scenario["clients"]} - {"ok"})
    return "+".join(bad) or "ok"


def _failure(manifest: Mapping[str, Any]) -> str:
    scenarios = manifest["scenarios"]
    bad = [
        f"  {scenario['name']}, {client['client']}: {client['status']}: {client['message']}".rstrip(": ")
        for scenario in scenarios
        for client in scenario["clients"]
        if client["status"] != "ok"
    ]
    count = sum(_status(scenario) != "ok" for scenario in scenarios)
    asked = manifest["configuration"]["bench"]["scenarios"]
    absent = [name for name in asked if name not in {scenario["name"] for scenario in scenarios}]
    parts = []
    if bad:
        parts.append(f"{count} of {len(asked)} scenarios could not run, or missed their SLA:\n" + "\n".join(bad))
    if absent:
        parts.append(f"the run was interrupted before {', '.join(absent)}.")
    return "\n".join(parts)


def _doubts(rows: Sequence[Row], manifest: Mapping[str, Any]) -> Iterator[str]:
    iterations = [row for row in rows if row.statistics.metric == ITERATION]
    for row in iterations:
        if row.client_cpu > BUSY_CLIENT:
            yield (
                f"{row.statistics.scenario}: Rally used {row.client_cpu:.0%} of its host's cores, so the load was "
                "limited by Rally. Use more rally hosts with `load: heavy`, or a lower concurrency."
            )
    busiest = max((row.machine_cpu for row in iterations if not math.isnan(row.machine_cpu)), default=0.0)
    if manifest["provider"] == LOCAL and busiest > SATURATED:
        yield (
            f"all hosts shared one machine, which was {busiest:.0%} busy: durations contain waiting for a processor. "
            "Compare them only with runs on this machine; a lower concurrency waits less."
        )
    few = [row for row in iterations if 0 < row.statistics.n - row.statistics.failures < P99_NEEDS]
    if few:
        least = min(row.statistics.n - row.statistics.failures for row in few)
        yield f"p99 rests on as few as {least} iterations: below {P99_NEEDS}, read it as the slowest one."
    shared = [host["name"] for host in manifest["hosts"] if "rally" in host["roles"] and len(host["roles"]) > 1]
    if shared:
        yield f"Rally shared {', '.join(shared)} with what it measured; give it a host of its own."


def _facts(directory: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """What is said beside the numbers, in words."""
    label = _labels(directory, manifest)
    bench = manifest["configuration"]["bench"]
    hosts = manifest["hosts"]
    cache = "no cache" if label["cache"] == "none" else f"cache {label['cache']}"
    rallies = [client["rally"] for client in manifest["clients"]]
    places = sorted({host["site"] for host in hosts})
    return {
        "database": f"{label['backend']} {label['backend_version']}".strip() + f" on {_names(hosts, 'database')}",
        "Keystone": f"{label['keystone_version']} (release {label['release']}) on {_names(hosts, 'keystone')}: "
        f"{label['workers']} workers x {label['threads']} threads, {cache}, "
        f"{label['password_hash_rounds']} hash rounds, {label['token_provider']} tokens, "
        f"keystone_crdb {label['keystone_crdb']}",
        "load": f"{label['load']}: {_amount(bench)}; "
        f"rally-openstack {label['rally_openstack_version']} on {', '.join(dict.fromkeys(rallies))}",
        "database state": {
            "scenario": "made anew before each scenario",
            "run": "made anew before the run",
            "never": "as it was",
        }[bench["reset"]],
        "made": _made(manifest),
        "hosts": f"{len(hosts)} ({manifest['provider']}), {label['system']}; sites: {', '.join(places)}",
    }


def _made(manifest: Mapping[str, Any]) -> str:
    code = manifest["provenance"]
    commit = f", commit {code['commit'][:10]}" if code["commit"] else ""
    changed = " with uncommitted changes" if code["dirty"] else ""
    return f"{manifest['started_at'][:19]}Z by enos_crdb {code['enos_crdb']}{commit}{changed}"


def _names(hosts: Sequence[Mapping[str, Any]], role: str) -> str:
    names = [host["name"] for host in hosts if role in host["roles"]]
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} ... {names[-1]} ({len(names)})"


def _amount(bench: Mapping[str, Any]) -> str:
    runner = bench["runner"]
    if runner["type"] == "constant_for_duration":
        return f"{bench['concurrency']} iterations at once for {runner['duration_s']:g} s per Rally"
    if runner["type"] == "rps":
        return f"{bench['times']} iterations, {runner['rps']:g} started every second, per Rally"
    return f"{bench['times']} iterations, {bench['concurrency']} at once, per Rally"


def _labels(directory: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What is said beside the numbers, in columns."""
    configuration = manifest["configuration"]
    bench, openstack = configuration["bench"], configuration["openstack"]
    keystone, backend = openstack["keystone"], configuration["database"]["backend"]
    versions = Versions(directory, manifest)
    return {
        "backend": backend,
        "backend_version": versions.of("database", "database", backend, "mariadb-server", "mariadb"),
        "release": openstack["release"],
        "keystone_version": versions.of("keystone", "keystone"),
        "workers": keystone["workers"],
        "threads": keystone["threads"],
        "cache": keystone["cache"],
        "password_hash_rounds": keystone["password_hash_rounds"],
        "token_provider": keystone["token_provider"],
        "keystone_crdb": keystone.get("keystone_crdb", "off"),  # runs of 0.1.0 had none
        "load": bench["load"],
        "rallies": len(manifest["clients"]),
        "runner": bench["runner"]["type"],
        "times": bench["times"],
        "concurrency": bench["concurrency"],
        "reset": bench["reset"],
        "database_hosts": sum("database" in host["roles"] for host in manifest["hosts"]),
        "keystone_hosts": sum("keystone" in host["roles"] for host in manifest["hosts"]),
        "rally_openstack_version": versions.of("rally", "rally-openstack"),
        "system": versions.of("database", "system", number=False),
        "provider": manifest["provider"],
        "enos_crdb": manifest["provenance"]["enos_crdb"],
        "commit": manifest["provenance"]["commit"] or "",
        "started_at": manifest["started_at"],
    }


class Versions:
    """What the hosts said they run: ``hosts/<host>/versions.json``, or the manifest's ``versions``."""

    def __init__(self, directory: Path, manifest: Mapping[str, Any]) -> None:
        self._hosts = manifest["hosts"]
        self._flat = {host["name"]: dict(_leaves(_said(directory, manifest, host["name"]))) for host in self._hosts}

    def of(self, role: str, *things: str, number: bool = True) -> str:
        """The version of the first of `things` known on the first host with `role` that knows it; ``?`` if none."""
        for thing in things:
            for host in self._hosts:
                said = self._flat[host["name"]].get(thing, "") if role in host["roles"] else ""
                if said:
                    digits = re.search(r"\d+(\.\d+)+", said) if number else None
                    return digits[0] if digits else said.splitlines()[0]
        return "?"


def _said(directory: Path, manifest: Mapping[str, Any], host: str) -> Mapping[str, Any]:
    path = directory / "hosts" / host / "versions.json"
    said: Mapping[str, Any] = read_json(path) if path.exists() else manifest["versions"].get(host, {})
    return said


def _leaves(said: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in said.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield str(name), str(value)
