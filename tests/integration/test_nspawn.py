"""Local hosts on the machine that runs the tests."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from enos_crdb.command import SubprocessRunner
from enos_crdb.errors import ConfigurationError, ProviderError
from enos_crdb.phases.context import cache_directory
from enos_crdb.providers.nspawn import Configuration, HostRequest, NetworkRequest, Nspawn
from tests.integration.engine import traces
from tests.integration.machines import skip_without_hosts

pytestmark = pytest.mark.nspawn

CACHE = cache_directory()  # the engine's own, so that the base image is built once for all tests
RUNNER = SubprocessRunner()
Make = Callable[..., Nspawn]


@pytest.fixture(scope="module", autouse=True)
def machine() -> None:
    skip_without_hosts()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Providers whose hosts are destroyed after the test."""
    made: list[Nspawn] = []

    def build(*machines: HostRequest, directory: str = "one", control: str = "auto", **options: object) -> Nspawn:
        conf = Configuration()
        conf.machines = list(machines) or [request("database-1", "database"), request("rally-1", "rally")]
        conf.networks = [NetworkRequest(name="control", cidr=control), NetworkRequest(name="database")]
        provider = Nspawn(conf, state_dir=tmp_path / directory, cache_dir=CACHE, runner=RUNNER, **options)  # type: ignore[arg-type]
        made.append(provider)
        return provider

    yield build
    for provider in made:
        provider.destroy()


def request(name: str, *roles: str, **options: object) -> HostRequest:
    return HostRequest(name=name, roles=roles, **options)  # type: ignore[arg-type]


def on(provider: Nspawn, name: str, command: str, *, check: bool = True) -> str:
    return RUNNER.run([*provider.ssh_command(name), command], check=check, timeout_s=120).stdout.strip()


def pings(provider: Nspawn, name: str, target: str) -> bool:
    return on(provider, name, f"ping -c 1 -W 1 {target} > /dev/null && echo yes || true") == "yes"


def prefix(directory: Path) -> str:
    return f"ec{json.loads((directory / 'nspawn.json').read_text())['id']}"


def test_a_pair_of_hosts(make: Make, tmp_path: Path) -> None:
    directory = tmp_path / "a name: with blanks"
    provider = make(directory=directory.name)
    first = provider.acquire()
    mark = prefix(directory)

    assert [host.name for host in first.hosts] == ["database-1", "rally-1"]
    for host in first.hosts:
        assert on(provider, host.name, "hostname") == host.name
        assert on(provider, host.name, "systemctl is-system-running --wait") == "running"
        assert f"{host.addresses['database']}/" in on(provider, host.name, "ip -4 -brief address show eth1")
    assert pings(provider, "rally-1", "database-1")
    assert pings(provider, "rally-1", "database-1.database")
    assert (directory / "nspawn.json").stat().st_mode & 0o777 == 0o600
    assert traces(directory, mark)  # or the check at the end would see nothing anyway

    assert make(directory=directory.name).acquire() == first, (
        "a second provider on the same directory finds the same hosts"
    )
    roles, networks = provider.init()
    assert [host.alias for host in roles["database"]] == ["database-1"]
    assert [str(net.network) for net in networks["database"]] == [first.networks[1].cidr]

    arguments = shlex.split(first.hosts[0].variables["ansible_ssh_common_args"])
    master = ["ssh", "-i", str(first.hosts[0].keyfile), *arguments, "-o", f"ControlPath={provider.control_path_dir}/x"]
    RUNNER.run([*master, "-o", "ControlMaster=yes", "-f", "-N", f"root@{first.hosts[0].address}"])
    assert RUNNER.run([*master, "-O", "check", "any"]).returncode == 0

    provider.destroy()
    assert not provider.control_path_dir.exists()
    assert traces(directory, mark) == []
    assert list(directory.iterdir()) == []
    assert not provider.is_created()
    provider.destroy()


def test_hosts_reach_the_package_archive(make: Make, tmp_path: Path) -> None:
    # Not in its own lists, which another test may be using.
    lists = tmp_path / "lists"
    (lists / "partial").mkdir(parents=True)
    lists.chmod(0o755)
    own = RUNNER.run(["apt-get", f"--option=Dir::State::lists={lists}", "update"], check=False, timeout_s=120)
    if own.returncode != 0 or "Err:" in own.stdout:
        pytest.skip("this machine cannot reach its own package archive")
    provider = make(request("alone", "rally"))
    provider.acquire()
    output = on(provider, "alone", "apt-get update 2>&1")
    assert "Err:" not in output
    assert "Get:" in output or "Hit:" in output


def test_two_deployments_at_once(make: Make, tmp_path: Path) -> None:
    one, other = make(request("a", "rally")), make(request("a", "rally"), directory="two")
    first, second = one.acquire(), other.acquire()
    assert not {net.cidr for net in first.networks} & {net.cidr for net in second.networks}
    mark = prefix(tmp_path / "one")
    one.destroy()
    assert traces(tmp_path / "one", mark) == []
    assert on(other, "a", "hostname") == "a"


def test_taken_subnet_is_refused(make: Make) -> None:
    taken = make(request("a", "rally")).acquire().networks[0].cidr
    provider = make(request("b", "rally"), directory="two", control=taken)
    with pytest.raises(ConfigurationError, match="overlaps"):
        provider.acquire()
    assert not provider.is_created()


def test_stopped_killed_and_cut_hosts(make: Make) -> None:
    provider = make()
    provider.acquire()
    on(provider, "database-1", "echo kept > /root/kept && sync")

    for end in (provider.stop_host, provider.kill_host):
        end("database-1")
        assert not provider.running("database-1")
        assert not pings(provider, "rally-1", "database-1.database"), "a host that is off must be silent"
        provider.start_host("database-1")
        assert provider.running("database-1")
        assert on(provider, "database-1", "cat /root/kept") == "kept"
        assert pings(provider, "rally-1", "database-1.database")

    provider.cut_host("database-1")
    assert not pings(provider, "rally-1", "database-1.database")
    assert pings(provider, "rally-1", "database-1")
    assert on(provider, "database-1", "cat /sys/class/net/eth1/carrier") == "1"
    provider.heal_host("database-1")
    assert pings(provider, "rally-1", "database-1.database")


def test_limits_reach_the_host(make: Make) -> None:
    warnings: list[str] = []
    provider = make(request("small", "rally", cpus=0.5, memory_mb=300), notify=warnings.append)
    provider.acquire()
    if any("refuses" in warning for warning in warnings):
        pytest.skip("this machine's cgroup takes no limits")
    name = provider.namespace("small")
    files = [
        *Path("/sys/fs/cgroup").glob(f"memory/{name}/memory.limit_in_bytes"),
        *Path("/sys/fs/cgroup").glob(f"{name}/memory.max"),
        *Path("/sys/fs/cgroup").glob(f"system.slice/{name}.scope/memory.max"),
    ]
    assert [int(file.read_text()) for file in files] == [300 * 1024 * 1024]
    started = time.monotonic()
    busy = "import time; t=time.process_time\nwhile t() < 1: pass"
    on(provider, "small", f"python3 -c '{busy}'")
    assert time.monotonic() - started > 1.7, "a second of CPU takes two seconds on half a core"


def test_layers(make: Make, tmp_path: Path) -> None:
    key = f"test-{os.getpid()}"
    layer = CACHE / "layers"
    provider = make()
    with pytest.raises(RuntimeError, match="broken"), provider.building({key: ("database",)}):
        raise RuntimeError("broken")
    assert not provider.layer_exists(key)
    try:
        with provider.building({key: ("database",)}) as builders:
            assert builders[key].roles == ("database",)
            command = "echo baked > /opt/baked; rm -r /usr/share/zoneinfo/Africa"
            RUNNER.run([*_ssh(builders[key].keyfile, builders[key].address), command])
            mark = prefix(tmp_path / "one/builders")
            trees = Path(json.loads((tmp_path / "one/builders/nspawn.json").read_text())["trees"])
            assert traces(trees, mark)
        assert provider.layer_exists(key)
        assert traces(trees, mark) == []
        assert not trees.exists()
        with provider.building({key: ("database",)}) as builders:
            assert builders == {}, "the layer is there already"
        host = make(request("database-1", "database", layer=key), directory="two")
        host.acquire()
        assert on(host, "database-1", "cat /opt/baked; hostname") == "baked\ndatabase-1"
        assert on(host, "database-1", "ls -d /usr/share/zoneinfo/Africa", check=False) == ""
        assert list(layer.glob(f"*/{key}/etc/hostname")) == []
    finally:
        for path in layer.glob(f"*/{key}"):
            shutil.rmtree(path)
        (layer / f".{key}.lock").unlink(missing_ok=True)


def test_two_that_want_the_same_layer_make_it_once(make: Make) -> None:
    key = f"test-shared-{os.getpid()}"
    waits = threading.Event()
    first, second = make(), make(directory="two", notify=lambda text: waits.set() if "waiting" in text else None)

    def find() -> list[str]:
        with second.building({key: ("database",)}) as builders:
            return list(builders)

    try:
        with ThreadPoolExecutor(1) as pool:
            with first.building({key: ("database",)}) as builders:
                assert list(builders) == [key]
                found = pool.submit(find)
                assert waits.wait(60)
            assert found.result(timeout=60) == []
    finally:
        for path in (CACHE / "layers").glob(f"*/{key}"):
            shutil.rmtree(path)
        (CACHE / "layers" / f".{key}.lock").unlink(missing_ok=True)


def _ssh(keyfile: str | None, address: str) -> list[str]:
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    return ["ssh", "-F", "/dev/null", "-i", str(keyfile), *options, f"root@{address}"]


def test_missing_layer_is_named(make: Make) -> None:
    with pytest.raises(ProviderError, match="layer nowhere"):
        make(request("a", "rally", layer="nowhere")).acquire()


_VICTIM = """
import sys
from pathlib import Path
from enos_crdb.command import SubprocessRunner
from enos_crdb.providers.nspawn import Configuration, HostRequest, Nspawn
conf = Configuration()
conf.machines = [HostRequest(name=f"database-{n}", roles=("database",)) for n in (1, 2)]
Nspawn(conf, state_dir=Path(sys.argv[1]), cache_dir=Path(sys.argv[2]), runner=SubprocessRunner()).init()
"""


@pytest.mark.parametrize(
    "reached",
    [
        pytest.param("nspawn.json", id="planned", marks=pytest.mark.deep),
        pytest.param("/run/netns/{mark}-database-1", id="namespace", marks=pytest.mark.deep),
        pytest.param("hosts/database-1/root/etc", id="mounted", marks=pytest.mark.deep),
        pytest.param("hosts/database-2/console.log", id="booting"),
    ],
)
def test_killed_half_way(make: Make, tmp_path: Path, reached: str) -> None:
    directory = tmp_path / "one"
    provider = make(request("database-1", "database"), request("database-2", "database"))
    provider.prepare()
    victim = subprocess.Popen([sys.executable, "-c", _VICTIM, str(directory), str(CACHE)])
    try:
        _await(directory, reached)
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    mark = prefix(directory)

    if reached == "hosts/database-2/console.log":
        assert [host.name for host in provider.acquire().hosts] == ["database-1", "database-2"]
        assert prefix(directory) == mark, "what was begun is continued"
    provider.destroy()
    assert traces(directory, mark) == []
    assert list(directory.iterdir()) == []


_BUILDER = """
import sys, time
from pathlib import Path
from enos_crdb.command import SubprocessRunner
from enos_crdb.providers.nspawn import Configuration, HostRequest, Nspawn
conf = Configuration()
conf.machines = [HostRequest(name="database-1", roles=("database",))]
provider = Nspawn(conf, state_dir=Path(sys.argv[1]), cache_dir=Path(sys.argv[2]), runner=SubprocessRunner())
with provider.building({"never-finished": ("database",)}):
    Path(sys.argv[1], "reached").touch()
    time.sleep(60)
"""


def test_killed_while_building_a_layer(make: Make, tmp_path: Path) -> None:
    directory = tmp_path / "one"
    provider = make()
    provider.prepare()
    victim = subprocess.Popen([sys.executable, "-c", _BUILDER, str(directory), str(CACHE)])
    try:
        _await(directory / "builders", "../reached")
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    state = json.loads((directory / "builders/nspawn.json").read_text())
    assert Path(state["trees"]).is_dir()
    provider.destroy()
    assert traces(Path(state["trees"]), f"ec{state['id']}") == []
    assert not Path(state["trees"]).exists()
    assert not provider.layer_exists("never-finished")


@pytest.mark.deep
def test_after_a_reboot_hosts_come_back_as_they_were(make: Make, tmp_path: Path) -> None:
    provider = make()
    first = provider.acquire()
    mark = prefix(tmp_path / "one")
    on(provider, "rally-1", "echo kept > /root/kept && sync")
    for name in ("database-1", "rally-1"):
        provider.kill_host(name)
    # What a reboot does to the rest.
    for path in tmp_path.glob("one/hosts/[dr]*/root"):
        RUNNER.run(["umount", str(path)])
    for link in Path("/sys/class/net").glob(f"{mark}-*"):
        RUNNER.run(["ip", "link", "delete", link.name], check=False)
    for namespace in Path("/run/netns").glob(f"{mark}-*"):
        RUNNER.run(["ip", "netns", "delete", namespace.name])
    RUNNER.run(["nft", "delete", "table", "ip", mark], check=False)
    shutil.rmtree(f"/run/enos_crdb/{mark}")

    assert provider.acquire() == first
    assert on(provider, "rally-1", "cat /root/kept") == "kept"
    assert pings(provider, "rally-1", "database-1.database")


def _await(directory: Path, reached: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (directory / "nspawn.json").exists():
            path = directory / reached.format(mark=prefix(directory))
            if path.exists():
                return
        time.sleep(0.001)
    pytest.fail(f"{reached} was not reached")


_INNER = """
import sys
from pathlib import Path
from enos_crdb.command import SubprocessRunner
from enos_crdb.providers.nspawn import Configuration, HostRequest, Nspawn
from enos_crdb.providers.nspawn.cgroup import ScopeCgroups, detect
runner = SubprocessRunner()
assert isinstance(detect(runner), ScopeCgroups)
conf = Configuration()
conf.machines = [HostRequest(name="a", roles=("r",), cpus=1, memory_mb=256), HostRequest(name="b", roles=("r",))]
provider = Nspawn(conf, state_dir=Path("/root/state"), cache_dir=Path("/cache"), runner=runner, notify=print)
if sys.argv[1] == "up":
    provider.acquire()
    print(runner.run([*provider.ssh_command("a"), "hostname && ping -c 1 -W 1 b.database && apt-get update"]).stdout)
    provider.stop_host("b")
    print("RUNNING", provider.running("a"), provider.running("b"))
else:
    provider.destroy()
"""


@pytest.mark.deep
def test_on_a_machine_with_systemd_that_drops_forwarded_packets(make: Make, tmp_path: Path) -> None:
    """A host of ours is such a machine: local hosts in a local host, with iptables only, files in memory."""
    if Path(sys.base_prefix) == Path("/usr"):
        pytest.skip("the host has no Python of its own like ours")
    package = Path(__file__).parents[2]
    images = CACHE / "images"
    script = tmp_path / "script"
    script.mkdir()
    (script / "inner.py").write_text(_INNER)
    binds = {path: str(path) for path in (package, Path(sys.prefix), Path(sys.base_prefix), script)}
    provider = make(request("outer", "rally"), read_only_binds={**binds, images: "/cache/images"})
    provider.acquire()
    wanted = "systemd-container iptables debootstrap openssh-client"
    prepared = on(
        provider,
        "outer",
        f"(apt-get update && apt-get install -y --no-install-recommends {wanted}) > /dev/null 2>&1 && echo done; true",
    )
    if prepared != "done":
        pytest.skip("the host cannot install packages from here")
    assert on(provider, "outer", "which nft || true") == ""
    inner = f"cd {package} && PYTHONPATH={package} {sys.executable} {script}/inner.py"
    on(provider, "outer", "iptables -P FORWARD DROP")
    before = _footprint(provider)

    output = on(provider, "outer", f"{inner} up 2>&1")
    assert "kept in memory" in output
    assert "RUNNING True False" in output
    assert "Err:" not in output
    shown = on(provider, "outer", "systemctl show 'ec*-a.scope' --property=MemoryMax,CPUQuotaPerSecUSec,Delegate")
    assert set(shown.split()) == {"MemoryMax=268435456", "CPUQuotaPerSecUSec=1s", "Delegate=yes"}

    on(provider, "outer", f"{inner} down 2>&1")
    assert _footprint(provider) == before


def _footprint(provider: Nspawn) -> str:
    commands = [
        "ip -brief link | cut -d' ' -f1",
        "ip netns",
        "iptables-save -t filter | grep '^-'",
        "iptables-save -t nat | grep '^-'",
        "systemctl list-units --all --no-legend 'ec*'",
        "grep /root/state /proc/mounts",
        "find /root/state /run/enos_crdb -mindepth 1 ! -name lock 2> /dev/null",
        "pgrep -fa 'machine=e[c]'",
    ]
    return on(provider, "outer", "; ".join([*commands, "true"]))
