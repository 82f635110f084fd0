"""From what Rally wrote to samples. The reports in tests/data/rally are real ones, of Rally 5.1.1."""

from __future__ import annotations

import io
import json
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from enos_crdb import rally
from enos_crdb.errors import BenchError
from enos_crdb.model import RESPONSE
from enos_crdb.record import Client, Outcome

DATA = Path(__file__).parent.parent / "data" / "rally"


def read(path: Path) -> list[Any]:
    return rally.samples(path, run="r", scenario="keystone/x", client="c")


def report(tmp_path: Path, **changes: Any) -> Path:
    """A real report, changed."""
    document = json.loads((DATA / "ok.json").read_text())
    document["tasks"][0]["subtasks"][0]["workloads"][0].update(changes)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    return path


def test_one_row_per_iteration_and_per_atomic_action() -> None:
    rows = read(DATA / "ok.json")
    workload = json.loads((DATA / "ok.json").read_text())["tasks"][0]["subtasks"][0]["workloads"][0]
    iterations = [row for row in rows if row.metric == rally.ITERATION]
    assert len(iterations) == workload["total_iteration_count"] == 4
    assert [row.iteration for row in iterations] == [0, 1, 2, 3]
    assert [row.value for row in iterations] == [item["duration"] for item in workload["data"]]
    assert [row.started_at for row in iterations] == [item["timestamp"] for item in workload["data"]]
    assert len(rows) == 4 + sum(len(item["atomic_actions"]) for item in workload["data"])
    assert {row.metric for row in rows} == {
        "iteration", "keystone_v3.create_role", "keystone_v3.add_role", "keystone_v3.list_roles",
    }  # fmt: skip
    assert {(row.run, row.scenario, row.client, row.unit, row.outcome, row.error) for row in rows} == {
        ("r", "keystone/x", "c", "s", "ok", "")
    }
    assert all(row.value > 0 for row in rows)


def late(tmp_path: Path, *waits_s: float) -> Path:
    """A real report, its iterations begun so long after their intended starts."""
    workload = json.loads((DATA / "ok.json").read_text())["tasks"][0]["subtasks"][0]["workloads"][0]
    for iteration, wait in zip(workload["data"], waits_s, strict=True):
        table = {"title": "Late starts", "chart_plugin": "StatsTable", "data": [["after the intended start", wait]]}
        iteration["output"]["additive"].append(table)
    return report(tmp_path, data=workload["data"])


def test_an_open_loop_tells_how_long_an_answer_took_from_the_intended_start(tmp_path: Path) -> None:
    rows = read(late(tmp_path, 0.0, 0.5, -0.0001, 2.0))
    iterations = [row for row in rows if row.metric == rally.ITERATION]
    responses = [row for row in rows if row.metric == RESPONSE]
    assert [row.value - whole.value for row, whole in zip(responses, iterations, strict=True)] == pytest.approx(
        [0.0, 0.5, 0.0, 2.0]  # a clock that is corrected does not make an answer come before its question
    )
    for row, whole in zip(responses, iterations, strict=True):
        assert row.intended_at == row.started_at == pytest.approx(whole.started_at - (row.value - whole.value))
        assert row.intended_at == whole.intended_at
        assert (row.iteration, row.outcome) == (whole.iteration, whole.outcome)
    assert all(row.intended_at is not None for row in rows)


def test_a_closed_loop_has_no_intended_starts() -> None:
    rows = read(DATA / "ok.json")
    assert {row.intended_at for row in rows} == {None}
    assert RESPONSE not in {row.metric for row in rows}


def test_failures_are_kept_with_their_error_and_without_the_traceback() -> None:
    rows = read(DATA / "failures.json")
    iterations = [row for row in rows if row.metric == rally.ITERATION]
    assert [row.outcome for row in iterations] == ["failed", "ok", "ok", "failed"]
    assert iterations[0].error.startswith("ConnectFailure: Unable to establish connection to http://10.0.1.11:5000/v3/")
    assert "Traceback" not in iterations[0].error
    assert "\n" not in iterations[0].error
    actions = {row.metric: row for row in rows if row.iteration == 0}
    assert actions["keystone_v3.create_user"].outcome == "ok"
    assert actions["keystone_v3.create_user"].error == ""
    assert actions["keystone_v3.update_user"].outcome == "failed"
    assert actions["keystone_v3.update_user"].error == iterations[0].error


def test_actions_inside_actions_become_paths(tmp_path: Path) -> None:
    inner = {"name": "keystone_v3.fetch_token", "started_at": 2.0, "finished_at": 2.5, "children": []}
    outer = {"name": "keystone.fetch_token", "started_at": 1.0, "finished_at": 3.0, "children": [inner]}
    iteration = {"timestamp": 1.0, "duration": 2.0, "error": [], "atomic_actions": [outer]}
    rows = read(report(tmp_path, data=[iteration], total_iteration_count=1))
    assert [(row.metric, row.value) for row in rows] == [
        ("iteration", 2.0),
        ("keystone.fetch_token", 2.0),
        ("keystone.fetch_token/keystone_v3.fetch_token", 0.5),
    ]


def test_a_task_without_an_iteration_has_no_samples(tmp_path: Path) -> None:
    assert read(report(tmp_path, data=[], total_iteration_count=0)) == []


def test_iterations_that_were_lost_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="counted 5 iterations and wrote 4"):
        read(report(tmp_path, total_iteration_count=5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('{"info": {"format_version": "2.0"}, "tasks": []}', "format_version '2.0'", id="later-format"),
        pytest.param('{"tasks": []}', "format_version None", id="no-version"),
        pytest.param("[]", "format_version None", id="a-list"),
        pytest.param('{"info": {"format_version": "1.2"}, "tasks": [{"sub', "is not valid JSON", id="torn"),
        pytest.param('{"info": {"format_version": "1.2"}, "tasks": [{}]}', "KeyError 'subtasks'", id="other-shape"),
    ],
)
def test_a_report_that_is_not_understood(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(BenchError, match=message):
        read(path)


def test_a_report_that_is_absent(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="cannot be read"):
        read(tmp_path / "report.json")


def test_a_hundred_thousand_iterations_take_seconds(tmp_path: Path) -> None:
    action = {"name": "keystone_v3.create_user", "started_at": 1.0, "finished_at": 2.0, "children": []}
    data = [
        {"timestamp": float(i), "duration": 1.0, "error": [], "atomic_actions": [action, action]} for i in range(20_000)
    ]
    path = report(tmp_path, data=data, total_iteration_count=len(data))
    began = time.process_time()
    assert len(read(path)) == 60_000
    assert time.process_time() - began < 2.0  # a fifth of a hundred thousand, on a slow machine


CLIENTS = (
    Client(name="rally-1-to-a", rally="rally-1", keystone="a", auth_url="", region="a"),
    Client(name="rally-2-to-b", rally="rally-2", keystone="b", auth_url="", region="b"),
)
STATUS = {"status": "ok", "message": "", "started_at": 1700000000.0, "finished_at": 1700000010.5}


def send(incoming: Path, host: str, files: dict[str, str]) -> None:
    incoming.mkdir(exist_ok=True)
    with tarfile.open(incoming / f"{host}.tar", "w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))


def receive(tmp_path: Path, **options: Any) -> tuple[Outcome, ...]:
    return rally.receive(tmp_path, tmp_path / "incoming", 3, "keystone/get-entities", CLIENTS, **options)


def test_what_comes_back_is_kept_byte_by_byte(tmp_path: Path) -> None:
    send(
        tmp_path / "incoming",
        "rally-1",
        {
            "rally-1-to-a/report.json": '{"a": "é"}',
            "rally-1-to-a/report.html": "<html>",
            "rally-1-to-a/status.json": json.dumps(STATUS),
        },
    )
    first, second = receive(tmp_path)
    assert first == Outcome(
        client="rally-1-to-a",
        status="ok",
        file="rally/03-get-entities-rally-1-to-a.json",
        started_at="2023-11-14T22:13:20.000+00:00",
        finished_at="2023-11-14T22:13:30.500+00:00",
    )
    assert first.ok
    assert (tmp_path / "rally/03-get-entities-rally-1-to-a.json").read_text() == '{"a": "é"}'
    assert (tmp_path / "rally/03-get-entities-rally-1-to-a.html").stat().st_mode & 0o777 == 0o600
    assert (second.status, second.file) == ("lost", None)
    assert "rally-2" in second.message
    assert not list((tmp_path / "incoming").iterdir())


def test_a_refused_task_has_no_times(tmp_path: Path) -> None:
    status = {"status": "invalid", "message": "bad", "started_at": None, "finished_at": None}
    send(tmp_path / "incoming", "rally-1", {"rally-1-to-a/status.json": json.dumps(status)})
    first, _ = receive(tmp_path)
    assert (first.ok, first.status, first.message, first.started_at) == (False, "invalid", "bad", None)


def test_secrets_do_not_reach_the_disk(tmp_path: Path) -> None:
    send(tmp_path / "incoming", "rally-1", {"rally-1-to-a/rally.log": "password=hunter2hunter2"})
    receive(tmp_path, secrets=("hunter2hunter2",))
    assert (tmp_path / "rally/03-get-entities-rally-1-to-a.log").read_text() == "password=********"


def test_an_archive_cannot_write_elsewhere(tmp_path: Path) -> None:
    names = ("../report.json", "rally-1-to-a/../../report.json", "/etc/report.json", "rally-1-to-a/evil.sh")
    send(tmp_path / "incoming", "rally-1", dict.fromkeys(names, "x"))
    receive(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
