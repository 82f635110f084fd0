"""The program that drives Rally on the rally hosts: the parts that need neither Rally nor systemd."""

from __future__ import annotations

import importlib.util
import json
import os
import tarfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from enos_crdb import shipped

PROGRAM = shipped.directory("playbooks") / "roles" / "rally" / "files" / "rally_client.py"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    specification = importlib.util.spec_from_file_location("rally_client", PROGRAM)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def task(status: str = "finished", **workload: Any) -> dict[str, Any]:
    """What Rally stores of a task with one scenario."""
    context = {"plugin_name": "users@openstack", "setup": {"error": None}}
    base = {"contexts_results": [context], "pass_sla": True, "sla_results": {"sla": []}}
    return {"status": status, "validation_result": {}, "subtasks": [{"workloads": [{**base, **workload}]}]}


def test_a_task_that_ended_well(program: ModuleType) -> None:
    assert program.verdict(task()) == ("ok", "")


def test_a_missed_sla(program: ModuleType) -> None:
    rules = [{"success": True, "detail": "fine"}, {"success": False, "detail": "Failure rate 0 <= 25 - Failed"}]
    assert program.verdict(task(pass_sla=False, sla_results={"sla": rules})) == ("sla", "Failure rate 0 <= 25 - Failed")


def test_users_that_could_not_be_made(program: ModuleType) -> None:
    error = {"etype": "ConnectFailure", "msg": "refused\nagain"}
    contexts = [{"plugin_name": "users@openstack", "setup": {"error": error}}]
    status, message = program.verdict(task(pass_sla=False, contexts_results=contexts))
    assert (status, message) == ("crashed", "users@openstack failed: ConnectFailure: refused again")


def test_a_task_that_never_began(program: ModuleType) -> None:
    stored = {"status": "crashed", "validation_result": {"etype": "X", "msg": "disk full"}, "subtasks": []}
    assert program.verdict(stored) == ("crashed", "disk full")


def test_a_task_that_was_aborted_is_not_ok(program: ModuleType) -> None:
    assert program.verdict(task(status="aborted")) == ("crashed", "Rally calls the task aborted")


def test_a_job_that_hangs_is_killed_with_its_children(program: ModuleType, tmp_path: Path) -> None:
    def hang() -> None:
        child = os.fork()
        if child:
            (tmp_path / "child").write_text(str(child))
        time.sleep(60)

    began = time.monotonic()
    program.fork(hang, longest_s=0.5)
    assert time.monotonic() - began < 5
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not _lives(child):
            return
        time.sleep(0.05)
    pytest.fail("the child of the job goes on")


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_job_that_raises_does_not_end_the_one_who_forked(program: ModuleType, tmp_path: Path) -> None:
    def fail() -> None:
        (tmp_path / "began").touch()
        raise RuntimeError("wrong")

    program.fork(fail, longest_s=5)
    assert (tmp_path / "began").exists()


@pytest.fixture
def request_of_one(program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A request for one client, on a host whose units are all dead."""
    monkeypatch.setattr(program, "alive", lambda *_: False)
    (tmp_path / "run" / "a" / "01-x").mkdir(parents=True)
    archive = str(tmp_path / "archive.tar")
    return {"directory": str(tmp_path / "run"), "clients": ["a"], "scenario": "01-x", "archive": archive}


def test_what_a_job_left_is_packed(program: ModuleType, request_of_one: dict[str, Any], tmp_path: Path) -> None:
    place = tmp_path / "run" / "a" / "01-x"
    (place / "status.json").write_text('{"status": "ok"}')
    (place / "report.json").write_text("{}")
    (place / "job.json").write_text("not for the user")
    assert program.wait(request_of_one) == {"clients": {"a": {"status": "ok"}}}
    with tarfile.open(request_of_one["archive"]) as archive:
        assert archive.getnames() == ["a/status.json", "a/report.json"]


def test_a_client_that_died_leaves_a_status(
    program: ModuleType, request_of_one: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "run" / "a" / "01-x" / "rally.log").write_text("one\nkilled by the kernel\n")
    status = program.wait(request_of_one)["clients"]["a"]
    assert status["status"] == "crashed"
    assert "killed by the kernel" in status["message"]
    assert json.loads((tmp_path / "run" / "a" / "01-x" / "status.json").read_text()) == status
