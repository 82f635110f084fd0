"""The stand-in for ``cockroach``: what it answers, what it refuses, and that it always says what it is."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest

from enos_crdb import certificates
from tests.doubles.standin import DISTRIBUTION, MADE_UP, client, flags, variables, wire
from tests.doubles.standin.build import build
from tests.doubles.standin.members import LIVE_S, Members
from tests.doubles.standin.statements import Answer, Refusal, Rewritten, Session
from tests.doubles.standin.trust import CertificateError, Trust, Unreachable, connect

ABOUT = {"http": "h", "build": "v25.4.11", "started_at": "now"}


@pytest.fixture(scope="module")
def cockroach(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("binary") / "cockroach")


def run(*command: str | Path, status: int = 0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def certified(directory: Path, ca: certificates.Pair, *, name: str = "node", mode: int = 0o600) -> Path:
    """A directory with the certificates of a node on this machine and of root."""
    directory.mkdir()
    node = certificates.for_node(ca, ["localhost", "127.0.0.1"]) if name == "node" else certificates.for_user(ca, name)
    (directory / "ca.crt").write_text(ca.certificate)
    for file, pair in (("node", node), ("client.root", certificates.for_user(ca, "root"))):
        (directory / f"{file}.crt").write_text(pair.certificate)
        (directory / f"{file}.key").write_text(pair.key)
        (directory / f"{file}.key").chmod(mode)
    return directory


@pytest.fixture(scope="module")
def ca() -> certificates.Pair:
    return certificates.authority()


# --- the executable ---


def test_it_says_that_it_is_a_stand_in(cockroach: Path) -> None:
    said = dict(line.split(": ", 1) for line in run(cockroach, "version").splitlines())
    assert said["Build Tag"].strip() == "v25.4.11"
    assert said["Distribution"].strip() == DISTRIBUTION
    assert "not CockroachDB" in DISTRIBUTION
    assert run(cockroach, "version", "--build-tag") == "v25.4.11\n"


def test_two_builds_are_the_same_file(cockroach: Path, tmp_path: Path) -> None:
    assert build(tmp_path / "again").read_bytes() == cockroach.read_bytes()
    assert run(build(tmp_path / "older", "v24.3.1"), "version", "--build-tag") == "v24.3.1\n"


def test_a_flag_or_value_that_is_not_documented_is_refused(cockroach: Path) -> None:
    assert "--jion" in run(cockroach, "start", "--insecure", "--join=a", "--jion=b", status=1)
    assert "--cache" in run(cockroach, "start", "--insecure", "--join=a", "--cache=much", status=1)
    assert "--join" in run(cockroach, "start", "--insecure", status=1)
    assert "invalid choice" in run(cockroach, "dump", status=1)


def test_nobody_there(cockroach: Path) -> None:
    for command in (("init",), ("node", "status"), ("sql", "--execute=SELECT 1")):
        assert "cannot dial server" in run(cockroach, *command, "--insecure", "--host=127.0.0.1:9", status=1)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("type=mem", "size must be specified"),
        ("type=mem,size=1GiB,path=/x", "path specified"),
        ("path=/x,size=big", "store size"),
        ("path=/x,colour=red", "not a valid store field"),
    ],
)
def test_a_bad_store(spec: str, complaint: str) -> None:
    with pytest.raises(flags.BadFlag, match=complaint):
        flags.store(spec)
    assert flags.store("type=mem,size=640MiB")[1]
    assert flags.store("path=/var/lib/cockroach/data") == (Path("/var/lib/cockroach/data"), False)


# --- a node that waits for init ---


class Started:
    """``cockroach start`` on free ports, its readiness watched as systemd does."""

    def __init__(self, cockroach: Path, directory: Path, *trust: str) -> None:
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(directory / "notify"))
        self.notified.settimeout(20)
        self.sql, self.http = free_port(), free_port()
        self.process = subprocess.Popen(
            [
                cockroach, "start", *trust, "--join=127.0.0.1:9", f"--listen-addr=127.0.0.1:{self.sql}",
                f"--http-addr=127.0.0.1:{self.http}", "--locality=region=r1,zone=z1",
                f"--store=path={directory}/data", "--cache=64MiB", "--max-sql-memory=.25", "--max-offset=500ms",
            ],
            env={**os.environ, "NOTIFY_SOCKET": str(directory / "notify")},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def ready(self) -> bool:
        return self.notified.recv(100) == b"READY=1"

    def get(self, path: str, context: ssl.SSLContext | None = None) -> tuple[int, str]:
        url = f"{'https' if context else 'http'}://127.0.0.1:{self.http}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10, context=context) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    def end(self) -> int:
        self.process.terminate()
        status = self.process.wait(timeout=20)
        self.notified.close()
        return status


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def waiting(cockroach: Path, tmp_path: Path) -> Iterator[Started]:
    node = Started(cockroach, tmp_path, "--insecure")
    yield node
    node.end()


def test_a_node_is_ready_for_systemd_and_for_nobody_else_before_init(waiting: Started, cockroach: Path) -> None:
    assert waiting.ready()
    assert waiting.get("/health") == (200, "{}")
    status, why = waiting.get("/health?ready=1")
    assert (status, "node is waiting for cluster initialization" in why) == (503, True)
    host = f"--host=127.0.0.1:{waiting.sql}"
    assert "waiting for cluster init" in run(cockroach, "node", "status", "--insecure", host, status=1)
    waiting.process.send_signal(15)
    assert waiting.process.wait(timeout=20) == 0


def test_a_secure_node_talks_to_those_with_a_certificate_only(
    cockroach: Path, tmp_path: Path, ca: certificates.Pair
) -> None:
    ours = certified(tmp_path / "certs", ca)
    theirs = certified(tmp_path / "others", certificates.authority())
    node = Started(cockroach, tmp_path, f"--certs-dir={ours}")
    try:
        assert node.ready()
        host = f"--host=127.0.0.1:{node.sql}"
        with pytest.raises(URLError):
            node.get("/health", ssl.create_default_context())
        assert node.get("/health", ssl.create_default_context(cafile=ours / "ca.crt"))[0] == 200
        status = (cockroach, "node", "status", host)
        assert "waiting for cluster init" in run(*status, f"--certs-dir={ours}", status=1)
        assert "x509" in run(*status, f"--certs-dir={theirs}", status=1)
        plain = run(cockroach, "sql", "--insecure", host, "--execute=SELECT 1", status=1)
        assert "SSL connection required" in plain
    finally:
        node.end()


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


def test_tls_on_one_side_only_is_said(tmp_path: Path, ca: certificates.Pair) -> None:
    trust = Trust(certified(tmp_path / "certs", ca))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=lambda: listener.accept()[0].sendall(b"N"), daemon=True).start()
        with pytest.raises(Unreachable, match="SSL is not enabled"):
            connect(f"127.0.0.1:{listener.getsockname()[1]}", trust, "root")


# --- nodes ---


def test_nodes_get_ids_in_the_order_of_joining_and_keep_them(tmp_path: Path) -> None:
    members = Members(tmp_path / "cluster.json")
    members.found()
    for number in (1, 2, 3):
        assert members.join(None, {"address": f"a{number}", "locality": f"region=r{number}", **ABOUT}) == number
    again = Members(tmp_path / "cluster.json")
    assert again.cluster_id == members.cluster_id
    assert again.join(2, {"address": "a2", "locality": "region=r2", **ABOUT}) == 2
    assert [entry["id"] for entry in again.table()] == [1, 2, 3]


def test_live_nodes_replicas_and_quorum(tmp_path: Path) -> None:
    members = Members(tmp_path / "cluster.json")
    for number in (1, 2, 3):
        members.join(None, {"address": f"a{number}", "locality": "", **ABOUT})
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


# --- SQL ---


@pytest.fixture
def session(tmp_path: Path) -> Session:
    members = Members(tmp_path / "cluster.json")
    for number in (1, 2, 3):
        members.join(None, {"address": f"a{number}", "locality": f"region=r{number},zone=z", **ABOUT})
    there = {"'keystone'", "'root'"}

    def ask(sql: str, database: str = "defaultdb") -> list[list[str | None]]:
        return [["1"]] if any(name in sql for name in there) else []

    return Session(members=members, user="root", database="defaultdb", node=1, build="v25.4.11", ask=ask)


def value(session: Session, sql: str) -> str | None:
    answer = session.answer(sql)
    assert isinstance(answer, Answer), answer
    return answer.rows[0][-1]


def test_what_postgresql_can_is_left_to_it(session: Session) -> None:
    for sql in ("SELECT 1", "BEGIN", "INSERT INTO t VALUES (1)", "SET CLUSTER", "ALTER TABLE t ADD COLUMN x INT"):
        assert session.answer(sql) is None


def test_cluster_settings_are_kept_and_shown_as_cockroachdb_shows_them(session: Session) -> None:
    name = "diagnostics.reporting.enabled"
    assert value(session, f"SHOW CLUSTER SETTING {name}") == "t"
    session.answer(f"SET CLUSTER SETTING {name} = 'false'")
    assert value(session, f"SHOW CLUSTER SETTING {name}") == "f"
    session.answer("SET CLUSTER SETTING server.time_until_store_dead = '75s'")
    assert value(session, "SHOW CLUSTER SETTING server.time_until_store_dead") == "00:01:15"
    session.answer(f"RESET CLUSTER SETTING {name}")
    assert value(session, f"SHOW CLUSTER SETTING {name}") == "t"
    assert session.answer("SET CLUSTER SETTING no.such = 1") == Refusal("42704", "unknown cluster setting 'no.such'")
    assert isinstance(session.answer(f"SET CLUSTER SETTING {name} = 'perhaps'"), Refusal)
    session.user = "keystone"
    assert isinstance(session.answer(f"SET CLUSTER SETTING {name} = 'true'"), Refusal)


@pytest.mark.parametrize(
    ("kind", "given", "shown"),
    [("d", "1h30m", "01:30:00"), ("d", "250ms", "00:00:00.25"), ("d", "0s", "00:00:00"), ("i", "007", "7")],
)
def test_values_as_they_are_shown(kind: str, given: str, shown: str) -> None:
    assert variables.shown(kind, given) == shown


def test_zones(session: Session) -> None:
    asked = "num_replicas = 3, gc.ttlseconds = 600, lease_preferences = '[[+region=r1]]'"
    session.answer(f"ALTER DATABASE keystone CONFIGURE ZONE USING {asked}")
    shown = value(session, "SHOW ZONE CONFIGURATION FROM DATABASE keystone")
    assert shown is not None
    for line in asked.split(", "):
        assert f"\t{line}" in shown
    assert "gc.ttlseconds = 14400" in str(value(session, "SHOW ZONE CONFIGURATION FROM RANGE default"))
    nowhere = "ALTER DATABASE keystone CONFIGURE ZONE USING constraints = '{\"+region=mars\": 1}'"
    assert "matches no existing nodes" in str(session.answer(nowhere))
    assert "does not exist" in str(session.answer("ALTER DATABASE other CONFIGURE ZONE USING num_replicas = 3"))
    assert isinstance(session.answer("ALTER RANGE default CONFIGURE ZONE USING replicas = 3"), Refusal)


def test_regions(session: Session) -> None:
    for sql in ('SET PRIMARY REGION "r1"', 'ADD REGION "r2"'):
        assert isinstance(session.answer(f"ALTER DATABASE keystone {sql}"), Answer)
    assert "at least 3 regions" in str(session.answer("ALTER DATABASE keystone SURVIVE REGION FAILURE"))
    assert "does not exist" in str(session.answer('ALTER DATABASE keystone ADD REGION "mars"'))
    session.answer('ALTER DATABASE keystone ADD REGION "r3"')
    assert isinstance(session.answer("ALTER DATABASE keystone SURVIVE REGION FAILURE"), Answer)


def test_databases_and_users_are_made_once(session: Session) -> None:
    assert session.answer("CREATE DATABASE IF NOT EXISTS keystone") == Answer("CREATE DATABASE")
    assert session.answer("CREATE DATABASE IF NOT EXISTS new") == Rewritten('CREATE DATABASE "new"')
    assert session.answer("CREATE USER IF NOT EXISTS someone") == Rewritten('CREATE USER "someone"')


def test_what_has_no_data_behind_it_says_so(session: Session) -> None:
    answer = session.answer("SELECT * FROM crdb_internal.statement_statistics")
    assert isinstance(answer, Answer)
    assert MADE_UP in str(answer.rows)
    assert DISTRIBUTION in str(value(session, "SELECT version()"))
    assert "STAND-IN" in str(session.answer("BACKUP DATABASE keystone INTO 'nodelocal://1/x'"))


def test_internal_tables_must_be_asked_for_from_26_1_on(session: Session) -> None:
    sql = "SELECT * FROM crdb_internal.kv_node_status"
    assert isinstance(session.answer(sql), Answer)
    session.build = "v26.2.1"
    assert "restricted" in str(session.answer(sql))
    session.answer("SET allow_unsafe_internals = on")
    assert isinstance(session.answer(sql), Answer)


def test_statements_are_split_outside_of_quotes() -> None:
    assert client.split("BEGIN; SELECT ';'; COMMIT") == ["BEGIN", "SELECT ';'", "COMMIT"]


def test_rows_travel() -> None:
    cells = ["é", None, ""]
    assert wire.read_row(wire.row(cells)[5:]) == cells
    assert wire.read_columns(wire.columns(["a", "b"])[5:]) == ["a", "b"]
    result = client.Result(columns=["a", "b", "c"], rows=[cells])
    assert result.text("csv") == "a,b,c\né,NULL,\n"
