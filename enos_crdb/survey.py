"""What hosts tell of themselves, and the addresses and systems that follow from it. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from enos_crdb.errors import ProviderError
from enos_crdb.model import Host, Network, Resources, System

NETWORKS = ("control", "database")

SYSTEMS = {"debian": ("11", "12", "13"), "ubuntu": ("22.04", "24.04")}
"""What the Ansible roles were written for."""

SCRIPT = """\
. /etc/os-release
echo "system ${ID:-unknown} ${VERSION_ID:-unknown} ${VERSION_CODENAME:-unknown}"
echo "machine $(uname -m)"
echo "python $(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none)"
echo "uid $(id -u)"
ip -4 -oneline address show scope global | while read -r _ interface _ address _; do
  echo "address $interface $address"
done
"""
"""Asked through ssh alone: the host may lack Python."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a host told. ``interfaces``: its global IPv4 addresses with their subnets, by device, in its order."""

    system: System
    interfaces: tuple[tuple[str, IPv4Interface], ...]


def read(host: str, text: str) -> Survey:
    """What `SCRIPT` printed. Raises `ProviderError` for a host that nothing can be installed on."""
    words = [line.split() for line in text.replace("\r", "").splitlines()]
    found = {line[0]: line[1:] for line in words if line and line[0] in ("system", "machine", "python", "uid")}
    if missing := {"system", "machine", "python", "uid"} - set(found):
        raise ProviderError(
            f"{host} did not tell its {' and '.join(sorted(missing))}; it printed:\n{text.strip()[-500:]}\n"
            "Hosts run Debian or Ubuntu, and their login shell prints nothing of its own."
        )
    distribution, version, codename = found["system"]
    if version not in SYSTEMS.get(distribution, ()):
        raise ProviderError(
            f"{host} runs {distribution} {version}; Debian {', '.join(SYSTEMS['debian'])} and Ubuntu "
            f"{', '.join(SYSTEMS['ubuntu'])} can be hosts.\nChoose another machine, image or environment."
        )
    if found["python"] == ["none"]:
        raise ProviderError(
            f"{host} has no /usr/bin/python3, which Ansible needs.\n"
            "Install it there (apt-get install python3), or choose an image that has it."
        )
    if found["uid"] != ["0"]:
        raise ProviderError(
            f"{host}: commands do not run as root (user id {' '.join(found['uid'])}).\n"
            "Log in as root, or let the user use sudo without a password."
        )
    return Survey(
        system=System(
            distribution=distribution,
            version=version,
            codename=codename,
            python=found["python"][0],
            machine=found["machine"][0],
        ),
        interfaces=tuple((line[1], IPv4Interface(line[2])) for line in words if line[:1] == ["address"]),
    )


def incomplete(resources: Resources) -> tuple[Host, ...]:
    """The hosts of which something is not known yet."""
    return tuple(host for host in resources.hosts if host.system is None or set(NETWORKS) - set(host.addresses))


def complete(resources: Resources, surveys: Mapping[str, Survey]) -> Resources:
    """The same hosts with what they told, and the networks on which they are.

    Raises `ProviderError` naming every host that is not on a network.
    """
    problems: list[str] = []
    hosts = []
    for host in resources.hosts:
        survey = surveys.get(host.name)
        if survey is None:
            hosts.append(host)
            continue
        addresses = dict(host.addresses)
        for network in set(NETWORKS) - set(addresses):
            subnets = [IPv4Network(known.cidr) for known in resources.networks if known.name == network]
            address = _on(host, survey, subnets)
            if address is None:
                problems.append(_absent(host, survey, network, subnets))
            else:
                addresses[network] = str(address)
        addresses = {name: addresses[name] for name in NETWORKS if name in addresses}
        hosts.append(replace(host, addresses=addresses, system=survey.system))
    if problems:
        raise ProviderError("\n".join(problems))
    return Resources(hosts=tuple(hosts), networks=(*resources.networks, *_implied(resources, hosts, surveys)))


def _on(host: Host, survey: Survey, subnets: Sequence[IPv4Network]) -> IPv4Address | None:
    """The host's address in one of `subnets`; without any, the one that ssh connects to, or the only one."""
    own = [interface.ip for _, interface in survey.interfaces]
    fitting = [address for address in own if any(address in subnet for subnet in subnets)] if subnets else own
    connected = [address for address in fitting if str(address) == host.address]
    if connected or subnets:
        return next(iter(connected or fitting), None)
    return own[0] if len(own) == 1 else None


def _absent(host: Host, survey: Survey, network: str, subnets: Sequence[IPv4Network]) -> str:
    has = ", ".join(f"{device} {interface}" for device, interface in survey.interfaces) or "none"
    wanted = f" ({', '.join(map(str, subnets))})" if subnets else ""
    remedy = (
        f"Put it on that network, or correct networks.{network}.cidr."
        if subnets
        else f"Say which it is: give the host's address on '{network}', or networks.{network}.cidr."
    )
    return f"{host.name} ({host.address}) has no address for network '{network}'{wanted}; it has: {has}. {remedy}"


def _implied(resources: Resources, hosts: Sequence[Host], surveys: Mapping[str, Survey]) -> list[Network]:
    """Networks that nobody named: the subnets of the interfaces that were chosen."""
    found: dict[tuple[str, str], Network] = {}
    for name in NETWORKS:
        if any(network.name == name for network in resources.networks):
            continue
        for host in hosts:
            survey = surveys.get(host.name)
            for _, interface in survey.interfaces if survey else ():
                if str(interface.ip) == host.addresses[name]:
                    cidr = str(interface.network)
                    found[name, cidr] = Network(name=name, cidr=cidr)
    return list(found.values())
