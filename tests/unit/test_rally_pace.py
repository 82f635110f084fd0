"""Which iterations count, how fast they started, how many at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enos_crdb import rally, testing
from enos_crdb.config.bench import Bench, Constant, OpenLoop, Rps
from enos_crdb.model import AFTER, STEADY, WARM_UP, Sample

SCENARIO = "keystone/create-user"


def one_a_second(count: int, *, client: str = "rally-1", shift_s: float = 0.0, takes_s: float = 0.5) -> list[Sample]:
    rows = testing.samples(SCENARIO, [takes_s] * count, client=client)
    return [replace(row, started_at=row.started_at + shift_s) for row in rows]


def late(rows: list[Sample], *waits_s: float) -> list[Sample]:
    """The same iterations, each begun so long after its intended start."""
    return [
        replace(row, started_at=row.started_at + wait, intended_at=row.started_at)
        for row, wait in zip(rows, waits_s, strict=True)
    ]


def windows(rows: list[Sample]) -> list[str]:
    return [row.window for row in rows]


def test_without_windows_everything_counts() -> None:
    assert windows(rally.in_windows(one_a_second(2), Bench())) == [STEADY, STEADY]
    assert rally.in_windows([], Bench(warm_up_s=1.0)) == []


def test_windows_are_counted_from_the_first_start() -> None:
    found = rally.in_windows(one_a_second(6), Bench(warm_up_s=2.0, steady_s=2.0))
    assert windows(found) == [WARM_UP, WARM_UP, STEADY, STEADY, AFTER, AFTER]


def test_the_first_start_is_that_of_the_first_rally() -> None:
    rows = one_a_second(2) + one_a_second(2, client="rally-2", shift_s=1.5)
    assert windows(rally.in_windows(rows, Bench(warm_up_s=1.2))) == [WARM_UP, WARM_UP, STEADY, STEADY]


def test_an_action_is_in_the_window_of_its_iteration() -> None:
    iteration, *_ = one_a_second(1)
    action = replace(iteration, metric="keystone_v3.create_user", started_at=iteration.started_at + 3)
    next_one = replace(iteration, iteration=1, started_at=iteration.started_at + 5)
    found = rally.in_windows([iteration, action, next_one], Bench(warm_up_s=2.0))
    assert windows(found) == [WARM_UP, WARM_UP, STEADY]


def test_a_late_start_stays_in_its_window() -> None:
    rows = late(one_a_second(3), 0.0, 0.0, 60.0)
    assert windows(rally.in_windows(rows, Bench(warm_up_s=1.0, steady_s=2.0))) == [WARM_UP, STEADY, STEADY]


def test_the_pace_of_a_closed_loop() -> None:
    rows = rally.in_windows(one_a_second(10, takes_s=2.5), Bench(warm_up_s=2.0))
    found = rally.pace(rows, Bench(runner=Constant()))
    assert (found.warm_up, found.steady, found.after) == (2, 8, 0)
    assert (found.asked_per_s, found.started_per_s, found.most_in_flight, found.most_late_s) == (None, 1.0, 3, None)


def test_rates_of_several_rallies_are_added() -> None:
    rows = one_a_second(10) + one_a_second(10, client="rally-2", shift_s=0.5)
    found = rally.pace(rows, Bench(runner=Rps(type="rps", rps=2.0)))
    assert found.asked_per_s == 4.0
    assert found.started_per_s == pytest.approx(2.0)
    assert found.most_in_flight == 1  # of one Rally


def test_an_open_loop_that_cannot_keep_its_rate() -> None:
    rows = late(one_a_second(5), 0.0, 1.0, 2.0, 3.0, 4.0)
    found = rally.pace(rows, Bench(runner=OpenLoop(type="open_loop", rate_per_s=1.0)))
    assert (found.asked_per_s, found.started_per_s, found.most_late_s) == (1.0, 0.5, 4.0)


@pytest.mark.parametrize("count", [0, 1])
def test_a_rate_needs_two_starts(count: int) -> None:
    found = rally.pace(one_a_second(count), Bench(runner=OpenLoop(type="open_loop", rate_per_s=1.0)))
    assert (found.asked_per_s, found.started_per_s, found.steady, found.most_in_flight) == (None, None, count, count)
