"""What a deployment of local hosts consists of: names, subnets, addresses. Pure values, no effect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from enos_crdb.errors import ConfigurationError, ProviderError, StateError
from enos_crdb.providers.nspawn.configuration import Configuration, HostRequest

NETWORKS = ("control", "database")
"""Order of the interfaces inside a host: eth0 is control, eth1 is database."""

FIRST_HOST = 11
"""Last byte of the first host's address: 1 is the gateway, the rest is left to virtual addresses."""

SCHEMA_VERSION = 1

_POOL = tuple(IPv4Network(f"10.{second}.0.0/16") for second in (*range(91, 100), *range(201, 240)))


@dataclass(frozen=True, kw_only=True)
class HostPlan:
    """One host. ``index`` counts from 0 in the order of the configuration."""

    name: str
    index: int
    roles: tuple[str, ...]
    site: str
    cpus: float | None
    memory_mb: int | None
    layer: str | None
    addresses: Mapping[str, str]

    @property
    def address(self) -> str:
        """What ssh connects to."""
        return self.addresses["control"]


@dataclass(frozen=True, kw_only=True)
class FleetPlan:
    """Everything that is needed to build the hosts, and to find every trace of them again.

    ``id`` is four hexadecimal digits; the name of every object of the system starts with ``ec<id>``.
    ``image`` is the directory name of the base image, ``trees`` the directory of the hosts' file trees.
    """

    id: str
    suite: str
    image: str
    trees: Path
    tmpfs: bool
    cidrs: Mapping[str, str]
    hosts: tuple[HostPlan, ...]

    @property
    def prefix(self) -> str:
        return f"ec{self.id}"

    @property
    def gateway(self) -> str:
        """This machine's address on the control network."""
        return str(IPv4Network(self.cidrs["control"])[1])

    def host(self, name: str) -> HostPlan:
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.hosts)
        raise ProviderError(f"There is no local host named '{name}' in this deployment; there are {known}.")

    def machine(self, host: HostPlan) -> str:
        """Name of the container, its network namespace and its cgroup."""
        return f"{self.prefix}-{host.name}"

    def bridge(self, network: str) -> str:
        return f"{self.prefix}-{network[0]}"

    def veth(self, host: HostPlan, network: str) -> str:
        """This machine's end of the host's interface (at most 15 characters, the kernel's limit)."""
        return f"{self.prefix}-{network[0]}{host.index}"


def addresses(cidrs: Mapping[str, str], index: int) -> dict[str, str]:
    """IPv4 of the host number `index` on each network."""
    return {network: str(IPv4Network(cidr)[FIRST_HOST + index]) for network, cidr in cidrs.items()}


def choose_cidrs(requested: Mapping[str, str], used: Iterable[str], hosts: int) -> dict[str, str]:
    """A subnet per network: the requested one, or for ``auto`` a free one that overlaps nothing in `used`.

    Raises `ConfigurationError` when a requested subnet is taken or too small.
    """
    # A default route covers everything and says nothing about who uses what.
    taken = [net for net in (IPv4Network(cidr, strict=False) for cidr in used) if net.prefixlen > 0]
    chosen: dict[str, str] = {}
    for network in NETWORKS:
        if requested.get(network, "auto") != "auto":
            subnet = IPv4Network(requested[network], strict=False)
            _refuse_unusable(network, subnet, taken, hosts)
            chosen[network] = str(subnet)
            taken.append(subnet)
    for network in NETWORKS:
        if network not in chosen:
            subnet = _free_subnet(taken)
            chosen[network] = str(subnet)
            taken.append(subnet)
    return {network: chosen[network] for network in NETWORKS}


def _free_subnet(taken: Sequence[IPv4Network]) -> IPv4Network:
    for pool in _POOL:
        near = [net for net in taken if net.overlaps(pool)]
        for subnet in pool.subnets(new_prefix=24):
            if not any(subnet.overlaps(net) for net in near):
                return subnet
    raise ProviderError(
        "No free IPv4 subnet was found for local hosts: this machine has routes to all candidates.\n"
        "Name free ones with networks.control.cidr and networks.database.cidr."
    )


def _refuse_unusable(network: str, subnet: IPv4Network, taken: Sequence[IPv4Network], hosts: int) -> None:
    needed = FIRST_HOST + hosts
    if subnet.num_addresses <= needed:
        raise ConfigurationError(
            f"networks.{network}.cidr: {subnet} is too small for {hosts} hosts (addresses start at "
            f"number {FIRST_HOST}). Take a larger one, such as a /24, or 'auto'."
        )
    for net in taken:
        if subnet.overlaps(net):
            raise ConfigurationError(
                f"networks.{network}.cidr: {subnet} overlaps {net}, which this machine or another deployment "
                f"uses. Take another one, or 'auto'."
            )


def plan_hosts(requests: Sequence[HostRequest], cidrs: Mapping[str, str]) -> tuple[HostPlan, ...]:
    """Hosts in the order of the configuration. Raises `ConfigurationError` when two share a name."""
    names = [request.name for request in requests]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise ConfigurationError(f"Two local hosts are named {', '.join(double)}; names must differ.")
    return tuple(
        HostPlan(
            name=request.name,
            index=index,
            roles=request.roles,
            site=request.site,
            cpus=request.cpus,
            memory_mb=request.memory_mb,
            layer=request.layer,
            addresses=addresses(cidrs, index),
        )
        for index, request in enumerate(requests)
    )


def hosts_file(deployment: FleetPlan) -> str:
    """``/etc/hosts``: every host as ``name`` on the control network and ``name.database`` on the other."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{host.addresses['control']} {host.name} {host.name}.control" for host in deployment.hosts]
    lines += [f"{host.addresses['database']} {host.name}.database" for host in deployment.hosts]
    return "\n".join(lines) + "\n"


def overlay_options(*, lower: Sequence[Path], upper: Path, work: Path, volatile: bool = False) -> str:
    """Mount options of a host's tree; `lower` from the top to the bottom."""
    stack = ":".join(_escaped(path) for path in lower)
    options = f"lowerdir={stack},upperdir={_escaped(upper)},workdir={_escaped(work)}"
    return f"{options},volatile" if volatile else options


def _escaped(path: Path) -> str:
    # The kernel splits options at commas and lowerdir at colons.
    return str(path).replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def nspawn_arguments(
    deployment: FleetPlan, host: HostPlan, *, root: Path, read_only_binds: Mapping[Path, str]
) -> list[str]:
    """The container's command line. Each option answers a failure that was seen without it.

    ``--register=no --keep-unit``: machined is not there on a machine without systemd, nor needed elsewhere.
    ``--network-namespace-path``: addresses are ready before the host boots, without a daemon inside.
    ``--capability``: with a namespace of ours, nspawn takes away the right to shape traffic.
    ``--rlimit``: nspawn would hand down the limits of the user's shell, too low for databases.
    """
    machine = deployment.machine(host)
    return [
        "systemd-nspawn",
        "--quiet",
        f"--directory={root}",
        "--boot",
        "--register=no",
        "--keep-unit",
        f"--machine={machine}",
        f"--hostname={host.name}",
        f"--network-namespace-path=/run/netns/{machine}",
        "--capability=CAP_NET_ADMIN",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--rlimit=RLIMIT_NOFILE=1024:524288",
        "--rlimit=RLIMIT_MEMLOCK=67108864",
        *(f"--bind-ro={_bind(source)}:{_bind(Path(target))}" for source, target in read_only_binds.items()),
    ]


def _bind(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace(":", "\\:")


NSPAWN_ENVIRONMENT = {
    # /proc/sys/net must be writable, or a sysctl task on net.* fails.
    "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
    # A tmpfs of a tenth of the memory on /tmp is too small for building wheels.
    "SYSTEMD_NSPAWN_TMPFS_TMP": "0",
}


def to_json(deployment: FleetPlan) -> dict[str, Any]:
    """The state file's content, readable by `from_json`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "id": deployment.id,
        "suite": deployment.suite,
        "image": deployment.image,
        "trees": str(deployment.trees),
        "tmpfs": deployment.tmpfs,
        "cidrs": dict(deployment.cidrs),
        "hosts": [
            {
                "name": host.name,
                "index": host.index,
                "roles": list(host.roles),
                "site": host.site,
                "cpus": host.cpus,
                "memory_mb": host.memory_mb,
                "layer": host.layer,
                "addresses": dict(host.addresses),
            }
            for host in deployment.hosts
        ],
    }


def from_json(data: Mapping[str, Any]) -> FleetPlan:
    """Inverse of `to_json`. Raises `StateError` when the content is not what this version writes."""
    if data.get("schema_version") != SCHEMA_VERSION:
        raise StateError(
            f"The state of the local hosts has schema version {data.get('schema_version')!r}, this program "
            f"reads {SCHEMA_VERSION}. Destroy the deployment with the version that made it."
        )
    try:
        return FleetPlan(
            id=str(data["id"]),
            suite=str(data["suite"]),
            image=str(data["image"]),
            trees=Path(data["trees"]),
            tmpfs=bool(data["tmpfs"]),
            cidrs=dict(data["cidrs"]),
            hosts=tuple(_host_from_json(host) for host in data["hosts"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"The state of the local hosts is damaged ({type(error).__name__}: {error}).") from error


def _host_from_json(data: Mapping[str, Any]) -> HostPlan:
    return HostPlan(
        name=str(data["name"]),
        index=int(data["index"]),
        roles=tuple(data["roles"]),
        site=str(data["site"]),
        cpus=data["cpus"],
        memory_mb=data["memory_mb"],
        layer=data["layer"],
        addresses=dict(data["addresses"]),
    )


def refuse_difference(deployment: FleetPlan, configuration: Configuration) -> None:
    """Raise `ProviderError` unless `deployment` was made for the machines of `configuration`."""
    was = [(host.name, host.roles) for host in deployment.hosts]
    asked = [(request.name, request.roles) for request in configuration.machines]
    if was != asked:
        raise ProviderError(
            f"The local hosts of this deployment are {', '.join(name for name, _ in was)}; the configuration now "
            f"asks for {', '.join(name for name, _ in asked)} (or other roles).\n"
            "Destroy this deployment and deploy again, or start another deployment."
        )
