"""Which runs and campaigns are stored. Reads only; what cannot be read is named, not guessed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from enos_crdb import record
from enos_crdb.errors import RefusedError, StateError
from enos_crdb.loading import identity
from enos_crdb.loading.labels import labels, said
from enos_crdb.loading.settings import settings
from enos_crdb.record import Labels, RunRecord
from enos_crdb.store import CAMPAIGNS, read_json, read_lines

COCKROACHDB = ("CCL", "OSS")
"""Distributions of CockroachDB, as the program names itself."""


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A run that can be counted."""

    directory: Path
    record: RunRecord

    @property
    def name(self) -> str:
        return self.record.run

    @property
    def deployment(self) -> str:
        """Name of the deployment's directory."""
        return self.directory.parent.parent.name

    @property
    def backend(self) -> str:
        return self.record.backend

    @property
    def labels(self) -> Labels | None:
        """Its place in a campaign; None for a run of its own."""
        return self.record.campaign

    @cached_property
    def settings(self) -> Mapping[str, str]:
        """What a reader must know to compare it with another run, in words."""
        return settings(self.record, labels(self.directory, self.record))

    @cached_property
    def aspects(self) -> Mapping[str, str]:
        """All that can change a number; see `identity`."""
        told = {host.name: said(self.directory, self.record, host.name) for host in self.record.hosts}
        return identity.aspects(self.record, told)

    @cached_property
    def identity(self) -> str:
        """Equal for runs that repeat one another."""
        return identity.digest(self.aspects)

    @property
    def factors(self) -> Mapping[str, Any]:
        """Factor -> label of its level."""
        return self.labels.factors if self.labels else {}

    @property
    def scenarios(self) -> tuple[str, ...]:
        """In the order in which they ran."""
        return tuple(scenario.name for scenario in self.record.scenarios)

    @property
    def samples(self) -> Path:
        return self.directory / "samples.csv"


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A directory that is left out, and why. ``refused``: it was measured, and its numbers are not given."""

    directory: Path
    reason: str
    refused: bool = False

    @classmethod
    def for_(cls, directory: Path, error: StateError) -> Skipped:
        """In one line, without the place of the store: a page may be shown to anybody."""
        reason = " ".join(str(error).replace(f"{directory}/", "").split())
        return cls(directory=directory, reason=reason, refused=isinstance(error, RefusedError))

    def __str__(self) -> str:
        return f"{self.directory}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is below a path: runs in the order in which they began, and what was left out."""

    runs: tuple[StoredRun, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, kw_only=True)
class StoredCampaign:
    """A campaign's directory: ``document`` is its campaign.json, ``journal`` a line per attempt that ended.

    ``torn``: the last line, when a power cut left half of it.
    """

    directory: Path
    document: Mapping[str, Any]
    journal: tuple[Mapping[str, Any], ...]
    torn: str = ""

    @property
    def results(self) -> Path:
        """The directory of all deployments and campaigns."""
        return self.directory.parent.parent


def runs(path: Path | str) -> tuple[StoredRun, ...]:
    """The runs below `path` that count; see `find`."""
    return find(path).runs


def find(path: Path | str) -> Found:
    """The runs below `path`: a run, a deployment, a campaign, or a whole results directory.

    Left out, with the reason: what is torn, foreign or unfinished; attempts of a campaign that failed, were refused or
    never ended; runs whose network was off under ``mismatch: refuse``; runs on what only answers like CockroachDB.
    Raises `StateError` when there is nothing at all to read.
    """
    root = Path(path)
    if not root.is_dir():
        raise StateError(f"{root} is not a directory.\nGive a run, a deployment, a campaign or the results directory.")
    kept: list[StoredRun] = []
    skipped: list[Skipped] = []
    verdicts: dict[Path, _Verdicts] = {}
    for directory in directories(root.resolve()):
        try:
            kept.append(_stored(directory, verdicts))
        except StateError as error:
            skipped.append(Skipped.for_(directory, error))
    if not kept and not skipped:
        raise StateError(f"no run is stored in {root}.\nMake one with `enos_crdb run` or `enos_crdb campaign`.")
    return Found(runs=tuple(sorted(kept, key=lambda run: (run.name, run.deployment))), skipped=tuple(skipped))


def campaign(directory: Path | str) -> StoredCampaign:
    """Read a campaign's directory. Raises `StateError` when it is none."""
    place = Path(directory).resolve()
    document = read_json(place / "campaign.json")
    if not isinstance(document, dict) or not {"experiment", "plan"} <= document.keys():
        raise StateError(f"{place / 'campaign.json'} does not hold a campaign: it was changed by hand.")
    journal, torn = read_lines(place / "journal.jsonl")
    return StoredCampaign(directory=place, document=document, journal=tuple(journal), torn=torn)


def stand_in(directory: Path, run: RunRecord) -> str:
    """Why the run says nothing about CockroachDB although it is named for it; empty when it does.

    Tests put a program that answers as CockroachDB does in its place; `cockroach version` tells which it was.
    """
    if run.backend != "cockroachdb":
        return ""
    for host in run.names("database"):
        things = said(directory, run, host).get("things", {})
        distribution = re.search(r"Distribution:[ \t]*(.*)", things.get("database", ""))
        if distribution and distribution[1].strip() not in COCKROACHDB:
            return (
                "its database was no CockroachDB.\n"
                f"`cockroach version` on {host} says: Distribution: {distribution[1].strip()}."
            )
    return ""


def directories(root: Path) -> Iterator[Path]:
    """Directories of runs below a run, a deployment, a campaign or a results directory, whatever is in them."""
    if (root / "campaign.json").exists():
        stored = campaign(root)
        named = {(line["deployment"], line["run"]) for line in stored.journal if line.get("run")}
        known = {stored.results / deployment / "runs" / run for deployment, run in named}
        ours = (path for path in _everywhere(stored.results) if _campaign_of(path) == root.name)
        yield from sorted(known | set(ours))
    elif (root / record.FILE).exists() or root.parent.name == "runs":
        yield root
    elif (root / "deployment.json").exists() or (root / "runs").is_dir():
        yield from sorted(path for path in (root / "runs").glob("*") if path.is_dir())
    else:
        yield from _everywhere(root)


def _everywhere(results: Path) -> Iterator[Path]:
    for deployment in sorted(results.glob("*/runs")):
        if not deployment.parent.is_symlink():  # `current`
            yield from sorted(path for path in deployment.iterdir() if path.is_dir())


def _campaign_of(directory: Path) -> str | None:
    """The campaign that a run says it belongs to; None when it cannot be asked."""
    try:
        labels = record.read(directory).campaign
    except StateError:
        return None
    return labels.campaign if labels else None


def _stored(directory: Path, verdicts: dict[Path, _Verdicts]) -> StoredRun:
    """The run in `directory`. Raises `StateError` with the reason when it does not count."""
    run = record.read(directory)
    if why := stand_in(directory, run):
        raise StateError(why)
    if run.network is not None and run.network.refused:
        raise RefusedError(f"refused: its network was off: {'; '.join(run.network.deviations)}")
    if run.campaign is not None and (verdict := _verdict(directory, run.campaign.campaign, verdicts)):
        kind, why = verdict
        raise kind(f"its attempt in {run.campaign.campaign} {why}")
    if run.finished_at is None or not (directory / "samples.csv").exists():
        raise StateError("it did not finish, or measured nothing")
    return StoredRun(directory=directory, record=run)


_Verdicts = dict[tuple[str, str], tuple[type[StateError], str] | None]
"""Deployment and run -> why the attempt does not count, as a kind of error and in words; None when it does."""


def _verdict(directory: Path, name: str, verdicts: dict[Path, _Verdicts]) -> tuple[type[StateError], str] | None:
    """What the campaign's journal says of the run; None, too, when the campaign itself is not here."""
    place = directory.parent.parent.parent / CAMPAIGNS / name
    if place not in verdicts:
        journal = campaign(place).journal if (place / "campaign.json").exists() else None
        verdicts[place] = {} if journal is None else {_ABSENT: (StateError, "did not end"), **_ended(journal)}
    known = verdicts[place]
    return known.get((directory.parent.parent.name, directory.name), known.get(_ABSENT))


_ABSENT = ("", "")
"""Stands for the runs that a journal does not name."""


def _ended(journal: Sequence[Mapping[str, Any]]) -> _Verdicts:
    told = {"failed": "failed", "refused": "was refused", "skipped": "was skipped"}
    return {
        (line["deployment"], line["run"]): None
        if line["status"] == "ok"
        else (
            RefusedError if line["status"] == "refused" else StateError,
            told.get(line["status"], str(line["status"])) + (f": {line['message']}" if line.get("message") else ""),
        )
        for line in journal
        if line.get("run")
    }
