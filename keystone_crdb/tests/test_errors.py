"""Which of oslo.db's exceptions an error of the database becomes."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import psycopg2
import psycopg2.errors
import pymysql
import pytest
from oslo_db import exception
from oslo_db.sqlalchemy import engines
from sqlalchemy import exc

from conftest import translated
from keystone_crdb import errors

COCKROACHDB = "cockroachdb+psycopg2://u@h/d"
POSTGRESQL = "postgresql+psycopg2://u@h/d"
MYSQL = "mysql+pymysql://u@h/d"


def server_error(code: str, text: str, **diagnostics: str) -> Exception:
    """What psycopg2 raises for an error message of the server."""
    kind = psycopg2.errors.lookup(code)
    fabricated = type(kind.__name__, (kind,), {"diag": SimpleNamespace(**diagnostics)})
    error: Exception = fabricated(text)
    error.__setstate__({"pgcode": code, "pgerror": text})
    return error


def postgresql(url: str, error: Exception, **options: Any) -> Exception:
    return translated(url, error, base=psycopg2.Error, **options)


RETRY = (
    "restart transaction: TransactionRetryWithProtoRefreshError: TransactionRetryError: retry txn "
    "(RETRY_SERIALIZABLE - failed preemptive refresh due to conflicting locks)\nHINT:  See: https://…"
)


@pytest.mark.parametrize("url", [COCKROACHDB, POSTGRESQL])
@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("40001", RETRY, exception.DBDeadlock),
        (
            "40001",
            "could not serialize access due to read/write dependencies among transactions\n",
            errors.TransactionConflict,
        ),
        ("40P01", "deadlock detected\nDETAIL:  Process 1 waits", exception.DBDeadlock),
        ("40003", "result is ambiguous: error=rpc error: … [propagate]", errors.AmbiguousResult),
        ("57P01", "terminating connection due to administrator command\n", exception.DBConnectionError),
        ("57P01", "server is shutting down", exception.DBConnectionError),
        ("57P02", "terminating connection because of crash of another server process", exception.DBConnectionError),
        ("57P03", "the database system is starting up", exception.DBConnectionError),
        ("08006", "connection failure", exception.DBConnectionError),
        ("23503", 'insert on table "b" violates foreign key constraint "b_a_fkey"\n', exception.DBReferenceError),
        ("3D000", 'database "keystone" does not exist', exception.DBNonExistentDatabase),
    ],
)
def test_sqlstate_decides(url: str, code: str, text: str, expected: type[Exception]) -> None:
    assert isinstance(postgresql(url, server_error(code, text)), expected)


def test_a_conflict_is_not_an_ambiguous_result() -> None:
    assert not issubclass(errors.AmbiguousResult, exception.DBDeadlock)


@pytest.mark.parametrize("url", [COCKROACHDB, POSTGRESQL])
def test_a_duplicate_is_a_duplicate_whatever_the_constraint_is_called(url: str) -> None:
    text = (
        'duplicate key value violates unique constraint "project_domain_id_name_key"\n'
        "DETAIL:  Key (domain_id, name)=('default', 'x') already exists.\n"
    )
    seen = postgresql(url, server_error("23505", text, constraint_name="project_domain_id_name_key"))
    assert isinstance(seen, exception.DBDuplicateEntry)
    assert isinstance(seen.inner_exception, exc.IntegrityError), "Keystone looks at it"


def test_a_duplicate_names_the_columns() -> None:
    detail = """DETAIL:  Key ("domain_id", name)=('d', 'x') already exists."""
    text = f'duplicate key value violates unique constraint "pk"\n{detail}'
    seen = postgresql(COCKROACHDB, server_error("23505", text, constraint_name="pk"))
    assert isinstance(seen, exception.DBDuplicateEntry)
    assert seen.columns == ["domain_id", "name"]
    assert seen.value == "'d', 'x'"


def test_a_duplicate_without_detail_names_the_constraint() -> None:
    seen = postgresql(COCKROACHDB, server_error("23505", "duplicate", constraint_name="pk"))
    assert isinstance(seen, exception.DBDuplicateEntry)
    assert seen.columns == ["pk"]


def test_a_missing_parent_names_table_key_and_constraint() -> None:
    text = (
        'insert on table "b" violates foreign key constraint "b_a_fkey"\n'
        'DETAIL:  Key (a_id)=(1) is not present in table "a".'
    )
    seen = postgresql(COCKROACHDB, server_error("23503", text, constraint_name="b_a_fkey", table_name="b"))
    assert isinstance(seen, exception.DBReferenceError)
    assert (seen.table, seen.constraint, seen.key, seen.key_table) == ("b", "b_a_fkey", "a_id", "a")


def test_a_check_and_a_missing_table() -> None:
    check = postgresql(
        COCKROACHDB, server_error("23514", "failed to satisfy CHECK", table_name="t", constraint_name="c")
    )
    assert isinstance(check, exception.DBConstraintError)
    assert (check.table, check.check_name) == ("t", "c")
    table = postgresql(COCKROACHDB, server_error("42P01", 'relation "x" does not exist', table_name="x"))
    assert isinstance(table, exception.DBNonExistentTable)


def test_other_errors_are_what_oslo_db_makes_of_them() -> None:
    assert type(postgresql(COCKROACHDB, server_error("42601", "syntax error"))) is exception.DBError


@pytest.mark.parametrize("url", [COCKROACHDB, POSTGRESQL])
@pytest.mark.parametrize(
    "text",
    [
        'connection to server at "10.0.0.1", port 26257 failed: Connection refused\n\tIs the server running?',
        'connection to server at "10.0.0.1", port 26257 failed: timeout expired',
        'connection to server at "h", port 1 failed: FATAL:  the database system is starting up',
        'connection to server at "h", port 1 failed: FATAL:  sorry, too many clients already',
        'connection to server at "h", port 1 failed: ERROR:  server is not accepting clients, try another node',
        "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally",
        "SSL connection has been closed unexpectedly",
    ],
)
def test_a_server_that_cannot_be_reached_now_is_a_lost_connection(url: str, text: str) -> None:
    assert isinstance(postgresql(url, psycopg2.OperationalError(text)), exception.DBConnectionError)


@pytest.mark.parametrize(
    "text",
    [
        'connection to server at "h", port 1 failed: FATAL:  password authentication failed for user "keystone"',
        'connection to server at "h", port 1 failed: ERROR:  client certificate is required',
    ],
)
def test_a_server_that_refuses_is_not_asked_again(text: str) -> None:
    assert not isinstance(postgresql(COCKROACHDB, psycopg2.OperationalError(text)), exception.DBError)


@pytest.mark.parametrize(
    ("kind", "number", "text"),
    [
        (pymysql.err.OperationalError, 1213, "Deadlock found when trying to get lock; try restarting transaction"),
        (pymysql.err.OperationalError, 1213, "WSREP detected deadlock/conflict and aborted the transaction."),
        (pymysql.err.InternalError, 1213, "Deadlock: wsrep aborted transaction"),
        (pymysql.err.OperationalError, 1205, "Lock wait timeout exceeded; try restarting transaction"),
        (pymysql.err.OperationalError, 1020, "Record has changed since last read in table 'user'"),
    ],
)
def test_mysql_and_galera_conflicts(kind: type[Exception], number: int, text: str) -> None:
    assert isinstance(translated(MYSQL, kind(number, text), base=pymysql.err.Error), exception.DBDeadlock)


@pytest.mark.parametrize(
    ("kind", "number", "text"),
    [
        (pymysql.err.OperationalError, 1047, "WSREP has not yet prepared node for application use"),
        (pymysql.err.OperationalError, 1053, "Server shutdown in progress"),
        (pymysql.err.OperationalError, 2013, "Lost connection to MySQL server during query"),
        (pymysql.err.OperationalError, 2003, "Can't connect to MySQL server on 'h'"),
        (pymysql.err.InternalError, 1927, "Connection was killed"),
    ],
)
def test_mysql_lost_connections(kind: type[Exception], number: int, text: str) -> None:
    assert isinstance(translated(MYSQL, kind(number, text), base=pymysql.err.Error), exception.DBConnectionError)


def test_mysql_errors_that_oslo_db_knows_stay_what_they_are() -> None:
    duplicate = pymysql.err.IntegrityError(1062, "Duplicate entry 'x' for key 'PRIMARY'")
    assert isinstance(translated(MYSQL, duplicate, base=pymysql.err.Error), exception.DBDuplicateEntry)


@pytest.mark.parametrize("dialect", ["cockroachdb+psycopg2", "postgresql+psycopg2"])
def test_oslo_db_tries_again_at_start_up(dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        pauses: list[float] = []
        monkeypatch.setattr(engines.time, "sleep", pauses.append)
        with pytest.raises(exception.DBConnectionError):
            engines.create_engine(
                f"{dialect}://u@127.0.0.1:{port}/d",
                connection_parameters="plugin=keystone_crdb",
                max_retries=3,
                retry_interval=7,
            )
    assert pauses == [7, 7, 7]
