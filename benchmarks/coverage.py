"""How often nominal 95 % intervals hold the truth, for designs as users have them: ``invoke bench.coverage``.

Durations are drawn from known distributions, so the truth is known. Prints the table that stands in
`docs/explanation/statistics.md`; a deep test checks that it still does.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from enos_crdb import stats

Array = NDArray[numpy.float64]
MEDIAN_S = 0.2
STATISTICS = ("mean", "p50", "p95", "p99")
TRIALS = 400
POOR = 0.90
"""Below, a figure is marked."""
MANY = 400_000
"""Values that the truth is taken from."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """Standard deviations are of logarithms: of iterations in a run, of runs in a deployment, of deployments.

    ``neighbours``: correlation of one iteration with the next. ``combinations``: how many are measured alike, whose
    scatter is pooled. ``tail``: the exponent of a Pareto tail instead of a log-normal one. ``sizes``: iterations of the
    runs, in turn.
    """

    name: str
    runs: int = 1
    deployments: int = 1
    sizes: tuple[int, ...] = (40,)
    within: float = 0.2
    between: float = 0.0
    apart: float = 0.0
    neighbours: float = 0.0
    combinations: int = 1
    tail: float = 0.0

    def iterations(self, random: numpy.random.Generator, n: int) -> Array:
        """Logarithms of the durations of one run, about 0."""
        if self.tail:
            heavy: Array = numpy.log1p(random.pareto(self.tail, n))
            return heavy
        noise = random.normal(0, self.within, n)
        for i in range(1, n if self.neighbours else 0):
            noise[i] = self.neighbours * noise[i - 1] + math.sqrt(1 - self.neighbours**2) * noise[i]
        return noise

    def draw(self, random: numpy.random.Generator) -> dict[tuple[str, str], Array]:
        """One combination."""
        found = {}
        for deployment in range(self.deployments):
            place = random.normal(0, self.apart)
            for run in range(self.runs):
                n = self.sizes[(deployment * self.runs + run) % len(self.sizes)]
                shift = place + random.normal(0, self.between)
                found[f"d{deployment}", f"r{run}"] = MEDIAN_S * numpy.exp(shift + self.iterations(random, n))
        return found

    def truth(self) -> Mapping[str, float]:
        """Of all durations that could be measured."""
        random = numpy.random.default_rng(0)
        alone = Design(name="", within=self.within, tail=self.tail)
        spread = math.hypot(self.between, self.apart)
        values = MEDIAN_S * numpy.exp(random.normal(0, spread, MANY) + alone.iterations(random, MANY))
        return {
            name: float(values.mean() if name == "mean" else numpy.quantile(values, float(name[1:]) / 100))
            for name in STATISTICS
        }


DESIGNS: Sequence[Design] = (
    Design(name="1 run of 40"),
    Design(name="1 run of 400", sizes=(400,)),
    Design(name="1 run of 100, neighbours 0.34", sizes=(100,), neighbours=0.34),
    Design(name="1 run of 100, neighbours 0.78", sizes=(100,), neighbours=0.78),
    Design(name="1 run of 100, heavy tail", sizes=(100,), tail=2.5),
    Design(name="3 runs of 40", runs=3, between=0.1),
    Design(name="5 runs of 40", runs=5, between=0.1),
    Design(name="5 runs of 400", runs=5, sizes=(400,), between=0.1),
    Design(name="5 runs of 100, neighbours 0.78", runs=5, sizes=(100,), between=0.05, neighbours=0.78),
    Design(name="6 runs of 20, 40 or 200", runs=6, sizes=(20, 40, 200), between=0.1),
    Design(name="5 runs of 100, heavy tail", runs=5, sizes=(100,), between=0.05, tail=2.5),
    Design(name="2 deployments of 1 run, 6 combinations", deployments=2, apart=0.1, combinations=6),
    Design(name="2 deployments of 5 runs", deployments=2, runs=5, between=0.03, apart=0.1),
    Design(
        name="2 deployments of 5 runs, 6 combinations", deployments=2, runs=5, between=0.03, apart=0.1, combinations=6
    ),
    Design(name="3 deployments of 5 runs", deployments=3, runs=5, between=0.03, apart=0.1),
    Design(name="5 deployments of 2 runs", deployments=5, runs=2, between=0.03, apart=0.1),
    Design(name="2 runs of 40, 6 combinations", runs=2, between=0.1, combinations=6),
)


def coverage(design: Design, trials: int = TRIALS) -> dict[str, float]:
    """Statistic -> how often its interval held the truth; ``covers`` of the last one under that key."""
    truth, hits = design.truth(), dict.fromkeys(STATISTICS, 0)
    for seed in range(trials):
        random = numpy.random.default_rng(seed + 1)
        mine, *others = (design.draw(random) for _ in range(design.combinations))
        for name, found in zip(STATISTICS, stats.estimates(mine, STATISTICS, among=others), strict=True):
            hits[name] += found.low <= truth[name] <= found.high
    return {name: count / trials for name, count in hits.items()}


def covers(design: Design) -> str:
    """What an interval of this design says it covers."""
    random = numpy.random.default_rng(1)
    mine, *others = (design.draw(random) for _ in range(design.combinations))
    return stats.estimate(mine, "p50", among=others).covers


def rows(trials: int = TRIALS) -> list[tuple[str, str, dict[str, float]]]:
    """Name, what is covered, and the figures of each design."""
    return [(design.name, covers(design), coverage(design, trials)) for design in DESIGNS]


Share = tuple[str, float]


def failures(runs: int, alike: float, *, share: float = 0.05, n: int = 100, trials: int = TRIALS) -> Share:
    """How often the interval of a share of failures holds it; ``alike``: correlation of iterations of one run."""
    random, hits = numpy.random.default_rng(1), 0
    a, b = share * (1 / alike - 1), (1 - share) * (1 / alike - 1)
    for _ in range(trials):
        found = stats.failure_share([(int(random.binomial(n, random.beta(a, b))), n) for _ in range(runs)])
        hits += found.low <= share <= found.high
    return f"{share:.0%} of failures, {runs} runs of {n} that resemble one another by {alike:g}", hits / trials


def adaptive(between: float, *, width: float = 0.1, most: int = 60, trials: int = TRIALS) -> Share:
    """How often the interval holds the median when the number of runs was found by `stats.units_wanted`."""
    design, hits = Design(name="", between=between), 0
    for seed in range(trials):
        random = numpy.random.default_rng(seed + 1)
        first, *others = ([next(iter(design.draw(random).values())) for _ in range(3)] for _ in range(4))
        wanted = stats.units_wanted(first, "p50", width, among=others) or most
        more = [next(iter(design.draw(random).values())) for _ in range(min(wanted, most) - len(first))]
        found = stats.estimate([*first, *more], "p50", among=others)
        hits += found.low <= MEDIAN_S <= found.high
    return f"adaptive: as many runs as 3 each of 4 combinations say, runs scatter by {between:.0%}", hits / trials


def ratio(*, blocks: bool, effect: float = 1.1, trials: int = TRIALS) -> tuple[Share, Share]:
    """Two combinations in five blocks whose hours scatter by 10 %: is the ratio held, is the difference seen?"""
    held = seen = 0
    for seed in range(trials):
        random = numpy.random.default_rng(seed + 1)
        sides: tuple[dict[tuple[str, str], Array], ...] = ({}, {})
        for block in range(5):
            hour = random.normal(0, 0.1)
            for side, factor in zip(sides, (1.0, effect), strict=True):
                noise = hour + random.normal(0, 0.03) + random.normal(0, 0.2, 60)
                side[str(factor), str(block)] = MEDIAN_S * factor * numpy.exp(noise)
        places = {key: key[1] for side in sides for key in side} if blocks else None
        found = stats.compare(*sides, blocks=places).median_ratio
        held += found.low <= effect <= found.high
        seen += found.low > 1
    how = "in 5 blocks" if blocks else "5 runs of each, blocks not known"
    return (f"ratio of {effect:g}, {how}", held / trials), (f"ratio of {effect:g}, {how}: seen", seen / trials)


def shares(trials: int = TRIALS) -> list[Share]:
    """What is no statistic of durations."""
    paired, alone = (ratio(blocks=blocks, trials=trials) for blocks in (True, False))
    return [
        *(failures(runs, alike, trials=trials) for runs in (3, 5, 10) for alike in (0.02, 0.2)),
        *(adaptive(between, trials=trials) for between in (0.05, 0.1)),
        paired[0],
        alone[0],
        paired[1],
        alone[1],
    ]


def cell(share: float) -> str:
    """As the table has it: poor figures in bold."""
    text = f"{100 * share:.0f} %"
    return f"**{text}**" if share < POOR else text


def markdown(found: Sequence[tuple[str, str, dict[str, float]]]) -> str:
    """The table of the page."""
    lines = [f"| design | `covers` | {' | '.join(STATISTICS)} |", "| --- | --- |" + " --- |" * len(STATISTICS)]
    lines += [
        f"| {name} | {what} | {' | '.join(cell(shares[one]) for one in STATISTICS)} |" for name, what, shares in found
    ]
    return "\n".join(lines)


def second(found: Sequence[Share]) -> str:
    """The table below it. How often something is seen is no coverage, so it is not marked."""
    lines = ["| | how often |", "| --- | --- |"]
    lines += [
        f"| {name} | {f'{100 * share:.0f} %' if name.endswith('seen') else cell(share)} |" for name, share in found
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=TRIALS)
    trials = parser.parse_args().trials
    print(markdown(rows(trials)), second(shares(trials)), sep="\n\n")


if __name__ == "__main__":
    main()
