"""The stand-in for ``cockroach``: what it refuses, whom it lets in, and that it always says what it is.

What it grants is seen on hosts (tests/integration/test_standin.py) and by the checks of a real server
(tests/integration/test_cockroach_checks.py); its SQL is the wire double's.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from enos_crdb import certificates
from tests.doubles.cockroachdb_wire import Answer, Refusal, Version
from tests.doubles.standin import DISTRIBUTION, MADE_UP
from tests.doubles.standin.build import build
from tests.doubles.standin.cluster_statements import ClusterSession
from tests.doubles.standin.members import LIVE_S, Members
from tests.doubles.standin.trust import CertificateError, Trust
from tests.keystone.postgresql import free_port


@pytest.fixture(scope="module")
def cockroach(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("binary") / "cockroach")


def run(*command: str | Path, status: int = 0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_it_says_that_it_is_a_stand_in(cockroach: Path) -> None:
    said = dict(line.split(": ", 1) for line in run(cockroach, "version").splitlines())
    assert said["Build Tag"].strip() == "v25.4.11"
    assert said["Distribution"].strip() == DISTRIBUTION
    assert "not CockroachDB" in DISTRIBUTION


def test_a_flag_or_value_that_is_not_documented_is_refused(cockroach: Path) -> None:
    assert "--jion" in run(cockroach, "start", "--insecure", "--join=a", "--jion=b", status=1)
    assert "--cache" in run(cockroach, "start", "--insecure", "--join=a", "--cache=much", status=1)
    assert "--join" in run(cockroach, "start", "--insecure", status=1)
    assert "size must be" in run(cockroach, "start", "--insecure", "--join=a", "--store=type=mem", status=1)
    assert "invalid choice" in run(cockroach, "dump", status=1)


# Certificates


def certified(directory: Path, ca: certificates.Pair, *, name: str = "node", mode: int = 0o600) -> Path:
    """A directory with certificates of a node on this machine, of root, and root's as if it were somebody's."""
    directory.mkdir()
    node = certificates.for_node(ca, ["localhost", "127.0.0.1"]) if name == "node" else certificates.for_user(ca, name)
    root = certificates.for_user(ca, "root")
    (directory / "ca.crt").write_text(ca.certificate)
    for file, pair in (("node", node), ("client.root", root), ("client.somebody", root)):
        (directory / f"{file}.crt").write_text(pair.certificate)
        (directory / f"{file}.key").write_text(pair.key)
        (directory / f"{file}.key").chmod(mode)
    return directory


@pytest.fixture(scope="module")
def ca() -> certificates.Pair:
    return certificates.authority()


@pytest.fixture
def secure(cockroach: Path, ca: certificates.Pair, tmp_path: Path) -> Iterator[str]:
    """The address of a node that waits for `init`; its certificates are in ``certs``."""
    certs, address = certified(tmp_path / "certs", ca), f"127.0.0.1:{free_port()}"
    command = [str(cockroach), "start", f"--certs-dir={certs}", "--join=127.0.0.1:9", f"--store=path={tmp_path}/data"]
    command += [f"--listen-addr={address}", f"--http-addr=127.0.0.1:{free_port()}"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(60)
        with subprocess.Popen(command, env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}) as node:
            try:
                assert notified.recv(100) == b"READY=1"
                yield address
            finally:
                node.terminate()


def test_a_secure_node_talks_to_those_with_a_certificate_only(secure: str, cockroach: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "certs", certified(tmp_path / "others", certificates.authority())
    status = (cockroach, "node", "status", f"--host={secure}")
    assert "waiting for cluster init" in run(*status, f"--certs-dir={ours}", status=1)
    assert "x509" in run(*status, f"--certs-dir={theirs}", status=1)
    sql = (cockroach, "sql", f"--host={secure}", "--execute=SELECT 1")
    assert "SSL connection required" in run(*sql, "--insecure", status=1)
    stranger = run(*sql, f"--certs-dir={ours}", "--user=somebody", status=1)
    assert 'certificate authentication failed for user "somebody"\nSQLSTATE: 28000' in stranger


@pytest.mark.parametrize(
    ("name", "mode", "complaint"),
    [("node", 0o644, "permissions -rw-r--r--, exceeds -rwx"), ("keystone", 0o600, "node.crt")],
    ids=["key others can read", "certificate of somebody else"],
)
def test_a_node_refuses_its_own_bad_certificate(
    tmp_path: Path, ca: certificates.Pair, name: str, mode: int, complaint: str
) -> None:
    with pytest.raises(CertificateError, match=complaint):
        Trust(certified(tmp_path / "certs", ca, name=name, mode=mode)).check_node()


def test_a_node_refuses_a_certificate_of_another_authority(tmp_path: Path, ca: certificates.Pair) -> None:
    directory = certified(tmp_path / "certs", ca)
    Trust(directory).check_node()
    (directory / "ca.crt").write_text(certificates.authority().certificate)
    with pytest.raises(CertificateError, match=r"node\.crt"):
        Trust(directory).check_node()
    (directory / "node.key").unlink()
    with pytest.raises(CertificateError, match=r"node\.key: not found"):
        Trust(directory).check_node()


# The cluster


@pytest.fixture
def members(tmp_path: Path) -> Members:
    found = Members(tmp_path / "cluster.json")
    for number in (1, 2, 3):
        about = {"address": f"a{number}", "http": "h", "build": "v25.4.11", "started_at": "now"}
        found.join(None, {**about, "locality": f"region=r{number},zone=z"})
    return found


def test_live_nodes_replicas_and_quorum(members: Members) -> None:
    assert members.under_replicated() > 0, "ranges spread for a moment after a node came"
    for member in members.members.values():
        member.came_s -= 10
    assert members.under_replicated() == 0
    members.members[3].heard_s = time.monotonic() - LIVE_S - 1
    assert [entry["live"] for entry in members.table()] == [True, True, False]
    assert members.under_replicated() > 0
    assert members.unavailable() == 0
    members.forget(2)
    assert members.unavailable() > 0


@pytest.fixture
def session(members: Members) -> ClusterSession:
    def ask(sql: str, database: str = "defaultdb") -> list[list[str | None]]:
        return [["1"]] if "'keystone'" in sql else []

    version = Version(25, 4, 11)
    return ClusterSession(members=members, user="root", database="defaultdb", node=1, version=version, ask=ask)


@pytest.mark.parametrize(
    ("sql", "refusal"),
    [
        ("SET CLUSTER SETTING no.such = 1", "unknown cluster setting 'no.such'"),
        ("SET CLUSTER SETTING diagnostics.reporting.enabled = 'perhaps'", "could not parse 'perhaps' as type bool"),
        (
            "ALTER DATABASE keystone CONFIGURE ZONE USING constraints = '{\"+region=mars\": 1}'",
            "matches no existing nodes",
        ),
        ("ALTER DATABASE other CONFIGURE ZONE USING num_replicas = 3", "does not exist"),
        ("ALTER RANGE default CONFIGURE ZONE USING replicas = 3", "unsupported zone config parameter"),
        ('ALTER DATABASE keystone ADD REGION "mars"', "does not exist"),
        ("ALTER DATABASE keystone SURVIVE REGION FAILURE", "must have associated regions"),
        ("BACKUP DATABASE keystone INTO 'nodelocal://1/x'", "STAND-IN"),
    ],
)
def test_what_the_cluster_does_not_have_is_refused(session: ClusterSession, sql: str, refusal: str) -> None:
    found = session.answer(sql)
    assert isinstance(found, Refusal)
    assert refusal in found.message


def test_only_root_sets_cluster_settings(session: ClusterSession) -> None:
    sql = "SET CLUSTER SETTING diagnostics.reporting.enabled = 'true'"
    assert isinstance(session.answer(sql), Answer)
    session.user = "keystone"
    assert isinstance(session.answer(sql), Refusal)


def test_internal_tables_are_made_up_and_must_be_asked_for_from_26_1_on(session: ClusterSession) -> None:
    sql = "SELECT * FROM crdb_internal.kv_node_status"
    assert session.answer(sql) == Answer("SELECT 1", ("stand_in",), [[MADE_UP]])
    session.version = Version(26, 2, 1)
    assert "restricted" in str(session.answer(sql))
    session.answer("SET allow_unsafe_internals = on")
    assert isinstance(session.answer(sql), Answer)
