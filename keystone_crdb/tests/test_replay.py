"""When a driver call is repeated, and when it must not be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy
from oslo_db import exception
from sqlalchemy.engine import Engine
from sqlalchemy.orm.exc import StaleDataError

from keystone_crdb import replay, wire
from keystone_crdb.errors import AmbiguousResult, TransactionConflict
from keystone_crdb.options import Limits
from keystone_crdb.replay import pause_s, replaying
from keystone_crdb.scope import scope

Counted = Callable[[str], dict[str, int]]
GetLimits = Callable[[], Limits]


class Failing:
    """Raises each of `failures` once, then returns its arguments."""

    __name__ = "failing"

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return args, kwargs


@pytest.fixture
def _listening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_listening", ["psycopg2"])


@pytest.mark.parametrize(
    "conflict",
    [TransactionConflict(), exception.DBDeadlock(), StaleDataError("0 rows")],
    ids=lambda error: type(error).__name__,
)
def test_a_conflict_is_repeated(conflict: Exception, limits: GetLimits, counted: Counted) -> None:
    function = Failing(conflict, conflict)
    assert replaying(function, "a.conflict", limits)(1, two=2) == ((1,), {"two": 2})
    assert counted("a.conflict") == {"calls": 1, "replays": 2}


def test_after_the_last_repetition_the_error_is_raised(limits: GetLimits, counted: Counted) -> None:
    function = Failing(*[TransactionConflict() for _ in range(9)])
    with pytest.raises(TransactionConflict):
        replaying(function, "a.endless", limits)()
    assert function.calls == 4, "the call and three repetitions"
    assert counted("a.endless") == {"calls": 1, "replays": 3, "gave_up": 1}


def test_an_ambiguous_commit_is_never_repeated(limits: GetLimits, counted: Counted) -> None:
    function = Failing(AmbiguousResult())
    with pytest.raises(AmbiguousResult):
        replaying(function, "a.ambiguous", limits)()
    assert function.calls == 1
    assert counted("a.ambiguous") == {"calls": 1, "gave_up": 1}


@pytest.mark.usefixtures("_listening")
def test_a_connection_lost_before_commit_is_repeated(limits: GetLimits, counted: Counted) -> None:
    assert replaying(Failing(exception.DBConnectionError()), "a.lost", limits)(1) == ((1,), {})
    assert counted("a.lost") == {"calls": 1, "reconnects": 1}


@pytest.mark.usefixtures("_listening")
def test_a_connection_lost_after_commit_was_sent_is_not_repeated(limits: GetLimits, counted: Counted) -> None:
    calls = []

    def committing() -> None:
        calls.append(1)
        scope.commit_sent = True
        raise exception.DBConnectionError()

    with pytest.raises(exception.DBConnectionError):
        replaying(committing, "a.late", limits)()
    assert calls == [1]
    assert counted("a.late") == {"calls": 1, "gave_up": 1}


def test_without_the_plugin_nobody_knows_whether_commit_was_sent(
    limits: GetLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_listening", [])
    function = Failing(exception.DBConnectionError())
    with pytest.raises(exception.DBConnectionError):
        replaying(function, "a.unknown", limits)()
    assert function.calls == 1


@pytest.mark.usefixtures("_listening")
def test_a_commit_of_an_attempt_that_conflicted_does_not_count_for_the_next(limits: GetLimits) -> None:
    failures: list[Exception] = [TransactionConflict(), exception.DBConnectionError()]

    def function() -> str:
        if failures:
            failure = failures.pop(0)
            scope.commit_sent = isinstance(failure, TransactionConflict)
            raise failure
        return "done"

    assert replaying(function, "a.both", limits)() == "done"


@pytest.mark.parametrize("error", [ValueError(), exception.DBDuplicateEntry(), exception.DBError()])
def test_other_errors_are_not_repeated(error: Exception, limits: GetLimits, counted: Counted) -> None:
    function = Failing(error)
    with pytest.raises(type(error)):
        replaying(function, "a.other", limits)()
    assert function.calls == 1
    assert counted("a.other") == {"calls": 1}


def test_only_the_outermost_call_repeats(limits: GetLimits, counted: Counted) -> None:
    inner = Failing(TransactionConflict())
    outer_calls = []

    def outer() -> Any:
        outer_calls.append(1)
        return replaying(inner, "a.inner", limits)("x")

    assert replaying(outer, "a.outer", limits)() == (("x",), {})
    assert len(outer_calls) == 2
    assert counted("a.outer") == {"calls": 1, "replays": 1}
    assert counted("a.inner") == {}


def test_arguments_are_restored_before_a_repetition(limits: GetLimits) -> None:
    seen = []

    def function(names: list[str], *, options: dict[str, list[int]]) -> None:
        seen.append((list(names), {key: list(value) for key, value in options.items()}))
        names.clear()
        options["a"].append(1)
        if len(seen) < 3:
            raise TransactionConflict()

    names = ["x"]
    replaying(function, "a.arguments", limits)(names, options={"a": []})
    assert seen == [(["x"], {"a": []})] * 3
    assert names == [], "what the attempt that counts did to them stays"


def test_a_generator_is_run_where_it_can_be_repeated(limits: GetLimits) -> None:
    attempts = []

    def function() -> Iterator[int]:
        attempts.append(1)
        yield 1
        if len(attempts) == 1:
            raise TransactionConflict()
        yield 2

    assert list(replaying(function, "a.generator", limits)()) == [1, 2]


def test_inside_somebody_elses_transaction_nothing_is_repeated(
    engine: Engine, limits: GetLimits, counted: Counted
) -> None:
    function = Failing(TransactionConflict())
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))
        with pytest.raises(TransactionConflict):
            replaying(function, "a.within", limits)()
    assert function.calls == 1
    assert counted("a.within") == {"calls": 1, "gave_up": 1}
    assert replaying(Failing(TransactionConflict()), "a.after", limits)(1) == ((1,), {})


def test_threads_do_not_share_their_calls(limits: GetLimits, counted: Counted) -> None:
    barrier = threading.Barrier(4)

    def function() -> None:
        barrier.wait(10)

    call = replaying(function, "a.thread", limits)
    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted("a.thread") == {"calls": 4}


def test_pauses_are_jittered_doubled_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "_uniform", lambda low, high: (low, high))
    limits = Limits(max_replays=25, base_delay_s=0.005, max_delay_s=1.0)
    bounds: list[Any] = [pause_s(attempt, limits) for attempt in (0, 1, 7, 8, 10_000)]
    assert bounds == [(0.0, 0.005), (0.0, 0.01), (0.0, 0.64), (0.0, 1.0), (0.0, 1.0)]
