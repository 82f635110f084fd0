"""What a run's directory says: rows, doubts, failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enos_crdb import record
from enos_crdb.errors import RefusedError, StateError
from enos_crdb.loading import labels, stand_in
from enos_crdb.record import RunRecord
from enos_crdb.summary.doubts import Doubt, doubts, throttled_soon
from enos_crdb.summary.facts import facts
from enos_crdb.summary.rows import Row, read_rows

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True)
class Summary:
    """``facts``: what was measured, on what, under which load. ``failure`` is empty when all went well."""

    run: str
    facts: Mapping[str, str]
    labels: Mapping[str, Any]
    rows: tuple[Row, ...]
    doubts: tuple[Doubt, ...]
    failure: str

    @property
    def warnings(self) -> tuple[str, ...]:
        """The doubts in words."""
        return tuple(doubt.text for doubt in self.doubts)


def summarise(directory: Path) -> Summary:
    """Read a run's directory.

    Raises `StateError` when it is not one, is torn, or was made with something else than the database it is named for.
    """
    run = record.read(directory)
    _refuse(directory, run)
    return summary_of(directory, run)


def summary_of(directory: Path, run: RunRecord, samples: pandas.DataFrame | None = None) -> Summary:
    """The summary of a run that counts and was read already; so may have been its samples."""
    rows = tuple(read_rows(directory, run, samples))
    return Summary(
        run=run.run,
        facts=facts(directory, run),
        labels=labels(directory, run),
        rows=rows,
        doubts=(*_told(run), *_network_doubts(run), *doubts(rows, run), *throttled_soon(directory, run)),
        failure=_failure(run),
    )


def _refuse(directory: Path, run: RunRecord) -> None:
    """Numbers of another program, or of a network that is not the one asked for, are not given."""
    if why := stand_in(directory, run):
        raise StateError(
            f"run {run.run} is not reported: {why}\n"
            f"What was collected is in {directory}; it says nothing about CockroachDB."
        )
    if run.network is not None and run.network.refused:
        raise RefusedError(
            f"run {run.run} is not reported: its network was not what the constraints say.\n"
            + "\n".join(f"  {sentence}" for sentence in run.network.deviations)
            + f"\nWhat was measured is in {directory}. emulation.mismatch: label reports such runs, marked."
        )


def _told(run: RunRecord) -> Iterator[Doubt]:
    """What the run itself warned of."""
    yield from (Doubt(kind="run", about=text, text=text) for text in run.warnings)


def _network_doubts(run: RunRecord) -> Iterator[Doubt]:
    if run.network is None or run.network.verdict == "ok":
        return
    what = {"off": "was not what the constraints say", "not measured": "could not be measured"}[run.network.verdict]
    for text in run.network.deviations:
        yield Doubt(kind="network", about=text, text=f"the network {what}: {text}")


def _failure(run: RunRecord) -> str:
    bad = [
        f"  {scenario.name}, {outcome.client}: {outcome.status}: {outcome.message}".rstrip(": ")
        for scenario in run.scenarios
        for outcome in scenario.clients
        if not outcome.ok
    ]
    count = sum(scenario.status != "ok" for scenario in run.scenarios)
    asked = run.configuration.bench.scenarios
    absent = [name for name in asked if name not in {scenario.name for scenario in run.scenarios}]
    parts = []
    if bad:
        parts.append(f"{count} of {len(asked)} scenarios could not run, or missed their SLA:\n" + "\n".join(bad))
    if absent:
        parts.append(f"the run was interrupted before {', '.join(absent)}.")
    return "\n".join(parts)
