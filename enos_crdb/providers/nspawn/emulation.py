"""Delay, loss and rate between local hosts without netem: rules in each host's network namespace, and `delay`.

Packets are delayed where they arrive (PREROUTING): held where they leave, they would count against the sender's
socket, and TCP would send next to nothing. Rates are kept where packets leave, by the kernel's htb. A rule whose
delayer died lets packets pass undelayed, which `faults` and the measured round trips show.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from enos_crdb.command import Runner, start_detached
from enos_crdb.config.emulation import Link
from enos_crdb.errors import CommandError, NetworkError
from enos_crdb.providers.nspawn import delay
from enos_crdb.providers.nspawn.plan import NETWORKS, FleetPlan, HostPlan

CHAIN = "ENOS_CRDB"
FIRST_QUEUE = 6100
HANDLE = "ec0d:"
"""Of our htb, by which it is told from others'."""
SCRIPT = Path(delay.__file__)
START_S = 10.0


@dataclass(frozen=True, kw_only=True)
class HostRules:
    """What is done on one host. ``queues`` maps (delay in ms, loss in %) to the number of a queue."""

    host: HostPlan
    queues: Mapping[tuple[float, float], int]
    delays: tuple[str, ...]
    rates: tuple[str, ...]


def rules(deployment: FleetPlan, host: HostPlan, links: Sequence[Link]) -> HostRules:
    """The rules of `host`: delays and losses of what comes in, rates of what goes out."""
    arriving = [link for link in links if link.dst == host.name and (link.delay_ms or link.loss_percent)]
    kinds = dict.fromkeys((link.delay_ms, link.loss_percent) for link in arriving)
    queues = {kind: FIRST_QUEUE + position for position, kind in enumerate(kinds)}
    delays = tuple(
        f"-A {CHAIN} -s {deployment.host(link.src).addresses[link.network]}/32 -i {_interface(link.network)} "
        f"-j NFQUEUE --queue-num {queues[link.delay_ms, link.loss_percent]} --queue-bypass"
        for link in arriving
    )
    return HostRules(host=host, queues=queues, delays=delays, rates=tuple(_rates(deployment, host, links)))


def _rates(deployment: FleetPlan, host: HostPlan, links: Sequence[Link]) -> Iterator[str]:
    """Lines for `tc -batch`."""
    for network in NETWORKS:
        device = f"dev {_interface(network)}"
        slow = [link for link in links if (link.src, link.network) == (host.name, network) and link.rate_kbit]
        if slow:
            yield f"qdisc add {device} root handle {HANDLE} htb"
        for number, link in enumerate(slow, 1):
            target = deployment.host(link.dst).addresses[network]
            flow = f"{HANDLE}{number:x}"
            yield f"class add {device} parent {HANDLE} classid {flow} htb rate {link.rate_kbit:.0f}kbit"
            yield f"filter add {device} parent {HANDLE} protocol ip u32 match ip dst {target}/32 flowid {flow}"


def restore_text(host_rules: HostRules) -> str:
    """Input of `iptables-restore --noflush`: a chain of ours, and one jump to it."""
    lines = ["*mangle", f":{CHAIN} - [0:0]", *host_rules.delays, f"-A PREROUTING -j {CHAIN}", "COMMIT"]
    return "\n".join(lines) + "\n"


def delayer_command(deployment: FleetPlan, host_rules: HostRules) -> list[str]:
    """The process that delays: in the host's network, otherwise on this machine."""
    machine = deployment.machine(host_rules.host)
    queues = [f"{number}:{ms:g}:{loss:g}" for (ms, loss), number in host_rules.queues.items()]
    python = [sys.executable, "-I", "-S", str(SCRIPT), f"--host={machine}"]
    return [*_inside(machine), *python, *queues]


# Effects


def install(runner: Runner, deployment: FleetPlan, links: Sequence[Link], *, logs: Path) -> None:
    """Put `links` in force instead of what was. Raises `NetworkError`; nothing of it is left then."""
    clear(runner, deployment)
    try:
        for host in deployment.hosts:
            _install_host(runner, deployment, rules(deployment, host, links), logs / host.name)
    except (CommandError, NetworkError) as error:
        clear(runner, deployment)
        raise NetworkError(f"The network of the local hosts could not be emulated: {error}") from error


def _install_host(runner: Runner, deployment: FleetPlan, wanted: HostRules, logs: Path) -> None:
    machine = deployment.machine(wanted.host)
    if wanted.rates:
        _refuse_foreign(runner, machine, wanted)
        runner.run(["tc", "-netns", machine, "-batch", "-"], input="\n".join(wanted.rates) + "\n")
    if wanted.delays:
        logs.mkdir(parents=True, exist_ok=True)
        # Before the rules: no packet must come to a queue that nobody empties.
        pid = start_detached(delayer_command(deployment, wanted), log=logs / "delay.log")
        _wait_for_queues(pid, wanted, logs / "delay.log")
        runner.run([*_inside(machine), "iptables-restore", "--wait", "--noflush"], input=restore_text(wanted))


def _wait_for_queues(pid: int, wanted: HostRules, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while _bound(pid) != set(wanted.queues.values()):
        ended = _ended(pid)
        if ended or time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            what = "ended" if ended else f"does not serve its queues after {START_S:.0f} s"
            raise NetworkError(f"the process that delays packets of {wanted.host.name} {what}: {_last_line(log)}")
        time.sleep(0.01)


def clear(runner: Runner, deployment: FleetPlan) -> None:
    """Remove our rules, then let go the packets that wait; rules of others stay."""
    for host in deployment.hosts:
        machine = deployment.machine(host)
        if not (Path("/run/netns") / machine).exists():
            continue
        mangle = _mangle(runner, machine)
        if f"-N {CHAIN}" in mangle:
            jumps = [line.replace("-A", "-D", 1) for line in mangle if line == f"-A PREROUTING -j {CHAIN}"]
            lines = ["*mangle", *jumps, f"-F {CHAIN}", f"-X {CHAIN}", "COMMIT"]
            runner.run([*_inside(machine), "iptables-restore", "--wait", "--noflush"], input="\n".join(lines) + "\n")
        for qdisc in _roots(runner, machine):
            if qdisc["handle"] == HANDLE:
                runner.run(["tc", "-netns", machine, "qdisc", "delete", "dev", qdisc["dev"], "root"])
    end_delayers(deployment)


def end_delayers(deployment: FleetPlan, *, timeout_s: float = 5.0) -> None:
    """End every process that delays packets of the deployment's hosts."""
    deadline = time.monotonic() + timeout_s
    number = signal.SIGTERM
    while pids := [pid for found in delayers(deployment.prefix).values() for pid in found]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        time.sleep(0.01)


def delayers(prefix: str) -> dict[str, list[int]]:
    """Pids of the processes that delay packets, by the name of their container, which begins with `prefix`-."""
    found: dict[str, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it ended meanwhile
            continue
        if any(word.endswith(f"/{SCRIPT.parent.name}/{SCRIPT.name}") for word in words):
            for word in words:
                if word.startswith(f"--host={prefix}-"):
                    found.setdefault(word.removeprefix("--host="), []).append(int(entry.name))
    return found


def faults(runner: Runner, deployment: FleetPlan, links: Sequence[Link]) -> list[str]:
    """What is not in force of `links`, a sentence each."""
    alive = delayers(deployment.prefix)
    found = []
    for host in deployment.hosts:
        wanted, machine = rules(deployment, host, links), deployment.machine(host)
        pids = alive.get(machine, [])
        if wanted.queues and not any(_bound(pid) == set(wanted.queues.values()) for pid in pids):
            found.append(f"{host.name}: the process that delays its packets is not there any more")
        rules_gone = wanted.delays and not set(wanted.delays) <= set(_mangle(runner, machine))
        rates_gone = wanted.rates and not any(qdisc["handle"] == HANDLE for qdisc in _roots(runner, machine))
        if rules_gone or rates_gone:
            found.append(f"{host.name}: the rules that its packets should meet are not there any more")
    return found


def _refuse_foreign(runner: Runner, machine: str, wanted: HostRules) -> None:
    devices = {line.split()[3] for line in wanted.rates if line.startswith("qdisc")}
    for qdisc in _roots(runner, machine):
        if qdisc["dev"] in devices and qdisc["handle"] != "0:":
            raise NetworkError(
                f"{wanted.host.name}: {qdisc['dev']} already has rules that enos_crdb did not make "
                f"({qdisc['kind']} {qdisc['handle']}); if nobody needs them, remove them there with "
                f"`tc qdisc del dev {qdisc['dev']} root`"
            )


def _roots(runner: Runner, machine: str) -> list[dict[str, str]]:
    if not (Path("/run/netns") / machine).exists():
        return []
    listed = runner.run(["tc", "-netns", machine, "-json", "qdisc", "show"]).stdout
    return [qdisc for qdisc in json.loads(listed or "[]") if qdisc.get("root")]


def _mangle(runner: Runner, machine: str) -> list[str]:
    if not (Path("/run/netns") / machine).exists():
        return []
    return runner.run([*_inside(machine), "iptables", "-w", "-t", "mangle", "-S"]).stdout.splitlines()


def _inside(machine: str) -> list[str]:
    # Not `ip netns exec`: it also makes a mount namespace, which would keep the hosts' file systems busy.
    return ["nsenter", f"--net=/run/netns/{machine}", "--"]


def _interface(network: str) -> str:
    return f"eth{NETWORKS.index(network)}"


def _bound(pid: int) -> set[int]:
    """Numbers of the queues that the process serves, as its network namespace tells."""
    try:
        lines = Path(f"/proc/{pid}/net/netfilter/nfnetlink_queue").read_text().splitlines()
    except OSError:  # it ended
        return set()
    return {int(line.split()[0]) for line in lines}


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "it said nothing"
