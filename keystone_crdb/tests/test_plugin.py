"""The engine plugin and its URL parameters."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import sqlalchemy
from sqlalchemy.exc import ArgumentError

from keystone_crdb.plugin import settings

CRDB = "cockroachdb+psycopg2"


@pytest.mark.parametrize(
    ("drivername", "query", "expected"),
    [
        (CRDB, {}, ()),
        (CRDB, {"plugin": "keystone_crdb", "sslmode": "disable"}, ()),
        (
            CRDB,
            {"crdb_set_kv_transaction_buffered_writes_enabled": "off"},
            ("SET kv_transaction_buffered_writes_enabled = off",),
        ),
        (CRDB, {"crdb_set_a": "1", "crdb_set_b": "-1.5"}, ("SET a = 1", "SET b = -1.5")),
        (CRDB, {"crdb_set_statement_timeout": "30s"}, ("SET statement_timeout = '30s'",)),
        (CRDB, {"crdb_set_a": "it's; DROP"}, ("SET a = 'it''s; DROP'",)),
        (CRDB, {"crdb_isolation": "AUTOCOMMIT"}, ()),
        (CRDB, {"crdb_isolation": "READ_COMMITTED"}, ("SET default_transaction_isolation = 'read committed'",)),
        (CRDB, {"crdb_isolation": "serializable"}, ("SET default_transaction_isolation = 'serializable'",)),
        (
            "mysql+pymysql",
            {"crdb_isolation": "READ_COMMITTED"},
            ("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",),
        ),
    ],
)
def test_session_settings(drivername: str, query: dict[str, str], expected: tuple[str, ...]) -> None:
    assert settings(drivername, query) == expected


@pytest.mark.parametrize("query", [{"crdb_set_a b": "1"}, {"crdb_set_": "1"}, {"crdb_isolation": "'; DROP"}])
def test_what_cannot_be_a_setting_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(ArgumentError, match="crdb_"):
        settings(CRDB, query)


def test_the_driver_does_not_see_our_parameters() -> None:
    engine = sqlalchemy.create_engine(
        f"{CRDB}://u@h/d?plugin=keystone_crdb&crdb_isolation=AUTOCOMMIT&crdb_set_a=b&sslmode=disable"
    )
    assert dict(engine.url.query) == {"sslmode": "disable"}
    assert engine.get_execution_options() == {}


def test_new_connections_get_the_settings() -> None:
    dbapi = MagicMock()
    record = SimpleNamespace(info={})
    engine = sqlalchemy.create_engine(
        "mysql+pymysql://u@h/d?plugin=keystone_crdb&crdb_set_a=b&crdb_isolation=serializable"
    )
    (ours,) = (f for f in engine.pool.dispatch.connect if f.__module__ == "keystone_crdb.plugin")
    ours(dbapi, record)
    executed = [call.args[0] for call in dbapi.cursor.return_value.execute.call_args_list]
    assert executed == ["SET a = b", "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"]
    dbapi.commit.assert_called_once_with()


def test_the_plugin_does_not_import_keystone() -> None:
    program = (
        "import sys, sqlalchemy\n"
        "sqlalchemy.create_engine('sqlite://?plugin=keystone_crdb')\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'keystone'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
