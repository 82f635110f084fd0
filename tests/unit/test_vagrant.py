"""The provider `vagrant`: what EnOSlib is asked for, what vagrant is called with, what its errors become.

Vagrant is a stand-in here (tests/doubles/vagrant); EnOSlib and python-vagrant are real.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from enos_crdb.command import SubprocessRunner
from enos_crdb.config import Configuration, check
from enos_crdb.errors import ConfigurationError, PrerequisiteError, ProviderError
from enos_crdb.model import Resources
from enos_crdb.providers import Request, provide
from enos_crdb.providers.vagrant import VagrantHosts, explanations, prerequisites, subnets, vagrantfile
from enos_crdb.providers.vagrant.hosts import progress
from enos_crdb.testing import RecordingRunner
from tests.doubles.vagrant import ROOT, FakeVagrant

MACHINES = [
    {"roles": ["database", "keystone"], "count": 2, "cpus": 4, "memory_mb": 3000, "site": ["rennes", "lyon"]},
    {"roles": ["rally"]},
]


def configuration(vagrant: dict[str, Any] | None = None, **more: Any) -> Configuration:
    document = {
        "name": "small",
        "provider": "vagrant",
        "vagrant": vagrant or {},
        "machines": MACHINES,
        "database": {"backend": "cockroachdb", "replicas": 1},
        "networks": {"control": {"cidr": "192.168.58.0/24"}, "database": {"cidr": "192.168.59.0/24"}},
        **more,
    }
    return check(document, source="test")


@dataclass
class Bed:
    """A deployment's directory, a stand-in for vagrant, and what the user was told."""

    directory: Path
    vagrant: FakeVagrant
    notes: list[str] = field(default_factory=list)

    def hosts(self, asked: Configuration | None = None) -> VagrantHosts:
        request = Request(
            configuration=asked or configuration(),
            directory=self.directory,
            cache=self.directory / "cache",
            runner=SubprocessRunner(),
            notify=self.notes.append,
        )
        provider = provide(request)
        assert isinstance(provider, VagrantHosts)
        return provider

    @property
    def vagrantfile(self) -> str:
        return (self.directory / "vagrant" / "Vagrantfile").read_text()


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    return a_bed(tmp_path, monkeypatch)


def a_bed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Bed:
    fake = FakeVagrant(directory / "fake")
    fake.install()
    fake.order("pretend")
    for name, value in fake.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(directory / "home"))
    (directory / "deployment").mkdir()
    return Bed(directory / "deployment", fake)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bed, Resources]]:
    """Machines that nobody changes, made by a user who has Vagrantfiles of his own."""
    section = {
        "box": "mine/bookworm",
        "box_version": ">= 12.1",
        "box_url": "file:///boxes/it's #{1 + 1}.json",
        "config_extra": "config.vm.boot_timeout = 900\nconfig.ssh.forward_agent = false",
    }
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("VAGRANT_CWD", "/elsewhere")
        monkeypatch.setenv("VAGRANT_DOTFILE_PATH", "/elsewhere/.vagrant")
        bed = a_bed(tmp_path_factory.mktemp("made"), monkeypatch)
        here = Path.cwd()
        resources = bed.hosts(configuration(section)).acquire({})
        assert Path.cwd() == here
        yield bed, resources


def test_the_hosts_have_the_addresses_of_the_vagrantfile_and_the_keys_of_vagrant(made: tuple[Bed, Resources]) -> None:
    bed, resources = made
    assert [host.name for host in resources.hosts] == ["database-1", "database-2", "rally-1"]
    first, second, rally = resources.hosts
    assert (first.roles, first.site, second.site, rally.site) == (("database", "keystone"), "rennes", "lyon", "local")
    assert dict(first.addresses) == {"control": "192.168.58.245", "database": "192.168.59.245"}
    assert dict(rally.addresses) == {"control": "192.168.58.243", "database": "192.168.59.243"}
    assert [(host.address, host.port, host.user) for host in resources.hosts] == [
        ("127.0.0.1", 2200, "root"),
        ("127.0.0.1", 2201, "root"),
        ("127.0.0.1", 2202, "root"),
    ]
    assert first.keyfile == str(bed.directory / "vagrant/.vagrant/machines/database-1/libvirt/private_key")
    assert "IdentitiesOnly=yes" in first.variables["ansible_ssh_common_args"]
    assert [(net.name, net.cidr, net.gateway) for net in resources.networks] == [
        ("control", "192.168.58.0/24", None),
        ("database", "192.168.59.0/24", None),
    ]


def test_the_vagrantfile_for_libvirt(made: tuple[Bed, Resources]) -> None:
    text = made[0].vagrantfile
    assert text.count("config.vm.define") == 3
    for line in (
        'config.vm.define "database-2" do |my|',
        'my.vm.hostname = "database-2"',
        'my.vm.box = "mine/bookworm"',
        "config.vm.box_version = '>= 12.1'",
        "config.vm.box_url = 'file:///boxes/it\\'s #{1 + 1}.json'",
        "config.vm.boot_timeout = 900",
        "config.ssh.forward_agent = false",
        'config.vm.synced_folder ".", "/vagrant", disabled: true',
        'my.vm.network :private_network, ip: "192.168.59.244", auto_config: true',
        "lv.cpus=4",
        "lv.memory=3000",
        "lv.cpus=2",
        "lv.memory=2048",
    ):
        assert line in text
    assert "lv.default_prefix = 'enos_crdb-" in text, "machines of several deployments have different names"
    assert "virtualbox" not in text
    is_ruby(made[0])


def is_ruby(bed: Bed) -> None:
    if shutil.which("ruby") is not None:
        file = bed.directory / "vagrant" / "Vagrantfile"
        done = subprocess.run(["ruby", "-c", str(file)], capture_output=True, text=True, check=False)
        assert done.stdout == "Syntax OK\n", done.stderr


def test_what_vagrant_is_called_with(made: tuple[Bed, Resources]) -> None:
    bed, _ = made
    assert bed.vagrant.argvs() == [
        ["up"],
        ["provision"],
        ["ssh-config", "database-1"],
        ["ssh-config", "database-2"],
        ["ssh-config", "rally-1"],
    ]
    place = bed.directory / "vagrant"
    assert {call["cwd"] for call in bed.vagrant.calls()} == {str(place)}
    assert bed.vagrant.calls()[0]["environment"] == {
        "VAGRANT_CWD": str(place),
        "VAGRANT_VAGRANTFILE": "Vagrantfile",
        "VAGRANT_DOTFILE_PATH": str(place / ".vagrant"),
        "VAGRANT_DEFAULT_PROVIDER": "libvirt",
        "VAGRANT_NO_COLOR": "1",
        "VAGRANT_CHECKPOINT_DISABLE": "1",
    }


def test_a_user_is_told_what_vagrant_does_and_the_log_has_all_of_it(made: tuple[Bed, Resources]) -> None:
    bed, _ = made
    assert "database-1: Creating image (snapshot of base box volume)." in bed.notes
    assert not [note for note in bed.notes if "Memory:" in note]
    assert " -- Memory:            3000M" in (bed.directory / "logs" / "vagrant.log").read_text()


@pytest.mark.deep  # two seconds for each start of EnOSlib
def test_the_vagrantfile_for_virtualbox(bed: Bed) -> None:
    bed.hosts(configuration({"backend": "virtualbox", "name_prefix": "mine"})).acquire({})
    text = bed.vagrantfile
    assert "vb.memory=3000" in text
    assert "libvirt" not in text
    names = [line.split("'")[1] for line in text.splitlines() if "vb.name = " in line]
    assert len(set(names)) == 3
    assert all(name.startswith("mine-") for name in names)
    is_ruby(bed)


def test_without_kvm_machines_are_emulated() -> None:
    section = configuration().vagrant
    assert 'lv.driver = "qemu"' in vagrantfile.extra(section, prefix="p-", kvm=False)
    assert "lv.driver" not in vagrantfile.extra(section, prefix="p-", kvm=True)


@pytest.mark.deep  # two seconds for each start of EnOSlib
def test_living_machines_are_looked_at_lost_ones_made_anew_and_all_destroyed(bed: Bed) -> None:
    before = bed.hosts().acquire({})
    bed.vagrant.forget()
    assert bed.hosts().acquire({}) == before
    assert bed.vagrant.argvs() == [["status", "--machine-readable"]]

    (bed.directory / "vagrant/.vagrant/machines/rally-1/libvirt/id").unlink()
    assert bed.hosts().acquire({}) == before
    assert ["up"] in bed.vagrant.argvs()

    bed.vagrant.forget()
    hosts = bed.hosts()
    hosts.control_path_dir.mkdir(parents=True)
    hosts.release()
    hosts.release()
    assert sorted(path.name for path in bed.directory.iterdir()) == ["cache", "logs"]
    assert list((bed.directory / "cache").rglob("*.json")) == [], "no subnet is claimed any more"
    assert not hosts.control_path_dir.exists()
    assert bed.vagrant.argvs() == [["destroy", "--force"]]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "==> database-1: Waiting for SSH to become available...",
            "database-1: Waiting for SSH to become available...",
        ),
        ("==> database-1:  -- Domain type:       kvm", None),
        ("    database-1: Vagrant insecure key detected.", None),
        ("Bringing machine 'database-1' up with 'libvirt' provider...", None),
    ],
)
def test_progress(line: str, told: str | None) -> None:
    assert progress(line) == told


@pytest.mark.deep
def test_a_machine_that_does_not_come_up_is_an_error_and_the_next_deployment_continues(bed: Bed) -> None:
    bed.vagrant.order("fail", "database-2\nCall to virDomainCreateWithFlags failed: Cannot allocate memory")
    with pytest.raises(ProviderError) as caught:
        bed.hosts().acquire({})
    said = str(caught.value)
    assert "virDomainCreateWithFlags failed" in said
    assert "too little free memory" in said
    assert "`deploy` continues" in said
    assert "Traceback" not in said
    assert str(bed.directory / "logs" / "vagrant.log") in said
    bed.vagrant.order("fail", None)
    assert len(bed.hosts().acquire({}).hosts) == 3


VAGRANTFILE = """
  config.vm.define "database-1" do |my|
    my.vm.network :private_network, ip: "192.168.58.245", auto_config: true
    my.vm.network :private_network, ip: "192.168.59.245", auto_config: true
      lv.memory=512
"""


def test_release_without_machines_needs_no_vagrant(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    bed.hosts().release()


def test_release_without_vagrant_says_so(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    (bed.directory / "vagrant").mkdir()
    (bed.directory / "vagrant" / "Vagrantfile").write_text(VAGRANTFILE)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ProviderError, match="vagrant is missing, and only it can destroy"):
        bed.hosts().release()


def test_a_destruction_that_fails_is_told_and_forgets_nothing(bed: Bed) -> None:
    (bed.directory / "vagrant").mkdir()
    (bed.directory / "vagrant" / "Vagrantfile").write_text(VAGRANTFILE)
    bed.vagrant.order("fail-destroy", "Error while connecting to Libvirt: Failed to connect socket to libvirt-sock")
    with pytest.raises(ProviderError, match=r"could not destroy(?s:.*)libvirt does not run"):
        bed.hosts().release()
    assert bed.vagrantfile
    bed.vagrant.order("fail-destroy", None)
    bed.hosts().release()
    assert not (bed.directory / "vagrant").exists()


UP = """
import os, sys
from pathlib import Path
from enos_crdb.command import SubprocessRunner
from enos_crdb.config import check
from enos_crdb.providers import Request, provide
import json
document, directory = json.loads(sys.argv[1]), Path(sys.argv[2])
request = Request(configuration=check(document, source="test"), directory=directory, cache=directory,
                  runner=SubprocessRunner(), notify=lambda text: print(text, flush=True))
provide(request).acquire({})
"""


def engine_at_work(bed: Bed) -> subprocess.Popen[str]:
    """A process that brings the machines up, and has begun with the first."""
    bed.vagrant.order("slow", "3")
    document = configuration().model_dump(mode="json", exclude_none=True)
    process = subprocess.Popen(
        [sys.executable, "-c", UP, json.dumps(document), str(bed.directory)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "Creating image" in line:
            break
    return process


def orphans(bed: Bed) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(bed.vagrant.directory) in file.read_text(errors="replace") and int(file.parent.name) != os.getpid():
                found.append((file.parent / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it ended meanwhile, or is not ours
            continue
    return found


@pytest.mark.deep  # two seconds for each start of EnOSlib
def test_an_interrupted_engine_lets_vagrant_clean_up_first(bed: Bed) -> None:
    process = engine_at_work(bed)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in said
    assert (bed.vagrant.directory / "cleaned-up").exists()
    assert orphans(bed) == []
    bed.vagrant.order("slow", None)
    assert len(bed.hosts().acquire({}).hosts) == 3


@pytest.mark.deep  # two seconds for each start of EnOSlib
def test_a_killed_engine_takes_vagrant_with_it(bed: Bed) -> None:
    process = engine_at_work(bed)
    process.kill()
    process.wait()
    started = time.monotonic()
    bed.hosts().release()  # waits for the orphan, then does its work
    assert time.monotonic() - started < 10
    assert (bed.vagrant.directory / "cleaned-up").exists()
    assert orphans(bed) == []
    assert not (bed.directory / "vagrant").exists()


# Subnets


def test_auto_subnets_are_free() -> None:
    taken = [IPv4Network("192.168.56.0/24"), IPv4Network("192.168.58.17/32"), IPv4Network("10.0.0.0/8")]
    auto = {"control": "auto", "database": "auto"}
    assert subnets.choose(auto, taken, backend="libvirt") == {
        "control": "192.168.57.0/24",
        "database": "192.168.59.0/24",
    }
    mixed = {"control": "192.168.57.0/24", "database": "auto"}
    assert subnets.choose(mixed, [], backend="virtualbox") == {
        "control": "192.168.57.0/24",
        "database": "192.168.56.0/24",
    }


def test_when_virtualbox_has_no_subnet_left_libvirt_has() -> None:
    taken = [IPv4Network("192.168.56.0/21")]
    auto = {"control": "auto", "database": "auto"}
    with pytest.raises(ProviderError, match=r"every subnet .*192\.168\.56\.0/21"):
        subnets.choose(auto, taken, backend="virtualbox")
    assert subnets.choose(auto, taken, backend="libvirt")["control"] == "192.168.64.0/24"


@pytest.mark.parametrize(
    ("backend", "running", "idle_counts"),
    [("virtualbox", "", False), ("virtualbox", '"other" {1}\n', True), ("libvirt", "", True)],
)
def test_virtualbox_uses_its_idle_networks_again(backend: str, running: str, idle_counts: bool) -> None:
    links = [
        {"ifname": "vboxnet0", "addr_info": [{"local": "192.168.56.1", "prefixlen": 24}]},
        {"ifname": "eth0", "addr_info": [{"local": "10.1.2.3", "prefixlen": 8}]},
    ]
    routes = [{"dst": "default", "dev": "eth0"}, {"dst": "192.168.56.0/24", "dev": "vboxnet0"}]
    runner = RecordingRunner(
        answers={
            "ip -json -4 address": json.dumps(links),
            "ip -json -4 route": json.dumps(routes),
            "VBoxManage": running,
        }
    )
    taken = subnets.taken(runner, backend=backend)
    assert IPv4Network("10.0.0.0/8") in taken
    assert (IPv4Network("192.168.56.0/24") in taken) == idle_counts


@pytest.mark.deep  # two seconds for each start of EnOSlib
def test_subnets_are_chosen_once_for_machines_that_exist(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subnets, "taken", lambda runner, backend: [])
    asked = configuration(networks={})
    first = bed.hosts(asked).acquire({}).networks
    # What is in use now is in use by these very machines.
    monkeypatch.setattr(subnets, "taken", lambda runner, backend: [IPv4Network("192.168.56.0/21")])
    assert bed.hosts(asked).acquire({}).networks == first
    assert [network.cidr for network in first] == ["192.168.56.0/24", "192.168.57.0/24"]
    # Vagrant removes what failed to start: then nothing binds us.
    for file in (bed.directory / "vagrant" / ".vagrant").rglob("id"):
        file.unlink()
    assert [network.cidr for network in bed.hosts(asked).acquire({}).networks] == ["192.168.64.0/24", "192.168.65.0/24"]


def test_deployments_do_not_choose_what_another_one_chose(tmp_path: Path) -> None:
    claims = subnets.Claims(directory=tmp_path / "cache" / "vagrant")
    one, two = tmp_path / "one", tmp_path / "two"
    assert claims.others(one) == []
    one.mkdir()
    claims.add("1", one, ["192.168.56.0/24", "192.168.57.0/24"])
    assert claims.others(one) == []
    assert claims.others(two) == [IPv4Network("192.168.56.0/24"), IPv4Network("192.168.57.0/24")]
    one.rmdir()
    assert claims.others(two) == [], "its directory was removed by hand"
    claims.remove("1")
    claims.remove("1")


# Prerequisites


@pytest.fixture
def ready(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> Bed:
    """A machine that lacks nothing."""
    monkeypatch.setattr(prerequisites, "_libvirt", list)
    monkeypatch.setattr(prerequisites, "_virtualbox", list)
    monkeypatch.setattr(prerequisites, "_meminfo", lambda key: 64_000)
    return bed


def test_a_machine_that_has_all_lacks_nothing(ready: Bed) -> None:
    assert ready.hosts().problems() == []
    ready.hosts().prepare()


def test_the_plugin_for_libvirt_is_needed(ready: Bed) -> None:
    ready.vagrant.order("no-plugin")
    (problem,) = ready.hosts().problems()
    assert "vagrant plugin install vagrant-libvirt" in problem
    assert ready.hosts(configuration({"backend": "virtualbox"})).problems() == []
    with pytest.raises(PrerequisiteError, match="vagrant plugin install vagrant-libvirt"):
        ready.hosts().prepare()


def test_a_box_that_is_not_here_is_told(ready: Bed) -> None:
    ready.hosts(configuration({"box": "other/box"})).problems()
    assert (
        "the box other/box is not on this machine: `deploy` fetches it from Vagrant's public catalogue" in ready.notes
    )


def test_memory_that_this_machine_does_not_have(ready: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites, "_meminfo", lambda key: 8000)
    (problem,) = ready.hosts().problems()
    assert "ask for 8048 MB of memory, and this machine has 8000 MB" in problem


def test_vagrant_itself_is_needed(ready: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert [problem.split(" is missing")[0] for problem in ready.hosts().problems()] == ["vagrant", "setpriv", "flock"]


def test_libvirt_that_does_not_run(bed: Bed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(prerequisites, "SOCKETS", (tmp_path / "libvirt-sock",))
    monkeypatch.delenv("LIBVIRT_DEFAULT_URI", raising=False)
    (problem,) = bed.hosts().problems()
    assert "libvirt does not run" in problem
    assert "systemctl start libvirtd" in problem


def test_virtualbox_that_is_not_there(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None if name == "VBoxManage" else f"/bin/{name}")
    (problem,) = bed.hosts(configuration({"backend": "virtualbox"})).problems()
    assert "VBoxManage" in problem


# Messages, as vagrant and what stands behind it write them


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("The box 'no/such' could not be found or\ncould not be accessed in the remote catalog.", "vagrant box add"),
        ("The box you're attempting to add doesn't support the provider\nyou requested.", "another vagrant.box"),
        ("Couldn't resolve host 'vagrantcloud.com'", "http_proxy"),
        (
            "VBoxManage: error: VT-x is disabled in the BIOS for all CPU modes (VERR_VMX_MSR_ALL_VMX_DISABLED)",
            "firmware",
        ),
        ("Call to virDomainCreateWithFlags failed: Could not access KVM kernel module: No such file", "lv.driver"),
        (
            "Error while connecting to Libvirt: Error making a connection to libvirt URI qemu:///system:\n"
            "Call to virConnectOpen failed: Failed to connect socket to '/run/libvirt/libvirt-sock': Permission denied",
            "group libvirt",
        ),
        ("Address: 192.168.40.2\n  Ranges: 192.168.56.0/21\n", "networks.conf"),
        (
            "The specified host network collides with a non-hostonly network!\n"
            "This will cause your specified IP to be inaccessible.",
            "networks.*.cidr",
        ),
        (
            "Vagrant cannot forward the specified ports on this VM, since they\nwould collide with another application",
            "port",
        ),
        (
            "Call to virDomainDefineXML failed: invalid argument: could not find capabilities for domaintype=kvm",
            "lv.driver",
        ),
        (
            "Call to virDomainCreate failed: internal error: process exited while connecting to monitor:\n"
            "qemu-system-x86_64: -accel kvm: failed to initialize kvm: Device or resource busy",
            "lv.driver",
        ),
        (
            "Call to virDomainCreateWithFlags failed: internal error: qemu unexpectedly closed the monitor: "
            "qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69",
            "lv.driver",
        ),
        ("Timed out while waiting for the machine to boot. This means that", "boot_timeout"),
        (
            "An action 'up' was attempted on the machine 'x',\nbut another process is already executing an action",
            "wait",
        ),
        ("Name `enos_crdb-1-db` of domain about to create is already taken. Please try", "name_prefix"),
        ("Error while creating a storage pool volume: cannot write: No space left on device", "full"),
        ("There is a syntax error in the following Vagrantfile. The syntax error", "config_extra"),
    ],
)
def test_an_error_has_a_remedy(said: str, remedy: str) -> None:
    assert remedy in explanations.explain(f"==> database-1: Starting domain.\n{said}\n")


def test_an_unknown_error_is_shown_as_it_is() -> None:
    assert explanations.explain("something odd happened") == ""
    ruby = "/usr/share/vagrant-2.3.4/lib/vagrant/action/warden.rb:48:in `call'\n\tfrom <internal:kernel>:90:in `tap'"
    assert explanations.tail(f"one\n\n  two  \n{ruby}\n") == "  one\n    two"


# Configuration


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"machines": [{"roles": ["database", "keystone", "rally"], "cpus": 1.5}]}, "machines.0.cpus: 1.5 cores"),
        ({"networks": {"control": {"cidr": "192.168.58.0/28"}}}, "networks.control.cidr: .* netmask of a /24"),
        ({"vagrant": {"backend": "virtualbox"}, "networks": {"database": {"cidr": "10.2.0.0/24"}}}, "192.168.56.0/21"),
        ({"vagrant": {"box": 'a"; system("true")'}}, "vagrant.box"),
        ({"vagrant": {"box_url": "a\nb"}}, "vagrant.box_url: line breaks"),
        ({"vagrant": {"memory": 3}}, "vagrant"),
    ],
)
def test_what_cannot_be_is_refused(more: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        configuration(**more)
