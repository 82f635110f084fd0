"""Our section as EnOSlib's configuration, built from its objects: those honour ``min``, disks and named servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from enoslib import G5kConf, G5kNetworkConf

from enos_crdb.config.g5k import Batch, G5k


def configuration(section: G5k, asked: Sequence[Batch], job_name: str) -> Any:
    """What EnOSlib reserves. Asks the API whether the clusters are exotic."""
    conf = G5kConf.from_settings(**_settings(section, job_name))
    sites = list(dict.fromkeys(batch.site for batch in asked))
    production, vlans = _production(section, sites), _vlans(section, sites)
    for network in [*production.values(), *dict.fromkeys(vlans.values())]:
        conf.add_network_conf(network)
    for batch in asked:
        where: dict[str, Any] = {"servers": list(batch.servers)} if batch.servers else {"cluster": batch.cluster}
        conf.add_machine(
            roles=[batch.role],
            site=batch.site,
            nodes=len(batch.names),
            min=batch.enough,
            reservable_disks=section.reservable_disks,
            primary_network=production[batch.site],
            secondary_networks=[vlans[batch.site]] if vlans else [],
            **where,
        )
    return conf


def _settings(section: G5k, job_name: str) -> dict[str, Any]:
    optional = {
        "env_name": section.env_name,
        "env_version": section.env_version,
        "key": str(Path(section.key).expanduser()) if section.key else None,
        "project": section.project,
        "reservation": section.reservation,
        "oargrid_jobids": [[site, str(number)] for site, number in section.reuse.items()] or None,
    }
    return {
        "job_name": job_name,
        "job_type": [*section.job_type, *(["deploy"] if section.env_name else [])],
        "walltime": section.walltime,
        "queue": section.queue,
        "dhcp": False,  # EnOSlib asks for addresses on the nodes of its last attempt only
        **{name: value for name, value in optional.items() if value is not None},
    }


def _production(section: G5k, sites: Sequence[str]) -> dict[str, Any]:
    roles = ["control"] if section.networks.database != "prod" else ["control", "database"]
    return {site: G5kNetworkConf(id=f"prod-{site}", type="prod", roles=list(roles), site=site) for site in sites}


def _vlans(section: G5k, sites: Sequence[str]) -> Mapping[str, Any]:
    """The VLAN of each site: one of its own, or one that all share."""
    kind = section.networks.database
    if kind == "prod":
        return {}
    if kind == "kavlan-global":
        return dict.fromkeys(sites, G5kNetworkConf(id="database", type=kind, roles=["database"], site=sites[0]))
    return {site: G5kNetworkConf(id=f"database-{site}", type=kind, roles=["database"], site=site) for site in sites}
