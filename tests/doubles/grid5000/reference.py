"""Sites, clusters and nodes: the part of Grid'5000 that does not change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Nodes of one kind. ``interfaces``: names of the mountable adapters, the first is the mounted one.

    ``dead``: numbers of nodes that OAR does not give to anybody.
    """

    uid: str
    nodes: int
    interfaces: tuple[str, ...] = ("eth0", "eth1")
    exotic: bool = False
    queues: tuple[str, ...] = ("default", "admin")
    dead: frozenset[int] = frozenset()

    def node(self, number: int, site: str) -> Json:
        """One node of the reference API."""
        uid = f"{self.uid}-{number}"
        adapters = [_adapter(index, name, uid, site) for index, name in enumerate(self.interfaces)]
        unused = _adapter(len(adapters), f"eno{len(adapters) + 1}", uid, site) | {"mountable": False, "enabled": False}
        bmc = {"device": "bmc", "name": "bmc", "interface": "Ethernet", "management": True}
        return {
            "uid": uid,
            "type": "node",
            "exotic": self.exotic,
            "architecture": {"nb_cores": 20, "nb_procs": 2, "nb_threads": 40, "platform_type": "x86_64"},
            "main_memory": {"ram_size": 137438953472},
            "network_adapters": [*adapters, unused, bmc | {"mountable": False, "mounted": False}],
            "supported_job_types": {"deploy": True, "besteffort": True, "queues": list(self.queues)},
        }


def _adapter(index: int, name: str, node: str, site: str) -> Json:
    dns = node if index == 0 else f"{node}-eth{index}"
    return {
        "device": f"eth{index}",
        "name": name,
        "interface": "Ethernet",
        "enabled": True,
        "kavlan": True,
        "management": False,
        "mountable": True,
        "mounted": index == 0,
        "network_address": f"{dns}.{site}.grid5000.fr",
        "rate": 10_000_000_000,
    }


_KAVLANS = {
    "1": ("192.168.192.0/20", "192.168.207.254"),
    "2": ("192.168.208.0/20", "192.168.223.254"),
    "3": ("192.168.224.0/20", "192.168.239.254"),
    "4": ("10.24.0.0/18", "10.24.63.254"),
    "5": ("10.24.64.0/18", "10.24.127.254"),
}
_PRODUCTION = ("172.16.96.0/20", "172.16.111.254")


@dataclass(frozen=True, kw_only=True)
class Site:
    """A site. ``networks``: identifier of a VLAN (``default`` is the production network) -> (network, gateway)."""

    uid: str
    clusters: tuple[Cluster, ...]
    index: int = 7
    networks: Mapping[str, tuple[str, str]] = field(default_factory=lambda: {"default": _PRODUCTION, **_KAVLANS})

    @property
    def global_vlan(self) -> str:
        """The site's global VLAN."""
        return str(9 + self.index)

    def cluster(self, uid: str) -> Cluster | None:
        return next((cluster for cluster in self.clusters if cluster.uid == uid), None)

    def node_names(self, *, alive: bool = True) -> list[str]:
        """FQDNs of the site's nodes, in the order of OAR's database."""
        numbered = [
            (cluster, number)
            for cluster in self.clusters
            for number in range(1, cluster.nodes + 1)
            if not (alive and number in cluster.dead)
        ]
        return [f"{cluster.uid}-{number}.{self.uid}.grid5000.fr" for cluster, number in numbered]

    def json(self) -> Json:
        """The site of the reference API."""
        kavlans = {uid: {"network": network, "gateway": gateway} for uid, (network, gateway) in self.networks.items()}
        kavlans.setdefault(self.global_vlan, {"network": "10.27.192.0/18", "gateway": "10.27.255.254"})
        return {
            "uid": self.uid,
            "type": "site",
            "name": self.uid.capitalize(),
            "production": True,
            "g5ksubnet": {"network": "10.156.0.0/14", "gateway": "10.159.255.254"},
            "kavlans": kavlans,
            "ipv6": {
                "prefix": "2001:660:4406:700::/56",
                "site_index": self.index,
                "site_global_kavlan": int(self.global_vlan),
            },
        }


def cluster_of(fqdn: str) -> str:
    """Cluster of a node's name."""
    return fqdn.partition("-")[0]


def own_name(fqdn: str) -> str:
    """A node's own name behind a name it has in a VLAN (``x-1-kavlan-4.site.grid5000.fr``)."""
    return re.sub(r"-kavlan-\d+", "", fqdn)


def usual_sites() -> tuple[Site, ...]:
    """Three sites with the clusters of the shipped deployment files, in about their real sizes."""
    return (
        Site(
            uid="nantes",
            index=6,
            clusters=(Cluster(uid="ecotype", nodes=46), Cluster(uid="econome", nodes=22, interfaces=("eth0",))),
        ),
        Site(
            uid="rennes",
            index=7,
            clusters=(Cluster(uid="paradoxe", nodes=62), Cluster(uid="parasilo", nodes=26, interfaces=("eth0",))),
        ),
        Site(
            uid="lyon",
            index=5,
            clusters=(
                Cluster(uid="nova", nodes=22),
                Cluster(uid="pyxis", nodes=4, exotic=True),
                Cluster(uid="taurus", nodes=12),
            ),
        ),
    )
