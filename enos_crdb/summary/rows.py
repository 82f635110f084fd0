"""The rows of a run: statistics of its samples, beside what was used and sent meanwhile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from enos_crdb import stats, traffic, usage
from enos_crdb.model import RESPONSE
from enos_crdb.record import Pace, RunRecord
from enos_crdb.stats import ITERATION, Statistics

if TYPE_CHECKING:
    import pandas


LOCAL = "nspawn"
"""Hosts of this provider share one machine, and their samplers see all of it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one scenario. ``status`` is ``ok`` or how its clients failed; shares are NaN when unknown."""

    statistics: Statistics
    status: str
    client_cpu: float
    """What Rally used of the cores that it could use: no more than its host has, or than it has processes."""
    machine_cpu: float
    others_cpu: float
    """What neither the hosts' processes nor the idle loop used of the machine that local hosts share."""
    traffic: traffic.Traffic | None
    """Between the Keystones and their databases, for the whole scenario; None when nobody counted."""
    iterations: int
    """Of the whole scenario, warm-up and what came after the steady window included: what `traffic` is for."""
    load: Pace
    never: int
    """Iterations that an open loop meant to start and did not: they are in no statistic."""


def read_rows(directory: Path, run: RunRecord, samples: pandas.DataFrame | None = None) -> Iterator[Row]:
    """Every metric of every scenario of a run, whole iterations before their actions."""
    path = directory / "samples.csv"
    if samples is None and not path.exists():
        return
    hosts = _usage(directory, run)
    sent = {one.name: traffic.read(directory, run.names("keystone"), one.slug) for one in run.scenarios}
    table = stats.read(path) if samples is None else samples
    started = table.loc[table["metric"] == ITERATION, "scenario"].value_counts()
    for found in stats.statistics(table, list(sent)):
        scenario = run.scenario(found.scenario)
        yield Row(
            statistics=found,
            status=scenario.status,
            client_cpu=_worst(_rally_shares(hosts, run, found.window)),
            machine_cpu=_worst(host.machine_share(*found.window) for host in hosts.values()),
            others_cpu=_others(hosts, run, found.window),
            traffic=sent[found.scenario],
            iterations=int(started.get(found.scenario, 0)),
            load=scenario.load,
            never=max(0, (scenario.intended or 0) - int(started.get(found.scenario, 0))),
        )


def headlines(rows: Iterable[Row]) -> list[Row]:
    """One row per scenario: the response from the intended start where there is one, or else the iteration."""
    best: dict[str, Row] = {}
    for row in rows:
        if row.statistics.metric in (ITERATION, RESPONSE):
            best[row.statistics.scenario] = row  # an iteration comes before its response
    return list(best.values())


def _rally_shares(hosts: Mapping[str, usage.Usage], run: RunRecord, window: tuple[float, float]) -> Iterator[float]:
    places = [client.rally for client in run.clients]
    for name in sorted({*places} & {*hosts}):
        host = hosts[name]
        # Rally starts a process per core it sees, but no more than there are iterations in flight.
        processes = places.count(name) * min(host.machine_cores, run.configuration.bench.concurrency)
        yield host.process_share(usage.RALLY, *window) * host.cores / min(host.cores, processes)


def _others(hosts: Mapping[str, usage.Usage], run: RunRecord, window: tuple[float, float]) -> float:
    """NaN where the hosts are no containers of one machine, or one of them did not tell."""
    if run.provider != LOCAL or len(hosts) < len(run.hosts) or not hosts:
        return math.nan
    machine = next(iter(hosts.values()))
    ours = sum(host.processes_cores(*window) for host in hosts.values()) / machine.machine_cores
    return max(0.0, machine.machine_share(*window) - ours) if not math.isnan(ours) else math.nan


def _worst(shares: Iterable[float]) -> float:
    return max((share for share in shares if not math.isnan(share)), default=math.nan)


def _usage(directory: Path, run: RunRecord) -> dict[str, usage.Usage]:
    """Host name -> what it used, for hosts whose samples came back."""
    found = {}
    for host in run.hosts:
        path = directory / "hosts" / host.name / "usage.csv"
        if path.exists():
            found[host.name] = usage.read(path, limit_cores=run.cpus.get(host.name))
    return found
