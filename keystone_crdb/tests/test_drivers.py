"""Every SQL driver of the installed Keystone, made to replay."""

from __future__ import annotations

import ast
import functools
import inspect
import pkgutil
from collections.abc import Iterator
from importlib.metadata import EntryPoint, distribution
from pathlib import Path
from types import FunctionType
from typing import Any

import keystone
import pytest
import stevedore
from keystone.common.driver_hints import Hints
from oslo_db import api
from oslo_db import exception as db

import keystone_crdb
from keystone_crdb import drivers
from keystone_crdb.errors import TransactionConflict
from keystone_crdb.scope import scope

GROUPS = keystone_crdb.GROUPS
SOURCES = Path(keystone.__file__).parent


def loaded(group: str) -> Any:
    """The class that Keystone gets for ``driver = sql_retry``."""
    return stevedore.DriverManager(GROUPS[group], "sql_retry", invoke_on_load=False).driver


def public(kind: type) -> Iterator[tuple[str, Any]]:
    for name in dir(kind):
        if not name.startswith("_"):
            yield name, inspect.getattr_static(kind, name)


def test_every_sql_driver_of_this_release_is_covered() -> None:
    declared = {entry.group for entry in distribution("keystone").entry_points if entry.name == "sql"}
    assert declared == {*GROUPS.values()}
    assert len(GROUPS) == 18


def test_our_entry_points_are_the_groups() -> None:
    ours = {
        (entry.group, entry.value) for entry in distribution("keystone-crdb").entry_points if entry.name == "sql_retry"
    }
    assert ours == {(namespace, f"keystone_crdb.drivers:{group}") for group, namespace in GROUPS.items()}


def test_every_group_has_a_driver_option() -> None:
    from keystone.conf import CONF, configure

    configure()
    for group in GROUPS:
        assert "driver" in CONF[group], group


@pytest.mark.parametrize("group", GROUPS)
class TestDriver:
    def test_loads_through_stevedore_as_a_subclass_of_keystones(self, group: str) -> None:
        (stock,) = (e for e in distribution("keystone").entry_points if (e.group, e.name) == (GROUPS[group], "sql"))
        assert loaded(group).__mro__[1] is stock.load()

    def test_every_public_method_replays(self, group: str) -> None:
        plain = [
            name
            for name, attribute in public(loaded(group))
            if isinstance(attribute, (FunctionType, staticmethod, classmethod)) and name not in vars(loaded(group))
        ]
        assert plain == []

    def test_oslo_dbs_retry_with_its_second_of_sleep_is_gone(self, group: str) -> None:
        for name, attribute in public(loaded(group)):
            function = getattr(attribute, "__func__", attribute)
            while function is not None:
                assert getattr(function, "__globals__", None) is not vars(api), f"{name} sleeps"
                function = getattr(function, "__wrapped__", None)

    def test_signatures_are_kept(self, group: str) -> None:
        stock = loaded(group).__mro__[1]
        for name, attribute in public(loaded(group)):
            if isinstance(attribute, FunctionType):
                assert inspect.signature(attribute) == inspect.signature(inspect.getattr_static(stock, name))


def test_oslo_dbs_retry_is_found_where_keystone_has_it() -> None:
    """Otherwise the test above would pass for the wrong reason."""
    found = set()
    for group in GROUPS:
        for name, attribute in public(loaded(group).__mro__[1]):
            function = attribute
            while function is not None:
                if getattr(function, "__globals__", None) is vars(api):
                    found.add(f"{group}.{name}")
                function = getattr(function, "__wrapped__", None)
    assert found == {
        "credential.delete_credentials_for_user",
        "identity.delete_user",
        "identity.update_user",
        "revoke.revoke",
        "shadow_users.delete_user",
    }


def test_the_stock_drivers_are_as_they_were() -> None:
    stock = loaded("identity").__mro__[1]
    assert stock.update_user.__wrapped__.__globals__ is vars(api)


class Stock:
    """A driver with one of everything."""

    calls: list[str] = []

    @property
    def is_sql(self) -> bool:
        return True

    @staticmethod
    def static(value: int) -> int:
        return Stock._once("static", value)

    @classmethod
    def class_method(cls, value: int) -> int:
        return cls._once("class_method", value)

    @api.wrap_db_retry(retry_on_deadlock=True)
    def sleepy(self, value: int, *, more: int = 0) -> int:
        return self._once("sleepy", value) + more

    def list_things(self, hints: Hints) -> list[str]:
        names = [entry["value"] for entry in hints.filters]
        hints.filters.clear()
        self._once("list_things", 1)
        return names

    def outer(self, value: int) -> int:
        return self.sleepy(value)

    @classmethod
    def _once(cls, name: str, value: int) -> int:
        assert scope.inside
        cls.calls.append(name)
        if cls.calls.count(name) == 1:
            raise TransactionConflict()
        return value


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(api.time, "sleep", lambda seconds: pytest.fail(f"slept {seconds} s") if seconds >= 1 else None)
    Stock.calls.clear()
    return drivers.retrying(Stock, "identity")()


def test_methods_of_every_kind_replay(driver: Any) -> None:
    assert driver.static(1) == 1
    assert driver.class_method(2) == 2
    assert driver.sleepy(3, more=1) == 4
    assert Stock.calls == ["static", "static", "class_method", "class_method", "sleepy", "sleepy"]


def test_properties_and_private_methods_are_left_alone(driver: Any) -> None:
    assert driver.is_sql
    assert "_once" not in vars(type(driver))
    assert "is_sql" not in vars(type(driver))


def test_a_method_that_calls_another_replays_as_a_whole(driver: Any) -> None:
    assert driver.outer(1) == 1
    assert Stock.calls == ["sleepy", "sleepy"]


def test_filters_are_there_again_when_a_list_is_asked_for_twice(driver: Any) -> None:
    hints = Hints()
    hints.add_filter("name", "x")
    assert driver.list_things(hints) == ["x"]
    assert hints.filters == [], "satisfied by the attempt that counted"


def test_a_keystone_without_one_of_the_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "entry_points", lambda **_: ())
    drivers.driver.cache_clear()
    with pytest.raises(ImportError, match=r"no SQL driver in keystone\.trust.*\[trust\]"):
        drivers.trust  # noqa: B018
    drivers.driver.cache_clear()


def test_a_driver_module_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = EntryPoint(name="sql", value="keystone.trust.backends.gone:Trust", group="keystone.trust")
    monkeypatch.setattr(drivers, "entry_points", lambda **_: (missing,))
    drivers.driver.cache_clear()
    with pytest.raises(ImportError, match=r"keystone\.trust\.backends\.gone"):
        drivers.trust  # noqa: B018
    drivers.driver.cache_clear()


def test_other_names_are_not_drivers() -> None:
    with pytest.raises(AttributeError, match="no attribute 'token'"):
        drivers.token  # noqa: B018


def test_options_have_their_defaults_and_can_be_set() -> None:
    from oslo_config import cfg

    from keystone_crdb.options import Limits, limits

    configuration = cfg.ConfigOpts()
    configuration([])
    assert limits(configuration) == Limits(max_replays=25, base_delay_s=0.005, max_delay_s=1.0)
    configuration.set_override("max_replays", 1, group="keystone_crdb")
    assert limits(configuration).max_replays == 1


def test_a_duplicate_is_not_replayed(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def duplicate(name: str, value: int) -> None:
        Stock.calls.append("duplicate")
        raise db.DBDuplicateEntry()

    monkeypatch.setattr(Stock, "_once", staticmethod(duplicate))
    with pytest.raises(db.DBDuplicateEntry):
        driver.sleepy(1)
    assert Stock.calls == ["duplicate"]


# What the rules of replay.py assume about Keystone's sources.


@functools.cache
def sources() -> tuple[tuple[str, ast.Module], ...]:
    """Every module of Keystone but its tests."""
    return tuple(_parsed())


def _parsed() -> Iterator[tuple[str, ast.Module]]:
    for module in pkgutil.walk_packages([str(SOURCES)], "keystone."):
        path = SOURCES.parent / Path(*module.name.split(".")).with_suffix(".py")
        if ".tests" not in module.name and path.exists():
            yield module.name, ast.parse(path.read_text(encoding="utf-8"))


def opens_session(node: ast.AST) -> bool:
    return isinstance(node, ast.With) and any("session_for_" in ast.unparse(item.context_expr) for item in node.items)


def test_only_drivers_and_migrations_open_sessions() -> None:
    """So no driver is called inside a session that Keystone opened around several of them."""
    with_sessions = {name for name, tree in sources() if any(opens_session(node) for node in ast.walk(tree))}
    assert {name for name in with_sessions if not name.endswith("backends.sql")} == {"keystone.common.sql.upgrades"}


def test_no_driver_swallows_a_conflict() -> None:
    """Nothing between a statement and `replaying` catches more than the errors it names."""
    broad = [
        f"{name}:{node.lineno}"
        for name, tree in sources()
        if name.endswith("backends.sql")
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException", "db_exception.DBError"})
    ]
    assert broad == []


REPEATABLE = {
    "ApplicationCredential.authenticate": "reads",
    "Assignment.delete_role_assignments": "deletes by the same conditions",
    "Federation.create_idp": "one transaction, then an error",
    "Federation.update_idp": "one transaction, then an error",
    "Identity.authenticate": "counts one failed attempt or resets the count, in its last transaction",
    "Mapping.create_id_mapping": "an existing mapping is taken as it is",
    "Resource.create_project": "one transaction",
    "Resource.update_project": "one transaction",
    "Revoke.list_events": "reads",
    "ShadowUsers.add_user_to_group_expires": "reads, then writes in one transaction",
    "ShadowUsers.create_federated_user": "one transaction",
    "UnifiedLimit._check_unified_limit_unique": "reads",
}
"""Methods with, or calling, more than one transaction, and why doing all of it again is right."""


def test_methods_of_several_transactions_can_be_repeated() -> None:
    """A method that is not in the list was read by nobody: look whether its first transaction may be done twice."""
    found = {
        f"{kind.name}.{method.name}"
        for name, tree in sources()
        if name.endswith("backends.sql")
        for kind in tree.body
        if isinstance(kind, ast.ClassDef)
        for method in kind.body
        if isinstance(method, ast.FunctionDef) and sum(transactions(method, session_methods(kind))) > 1
    }
    assert found <= REPEATABLE.keys()


def session_methods(kind: ast.ClassDef) -> set[str]:
    """Methods of a class that open a session."""
    return {
        node.name
        for node in kind.body
        if isinstance(node, ast.FunctionDef) and any(opens_session(inner) for inner in ast.walk(node))
    }


def transactions(node: ast.AST, methods: set[str]) -> Iterator[int]:
    """One for every session, and for every call of one of `methods`, that is not inside a session already."""
    if opens_session(node):
        yield 1
        return
    if isinstance(node, ast.Call) and ast.unparse(node.func).removeprefix("self.") in methods:
        yield 1
    for child in ast.iter_child_nodes(node):
        yield from transactions(child, methods)
