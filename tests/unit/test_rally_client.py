"""The program that drives Rally on the rally hosts: the parts that need neither Rally nor systemd."""

from __future__ import annotations

import configparser
import itertools
import json
import multiprocessing
import os
import select
import signal
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from tests.unit import role_files


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return role_files.program("rally_client")


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


def test_a_job_that_hangs_is_killed_with_its_children(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    alive, held = os.pipe()  # the job and its child hold the other end as long as they live
    seconds = iter((0.0, 59.0, 61.0))

    def hang() -> None:
        if os.fork() == 0:
            os.write(held, b"begun")
        signal.alarm(60)  # the last resort, for both
        signal.pause()

    def until_the_child_lives(_: float) -> None:
        if os.getpid() == here and not begun:
            begun.append(os.read(alive, 5))

    here, begun = os.getpid(), list[bytes]()
    monkeypatch.setattr(program.time, "monotonic", lambda: next(seconds))
    monkeypatch.setattr(program.time, "sleep", until_the_child_lives)
    program.fork(hang, longest_s=60)
    monkeypatch.undo()
    os.close(held)
    assert begun == [b"begun"]
    assert next(seconds, None) is None, "it is killed at its deadline, and not before"
    ended, _, _ = select.select([alive], [], [], 20)
    assert ended, "the child of the job goes on"
    assert os.read(alive, 5) == b""


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


class Consumer:
    """Of Rally's `ResultConsumer`, what its watch for an abortion uses."""

    def __init__(self, *, aborted: bool) -> None:
        self.is_done, self.aborted, self.actions = threading.Event(), aborted, list[str]()
        self.task, self.runner = self, self

    def __getitem__(self, key: str) -> str:
        return key

    def is_task_in_aborting_status(self, uuid: str, check_soft: bool) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.actions.append("abort")

    def update_status(self, status: str) -> None:
        self.actions.append(status)


@pytest.fixture
def watch(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[[Consumer], None]:
    """Rally's own function, as we replace it in a Rally that has only this."""
    engine = SimpleNamespace(ResultConsumer=Consumer)
    consts = SimpleNamespace(TaskStatus=SimpleNamespace(ABORTED="aborted"))
    for name, module in {"rally": SimpleNamespace(consts=consts), "rally.task": SimpleNamespace(engine=engine)}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(Consumer, "wait_and_abort", None, raising=False)
    program.end_at_once()
    return Consumer.wait_and_abort  # type: ignore[attr-defined, no-any-return]


def test_a_task_ends_with_its_load(program: ModuleType, watch: Callable[[Consumer], None]) -> None:
    consumer = Consumer(aborted=True)
    thread = threading.Thread(target=watch, args=(consumer,))
    thread.start()
    consumer.is_done.set()
    thread.join(program.ABORTED_S / 2)
    assert not thread.is_alive(), "Rally's own would sleep on"
    assert consumer.actions == [], "it had ended by itself"


def test_a_task_that_is_to_be_aborted_is(
    program: ModuleType, watch: Callable[[Consumer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "ABORTED_S", 0.01)
    watch(consumer := Consumer(aborted=True))
    assert consumer.actions == ["abort", "aborted"]


def test_what_an_open_loop_meant_to_start_is_in_its_status(program: ModuleType, tmp_path: Path) -> None:
    assert "intended" not in program.obituary(tmp_path)
    (tmp_path / "intended").write_text("300")
    assert program.obituary(tmp_path)["intended"] == 300


# The open loop


def loop(**changes: Any) -> dict[str, Any]:
    return {"rate_per_s": 4.0, "arrivals": "even", "seed": 1, "concurrency": 3, **changes}


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        pytest.param({"times": 3}, [0.0, 0.25, 0.5], id="times"),
        pytest.param({"duration_s": 1.0}, [0.0, 0.25, 0.5, 0.75], id="duration"),
        pytest.param({"duration_s": 1.1}, [0.0, 0.25, 0.5, 0.75, 1.0], id="duration-that-is-no-multiple"),
        pytest.param({"duration_s": 0.3, "rate_per_s": 10.0}, [0.0, 0.1, 0.2], id="rounding"),
        pytest.param({"duration_s": 0.1}, [0.0], id="shorter-than-one-gap"),
    ],
)
def test_even_starts(program: ModuleType, amount: dict[str, float], expected: list[float]) -> None:
    assert program.starts(loop(**amount), name="a", phase=0.0) == pytest.approx(expected)


def test_rallies_of_one_load_take_turns(program: ModuleType) -> None:
    first, second = (program.starts(loop(times=3), name="a", phase=phase) for phase in (0.0, 0.5))
    assert sorted(first + second) == pytest.approx([0.0, 0.125, 0.25, 0.375, 0.5, 0.625])


def test_random_starts_come_from_the_seed_and_differ_between_rallies(program: ModuleType) -> None:
    once, again, other, reseeded = (
        program.starts(loop(times=2000, arrivals="poisson", seed=seed), name=name, phase=0.0)
        for seed, name in ((1, "a"), (1, "a"), (1, "b"), (2, "a"))
    )
    assert once == again
    assert once[0] == other[0] == 0.0
    assert once[1] not in (other[1], reseeded[1])
    assert once == sorted(once)
    assert len(once) == 2000
    gaps = [later - earlier for earlier, later in itertools.pairwise(once)]
    assert sum(gaps) / len(gaps) == pytest.approx(0.25, rel=0.1)
    assert sum(gap > 0.25 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.05)  # 1/e: exponential


def test_random_starts_fill_the_duration(program: ModuleType) -> None:
    found = program.starts(loop(duration_s=100.0, arrivals="poisson"), name="a", phase=0.0)
    assert 99.0 - 3 < found[-1] < 100.0
    assert len(found) == pytest.approx(400, rel=0.2)


class Counted:
    """The number that processes share."""

    def __init__(self, first: int) -> None:
        self._numbers = itertools.count(first)

    def __next__(self) -> int:
        return next(self._numbers)


class VirtualTime:
    """Time that stands still while a thread works; when all of them wait, it is the next waking at once."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self._threads = 0
        self._wakings: list[float] = []
        self._changed = threading.Condition()

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._changed:
            waking = self.now + seconds
            self._wakings.append(waking)
            self._pass()
            assert self._changed.wait_for(lambda: self.now >= waking, timeout=20)
            self._wakings.remove(waking)

    def Thread(self, *, target: Callable[..., None], args: tuple[Any, ...]) -> threading.Thread:
        def work() -> None:
            target(*args)
            with self._changed:
                self._threads -= 1
                self._pass()

        self._threads += 1
        return threading.Thread(target=work)

    def Event(self) -> VirtualEvent:
        return VirtualEvent(self)

    def _pass(self) -> None:
        if self._wakings and len(self._wakings) == self._threads:
            self.now = min(self._wakings)
            self._changed.notify_all()


class VirtualEvent:
    """One that nobody sets."""

    def __init__(self, clock: VirtualTime) -> None:
        self._clock = clock

    def wait(self, seconds: float) -> bool:
        self._clock.sleep(seconds)
        return False


def filled(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, *, slots: int, takes_s: float, gaps_s: list[float]
) -> list[float]:
    """How late each iteration started, in the order of the intended starts."""
    clock = VirtualTime()
    monkeypatch.setattr(program, "time", clock)
    monkeypatch.setattr(program, "threading", clock)
    intended = [clock.now + 0.05 + gap for gap in gaps_s]
    done: list[tuple[float, float]] = []

    def iterate(_: int) -> Callable[[float], None]:
        def load(at: float) -> None:
            done.append((at, clock.now))
            clock.sleep(takes_s)

        return load

    program.fill(range(slots), Counted(slots), intended, iterate, threading.Event())
    return [started - at for at, started in sorted(done)]


def test_an_open_loop_does_not_wait_for_answers(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    late = filled(program, monkeypatch, slots=10, takes_s=0.3, gaps_s=[number * 0.05 for number in range(8)])
    assert late == pytest.approx([0.0] * 8, abs=0.001)


def test_with_all_slots_taken_starts_are_late_and_nothing_is_left_out(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = filled(program, monkeypatch, slots=2, takes_s=0.1, gaps_s=[number * 0.01 for number in range(8)])
    # Each pair begins when the one before it has ended, 0.1 s later, and should have begun 0.02 s later.
    assert late == pytest.approx([0.0, 0.0, 0.08, 0.08, 0.16, 0.16, 0.24, 0.24], abs=0.001)


def test_an_aborted_open_loop_starts_nothing_more(program: ModuleType) -> None:
    aborted, began = threading.Event(), time.monotonic()
    started: list[float] = []

    def iterate(_: int) -> Callable[[float], None]:
        return lambda at: (started.append(at), aborted.set())[0]  # type: ignore[func-returns-value]

    program.fill(range(3), Counted(3), [time.time(), *[time.time() + 60] * 9], iterate, aborted)
    assert len(started) == 1
    assert time.monotonic() - began < 5


def test_what_does_not_end_after_a_stop_is_given_up(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    rally = ModuleType("rally")
    monkeypatch.setattr(rally, "exceptions", ModuleType("exceptions"), raising=False)
    monkeypatch.setattr(rally.exceptions, "RallyException", RuntimeError, raising=False)
    monkeypatch.setitem(sys.modules, "rally", rally)
    hanging = multiprocessing.Process(target=signal.pause)
    hanging.start()

    class Api:
        class task:
            asked: ClassVar[list[str]] = []

            @classmethod
            def abort(cls, uuid: str) -> None:
                cls.asked.append(uuid)
                if len(cls.asked) == 1:
                    raise RuntimeError("the task is being checked")

    waits: list[float] = []
    end = program.End()
    monkeypatch.setattr(end.reached, "wait", waits.append)
    program.stop(Api, "abc", 30.0, end)
    hanging.join(5)
    assert waits == [1, 30.0], "until it is asked again, and until what is in flight has ended"
    assert (end.overdue.is_set(), end.cut.is_set(), end.reached.is_set()) == (True, True, False)
    assert (hanging.exitcode, Api.task.asked) == (-signal.SIGKILL, ["abc", "abc"])


def test_the_timeout_stands_where_rally_openstack_reads_it(program: ModuleType, tmp_path: Path) -> None:
    """Measured: the same option in a section [openstack] is ignored, and 180 s are waited."""
    parser = configparser.ConfigParser()
    parser.read_string(program.configuration(tmp_path, 7.5))
    assert parser.defaults()["openstack_client_http_timeout"] == "7.5"
    assert parser["database"]["connection"] == f"sqlite:///{tmp_path}/rally.sqlite"


# What goes on after a run


class Systemd:
    """Units that run, as `rally_client` sees and stops them."""

    def __init__(self, program: ModuleType, monkeypatch: pytest.MonkeyPatch, *units: str) -> None:
        self.units = set(units)
        self.program = program
        monkeypatch.setattr(program.subprocess, "run", self.run)

    def run(self, arguments: list[str], **_: Any) -> Any:
        printed, status = "", 0
        if arguments[1] == "list-units":
            start = arguments[-1].removesuffix("*")
            printed = "".join(f"{unit}.service loaded active\n" for unit in self.units if unit.startswith(start))
        elif arguments[1] == "stop":
            self.units -= {arguments[2]}
        elif arguments[1] == "is-active":
            status = 0 if arguments[-1] in self.units else 3
        return self.program.subprocess.CompletedProcess(arguments, status, printed, "")


def run_of(name: str, *clients: str) -> dict[str, Any]:
    described = [{"name": client, "environment": {}, "http_timeout_s": 1.0} for client in clients]
    return {"directory": f"/nowhere/{name}", "clients": described}


def test_no_load_goes_on_after_the_end_of_its_run(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other = run_of("20261122T100000Z-aaaa", "a", "b"), run_of("20261122T100000Z-bbbb", "a")
    mine = [program.unit(run, name) for name in ("rally-1-to-keystone-1", "rally-1-to-keystone-2")]
    theirs = program.unit(other, "rally-1-to-keystone-1")
    systemd = Systemd(program, monkeypatch, *mine, theirs, "ssh")
    assert program.finish(run) == {"stopped": mine}
    assert systemd.units == {theirs, "ssh"}
    assert program.finish(run) == {"stopped": []}


def test_a_run_ends_the_load_of_every_other(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other = run_of("20261122T100000Z-aaaa", "a"), run_of("20261122T100000Z-bbbb", "a", "b")
    theirs = [program.unit(other, name) for name in ("a", "b")]
    systemd = Systemd(program, monkeypatch, program.unit(run, "a"), *theirs, "ssh")
    assert program.prepare(run) == {"made": []}
    assert systemd.units == {program.unit(run, "a"), "ssh"}
