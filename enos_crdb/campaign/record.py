"""A campaign's directory: what was asked (``campaign.json``), what happened (``journal.jsonl``), what is under way."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from typing import Any

from enos_crdb import events, provenance, store
from enos_crdb.command import SubprocessRunner
from enos_crdb.errors import StateError
from enos_crdb.sweep import Item, Observed, Plan, estimate

SCHEMA_VERSION = 1
PLANNED = ("configuration", "factors", "exclude", "repetitions", "seed", "adaptive")
"""Keys of the experiment that decide the plan; the others may change while a campaign is resumed."""
INTERRUPTED = "interrupted"
"""Cause of an attempt that was ended from outside; it is made again, and never counted."""


@dataclass(frozen=True, kw_only=True)
class Living:
    """The deployment that is up. ``fresh``: what Keystone's database held when it was new. ``used``: since then."""

    deployment: str
    deployment_repetition: int
    key: str
    fresh: Mapping[str, Any] | None = None
    used: bool = False

    @property
    def place(self) -> tuple[int, str]:
        return self.deployment_repetition, self.key


class CampaignRecord:
    """A campaign as it is stored. Everything is on the disk when a method returns."""

    def __init__(self, directory: Path, plan: Plan, document: dict[str, Any]) -> None:
        self.directory = directory
        self.document = document
        self.plan = replace(plan, items=tuple(_item(entry) for entry in document["plan"]))
        self.entries: list[dict[str, Any]] = []
        self.torn = ""
        self._read()

    def _read(self) -> None:
        self.entries, self.torn = store.read_lines(self.directory / "journal.jsonl")
        found = self.directory / "under-way.json"
        self._under_way: dict[str, Any] = store.read_json(found) if found.exists() else {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the campaign for this process. Raises `StateError` when another one executes it."""
        with store.held(self.directory):
            self._read()  # the one that had it may have gone on meanwhile
            if self.torn:
                self._mend()
            yield

    def _mend(self) -> None:
        """Take a torn last line away: what is added later must be on a line of its own."""
        events.warn(f"the last line of {self.name}/journal.jsonl is torn (a crash); that attempt is made again")
        text = (self.directory / "journal.jsonl").read_text(encoding="utf-8")
        store.write_text(self.directory / "journal.jsonl", text.removesuffix(self.torn))
        self.torn = ""

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def living(self) -> Living | None:
        found = self._under_way.get("living")
        return Living(**found) if found else None

    @living.setter
    def living(self, value: Living | None) -> None:
        self._save(living=dataclasses.asdict(value) if value else None)

    @property
    def attempt(self) -> dict[str, Any] | None:
        """The attempt that was begun and has no line in the journal."""
        found = self._under_way.get("attempt")
        return None if found is None or self._ended(found) else dict(found)

    @attempt.setter
    def attempt(self, value: Mapping[str, Any] | None) -> None:
        self._save(attempt=dict(value) if value else None)

    def _ended(self, attempt: Mapping[str, Any]) -> bool:
        return any(e["item"] == attempt["item"] and e["attempt"] == attempt["attempt"] for e in self.entries)

    def _save(self, **changes: Any) -> None:
        self._under_way = {**self._under_way, **changes}
        store.write_json(self.directory / "under-way.json", self._under_way)

    def add(self, entry: dict[str, Any]) -> None:
        """One line of the journal: an attempt that ended."""
        store.append_json(self.directory / "journal.jsonl", entry)
        self.entries.append(entry)

    def of(self, item: Item) -> list[dict[str, Any]]:
        """The attempts at an item that ended."""
        return [entry for entry in self.entries if entry["item"] == item.number]

    def since_pardon(self) -> list[dict[str, Any]]:
        """Entries that count against the retries."""
        return self.entries[self.document.get("pardoned", 0) :]

    def pardon(self) -> None:
        """What failed so far gets new attempts, as many as at the beginning."""
        self._change(pardoned=len(self.entries), finished_at=None)
        # execo cannot be told that something is not done after all; the journal tells it again what is.
        shutil.rmtree(self.directory / "sweep", ignore_errors=True)

    def extend(self, items: tuple[Item, ...]) -> None:
        """Add items to the plan."""
        self.plan = replace(self.plan, items=(*self.plan.items, *items))
        self._change(plan=[_entry(self.plan, item) for item in self.plan.items])

    def judged(self, verdicts: Mapping[str, Any]) -> None:
        """Keep what was found about the number of runs of each combination."""
        self._change(adaptive=dict(verdicts))

    def resumed(self) -> None:
        """Keep when, and with which code, it was gone on with."""
        said = {"at": store.now(), "provenance": dataclasses.asdict(provenance.describe(SubprocessRunner()))}
        self._change(resumed=[*self.document.get("resumed", []), said])

    def finish(self) -> None:
        self._change(finished_at=store.now())

    def _change(self, **changes: Any) -> None:
        self.document = {**self.document, **changes}
        store.write_json(self.directory / "campaign.json", self.document)

    def observed(self) -> Observed:
        """What runs and deployments took so far, in seconds."""
        return observed(self.entries)


def observed(entries: Iterable[Mapping[str, Any]]) -> Observed:
    """What the runs and deployments of a journal took, in seconds."""
    runs: dict[str, list[float]] = {}
    deployments = []
    for entry in entries:
        if entry["status"] == "ok":
            runs.setdefault(entry["combination"], []).append(entry["run_s"])
        if entry.get("deploy_s"):
            deployments.append(entry["deploy_s"])
    return Observed(runs=runs, deployments=deployments)


def begin(results: Path, plan: Plan) -> CampaignRecord:
    """A new campaign's directory. Raises `StateError` when one of the same experiment is not finished."""
    unfinished = find(results, plan.experiment.experiment, finished=False)
    if unfinished:
        raise StateError(
            f"{unfinished[-1].name} is not finished.\n"
            "Go on with it: --resume. To give it up, remove its hosts with --destroy, then move or delete "
            f"{unfinished[-1]}."
        )
    directory = results / store.CAMPAIGNS / f"{plan.experiment.experiment}-{store.stamp()}"
    while directory.exists():
        directory = directory.with_name(f"{plan.experiment.experiment}-{store.stamp()}-{token_hex(2)}")
    directory.mkdir(parents=True, mode=0o700)
    expected = estimate(plan)
    document = {
        "schema_version": SCHEMA_VERSION,
        "experiment": plan.document(),
        "seed": plan.experiment.seed,
        "plan": [_entry(plan, item) for item in plan.items],
        "excluded": [dict(factors) for factors in plan.excluded],
        "estimate": {"seconds": round(expected.seconds), "node_hours": round(expected.node_hours, 3)},
        "provenance": dataclasses.asdict(provenance.describe(SubprocessRunner())),
        "created_at": store.now(),
        "finished_at": None,
    }
    store.write_json(directory / "campaign.json", document)
    return CampaignRecord(directory, plan, document)


def resume(results: Path, plan: Plan, *, finished: bool = False) -> CampaignRecord:
    """The unfinished campaign of an experiment; with ``finished``, else the newest one.

    Raises `StateError` when there is none, or it planned otherwise.
    """
    name = plan.experiment.experiment
    unfinished, done = (find(results, name, finished=state) for state in (False, True))
    if finished and not unfinished:
        unfinished = done
    if not unfinished:
        why = f"{done[-1].name} is finished" if done else f"no campaign of {name} is in {results / store.CAMPAIGNS}"
        raise StateError(f"there is nothing to resume: {why}.\nLeave --resume out to begin a new one.")
    directory = unfinished[-1]
    document = store.read_json(directory / "campaign.json")
    before, now = document["experiment"], plan.document()
    for key in PLANNED:
        if before.get(key) != now.get(key):
            raise StateError(
                f"{directory.name} was planned with another `{key}` than the experiment has now; its runs could not be "
                "compared.\nPut the old value back to go on, or move the campaign away and begin a new one."
            )
    return CampaignRecord(directory, plan, document)


def find(results: Path, experiment: str, *, finished: bool) -> list[Path]:
    """Directories of an experiment's campaigns that are finished, or are not, the oldest first."""
    found = []
    for path in sorted((results / store.CAMPAIGNS).glob(f"{experiment}-*/campaign.json")):
        document = store.read_json(path)
        version = document.get("schema_version")
        if version != SCHEMA_VERSION:
            raise StateError(f"{path} has schema version {version}, this enos_crdb reads {SCHEMA_VERSION}.")
        if document["experiment"]["experiment"] == experiment and bool(document["finished_at"]) == finished:
            found.append(path.parent)
    return found


def _entry(plan: Plan, item: Item) -> dict[str, Any]:
    return {
        "item": item.number,
        "combination": item.combination,
        "factors": dict(plan.of(item).factors),
        "deployment_repetition": item.deployment_repetition,
        "repetition": item.repetition,
        "block": item.block,
    }


def _item(entry: Mapping[str, Any]) -> Item:
    return Item(
        number=entry["item"],
        **{key: entry[key] for key in ("combination", "deployment_repetition", "repetition", "block")},
    )
