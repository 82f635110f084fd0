"""The wire double on a real PostgreSQL: what it refuses, commits, fails and counts. Other tests rely on it. Seconds."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.cockroachdb_wire import Client, ConnectionEnded, Double, Faults, messages
from tests.keystone import PostgreSQL, missing_postgresql

pytestmark = [
    pytest.mark.keystone,
    pytest.mark.skipif(missing_postgresql() is not None, reason=missing_postgresql() or ""),
]

MAKE = "CREATE TABLE t (id integer PRIMARY KEY, name text, CONSTRAINT uniq_t0name UNIQUE (name))"
READ = "SELECT n FROM generate_series(2, 2) AS n"


def certain(fault: str) -> Faults:
    chances: dict[str, Any] = {fault: 1}
    return Faults(**chances)


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


@pytest.mark.parametrize("fault", ["retry_at_commit", "retry_at_write", "retry_at_read"])
def test_retry_errors_leave_nothing_behind(double: Callable[..., Double], fault: str) -> None:
    Client(double().address)(MAKE)
    one = double(faults=certain(fault))
    client = Client(one.address)
    client("BEGIN")
    replies = [client("INSERT INTO t VALUES (1, 'a')"), client("SELECT * FROM t"), client("COMMIT")]
    failed = next(reply for reply in replies if reply.sqlstate)
    assert failed.sqlstate == "40001"
    assert failed.error["M"].startswith("restart transaction: ")
    assert replies[-1].status == "I"
    assert client("SELECT count(*) FROM t").rows == (("0",),)
    assert one.statistics["injected"] == {fault: 1}


@pytest.mark.parametrize(
    ("fault", "rows"),
    [("ambiguous_committed", "1"), ("ambiguous_lost", "0"), ("drop_committed", "1"), ("drop_lost", "0")],
)
def test_the_result_of_a_commit_can_be_ambiguous(double: Callable[..., Double], fault: str, rows: str) -> None:
    good = Client(double().address)
    good(MAKE)
    client = Client(double(faults=certain(fault)).address)
    client("BEGIN")
    client("INSERT INTO t VALUES (1, 'a')")
    if fault.startswith("drop"):
        with pytest.raises(ConnectionEnded):
            client("COMMIT")
    else:
        reply = client("COMMIT")
        assert (reply.sqlstate, reply.status) == ("40003", "I")
        assert reply.error["M"].startswith("result is ambiguous")
    assert good("SELECT count(*) FROM t").rows == ((rows,),)


def test_a_transaction_that_wrote_nothing_is_never_ambiguous(double: Callable[..., Double]) -> None:
    client = Client(double(faults=Faults(ambiguous_lost=1, retry_at_commit=1, drop_lost=1)).address)
    client("BEGIN")
    client("SELECT 2")
    assert client("COMMIT").tag == "COMMIT"


def test_connections_are_dropped_in_transactions_and_at_pings(double: Callable[..., Double]) -> None:
    client = Client(double(faults=Faults(drop_at_ping=1)).address)
    with pytest.raises(ConnectionEnded):
        client("SELECT 1")
    client = Client(double(faults=Faults(drop_in_transaction=1)).address)
    assert client(READ).rows == (("2",),)
    client("BEGIN")
    assert client("SELECT 2").rows == (("2",),)
    with pytest.raises(ConnectionEnded):
        client(READ)


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
        client.wire.send(messages.query(last))
        kind, body = client.wire.read()
        assert kind == b"E"
        assert messages.parse_fields(body)["C"] == "57P01"
        with pytest.raises(ConnectionEnded):
            client.wire.read()
    assert one.statistics["lost"] == {"elsewhere": 1, "in_commit": 1}


def test_several_statements_in_one_message_are_judged_one_by_one(double: Callable[..., Double]) -> None:
    client = Client(double().address)
    client(MAKE)
    assert client("INSERT INTO t VALUES (1, 'a;b'); SELECT version()").rows == client("SELECT version()").rows
    assert client("INSERT INTO t VALUES (2, 'c'); SET CONSTRAINTS ALL DEFERRED").sqlstate == "0A000"
    assert client("SELECT count(*) FROM t").rows == (("1",),)
