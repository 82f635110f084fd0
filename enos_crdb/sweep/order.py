"""In which order the runs of an experiment are made: random within blocks, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from enos_crdb.sweep.combinations import Combination

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Item:
    """One run to be made: a combination, on its n-th deployment, for the n-th time (all counted from 1).

    A block holds every combination once. Blocks of the same deployment repetition share deployments: where there is
    more than one, they are interleaved, one deployment after the other.
    """

    number: int
    combination: str
    deployment_repetition: int
    repetition: int
    block: int


def order(combinations: Sequence[Combination], *, deployments: int, runs: int, seed: int) -> tuple[Item, ...]:
    """All items. Per deployment repetition, the deployments in random order; on each, ``runs`` random rounds."""
    found: list[Item] = []
    for deployment in range(1, deployments + 1):
        wanted = {combination.name: runs for combination in combinations}
        first_block = (deployment - 1) * runs + 1
        found += repetition(
            combinations, wanted, deployment=deployment, first_block=first_block, first=len(found) + 1, seed=seed
        )
    return tuple(found)


def repetition(
    combinations: Sequence[Combination],
    runs: Mapping[str, int],
    *,
    deployment: int,
    first_block: int,
    first: int,
    seed: int,
) -> tuple[Item, ...]:
    """The items of one deployment repetition, numbered from `first`; ``runs`` per combination's name.

    What is drawn depends on the seed and on the number of the repetition only: one that is added later, or made
    again, does not change the others.
    """
    dice = random.Random(f"{seed}/{deployment}")  # a text is hashed alike by every Python and on every machine
    wanted = [combination for combination in combinations if runs.get(combination.name, 0) > 0]
    found: list[Item] = []
    for group in _shuffled(dice, groups(wanted).values()):
        for round_ in range(max(runs[combination.name] for combination in group)):
            for combination in _shuffled(dice, [c for c in group if runs[c.name] > round_]):
                found.append(
                    Item(
                        number=first + len(found),
                        combination=combination.name,
                        deployment_repetition=deployment,
                        repetition=round_ + 1,
                        block=first_block + round_,
                    )
                )
    return tuple(found)


def groups(combinations: Iterable[Combination]) -> dict[str, list[Combination]]:
    """Combinations by deployment key."""
    found: dict[str, list[Combination]] = {}
    for combination in combinations:
        found.setdefault(combination.key, []).append(combination)
    return found


def _shuffled(dice: random.Random, things: Iterable[T]) -> list[T]:
    drawn = list(things)
    dice.shuffle(drawn)
    return drawn
