"""What Keystones sent to their databases during a scenario: as keystone_crdb counted it, and as the databases did."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enos_crdb.errors import StateError

DIRECTORY = "keystone_counters"
"""Below ``hosts/<host>`` of a run: a file per scenario with the counters ``before`` and ``after`` it."""
COUNTED = ("round_trips", "statements", "replays", "reconnects", "gave_up")
"""What every version of keystone_crdb counts."""
DATABASE = "counters"
"""The same of a database node, by the server's own names."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Sums over all Keystones. ``replays``: transactions repeated because the database asked or was lost.

    ``round_trips`` are statements, pings, and the begins, commits and rollbacks that the driver waits for.
    """

    round_trips: int
    statements: int
    replays: int
    gave_up: int
    commits: int = 0
    rollbacks: int = 0
    pings: int = 0


def read(directory: Path, hosts: Iterable[str], slug: str) -> Traffic | None:
    """The traffic of the scenario whose files are called `slug`; None when a Keystone counted nothing.

    Raises `StateError` for a file that is not one of keystone_crdb's.
    """
    grown = [_grown(directory / "hosts" / host / DIRECTORY / f"{slug}.json", _total) for host in hosts]
    known = [totals for totals in grown if totals is not None]
    if not known or len(known) < len(grown):
        return None  # a sum without one of the Keystones would look like less traffic
    if lacking := [name for name in COUNTED if any(name not in totals for totals in known)]:
        raise StateError(f"the counters of {slug} in {directory} lack {', '.join(lacking)}.")
    return Traffic(
        round_trips=sum(int(totals["round_trips"]) for totals in known),
        statements=sum(int(totals["statements"]) for totals in known),
        replays=sum(int(totals["replays"] + totals["reconnects"]) for totals in known),
        gave_up=sum(int(totals["gave_up"]) for totals in known),
        **{name: sum(int(totals.get(name, 0)) for totals in known) for name in ("commits", "rollbacks", "pings")},
    )


def database(directory: Path, hosts: Iterable[str], slug: str) -> Mapping[str, float] | None:
    """How the databases' own counters grew, summed over `hosts`; None when one of them was not asked.

    Raises `StateError` for a file that does not hold counters.
    """
    grown = [_grown(directory / "hosts" / host / DATABASE / f"{slug}.json", _numbers) for host in hosts]
    known = [counters for counters in grown if counters is not None]
    if not known or len(known) < len(grown):
        return None
    names = dict.fromkeys(name for counters in known for name in counters)
    return {name: sum(counters.get(name, 0) for counters in known) for name in names}


def _total(moment: Any) -> Mapping[str, float]:
    return {name: int(value) for name, value in moment["total"].items()}


def _numbers(moment: Any) -> Mapping[str, float]:
    return {name: value for name, value in moment.items() if isinstance(value, int | float)}


def _grown(path: Path, read: Callable[[Any], Mapping[str, float]]) -> Mapping[str, float] | None:
    """The counters of one host after the scenario, less those before it."""
    if not path.exists():
        return None
    try:
        moments: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not moments.keys() >= {"before", "after"}:
            return None
        before, after = read(moments["before"]), read(moments["after"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(f"{path} does not hold counters: {type(error).__name__} {error}.") from None
    grown = {name: after[name] - before.get(name, 0) for name in after}
    # Counters of a process that was started anew meanwhile begin at nought; gauges go down, too.
    restarted = read is _total and any(value < 0 for value in grown.values())
    return after if restarted else grown
