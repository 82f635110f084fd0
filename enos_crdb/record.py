"""The record of a run, ``manifest.json``: what was asked, on what, what came of it. Values, one writer, one reader.

A field that is added gets a default. A change that old records do not fit raises `VERSION`, and `_UPGRADES` says how a
record of the version before becomes one of the new.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from enos_crdb.config import Configuration
from enos_crdb.config.emulation import Constraint, Way
from enos_crdb.errors import StateError
from enos_crdb.model import Host, Resources, slug
from enos_crdb.store import read_json, write_json

VERSION = 2
FILE = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine that ran enos_crdb. ``load_average``: over 1, 5 and 15 minutes when the run began."""

    kernel: str
    architecture: str
    python: str
    cpus: int | None
    load_average: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The code and the command.

    ``commit`` is None outside a git checkout; ``dirty``: with uncommitted changes, of which ``changes`` is a digest.
    """

    enos_crdb: str
    commit: str | None
    dirty: bool | None
    command: tuple[str, ...]
    machine: Machine
    libraries: Mapping[str, str]
    changes: str = ""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The place of a run in its campaign; ``factors``: factor -> label of its level."""

    campaign: str
    experiment: str
    combination: str
    factors: Mapping[str, str | int | float | bool | None]
    deployment_repetition: int
    repetition: int
    block: int
    attempt: int
    item: int | None = None
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Client:
    """One Rally: it runs on the host `rally` and loads the Keystone of the host `keystone`."""

    name: str
    rally: str
    keystone: str
    auth_url: str
    region: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one client ended one scenario.

    ``status``: ``ok``; ``sla`` (too many failures; samples are complete); ``invalid`` (Rally refused the task, or
    Keystone did not answer it); ``timeout`` (stopped; samples up to there); ``crashed``; ``lost`` (nothing came
    back). ``file`` is Rally's JSON report, relative to the run's directory; times are ISO 8601, UTC. ``intended``: how
    many iterations an open loop meant to start; None in a closed one.
    """

    client: str
    status: str
    message: str = ""
    file: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    intended: int | None = None

    @property
    def ok(self) -> bool:
        return self.status == "ok"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """One scenario's load, all Rallies together; rates in iterations per second.

    ``asked_per_s`` is None in a closed loop; ``started_per_s`` counts real starts of the steady window, and is None
    with fewer than two iterations. ``most_in_flight`` is that of the Rally that had most, ``most_late_s`` how long
    after its intended start an iteration began.
    """

    warm_up: int = 0
    steady: int = 0
    after: int = 0
    asked_per_s: float | None = None
    started_per_s: float | None = None
    most_in_flight: int = 0
    most_late_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class ScenarioRecord:
    """What came of one scenario; ``clients`` says it of each Rally. ``index`` counts from 1."""

    name: str
    index: int
    started_at: str
    finished_at: str
    clients: tuple[Outcome, ...]
    load: Pace = Pace()

    @property
    def status(self) -> str:
        """``ok``, or how its clients failed."""
        return "+".join(sorted({outcome.status for outcome in self.clients} - {"ok"})) or "ok"

    @property
    def intended(self) -> int | None:
        """Iterations that an open loop meant to start; None in a closed one, or when a client did not tell."""
        meant = [outcome.intended for outcome in self.clients]
        return None if None in meant else sum(count for count in meant if count is not None)

    @property
    def slug(self) -> str:
        """How its files are called."""
        return slug(self.index, self.name)


@dataclass(frozen=True, kw_only=True)
class RoundTrip(Way):
    """TCP connect times from ``src`` to ``dst``: how many were answered and lost, and their spread.

    The times are None when there was no answer; ``why`` then says what is known about it.
    """

    samples: int = 0
    lost: int = 0
    min_ms: float | None = None
    median_ms: float | None = None
    max_ms: float | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Probed(Way):
    """Round trips from ``src`` to ``dst`` while a scenario loaded the hosts; times are None when nothing came back.

    ``lost`` answers did not come; those of a host that was silent for a second or more count as ``silent`` instead.
    ``too_fast`` is how many came sooner than the expected distance lets them; None where nothing is expected.
    """

    samples: int
    lost: int
    min_ms: float | None = None
    p10_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    too_fast: int | None = None
    silent: int = 0


@dataclass(frozen=True, kw_only=True)
class During:
    """The network under the load of one scenario. ``retransmitted``: host -> TCP segments sent again, all that were."""

    scenario: str
    trips: tuple[Probed, ...]
    retransmitted: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Expected(Way):
    """The round trip that a pair should have."""

    rtt_ms: float


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """All round trips at one moment (ISO 8601, UTC), and how often they were measured until they were as expected."""

    at: str
    rtt: tuple[RoundTrip, ...]
    attempts: int = 1


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far a round trip may be from the expected one: the larger of the two."""

    percent: float = 5.0
    ms: float = 1.0

    def allows(self, measured_ms: float, expected_ms: float) -> bool:
        return abs(measured_ms - expected_ms) <= max(self.ms, expected_ms * self.percent / 100)


@dataclass(frozen=True, kw_only=True)
class NetworkRecord:
    """The network between the hosts, before, during and after the load.

    ``verdict``: ``off`` when a pair is, else ``not measured`` when a pair could not be, else ``ok``, with a sentence
    for each of the ``deviations``. ``mismatch``: what the experiment wants when it is off, ``refuse`` or ``label``.
    """

    emulator: str
    constraints: tuple[Constraint, ...]
    tolerance: Tolerance
    mismatch: str
    expected: tuple[Expected, ...]
    before: Matrix
    after: Matrix | None
    verdict: str
    deviations: tuple[str, ...]
    during: tuple[During, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether the numbers of the run are not given."""
        return self.verdict == "off" and self.mismatch == "refuse"

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """What was measured, in order."""
        return (self.before,) if self.after is None else (self.before, self.after)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run. ``hosts`` have no way in here; of ``configuration``, ``bench`` is that of this run.

    ``versions``: host -> what `collect` found there. ``layers``: host -> the layer it was started from. Times are ISO
    8601, UTC; ``finished_at`` is None until the load is over. ``network`` is None until it is measured.
    """

    run: str
    deployment: str
    started_at: str
    finished_at: str | None = None
    provider: str
    campaign: Labels | None = None
    provenance: Provenance
    configuration: Configuration
    hosts: tuple[Host, ...]
    layers: Mapping[str, str] = field(default_factory=dict)
    clients: tuple[Client, ...] = ()
    versions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    scenarios: tuple[ScenarioRecord, ...] = ()
    network: NetworkRecord | None = None
    warnings: tuple[str, ...] = ()
    synthetic: bool = False

    @property
    def backend(self) -> str:
        return self.configuration.database.backend

    @property
    def resources(self) -> Resources:
        """The hosts, as far as a run remembers them."""
        return Resources(hosts=self.hosts, networks=())

    def with_role(self, *roles: str) -> tuple[Host, ...]:
        """Hosts that carry one of `roles`."""
        return tuple(host for host in self.hosts if set(roles) & set(host.roles))

    def names(self, *roles: str) -> tuple[str, ...]:
        """Names of the hosts that carry one of `roles`."""
        return tuple(host.name for host in self.with_role(*roles))

    @property
    def cpus(self) -> Mapping[str, float]:
        """Host -> the limit of processors that the configuration sets for it; hosts without one are left out."""
        limits = [group.cpus for group in self.configuration.machines for _ in range(group.count)]
        return {host.name: limit for host, limit in zip(self.hosts, limits, strict=False) if limit}

    def scenario(self, name: str) -> ScenarioRecord:
        """What came of the scenario `name`. Raises `KeyError`."""
        for found in self.scenarios:
            if found.name == name:
                return found
        raise KeyError(name)


@cache
def _adapter() -> TypeAdapter[RunRecord]:
    return TypeAdapter(RunRecord)


_NOT_KEPT = {"hosts": {"__all__": {"user", "port", "keyfile", "variables"}}}
"""How a host is reached is the deployment's business, and may be a secret."""


def write(record: RunRecord, directory: Path) -> None:
    """Write the record into its run's directory, atomically."""
    document = _adapter().dump_python(record, mode="json", exclude=_NOT_KEPT)
    write_json(directory / FILE, {"schema_version": VERSION, **document})


def read(directory: Path) -> RunRecord:
    """The record in a run's directory.

    Raises `StateError` when it is missing or torn, of a later version, or not what a run writes.
    """
    document = read_json(directory / FILE)
    if not isinstance(document, dict) or not isinstance(version := document.get("schema_version"), int):
        raise _no_record(directory, "it has no schema version")
    if version > VERSION:
        raise StateError(
            f"{directory / FILE} has schema version {version}, this enos_crdb reads up to {VERSION}.\n"
            "A later enos_crdb wrote it: use that one."
        )
    try:
        for older in range(version, VERSION):
            document = _UPGRADES[older](document)
        return _adapter().validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise _no_record(directory, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (KeyError, TypeError, AttributeError) as error:  # of an upgrade
        raise _no_record(directory, f"{type(error).__name__} {error}") from None


def _no_record(directory: Path, why: str) -> StateError:
    return StateError(
        f"{directory / FILE} is not that of a run: {why}.\n"
        "It is foreign, was changed by hand, or was written by another version of enos_crdb."
    )


def _from_1(document: Mapping[str, Any]) -> dict[str, Any]:
    """Version 1 had the seed twice, and a row of a matrix, or the pace, could be missing some of its values."""
    return {key: value for key, value in document.items() if key not in ("seed", "schema_version")}


_UPGRADES: Mapping[int, Callable[[Mapping[str, Any]], dict[str, Any]]] = {1: _from_1}
