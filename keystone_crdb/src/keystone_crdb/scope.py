"""What the current thread is doing: which driver call it is in, and how far its transaction has come."""

from __future__ import annotations

import threading
from collections.abc import Iterator, MutableSet
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

OUTSIDE = "-"
"""Operation of SQL that no driver call sent (db_sync, an engine's first connection)."""


class Scope(threading.local):
    """Every thread has its own.

    ``commit_sent``: whether a COMMIT left since the last attempt began, so that a lost connection says nothing about
    its outcome. ``transactions``: the connections with an open transaction.
    """

    operation: str = OUTSIDE
    commit_sent: bool = False

    def __init__(self) -> None:
        self.transactions: MutableSet[Any] = WeakSet()

    @property
    def inside(self) -> bool:
        """Whether a driver call is under way."""
        return self.operation != OUTSIDE

    @contextmanager
    def entered(self, operation: str) -> Iterator[None]:
        """Inside the driver call `operation`."""
        self.operation = operation
        try:
            yield
        finally:
            self.operation = OUTSIDE


scope = Scope()
