"""What the Keystones sent to their databases during a scenario, from the counters of keystone_crdb."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enos_crdb.errors import StateError

DIRECTORY = "keystone_counters"
"""Below ``hosts/<host>`` of a run: a file per scenario with the counters ``before`` and ``after`` it."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Sums over all Keystones. ``replays``: transactions repeated because the database asked or was lost."""

    round_trips: int
    statements: int
    replays: int
    gave_up: int


def read(directory: Path, hosts: Iterable[str], slug: str) -> Traffic | None:
    """The traffic of the scenario whose files are called `slug`; None when a Keystone counted nothing.

    Raises `StateError` for a file that is not one of keystone_crdb's.
    """
    grown = [_grown(directory / "hosts" / host / DIRECTORY / f"{slug}.json") for host in hosts]
    known = [totals for totals in grown if totals is not None]
    if not known or len(known) < len(grown):
        return None  # a sum without one of the Keystones would look like less traffic
    return Traffic(
        round_trips=sum(totals["round_trips"] for totals in known),
        statements=sum(totals["statements"] for totals in known),
        replays=sum(totals["replays"] + totals["reconnects"] for totals in known),
        gave_up=sum(totals["gave_up"] for totals in known),
    )


def _grown(path: Path) -> Mapping[str, int] | None:
    if not path.exists():
        return None
    try:
        moments: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not moments.keys() >= {"before", "after"}:
            return None
        before, after = moments["before"]["total"], moments["after"]["total"]
        grown = {name: int(after[name]) - int(before.get(name, 0)) for name in after}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(f"{path} is not what keystone_crdb counted: {type(error).__name__} {error}.") from None
    # Counters of a Keystone that was started anew meanwhile begin at nought.
    return {name: int(after[name]) for name in after} if any(value < 0 for value in grown.values()) else grown
