"""Which sections a page has, in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from enos_crdb.report import effects, model, network, opening, origin, page, published, results, timeline
from enos_crdb.report.material import Material
from enos_crdb.report.numbers import numbers
from enos_crdb.report.page import Page
from enos_crdb.report.parts import Section


def write(material: Material, place: Path) -> Path:
    """Write the report about `material` into `place`: ``report.html``, ``figures/``, ``tables/``."""
    place.mkdir(parents=True, exist_ok=True)
    return page.write(compose(material, place), place)


def compose(material: Material, place: Path) -> Page:
    """The page as values; `place` is where it will stand, for its links."""
    experiment = material.experiment
    return Page(
        title=_title(material),
        question=str(experiment.get("description") or ""),
        authors=tuple(author for author in experiment.get("authors") or () if author.get("name")),
        facts=dict(_facts(material)),
        sections=tuple(_sections(material)),
        raw=origin.raw(material, place),
        synthetic=any(run.record.synthetic for run in material.runs),
    )


def _sections(material: Material) -> Iterator[Section]:
    found = numbers(material)
    yield opening.warnings(material)
    yield opening.setting(material)
    yield results.results(material, found)
    yield effects.effects(effects.differences(material, effects.by_factor(material)))
    yield network.distance(material, found)
    yield network.sites(material, found)
    yield model.latency_model(material)
    yield results.distributions(material)
    yield network.matrices(material)
    yield timeline.time_lines(material)
    yield timeline.counters(material)
    yield results.actions(material)
    yield published.published(material, found)
    yield origin.order(material)
    yield origin.provenance(material)


def _title(material: Material) -> str:
    experiment = material.experiment
    if experiment:
        return str(experiment.get("title") or experiment.get("experiment") or "A campaign")
    if len(material.runs) == 1:
        return f"Keystone on {material.runs[0].settings['backend']}: run {material.runs[0].name}"
    backends = dict.fromkeys(combination.backend for combination in material.combinations)
    return f"Keystone on {', '.join(backends)}: {len(material.runs)} runs"


def _facts(material: Material) -> Iterator[tuple[str, str]]:
    experiment: Mapping[str, Any] = material.experiment
    began = min(run.record.started_at for run in material.runs)
    ended = max(run.record.finished_at or run.record.started_at for run in material.runs)
    iterations = sum(run.count(scenario) for run in material.runs for scenario in run.scenarios)
    yield "Measured", f"{_moment(began)} to {_moment(ended)} UTC"
    yield "Runs", _amount(material, iterations)
    if not material.several:
        facts = material.runs[0].summary.facts
        yield from ((name[0].upper() + name[1:], value) for name, value in facts.items() if name != "made")
    if experiment.get("experiment"):
        yield "Experiment", str(experiment["experiment"])
    for name, key, prefix in (("DOI", "doi", "https://doi.org/"), ("Licence", "licence", "")):
        if experiment.get(key):
            yield name, f"{prefix}{experiment[key]}"
    if experiment.get("keywords"):
        yield "Keywords", ", ".join(str(word) for word in experiment["keywords"])


def _amount(material: Material, iterations: int) -> str:
    combinations = f" of {len(material.combinations)} combinations" if material.several else ""
    refused = sum(one.refused for one in material.left)
    left = len(material.left) - refused
    parts = [f"{len(material.runs)}{combinations}, {iterations} iterations"]
    parts += [f"{refused} refused"] if refused else []
    parts += [f"{left} left out"] if left else []
    return "; ".join(parts)


def _moment(stamp: str) -> str:
    return stamp[:16].replace("T", " ")
