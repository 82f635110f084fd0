"""Factors x levels: every combination as a complete configuration, all checked before the first is run."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from enos_crdb.config import Configuration, loading
from enos_crdb.config.complaints import problems
from enos_crdb.config.fixed import fixed
from enos_crdb.errors import ConfigurationError
from enos_crdb.sweep.document import Experiment, Label, said

MOST = 10_000
"""More combinations than this are a slip of the pen."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One point of the space.

    ``name`` holds every factor and level (``backend=galera,delay_ms=50``). Combinations of equal ``key`` can share a
    deployment: what differs, `deploy`, the emulation and the bench bring about.
    """

    name: str
    factors: Mapping[str, Label]
    configuration: Configuration
    key: str

    @property
    def hosts(self) -> int:
        return sum(group.count for group in self.configuration.machines)


@dataclass
class _Complaints:
    """What is wrong, and with which combinations."""

    found: dict[tuple[str, str], list[dict[str, Label]]] = field(default_factory=dict)

    def add(self, place: str, said_: str, factors: dict[str, Label]) -> None:
        self.found.setdefault((place, said_), []).append(factors)

    def text(self, everything: list[dict[str, Label]]) -> str:
        """A line each, with the levels that all of the broken combinations, and not all combinations, have."""
        lines = []
        for (place, problem), broken in self.found.items():
            levels = [
                f"{name}={said(level)}"
                for name, level in broken[0].items()
                if all(other[name] == level for other in broken) and any(other[name] != level for other in everything)
            ]
            lines.append(f"{place}: {', '.join(levels) + ': ' if levels else ''}{problem}")
        return "\n".join(lines)


def combinations(experiment: Experiment) -> tuple[tuple[Combination, ...], tuple[dict[str, Label], ...]]:
    """Those to be run, in the order of the document, and the levels of those that are excluded.

    Raises `ConfigurationError` with everything that is wrong with any of them.
    """
    everything = _product(experiment)
    excluded = _excluded(experiment, everything)
    kept = [factors for factors in everything if factors not in excluded]
    if not kept:
        raise ConfigurationError(f"{experiment.source}: `exclude` leaves no combination to run.")
    complaints, made = _Complaints(), []
    for factors in kept:
        configuration = _configuration(experiment, factors, complaints)
        if configuration is not None:
            made.append(_combination(experiment, factors, configuration))
    if complaints.found:
        raise ConfigurationError(complaints.text(kept))
    return tuple(made), tuple(excluded)


def deployment_key(configuration: Configuration) -> str:
    """A digest (8 hex) of what living deployments cannot change; the name of a deployment is not part of it."""
    values = {**fixed(configuration.model_dump(mode="json")), "name": None}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def _product(experiment: Experiment) -> list[dict[str, Label]]:
    names = list(experiment.factors)
    levels = [list(factor.assignments()) for factor in experiment.factors.values()]
    count = 1
    for labels in levels:
        count *= len(labels)
    if count > MOST:
        raise ConfigurationError(
            f"{experiment.places.get('factors', experiment.source)}: factors: {count} combinations are more than "
            f"anybody can run (at most {MOST}); use fewer levels."
        )
    return [dict(zip(names, labels, strict=True)) for labels in itertools.product(*levels)]


def _excluded(experiment: Experiment, everything: list[dict[str, Label]]) -> list[dict[str, Label]]:
    found: list[dict[str, Label]] = []
    problems_: list[str] = []
    for index, entry in enumerate(experiment.exclude):
        place = experiment.places.get(f"exclude.{index}", experiment.source)
        problem, matched = _matched(experiment, entry, everything)
        if problem:
            problems_.append(f"{place}: exclude.{index}: {problem}")
        found += [factors for factors in matched if factors not in found]
    if problems_:
        raise ConfigurationError("\n".join(problems_))
    return found


def _matched(
    experiment: Experiment, entry: Mapping[str, Any], everything: Iterable[dict[str, Label]]
) -> tuple[str, list[dict[str, Label]]]:
    """What is wrong with an entry of ``exclude``, and which combinations it leaves out."""
    wanted: dict[str, set[str]] = {}
    for name, given in entry.items():
        if name not in experiment.factors:
            return f"'{name}' is not a factor; there are: {', '.join(experiment.factors) or 'none'}.", []
        known = [said(label) for label in experiment.factors[name].assignments()]
        wanted[name] = {said(label) for label in (given if isinstance(given, list) else [given])}
        if strange := sorted(wanted[name] - set(known)):
            return f"'{strange[0]}' is not a level of the factor '{name}'; there are: {', '.join(known)}.", []
    matched = [f for f in everything if wanted and all(said(f[name]) in levels for name, levels in wanted.items())]
    if not matched:
        return "matches no combination; name a factor and the levels to leave out.", []
    return "", matched


def _configuration(experiment: Experiment, factors: dict[str, Label], complaints: _Complaints) -> Configuration | None:
    document, places = _base(experiment)
    document.setdefault("name", experiment.experiment)
    for name, label in factors.items():
        for path, value in experiment.factors[name].assignments()[label].items():
            place = _place(experiment, name, label, path)
            try:
                loading.assign(document, path, copy.deepcopy(value), places, by=place)
            except ConfigurationError as error:
                complaints.add(place, f"{path}: {str(error).removeprefix(f'{place}: ')}", factors)
                return None
    try:
        return Configuration.model_validate(document)
    except ValidationError as error:
        for place, problem in problems(error, source=experiment.source, places=places):
            complaints.add(place, problem, factors)
        return None


def _base(experiment: Experiment) -> tuple[dict[str, Any], dict[str, str]]:
    assert isinstance(experiment.configuration, dict), "the configuration's file was not read"
    before = "configuration."
    places = {key.removeprefix(before): place for key, place in experiment.places.items() if key.startswith(before)}
    return copy.deepcopy(experiment.configuration), places


def _place(experiment: Experiment, name: str, label: Label, path: str) -> str:
    """Where a level was written, as exactly as is known."""
    levels = f"factors.{name}.levels"
    index = list(experiment.factors[name].assignments()).index(label)
    keys = (f"{levels}.{label}.{path}", f"{levels}.{label}", f"{levels}.{index}", levels, f"factors.{name}")
    return next((experiment.places[key] for key in keys if key in experiment.places), experiment.source)


def _combination(experiment: Experiment, factors: dict[str, Label], configuration: Configuration) -> Combination:
    key = deployment_key(configuration)
    return Combination(
        name=",".join(f"{name}={said(label)}" for name, label in factors.items()) or "all",
        factors=factors,
        # Its own name keeps `deploy --env` of the same file from taking a deployment of the campaign for its own.
        configuration=configuration.model_copy(update={"name": f"{experiment.experiment}-{key}"}),
        key=key,
    )
