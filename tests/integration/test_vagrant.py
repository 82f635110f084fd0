"""Virtual machines of Vagrant: containers play them for a stand-in of vagrant; and a real vagrant, where there is one.

EnOSlib and python-vagrant are real in both.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from enos_crdb.command import SubprocessRunner
from enos_crdb.config.vagrant import Vagrant
from enos_crdb.phases.context import cache_directory
from enos_crdb.providers.nspawn.image import image_name
from enos_crdb.providers.nspawn.layers import Cache
from enos_crdb.providers.vagrant import prerequisites
from tests.doubles.vagrant import FakeVagrant
from tests.integration.engine import ROOT, Engine, mark_of, traces
from tests.integration.machines import layer

pytestmark = [pytest.mark.nspawn, pytest.mark.deep, pytest.mark.destructive]

BENCH = ("--scenario", "keystone/authenticate-user-and-validate-token", "--times", "4", "--concurrency", "2")
BOX = "ENOS_CRDB_VAGRANT_BOX"


@pytest.fixture
def vagrant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeVagrant:
    """A stand-in whose machines are containers. They have the software where an earlier deployment left a layer.

    Ask for it before the engine, which needs it to destroy what a test left.
    """
    fake = FakeVagrant(tmp_path / "fake")
    fake.install()
    for name, value in fake.environment.items():
        monkeypatch.setenv(name, value)
    # No libvirt is looked for: nothing of it is needed.
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "test:///default")
    local, cache = ROOT / "configs" / "local.yaml", Cache(cache_directory())
    keys = {"database-1": layer(local, "database", "keystone"), "rally-1": layer(local, "rally")}
    known = {name: key for name, key in keys.items() if cache.layer(image_name("bookworm"), key).is_dir()}
    fake.order("layers", json.dumps(known))
    return fake


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The shipped deployment file, with little memory: containers do not have it."""
    document = yaml.safe_load((ROOT / "configs" / "vagrant.yaml").read_text())
    for group in document["machines"]:
        group["memory_mb"] = 512
    return write(tmp_path / "own.yaml", document)


def write(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_deployment_on_machines_of_vagrant(vagrant: FakeVagrant, engine: Engine, file: Path) -> None:
    engine.run("deploy", "--env", str(file))
    hosts = {host["name"]: host for host in engine.state["resources"]["hosts"]}
    assert {host["addresses"]["control"].rsplit(".", 1)[1] for host in hosts.values()} == {"245", "244"}
    assert hosts["database-1"]["system"]["codename"]
    assert engine.on("database-1", "hostname").strip() == "database-1"
    assert hosts["database-1"]["addresses"]["database"] in engine.on("database-1", "ss -Hltn sport = 5432")
    engine.run("bench", "keystone", *BENCH)
    assert engine.run_directory().joinpath("samples.csv").exists()
    assert hosts["rally-1"]["addresses"]["control"] in engine.run("info").output

    engine.forget_logs()
    vagrant.forget()
    engine.run("deploy", "--env", str(file))
    assert engine.changed() == {}, "a second deployment changes nothing"
    assert vagrant.argvs() == [["status", "--machine-readable"]]

    directory, mark = engine.directory, mark_of(engine.directory / "vagrant" / ".vagrant" / "containers")
    assert mark is not None
    assert traces(directory, mark), "the check for leftovers must be able to see what is there"
    engine.run("destroy")
    assert traces(directory, mark) == []
    left = {path.name for path in engine.directory.iterdir()}
    assert left == {".lock", "deployment.json", "secrets.json", "logs", "runs"}
    engine.run("destroy")


def test_a_deployment_goes_on_after_ctrl_c_and_after_a_machine_that_failed(
    vagrant: FakeVagrant, engine: Engine, file: Path
) -> None:
    vagrant.order("slow", "4")
    ended = engine.interrupt(("deploy", "--env", str(file)), at="database-1: Creating image", by=signal.SIGINT)
    assert ended.status == 130, ended.output
    assert (vagrant.directory / "cleaned-up").exists()

    vagrant.order("slow", None)
    vagrant.order(
        "fail", "rally-1\nTimed out while waiting for the machine to boot. This means that\nVagrant was unable"
    )
    failed = engine.run("deploy", "--env", str(file), status=4).output
    assert "vagrant could not bring the machines up" in failed
    assert "config.vm.boot_timeout" in failed

    vagrant.order("fail", None)
    engine.run("deploy", "--env", str(file))
    assert "admin" in engine.run("openstack", "--", "user", "list", "-f", "value", "-c", "Name").output
    directory, mark = engine.directory, mark_of(engine.directory / "vagrant" / ".vagrant" / "containers")
    assert mark is not None
    engine.interrupt(("destroy",), at="Giving the hosts back", by=signal.SIGKILL)
    engine.run("destroy")
    assert traces(directory, mark) == []


# A real vagrant


@pytest.fixture
def box() -> str:
    """A box that is on this machine, for libvirt, and a libvirt that runs."""
    name = os.environ.get(BOX)
    if not name:
        pytest.skip(f"${BOX} names no box")
    if not Path("/usr/bin/vagrant").exists():
        pytest.skip("/usr/bin/vagrant is not there")
    section = Vagrant(box=name)
    problems = prerequisites.problems(
        section, memory_mb=[1024, 1024], home=Path.home(), runner=SubprocessRunner(), notify=lambda _: None
    )
    if problems:
        pytest.skip("; ".join(problems))
    return name


def test_real_virtual_machines(engine: Engine, file: Path, box: str) -> None:
    document = yaml.safe_load(file.read_text())
    for group in document["machines"]:
        group.update(cpus=1, memory_mb=1024)
    document["vagrant"].update(box=box, config_extra="config.vm.boot_timeout = 900")
    write(file, document)
    engine.run("deploy", "--env", str(file), timeout_s=3600)
    assert "enos_crdb-" in domains()
    engine.run("bench", "keystone", *BENCH)
    engine.forget_logs()
    engine.run("deploy", "--env", str(file))
    assert engine.changed() == {}, "a second deployment changes nothing"
    engine.run("destroy")
    assert "enos_crdb-" not in domains()
    assert not (engine.directory / "vagrant").exists()


def domains() -> str:
    """Names of libvirt's machines; where virsh is not there, nothing is known."""
    if shutil.which("virsh") is None:
        pytest.skip("virsh is not there (Debian package libvirt-clients)")
    command = ["virsh", "--connect", "qemu:///system", "list", "--all", "--name"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
