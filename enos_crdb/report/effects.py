"""How much combinations differ: sizes with intervals, and what they mean in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from enos_crdb import stats
from enos_crdb.report import drawing, figures, parts
from enos_crdb.report.figures import Curve
from enos_crdb.report.material import Combination, Material
from enos_crdb.report.numbers import durations, others
from enos_crdb.report.parts import Figure, Section, Table
from enos_crdb.report.results import file_name, short

COME_AND_GO = 0.15
"""Single runs of the same thing on one machine were seen to differ by so much."""
MARGIN = 0.05
"""Two combinations are called equivalent when their medians surely differ by less."""
LEGIBLE = 8
"""Most series of one figure."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What changes in one scenario from ``before`` to ``after``; ``factor`` is what differs, empty when several do."""

    scenario: str
    factor: str
    before: Combination
    after: Combination
    effect: stats.Effect

    @property
    def verdict(self) -> str:
        """In words, with what the interval allows to say."""
        before, after = (one.runs[0].record.configuration.bench.runner.loop for one in (self.before, self.after))
        mark = "" if before == after else f"; {before} against {after} loop: one waits for answers, the other does not"
        return f"{verdict(self.effect)}{mark}"


def verdict(effect: stats.Effect) -> str:
    """``slower``, ``faster``, ``equivalent`` or ``undecided``, as the interval of the ratio of medians allows."""
    ratio = effect.median_ratio
    if math.isnan(ratio.value):
        return "cannot be told: nothing succeeded on one side"
    if math.isnan(ratio.low) or math.isnan(ratio.high):
        return "cannot be told: too few iterations"
    single = effect.covers == "iterations"
    if ratio.low >= 1 / (1 + MARGIN) and ratio.high <= 1 + MARGIN and not single:
        return f"equivalent: within {_percent(1 + MARGIN)}"
    if ratio.low <= 1 <= ratio.high:
        return _undecided(ratio, effect.detectable)
    sure = _slower(ratio) if ratio.value > 1 else _faster(ratio)
    if single and abs(ratio.value - 1) < COME_AND_GO:
        return f"undecided: {sure}, but single runs differ by that much; repeat them"
    return f"{sure}; of these runs only, repeat them" if single else sure


def _undecided(ratio: stats.Interval, detectable: float) -> str:
    ends = [f"{_percent(end)} {word}" for end, word in ((ratio.low, "faster"), (ratio.high, "slower"))]
    told = f"undecided: between {ends[0]} and {ends[1]}" if ratio.high < math.inf else "undecided"
    return told if math.isnan(detectable) else f"{told}; {_percent(detectable)} would have been seen"


def _slower(ratio: stats.Interval) -> str:
    if ratio.value >= 2:
        return f"{parts.number(ratio.value)} times as long ({parts.number(ratio.low)} to {parts.number(ratio.high)})"
    return f"{_percent(ratio.value)} slower ({_percent(ratio.low)} to {_percent(ratio.high)})"


def _faster(ratio: stats.Interval) -> str:
    if ratio.value <= 0.5:
        ends = f"{parts.number(1 / ratio.high)} to {parts.number(1 / ratio.low)}"
        return f"{parts.number(1 / ratio.value)} times as fast ({ends})"
    return f"{_percent(ratio.value)} faster ({_percent(ratio.high)} to {_percent(ratio.low)})"


def _percent(ratio: float) -> str:
    return f"{abs(ratio - 1) * 100:.0f} %"


Pair = tuple[str, Combination, Combination]
"""A factor, and two combinations that differ in it."""


def differences(material: Material, pairs: Sequence[Pair]) -> tuple[Difference, ...]:
    """Every scenario of every pair."""
    return tuple(
        Difference(
            scenario=scenario,
            factor=factor,
            before=before,
            after=after,
            effect=stats.compare(
                durations(before.having(scenario), scenario),
                durations(after.having(scenario), scenario),
                among=[durations(one, scenario) for one in others(material, scenario, before, after)],
                blocks=_blocks(before, after),
            ),
        )
        for scenario in material.scenarios
        for factor, before, after in pairs
        if before.having(scenario) and after.having(scenario)
    )


def _blocks(*combinations: Combination) -> dict[tuple[str, str], int]:
    """(deployment, run) -> its block in the campaign."""
    return {(run.deployment, run.name): run.campaign.block for one in combinations for run in one.runs if run.campaign}


def against_first(material: Material) -> list[Pair]:
    """Every other combination against the first."""
    return [("", material.combinations[0], one) for one in material.combinations[1:]]


def by_factor(material: Material) -> list[Pair]:
    """Combinations that differ in one factor, against its first level; without factors, all against the first."""
    factors = list(dict.fromkeys(name for one in material.combinations for name in one.factors))
    return list(_levels(material, factors)) if material.experiment and factors else against_first(material)


def _levels(material: Material, factors: Sequence[str]) -> Iterator[Pair]:
    for factor in factors:
        first: dict[tuple[tuple[str, str], ...], Combination] = {}
        for one in material.combinations:
            rest = tuple(sorted((name, level) for name, level in one.factors.items() if name != factor))
            before = first.setdefault(rest, one)
            if before is not one:
                yield factor, before, one


def effects(found: Sequence[Difference]) -> Section:
    """The differences as a table, and as a figure per factor."""
    columns = [parts.text("scenario", "scenario")]
    columns += [parts.text("factor", "factor")] if any(one.factor for one in found) else []
    columns += [
        parts.text("from", "from"),
        parts.text("to", "to"),
        parts.text("covers", "covers"),
        parts.ranged("ratio of medians", "median_ratio"),
        parts.ranged("ratio of means", "mean_ratio"),
        parts.measure("Cliff's delta", "cliffs_delta"),
        parts.measure("shift (ms)", "shift_ms"),
        parts.text("in words", "verdict"),
    ]
    table = Table(
        name="effects",
        caption="Differences, with 95 % intervals. Ratios: of the second combination to the first. Cliff's delta: from "
        "-1 (all durations of the second are shorter) through 0 to 1 (all longer). Shift: the typical difference.",
        columns=tuple(columns),
        rows=tuple(map(_row, found)),
    )
    lead = (
        f"Sizes, not tests of significance. Equivalent: the medians surely differ by less than {_percent(1 + MARGIN)}. "
        "Undecided: the interval holds 1, and more than that. In a campaign, combinations are compared in its blocks.",
    )
    drawn = tuple(_figures(found))
    return Section(
        anchor="effects", title="Differences between combinations", lead=lead, parts=(*drawn, table) if found else ()
    )


def _row(one: Difference) -> dict[str, Any]:
    row: dict[str, Any] = {
        "scenario": short(one.scenario),
        "factor": one.factor,
        "from": one.before.label,
        "to": one.after.label,
        "shift_ms": one.effect.shift * 1000,
        "cliffs_delta": one.effect.cliffs_delta,
        "covers": covers_effect(one.effect),
        "verdict": one.verdict,
    }
    for name in ("median_ratio", "mean_ratio"):
        value: stats.Interval = getattr(one.effect, name)
        row |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
    return row


def covers_effect(effect: stats.Effect) -> str:
    """What the interval of a ratio covers, and its degrees of freedom."""
    return effect.covers if math.isnan(effect.freedom) else f"{effect.covers}, {effect.freedom:g} df"


def _figures(found: Sequence[Difference]) -> Iterator[Figure]:
    """Per factor: a row per scenario, a mark per pair."""
    for factor in dict.fromkeys(one.factor for one in found):
        mine = [one for one in found if one.factor == factor]
        labels = list(dict.fromkeys((one.before.label, one.after.label) for one in mine))
        if len(labels) > LEGIBLE:
            continue
        scenarios = list(dict.fromkeys(one.scenario for one in mine))
        curves = [
            Curve(
                label=f"{after} / {before}",
                look=drawing.look(index),
                points=[
                    (scenarios.index(one.scenario), *_three(one.effect.median_ratio))
                    for one in mine
                    if (one.before.label, one.after.label) == (before, after)
                ],
            )
            for index, (before, after) in enumerate(labels)
        ]
        what = f"{factor}: " if factor else ""
        names = [short(one) for one in scenarios]
        yield Figure(
            name=file_name("effects", factor or "all"),
            caption=f"{what}ratio of median durations, with 95 % intervals; at 1 they are equal.",
            alternative=f"{what}ratios of medians. "
            + "; ".join(f"{short(one.scenario)}, {one.after.label}: {one.verdict}" for one in mine),
            draw=partial(figures.rows, factor or "all", names, curves, x="ratio of medians", line=1.0),
        )


def _three(found: stats.Interval) -> tuple[float, float, float]:
    return found.value, found.low, found.high
