"""Jobs of OAR: their states, and how the API shows them."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.doubles.grid5000.reference import Json

HELD = ("waiting", "launching", "running")
"""States in which a job has, or will have, its nodes."""


@dataclass(kw_only=True)
class Job:
    """A job. ``starts_at`` is planned until it has begun; ``None``: OAR has no plan for it yet.

    ``path``: states still to come before it runs, one per look at the job.
    """

    uid: int
    site: str
    user: str
    name: str
    types: list[str]
    queue: str
    project: str
    command: str
    resources: str
    walltime_s: int
    submitted_at: float
    starts_at: float | None
    advance: bool
    nodes: list[str]
    vlans: list[str]
    subnets: list[str] = field(default_factory=list)
    state: str = "waiting"
    path: list[str] = field(default_factory=list)
    stopped_at: float | None = None
    message: str = ""
    events: list[Json] = field(default_factory=list)
    killing: bool = False

    @property
    def ends_at(self) -> float | None:
        return None if self.starts_at is None else self.starts_at + self.walltime_s

    @property
    def held(self) -> bool:
        return self.state in HELD

    def json(self, *, resources: bool) -> Json:
        """The job of the API; lists are without `resources`, as of the real one."""
        begun = self.starts_at is not None and self.state not in ("waiting", "hold")
        shown: Json = {
            "uid": self.uid,
            "user_uid": self.user,
            "user": self.user,
            "walltime": self.walltime_s,
            "queue": self.queue,
            "state": self.state,
            "project": self.project,
            "name": self.name,
            "types": list(self.types),
            "mode": "PASSIVE",
            "command": self.command,
            "submitted_at": int(self.submitted_at),
            "started_at": int(self.starts_at or 0) if begun else 0,
            "message": self.message,
            "properties": "maintenance = 'NO'",
            "directory": f"/home/{self.user}",
            "events": list(self.events),
        }
        if self.starts_at is not None:
            shown["scheduled_at"] = int(self.starts_at)
        if self.stopped_at is not None:
            shown["stopped_at"] = int(self.stopped_at)
        if resources:
            shown["resources_by_type"] = self._resources()
            shown["assigned_nodes"] = list(self.nodes) if "cores" in shown["resources_by_type"] else []
        return shown

    def _resources(self) -> Json:
        found: Json = {}
        if self.nodes and self.starts_at is not None:
            found["cores"] = [f"{fqdn}/{core}" for fqdn in self.nodes for core in range(2)]
        if self.vlans:
            found["vlans"] = list(self.vlans)
        if self.subnets:
            found["subnets"] = list(self.subnets)
        return found

    def reservation(self) -> Json:
        """The job in the status of a node."""
        shown = self.json(resources=False)
        shown.pop("events")
        return shown

    def note(self, kind: str, description: str, now: float) -> None:
        """Add to what happened to the job."""
        self.events.append({"uid": len(self.events) + 1, "created_at": now, "type": kind, "description": description})
