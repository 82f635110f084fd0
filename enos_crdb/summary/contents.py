"""What a run's directory says: rows, doubts, failures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from enos_crdb import stats, traffic, usage
from enos_crdb.errors import StateError
from enos_crdb.loading import stand_in
from enos_crdb.model import slug
from enos_crdb.stats import ITERATION, Statistics
from enos_crdb.store import read_json
from enos_crdb.summary.facts import facts, labels

BUSY_CLIENT = 0.70
"""Above this share of its cores, Rally measures itself rather than Keystone."""
LOCAL, SATURATED = "nspawn", 0.95
"""Local hosts compete for the processors of one machine; above this share, they wait for each other."""
YOUNG_DAYS = 6
"""Older clusters of CockroachDB without a licence key are warned of."""
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


def summarise(directory: Path) -> Summary:
    """Read a run's directory.

    Raises `StateError` when it is not one, is torn, or was made with something else than the database it is named for.
    """
    manifest = read_json(directory / "manifest.json")
    try:
        _refuse_stand_in(directory, manifest)
        _refuse_another_network(directory, manifest)
        rows = tuple(_rows(directory, manifest))
        return Summary(
            run=manifest["run"],
            facts=facts(directory, manifest),
            labels=labels(directory, manifest),
            rows=rows,
            warnings=(
                *manifest["warnings"],
                *_network_doubts(manifest),
                *_doubts(rows, manifest),
                *_throttled_soon(directory, manifest),
            ),
            failure=_failure(manifest),
        )
    except (KeyError, TypeError) as error:
        raise StateError(
            f"{directory / 'manifest.json'} is not the manifest of a run: {type(error).__name__} {error}.\n"
            "It was changed by hand, or written by another version of enos_crdb."
        ) from None


def _refuse_stand_in(directory: Path, manifest: Mapping[str, Any]) -> None:
    if why := stand_in(directory, manifest):
        raise StateError(
            f"run {manifest['run']} is not reported: {why}\n"
            f"What was collected is in {directory}; it says nothing about CockroachDB."
        )


def _refuse_another_network(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Numbers of a network that is not the one asked for are only given when the file says to mark them."""
    network = manifest.get("network") or {}  # runs of 0.1.0 did not measure it
    if network.get("verdict") == "off" and network["mismatch"] == "refuse":
        raise StateError(
            f"run {manifest['run']} is not reported: its network was not what the constraints say.\n"
            + "\n".join(f"  {sentence}" for sentence in network["deviations"])
            + f"\nWhat was measured is in {directory}. emulation.mismatch: label reports such runs, marked."
        )


def _network_doubts(manifest: Mapping[str, Any]) -> Iterator[str]:
    network = manifest.get("network") or {}
    if network.get("verdict") == "off":
        yield from (f"the network was not what the constraints say: {text}" for text in network["deviations"])
    elif network.get("verdict") == "not measured":
        yield from (f"the network could not be measured: {text}" for text in network["deviations"])


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
    threads = manifest["configuration"]["openstack"]["keystone"]["threads"]
    if threads > 1:
        yield (
            f"Keystone ran {threads} threads per worker: Keystone 28 to 30 mixes up the tokens of requests that one "
            "worker serves at once. Use `openstack.keystone.workers` instead."
        )
    shared = [host["name"] for host in manifest["hosts"] if "rally" in host["roles"] and len(host["roles"]) > 1]
    if shared:
        yield f"Rally shared {', '.join(shared)} with what it measured; give it a host of its own."


def _throttled_soon(directory: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    """Without a licence key, a CockroachDB cluster of several nodes is throttled seven days after it was made."""
    database = manifest["configuration"]["database"]
    if database["backend"] != "cockroachdb" or database.get("license_file"):
        return
    found = sorted(directory.glob("hosts/*/files/var/lib/enos_crdb/export/cluster.json"))
    nodes = sum("database" in host["roles"] for host in manifest["hosts"])
    if found and nodes > 1:
        made = datetime.fromisoformat(read_json(found[0])["initialised_at"])
        age_days = (datetime.fromisoformat(manifest["started_at"]) - made).total_seconds() / 86400
        if age_days > YOUNG_DAYS:
            yield (
                f"the CockroachDB cluster was {age_days:.1f} days old and has no licence key: after 7 days it takes no "
                "more than 5 transactions at once. `destroy --hosts keep`, then `deploy`, makes a new one."
            )
