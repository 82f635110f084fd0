"""Runs that repeat one another, and what tells them from the others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from enos_crdb.loading.settings import COVERS, FOLLOW, LOCAL_PROVIDERS, machine, natural
from enos_crdb.loading.stored import StoredRun

LEVELS_SHOWN = 60
"""Longest label of a combination; a longer one is a number with its settings in a table."""
VALUE_SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class Group:
    """All runs of one combination that repeat one another.

    ``name`` is that of the campaign's combination, ``label`` is for people; the ``name`` is the ``label`` where there
    was no campaign. ``levels``: what tells it from the others, by name.
    """

    name: str
    label: str
    levels: Mapping[str, str]
    runs: tuple[StoredRun, ...]


def combine(runs: Sequence[StoredRun], experiment: Mapping[str, Any] | None = None) -> tuple[Group, ...]:
    """Group runs by all that can change a number (`identity`), and by their combination in a campaign.

    In the order of the ``experiment``'s document, or of the runs. Labels are different.
    """
    campaigns = {run.labels.experiment if run.labels else None for run in runs}
    planned = len(campaigns) == 1 and None not in campaigns
    groups: dict[tuple[str, str], list[StoredRun]] = {}
    for run in runs:
        groups.setdefault((run.labels.combination if planned and run.labels else "", run.identity), []).append(run)
    ordered = list(groups.values())
    if planned and experiment:
        declared = experiment.get("factors") or {}
        ordered.sort(key=lambda group: _level_order(_factors(group[0]), declared))
    levels = _levels(ordered, planned)
    labels = [_label(one, group[0], n) for n, (one, group) in enumerate(zip(levels, ordered, strict=True))]
    labels = _distinguished(labels)
    names = [group[0].labels.combination if planned and group[0].labels else "" for group in ordered]
    return tuple(
        # One combination of a campaign, of which something was changed between its runs, is several.
        Group(name=name if name and names.count(name) == 1 else label, label=label, levels=one, runs=tuple(group))
        for name, label, one, group in zip(names, labels, levels, ordered, strict=True)
    )


def differing(runs: Sequence[StoredRun]) -> dict[str, list[str]]:
    """What differs between runs, one of each combination: name -> its value in each.

    Settings first, in words; then aspects that no differing setting explains.
    """
    settings = _different([{**run.settings, **_machine(run)} for run in runs])
    explained = re.compile("|".join(COVERS[name] for name in settings if name in COVERS) or r"(?!)")
    rest = _different([run.aspects for run in runs])
    return settings | {_short(path): values for path, values in rest.items() if not explained.fullmatch(path)}


def _distinguished(labels: Sequence[str]) -> list[str]:
    """Long values are cut, so labels may have become equal."""
    return [f"{label} ({n})" if labels.count(label) > 1 else label for n, label in enumerate(labels, 1)]


def _different(found: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    names = dict.fromkeys(name for one in found for name in one)
    values = {name: [one.get(name, "") for one in found] for name in names}
    return {name: said for name, said in values.items() if len(set(said)) > 1}


def _machine(run: StoredRun) -> dict[str, str]:
    """Local hosts are the machine that ran enos_crdb."""
    return {"machine": machine(run.record.provenance)} if run.record.provider in LOCAL_PROVIDERS else {}


def _short(path: str) -> str:
    return path.removeprefix("configuration.")


def _factors(run: StoredRun) -> dict[str, str]:
    return {name: str(level) for name, level in run.factors.items()}


def _levels(groups: Sequence[Sequence[StoredRun]], planned: bool) -> list[dict[str, str]]:
    """The factors of a campaign; without one, and where they do not tell groups apart, as few others as do."""
    known = [_factors(group[0]) if planned else {} for group in groups]
    if _distinct(known) == len(groups):
        return known
    others = differing([group[0] for group in groups])
    names = sorted(others, key=lambda name: name in FOLLOW)
    for name in names:
        more = [{**one, name: others[name][index]} for index, one in enumerate(known)]
        if _distinct(more) > _distinct(known):
            known = more
    return known


def _distinct(levels: Sequence[Mapping[str, str]]) -> int:
    return len({tuple(sorted(one.items())) for one in levels})


def _level_order(levels: Mapping[str, str], declared: Mapping[str, Any]) -> tuple[Any, ...]:
    """The order of factors and levels in the experiment's file, as far as it is known."""
    order: list[Any] = []
    for name, level in levels.items():
        known = [str(one) for one in (declared.get(name) or {}).get("levels") or []]
        order.append((known.index(level), ()) if level in known else (len(known), natural(level)))
    return tuple(order)


def _label(levels: Mapping[str, str], run: StoredRun, index: int) -> str:
    words = [level if name == "backend" else f"{name} {level or 'unset'}" for name, level in levels.items()]
    label = ", ".join(word[:VALUE_SHOWN] for word in words) or run.backend
    return label if len(label) <= LEVELS_SHOWN else f"{run.backend} ({index + 1})"
