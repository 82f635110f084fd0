"""What a user sees while things happen."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from enos_crdb import events
from enos_crdb.cli.display import line, showing
from enos_crdb.model import Event


def shown(*published: Event, terminal: bool = False, verbose: bool = False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=100, force_terminal=terminal, color_system=None)
    with showing(console, verbose=verbose):
        for event in published:
            events.publish(event)
    return stream.getvalue()


PHASE = Event(kind="phase", text="Configuring the database", data={"name": "database"})
DONE = Event(kind="phase-done", text="Configuring the database", data={"name": "database", "seconds": 12.34})


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_a_finished_phase_says_how_long_it_took(terminal: bool) -> None:
    assert "Configuring the database 12.3 s" in shown(PHASE, DONE, terminal=terminal)


TASK = Event(kind="task", text="Install PostgreSQL")


def lines(*published: Event, verbose: bool = False) -> list[str]:
    """Without a terminal, and without the seconds since the start."""
    return [line.split(" s  ", 1)[1] for line in shown(*published, verbose=verbose).splitlines()]


def test_without_a_terminal_a_phase_is_one_line_with_what_came_of_it() -> None:
    done = replace(DONE, data={**DONE.data, "result": "40 iterations [all]"})
    assert lines(PHASE, TASK, done, PHASE, DONE) == [
        "Configuring the database 12.3 s  40 iterations [all]",
        "Configuring the database 12.3 s",
    ]


def test_a_remark_breaks_the_line_of_its_phase() -> None:
    assert lines(PHASE, Event(kind="note", text="by the way"), DONE) == [
        "Configuring the database",
        "  by the way",
        "✓ Configuring the database 12.3 s",
    ]


def test_a_phase_that_was_not_done_says_so() -> None:
    failed = replace(DONE, kind="phase-failed")
    assert lines(PHASE, failed) == ["Configuring the database not done after 12.3 s"]
    assert shown(PHASE, replace(PHASE, text="the next")).count("\n") == 2, "a line that was begun is ended"


def test_a_phase_tells_how_it_ended() -> None:
    told: list[Event] = []
    with events.listening(told.append):
        with events.phase("a", "A") as phase:
            phase.result = "3 of 4"
        with pytest.raises(KeyboardInterrupt), events.phase("b", "B"):
            raise KeyboardInterrupt
    assert [event.kind for event in told] == ["phase", "phase-done", "phase", "phase-failed"]
    assert told[1].data["result"] == "3 of 4"


def test_tasks_are_lines_when_asked_for() -> None:
    assert lines(PHASE, TASK, DONE, verbose=True) == [
        "Configuring the database",
        "  Install PostgreSQL",
        "✓ Configuring the database 12.3 s",
    ]


def test_brackets_in_a_task_are_text_not_markup() -> None:
    assert "versions [output] [/red]" in shown(Event(kind="note", text="versions [output] [/red]"))


def test_a_failure_names_host_and_task() -> None:
    assert "failed database-1: Start the server" in shown(
        Event(kind="failed", text="Start the server", host="database-1")
    )


def test_what_a_task_answered_is_shown_only_when_asked_for() -> None:
    changed = Event(kind="changed", text="Start", host="database-1", data={"stdout": "started at noon"})
    assert "started at noon" not in shown(changed)
    assert "started at noon" in shown(changed, verbose=True)


def test_nothing_is_shown_after_the_block() -> None:
    stream = io.StringIO()
    with showing(Console(file=stream)):
        pass
    events.publish(PHASE)
    assert stream.getvalue() == ""


def test_ansible_s_check_of_arguments_is_shown_only_when_it_fails() -> None:
    name = "galera : Validating arguments against arg spec 'configure' - A Galera cluster"
    assert line(Event(kind="task", text=name)) == ""
    assert name in line(Event(kind="failed", text=name, host="database-1"))


def test_skipped_tasks_are_not_worth_a_line() -> None:
    assert line(Event(kind="skipped", text="x", host="h")) == ""
