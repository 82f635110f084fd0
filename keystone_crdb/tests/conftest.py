"""Unit tests of keystone_crdb. They run with Keystone's own Python: ``python -m pytest keystone_crdb/tests``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from oslo_db.sqlalchemy import exc_filters
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from keystone_crdb import counters, options
from keystone_crdb.scope import scope

warnings.filterwarnings("ignore", category=DeprecationWarning)

FAST = options.Limits(max_replays=3, base_delay_s=0.0, max_delay_s=0.0)


@pytest.fixture
def limits() -> Callable[[], options.Limits]:
    """Three repetitions without pauses."""
    return lambda: FAST


@pytest.fixture(autouse=True)
def _nothing_is_left_on_the_thread() -> Iterator[None]:
    yield
    assert not scope.inside
    assert not scope.transactions
    scope.commit_sent = False


@pytest.fixture
def counted() -> Callable[[str], dict[str, int]]:
    """What was counted for an operation since the test began, without noughts."""
    before = counters.here()

    def since(operation: str) -> dict[str, int]:
        now, then = counters.here().get(operation, {}), before.get(operation, {})
        return {event: count - then.get(event, 0) for event, count in now.items() if count > then.get(event, 0)}

    return since


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """oslo.db's engine on SQLite, with the plugin and the table ``thing (id)``."""
    from oslo_db.sqlalchemy.engines import create_engine

    made: Engine = create_engine(f"sqlite:///{tmp_path}/test.db", connection_parameters="plugin=keystone_crdb")
    with made.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE thing (id INTEGER PRIMARY KEY)"))
    scope.commit_sent = False
    yield made
    made.dispose()


class Context:
    """What SQLAlchemy tells an error handler."""

    connection = None
    is_pre_ping = False

    def __init__(self, dialect: Any, original: Exception, wrapped: Exception, *, is_disconnect: bool) -> None:
        self.dialect = dialect
        self.original_exception = original
        self.sqlalchemy_exception = wrapped
        self.is_disconnect = is_disconnect


def translated(url: str, error: Exception, *, base: type[Exception], is_disconnect: bool = False) -> Exception:
    """What Keystone sees when the DBAPI raises `error` (whose module's base class is `base`) on an engine of `url`."""
    import keystone_crdb.errors  # noqa: F401  # registers the filters

    dialect = sqlalchemy.make_url(url).get_dialect()()
    wrapped = DBAPIError.instance("SELECT 1", {}, error, base, dialect=dialect)
    try:
        seen = exc_filters.handler(Context(dialect, error, wrapped, is_disconnect=is_disconnect))
    except DBAPIError as raw:  # oslo.db raises as it is what it does not translate
        return raw
    return seen if seen is not None else wrapped
