"""Which database node a Keystone talks to, and the subnet they share."""

from __future__ import annotations

from ipaddress import IPv4Network
from urllib.parse import quote

from enos_crdb.model import Host, Resources

DATABASE = "keystone"
"""Name of Keystone's SQL database and of its user, on every backend."""


def nearest_node(resources: Resources, keystone: Host) -> Host:
    """The database node for `keystone`: on the same host, else one of its site, else any.

    Where several are as near, the Keystone hosts are spread over them in turn, by their order among
    the Keystone hosts that have the same choice.
    """
    nodes = resources.with_role("database")
    if keystone in nodes:
        return keystone
    near = [node for node in nodes if node.site == keystone.site]
    rivals = [
        host
        for host in resources.with_role("keystone")
        if host not in nodes and (not near or host.site == keystone.site)
    ]
    choice = near or list(nodes)
    return choice[rivals.index(keystone) % len(choice)]


def subnet(resources: Resources) -> IPv4Network:
    """The smallest subnet that holds the network ``database``, which is one subnet per site on some testbeds.

    Raises `KeyError` when the provider gave none.
    """
    subnets = [IPv4Network(network.cidr) for network in resources.networks if network.name == "database"]
    if not subnets:
        raise KeyError("database")
    found = subnets[0]
    while not all(other.subnet_of(found) for other in subnets):
        found = found.supernet()
    return found


def url(driver: str, node: Host, port: int, password: str) -> str:
    """SQLAlchemy URL of Keystone's database on `node`, through the network ``database``."""
    return f"{driver}://{DATABASE}:{quote(password, safe='')}@{node.addresses['database']}:{port}/{DATABASE}"
