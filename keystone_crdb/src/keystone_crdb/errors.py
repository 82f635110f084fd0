"""oslo.db's exceptions for errors it does not know, told apart by SQLSTATE instead of by text.

oslo.db 17 and 18 have no filters for the dialect ``cockroachdb`` (so that a duplicate is an HTTP 500), none for
serialization failures of any database, and expect words of libpq that libpq 14 changed. Importing this module adds
filters to oslo.db's registry; where oslo.db has a more specific one, that one decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from oslo_db import exception
from oslo_db.sqlalchemy import exc_filters
from sqlalchemy import exc


class TransactionConflict(exception.DBDeadlock):
    """The database undid the transaction in favour of another one: repeating all of it is right.

    A DBDeadlock, so that whoever handles those (five methods of Keystone's own drivers) handles this.
    """


class AmbiguousResult(exception.DBError):
    """CockroachDB does not know whether the transaction was committed (SQLSTATE 40003): never to be repeated."""


def sqlstate(error: exc.DBAPIError) -> str | None:
    """The SQLSTATE that psycopg2 attaches; None for other drivers and for errors that libpq itself made."""
    code: str | None = getattr(error.orig, "pgcode", None)
    return code


@exc_filters.filters("cockroachdb", exc.DBAPIError, ".*")
@exc_filters.filters("postgresql", exc.DBAPIError, ".*")
def _postgresql(error: exc.DBAPIError, match: Any, engine_name: str, is_disconnect: bool) -> None:
    """Raise what fits; returning lets oslo.db try its next filter."""
    code = sqlstate(error) or ""
    translate = _BY_SQLSTATE.get(code)
    if translate is not None:
        raise translate(error)
    if is_disconnect or code in _LOST or code.startswith("08") or _never_connected(error):
        raise exception.DBConnectionError(error)


@exc_filters.filters("mysql", exc.DBAPIError, ".*")
def _mysql(error: exc.DBAPIError, match: Any, engine_name: str, is_disconnect: bool) -> None:
    """By number: oslo.db's own filters look for words that Galera varies."""
    number = error.orig.args[0] if error.orig is not None and error.orig.args else None
    if number in _MYSQL_CONFLICTS:
        raise TransactionConflict(error)
    if number in _MYSQL_LOST:
        raise exception.DBConnectionError(error)


def _diagnostic(error: exc.DBAPIError, name: str) -> str | None:
    value: str | None = getattr(getattr(error.orig, "diag", None), name, None)
    return value


def _duplicate(error: exc.DBAPIError) -> Exception:
    found = re.search(r"Key \((?P<columns>.+?)\)=\((?P<value>.*)\) already exists", str(error.orig), re.DOTALL)
    if found is None:
        constraint = _diagnostic(error, "constraint_name")
        return exception.DBDuplicateEntry([constraint] if constraint else [], error)
    columns = [column.strip(' "') for column in found["columns"].split(",")]
    return exception.DBDuplicateEntry(columns, error, found["value"])


def _reference(error: exc.DBAPIError) -> Exception:
    key = re.search(r"Key \((?P<key>.+?)\)=\(.*?\) .* table \"(?P<table>[^\"]+)\"", str(error.orig), re.DOTALL)
    return exception.DBReferenceError(
        _diagnostic(error, "table_name"),
        _diagnostic(error, "constraint_name"),
        key["key"] if key else None,
        key["table"] if key else None,
        error,
    )


def _check(error: exc.DBAPIError) -> Exception:
    return exception.DBConstraintError(_diagnostic(error, "table_name"), _diagnostic(error, "constraint_name"), error)


_BY_SQLSTATE: Mapping[str, Callable[[exc.DBAPIError], Exception]] = {
    "40001": TransactionConflict,  # serialization failure
    "40P01": TransactionConflict,  # deadlock detected
    "40003": AmbiguousResult,
    "23505": _duplicate,
    "23503": _reference,
    "23514": _check,
    "42P01": lambda error: exception.DBNonExistentTable(_diagnostic(error, "table_name"), error),
    "3D000": lambda error: exception.DBNonExistentDatabase(None, error),
}
"""https://www.postgresql.org/docs/current/errcodes-appendix.html; 40003 and 40001 of CockroachDB:
https://www.cockroachlabs.com/docs/stable/common-errors"""

_LOST = frozenset({"57P01", "57P02", "57P03", "57P05"})
"""The server stopped, crashed, starts, or closed an idle session; class 08 is any other connection error."""

_REFUSED = re.compile(r"\b(FATAL|ERROR): ")
_FOR_NOW = re.compile(r"starting up|shutting down|recovery|not (yet )?accepting|too many clients|connection slots|init")
"""A server that answers with a refusal is not lost, unless the refusal is one of its moment."""


def _never_connected(error: exc.DBAPIError) -> bool:
    """Whether this is an error that libpq made, which has no SQLSTATE: it could not reach the server or lost it."""
    if not isinstance(error, exc.OperationalError) or sqlstate(error) is not None:
        return False
    text = str(error.orig)
    return not _REFUSED.search(text) or bool(_FOR_NOW.search(text))


_MYSQL_CONFLICTS = frozenset({1020, 1205, 1213})
"""Record changed since it was read, lock wait timeout, deadlock or failed certification (Galera)."""

_MYSQL_LOST = frozenset({1047, 1053, 1927})
"""A Galera node that does not serve (yet), a server that stops, a killed connection."""
