"""Local networks on a kernel that is a set of names: what is made is removed, and nothing of anybody else's."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import pytest

from enos_crdb.command import Completed
from enos_crdb.providers.nspawn import cgroup, emulation, layers, network
from enos_crdb.providers.nspawn.configuration import HostRequest
from enos_crdb.providers.nspawn.fleet import Fleet
from enos_crdb.providers.nspawn.layers import Cache
from enos_crdb.providers.nspawn.plan import FleetPlan, plan_hosts
from enos_crdb.testing import RecordingRunner

CIDRS = {"control": "10.9.0.0/24", "database": "10.9.1.0/24"}
REQUESTS = (HostRequest(name="database-1", roles=("database",)), HostRequest(name="rally-1", roles=("rally",)))


def planned(identity: str = "1a2b") -> FleetPlan:
    hosts = plan_hosts(REQUESTS, CIDRS)
    return FleetPlan(
        id=identity, suite="bookworm", image="i", trees=Path("/t"), tmpfs=False, cidrs=CIDRS, hosts=hosts
    )  # fmt: skip


@dataclass
class Kernel:
    """A `Runner` that knows which links, namespaces, tables, rules and queueing disciplines there are."""

    namespaces: Path
    links: set[str] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)
    rules: list[tuple[str, ...]] = field(default_factory=list)
    roots: dict[str, list[dict[str, object]]] = field(default_factory=dict)

    def run(
        self,
        args: Sequence[str],
        *,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout_s: float | None = None,
        check: bool = True,
    ) -> Completed:
        words, text = list(args[1:]), input or ""
        printed: str | None = ""
        if args[0] == "ip":
            printed = self._ip(words, text)
        elif args[0] == "nft":
            printed = self._nft(words, text)
        elif args[0] == "iptables":
            printed = self._iptables(words)
        elif args[0] == "tc":
            printed = self._tc(words, text)
        status = 1 if printed is None else 0
        assert not (check and status), args
        return Completed(args=tuple(args), returncode=status, stdout=printed or "", stderr="", seconds=0.0)

    def traces(self) -> set[str]:
        """Every object there is."""
        spaces = {path.name for path in self.namespaces.iterdir()}
        return self.links | spaces | self.tables | {" ".join(rule) for rule in self.rules}

    def _ip(self, words: list[str], text: str) -> str:
        if words == ["-json", "link", "show"]:
            return json.dumps([{"ifname": name} for name in sorted(self.links)])
        if words[:2] == ["netns", "add"]:
            (self.namespaces / words[2]).touch()
        elif words[:2] == ["netns", "delete"]:
            (self.namespaces / words[2]).unlink()
        elif words[:2] == ["link", "delete"]:
            self.links.remove(words[2])
        elif words == ["-batch", "-"]:
            self.links |= {line.split()[2] for line in text.splitlines() if line.startswith("link add ")}
        return ""

    def _nft(self, words: list[str], text: str) -> str | None:
        if words[:2] in (["list", "table"], ["delete", "table"]) and words[3] not in self.tables:
            return None
        if words[0] == "-f":
            self.tables.add(text.split()[2])
        elif words[0] == "delete":
            self.tables.remove(words[3])
        return ""

    def _iptables(self, words: list[str]) -> str | None:
        table = words[words.index("-t") + 1] if "-t" in words else "filter"
        rest = words[words.index("-t") + 2 :] if "-t" in words else words[1:]
        if rest[0] == "-S":
            return "\n".join(
                ["-P FORWARD DROP", *("-A " + " ".join(rule[1:]) for rule in self.rules if rule[0] == table)]
            )
        rule = (table, *rest[1:])
        if rest[0] == "-C" and rule not in self.rules:
            return None
        if rest[0] == "-I":
            self.rules.append(rule)
        elif rest[0] == "-D":
            self.rules.remove(rule)
        return ""

    def _tc(self, words: list[str], text: str) -> str:
        roots = self.roots.setdefault(words[1], [])
        if words[-3:] == ["-json", "qdisc", "show"]:
            return json.dumps(roots)
        for line in text.splitlines():
            if line.startswith("qdisc add"):
                _, _, _, device, _, _, handle, kind = line.split()
                roots.append({"kind": kind, "handle": handle, "dev": device, "root": True})
        if words[2:4] == ["qdisc", "delete"]:
            roots[:] = [root for root in roots if root["dev"] != words[5]]
        return ""


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """On a machine that does not forward; its ``/run`` is a directory of the test."""
    namespaces = tmp_path / "netns"
    namespaces.mkdir()
    (tmp_path / "ip_forward").write_text("0\n")

    def path(*parts: str | PurePath) -> Path:
        return namespaces if parts == ("/run/netns",) else Path(*parts)

    for module in (network, emulation):
        monkeypatch.setattr(module, "Path", path)
    monkeypatch.setattr(network, "RUN", tmp_path / "run")
    monkeypatch.setattr(network, "_FORWARD", tmp_path / "ip_forward")
    return Kernel(namespaces)


def made(kernel: Kernel, deployment: FleetPlan) -> set[str]:
    """The traces that a deployment's networks are."""
    before = kernel.traces()
    network.claim(deployment)
    network.ensure(kernel, deployment, deployment.hosts)
    return kernel.traces() - before


@pytest.mark.parametrize("firewall", ["nft", "iptables"])
def test_everything_that_was_made_is_removed_and_nothing_else(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, firewall: str
) -> None:
    has = ("iptables",) if firewall == "iptables" else ("nft", "iptables")
    monkeypatch.setattr(shutil, "which", lambda name: f"/sbin/{name}" if name in has else None)
    kernel.links |= {"eth0", "ec1a2bcd"}
    first, second = planned(), planned("9f9f")
    mine = made(kernel, first)
    assert {"ec1a2b-c", "ec1a2b-d", "ec1a2b-c0", "ec1a2b-d1", "ec1a2b-database-1", "ec1a2b-rally-1"} <= mine
    assert (network.RUN / first.prefix / "subnets.json").exists()
    theirs = made(kernel, second)
    network.remove(kernel, first)
    assert kernel.traces() == {"eth0", "ec1a2bcd"} | theirs
    assert not (network.RUN / first.prefix).exists()
    assert network._FORWARD.read_text() == "1", "the other deployment still needs it"
    network.remove(kernel, second)
    assert kernel.traces() == {"eth0", "ec1a2bcd"}
    assert network._FORWARD.read_text() == "0"


def test_objects_that_the_plan_does_not_know_are_removed_with_the_others(kernel: Kernel) -> None:
    deployment = planned()
    kernel.links |= {"ec1a2b-c7", "lo"}
    (kernel.namespaces / "ec1a2b-database-8").touch()
    network.remove(kernel, deployment)
    assert kernel.traces() == {"lo"}


def test_rates_are_removed_and_rules_of_others_stay(kernel: Kernel) -> None:
    deployment = planned()
    machine = deployment.machine(deployment.hosts[0])
    (kernel.namespaces / machine).touch()
    foreign: dict[str, object] = {"kind": "netem", "handle": "8001:", "dev": "eth1", "root": True}
    kernel.roots[machine] = [foreign]
    kernel.run(
        ["tc", "-netns", machine, "-batch", "-"], input=f"qdisc add dev eth0 root handle {emulation.HANDLE} htb\n"
    )
    assert len(kernel.roots[machine]) == 2
    emulation.clear(kernel, deployment)
    assert kernel.roots[machine] == [foreign]


def test_subnets_are_looked_at_and_claimed_under_one_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "RUN", tmp_path / "run")
    monkeypatch.setattr(cgroup, "detect", lambda runner: None)
    monkeypatch.setattr(layers, "holds_overlay", lambda runner, place: True)
    held: list[bool] = []
    used, claim = network.used_subnets, network.claim

    def locked() -> bool:
        with (network.RUN / "lock").open("a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def watched_used(runner: RecordingRunner) -> list[str]:
        network.RUN.mkdir(exist_ok=True)
        held.append(locked())
        return used(runner)

    def watched_claim(deployment: FleetPlan) -> None:
        claim(deployment)
        held.append(locked())

    monkeypatch.setattr(network, "used_subnets", watched_used)
    monkeypatch.setattr(network, "claim", watched_claim)
    chosen = [a_fleet(tmp_path / name).plan(REQUESTS, suite="bookworm", cidrs={}).cidrs for name in ("one", "two")]
    assert held == [True] * 4
    assert not locked()
    assert set(chosen[0].values()).isdisjoint(chosen[1].values())


def a_fleet(directory: Path) -> Fleet:
    return Fleet(
        directory,
        cache=Cache(directory / "cache"),
        runner=RecordingRunner(),
        notify=lambda text: None,
        read_only_binds={},
        control=directory / "control",
    )
