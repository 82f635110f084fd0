"""What a report is made from: runs read from the store, grouped by what was the same in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enos_crdb import loading, stats
from enos_crdb.errors import StateError
from enos_crdb.loading import Skipped
from enos_crdb.model import RESPONSE, STEADY
from enos_crdb.record import Labels, NetworkRecord, RunRecord
from enos_crdb.stats import ITERATION
from enos_crdb.summary import Summary, summary_of

if TYPE_CHECKING:
    import numpy
    import pandas


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run that is reported: what it says of itself, and its samples."""

    stored: loading.StoredRun
    summary: Summary
    samples: pandas.DataFrame

    @property
    def settings(self) -> Mapping[str, str]:
        return self.stored.settings

    @property
    def directory(self) -> Path:
        return self.stored.directory

    @property
    def record(self) -> RunRecord:
        return self.stored.record

    @property
    def name(self) -> str:
        return self.stored.name

    @property
    def deployment(self) -> str:
        return self.stored.deployment

    @property
    def campaign(self) -> Labels | None:
        """Its place in a campaign; None for a run of its own."""
        return self.record.campaign

    @property
    def network(self) -> NetworkRecord | None:
        return self.record.network

    @property
    def scenarios(self) -> tuple[str, ...]:
        return self.stored.scenarios

    @cached_property
    def _parts(self) -> Mapping[tuple[str, str], pandas.DataFrame]:
        """Samples by scenario and metric: a table of a million rows is searched once."""
        groups = self.samples.groupby(["scenario", "metric"], observed=True, sort=False)
        return {(str(scenario), str(metric)): rows for (scenario, metric), rows in groups}

    def headline(self, scenario: str) -> str:
        """The metric a scenario is judged by: in an open loop, the response from the intended start."""
        return RESPONSE if (scenario, RESPONSE) in self._parts else ITERATION

    def rows(self, scenario: str, metric: str = "") -> pandas.DataFrame:
        """Rows of one metric, of all windows; of the headline, when none is named."""
        found = self._parts.get((scenario, metric or self.headline(scenario)))
        return self.samples.iloc[:0] if found is None else found

    def good_s(self, scenario: str, metric: str = "") -> numpy.ndarray:
        """Durations of the successful ones in the steady window, in the order of their start."""
        if (scenario, metric) not in self._good:
            rows = self.rows(scenario, metric)
            rows = rows[(rows["outcome"] == "ok") & (rows["window"] == STEADY)].sort_values("started_at", kind="stable")
            self._good[scenario, metric] = rows["value"].to_numpy(dtype=float)
        return self._good[scenario, metric]

    @cached_property
    def _good(self) -> dict[tuple[str, str], numpy.ndarray]:
        """What `good_s` found: every other combination of a scenario asks for it, too."""
        return {}

    def count(self, scenario: str, metric: str = "") -> int:
        """How many were made in the steady window, failures included."""
        return int((self.rows(scenario, metric)["window"] == STEADY).sum())

    def never(self, scenario: str) -> int:
        """How many iterations an open loop meant to start and did not."""
        return max((row.never for row in self.summary.rows if row.statistics.scenario == scenario), default=0)

    @cached_property
    def rtt_ms(self) -> float:
        """The longest round trip between two hosts, measured before the run; NaN when nobody measured."""
        found = [trip.median_ms for trip in self.network.before.rtt] if self.network else []
        return max((value for value in found if value is not None), default=math.nan)

    @property
    def sites(self) -> int:
        """At how many sites databases and Keystones stand."""
        return len({host.site for host in self.record.with_role("database", "keystone")})


@dataclass(frozen=True, kw_only=True)
class Combination:
    """Runs that repeat one another. ``index`` is its place in tables and its look in figures."""

    index: int
    label: str
    factors: Mapping[str, str]
    runs: tuple[Measured, ...]

    @property
    def backend(self) -> str:
        return self.runs[0].settings["backend"]

    @property
    def rtt_ms(self) -> float:
        known = sorted(run.rtt_ms for run in self.runs if not math.isnan(run.rtt_ms))
        return known[len(known) // 2] if known else math.nan

    def having(self, scenario: str) -> tuple[Measured, ...]:
        return tuple(run for run in self.runs if scenario in run.scenarios)


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything a page shows. ``campaign``: its document; ``journal``: what became of every attempt."""

    combinations: tuple[Combination, ...]
    left: tuple[Skipped, ...] = ()
    campaign: Mapping[str, Any] = field(default_factory=dict)
    journal: tuple[Mapping[str, Any], ...] = ()
    torn_journal: bool = False

    @property
    def runs(self) -> tuple[Measured, ...]:
        return tuple(run for combination in self.combinations for run in combination.runs)

    @property
    def experiment(self) -> Mapping[str, Any]:
        """The experiment's document; empty when there was no campaign."""
        return self.campaign.get("experiment") or {}

    @cached_property
    def scenarios(self) -> tuple[str, ...]:
        """In the order in which they were run."""
        return tuple(dict.fromkeys(scenario for run in self.runs for scenario in run.scenarios))

    @property
    def several(self) -> bool:
        return len(self.combinations) > 1


def collect(sources: Sequence[Path]) -> Material:
    """Read runs, deployments, campaigns or results directories. Raises `StateError` when nothing can be reported."""
    runs: dict[Path, Measured] = {}
    left: dict[Path, Skipped] = {}
    campaign = loading.campaign(sources[0]) if len(sources) == 1 and (sources[0] / "campaign.json").exists() else None
    for source in sources:
        found = loading.find(source)
        left |= {one.directory: one for one in found.skipped}
        for run in found.runs:
            try:
                runs[run.directory] = _measured(run)
            except StateError as error:
                left[run.directory] = Skipped.for_(run.directory, error)
    if not runs:
        raise StateError(_nothing(list(left.values())))
    document = campaign.document if campaign else {}
    groups = loading.combine([run.stored for run in runs.values()], document.get("experiment"))
    return Material(
        combinations=tuple(
            Combination(
                index=index,
                label=group.label,
                factors=group.levels,
                runs=tuple(runs[run.directory] for run in group.runs),
            )
            for index, group in enumerate(groups)
        ),
        left=tuple(left.values()),
        campaign=document,
        journal=campaign.journal if campaign else (),
        torn_journal=bool(campaign and campaign.torn),
    )


def _nothing(left: Sequence[Skipped]) -> str:
    reasons = "\n".join(f"  {one.directory.name}: {one.reason}" for one in left[:5])
    more = f"\n  and {len(left) - 5} more" if len(left) > 5 else ""
    return f"no run can be reported; {len(left)} were left out:\n{reasons}{more}"


def _measured(run: loading.StoredRun) -> Measured:
    table = _samples(run)
    return Measured(stored=run, summary=summary_of(run.directory, run.record, table), samples=table)


def _samples(run: loading.StoredRun) -> pandas.DataFrame:
    """A run's samples. Raises `StateError` for a torn file."""
    table = stats.read(run.samples)
    if not set(table["outcome"].unique()) <= {"ok", "failed"} or not set(table["scenario"].unique()) <= set(
        run.scenarios
    ):
        raise StateError(f"{run.samples} is torn: a line of it is not complete.")
    return table


def renamed(material: Material, labels: Iterable[str]) -> Material:
    """Every run as a combination of its own (to compare repetitions), called by `labels`."""
    combinations = tuple(
        Combination(index=index, label=label, factors={}, runs=(run,))
        for index, (run, label) in enumerate(zip(material.runs, labels, strict=True))
    )
    return Material(combinations=combinations, left=material.left)
