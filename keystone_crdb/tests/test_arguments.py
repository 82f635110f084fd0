"""Arguments are what they were before a call."""

from __future__ import annotations

from typing import Any

from keystone.common.driver_hints import Hints

from keystone_crdb.arguments import Snapshot


def test_hints_get_their_filters_and_limit_back() -> None:
    hints = Hints()
    hints.add_filter("name", "x")
    hints.set_limit(5)
    filters = hints.filters
    before = Snapshot([hints])
    hints.filters.clear()
    hints.filters = []
    hints.set_limit(6, truncated=True)
    hints.cannot_match = True
    before.restore()
    assert hints.filters is filters
    assert [entry["name"] for entry in hints.filters] == ["name"]
    assert hints.limit == {"limit": 5, "truncated": False}
    assert not hints.cannot_match


def test_a_filter_that_was_changed_is_changed_back() -> None:
    hints = Hints()
    hints.add_filter("name", "x")
    before = Snapshot([hints])
    hints.filters[0]["value"] = "y"
    before.restore()
    assert hints.filters[0]["value"] == "x"


def test_nested_containers_keep_their_identity() -> None:
    inner: dict[str, Any] = {"tags": ["a"], "options": {"x": {1, 2}}}
    user = {"name": "u", "inner": inner}
    before = Snapshot([(user,)])
    tags = inner["tags"]
    assert isinstance(tags, list)
    tags.append("b")
    inner["options"]["x"].add(3)
    inner.pop("options")
    user.clear()
    before.restore()
    assert user == {"name": "u", "inner": {"tags": ["a"], "options": {"x": {1, 2}}}}
    assert user["inner"] is inner
    assert inner["tags"] is tags


def test_a_snapshot_can_be_restored_again_and_again() -> None:
    names = ["a"]
    before = Snapshot([names])
    for _ in range(2):
        names.append("b")
        before.restore()
        assert names == ["a"]


def test_containers_that_hold_themselves() -> None:
    names: list[object] = []
    names.append(names)
    before = Snapshot([names])
    names.clear()
    before.restore()
    assert names[0] is names


def test_order_of_keys_is_restored() -> None:
    user = {"a": 1, "b": 2}
    before = Snapshot([user])
    user["a"] = user.pop("a")
    before.restore()
    assert list(user) == ["a", "b"]


def test_other_objects_are_left_alone() -> None:
    class Thing:
        def __init__(self) -> None:
            self.names = ["a"]

    thing = Thing()
    before = Snapshot([thing, "text", None, 1])
    thing.names.append("b")
    before.restore()
    assert thing.names == ["a", "b"]
