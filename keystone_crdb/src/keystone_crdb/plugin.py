"""SQLAlchemy engine plugin: ``[database] connection_parameters = plugin=keystone_crdb`` in keystone.conf."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, CreateEnginePlugin, Engine
from sqlalchemy.exc import ArgumentError

from keystone_crdb import ddl, errors, wire  # ddl and errors: their import registers what they hold

ISOLATION = "crdb_isolation"
SETTING = "crdb_set_"

__all__ = ["Plugin", "ddl", "errors"]


class Plugin(CreateEnginePlugin):
    """Filters, the DDL rule, session settings and counters, for the engine of a URL that names this plugin.

    URL parameters: ``crdb_isolation`` is ``AUTOCOMMIT`` or an isolation level with ``_`` for blanks;
    ``crdb_set_NAME=VALUE`` is a session setting. Raises ArgumentError for a name that cannot be one.
    """

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        self._settings = settings(url.drivername, url.query)
        self._autocommit = _isolation(url.query) == "AUTOCOMMIT"
        self._pre_ping = False

    def update_url(self, url: URL) -> URL:
        return url.difference_update_query([name for name in url.query if _is_ours(name)])

    def handle_dialect_kwargs(self, dialect_cls: Any, dialect_args: dict[str, Any]) -> None:
        if self._autocommit:
            dialect_args["isolation_level"] = "AUTOCOMMIT"

    def handle_pool_kwargs(self, pool_cls: Any, pool_args: dict[str, Any]) -> None:
        self._pre_ping = bool(pool_args.get("pre_ping"))

    def engine_created(self, engine: Engine) -> None:
        if self._settings:
            _set_at_connect(engine, self._settings)
        wire.listen(engine, autocommit=self._autocommit, pre_ping=self._pre_ping)


def settings(drivername: str, query: Mapping[str, Any]) -> tuple[str, ...]:
    """The statements that a new session starts with."""
    statements = [_set(name.removeprefix(SETTING), value) for name, value in query.items() if name.startswith(SETTING)]
    isolation = _isolation(query)
    if isolation and isolation != "AUTOCOMMIT":
        statements.append(_set_isolation(drivername, isolation))
    return tuple(statements)


def _is_ours(name: str) -> bool:
    return name == ISOLATION or name.startswith(SETTING)


def _isolation(query: Mapping[str, Any]) -> str:
    return str(query.get(ISOLATION, "")).replace("_", " ").upper()


def _set_isolation(drivername: str, isolation: str) -> str:
    """As a default of the session, because psycopg2 sends two more statements per ping when it is told a level."""
    if not re.fullmatch(r"(READ (UN)?COMMITTED|REPEATABLE READ|SERIALIZABLE|SNAPSHOT)", isolation):
        raise ArgumentError(f"{ISOLATION}={isolation!r} is neither AUTOCOMMIT nor an isolation level")
    if drivername.startswith("mysql"):
        return f"SET SESSION TRANSACTION ISOLATION LEVEL {isolation}"
    return f"SET default_transaction_isolation = '{isolation.lower()}'"


def _set(name: str, value: object) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name):
        raise ArgumentError(f"{SETTING}{name} does not name a session setting")
    text = str(value)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*|-?[0-9]+(\.[0-9]+)?", text):
        text = "'" + text.replace("'", "''") + "'"
    return f"SET {name} = {text}"


def _set_at_connect(engine: Engine, statements: tuple[str, ...]) -> None:
    @event.listens_for(engine, "connect")
    def _connect(dbapi: Any, record: Any) -> None:
        cursor = dbapi.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()
        dbapi.commit()
