"""Differences of keystone_crdb's counters over a scenario."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from enos_crdb import traffic
from enos_crdb.errors import StateError

SLUG = "01-create-user"


def keep(run: Path, host: str, content: Any) -> None:
    path = run / "hosts" / host / traffic.DIRECTORY / f"{SLUG}.json"
    path.parent.mkdir(parents=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def moment(count: int) -> dict[str, Any]:
    names = ("calls", "gave_up", "replays", "reconnects", "statements", "round_trips")
    return {"total": dict.fromkeys(names, count), "operations": {}}


def test_keystones_are_summed(tmp_path: Path) -> None:
    keep(tmp_path, "a", {"before": moment(10), "after": moment(13)})
    keep(tmp_path, "b", {"before": moment(0), "after": moment(4)})
    found = traffic.read(tmp_path, ["a", "b"], SLUG)
    assert found == traffic.Traffic(round_trips=7, statements=7, replays=14, gave_up=7)


def test_counters_of_another_program_are_refused(tmp_path: Path) -> None:
    before, after = ({"total": {"statements": count, "replays": 0}} for count in (1, 2))
    keep(tmp_path, "a", {"before": before, "after": after})
    with pytest.raises(StateError, match="lack round_trips, reconnects, gave_up"):
        traffic.read(tmp_path, ["a"], SLUG)


@pytest.mark.parametrize(
    "content", [None, {"before": moment(1)}, {"after": moment(1)}], ids=["none", "after", "before"]
)
def test_a_sum_without_one_of_them_is_no_sum(tmp_path: Path, content: Any) -> None:
    keep(tmp_path, "a", {"before": moment(10), "after": moment(13)})
    if content:
        keep(tmp_path, "b", content)
    assert traffic.read(tmp_path, ["a", "b"], SLUG) is None


def test_a_keystone_that_was_restarted_began_at_nought(tmp_path: Path) -> None:
    keep(tmp_path, "a", {"before": moment(10), "after": moment(3)})
    found = traffic.read(tmp_path, ["a"], SLUG)
    assert found is not None
    assert found.statements == 3


@pytest.mark.parametrize("content", ["{", "[]", {"before": 1, "after": 2}, {"before": {}, "after": {"total": 3}}])
def test_a_torn_file_is_named(tmp_path: Path, content: Any) -> None:
    keep(tmp_path, "a", content)
    with pytest.raises(StateError, match=SLUG):
        traffic.read(tmp_path, ["a"], SLUG)


def count(run: Path, host: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    path = run / "hosts" / host / traffic.DATABASE / f"{SLUG}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"before": before, "after": after}))


def test_commits_and_pings_are_told_where_they_were_counted(tmp_path: Path) -> None:
    names = ("round_trips", "statements", "replays", "reconnects", "gave_up", "commits", "rollbacks", "pings")
    after = {"total": {name: number for number, name in enumerate(names, 1)}}
    keep(tmp_path, "a", {"before": {"total": dict.fromkeys(names, 0)}, "after": after})
    found = traffic.read(tmp_path, ["a"], SLUG)
    assert found is not None
    assert (found.commits, found.rollbacks, found.pings) == (6, 7, 8)


def test_counters_of_database_nodes_are_summed(tmp_path: Path) -> None:
    count(tmp_path, "a", {"Questions": 10, "version": "10.11"}, {"Questions": 30, "version": "10.11", "Com_commit": 4})
    count(tmp_path, "b", {"Questions": 1}, {"Questions": 2})
    assert traffic.database(tmp_path, ["a", "b"], SLUG) == {"Questions": 21, "Com_commit": 4}
    assert traffic.database(tmp_path, ["a", "b", "c"], SLUG) is None


def test_a_gauge_of_a_database_may_fall(tmp_path: Path) -> None:
    count(tmp_path, "a", {"Threads_connected": 9, "Questions": 10}, {"Threads_connected": 4, "Questions": 30})
    assert traffic.database(tmp_path, ["a"], SLUG) == {"Threads_connected": -5, "Questions": 20}
