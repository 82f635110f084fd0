"""Statistics of samples."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from enos_crdb import stats
from enos_crdb.model import Sample
from enos_crdb.stats import Statistics


def sample(value: float, at: float, *, metric: str = "iteration", failed: bool = False, scenario: str = "s") -> Sample:
    return Sample(
        run="r",
        scenario=scenario,
        client="c",
        iteration=0,
        metric=metric,
        value=value,
        unit="s",
        started_at=at,
        outcome="failed" if failed else "ok",
        error='ConnectFailure: "refused", twice' if failed else "",
    )


def of(*samples: Sample) -> Statistics:
    return stats.statistics(stats.frame(samples))[0]


def test_mean_and_percentiles_are_those_of_the_successful() -> None:
    found = of(*(sample(float(value), 0.0) for value in range(1, 102)), sample(10_000.0, 0.0, failed=True))
    assert (found.n, found.failures) == (102, 1)
    assert (found.mean, found.p50, found.p95, found.p99) == (51.0, 51.0, 96.0, 100.0)


def test_percentiles_are_linear_between_neighbours() -> None:
    found = of(sample(1.0, 0.0), sample(2.0, 0.0))
    assert (found.p50, found.p95) == pytest.approx((1.5, 1.95))


def test_throughput_is_over_the_window_of_all_iterations() -> None:
    found = of(sample(1.0, 100.0), sample(1.0, 101.0), sample(6.0, 104.0, failed=True))
    assert found.window == (100.0, 110.0)
    assert found.throughput == pytest.approx(0.2)


def test_failures_that_are_quick_do_not_look_like_speed() -> None:
    """Rally does not back off: a Keystone that is down fails hundreds of iterations in a second."""
    found = of(sample(1.0, 0.0), *(sample(0.003, 1.0 + i / 1000, failed=True) for i in range(53)))
    assert (found.mean, found.p99) == (1.0, 1.0)
    assert found.throughput < 1.0


def test_all_failed() -> None:
    found = of(sample(1.0, 0.0, failed=True), sample(1.0, 1.0, failed=True))
    assert (found.n, found.failures, found.throughput) == (2, 2, 0.0)
    assert all(math.isnan(value) for value in (found.mean, found.p50, found.p95, found.p99))


def test_nothing_ran() -> None:
    (found,) = stats.statistics(stats.frame([]), ["s"])
    assert (found.scenario, found.metric, found.n, found.failures) == ("s", "iteration", 0, 0)
    assert all(math.isnan(value) for value in (found.mean, found.p50, found.p95, found.p99, found.throughput))


def test_actions_share_the_window_of_their_scenario_and_come_after_it() -> None:
    found = stats.statistics(
        stats.frame(
            [
                sample(0.5, 0.2, metric="a"),
                sample(2.0, 0.0),
                sample(9.0, 50.0, scenario="t"),
                sample(0.1, 0.7, metric="b", failed=True),
            ]
        )
    )
    assert [(row.scenario, row.metric) for row in found] == [
        ("s", "iteration"), ("s", "a"), ("s", "b"), ("t", "iteration"),
    ]  # fmt: skip
    assert [row.throughput for row in found] == pytest.approx([0.5, 0.5, 0.0, 1 / 9])


def test_clients_that_load_together_are_one_load() -> None:
    found = of(sample(1.0, 0.0), sample(1.0, 0.5))
    assert found.throughput == pytest.approx(2 / 1.5)


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    rows = [sample(0.1234567, 1795342878.929747), sample(1.0, 1795342879.0, failed=True), sample(2.0, 3.0, metric="NA")]
    stats.append(rows, tmp_path / "samples.csv")
    table = stats.read(tmp_path / "samples.csv")
    assert list(table.columns) == list(stats.COLUMNS)
    assert list(table["value"]) == pytest.approx([0.123457, 1.0, 2.0])
    assert list(table["started_at"]) == pytest.approx([1795342878.929747, 1795342879.0, 3.0], abs=1e-6)
    assert list(table["error"]) == ["", 'ConnectFailure: "refused", twice', ""]
    assert list(table["metric"]) == ["iteration", "iteration", "NA"]


def test_a_file_without_samples(tmp_path: Path) -> None:
    stats.append([], tmp_path / "samples.csv")
    assert stats.statistics(stats.read(tmp_path / "samples.csv")) == ()
