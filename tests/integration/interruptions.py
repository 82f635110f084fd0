"""Commands that get a signal in the middle of something."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence

from tests.integration.engine import Ended, Engine

LOCAL = "configs/local.yaml"


def until(there: Callable[[], object], timeout_s: float = 120) -> None:
    """Wait until something is there."""
    deadline = time.monotonic() + timeout_s
    while not there():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def interrupted(
    engine: Engine, words: Sequence[str], at: str, by: signal.Signals, into: Callable[[], object] | None = None
) -> Ended:
    """A command that got a signal, and ended by it."""
    ended = engine.interrupt(words, at=at, by=by, into=into)
    assert ended.status == (130 if by == signal.SIGINT else -signal.SIGKILL), ended.output
    return ended


def ansible_of(engine: Engine, playbook: str) -> Callable[[], None]:
    """Waits until a task of `playbook` has ended since now was asked for."""

    def tasks() -> int:
        return sum(log.read_text().count("\n") for log in engine.directory.glob(f"logs/*{playbook}.log"))

    def wait() -> None:
        before = tasks()
        until(lambda: tasks() > before + 3)

    return wait


def interrupted_while_ansible_runs(engine: Engine) -> None:
    """A deployment that was begun, killed while Ansible configured its database, and then stopped with Ctrl-C."""
    deploy = ("deploy", "--env", LOCAL)
    interrupted(engine, deploy, "Configuring the database", signal.SIGKILL, ansible_of(engine, "database"))
    first = engine.directory
    interrupted(engine, deploy, "Configuring Keystone", signal.SIGINT, ansible_of(engine, "keystone"))
    assert engine.directory == first, "it is the same deployment that was continued"
