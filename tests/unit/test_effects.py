"""Effect sizes, stability, and the latency model."""

from __future__ import annotations

import math
from typing import Any

import numpy
import pytest
from scipy import stats as reference

from enos_crdb import stats
from enos_crdb.stats import Connection, Point


def runs(seed: int, count: int, n: int, *, median_s: float = 0.2, between: float = 0.0) -> list[Any]:
    random = numpy.random.default_rng(seed)
    return [median_s * numpy.exp(random.normal(0, between) + random.normal(0, 0.2, n)) for _ in range(count)]


def test_ratios_and_superiority_are_those_of_all_values() -> None:
    a, b = runs(1, 3, 40), runs(2, 3, 40, median_s=0.25)
    found = stats.compare(a, b)
    one, other = numpy.concatenate(a), numpy.concatenate(b)
    assert found.median_ratio.value == pytest.approx(numpy.median(other) / numpy.median(one))
    assert found.mean_ratio.value == pytest.approx(other.mean() / one.mean())
    known = reference.mannwhitneyu(other, one).statistic / (len(one) * len(other))
    assert found.superiority == pytest.approx(known)
    assert found.cliffs_delta == pytest.approx(2 * known - 1)
    assert found.shift == pytest.approx(numpy.median(other[:, None] - one[None, :]))


def test_turning_the_comparison_round_turns_its_numbers_round() -> None:
    a, b = runs(1, 4, 30, between=0.05), runs(2, 4, 30, median_s=0.25, between=0.05)
    one, other = stats.compare(a, b), stats.compare(b, a)
    assert one.median_ratio.value == pytest.approx(1 / other.median_ratio.value)
    assert one.median_ratio.low == pytest.approx(1 / other.median_ratio.high)
    assert one.cliffs_delta == pytest.approx(-other.cliffs_delta)
    assert one.shift == pytest.approx(-other.shift)


@pytest.mark.parametrize(("count", "n", "between"), [(1, 50, 0.0), (4, 25, 0.08)], ids=["one run", "runs"])
def test_intervals_of_an_effect_hold_it_as_often_as_they_say(count: int, n: int, between: float) -> None:
    trials, hits = 150, 0
    for seed in range(trials):
        a, b = runs(seed, count, n, between=between), runs(seed + 1000, count, n, median_s=0.24, between=between)
        found = stats.compare(a, b)
        hits += found.median_ratio.low <= 1.2 <= found.median_ratio.high
    assert hits / trials >= 0.90


def test_two_combinations_are_compared_as_student_would() -> None:
    """For runs of one size, Student's t with a pooled variance."""
    a, b = runs(1, 4, 50, between=0.1), runs(2, 4, 50, median_s=0.25, between=0.1)
    found = stats.compare(a, b)
    one, other = (numpy.log([run.mean() for run in side]) for side in (a, b))
    known = reference.ttest_ind(other, one).confidence_interval(0.95)
    width = math.log(found.mean_ratio.high / found.mean_ratio.low)
    assert width == pytest.approx(known.high - known.low)
    assert found.freedom == 6


def in_blocks(seed: int, blocks: int, effect: float) -> tuple[dict[Any, Any], dict[Any, Any], dict[Any, int]]:
    """Runs of two combinations, side by side in blocks that differ by 20 %."""
    random = numpy.random.default_rng(seed)
    sides: tuple[dict[Any, Any], dict[Any, Any]] = ({}, {})
    for block in range(blocks):
        hour = random.normal(0, 0.2)
        for side, ratio in zip(sides, (1.0, effect), strict=True):
            run = 0.2 * ratio * numpy.exp(hour + random.normal(0, 0.03) + random.normal(0, 0.2, 60))
            side["d", f"{block}-{ratio}"] = run
    return *sides, {key: int(key[1].split("-")[0]) for side in sides for key in side}


def test_blocks_show_what_their_hours_hide() -> None:
    seen = held = alone = 0
    for seed in range(120):
        a, b, blocks = in_blocks(seed, 5, 1.1)
        found = stats.compare(a, b, blocks=blocks)
        assert (found.covers, found.freedom) == ("blocks", 4)
        seen += found.median_ratio.low > 1
        held += found.median_ratio.low <= 1.1 <= found.median_ratio.high
        alone += stats.compare(a, b).median_ratio.low > 1
    assert held / 120 >= 0.90
    assert seen > 2 * alone


def test_four_blocks_are_not_enough_to_pair() -> None:
    a, b, blocks = in_blocks(1, 4, 1.1)
    assert stats.compare(a, b, blocks=blocks).covers != "blocks"


def test_what_would_have_been_seen_is_seen_four_times_in_five() -> None:
    def compared(seed: int, effect: float) -> stats.Effect:
        b = runs(seed + 500, 5, 60, between=0.05, median_s=0.2 * effect)
        return stats.compare(runs(seed, 5, 60, between=0.05), b)

    wanted = float(numpy.median([compared(seed, 1.0).detectable for seed in range(100)]))
    assert 1.05 < wanted < 1.2
    seen = sum(compared(seed, wanted).median_ratio.low > 1 for seed in range(100, 250)) / 150
    assert 0.7 < seen < 0.9


def test_what_never_overlaps_is_certain_as_far_as_there_are_iterations() -> None:
    found = stats.compare([[1.0, 2.0, 3.0]] * 3, [[11.0, 12.0, 13.0]] * 3)
    assert found.superiority == 1.0
    assert found.shift == 10.0


def test_equal_values_have_no_effect() -> None:
    found = stats.compare([[1.0] * 20] * 2, [[1.0] * 20] * 2)
    assert (found.median_ratio.value, found.superiority, found.cliffs_delta, found.shift) == (1, 0.5, 0, 0)
    assert (found.median_ratio.low, found.median_ratio.high) == (1.0, 1.0)


def test_nothing_to_compare_is_not_a_number() -> None:
    found = stats.compare([], [[1.0, 2.0]])
    assert math.isnan(found.median_ratio.value)
    assert math.isnan(found.shift)
    alone = stats.compare([[1.0]], [[2.0]])
    assert alone.median_ratio.value == 2.0
    assert math.isnan(alone.median_ratio.low)


def test_large_runs_are_thinned_without_a_difference() -> None:
    a, b = runs(1, 2, 20_000), runs(2, 2, 20_000, median_s=0.22)
    one, other = numpy.concatenate(a), numpy.concatenate(b)
    known = reference.mannwhitneyu(other, one).statistic / (len(one) * len(other))
    assert stats.compare(a, b).superiority == pytest.approx(known, abs=1e-3)


# Stability


def test_runs_that_agree_are_stable() -> None:
    found = stats.stability(runs(1, 4, 60))
    assert (found.verdict, found.reasons) == ("stable", ())
    assert found.between < 0.1


def test_runs_that_disagree_are_unstable() -> None:
    found = stats.stability([*runs(1, 2, 60), *runs(2, 1, 60, median_s=0.3)])
    assert found.verdict == "unstable"
    assert "runs disagree" in found.reasons[0]
    assert found.between > 0.3


def test_a_difference_that_does_not_matter_is_not_unstable() -> None:
    """20,000 iterations find a difference of 1 %; between runs it is nothing."""
    found = stats.stability([*runs(1, 1, 20_000), *runs(2, 1, 20_000, median_s=0.202)])
    assert found.disagreement < 0.01
    assert found.verdict == "stable"


@pytest.mark.parametrize(("slope", "word"), [(0.01, "slower"), (-0.005, "faster")])
def test_a_drift_is_unstable(slope: float, word: str) -> None:
    drifting = [run * (1 + slope * numpy.arange(len(run))) for run in runs(1, 3, 90)]
    found = stats.stability(drifting)
    assert found.verdict == "unstable"
    assert any(f"3 of 3 runs became {word}" in reason for reason in found.reasons)


def test_one_run_without_a_drift_is_unknown() -> None:
    assert stats.stability(runs(1, 1, 90)).verdict == "unknown"
    assert stats.stability([]).verdict == "unknown"
    assert stats.stability([[1.0], [2.0]]).verdict == "unknown"


def test_equal_values_are_stable() -> None:
    found = stats.stability([[1.0] * 40] * 3)
    assert (found.verdict, found.between, found.disagreement) == ("stable", 0.0, 1.0)


def test_stability_is_rarely_denied_to_what_is_stable() -> None:
    denied = sum(stats.stability(runs(seed, 3, 45)).verdict == "unstable" for seed in range(200))
    assert denied <= 6


# The latency model


def point(rtt_ms: float, measured_s: float, **changes: Any) -> Point:
    given: dict[str, Any] = {
        "combination": f"rtt {rtt_ms}",
        "factors": {},
        "series": "postgresql",
        "backend": "postgresql",
        "scenario": "s",
        "measured": stats.estimate([[measured_s * 0.99, measured_s, measured_s * 1.01]], "mean"),
        "connections": (Connection(keystone="k", node="d", rtt_ms=rtt_ms, share=1.0),),
        "round_trips": 100.0,
        "replays": 0.0,
        "replications": 0.0,
        "replication_rtt_ms": 0.0,
    }
    return Point(**{**given, **changes})


def test_service_time_comes_from_the_least_delay_and_the_rest_is_predicted() -> None:
    model = stats.latency_model([point(10.0, 1.2), point(0.0, 0.2), point(50.0, 5.0)])
    (fit,) = model.fits
    assert fit.service_ms == pytest.approx(200.0)
    assert [(one.point.rtt_ms, one.fitted) for one in fit.predictions] == [(0.0, True), (10.0, False), (50.0, False)]
    assert [one.predicted_ms for one in fit.predictions] == pytest.approx([200.0, 1200.0, 5200.0])
    assert [one.error_percent for one in fit.predictions] == pytest.approx([0.0, 0.0, 4.0])
    assert model.error_percent == pytest.approx(2.0)  # the fitted point is right by construction, and does not count
    assert model.worst is not None
    assert model.worst.point.rtt_ms == 50.0
    assert [one.inside for one in fit.predictions] == [True, True, False]


def test_the_least_delay_need_not_be_none() -> None:
    (fit,) = stats.latency_model([point(1.0, 0.3), point(2.0, 0.4)]).fits
    assert (fit.service_ms, fit.error_percent) == pytest.approx((200.0, 0.0))


def test_replays_and_replication_are_waited_for() -> None:
    far = point(0.0, 0.5, replications=3.0, replication_rtt_ms=100.0)
    (fit,) = stats.latency_model([point(0.0, 0.2), far]).fits
    assert fit.predictions[1].predicted_ms == pytest.approx(500.0)
    again = point(10.0, 1.4, replays=20.0)
    assert again.network_ms == pytest.approx(1200.0)


def test_links_weigh_as_much_as_goes_over_them() -> None:
    connections = (
        Connection(keystone="a", node="d", rtt_ms=0.0, share=0.75),
        Connection(keystone="b", node="d", rtt_ms=40.0, share=0.25),
    )
    assert point(0.0, 1.0, connections=connections).rtt_ms == 10.0


def test_one_point_tests_nothing() -> None:
    model = stats.latency_model([point(0.0, 0.2), point(0.0, 0.3, series="galera"), point(9.0, math.nan)])
    assert model.fits == ()
    assert model.untested == (("postgresql", "s"), ("galera", "s"))
    assert math.isnan(model.error_percent)
    assert model.worst is None
