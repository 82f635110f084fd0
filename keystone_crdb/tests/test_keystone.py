"""Keystone's own drivers on SQLite, with faults put between their statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keystone.conf
import pytest
import stevedore
from keystone import exception as keystone_exception
from keystone.common import sql
from keystone.common.driver_hints import Hints
from oslo_db import exception
from sqlalchemy import event
from sqlalchemy.engine import Engine

from keystone_crdb import GROUPS
from keystone_crdb.arguments import Snapshot
from keystone_crdb.errors import AmbiguousResult, TransactionConflict
from keystone_crdb.scope import OUTSIDE, scope

Counted = Callable[[str], dict[str, int]]
Fail = Callable[..., None]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Keystone's engine, with its tables and the users a, b and c."""
    path: Path = tmp_path_factory.mktemp("keystone") / "keystone.db"
    configuration = keystone.conf.CONF
    keystone.conf.configure()
    sql.initialize()
    configuration([], project="keystone", default_config_files=[])
    configuration.set_override("connection", f"sqlite:///{path}", group="database")
    configuration.set_override("connection_parameters", "plugin=keystone_crdb", group="database")
    configuration.set_override("password_hash_rounds", 4, group="identity")
    sql.cleanup()
    with sql.session_for_write() as session:
        engine = session.get_bind()
    for namespace in GROUPS.values():  # their modules define the tables
        stevedore.DriverManager(namespace, "sql_retry", invoke_on_load=False)
    identity = driver("identity")
    sql.ModelBase.metadata.create_all(engine)
    for name in "abc":
        identity.create_user(name, {"id": name, "name": name, "domain_id": "default", "enabled": True})
    yield engine
    sql.cleanup()
    configuration.reset()
    for option in ("connection", "connection_parameters"):
        configuration.clear_override(option, group="database")


def driver(group: str) -> Any:
    """What Keystone uses with ``driver = sql_retry``."""
    return stevedore.DriverManager(GROUPS[group], "sql_retry", invoke_on_load=True).driver


@pytest.fixture
def fail(database: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fail]:
    """Make the next COMMITs, or statements that begin with a word, fail with the given errors."""
    pending: dict[str, list[Exception]] = {}

    def strike(moment: str) -> None:
        if pending.get(moment):
            raise pending[moment].pop(0)

    def commit(connection: Any) -> None:
        strike("COMMIT")

    def statement(connection: Any, cursor: Any, text: str, *_: Any) -> None:
        strike(text.split(maxsplit=1)[0])

    event.listen(database, "commit", commit)
    event.listen(database, "before_cursor_execute", statement)
    yield lambda moment, *errors: pending.__setitem__(moment, list(errors))
    assert not any(pending.values()), "not all faults struck"
    event.remove(database, "commit", commit)
    event.remove(database, "before_cursor_execute", statement)


def test_the_first_authentication_of_a_day_survives_a_conflict_at_commit(fail: Fail, counted: Counted) -> None:
    """Galera's certification fails at COMMIT when several Keystones write the same user's last activity."""
    fail("COMMIT", TransactionConflict(), exception.DBDeadlock())
    driver("shadow_users").set_last_active_at("a")
    seen = counted("shadow_users.set_last_active_at")
    assert (seen["calls"], seen["replays"], seen["commits"]) == (1, 2, 3)


def named(name: str) -> Hints:
    hints = Hints()
    hints.add_filter("name", name)
    return hints


def test_a_list_that_is_asked_for_again_has_the_same_rows(fail: Fail) -> None:
    fail("SELECT", TransactionConflict())
    assert [user["id"] for user in driver("identity").list_users(named("b"))] == ["b"]


def test_without_restored_arguments_there_would_be_other_rows(fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the test above would pass for another reason."""
    monkeypatch.setattr(Snapshot, "restore", lambda self: None)
    fail("SELECT", TransactionConflict())
    assert len(driver("identity").list_users(named("b"))) == 3


def test_a_connection_lost_while_reading_is_not_noticed(fail: Fail, counted: Counted) -> None:
    fail("SELECT", exception.DBConnectionError(), exception.DBConnectionError())
    assert driver("identity").get_user("a")["name"] == "a"
    assert counted("identity.get_user")["reconnects"] == 2


@pytest.mark.parametrize(
    "lost", [exception.DBConnectionError(), AmbiguousResult()], ids=lambda error: type(error).__name__
)
def test_an_ambiguous_commit_is_an_error_and_not_a_second_object(lost: Exception, fail: Fail, counted: Counted) -> None:
    fail("COMMIT", lost)
    user = {"id": "d", "name": "d", "domain_id": "default", "enabled": True}
    with pytest.raises(type(lost)):
        driver("identity").create_user("d", user)
    seen = counted("identity.create_user")
    assert (seen["calls"], seen["commits"], seen["gave_up"]) == (1, 1, 1)
    assert "replays" not in seen
    assert "reconnects" not in seen


def test_a_duplicate_is_a_conflict_of_the_api_after_a_replay_too(fail: Fail) -> None:
    fail("INSERT", TransactionConflict())
    with pytest.raises(keystone_exception.Conflict):
        driver("identity").create_user("a", {"id": "a", "name": "a", "domain_id": "default", "enabled": True})


def test_oslo_dbs_own_retry_does_not_sleep(fail: Fail, counted: Counted) -> None:
    fail("DELETE", TransactionConflict(), TransactionConflict())
    driver("identity").delete_user("c")
    seen = counted("identity.delete_user")
    assert (seen["calls"], seen["replays"]) == (1, 2)
    with pytest.raises(keystone_exception.UserNotFound):
        driver("identity").get_user("c")


def test_a_query_that_keystone_left_unrun_is_run_within_the_call(database: Engine, counted: Counted) -> None:
    found = driver("federation").get_enabled_service_providers()
    assert not scope.transactions, "its transaction stays open"
    assert "statements" in counted("federation.get_enabled_service_providers")
    assert list(found) == []
    assert counted(OUTSIDE) == {}
