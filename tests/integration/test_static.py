"""Machines that are there already: containers play them, and enos_crdb knows nothing of containers."""

from __future__ import annotations

import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from enos_crdb import wheelhouse
from enos_crdb.phases.context import cache_directory
from tests.integration.engine import ROOT, Engine
from tests.integration.machines import Machines, boot, layer, layers_of, skip_without_hosts

pytestmark = pytest.mark.nspawn

MARKER = "/etc/enos_crdb-deployment"
BENCH = ("--scenario", "keystone/authenticate-user-and-validate-token", "--times", "4", "--concurrency", "2")


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """Two machines that have the software already: installing it is not what is tested here."""
    skip_without_hosts()
    directory = Path(tempfile.mkdtemp(prefix="enos_crdb-static-", dir="/var/tmp"))
    installed = layers_of("configs/local.yaml", directory)
    made = boot(directory, {"one": installed["database-1"], "two": installed["rally-1"]})
    # What packages make of themselves, and a layer therefore has.
    made.on("one", "pg_dropcluster 15 main; systemctl disable --now memcached; true")
    yield made
    made.provider.destroy()
    shutil.rmtree(directory)


@pytest.fixture
def file(tmp_path: Path, machines: Machines) -> Path:
    """A deployment file for the two machines, as the shipped one says it."""
    document = yaml.safe_load((ROOT / "configs" / "static.yaml").read_text())
    document["static"] = {"keyfile": machines.keyfile, "hosts": machines.files(["one", "two"])}
    return write(tmp_path / "own.yaml", document)


def write(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


def change(path: Path, **sections: Any) -> Path:
    """The same deployment file with other sections; those under ``static`` are merged."""
    document = yaml.safe_load(path.read_text())
    for name, value in sections.items():
        document[name] = {**document[name], **value} if name == "static" else value
    return write(path.with_name("changed.yaml"), document)


def test_a_deployment_on_machines_that_are_there(engine: Engine, file: Path, machines: Machines) -> None:
    engine.run("deploy", "--env", str(file))
    assert '"name": "static"' in machines.on("one", f"cat {MARKER}")
    shown = engine.run("info").output
    assert machines.hosts["one"].address in shown
    assert engine.on("rally-1", "hostname").strip() == "two"
    assert "admin" in engine.run("openstack", "--", "user", "list", "-f", "value", "-c", "Name").output

    engine.forget_logs()
    engine.run("deploy", "--env", str(file))
    assert engine.changed() == {}, "a second deployment changes nothing"

    other = Engine(engine.results.with_name("other"))
    refused = other.run("deploy", "--env", str(file), status=4).output
    assert f"database-1 serves deployment 'static' ({engine.directory}" in refused
    other.run("destroy")
    assert engine.run("openstack", "--", "token", "issue").output, "the refused one took nothing away"

    engine.run("destroy")
    for name in ("one", "two"):
        assert machines.on(name, f"ls {MARKER} 2>&1", check=False).endswith("No such file or directory")
        assert machines.listening(name) == ""
        assert machines.on(name, "systemctl --failed --no-legend") == ""
        assert machines.on(name, "ls /etc/keystone /var/lib/rally 2>/dev/null", check=False) == ""
    left = {path.name for path in engine.directory.iterdir()}
    assert left == {".lock", "deployment.json", "secrets.json", "logs", "runs"}
    engine.run("destroy")


@pytest.mark.deep
def test_a_user_who_may_use_sudo_and_a_network_for_the_database(engine: Engine, file: Path, machines: Machines) -> None:
    for name in ("one", "two"):
        machines.add_user(name, "researcher", sudo=True)
    cidr = machines.provider.acquire().networks[1].cidr
    own = change(file, static={"user": "researcher"}, networks={"database": {"cidr": cidr}})
    engine.run("deploy", "--env", str(own))
    hosts = {host["name"]: host for host in engine.state["resources"]["hosts"]}
    assert hosts["database-1"]["addresses"] == machines.hosts["one"].addresses
    assert engine.on("database-1", "id --user --name").strip() == "root"
    assert machines.hosts["one"].addresses["database"] in engine.on("database-1", "ss -Hltn sport = 5432")
    engine.forget_logs()
    engine.run("deploy", "--env", str(own))
    assert engine.changed() == {}, "nor where this one made the database's files, because an earlier one took them away"
    engine.run("bench", "keystone", *BENCH)
    assert "admin" in engine.run("openstack", "--", "user", "list", "-f", "value", "-c", "Name").output
    engine.run("destroy")
    assert machines.listening("one") == ""


@pytest.mark.deep
def test_machines_that_cannot_be_used_are_told_before_anything_is_done(
    engine: Engine, file: Path, machines: Machines
) -> None:
    machines.add_user("one", "guest", sudo=False)
    address = {name: machines.hosts[name].address for name in ("one", "two")}
    for hosts, said in (
        ([{"address": address["one"], "user": "guest"}, {"address": address["two"]}], "may not use sudo"),
        ([{"address": address["one"], "user": "nobody"}, {"address": address["two"]}], "does not accept the key"),
        ([{"address": address["one"], "port": 2}, {"address": address["two"]}], "nothing listens"),
        ([{"address": address["one"]}, {"address": "machine.invalid"}], "its name is not known"),
        ([{"address": address["one"]}, {"address": f"{address['one']}", "port": 22}], "same address"),
    ):
        own = change(file, static={"hosts": hosts})
        if said != "same address":
            assert said in engine.run("check", "--env", str(own), status=3).output
        assert said in engine.run("deploy", "--env", str(own), "--set", f"name=not-{len(said)}", status=4).output
        engine.run("destroy")
        assert machines.on("one", f"ls {MARKER}", check=False) == ""


@pytest.mark.deep
def test_a_database_of_somebody_else_is_left_alone(engine: Engine, file: Path, machines: Machines) -> None:
    machines.on("one", "mkdir -p /var/lib/postgresql/15/main && touch /var/lib/postgresql/15/main/precious")
    try:
        refused = engine.run("deploy", "--env", str(file), status=4).output
        assert "it has /var/lib/postgresql/15/main already" in refused
        engine.run("destroy")
        assert machines.on("one", "ls /var/lib/postgresql/15/main") == "precious"
    finally:
        machines.on("one", "rm -r /var/lib/postgresql/15")


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Machines]:
    """A machine that has this checkout and its Python, for enos_crdb to run on, instead of on the real one."""
    skip_without_hosts()
    base = Path(sys.base_prefix)
    if base == Path("/usr"):
        pytest.skip("this Python is the system's own, which a container cannot be given")
    seen = {path: str(path) for path in (base, Path(sys.prefix), ROOT)}
    key = layer(ROOT / "configs" / "local.yaml", "database", "keystone")
    made = boot(tmp_path / "laptop", {"laptop": key}, binds={**seen, cache_directory() / "wheelhouse": "/srv/wheels"})
    made.on("laptop", "pg_dropcluster 15 main; systemctl disable --now memcached; true")
    yield made
    made.provider.destroy()


@pytest.mark.deep
def test_this_machine_is_the_only_host(tmp_path: Path, laptop: Machines) -> None:
    document = yaml.safe_load((ROOT / "configs" / "static.yaml").read_text())
    machines = [{"roles": ["database", "keystone", "rally"]}]
    own = write(
        tmp_path / "own.yaml", {**document, "machines": machines, "static": {"hosts": [{"address": "localhost"}]}}
    )

    def run(*words: str) -> str:
        command = shlex.join([sys.executable, "-m", "enos_crdb", *words])
        return laptop.on(
            "laptop", f"cd {shlex.quote(str(ROOT))} && PYTHONPATH=. ENOS_CRDB_RESULTS=~/results {command} 2>&1"
        )

    wheels = [wheelhouse_of(lock) for lock in ("keystone-2026.1", "rally")]
    laptop.on("laptop", "mkdir -p ~/.cache/enos_crdb/wheelhouse")
    laptop.on("laptop", f"cd /srv/wheels && cp -r {' '.join(wheels)} ~/.cache/enos_crdb/wheelhouse/ || true")
    laptop.on("laptop", f"echo {shlex.quote(own.read_text())} > ~/own.yaml")
    run("check", "--env", "/root/own.yaml")
    run("deploy", "--env", "/root/own.yaml")
    assert laptop.on("laptop", "ss -Hltn | grep -v ':22 '").count("127.0.0.1:") >= 2
    assert "0.0.0.0:5" not in laptop.on("laptop", "ss -Hltn"), "it serves nobody but itself"
    run("bench", "keystone", *BENCH)
    assert "admin" in run("openstack", "--", "user", "list", "-f", "value", "-c", "Name")
    assert "laptop" in run("ssh", "database-1", "hostname")
    run("destroy")
    assert laptop.listening("laptop") == ""
    assert laptop.on("laptop", f"ls {MARKER} /etc/keystone 2>/dev/null", check=False) == ""


def wheelhouse_of(lock: str) -> str:
    """Name of the directory of a lock file's wheels for a machine with Debian 12."""
    return wheelhouse.location(
        ROOT / "playbooks" / "locks" / f"{lock}.txt",
        python_version="3.11",
        machine=platform.machine(),
        cache_dir=cache_directory(),
    ).name
