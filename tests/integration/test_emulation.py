"""Emulated networks on real local hosts: set, changed, cleared, measured, and caught when they are not there."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from enos_crdb import config
from enos_crdb.command import SubprocessRunner
from enos_crdb.config.emulation import Constraint, Emulation, links
from enos_crdb.door import Call, program
from enos_crdb.errors import NetworkError
from enos_crdb.network import netem, probes
from enos_crdb.network.probes import Window
from enos_crdb.phases import deploy, emulate
from enos_crdb.phases.context import Context, open_context
from enos_crdb.phases.destroy import destroy
from enos_crdb.providers import EmulatingProvider
from enos_crdb.providers.nspawn.prerequisites import missing, netem_refusal
from enos_crdb.record import Matrix, NetworkRecord, Tolerance
from enos_crdb.store import Store
from tests.integration.engine import Engine, mark_of, traces

pytestmark = [pytest.mark.nspawn, pytest.mark.alone]

RUNNER = SubprocessRunner()
FILE = """\
name: network
provider: nspawn
nspawn: {layers: false}
machines:
  - {roles: [database, keystone], site: paris}
  - {roles: [database], site: paris}
  - {roles: [database, rally], site: nantes}
database: {backend: galera}
"""
Pair = tuple[str, str]


@pytest.fixture(scope="module")
def context() -> Iterator[Context]:
    """Three hosts with nothing on them: what is emulated and measured is the kernel's."""
    lacks = [lack for lack in missing(RUNNER, suite="bookworm", emulator="auto") if lack.package is None]
    if lacks:
        pytest.skip("; ".join(map(str, lacks)))
    place = Path(tempfile.mkdtemp(prefix="enos_crdb-network-", dir="/var/tmp"))  # not pytest's, which later ones empty
    path = place / "network.yaml"
    path.write_text(FILE)
    configuration = config.load(path)
    deployment = Store(place / "results").create("network", configuration.model_dump(mode="json"))
    opened = deploy.open_for_deploy(deployment, configuration)
    try:
        opened.provider.prepare()
        deploy.acquire_hosts(opened)
        yield opened
    finally:
        destroy(opened, keep_hosts=False)
        shutil.rmtree(place)


@pytest.fixture(autouse=True)
def as_it_was(context: Context) -> Iterator[None]:
    yield
    emulate.clear(context)


def constraint(*between: str, **options: Any) -> Constraint:
    return Constraint(between=list(between), **options)


def set_to(context: Context, *constraints: Constraint, **options: Any) -> NetworkRecord:
    """Put constraints in force; what the gate found."""
    found = emulate.set_network(context, Emulation(constraints=list(constraints), **options))
    assert found is not None
    return found


def by_network(matrix: Matrix) -> dict[str, dict[Pair, float]]:
    """Medians by network and pair, of what was measured at once."""
    found: dict[str, dict[Pair, float]] = {"control": {}, "database": {}}
    for trip in matrix.rtt:
        assert trip.median_ms is not None, trip.why
        found[trip.network][trip.src, trip.dst] = trip.median_ms
    return found


def measured(context: Context, network: str = "database") -> dict[Pair, float]:
    """Medians by pair, without the gate."""
    return by_network(emulate.measure(context))[network]


def near(delay_ms: float) -> Any:
    return pytest.approx(delay_ms, abs=max(1.0, delay_ms * 0.05))


def namespace(context: Context, host: str) -> str:
    return f"{mark_of(context.deployment.directory)}-{host}"


def inside(context: Context, host: str, *command: str) -> str:
    return RUNNER.run(["nsenter", f"--net=/run/netns/{namespace(context, host)}", "--", *command]).stdout


def start_inside(context: Context, host: str, program: str, *arguments: str) -> subprocess.Popen[str]:
    command = ["nsenter", f"--net=/run/netns/{namespace(context, host)}", sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def rules_of(context: Context) -> list[str]:
    """Everything in the hosts' kernels that emulates, whoever made it, and the processes that do."""
    found = []
    for host in context.resources.hosts:
        listed = inside(context, host.name, "tc", "qdisc", "show") + inside(context, host.name, "tc", "filter", "show")
        found += [re.sub(r"direct_packets_stat \d+", "", line) for line in listed.splitlines() if "noqueue" not in line]
        listed = inside(context, host.name, "iptables", "-t", "mangle", "-S")
        found += [line for line in listed.splitlines() if not line.startswith("-P")]
    mark = mark_of(context.deployment.directory)
    return found + [
        line for line in RUNNER.run(["ps", "-wweo", "args"]).stdout.splitlines() if f"--host={mark}" in line
    ]


def delayers(context: Context, host: str) -> list[int]:
    listed = RUNNER.run(["ps", "-wweo", "pid,args"]).stdout.splitlines()
    return [
        int(line.split()[0]) for line in listed if line.endswith(":0") and f"--host={namespace(context, host)} " in line
    ]


def queued(context: Context) -> None:
    """Skip where netem does the work: there is no process then."""
    if emulate.choose_emulator(context, "auto") == "netem":
        pytest.skip("the kernel has netem")


def test_delays_are_held_changed_and_cleared(context: Context, record_property: Callable[[str, object], None]) -> None:
    emulator = emulate.choose_emulator(context, "auto")
    record_property("path taken", f"networks were emulated by {emulator}; {netem_refusal(RUNNER) or 'netem is there'}")
    untouched = measured(context)
    assert max(untouched.values()) < 2
    for delay_ms in (10, 150, 0):
        set_to(context, constraint("database", "database", delay_ms=delay_ms))  # gated by itself
        found = by_network(emulate.measure(context))
        assert all(rtt_ms == near(2 * delay_ms) for rtt_ms in found["database"].values())
        assert max(found["control"].values()) < 2, "a network that no constraint names"
    emulate.clear(context)
    assert context.deployment.state.emulation is None
    assert rules_of(context) == []
    assert max(measured(context).values()) < 2


@pytest.mark.deep
def test_sites_and_directions(context: Context) -> None:
    set_to(context, constraint("site:paris", "site:nantes", delay_ms=20))
    found = measured(context)
    far = [pair for pair in found if "database-3" in pair]
    assert len(far) == 4
    for pair, rtt_ms in found.items():
        assert rtt_ms == near(40 if pair in far else 0)

    set_to(
        context,
        constraint("database-1", "database-2", delay_ms=30, symmetric=False),
        constraint("database-2", "database-1", delay_ms=5, symmetric=False),
        constraint("database-1", "database-3", delay_ms=12, symmetric=False, network="control"),
    )
    found = measured(context)
    assert (found["database-1", "database-2"], found["database-2", "database-1"]) == (near(35), near(35))
    assert found["database-1", "database-3"] == near(0)
    assert measured(context, "control")["database-3", "database-1"] == near(12)
    # A round trip does not tell its two ways apart; the hosts share one clock, so a single way can be timed.
    assert one_way_ms(context, "database-1", "database-2") == near(30)
    assert one_way_ms(context, "database-2", "database-1") == near(5)


def one_way_ms(context: Context, src: str, dst: str) -> float:
    receive = (
        "import socket, sys, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind((sys.argv[1], 7007));"
        "print('ready', flush=True);"
        "ways = [-float(s.recv(99)) + time.time() for _ in range(9)]; print(sorted(ways)[4])"
    )
    send = (
        "import socket, sys, time; s = socket.socket(type=socket.SOCK_DGRAM);"
        "[(s.sendto(str(time.time()).encode(), (sys.argv[1], 7007)), time.sleep(0.02)) for _ in range(9)]"
    )
    address = context.resources.host(dst).addresses["database"]
    with start_inside(context, dst, receive, address) as receiver:
        assert receiver.stdout is not None
        receiver.stdout.readline()
        start_inside(context, src, send, address).communicate(timeout=20)
        return float(receiver.communicate(timeout=20)[0]) * 1000


@pytest.mark.deep
def test_loss(context: Context) -> None:
    set_to(context, constraint("database-1", "database-2", delay_ms=2, loss_percent=20), mismatch="label")
    count = (
        "import socket, sys; s = socket.socket(type=socket.SOCK_DGRAM); s.bind((sys.argv[1], 7008)); s.settimeout(2);"
        "print('ready', flush=True); n = 0\n"
        "try:\n"
        "  while True: s.recv(99); n += 1\n"
        "except TimeoutError: print(n)\n"
    )
    send = (
        "import socket, sys, time; s = socket.socket(type=socket.SOCK_DGRAM);"
        "[(s.sendto(b'x', (sys.argv[1], 7008)), time.sleep(0.0005)) for _ in range(1000)]"
    )
    address = context.resources.host("database-2").addresses["database"]
    with start_inside(context, "database-2", count, address) as counter:
        assert counter.stdout is not None
        counter.stdout.readline()
        start_inside(context, "database-1", send, address).communicate(timeout=20)
        assert int(counter.communicate(timeout=20)[0]) == pytest.approx(800, abs=65)  # five standard deviations


@pytest.mark.deep
def test_rate(context: Context) -> None:
    set_to(context, constraint("database-1", "database-2", delay_ms=5, rate="20mbit", symmetric=False))
    receive = (
        "import socket, sys, time; l = socket.create_server((sys.argv[1], 7009)); print('ready', flush=True);"
        "c, _ = l.accept(); start = time.time(); n = 0\n"
        "while data := c.recv(1 << 20): n += len(data)\n"
        "print(n * 8 / 1e6 / (time.time() - start))"
    )
    send = (
        "import socket, sys, time; c = socket.create_connection((sys.argv[1], 7009)); end = time.time() + 1.5\n"
        "while time.time() < end: c.sendall(bytes(1 << 16))\n"
    )
    rates = {}
    for src, dst in (("database-1", "database-2"), ("database-2", "database-1")):
        address = context.resources.host(dst).addresses["database"]
        with start_inside(context, dst, receive, address) as receiver:
            assert receiver.stdout is not None
            receiver.stdout.readline()
            start_inside(context, src, send, address).communicate(timeout=20)
            rates[src] = float(receiver.communicate(timeout=30)[0])
    assert rates["database-1"] == pytest.approx(20, rel=0.15)
    assert rates["database-2"] > 200, "the other direction has no limit"


def test_a_dead_delayer_is_noticed_and_replaced(context: Context) -> None:
    queued(context)
    ok = set_to(context, constraint("database", "database", delay_ms=10))
    assert (ok.verdict, ok.deviations) == ("ok", ())
    (pid,) = delayers(context, "database-2")
    os.kill(pid, signal.SIGKILL)

    found = emulate.before(context)
    assert found.verdict == "off"
    assert "database-2: the process that delays its packets is not there any more" in found.deviations
    assert any("database-1 to database-2 on database: the round trip takes 10." in text for text in found.deviations)
    with pytest.raises(NetworkError, match="numbers are not to be trusted"):
        emulate.refuse(found)
    assert emulate.after(context, ok).verdict == "off"

    assert emulate.restore(context).verdict == "ok"


@pytest.mark.deep
def test_it_survives_the_engine_and_is_found_by_the_next(context: Context) -> None:
    set_to(context, constraint("database", "database", delay_ms=10))
    reopened = open_context(Store(context.deployment.directory.parent).current(), context.configuration)
    assert emulate.before(reopened).verdict == "ok"
    before = rules_of(context)
    wanted = Emulation(constraints=[constraint("database", "database", delay_ms=10)])
    again = context.configuration.model_copy(update={"emulation": wanted})
    emulate.apply_file(open_context(context.deployment, again))
    assert rules_of(context) == before, "a second deployment with the same constraints changes nothing"
    # Without constraints in its file, a deployment clears what is in force.
    emulate.apply_file(context)
    assert rules_of(context) == []


@pytest.mark.deep
def test_a_host_that_is_off_is_not_measured(context: Context) -> None:
    nspawn = context.provider.nspawn  # type: ignore[attr-defined]
    nspawn.cut_host("database-3")
    try:
        found = emulate.before(context)
        assert found.verdict == "not measured"
        assert any("database-1 to database-3 on database" in text for text in found.deviations)
        with pytest.raises(NetworkError, match="could not be measured; is a host down"):
            set_to(context, constraint("database", "database", delay_ms=10))
        assert rules_of(context) == []
    finally:
        nspawn.heal_host("database-3")


def test_rules_of_others_stay(context: Context) -> None:
    inside(context, "database-1", "tc", "qdisc", "add", "dev", "eth1", "root", "handle", "7:", "htb")
    inside(context, "database-1", "iptables", "-t", "mangle", "-A", "PREROUTING", "-p", "tcp", "-j", "ACCEPT")
    theirs = rules_of(context)
    try:
        with pytest.raises(
            NetworkError, match=r"database-1: eth1 already has rules that enos_crdb did not make \(htb 7:\)"
        ):
            set_to(context, constraint("database", "database", delay_ms=1, rate="10mbit"))
        assert rules_of(context) == theirs
    finally:
        inside(context, "database-1", "tc", "qdisc", "del", "dev", "eth1", "root")
        inside(context, "database-1", "iptables", "-t", "mangle", "-F", "PREROUTING")


def test_a_kernel_without_netem_is_told_apart(context: Context) -> None:
    if netem_refusal(RUNNER) is None:
        set_to(context, constraint("database", "database", delay_ms=10), emulator="netem")
        assert all(rtt_ms == near(20) for rtt_ms in measured(context).values())
        return
    with pytest.raises(NetworkError, match=r"(?s)the kernel of database-1, .* has no netem .* choose emulator 'auto'"):
        set_to(context, constraint("database", "database", delay_ms=10), emulator="netem")
    assert rules_of(context) == []

    planned = links([constraint("database", "database", delay_ms=10, rate="100mbit")], context.resources.hosts)
    enoslib_alone(context, planned)  # says nothing, and delays nothing
    lie = netem.faults(context.door, context.resources.hosts, planned)
    assert lie[0] == "database-1: eth1 should delay packets to 2 hosts (10 ms, 10 ms), tc shows 0 (none)."
    netem.clear(context.door, context.resources.hosts, planned)
    assert rules_of(context) == [], "EnOSlib's rules are removed, whatever came of them"

    with pytest.raises(NetworkError, match=r"tc qdisc add .* netem .* ended with status 2"):
        netem.install(context.door, context.resources.hosts, planned)
    netem.clear(context.door, context.resources.hosts, planned)
    assert rules_of(context) == []


def enoslib_alone(context: Context, planned: Any) -> None:
    """What EnOSlib's NetemHTB does: the same commands, joined by semicolons, the last one's status."""
    known = netem.survey(context.door, context.resources.hosts)
    for host in context.resources.hosts:
        commands = netem.host_commands(host, context.resources.hosts, planned, known[host.name].devices)
        inside(context, host.name, "sh", "-c", "; ".join(commands))


@pytest.mark.deep
def test_measuring_is_cheap(context: Context) -> None:
    measured(context)
    started = time.monotonic()
    measured(context)
    assert time.monotonic() - started < 3


@pytest.mark.deep
def test_the_command(engine: Engine, tmp_path: Path) -> None:
    """A deployment that is destroyed with its emulation on leaves nothing; the steps that install are left out."""
    path = tmp_path / "network.yaml"
    path.write_text(FILE)
    engine.run("deploy", "--env", str(path), "--phase", "hosts")
    shown = engine.run("emulate").output
    assert "as it should be" in shown

    engine.run(
        "deploy",
        "--env",
        str(path),
        "--phase",
        "emulate",
        *options("constraints=[{between: [database, database], delay_ms: 15}]"),
    )
    assert "30." in engine.run("emulate").output
    assert engine.state["emulation"]["constraints"][0]["delay_ms"] == 15
    shown = engine.run("emulate", "--rtt-ms", "8").output
    assert "database <-> database on database: 4 ms one way" in shown
    assert "choose" not in engine.run("emulate", "--rtt-ms", "8", "--clear", status=2).output
    mark = mark_of(engine.directory)
    assert mark is not None
    if engine.state["emulation"]["emulator"] == "nfqueue":
        assert [line for line in traces(engine.directory, mark) if "delay.py" in line]
        listed = RUNNER.run(["ps", "-wweo", "pid,args"]).stdout.splitlines()
        for pid in [line.split()[0] for line in listed if f"--host={mark}-database-2" in line]:
            os.kill(int(pid), signal.SIGKILL)
        assert "is not there any more" in engine.run("emulate").output  # and then it is again
    engine.run("emulate", "--clear")
    assert not engine.state["emulation"]
    engine.run("emulate", "--rtt-ms", "8")
    assert engine.state["emulation"]["set_at"]
    engine.run("destroy")
    assert traces(engine.directory, mark) == []
    assert json.loads((engine.directory / "deployment.json").read_text())["emulation"] is None


def options(*values: str) -> list[str]:
    return [word for value in values for word in ("--set", f"emulation.{value}")]


def test_a_delay_that_is_gone_for_two_seconds_under_load_is_seen(context: Context, tmp_path: Path) -> None:
    """It is there before and after: medians of two moments cannot see it."""
    set_to(context, constraint("database", "database", delay_ms=10))
    known = emulate.in_force(context)
    hosts = context.resources.hosts
    path = "/run/enos_crdb/probes/test.csv"
    watching = [
        Call(host=one, argv=program("probe", "start", "enos-crdb-probe-test", path), request={
            "targets": probes.watched(hosts, known.expected)[one.name], "interval_s": probes.INTERVAL_S,
        })
        for one in hosts
    ]  # fmt: skip
    assert all(answer.ok for answer in context.door.run("watching", watching))
    provider = context.provider
    assert isinstance(provider, EmulatingProvider)
    begin = time.time()
    time.sleep(2)
    gone_at = time.time()
    provider.emulate(())
    time.sleep(2)
    provider.emulate(known.links)
    back_at = time.time()
    time.sleep(2)
    stop = [Call(host=one, argv=program("probe", "stop", "enos-crdb-probe-test")) for one in hosts]
    assert all(answer.ok for answer in context.door.run("no more", stop))
    fetch = [Call(host=one, argv=("true",), file=path, to=tmp_path / one.name) for one in hosts]
    assert all(answer.ok for answer in context.door.run("fetching", fetch))

    def sentences(begin: float, end: float) -> tuple[str, ...]:
        files = {one.name: tmp_path / one.name for one in hosts}
        window = Window(scenario="s", begin=begin, end=end)
        found = probes.during(files, [window], known.expected, Tolerance(percent=5.0, ms=1.0))
        return probes.judge(found, loss={})

    assert sentences(begin, gone_at) == ()
    assert sentences(back_at + 0.2, time.time()) == ()
    said = sentences(begin, time.time())
    assert len(said) == 6, "each host to each other"
    assert all("faster than the emulated distance allows" in one for one in said)
