"""What must be known of a reservation the next time: which jobs it was, and which nodes it lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from enos_crdb.store import read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Memory:
    """``jobs`` are (site, number). ``settled``: their nodes serve the deployment, and are never installed anew.

    ``lost``: nodes of the jobs that kadeploy could not install.
    """

    jobs: tuple[tuple[str, int], ...] = ()
    lost: tuple[str, ...] = ()
    settled: bool = False

    def of(self, jobs: tuple[tuple[str, int], ...]) -> Memory:
        """The same, if it is about `jobs`; else that nothing is known about them."""
        return self if self.jobs == jobs else Memory(jobs=jobs)

    def losing(self, nodes: Iterable[str]) -> Memory:
        """Settled without those nodes."""
        return replace(self, lost=tuple(sorted({*self.lost, *nodes})), settled=True)


def load(file: Path) -> Memory:
    """What `save` wrote; nothing when there is no file."""
    if not file.exists():
        return Memory()
    told = read_json(file)
    jobs = tuple((str(site), int(number)) for site, number in told["jobs"])
    return Memory(jobs=jobs, lost=tuple(told["lost"]), settled=bool(told["settled"]))


def save(file: Path, memory: Memory) -> None:
    """Keep it."""
    write_json(file, {"jobs": memory.jobs, "lost": memory.lost, "settled": memory.settled})
