"""Where things that happen are published, and who listens.

Ansible loads its callback plugins itself, in this process, and gives them no way to receive an object of
ours: the plugin and the display meet in this list.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from enos_crdb.model import Event

Listener = Callable[[Event], None]

_listeners: list[Listener] = []


def publish(event: Event) -> None:
    """Hand `event` to every listener."""
    for listener in tuple(_listeners):
        listener(event)


def note(text: str) -> None:
    """Tell the user something in passing."""
    publish(Event(kind="note", text=text))


def warn(text: str) -> None:
    """Tell the user something that may spoil a result."""
    publish(Event(kind="warning", text=text))


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have `listener` called for every event inside the block."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class Phase:
    """A phase that goes on; ``result`` is what came of it, in a few words."""

    result: str = ""


@contextmanager
def phase(name: str, title: str) -> Iterator[Phase]:
    """Announce that a phase begins, and how it ended: how long it took (seconds), and what came of it."""
    publish(Event(kind="phase", text=title, data={"name": name}))
    started, this, kind = time.monotonic(), Phase(), "phase-failed"
    try:
        yield this
        kind = "phase-done"
    finally:
        data = {"name": name, "seconds": time.monotonic() - started, "result": this.result}
        publish(Event(kind=kind, text=title, data=data))
