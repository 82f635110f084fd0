"""The Ansible role `cockroachdb` on real hosts, with a stand-in for the executable in front of PostgreSQL.

Units, certificates, order, idempotence, health and collection are real; the database is not, and no report is made.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from tests.doubles.standin import DISTRIBUTION, MADE_UP
from tests.doubles.standin.build import build
from tests.integration.engine import ArgvWatch, Engine, mark_of, traces
from tests.integration.machines import skip_without_hosts
from tests.integration.runs import ITERATIONS, SCENARIOS, bench, no_secret_outside_its_file
from tests.integration.standin import INSTALL

pytestmark = [pytest.mark.nspawn, pytest.mark.deep]

FILE = "configs/local-cockroachdb.yaml"
RUN = SCENARIOS[1:2]
NODES = ("database-1", "database-2", "database-3")
CERTIFICATES = "/etc/cockroach/certs"
EXPORTED = ("settings", "zones", "ranges", "nodes", "statements", "transactions", "contention")
FAR_OFF = "7F7F0101,127.127.1.1,10,1795340098.0,{offset},{offset},0.0,0.0,0.0,0.0,0.0,0.0,0.0,Normal"
"""What `chronyc -c tracking` prints of a clock that is `offset` seconds off."""


class Deployed:
    """Options of one deployment with the stand-in."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self.engine = engine
        directory.mkdir(exist_ok=True)
        binary = build(directory / "cockroach")
        self.options = ("--env", FILE, "--set", f"database.binary={binary}")

    def deploy(self, *more: str, status: int = 0) -> str:
        return self.engine.run("deploy", *self.options, *more, status=status, timeout_s=1800).output

    def until_installed(self) -> None:
        """What is installed, plus PostgreSQL below the stand-in."""
        for step in ("machine", "layers", "hosts", "install"):
            self.deploy("--phase", step)
        self.engine.on(NODES[0], " && ".join(INSTALL))

    def nodes(self, host: str = NODES[0]) -> list[dict[str, str]]:
        address = address_of(self.engine, host)
        login = f"--certs-dir={CERTIFICATES} --host={address}:26257"
        return list(csv.DictReader(io.StringIO(self.engine.on(host, f"cockroach node status {login} --format=csv"))))

    def sql(self, host: str, statement: str, user: str = "root", database: str = "keystone", status: int = 0) -> str:
        login = f"--certs-dir={CERTIFICATES} --host={address_of(self.engine, host)}:26257 --user={user}"
        command = f'cockroach sql {login} --database={database} --format=csv --execute="{statement}"'
        return self.engine.on(host, command, status=status)


def address_of(engine: Engine, host: str) -> str:
    entry = next(entry for entry in engine.state["resources"]["hosts"] if entry["name"] == host)
    return str(entry["addresses"]["database"])


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Three nodes with the stand-in, deployed and benched once, for the tests of this file."""

    deployed: Deployed
    engine: Engine
    seen: frozenset[str]
    """Secrets in the arguments of any process meanwhile."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    skip_without_hosts()
    place = Path(tempfile.mkdtemp(prefix="enos_crdb-standin-", dir="/var/tmp"))
    engine = Engine(place / "results")
    deployed = Deployed(engine, place / "binary")
    with ArgvWatch(engine) as watch:
        deployed.until_installed()
        deployed.deploy()
        bench(engine, scenarios=RUN, status=7)  # it is measured and collected, then refused
    directory, mark = engine.directory, mark_of(engine.directory)
    assert mark is not None
    try:
        yield Cluster(deployed=deployed, engine=engine, seen=frozenset(watch.seen))
        engine.forget_logs()
        deployed.deploy()
        assert engine.changed() == {}, "a second deployment changes nothing, whatever tests did meanwhile"
        nothing_stays_on_hosts_that_are_kept(engine)
    finally:
        engine.run("destroy")
    assert traces(directory, mark) == []
    shutil.rmtree(place)


def test_three_nodes(cluster: Cluster) -> None:
    engine = cluster.engine
    assert cluster.seen == set(), "no secret in the arguments of any process"
    the_cluster_is_as_asked(cluster.deployed)
    keys_are_private(engine)
    the_run_is_complete(engine)
    no_secret_outside_its_file(engine.directory, engine.secrets)
    no_key_outside_its_file(engine.directory, engine.secrets)
    the_run_is_not_reported(engine)


def test_killed_nodes_come_back(cluster: Cluster) -> None:
    engine = cluster.engine
    a_killed_host_comes_back_as_the_same_node(cluster.deployed)
    everything_is_killed_and_comes_back(cluster.deployed)
    engine.run("openstack", "--", "project", "create", "demo")
    bench(engine, "--times", "1", "--concurrency", "1", scenarios=SCENARIOS[:1], status=7)
    assert "demo" not in engine.run("openstack", "--", "project", "list", "-f", "value", "-c", "Name").output


@pytest.mark.destructive
def test_what_goes_wrong_leaves_nothing_half_started(engine: Engine, tmp_path: Path) -> None:
    deployed = Deployed(engine, tmp_path / "binary")
    deployed.until_installed()
    what_goes_wrong_leaves_nothing_half_started(deployed)


def nothing_stays_on_hosts_that_are_kept(engine: Engine) -> None:
    engine.run("destroy", "--hosts", "keep")
    left = "ls -d /var/lib/cockroach /etc/cockroach /var/log/cockroach /etc/keystone/cockroachdb 2>/dev/null || true"
    for node in NODES:
        assert engine.on(node, left).strip() == ""
        assert "inactive" in engine.on(node, "systemctl is-active cockroach || true")


def what_goes_wrong_leaves_nothing_half_started(deployed: Deployed) -> None:
    """Before there is a cluster: a clock that is off, and a host the others cannot reach."""
    engine = deployed.engine
    fake = FAR_OFF.format(offset="1.500000000")
    engine.on(
        NODES[1], f"printf '#!/bin/sh\\necho {fake}\\n' > /usr/local/bin/chronyc && chmod +x /usr/local/bin/chronyc"
    )
    said = deployed.deploy("--phase", "database", status=5)
    assert NODES[1] in said
    assert "clock is off by up to 1500 ms" in said
    nothing_runs(engine)
    engine.on(NODES[1], "rm /usr/local/bin/chronyc")

    engine.local_hosts.cut_host(NODES[2], "database")
    said = deployed.deploy("--phase", "database", "--set", "database.join_timeout_s=20", status=5)
    assert f"{NODES[2]}" in said
    assert "did not join the cluster" in said
    nothing_runs(engine)
    engine.local_hosts.heal_host(NODES[2], "database")


def nothing_runs(engine: Engine) -> None:
    for node in NODES:
        assert "active" not in engine.on(node, "systemctl is-active cockroach || true").split()
        assert engine.on(node, "pgrep -f '[c]ockroach start|[p]ostgres -D' || true").strip() == ""


def the_cluster_is_as_asked(deployed: Deployed) -> None:
    nodes = deployed.nodes()
    assert sorted(node["id"] for node in nodes) == ["1", "2", "3"]
    assert {node["is_live"] for node in nodes} == {"true"}
    assert {node["locality"] for node in nodes} == {
        f"region={site},zone={name}" for site, name in zip(("paris", "nantes", "lyon"), NODES, strict=True)
    }
    engine = deployed.engine
    assert "active" in engine.on(NODES[0], "systemctl is-active cockroach").split()
    assert "serializable" in deployed.sql(NODES[2], "SHOW default_transaction_isolation", user="keystone")
    assert "assignment" in deployed.sql(NODES[1], "SHOW TABLES FROM keystone.public"), "db_sync ran through it"
    assert "28000" in deployed.sql(NODES[1], "SELECT 1", user="somebody", status=1) or "client.somebody" in (
        deployed.sql(NODES[1], "SELECT 1", user="somebody", status=1)
    )
    address = address_of(engine, NODES[1])
    plain = engine.on(NODES[0], f"cockroach sql --insecure --host={address}:26257 --execute='SELECT 1'", status=1)
    assert "SSL connection required" in plain
    listening = engine.on(NODES[1], "ss -Hltn")
    ports = [line.split()[3] for line in listening.splitlines() if line.split()[3].endswith((":26257", ":8080"))]
    assert set(ports) == {f"{address}:26257", f"{address}:8080"}


def keys_are_private(engine: Engine) -> None:
    for place, user in ((CERTIFICATES, "cockroach"), ("/etc/keystone/cockroachdb", "keystone")):
        for node in NODES:
            files = engine.on(node, f"stat --format='%a %U' {place}/*.key").split("\n")
            assert {line.strip() for line in files if line.strip()} == {f"600 {user}"}


def the_run_is_complete(engine: Engine) -> None:
    run = engine.run_directory()
    manifest = json.loads((run / "manifest.json").read_text())
    assert DISTRIBUTION in json.dumps(manifest["versions"]["database-1"]), "collected, and marked"
    samples = pd.read_csv(run / "samples.csv")
    iterations = samples[samples.metric == "iteration"]
    assert iterations.groupby("scenario").size().to_dict() == dict.fromkeys(RUN, ITERATIONS)
    assert set(samples.outcome) == {"ok"}
    for node in NODES:
        files = sorted((run / "hosts" / node / "counters").glob("*.json"))
        assert len(files) == len(RUN)
        for path in files:
            counted = json.loads(path.read_text())
            assert counted["after"]["sql_query_count"] >= counted["before"]["sql_query_count"] > 0
    exported = {path.name: path for path in run.glob("hosts/*/files/var/lib/enos_crdb/export/*")}
    assert {f"{name}.csv" for name in EXPORTED} | {"vars.prom"} <= set(exported)
    for problems in run.glob("hosts/*/files/var/lib/enos_crdb/export/problems.json"):
        assert json.loads(problems.read_text()) == []
    assert len(list(run.glob("hosts/*/files/var/log/cockroach/cockroach.log"))) == len(NODES)
    assert MADE_UP in exported["statements.csv"].read_text(), "nobody may take it for a measurement"
    assert DISTRIBUTION in exported["vars.prom"].read_text()


def no_key_outside_its_file(directory: Path, secrets: dict[str, str]) -> None:
    """A key's lines may be joined or escaped: look for one line of each."""
    named = {name: secret for name, secret in secrets.items() if name.startswith("cockroachdb_key_")}
    keys = {name: secret.splitlines()[5].encode() for name, secret in named.items()}
    assert len(keys) == len(("ca", "root", "keystone", *NODES))
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_relative_to(directory / "hosts") and path.name != "secrets.json":
            content = path.read_bytes()
            assert [name for name, line in keys.items() if line in content] == [], path


def the_run_is_not_reported(engine: Engine) -> None:
    said = engine.run("report", status=7).output
    assert "its database was no CockroachDB" in said
    assert DISTRIBUTION in said
    assert not list(engine.run_directory().glob("summary.csv"))


def a_killed_host_comes_back_as_the_same_node(deployed: Deployed) -> None:
    engine = deployed.engine
    lost = {node["locality"]: node["id"] for node in deployed.nodes()}
    engine.local_hosts.kill_host(NODES[2])
    token = "python3 -c 'import time; time.sleep(6)'; cockroach node status --format=csv"
    login = f"--certs-dir={CERTIFICATES} --host={address_of(engine, NODES[0])}:26257"
    live = {
        row["locality"]: row["is_live"] for row in csv.DictReader(io.StringIO(engine.on(NODES[0], f"{token} {login}")))
    }
    assert live == {f"region=paris,zone={NODES[0]}": "true", f"region=nantes,zone={NODES[1]}": "true"} | {
        f"region=lyon,zone={NODES[2]}": "false"
    }
    assert "admin" in deployed.sql(NODES[1], "SELECT name FROM local_user"), "two nodes of three go on"
    deployed.deploy()
    assert {node["locality"]: node["id"] for node in deployed.nodes(NODES[2])} == lost


def everything_is_killed_and_comes_back(deployed: Deployed) -> None:
    engine = deployed.engine
    for node in NODES:
        engine.on(node, "systemctl kill --signal=KILL cockroach; systemctl stop cockroach")
    deployed.deploy()
    assert {node["is_live"] for node in deployed.nodes()} == {"true"}
    assert "admin" in engine.run("openstack", "--", "user", "list", "-f", "value", "-c", "Name").output


@contextmanager
def mirror(directory: Path) -> Iterator[str]:
    """A mirror on this machine that hosts can reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no address that its containers could reach")
        address = probe.getsockname()[0]
    handler = partial(SimpleHTTPRequestHandler, directory=str(directory))
    with ThreadingHTTPServer((address, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{address}:{server.server_address[1]}"
        server.shutdown()


def test_a_binary_that_cannot_be_had(engine: Engine, tmp_path: Path) -> None:
    """Each is refused in its own words, before anything is installed, and nothing is left."""
    (tmp_path / "mirror").mkdir()
    (tmp_path / "empty").mkdir()
    for machine in ("amd64", "arm64"):
        (tmp_path / "mirror" / f"cockroach-v25.4.11.linux-{machine}.tgz").write_bytes(b"cut short")
    with mirror(tmp_path / "mirror") as torn, mirror(tmp_path / "empty") as empty:
        for source, more, words in (
            ("http://127.0.0.1:9", (), "cannot be downloaded"),
            (torn, ("--set", f"database.sha256={'f' * 64}"), "does not have the SHA-256 that database.sha256 asks for"),
            (empty, (), "There is no CockroachDB v25.4.11 for linux-"),
        ):
            options = ("--env", FILE, "--set", f"database.mirror={source}", *more)
            engine.run("deploy", *options, "--phase", "machine")
            said = engine.run("deploy", *options, "--phase", "layers", status=5).output
            assert words in said
            directory, mark = engine.directory, mark_of(engine.directory)
            engine.run("destroy")
            assert traces(directory, mark or str(directory)) == []


def test_a_local_binary_that_is_another_one(engine: Engine, tmp_path: Path) -> None:
    options = (*Deployed(engine, tmp_path / "binary").options, "--set", f"database.sha256={'f' * 64}")
    said = engine.run("deploy", *options, "--phase", "layers", status=2).output
    assert "has the SHA-256" in said
    assert "but database.sha256 says" in said
