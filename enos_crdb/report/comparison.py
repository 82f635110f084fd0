"""Runs side by side: whether they may be compared, what differs between them, and how much it changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from enos_crdb import loading
from enos_crdb.errors import ConfigurationError
from enos_crdb.loading.settings import FOLLOW, MUST_BE_EQUAL
from enos_crdb.report.effects import Difference, against_first, differences
from enos_crdb.report.material import Material, renamed
from enos_crdb.report.numbers import Numbers, numbers


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """``differing``: setting -> its value in each combination. ``warnings``: what spoils the comparison, in words."""

    material: Material
    numbers: tuple[Numbers, ...]
    differences: tuple[Difference, ...]
    differing: dict[str, list[str]]
    warnings: tuple[str, ...]

    def verdict(self, one: Numbers) -> str:
        """What `one` says against the first combination; empty for the first itself."""
        found = [
            difference
            for difference in self.differences
            if difference.scenario == one.scenario and difference.after is one.combination
        ]
        if not found:
            return ""
        (first,) = (
            other for other in self.numbers if other.scenario == one.scenario and other.combination is found[0].before
        )
        if first.failures == one.failures:
            return found[0].verdict
        return f"{found[0].verdict}; {one.failures} of {one.n} failed, {first.failures} of {first.n} of the first"


def compare(material: Material, *, anyway: bool = False) -> Comparison:
    """Everything against the first combination. Runs of the same settings repeat one another, unless all do.

    Raises `ConfigurationError` when there is nothing to compare, or when something differs that hides what is compared
    (``anyway`` makes that a warning).
    """
    if len(material.runs) < 2:
        raise ConfigurationError(
            f"a comparison needs two runs, and there is one: {material.runs[0].name}.\n"
            "Name two or more: `enos_crdb compare RUN RUN`; `enos_crdb info` lists them."
        )
    if not material.several:
        material = renamed(material, [run.name for run in material.runs])
    differing = _differing(material)
    problems = [
        f"{name} differs ({' | '.join(dict.fromkeys(differing[name]))}): {why}."
        for name, why in MUST_BE_EQUAL.items()
        if name in differing
    ]
    if problems and not anyway:
        raise ConfigurationError(
            "these runs should not be compared:\n"
            + "\n".join(f"  {problem}" for problem in problems)
            + "\nMeasure again with the same, or say `--anyway` to see the numbers with this warning."
        )
    found = differences(material, against_first(material))
    if not found:
        raise ConfigurationError("these runs have no scenario in common, so there is nothing to compare.")
    return Comparison(
        material=material,
        numbers=numbers(material),
        differences=found,
        differing=differing,
        warnings=(*problems, *_warnings(material, differing)),
    )


def _differing(material: Material) -> dict[str, list[str]]:
    return loading.differing([one.runs[0].stored for one in material.combinations])


def _warnings(material: Material, differing: dict[str, list[str]]) -> Iterator[str]:
    several = [name for name in differing if name not in MUST_BE_EQUAL and name not in FOLLOW]
    if len(several) > 1:
        yield f"{len(several)} settings differ ({', '.join(several)}): what is seen may come from any of them."
    if all(len(one.runs) == 1 for one in material.combinations):
        yield "one run of each: differences below 15 % come and go between runs. Repeat them to know."
    yield from _code(material)
    for one in material.left:
        yield f"left out: {one.directory.name}: {one.reason}"
    common = [name for name in material.scenarios if all(one.having(name) for one in material.combinations)]
    alone = [name for name in material.scenarios if name not in common]
    if alone:
        yield f"not in all of them: {', '.join(alone)}."


def _code(material: Material) -> Iterator[str]:
    made: Sequence[str] = sorted(
        {
            f"{run.record.provenance.enos_crdb} {(run.record.provenance.commit or '')[:10]}".strip()
            for run in material.runs
        }
    )
    if len(made) > 1:
        yield f"made by different versions of enos_crdb: {', '.join(made)}."
