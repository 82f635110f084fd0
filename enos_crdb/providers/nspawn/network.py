"""Bridges, interfaces, address translation: what connects local hosts to each other and to the world."""

from __future__ import annotations

import fcntl
import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path

from enos_crdb.command import Runner
from enos_crdb.providers.nspawn.plan import NETWORKS, FleetPlan, HostPlan

RUN = Path("/run/enos_crdb")
"""Claims of subnets and ssh control sockets: gone after a reboot, as are the networks."""

_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_FORWARD_MARK = "forwarding-was-off"


@contextmanager
def locked(file: Path, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold `file` against other processes of this machine; ``waiting`` is called when one has it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                waiting()
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def runtime_directory(deployment: FleetPlan) -> Path:
    return RUN / deployment.prefix


def control_directory(state_dir: Path) -> Path:
    """Where ssh's control sockets of a deployment go: short, as the path of a socket has at most 107 characters."""
    return RUN / f"cp-{hashlib.sha256(str(state_dir).encode()).hexdigest()[:8]}"


def new_id() -> str:
    """Four hexadecimal digits no other deployment of this machine uses."""
    while True:
        candidate = secrets.token_hex(2)
        if not (RUN / f"ec{candidate}").exists() and not list(Path("/sys/class/net").glob(f"ec{candidate}-*")):
            return candidate


def claim(deployment: FleetPlan) -> None:
    """Tell other deployments which subnets are taken: the database network has no trace in the routes."""
    directory = runtime_directory(deployment)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / "subnets.json").write_text(json.dumps(sorted(deployment.cidrs.values())))


def used_subnets(runner: Runner, *, but: str = "") -> list[str]:
    """Subnets this machine has an address in, a route to, or a claim on, without those of deployment `but`."""
    used: list[str] = []
    for link in json.loads(runner.run(["ip", "-json", "-4", "address", "show"]).stdout or "[]"):
        if not (but and str(link.get("ifname", "")).startswith(f"ec{but}-")):
            used += [f"{item['local']}/{item['prefixlen']}" for item in link.get("addr_info", [])]
    routes = runner.run(["ip", "-json", "-4", "route", "show", "table", "all"]).stdout
    for route in json.loads(routes or "[]"):
        if not (but and str(route.get("dev", "")).startswith(f"ec{but}-")):
            used += [word for word in (route.get("dst"), route.get("gateway")) if word and word[0].isdigit()]
    for file in RUN.glob("ec*/subnets.json"):
        if file.parent.name != f"ec{but}":
            used += json.loads(file.read_text() or "[]")
    return used + _name_servers()


def _name_servers() -> list[str]:
    found = []
    for file in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        if file.exists():
            words = [line.split() for line in file.read_text(errors="replace").splitlines()]
            found += [word[1] for word in words if len(word) > 1 and word[0] == "nameserver" and ":" not in word[1]]
    return found


def ensure(runner: Runner, deployment: FleetPlan, hosts: Sequence[HostPlan]) -> None:
    """Make what is missing of the deployment's networks; `hosts` are those that do not run."""
    links = _links(runner)
    batch: list[str] = []
    for network in NETWORKS:
        bridge = deployment.bridge(network)
        if bridge not in links:
            batch.append(f"link add {bridge} type bridge")
        batch.append(f"link set {bridge} up")
    control = IPv4Network(deployment.cidrs["control"])
    batch.append(f"address replace {deployment.gateway}/{control.prefixlen} dev {deployment.bridge('control')}")
    _batch(runner, batch)
    for host in hosts:
        _ensure_host(runner, deployment, host, links)
    _translate(runner, deployment)


def _ensure_host(runner: Runner, deployment: FleetPlan, host: HostPlan, links: set[str]) -> None:
    namespace = deployment.machine(host)
    veths = {network: deployment.veth(host, network) for network in NETWORKS}
    if not (Path("/run/netns") / namespace).exists() or not links.issuperset(veths.values()):
        # Half of a host's network is of no use: start again from nothing.
        remove_host(runner, deployment, host)
        runner.run(["ip", "netns", "add", namespace])
        _batch(
            runner,
            [
                f"link add {veths[network]} type veth peer name eth{number} netns {namespace}"
                for number, network in enumerate(NETWORKS)
            ],
        )
    _batch(runner, [f"link set {veths[network]} master {deployment.bridge(network)} up" for network in NETWORKS])
    inside = ["link set lo up"]
    for number, network in enumerate(NETWORKS):
        length = IPv4Network(deployment.cidrs[network]).prefixlen
        inside.append(f"address replace {host.addresses[network]}/{length} dev eth{number}")
        inside.append(f"link set eth{number} up")
    inside.append(f"route replace default via {deployment.gateway}")
    _batch(runner, inside, namespace=namespace)


def remove_host(runner: Runner, deployment: FleetPlan, host: HostPlan) -> None:
    links = _links(runner)
    # Deleted by name: a process that outlives its host would keep them with the namespace.
    for network in NETWORKS:
        if (veth := deployment.veth(host, network)) in links:
            runner.run(["ip", "link", "delete", veth], check=False)
    namespace = deployment.machine(host)
    if (Path("/run/netns") / namespace).exists():
        runner.run(["ip", "netns", "delete", namespace])


def remove(runner: Runner, deployment: FleetPlan) -> None:
    """Remove every object of the deployment, also one that the plan does not know."""
    for link in _links(runner):
        if link.startswith(f"{deployment.prefix}-"):
            # The other end may have taken it along.
            runner.run(["ip", "link", "delete", link], check=False)
    for namespace in Path("/run/netns").glob(f"{deployment.prefix}-*"):
        runner.run(["ip", "netns", "delete", namespace.name])
    _stop_translating(runner, deployment)
    shutil.rmtree(runtime_directory(deployment), ignore_errors=True)
    _restore_forwarding()


def cut(runner: Runner, deployment: FleetPlan, host: HostPlan, networks: Sequence[str]) -> None:
    """Lose every packet of the host's interfaces, which stay up for the host, as behind a dead switch."""
    _batch(runner, [f"link set {deployment.veth(host, network)} nomaster" for network in networks])


def heal(runner: Runner, deployment: FleetPlan, host: HostPlan, networks: Sequence[str]) -> None:
    """Undo `cut`."""
    lines = [f"link set {deployment.veth(host, net)} master {deployment.bridge(net)}" for net in networks]
    _batch(runner, lines)


def obstacles(runner: Runner, deployment: FleetPlan) -> list[str]:
    """Firewall tables of others that will drop what the hosts send to the world."""
    if shutil.which("nft") is None:
        return []
    listed = runner.run(["nft", "--json", "list", "chains"], check=False).stdout
    dropping = []
    for item in json.loads(listed or "{}").get("nftables", []):
        chain = item.get("chain", {})
        ours = chain.get("table") == deployment.prefix
        # `ip filter` is where iptables lives, and there we have a rule.
        excepted = (chain.get("family"), chain.get("table")) == ("ip", "filter")
        if chain.get("hook") == "forward" and chain.get("policy") == "drop" and not ours and not excepted:
            dropping.append(f"{chain['family']} {chain['table']}")
    return dropping


def _links(runner: Runner) -> set[str]:
    return {link["ifname"] for link in json.loads(runner.run(["ip", "-json", "link", "show"]).stdout or "[]")}


def _batch(runner: Runner, lines: Sequence[str], *, namespace: str | None = None) -> None:
    inside = [] if namespace is None else ["-netns", namespace]
    runner.run(["ip", *inside, "-batch", "-"], input="\n".join(lines) + "\n")


def nft_table(deployment: FleetPlan) -> str:
    """The table of the deployment: what hosts send beyond their network leaves with this machine's address."""
    control = deployment.cidrs["control"]
    return (
        f"table ip {deployment.prefix} {{\n"
        f"  chain out {{\n"
        f"    type nat hook postrouting priority 100; policy accept;\n"
        f"    ip saddr {control} ip daddr != {control} masquerade\n"
        f"  }}\n"
        f"}}\n"
    )


def iptables_rules(deployment: FleetPlan, *, translate: bool, accept: bool) -> list[tuple[str, str, list[str]]]:
    """Rules as (table, chain, words).

    ``translate`` says what `nft_table` says; ``accept`` lets the deployment's packets through a FORWARD chain
    that drops the rest, as Docker's and ufw's do.
    """
    control = deployment.cidrs["control"]
    tag = ["-m", "comment", "--comment", deployment.prefix]
    rules = []
    if translate:
        rules.append(("nat", "POSTROUTING", ["-s", control, "!", "-d", control, *tag, "-j", "MASQUERADE"]))
    if accept:
        for network in NETWORKS:
            for flag in ("-i", "-o"):
                rules.append(("filter", "FORWARD", [flag, deployment.bridge(network), *tag, "-j", "ACCEPT"]))
    return rules


def _translate(runner: Runner, deployment: FleetPlan) -> None:
    if _FORWARD.read_text().strip() == "0":
        (RUN / _FORWARD_MARK).touch()
        _FORWARD.write_text("1")
    nft = shutil.which("nft") is not None
    if nft and runner.run(["nft", "list", "table", "ip", deployment.prefix], check=False).returncode != 0:
        runner.run(["nft", "-f", "-"], input=nft_table(deployment))
    for table, chain, words in iptables_rules(deployment, translate=not nft, accept=_forward_drops(runner)):
        if runner.run(["iptables", "-w", "-t", table, "-C", chain, *words], check=False).returncode != 0:
            # First, because what drops may stand before the end of the chain.
            runner.run(["iptables", "-w", "-t", table, "-I", chain, *words])


def _forward_drops(runner: Runner) -> bool:
    """Does iptables let packets through between interfaces only by exception?"""
    if shutil.which("iptables") is None:
        return False
    listed = runner.run(["iptables", "-w", "-S", "FORWARD"], check=False).stdout.splitlines()
    return bool(listed) and listed != ["-P FORWARD ACCEPT"]


def _stop_translating(runner: Runner, deployment: FleetPlan) -> None:
    if shutil.which("nft") is not None:
        # Fails when there is no such table, which is what is wanted.
        runner.run(["nft", "delete", "table", "ip", deployment.prefix], check=False)
    if shutil.which("iptables") is None:
        return
    for table in ("filter", "nat"):
        for line in runner.run(["iptables", "-w", "-t", table, "-S"], check=False).stdout.splitlines():
            words = line.split()
            if words[:1] == ["-A"] and deployment.prefix in words:
                runner.run(["iptables", "-w", "-t", table, "-D", *words[1:]], check=False)


def _restore_forwarding() -> None:
    mark = RUN / _FORWARD_MARK
    if mark.exists() and not any(RUN.glob("ec*")):
        _FORWARD.write_text("0")
        mark.unlink()
