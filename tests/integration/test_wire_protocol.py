"""The wire double on a real PostgreSQL, without Keystone: what a client of it sees. Seconds."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from enos_crdb import certificates
from tests.doubles import cockroachdb_wire
from tests.doubles.cockroachdb_wire import Answer, Double, Faults, Refusal, Statement, Tls
from tests.doubles.cockroachdb_wire import messages as protocol
from tests.keystone import PostgreSQL, missing_postgresql

pytestmark = [
    pytest.mark.keystone,
    pytest.mark.skipif(missing_postgresql() is not None, reason=missing_postgresql() or ""),
]

MAKE = "CREATE TABLE t (id integer PRIMARY KEY, name text, CONSTRAINT uniq_t0name UNIQUE (name))"
READ = "SELECT n FROM generate_series(2, 2) AS n"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back for one query message."""

    status: str
    tag: str = ""
    rows: tuple[tuple[str | None, ...], ...] = ()
    error: dict[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def sqlstate(self) -> str:
        return self.error.get("C", "")


class Client:
    """A minimal client of the simple query protocol."""

    def __init__(self, address: tuple[str, int], *, database: str = "d", **parameters: str) -> None:
        self.wire = protocol.Wire(socket.create_connection(address, timeout=30))
        values = {"user": "postgres", "database": database, **parameters}
        self.wire.send(protocol.startup(protocol.PROTOCOL_3, protocol.encode_parameters(values)))
        self.parameters: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self._key = b""
        while (message := self.wire.read())[0] not in {b"Z", b"E"}:
            if message[0] == b"S":
                self.parameters |= protocol.parse_parameters(message[1])
            if message[0] == b"K":
                self._key = message[1]
        if message[0] == b"E":
            self.refused = protocol.parse_fields(message[1])
        self._address = address

    def __call__(self, sql: str) -> Reply:
        self.wire.send(protocol.query(sql))
        return self.reply()

    def reply(self) -> Reply:
        tag, rows, error, notices = "", list[tuple[str | None, ...]](), dict[str, str](), list[str]()
        while True:
            kind, body = self.wire.read()
            match kind:
                case b"C":
                    tag = body[:-1].decode()
                case b"D":
                    rows.append(tuple(protocol.parse_row(body)))
                case b"E":
                    error = protocol.parse_fields(body)
                case b"N":
                    notices.append(protocol.parse_fields(body)["M"])
                case b"Z":
                    return Reply(status=body.decode(), tag=tag, rows=tuple(rows), error=error, notices=tuple(notices))

    def cancel(self) -> None:
        """Ask, over another connection, to cancel what this one executes."""
        with socket.create_connection(self._address) as stream:
            stream.sendall(protocol.startup(protocol.CANCEL_REQUEST, self._key))


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    directory = Path(tempfile.mkdtemp(prefix="enos_crdb-wire-", dir="/var/tmp"))
    directory.chmod(0o755)
    with PostgreSQL(directory / "pg") as running:
        yield running
    shutil.rmtree(directory)


@pytest.fixture
def double(server: PostgreSQL) -> Iterator[Callable[..., Double]]:
    """Makes doubles in front of an empty database ``d``; ends them."""
    server.drop("d")
    server.create("d")
    started: list[Double] = []

    def make(version: str = "25.4.11", **options: Any) -> Double:
        started.append(Double(backend=server.address, version=version, **options).start())
        return started[-1]

    yield make
    for one in started:
        one.stop()


def test_it_announces_a_version_of_cockroachdb(double: Callable[..., Double]) -> None:
    client = Client(double("25.4.11").address)
    assert client("select pg_catalog.version()").rows[0][0] is not None
    assert "CockroachDB CCL v25.4.11 " in (client("select version()").rows[0][0] or "")
    assert client.parameters["server_version"] == "13.0.0"
    assert "v25.4.11" in client.parameters["crdb_version"]
    assert client("SHOW transaction_isolation").rows == (("serializable",),)


def test_the_database_is_reached_through_a_unix_socket(server: PostgreSQL, double: Callable[..., Double]) -> None:
    double()
    path = str(server.sockets / f".s.PGSQL.{server.port}")
    with Double(backend=path, version="25.4.11") as other:
        assert Client(other.address)("SELECT 2").rows == (("2",),)


def test_a_unique_constraint_is_dropped_as_an_index_before_26_2(double: Callable[..., Double]) -> None:
    old, new = Client(double("25.4.11").address), Client(double("26.2.1").address)
    assert old(MAKE).tag == "CREATE TABLE"
    refused = old("ALTER TABLE t DROP CONSTRAINT uniq_t0name")
    assert (refused.sqlstate, refused.status) == ("0A000", "I")
    assert old("DROP INDEX t@uniq_t0name").sqlstate == "2BP01"
    assert old("DROP INDEX t@uniq_t0name CASCADE").sqlstate == ""
    assert old("INSERT INTO t VALUES (1, 'a'), (2, 'a')").tag == "INSERT 0 2"
    assert old("DROP TABLE t").tag == "DROP TABLE"
    new(MAKE)
    assert new("ALTER TABLE t DROP CONSTRAINT uniq_t0name").sqlstate == ""


def test_a_refusal_fails_the_transaction(double: Callable[..., Double]) -> None:
    one = double()
    client = Client(one.address)
    client(MAKE)
    client("BEGIN")
    assert client("SET CONSTRAINTS ALL DEFERRED").status == "E"
    assert client("SELECT 1").sqlstate == "25P02"
    assert client("COMMIT").tag == "ROLLBACK"
    assert one.statistics["refused"] == {"set-constraints": 1}


def test_schema_changes_commit_what_precedes_them_from_25_1_on(double: Callable[..., Double]) -> None:
    new, old = Client(double("25.1.0").address), Client(double("24.3.0").address)
    new(MAKE)
    for client, kept in ((new, "1"), (old, "0")):
        client("DELETE FROM t")
        client("BEGIN")
        client("INSERT INTO t VALUES (1, 'a')")
        changed = client(f"CREATE TABLE u{kept} (id integer)")
        assert changed.tag == "CREATE TABLE"
        assert changed.status == ("I" if client is new else "T")
        ended = client("ROLLBACK")
        assert ended.sqlstate == ""
        assert client("SELECT count(*) FROM t").rows == ((kept,),)
    assert new("BEGIN").status == "T"
    assert "auto-committing" in new("CREATE TABLE v (id integer)").notices[0]
    assert new("COMMIT").notices == ("there is no transaction in progress",)


def test_autocommit_before_ddl_can_be_set(double: Callable[..., Double]) -> None:
    one = double("25.4.11")
    client = Client(one.address)
    assert client("SHOW autocommit_before_ddl").rows == (("on",),)
    assert client("SET autocommit_before_ddl = off").tag == "SET"
    assert client("SHOW autocommit_before_ddl").rows == (("off",),)
    client("BEGIN")
    assert client("CREATE TABLE a (id integer)").status == "T"
    client("ROLLBACK")
    assert client("ALTER ROLE postgres SET autocommit_before_ddl = off").tag == "ALTER ROLE"
    assert Client(one.address)("SHOW autocommit_before_ddl").rows == (("off",),)
    assert client("ALTER ROLE postgres RESET autocommit_before_ddl").tag == "ALTER ROLE"
    assert Client(one.address)("SHOW autocommit_before_ddl").rows == (("on",),)
    assert Client(one.address, options="-c autocommit_before_ddl=off")("SHOW autocommit_before_ddl").rows == (("off",),)
    assert Client(double("23.2.30").address, options="-c autocommit_before_ddl=off").refused["C"] == "42704"
    assert client("SET no_such_variable = 1").sqlstate == "42704"


def test_no_schema_change_in_a_read_committed_transaction(double: Callable[..., Double]) -> None:
    client = Client(double("24.3.0").address)
    client("BEGIN ISOLATION LEVEL READ COMMITTED")
    assert client("CREATE TABLE a (id integer)").sqlstate == "0A000"


def test_isolation_levels_are_those_of_the_version(double: Callable[..., Double]) -> None:
    for version, level in (("23.2.30", "serializable"), ("24.1.0", "read committed")):
        client = Client(double(version).address, options="-c default_transaction_isolation=read\\ committed")
        assert client("SHOW transaction_isolation").rows == ((level,),)
        client("BEGIN ISOLATION LEVEL READ COMMITTED")
        assert client("SHOW transaction_isolation").rows == ((level,),)


def test_errors_look_like_cockroachdbs(double: Callable[..., Double]) -> None:
    client = Client(double().address)
    client(MAKE)
    client(
        "CREATE TABLE u (id integer PRIMARY KEY, t_id integer, CONSTRAINT fk_t FOREIGN KEY (t_id) REFERENCES t (id))"
    )
    client("INSERT INTO t VALUES (1, 'a')")
    duplicate = client("INSERT INTO t VALUES (2, 'a')").error
    assert (duplicate["C"], duplicate["n"], duplicate["D"]) == (
        "23505",
        "uniq_t0name",
        "Key (name)=('a') already exists.",
    )
    assert "t" not in duplicate
    missing = client("INSERT INTO u VALUES (1, 7)").error
    assert missing["M"] == 'insert on table "u" violates foreign key constraint "fk_t"'


def faulty(**faults: Any) -> dict[str, Any]:
    return {"faults": Faults(**faults)}


@pytest.mark.parametrize("fault", ["retry_at_commit", "retry_at_write", "retry_at_read"])
def test_retry_errors_leave_nothing_behind(double: Callable[..., Double], fault: str) -> None:
    Client(double().address)(MAKE)
    one = double(**faulty(**{fault: 1}))
    client = Client(one.address)
    client("BEGIN")
    replies = [client("INSERT INTO t VALUES (1, 'a')"), client("SELECT * FROM t"), client("COMMIT")]
    failed = next(reply for reply in replies if reply.sqlstate)
    assert failed.sqlstate == "40001"
    assert failed.error["M"].startswith("restart transaction: ")
    assert replies[-1].status == "I"
    assert client("SELECT count(*) FROM t").rows == (("0",),)
    assert one.statistics["injected"] == {fault: 1}


def test_read_committed_is_spared_retry_errors(double: Callable[..., Double]) -> None:
    Client(double().address)(MAKE)
    for version, failures in (("25.4.11", 0), ("23.2.30", 1)):
        one = double(version, **faulty(retry_at_write=1))
        client = Client(one.address)
        client("BEGIN ISOLATION LEVEL READ COMMITTED")
        assert (client("INSERT INTO t VALUES (1, 'a')").sqlstate == "40001") == bool(failures)
        client("ROLLBACK")
        assert sum(one.statistics["injected"].values()) == failures
        assert sum(one.statistics["spared"].values()) == 1 - failures


@pytest.mark.parametrize(
    ("fault", "rows"),
    [("ambiguous_committed", "1"), ("ambiguous_lost", "0"), ("drop_committed", "1"), ("drop_lost", "0")],
)
def test_the_result_of_a_commit_can_be_ambiguous(double: Callable[..., Double], fault: str, rows: str) -> None:
    good = Client(double().address)
    good(MAKE)
    client = Client(double(**faulty(**{fault: 1})).address)
    client("BEGIN")
    client("INSERT INTO t VALUES (1, 'a')")
    if fault.startswith("drop"):
        with pytest.raises(protocol.ConnectionEnded):
            client("COMMIT")
    else:
        reply = client("COMMIT")
        assert (reply.sqlstate, reply.status) == ("40003", "I")
        assert reply.error["M"].startswith("result is ambiguous")
    assert good("SELECT count(*) FROM t").rows == ((rows,),)


def test_a_transaction_that_wrote_nothing_is_never_ambiguous(double: Callable[..., Double]) -> None:
    client = Client(double(**faulty(ambiguous_lost=1, retry_at_commit=1, drop_lost=1)).address)
    client("BEGIN")
    client("SELECT 2")
    assert client("COMMIT").tag == "COMMIT"


def test_connections_are_dropped_in_transactions_and_at_pings(double: Callable[..., Double]) -> None:
    client = Client(double(**faulty(drop_at_ping=1)).address)
    with pytest.raises(protocol.ConnectionEnded):
        client("SELECT 1")
    client = Client(double(**faulty(drop_in_transaction=1)).address)
    assert client(READ).rows == (("2",),)
    client("BEGIN")
    assert client("SELECT 2").rows == (("2",),)
    with pytest.raises(protocol.ConnectionEnded):
        client(READ)


def test_the_same_seed_fails_the_same_statements(double: Callable[..., Double]) -> None:
    def run(seed: int) -> list[str]:
        client = Client(double(**faulty(seed=seed, retry_at_read=0.3)).address)
        states = []
        for number in range(40):
            client("BEGIN")
            states.append(client(f"SELECT {number} FROM generate_series(1, 2)").sqlstate)
            client("ROLLBACK")
        return states

    assert run(5) == run(5)
    assert run(5) != run(6)


def test_a_backend_that_ends_is_told_apart_by_what_was_under_way(
    server: PostgreSQL, double: Callable[..., Double]
) -> None:
    one = double()
    Client(one.address)(MAKE)
    for last in ("COMMIT", "SELECT 2"):
        client = Client(one.address)
        client("BEGIN")
        client("INSERT INTO t VALUES (1, 'a')")
        pid = client("SELECT pg_backend_pid()").rows[0][0]
        server.sql(f"SELECT pg_terminate_backend({pid})")
        client.wire.send(protocol.query(last))
        kind, body = client.wire.read()
        assert kind == b"E"
        assert protocol.parse_fields(body)["C"] == "57P01"
        with pytest.raises(protocol.ConnectionEnded):
            client.wire.read()
    assert one.statistics["lost"] == {"elsewhere": 1, "in_commit": 1}


def test_a_statement_is_canceled(double: Callable[..., Double]) -> None:
    client = Client(double().address)
    timer = threading.Timer(0.3, client.cancel)
    timer.start()
    started = time.monotonic()
    assert client("SELECT pg_sleep(20)").error["M"] == "query execution canceled"
    assert time.monotonic() - started < 10
    timer.join()


def test_several_statements_in_one_message_are_judged_one_by_one(double: Callable[..., Double]) -> None:
    client = Client(double().address)
    client(MAKE)
    assert client("INSERT INTO t VALUES (1, 'a;b'); SELECT version()").rows == client("SELECT version()").rows
    assert client("INSERT INTO t VALUES (2, 'c'); SET CONSTRAINTS ALL DEFERRED").sqlstate == "0A000"
    assert client("SELECT count(*) FROM t").rows == (("1",),)
    assert client("").sqlstate == ""


def test_other_answers_can_be_given(double: Callable[..., Double]) -> None:
    def respond(statement: Statement, user: str, database: str) -> Answer | Refusal | None:
        if statement.words == "SHOW RANGES":
            return Answer(tag="SHOW 1", columns=("range_id", "user"), rows=(("7", user),))
        if statement.words == "BACKUP":
            return Refusal(rule="backup", sqlstate="0A000", message=database)
        return None

    client = Client(double(responder=respond).address)
    assert client("SHOW RANGES").rows == (("7", "postgres"),)
    assert client("BACKUP").error["M"] == "d"
    assert client("SELECT 2").rows == (("2",),)


def test_another_protocol_is_refused_in_words(double: Callable[..., Double]) -> None:
    client = Client(double().address)
    client.wire.send(protocol.message(b"P", b"\0SELECT 1\0\0\0"))
    kind, body = client.wire.read()
    assert kind == b"E"
    assert "simple query protocol" in protocol.parse_fields(body)["M"]


def test_the_log_tells_faults_and_refusals(double: Callable[..., Double], tmp_path: Path) -> None:
    one = double(log=tmp_path / "log", **faulty(retry_at_write=1))
    client = Client(one.address)
    client(MAKE)
    client("BEGIN")
    client("INSERT INTO t VALUES (1, 'a')")
    one.stop()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["session", "injected", "closed"]
    assert lines[1]["fault"] == "retry_at_write"
    assert lines[1]["sql"] == "INSERT INTO t VALUES (?)"


def test_stop_ends_connections_and_threads(double: Callable[..., Double]) -> None:
    one = double()
    client = Client(one.address)
    before = threading.active_count()
    one.stop()
    assert threading.active_count() <= before - 2
    with pytest.raises(protocol.ConnectionEnded):
        client("SELECT 2")
    with pytest.raises(ConnectionRefusedError):
        Client(one.address)


def test_it_runs_as_a_program(server: PostgreSQL, double: Callable[..., Double], tmp_path: Path) -> None:
    double()
    doubles = Path(cockroachdb_wire.__file__).parents[1]
    command = [sys.executable, "-m", "cockroachdb_wire", "--listen=127.0.0.1:0", "--version=25.4.11"]
    command += [f"--backend=127.0.0.1:{server.port}", "--retry-at-read=1", f"--statistics={tmp_path / 'statistics'}"]
    with subprocess.Popen(command, cwd=doubles, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        _, host, port = running.stdout.readline().split()
        client = Client((host, int(port)))
        client("BEGIN")
        assert client(READ).sqlstate == "40001"
        running.terminate()
        assert running.wait(timeout=30) == 0
    assert json.loads((tmp_path / "statistics").read_text())["injected"] == {"retry_at_read": 1}


# Encryption


@contextmanager
def secure(server: PostgreSQL, directory: Path) -> Iterator[Double]:
    """A double with certificates in `directory`, for user postgres."""
    ca = certificates.authority()
    pairs = {"node": certificates.for_node(ca, ["127.0.0.1", "localhost"])}
    pairs |= {user: certificates.for_user(ca, user) for user in ("postgres", "someone")}
    pairs["stranger"] = certificates.for_user(certificates.authority(), "postgres")
    (directory / "ca.crt").write_text(ca.certificate)
    for name, pair in pairs.items():
        (directory / f"{name}.crt").write_text(pair.certificate)
        (directory / f"{name}.key").write_text(pair.key)
        (directory / f"{name}.key").chmod(0o600)
    tls = Tls(certificate=directory / "node.crt", key=directory / "node.key", authority=directory / "ca.crt")
    with Double(backend=server.address, version="25.4.11", tls=tls) as running:
        yield running


def psql(double: Double, **options: str) -> subprocess.CompletedProcess[str]:
    text = " ".join(f"{name}={value}" for name, value in options.items())
    connection = f"host=127.0.0.1 port={double.address[1]} dbname=d user=postgres connect_timeout=20 {text}"
    command = ["psql", "--no-psqlrc", "--tuples-only", "--no-align", f"--dbname={connection}", "--command=SELECT 2"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(shutil.which("psql") is None, reason="psql is not on this machine")
def test_users_log_in_with_their_certificates(
    server: PostgreSQL, double: Callable[..., Double], tmp_path: Path
) -> None:
    double()
    with secure(server, tmp_path) as one:
        files = {"sslmode": "verify-full", "sslrootcert": str(tmp_path / "ca.crt")}

        def login(name: str) -> subprocess.CompletedProcess[str]:
            return psql(one, **files, sslcert=str(tmp_path / f"{name}.crt"), sslkey=str(tmp_path / f"{name}.key"))

        assert login("postgres").stdout == "2\n"
        assert "certificate authentication failed" in login("someone").stderr
        assert login("stranger").returncode != 0
        nothing = str(tmp_path / "nothing")
        assert "certificate authentication failed" in psql(one, **files, sslcert=nothing, sslkey=nothing).stderr
        assert "secure mode, SSL connection required" in psql(one, sslmode="disable").stderr
        assert one.statistics["refused"] == {"certificate": 2, "insecure-client": 1}
