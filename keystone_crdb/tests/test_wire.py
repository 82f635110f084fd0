"""What is counted of what an engine sends."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import sqlalchemy
from sqlalchemy.engine import Engine

from keystone_crdb.scope import scope
from keystone_crdb.wire import Psycopg2, PyMySQL

Counted = Callable[[str], dict[str, int]]


@pytest.mark.parametrize(("autocommit", "status", "begins"), [(False, 1, True), (False, 2, False), (True, 1, False)])
def test_psycopg2_sends_begin_before_the_first_statement(autocommit: bool, status: int, begins: bool) -> None:
    assert Psycopg2().begins(SimpleNamespace(autocommit=autocommit, status=status)) is begins


@pytest.mark.parametrize(("closed", "status", "ends"), [(0, 2, True), (0, 1, False), (2, 2, False)])
def test_psycopg2_ends_what_has_begun(closed: int, status: int, ends: bool) -> None:
    assert Psycopg2().ends(SimpleNamespace(closed=closed, status=status)) is ends


def test_pymysql_never_sends_begin_and_always_the_end() -> None:
    assert not PyMySQL().begins(SimpleNamespace())
    assert PyMySQL().ends(SimpleNamespace())


def test_many_rows() -> None:
    insert = "INSERT INTO t (a)\nVALUES (%s)"
    assert Psycopg2().batches(insert, [(1,), (2,)]) == 2
    assert PyMySQL().batches(insert, [(1,), (2,)]) == 1
    assert PyMySQL().batches("DELETE FROM t WHERE a = %s", [(1,), (2,)]) == 2


def test_sql_outside_of_a_driver_call(engine: Engine, counted: Counted) -> None:
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))
    seen = counted("-")
    assert (seen["statements"], seen["rollbacks"]) == (2, 1), "oslo.db begins SQLite's transactions by a statement"
    assert "calls" not in seen


def test_sql_of_a_driver_call_is_counted_there(engine: Engine, counted: Counted) -> None:
    with scope.entered("x.write"), engine.begin() as connection:
        connection.execute(sqlalchemy.text("INSERT INTO thing VALUES (1)"))
        assert connection in scope.transactions
        assert not scope.commit_sent
    assert scope.commit_sent
    assert {name: counted("x.write")[name] for name in ("statements", "commits")} == {"statements": 2, "commits": 1}


def test_rows_that_go_in_one_statement_are_one_statement(engine: Engine, counted: Counted) -> None:
    """SQLAlchemy's "insertmanyvalues" (an INSERT of several rows with RETURNING)."""
    thing = sqlalchemy.table("thing", sqlalchemy.column("id", sqlalchemy.Integer))
    rows = [{"id": number} for number in range(10, 15)]
    with scope.entered("x.many"), engine.begin() as connection:
        connection.execute(thing.insert().returning(thing.c.id), rows)
    assert counted("x.many")["statements"] == 2, "BEGIN, which oslo.db sends to SQLite, and the INSERT"


def test_a_connection_is_pinged_from_its_second_use_on(tmp_path: object, counted: Counted) -> None:
    engine = sqlalchemy.create_engine(
        f"sqlite:///{tmp_path}/x.db?plugin=keystone_crdb", pool_pre_ping=True, poolclass=sqlalchemy.QueuePool
    )
    for _ in range(3):
        with engine.connect():
            pass
    assert counted("-")["pings"] == 2
    engine.dispose()


def test_without_pre_ping_there_are_no_pings(tmp_path: object, counted: Counted) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/x.db?plugin=keystone_crdb", poolclass=sqlalchemy.QueuePool)
    for _ in range(3):
        with engine.connect():
            pass
    assert "pings" not in counted("-")
    engine.dispose()
