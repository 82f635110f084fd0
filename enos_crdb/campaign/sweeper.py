"""Which items are done and which is in progress, kept by execo's ParamSweeper in the campaign's directory."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Sweeper:
    """Hands out the numbers of items in their order, each until it is done, also across crashes.

    The journal is the record: what it says is done is done, although the process may have been killed before it
    could tell execo.
    """

    def __init__(self, directory: Path, numbers: Iterable[int], done: Iterable[int]) -> None:
        self._sweeper = _param_sweeper(directory, list(numbers))
        # Not `reset(reset_inprogress=True)`: execo 2.8 forgets them then, and never hands them out again.
        for number in self._sweeper.get_inprogress():
            self._sweeper.cancel(number)
        for number in sorted(set(done) - set(self._sweeper.get_done())):
            self._sweeper.done(number)

    def next(self) -> int | None:
        """The first item that is neither done nor in progress; from now on it is in progress."""
        found: int | None = self._sweeper.get_next(filtr=sorted)
        return found

    def done(self, number: int) -> None:
        self._sweeper.done(number)

    def cancel(self, number: int) -> None:
        """It is to be done again."""
        self._sweeper.cancel(number)

    def extend(self, numbers: Iterable[int]) -> None:
        """More items."""
        self._sweeper.set_sweeps(list(numbers))


def _param_sweeper(directory: Path, numbers: list[int]) -> Any:
    # execo takes the wake-up descriptor of signals when it is imported, for processes that we never start with it;
    # whoever had it before (a notebook's event loop) needs it back.
    before = signal.set_wakeup_fd(-1)
    try:
        from execo_engine.sweep import ParamSweeper
    finally:
        signal.set_wakeup_fd(before)
    return ParamSweeper(str(directory), sweeps=numbers, name=directory.parent.name)
