"""What Grid'5000 has for a request: whether the names exist, how many nodes work, which are free, and when."""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from enoslib.infra.enos_g5k.g5k_api_utils import can_start_on_cluster

from enos_crdb.config.g5k import Batch, G5k
from enos_crdb.providers.g5k.jobs import label, moment

NOT_WORKING = ("dead", "suspected", "absent")


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is asked of one cluster: any `count` nodes, and among them `servers`."""

    site: str
    cluster: str
    count: int
    servers: tuple[str, ...]


@dataclass(kw_only=True)
class Findings:
    """``problems`` make the request impossible; ``facts`` are worth knowing."""

    problems: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)


def demands(asked: Sequence[Batch]) -> list[Demand]:
    """What is asked of each cluster."""
    found: dict[tuple[str, str], list[Batch]] = {}
    for batch in asked:
        found.setdefault((batch.site, batch.cluster), []).append(batch)
    return [
        Demand(
            site=site,
            cluster=cluster,
            count=sum(len(batch.names) for batch in group),
            servers=tuple(server for batch in group for server in batch.servers),
        )
        for (site, cluster), group in found.items()
    ]


def look(api: Any, section: G5k, asked: Sequence[Batch]) -> Findings:
    """Ask the API about every cluster of the request, or about the jobs to use."""
    if section.reuse:
        return _jobs(api, section, asked)
    findings = Findings()
    sites = {site.uid: site for site in api.sites.list()}
    statuses: dict[Demand, Mapping[str, Any]] = {}
    for demand in demands(asked):
        if demand.site not in sites:
            findings.problems.append(_unknown("site", demand.site, sites))
            continue
        clusters = {cluster.uid: cluster for cluster in sites[demand.site].clusters.list()}
        if demand.cluster not in clusters:
            findings.problems.append(_unknown(f"cluster of {demand.site}", demand.cluster, clusters))
            continue
        cluster = clusters[demand.cluster]
        statuses[demand] = with_starts(cluster.status.list().nodes)
        findings.problems += _too_few(demand, statuses[demand])
        if section.networks.database != "prod" and statuses[demand]:
            findings.problems += _too_few_cards(cluster, demand, statuses[demand])
    if not findings.problems:
        findings.facts += _free(statuses, section.walltime_s)
    return findings


def _jobs(api: Any, section: G5k, asked: Sequence[Batch]) -> Findings:
    findings = Findings()
    for site, number in section.reuse.items():
        job = api.sites[site].jobs[str(number)]
        nodes = getattr(job, "assigned_nodes", None) or []  # a job that waits has none
        findings.facts.append(f"{label(job)} is {job.state}, with {len(nodes)} nodes")
        wanted = sum(len(batch.names) for batch in asked if batch.site == site)
        if job.state != "running":
            findings.problems.append(f"g5k.reuse: {label(job)} does not run (state '{job.state}'); name one that does.")
        elif len(nodes) < wanted:
            findings.problems.append(
                f"g5k.reuse: {label(job)} has {len(nodes)} nodes, and the file asks for {wanted} there."
            )
    return findings


def _unknown(what: str, name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"g5k: '{name}' is not a {what}.{hint} There are {', '.join(sorted(known))}."


def with_starts(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """The same, where `started_at` is not 0 in what is only scheduled: EnOSlib would take it for a moment in 1970."""
    return {
        name: {
            **status,
            "reservations": [
                {key: value for key, value in reservation.items() if key != "started_at" or value}
                for reservation in status.get("reservations", [])
            ],
        }
        for name, status in nodes.items()
    }


def working(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """The nodes that can be reserved."""
    return {name: status for name, status in nodes.items() if status.get("hard") not in NOT_WORKING}


def _too_few(demand: Demand, nodes: Mapping[str, Any]) -> list[str]:
    alive = working(nodes)
    found = [
        f"g5k: server {server} {'is broken' if server in nodes else 'does not exist'}; name another."
        for server in demand.servers
        if server not in alive
    ]
    if len(alive) < demand.count:
        found.append(
            f"g5k: {demand.cluster} at {demand.site} has {len(nodes)} nodes, of which {len(alive)} work; the file asks "
            f"for {demand.count}. Ask for fewer, or use another cluster too."
        )
    return found


def _too_few_cards(cluster: Any, demand: Demand, nodes: Mapping[str, Any]) -> list[str]:
    first = min(nodes).partition(".")[0]
    spare = [
        card
        for card in cluster.nodes[first].network_adapters
        if card["mountable"] and card["interface"] == "Ethernet" and not card["management"] and not card["mounted"]
    ]
    if spare:
        return []
    return [
        f"g5k.networks.database: nodes of {demand.cluster} have no second network card for a VLAN; choose another "
        "cluster, or `prod`."
    ]


def _free(statuses: Mapping[Demand, Mapping[str, Any]], walltime_s: int) -> list[str]:
    now = time.time()
    facts = []
    for demand, nodes in statuses.items():
        free = [name for name, status in nodes.items() if can_start_on_cluster({name: status}, 1, [], now, walltime_s)]
        count = len(working({name: nodes[name] for name in free}))
        facts.append(
            f"{demand.cluster} at {demand.site}: {count} of {len(nodes)} nodes are free for the next "
            f"{walltime_s / 3600:g} h, {demand.count} are asked for"
        )
    slot = next_slot(statuses, walltime_s, now)
    if slot is None:
        return [*facts, "no time is in sight when all of them are free"]
    when = "now" if slot <= now else moment(slot)
    return [*facts, f"all of them are free {when}, unless somebody is faster"]


def next_slot(statuses: Mapping[Demand, Mapping[str, Any]], walltime_s: int, now: float) -> float | None:
    """The first moment (seconds since the epoch) at which all demands can be met for `walltime_s`."""
    ends = {
        _end(reservation)
        for nodes in statuses.values()
        for status in nodes.values()
        for reservation in status.get("reservations", [])
        if reservation.get("queue") != "besteffort"
    }
    for start in [now, *sorted(end for end in ends if end > now)]:
        if all(
            can_start_on_cluster(working(nodes), demand.count, list(demand.servers), start, walltime_s)
            for demand, nodes in statuses.items()
        ):
            return start
    return None


def _end(reservation: Mapping[str, Any]) -> float:
    start = reservation.get("started_at") or reservation.get("scheduled_at") or 0
    return float(start) + float(reservation["walltime"])
