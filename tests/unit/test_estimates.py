"""Estimates: do their intervals hold what they should as often as they say?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy
import pytest
from scipy import stats as reference

from enos_crdb import stats
from enos_crdb.stats import Estimate

TRIALS = 150
MEDIAN_S = 0.2


def drawn(
    seed: int, *, runs: int, n: int, deployments: int = 1, within: float = 0.2, between: float = 0.0, apart: float = 0.0
) -> dict[tuple[str, str], Any]:
    """Log-normal durations with a median of 0.2 s, whose runs and deployments differ."""
    random = numpy.random.default_rng(seed)
    found = {}
    for deployment in range(deployments):
        place = random.normal(0, apart)
        for run in range(runs):
            shift = place + random.normal(0, between)
            found[f"d{deployment}", f"r{run}"] = MEDIAN_S * numpy.exp(shift + random.normal(0, within, n))
    return found


def coverage(statistic: str, truth: float, **shape: Any) -> float:
    """How often the interval held the truth."""
    found = [stats.estimate(drawn(seed, **shape), statistic) for seed in range(TRIALS)]
    return sum(one.low <= truth <= one.high for one in found) / TRIALS


NINETY_FIVE = (0.90, 1.0)
"""Where 150 trials of a 95 % interval fall, but for 1 in 200; more than 95 % is a wider interval than needed."""


@pytest.mark.parametrize(
    "shape",
    [
        {"runs": 1, "n": 60},
        {"runs": 3, "n": 30, "between": 0.1},
        {"runs": 6, "n": 30, "between": 0.05},
        {"runs": 5, "n": 300, "between": 0.05},
        {"runs": 2, "n": 20, "deployments": 4, "between": 0.03, "apart": 0.08},
    ],
    ids=["iterations", "few runs", "runs", "many iterations", "deployments"],
)
def test_an_interval_of_95_percent_holds_the_median_that_often(shape: dict[str, Any]) -> None:
    low, high = NINETY_FIVE
    assert low <= coverage("p50", MEDIAN_S, **shape) <= high


def test_an_interval_of_95_percent_holds_the_mean_that_often() -> None:
    truth = MEDIAN_S * math.exp((0.2**2 + 0.1**2) / 2)
    assert NINETY_FIVE[0] <= coverage("mean", truth, runs=4, n=30, between=0.1) <= NINETY_FIVE[1]


def test_iterations_alone_would_not_hold_it() -> None:
    """The check of the check: intervals that know nothing of runs fail it where runs differ."""
    hits = 0
    for seed in range(TRIALS):
        pooled = numpy.concatenate(list(drawn(seed, runs=3, n=30, between=0.1).values()))
        found = stats.estimate([numpy.random.default_rng(seed).permutation(pooled)], "p50")
        hits += found.low <= MEDIAN_S <= found.high
    assert hits / TRIALS < 0.8


def test_the_interval_of_the_mean_of_runs_is_student_s() -> None:
    values = drawn(3, runs=6, n=100, within=0.05, between=0.2)
    means = numpy.log([run.mean() for run in values.values()])
    half = reference.t.ppf(0.975, 5) * means.std(ddof=1) / math.sqrt(6)
    found = stats.estimate(values, "mean")
    assert (found.low, found.high) == pytest.approx((found.value * math.exp(-half), found.value * math.exp(half)))
    assert (found.units, found.freedom, found.covers) == (6, 5, "runs and iterations")


def test_other_combinations_tell_how_runs_scatter() -> None:
    """Two runs alone know next to nothing of it; ten combinations of two have ten degrees of freedom."""
    mine, *others = (drawn(seed, runs=2, n=40, between=0.1) for seed in range(10))
    alone, among = stats.estimate(mine, "p50"), stats.estimate(mine, "p50", among=others)
    assert (alone.covers, among.covers) == ("iterations", "runs and iterations")
    assert (among.units, among.freedom) == (2, 10)
    assert among.value == alone.value
    hits = 0
    for trial in range(TRIALS):
        mine, *others = (drawn(1000 * trial + seed, runs=2, n=40, between=0.1) for seed in range(6))
        found = stats.estimate(mine, "p50", among=others)
        hits += found.low <= MEDIAN_S <= found.high
    assert hits / TRIALS >= NINETY_FIVE[0]


def test_scatter_of_another_size_is_not_taken_over() -> None:
    calm, wild = (drawn(seed, runs=6, n=40, between=between) for seed, between in ((1, 0.01), (2, 0.5)))
    assert stats.estimate(calm, "p50", among=[wild]) == stats.estimate(calm, "p50")


def test_iterations_that_resemble_their_neighbours_count_as_fewer() -> None:
    random, hits, width = numpy.random.default_rng(1), [0, 0], [0.0, 0.0]
    for _ in range(TRIALS):
        for which, r in enumerate((0.0, 0.6)):
            noise = random.normal(0, 0.2, 80)
            for i in range(1, len(noise)):
                noise[i] = r * noise[i - 1] + math.sqrt(1 - r * r) * noise[i]
            found = stats.estimate([MEDIAN_S * numpy.exp(noise)], "p50")
            hits[which] += found.low <= MEDIAN_S <= found.high
            width[which] += found.relative_width
    assert min(hits) / TRIALS >= 0.88
    assert width[1] > 1.5 * width[0]


def test_a_percentile_that_the_values_do_not_reach_is_open() -> None:
    p50, p99 = stats.estimates([drawn(1, runs=1, n=40)["d0", "r0"]], ("p50", "p99"))
    assert math.isfinite(p50.high)
    assert math.isinf(p99.high)
    assert p99.low <= p99.value


@pytest.mark.parametrize("runs", [1, 3])
def test_a_higher_percentile_has_no_lower_interval(runs: int) -> None:
    for seed in range(60):
        found = stats.estimates(drawn(seed, runs=runs, n=40, between=0.05), ("p99", "p50", "p95"))
        ordered = sorted(found, key=lambda one: float(one.statistic[1:]))
        assert [one.low for one in ordered] == sorted(one.low for one in ordered)
        assert [one.high for one in ordered] == sorted(one.high for one in ordered)


def test_runs_wanted_are_those_that_give_the_width() -> None:
    values = drawn(1, runs=6, n=50, between=0.1)
    wanted = stats.units_wanted(values, "p50", 0.1)
    assert wanted is not None
    found = stats.estimate(values, "p50")
    assert wanted == pytest.approx(6 * (math.log(found.high / found.low) / 0.1) ** 2, abs=1.01)
    assert stats.units_wanted(drawn(1, runs=1, n=50), "p50", 0.1) is None, "one run does not tell"
    assert stats.units_wanted({}, "p50", 0.1) is None


@pytest.mark.parametrize("n", [20, 800], ids=["few", "many"])
def test_equal_values_have_an_interval_of_no_width(n: int) -> None:
    for found in stats.estimates([[0.25] * n, [0.25] * n]):
        assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)


def test_values_in_steps_keep_their_median_inside() -> None:
    """A clock of 10 ms: many iterations, few different values."""
    random = numpy.random.default_rng(1)
    values = [numpy.round(random.exponential(0.01, 2000), 2) + 0.01 for _ in range(3)]
    for found in stats.estimates(values, ("mean", 0.5, 0.95)):
        assert found.low <= found.value <= found.high
        assert found.high <= found.value + 0.011


@pytest.mark.parametrize(
    ("deployments", "runs", "covers"),
    [(1, 1, "iterations"), (1, 2, "iterations"), (1, 3, "runs and iterations"), (2, 2, "runs and iterations"),
     (3, 1, "deployments, runs and iterations")],
)  # fmt: skip
def test_an_estimate_says_what_its_interval_covers(deployments: int, runs: int, covers: str) -> None:
    found = stats.estimate(drawn(1, runs=runs, n=10, deployments=deployments))
    assert (found.covers, found.runs, found.deployments) == (covers, runs * deployments, deployments)


def test_values_are_those_of_a_table_of_all_runs() -> None:
    values = [[1.0, 2.0, 3.0], [10.0]]
    found = {one.statistic: one.value for one in stats.estimates(values, ("mean", "p50", "p95"))}
    assert found == {"mean": 4.0, "p50": 2.5, "p95": pytest.approx(8.95)}
    assert stats.estimate(values).n == 4


def is_unknown(found: Estimate) -> bool:
    return math.isnan(found.low) and math.isnan(found.high)


@pytest.mark.parametrize("values", [[], [[]], [[1.0]]], ids=["no run", "no value", "one value"])
def test_nothing_known_is_not_a_number(values: Sequence[Sequence[float]]) -> None:
    found = stats.estimate(values)
    assert is_unknown(found)


def test_a_run_in_which_all_failed_does_not_count() -> None:
    assert stats.estimate([[1.0, 2.0], []]).runs == 1


def test_values_that_are_not_positive_are_taken_as_they_are() -> None:
    found = stats.estimate([[-1.0, 0.0, 1.0], [-1.0, 0.5, 1.0]], "mean")
    assert found.low < found.value < found.high


def test_a_far_quantile_of_few_values_is_marked() -> None:
    values = drawn(1, runs=2, n=100)
    assert [one.sparse for one in stats.estimates(values, ("mean", "p50", "p95", "p99"))] == [False, False, False, True]


@pytest.mark.parametrize("statistic", ["median", "p101", "p", 1.5, math.nan])
def test_another_statistic_is_refused(statistic: Any) -> None:
    with pytest.raises(ValueError, match="a statistic is"):
        stats.estimate([[1.0, 2.0]], statistic)


# Failures


@pytest.mark.parametrize(("failed", "n"), [(0, 40), (3, 50), (50, 50)])
def test_a_share_of_failures_has_wilson_s_interval(failed: int, n: int) -> None:
    found = stats.failure_share([(failed, n)])
    known = reference.binomtest(failed, n).proportion_ci(method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((failed / n, known.low, known.high))
    assert found.covers == "iterations"


def test_failures_that_come_in_bursts_are_less_certain() -> None:
    spread = stats.failure_share([(10, 100)] * 5)
    burst = stats.failure_share([(50, 100)] + [(0, 100)] * 4)
    assert spread.value == burst.value
    assert burst.high - burst.low > 3 * (spread.high - spread.low)


def test_a_share_of_nothing_is_unknown() -> None:
    found = stats.failure_share([])
    assert math.isnan(found.value)
    assert is_unknown(found)


# Tables


def table(seconds: Sequence[float], failed: Sequence[int] = (), **columns: Any) -> Any:
    from enos_crdb import testing

    return stats.frame(testing.samples("s", seconds, failed=failed)).assign(**columns)


def test_durations_by_run_are_of_what_succeeded_in_the_steady_window() -> None:
    rows = table([1.0, 2.0, 3.0], failed=[1])
    rows.loc[0, "window"] = "warm-up"
    assert {key: list(run) for key, run in stats.by_run(rows, "s").items()} == {("", "run"): [3.0]}
    assert stats.by_run(rows, "another") == {}


def test_durations_by_run_stand_in_the_order_of_their_start() -> None:
    rows = table([1.0, 2.0, 3.0], deployment="d").iloc[::-1]
    assert {key: list(run) for key, run in stats.by_run(rows).items()} == {("d", "run"): [1.0, 2.0, 3.0]}


def test_throughput_is_that_of_a_run() -> None:
    """One second apart, the last one second long: 40 successes in 40 seconds, less the failed."""
    found = stats.throughput(table([1.0] * 40, failed=[0, 1]))
    assert found.value == pytest.approx(38 / 40)
    assert found.low < found.value <= found.high
    assert (found.statistic, found.n, found.covers) == ("throughput", 40, "iterations")


def test_failures_of_a_table_are_counted_in_its_steady_window() -> None:
    rows = table([1.0] * 4, failed=[0, 1])
    rows.loc[0, "window"] = "warm-up"
    found = stats.failures(rows)
    assert found.n == 3
    assert found.value == pytest.approx(1 / 3)
