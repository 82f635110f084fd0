"""Which statements fail: decided by a seed, whatever the number of threads."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How likely each fault is, from 0 to 1, at each occasion it has.

    ``retry_at_commit``, ``retry_at_write``, ``retry_at_read``: SQLSTATE 40001 (the statement is not executed, the
    transaction is rolled back). Not under READ COMMITTED, where CockroachDB retries by itself.
    ``ambiguous_committed``, ``ambiguous_lost``: 40003 at COMMIT, of a transaction that was or was not committed.
    ``drop_in_transaction``: the connection is closed instead of executing a statement.
    ``drop_committed``, ``drop_lost``: the connection is closed while COMMIT is under way, of a transaction that was or
    was not committed. ``drop_at_ping``: closed when the pool asks whether it works.
    ``limit``: at most so many faults in all.
    """

    seed: int = 1
    retry_at_commit: float = 0
    retry_at_write: float = 0
    retry_at_read: float = 0
    ambiguous_committed: float = 0
    ambiguous_lost: float = 0
    drop_in_transaction: float = 0
    drop_committed: float = 0
    drop_lost: float = 0
    drop_at_ping: float = 0
    limit: int | None = None


KINDS = tuple(field.name for field in fields(Faults) if field.name not in {"seed", "limit"})

AT_COMMIT = ("retry_at_commit", "ambiguous_committed", "ambiguous_lost", "drop_committed", "drop_lost")
AT_WRITE = ("retry_at_write", "drop_in_transaction")
AT_READ = ("retry_at_read", "drop_in_transaction")
AT_PING = ("drop_at_ping",)


class Injector:
    """Draws the faults.

    Whether the n-th execution of a statement (its text without literals) suffers a fault depends on the seed, the
    statement and n alone. So a run of one thread is reproduced exactly. With several threads the same executions
    fail, counted per statement; which request they belong to is up to the threads, as is how many executions there
    are, because a replay adds some.
    """

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._occasions: Counter[tuple[str, str]] = Counter()
        self._drawn = 0
        self._lock = threading.Lock()
        self._active = any(getattr(faults, kind) > 0 for kind in KINDS)

    @property
    def active(self) -> bool:
        return self._active

    def draw(self, kinds: tuple[str, ...], shape: str) -> str | None:
        """The fault that this execution suffers, if any."""
        with self._lock:
            for kind in kinds:
                probability: float = getattr(self.faults, kind)
                if probability > 0:
                    self._occasions[kind, shape] += 1
                    if self._chance(kind, shape, self._occasions[kind, shape]) < probability and self._allowed():
                        self._drawn += 1
                        return kind
        return None

    def _allowed(self) -> bool:
        return self.faults.limit is None or self._drawn < self.faults.limit

    def _chance(self, kind: str, shape: str, occasion: int) -> float:
        """A number from 0 to 1."""
        text = f"{self.faults.seed}\0{kind}\0{shape}\0{occasion}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64
