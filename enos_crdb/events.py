"""Where things that happen are published, and who listens.

Ansible loads its callback plugins itself, in this process, and gives them no way to receive an object of
ours: the plugin and the display meet in this list.
"""

from __future__ import annotations

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
