"""The rows of a run: statistics of its samples, beside what was used and sent meanwhile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enos_crdb import stats, traffic, usage
from enos_crdb.model import RESPONSE, slug
from enos_crdb.stats import ITERATION, Statistics

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one scenario. ``status`` is ``ok`` or how its clients failed; shares are NaN when unknown."""

    statistics: Statistics
    status: str
    client_cpu: float
    """What Rally used of the cores that it could use: no more than its host has, or than it has processes."""
    machine_cpu: float
    traffic: traffic.Traffic | None
    """Between the Keystones and their databases, for the whole scenario; None when nobody counted."""
    iterations: int
    """Of the whole scenario, warm-up and what came after the steady window included: what `traffic` is for."""
    load: Mapping[str, Any]
    """The scenario's pace (see `rally.Pace`), empty in runs of 0.1.0."""


def read_rows(directory: Path, manifest: Mapping[str, Any], samples: pandas.DataFrame | None = None) -> Iterator[Row]:
    """Every metric of every scenario of a run, whole iterations before their actions."""
    path = directory / "samples.csv"
    if samples is None and not path.exists():
        return
    hosts = _usage(directory, manifest)
    scenarios = {scenario["name"]: scenario for scenario in manifest["scenarios"]}
    keystones = [host["name"] for host in manifest["hosts"] if "keystone" in host["roles"]]
    sent = {
        name: traffic.read(directory, keystones, slug(scenario["index"], name)) for name, scenario in scenarios.items()
    }
    table = stats.read(path) if samples is None else samples
    started = table.loc[table["metric"] == ITERATION, "scenario"].value_counts()
    for found in stats.statistics(table, list(scenarios)):
        scenario = scenarios[found.scenario]
        yield Row(
            statistics=found,
            status=status(scenario),
            client_cpu=_worst(_rally_shares(hosts, manifest, found.window)),
            machine_cpu=_worst(host.machine_share(*found.window) for host in hosts.values()),
            traffic=sent[found.scenario],
            iterations=int(started.get(found.scenario, 0)),
            load=scenario.get("load", {}),
        )


def headlines(rows: Iterable[Row]) -> list[Row]:
    """One row per scenario: the response from the intended start where there is one, or else the iteration."""
    best: dict[str, Row] = {}
    for row in rows:
        if row.statistics.metric in (ITERATION, RESPONSE):
            best[row.statistics.scenario] = row  # an iteration comes before its response
    return list(best.values())


def status(scenario: Mapping[str, Any]) -> str:
    bad = sorted({client["status"] for client in scenario["clients"]} - {"ok"})
    return "+".join(bad) or "ok"


def _rally_shares(
    hosts: Mapping[str, usage.Usage], manifest: Mapping[str, Any], window: tuple[float, float]
) -> Iterator[float]:
    places = [client["rally"] for client in manifest["clients"]]
    for name in sorted({*places} & {*hosts}):
        host = hosts[name]
        # Rally starts a process per core it sees, but no more than there are iterations in flight.
        processes = places.count(name) * min(host.machine_cores, manifest["configuration"]["bench"]["concurrency"])
        yield host.process_share(usage.RALLY, *window) * host.cores / min(host.cores, processes)


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
