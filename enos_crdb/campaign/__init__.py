"""Campaigns: the execution of a whole experiment, that can be interrupted and resumed. From a shell or a notebook.

>>> from pathlib import Path
>>> from enos_crdb.campaign import Experiment, Factor, execute, plan
>>> load = Factor(path="bench.load", levels=["light", "heavy"])
>>> experiment = Experiment(experiment="load", configuration="local-galera.yaml", factors={"load": load})
>>> [item.combination for item in plan(experiment).items][:2]
['load=light', 'load=heavy']
>>> campaign = execute(experiment, results=Path("results"), resume=False)   # doctest: +SKIP
>>> campaign.journal[["combination", "status", "run_s"]]                    # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enos_crdb.campaign.experiments import load_experiment, shipped_experiments
from enos_crdb.store import Store, read_json, read_lines
from enos_crdb.sweep import (
    Adaptive,
    Author,
    Budget,
    Ending,
    Experiment,
    Factor,
    Observed,
    Plan,
    Repetitions,
    Retries,
    estimate,
    plan,
)

if TYPE_CHECKING:
    import pandas

    from enos_crdb.campaign.hosts import Opener

__all__ = [
    "Adaptive",
    "Author",
    "Budget",
    "Campaign",
    "Ending",
    "Experiment",
    "Factor",
    "Observed",
    "Plan",
    "Repetitions",
    "Retries",
    "destroy",
    "estimate",
    "execute",
    "load_experiment",
    "observed",
    "plan",
    "shipped_experiments",
]


@dataclass(frozen=True)
class Campaign:
    """A campaign in the store, as it is now."""

    directory: Path

    @property
    def document(self) -> Mapping[str, Any]:
        """What was asked: the experiment, the seed, the plan in its order, versions."""
        return dict(read_json(self.directory / "campaign.json"))

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The journal: one entry per attempt that ended."""
        return read_lines(self.directory / "journal.jsonl")[0]

    @property
    def journal(self) -> pandas.DataFrame:
        """The journal as a table, with a column ``factor.<name>`` for each factor."""
        import pandas

        rows = [
            {**entry, **{f"factor.{name}": level for name, level in entry["factors"].items()}} for entry in self.entries
        ]
        return pandas.DataFrame(rows).drop(columns="factors", errors="ignore")

    @property
    def finished(self) -> bool:
        """Whether every run of the plan was made, or was given up."""
        return self.document["finished_at"] is not None

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The last entry of each item that did not end well."""
        last = {entry["item"]: entry for entry in self.entries}
        return [entry for entry in last.values() if entry["status"] != "ok"]

    @property
    def left(self) -> int:
        """Items of the plan that are not in the journal."""
        known = {entry["item"] for entry in self.entries if entry["cause"] != "interrupted"}
        return sum(item["item"] not in known for item in self.document["plan"])


def observed(experiment: Experiment, *, results: Path) -> Observed | None:
    """What runs and deployments took in the newest campaign of an experiment; None when there was none.

    For `estimate`, which otherwise rests on constants.
    """
    from enos_crdb.campaign import record

    found = [path for done in (True, False) for path in record.find(results, experiment.experiment, finished=done)]
    entries = Campaign(max(found, key=lambda path: path.name)).entries if found else []
    return record.observed(entries) if entries else None


def execute(
    experiment: Experiment, *, results: Path, resume: bool = False, retry: bool = False, opener: Opener | None = None
) -> Campaign:
    """Run every combination of an experiment, as often as it asks; what happens is told by `enos_crdb.events`.

    Returns when everything was run, or when the budget is used up (`Campaign.finished` tells). A combination that
    fails is an entry of the journal and does not stop the others. With ``resume`` the unfinished campaign goes on;
    with ``retry`` it does, or the newest finished one, and runs that failed get new attempts.
    ``opener`` opens a deployment; a test gives one that returns doubles.

    Raises `ConfigurationError` before anything is touched, `StateError` when a campaign of the same experiment is in
    the way, and `KeyboardInterrupt` after putting things away,
    and `PrerequisiteError` when this machine lacks what every run needs.
    """
    from enos_crdb.campaign import record
    from enos_crdb.campaign.execution import Execution
    from enos_crdb.campaign.hosts import Hosts
    from enos_crdb.phases.deploy import open_for_deploy

    results = results.resolve()
    planned = plan(experiment)
    again = resume or retry
    kept = record.resume(results, planned, finished=retry) if again else record.begin(results, planned)
    with kept.locked():
        if again:
            kept.resumed()
        if retry:
            kept.pardon()
        Execution(kept, Hosts(kept, Store(results), opener or open_for_deploy)).run()
    return Campaign(kept.directory)


def destroy(experiment: Experiment, *, results: Path, opener: Opener | None = None) -> Campaign:
    """Give back the hosts that an unfinished campaign kept. It can still be resumed. Raises `StateError`."""
    from enos_crdb.campaign import record
    from enos_crdb.campaign.hosts import Hosts
    from enos_crdb.phases.deploy import open_for_deploy

    kept = record.resume(results.resolve(), plan(experiment))
    with kept.locked():
        Hosts(kept, Store(results.resolve()), opener or open_for_deploy).discard()
    return Campaign(kept.directory)
