"""What a deployment file asks Grid'5000 for: which hosts where, under which name, and what that costs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from enos_crdb.config.g5k.section import MAY_CHANGE, SERVER, G5k
from enos_crdb.config.resources import Machines, Networks, plan_hosts


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Hosts of one entry of ``machines`` with one `site` label: they come from one place.

    ``servers`` are the nodes they must be, in order; empty for any of the cluster. ``enough``: how many must come.
    """

    index: int
    label: str
    site: str
    cluster: str
    names: tuple[str, ...]
    enough: int
    servers: tuple[str, ...] = ()

    @property
    def role(self) -> str:
        """What EnOSlib calls these hosts."""
        return f"machines-{self.index}-{self.label}"


def batches(section: G5k, machines: Sequence[Machines]) -> tuple[Batch, ...]:
    """Where all hosts come from, in file order. Raises `KeyError` for a label that has no place (see `misfits`)."""
    pools: dict[tuple[str, ...], list[str]] = {}
    found = []
    for label, index, names in _groups(machines):
        where = _place(section, label)
        if where is None:
            raise KeyError(label)
        site, cluster, servers = where
        pool = pools.setdefault(servers, list(servers))
        taken, pool[:] = tuple(pool[: len(names)]), pool[len(names) :]
        spare = machines[index].count - machines[index].enough
        found.append(
            Batch(
                index=index,
                label=label,
                site=site,
                cluster=cluster,
                names=names,
                enough=max(len(names) - spare, 0),
                servers=taken,
            )
        )
    return tuple(found)


def _groups(machines: Sequence[Machines]) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """(label, index in ``machines``, names) of hosts that belong together."""
    hosts = sorted(plan_hosts(machines), key=lambda host: (host.index, host.group.sites.index(host.site)))
    for (index, label), group in groupby(hosts, key=lambda host: (host.index, host.site)):
        yield label, index, tuple(host.name for host in group)


def _place(section: G5k, label: str) -> tuple[str, str, tuple[str, ...]] | None:
    """(site, cluster, servers) of hosts with that label; None when the file does not say."""
    place = section.places.get(label, section)
    if place.servers:
        match = SERVER.fullmatch(place.servers[0])
        assert match is not None, "checked when it was read"
        return match["site"], match["cluster"], tuple(place.servers)
    site = place.site or section.site
    return (site, place.cluster, ()) if site and place.cluster else None


def misfits(section: G5k, machines: Sequence[Machines], networks: Networks) -> list[str]:
    """What Grid'5000 cannot do for the rest of the file, a sentence each; offline.

    Each begins with the key to change.
    """
    labels = list(dict.fromkeys(label for group in machines for label in group.sites))
    homeless = [label for label in labels if _place(section, label) is None]
    found = [
        f"g5k.places: the file does not say where hosts of site '{label}' are; add the label to `places`, or give "
        "g5k.site and g5k.cluster for all hosts"
        for label in homeless
    ]
    found += [
        f"g5k.places.{label}: no entry of machines has the site '{label}'; they have {', '.join(labels)}"
        for label in section.places
        if label not in labels
    ]
    found += _foreign(machines, networks)
    if not homeless:
        asked = batches(section, machines)
        found += [*_short_of_servers(section, asked), *_sites(section, asked)]
    return found


def _foreign(machines: Sequence[Machines], networks: Networks) -> Iterator[str]:
    for index, group in enumerate(machines):
        for key, what in (("cpus", "cores"), ("memory_mb", "memory")):
            if getattr(group, key) is not None:
                yield f"machines.{index}.{key}: nodes of Grid'5000 have the {what} they have; leave the key out"
    for name in ("control", "database"):
        if getattr(networks, name).cidr != "auto":
            yield f"networks.{name}.cidr: Grid'5000 has its own subnets; leave the key out"


def _short_of_servers(section: G5k, asked: Sequence[Batch]) -> Iterator[str]:
    places = ((f"g5k.places.{label}", place.servers) for label, place in section.places.items())
    named = [("g5k", section.servers), *places]
    seen: dict[str, str] = {}
    for key, servers in named:
        for server in servers:
            if seen.setdefault(server, key) != key:
                yield f"{key}.servers: '{server}' is named at {seen[server]}.servers already"
    for batch in asked:
        place = section.places.get(batch.label, section)
        if place.servers and len(batch.servers) < len(batch.names):
            key = f"g5k.places.{batch.label}" if batch.label in section.places else "g5k"
            yield (
                f"{key}.servers: {len(place.servers)} servers are fewer than the hosts to put there; none is left for "
                f"{', '.join(batch.names[len(batch.servers) :])}"
            )


def _sites(section: G5k, asked: Sequence[Batch]) -> Iterator[str]:
    sites = sorted({batch.site for batch in asked})
    if section.networks.database == "kavlan-local" and len(sites) > 1:
        yield (
            f"g5k.networks.database: an isolated VLAN (kavlan-local) ends at its site, but hosts are at "
            f"{', '.join(sites)}; choose kavlan-global"
        )
    if section.reuse and sorted(section.reuse) != sites:
        yield (
            f"g5k.reuse: jobs are given for {', '.join(sorted(section.reuse))}, but hosts are at {', '.join(sites)}; "
            "give one running job for each of these sites"
        )


def job_name(section: G5k, machines: Sequence[Machines], name: str) -> str:
    """How the jobs of the deployment `name` are called; what is asked for is part of it.

    OAR is asked for jobs by name: a changed request must not be given the nodes of an old one.
    """
    asked = [(batch.site, batch.cluster, batch.servers, batch.names) for batch in batches(section, machines)]
    options = section.model_dump(
        mode="json", exclude={"site", "cluster", "servers", "places", "job_name", "reuse", *MAY_CHANGE}
    )
    digest = hashlib.sha256(json.dumps([asked, options], sort_keys=True).encode()).hexdigest()
    return f"{section.job_name}-{name}-{digest[:8]}"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a reservation takes from others: ``hosts`` for ``walltime_s``."""

    hosts: int
    walltime_s: int
    places: tuple[tuple[str, int], ...]
    """(site/cluster, number of hosts there)."""

    @property
    def node_hours(self) -> float:
        return self.hosts * self.walltime_s / 3600

    def __str__(self) -> str:
        where = ", ".join(f"{count} on {place}" for place, count in self.places)
        hours = f"{self.walltime_s / 3600:g} h"
        return f"{self.hosts} nodes ({where}) for {hours}: {self.node_hours:g} node-hours"


def cost(section: G5k, machines: Sequence[Machines]) -> Cost:
    """The node-hours of the reservation, whether they are used to the end or not."""
    places: dict[str, int] = {}
    for batch in batches(section, machines):
        where = f"{batch.site}/{batch.cluster}"
        places[where] = places.get(where, 0) + len(batch.names)
    return Cost(hosts=sum(places.values()), walltime_s=section.walltime_s, places=tuple(places.items()))
