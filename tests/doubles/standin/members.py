"""What the cluster knows of itself: nodes, settings, zones. Kept by the node that was initialised, in its store."""

from __future__ import annotations

import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

LIVE_S = 4.5
"""A node that was not heard of for longer is not live (docs: architecture/replication-layer: leases and liveness of
some seconds, renewed in half of it)."""
SETTLING_S = 2.0
"""How long ranges are under-replicated after a node came."""
RANGES = 64


def now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f+00:00")


@dataclass
class Member:
    """A node of the cluster."""

    id: int
    address: str
    http: str
    locality: str
    build: str
    started_at: str
    updated_at: str = ""
    draining: bool = False
    heard_s: float = field(default=-1e9, compare=False)
    came_s: float = field(default=-1e9, compare=False)

    @property
    def live(self) -> bool:
        return time.monotonic() - self.heard_s < LIVE_S


class Members:
    """The cluster's table of nodes and what was set by SQL; every change is on disk before it is answered."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.RLock()
        self.cluster_id = ""
        self.initialised_at = ""
        self.members: dict[int, Member] = {}
        self.settings: dict[str, str] = {}
        self.zones: dict[str, dict[str, str]] = {}
        self.databases: dict[str, dict[str, str]] = {}
        if file.exists():
            self._load(json.loads(file.read_text()))

    def found(self) -> None:
        """Begin a cluster."""
        with self._lock:
            self.cluster_id, self.initialised_at = str(uuid.uuid4()), now()
            self._save()

    def join(self, known: int | None, about: dict[str, Any]) -> int:
        """Add a node, or hear again of node `known`; its id."""
        with self._lock:
            number = known or max(self.members, default=0) + 1
            self.members[number] = Member(id=number, **about, came_s=time.monotonic())
            self._save()
        self.hear(number)
        return number

    def hear(self, number: int, *, draining: bool = False) -> None:
        member = self.members[number]
        member.heard_s, member.updated_at, member.draining = time.monotonic(), now(), draining

    def forget(self, number: int) -> None:
        """A node said goodbye: it is not live from now on."""
        self.members[number].heard_s = -1e9

    def set(self, name: str, value: str | None) -> None:
        """Keep a cluster setting; None brings its default back."""
        with self._lock:
            self.settings.pop(name, None)
            if value is not None:
                self.settings[name] = value
            self._save()

    def set_zone(self, target: str, values: dict[str, str] | None) -> None:
        """Change some variables of a zone; None discards the zone."""
        with self._lock:
            if values is None:
                self.zones.pop(target, None)
            else:
                self.zones.setdefault(target, {}).update(values)
            self._save()

    def set_database(self, name: str, values: dict[str, str]) -> None:
        """Keep a database's regions and survival goal."""
        with self._lock:
            self.databases[name] = values
            self._save()

    @property
    def live(self) -> list[Member]:
        return [member for member in self.members.values() if member.live]

    @property
    def available(self) -> bool:
        """Whether a majority of the nodes is live: without it no range has a quorum."""
        return len(self.live) * 2 > len(self.members)

    @property
    def replicas(self) -> int:
        return int(self.zones.get("RANGE default", {}).get("num_replicas", "3"))

    def under_replicated(self) -> int:
        """Ranges with fewer live replicas than wanted; some for a moment after a node came."""
        live = self.live
        if len(live) < self.replicas:
            return RANGES
        newest = max(member.came_s for member in live)
        return RANGES // 4 if len(self.members) > 1 and time.monotonic() - newest < SETTLING_S else 0

    def unavailable(self) -> int:
        return 0 if self.available else RANGES

    def table(self) -> list[dict[str, Any]]:
        """The nodes as others may know them."""
        first = min((member.id for member in self.live), default=0)
        return [
            {
                "id": member.id,
                "address": member.address,
                "http": member.http,
                "locality": member.locality,
                "build": member.build,
                "started_at": member.started_at,
                "updated_at": member.updated_at,
                "draining": member.draining,
                "live": member.live,
                # Reported by the node that leads the ranges, as CockroachDB's counters are.
                "ranges": RANGES if member.live else 0,
                "underreplicated": self.under_replicated() if member.id == first else 0,
                "unavailable": self.unavailable() if member.id == first else 0,
            }
            for member in sorted(self.members.values(), key=lambda member: member.id)
        ]

    def _load(self, kept: dict[str, Any]) -> None:
        self.cluster_id, self.initialised_at = kept["cluster_id"], kept["initialised_at"]
        self.members = {entry["id"]: Member(**entry) for entry in kept["members"]}
        self.settings, self.zones = kept["settings"], kept["zones"]
        self.databases = kept["databases"]

    def _save(self) -> None:
        members = [
            {key: value for key, value in vars(member).items() if key not in ("heard_s", "came_s")}
            for member in self.members.values()
        ]
        content = {
            "cluster_id": self.cluster_id,
            "initialised_at": self.initialised_at,
            "members": members,
            "settings": self.settings,
            "zones": self.zones,
            "databases": self.databases,
        }
        draft = self._file.with_suffix(".draft")
        draft.write_text(json.dumps(content, indent=1))
        draft.replace(self._file)
