"""What a campaign of an experiment would do: combinations, order, deployments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from enos_crdb.sweep.combinations import Combination, combinations
from enos_crdb.sweep.document import Experiment, Label
from enos_crdb.sweep.loading import make
from enos_crdb.sweep.order import Item, order


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An experiment with its configuration in it, its combinations, and its runs in their order."""

    experiment: Experiment
    combinations: tuple[Combination, ...]
    excluded: tuple[Mapping[str, Label], ...]
    items: tuple[Item, ...]

    def of(self, item: Item) -> Combination:
        """The combination that an item runs."""
        return next(found for found in self.combinations if found.name == item.combination)

    def place(self, item: Item) -> tuple[int, str]:
        """(deployment repetition, key) of the deployment that an item runs on."""
        return item.deployment_repetition, self.of(item).key

    @property
    def deployments(self) -> tuple[tuple[int, str], ...]:
        """(deployment repetition, key) of every deployment that is made, in order."""
        return tuple(dict.fromkeys(map(self.place, self.items)))

    def document(self) -> dict[str, Any]:
        """The experiment as plain values, as it is stored and as it can be read again."""
        return self.experiment.model_dump(mode="json")


def plan(experiment: Experiment) -> Plan:
    """Plan an experiment. Raises `ConfigurationError` with everything that is wrong with any of its combinations."""
    if isinstance(experiment.configuration, str):
        experiment = make(experiment.model_dump(exclude_unset=True), source=experiment.source, places=experiment.places)
    found, excluded = combinations(experiment)
    asked = experiment.repetitions
    items = order(found, deployments=asked.deployments, runs=asked.runs, seed=experiment.seed)
    return Plan(experiment=experiment, combinations=found, excluded=excluded, items=items)
