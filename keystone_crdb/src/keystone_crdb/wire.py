"""Listens to an engine: counts what goes over the wire, and remembers how far the thread's transaction has come.

What is counted is what the driver sends and waits for, one round trip each. psycopg2 sends BEGIN by itself before
the first statement of a transaction, and neither COMMIT nor ROLLBACK when there was none
(https://www.psycopg.org/docs/connection.html#connection.commit); PyMySQL runs with autocommit off, so it never sends
BEGIN, and always COMMIT and ROLLBACK: also the ROLLBACK by which the pool resets a connection that it takes back.
Establishing a connection is not counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from keystone_crdb import counters
from keystone_crdb.scope import scope

_FRESH = "keystone_crdb_fresh"
_listening: list[str] = []


def attached() -> bool:
    """Whether an engine of this process is listened to, without which a COMMIT under way is not known of."""
    return bool(_listening)


def listen(engine: Engine, *, autocommit: bool, pre_ping: bool) -> None:
    """Count everything that `engine` sends.

    ``autocommit``: every statement is a transaction; ``pre_ping``: the pool tries a connection before handing it out.
    """
    driver = _DRIVERS.get(engine.dialect.driver, Driver)()
    _listening.append(engine.dialect.driver)
    _count_transactions(engine, driver)
    _count_statements(engine, driver, autocommit=autocommit)
    _count_pool(engine, driver, pre_ping=pre_ping)


class Driver:
    """What a DBAPI driver sends; this one for drivers that send what they are told."""

    def begins(self, dbapi: Any) -> bool:
        """Whether BEGIN goes ahead of the next statement."""
        return False

    def ends(self, dbapi: Any) -> bool:
        """Whether COMMIT or ROLLBACK would be sent now."""
        return True

    def batches(self, statement: str, parameters: Sequence[Any]) -> int:
        """Statements that ``executemany`` sends."""
        return len(parameters)


class Psycopg2(Driver):
    _READY, _IN_TRANSACTION = 1, 2  # psycopg2.extensions.STATUS_*

    def begins(self, dbapi: Any) -> bool:
        return not dbapi.autocommit and dbapi.status == self._READY

    def ends(self, dbapi: Any) -> bool:
        return not dbapi.closed and dbapi.status == self._IN_TRANSACTION


class PyMySQL(Driver):
    _BULK = re.compile(r"\s*(INSERT|REPLACE)\b.+\bVALUES?\s*\(", re.IGNORECASE | re.DOTALL)

    def batches(self, statement: str, parameters: Sequence[Any]) -> int:
        return 1 if self._BULK.match(statement) else len(parameters)


_DRIVERS: dict[str, type[Driver]] = {"psycopg2": Psycopg2, "pymysql": PyMySQL}


def _add(name: str, amount: int = 1) -> None:
    counters.add(scope.operation, name, amount)


def _count_transactions(engine: Engine, driver: Driver) -> None:
    def ended(connection: Connection, name: str) -> None:
        scope.transactions.discard(connection)
        if not connection.closed and not connection.invalidated:
            dbapi = connection.connection.dbapi_connection
            if driver.ends(dbapi):
                _add(name)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        scope.transactions.add(connection)

    @event.listens_for(engine, "commit")
    def _commit(connection: Connection) -> None:
        scope.commit_sent = True
        ended(connection, "commits")

    @event.listens_for(engine, "rollback")
    def _rollback(connection: Connection) -> None:
        ended(connection, "rollbacks")


def _count_statements(engine: Engine, driver: Driver, *, autocommit: bool) -> None:
    @event.listens_for(engine, "before_cursor_execute")
    def _statement(  # noqa: PLR0917  # what SQLAlchemy passes
        connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
    ) -> None:
        if driver.begins(connection.connection.dbapi_connection):
            _add("begins")
        scope.commit_sent = scope.commit_sent or autocommit
        # An INSERT of many rows is one statement, whose parameters are one set and not a list of sets.
        several = executemany and isinstance(parameters, list)
        _add("statements", driver.batches(statement, parameters) if several else 1)


def _count_pool(engine: Engine, driver: Driver, *, pre_ping: bool) -> None:
    @event.listens_for(engine, "connect")
    def _connect(dbapi: Any, record: Any) -> None:
        record.info[_FRESH] = True

    @event.listens_for(engine, "checkout")
    def _checkout(dbapi: Any, record: Any, proxy: Any) -> None:
        if not record.info.pop(_FRESH, False) and pre_ping:
            _add("pings")

    @event.listens_for(engine, "reset")
    def _reset(dbapi: Any, record: Any, state: Any) -> None:
        if not state.terminate_only and not state.transaction_was_reset and driver.ends(dbapi):
            _add("rollbacks")
