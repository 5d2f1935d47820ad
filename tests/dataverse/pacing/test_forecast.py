from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from connector.dataverse.pacing.forecast import STEPS, RemainingBudget, Workload, average, seconds_for

NOTHING = [0.0] * STEPS
ENDLESS = RemainingBudget(1e9, 1e9, NOTHING)


def foreseen(work: Workload, count: RemainingBudget = ENDLESS, time: RemainingBudget = ENDLESS) -> float:
    return seconds_for(work, [(count, time)], window=300.0, spread=50.0)


def test_an_average_server_has_the_mean_of_what_all_have() -> None:
    first, second = RemainingBudget(10.0, 4.0, [1.0, 2.0]), RemainingBudget(20.0, 0.0, [3.0, 6.0])
    assert average([first, second]) == RemainingBudget(15.0, 2.0, [2.0, 4.0])


def test_no_work_takes_no_time() -> None:
    assert foreseen(Workload(0.0, 0.0, 10.0)) == 0.0


def test_where_only_the_client_sets_the_rate_it_takes_the_work_divided_by_the_rate() -> None:
    assert foreseen(Workload(100.0, 0.0, 2.0)) == pytest.approx(50.0)
    assert foreseen(Workload(3.0, 0.0, 2.0)) == pytest.approx(1.5)
    assert foreseen(Workload(10_000.0, 0.0, 2.0)) == pytest.approx(5000.0)


def test_what_is_fresh_is_spent_at_once_and_the_rest_over_some_seconds() -> None:
    fresh, room = RemainingBudget(6000.0, 6000.0, NOTHING), RemainingBudget(6000.0, 0.0, NOTHING)
    assert foreseen(Workload(5000.0, 0.0, 1e6), count=fresh) <= 5.0
    assert 40.0 < foreseen(Workload(3500.0, 0.0, 1e6), count=room) < 50.0


def test_what_is_spent_comes_back_a_window_later() -> None:
    fresh = RemainingBudget(6000.0, 6000.0, NOTHING)
    assert 250.0 < foreseen(Workload(6100.0, 0.0, 1e6), count=fresh) < 310.0
    assert foreseen(Workload(60_000.0, 0.0, 1e6), count=fresh) == pytest.approx(2800.0, rel=0.1)


def test_the_scarcer_budget_decides() -> None:
    time = RemainingBudget(1200.0, 1200.0, NOTHING)
    count = RemainingBudget(6000.0, 6000.0, NOTHING)
    assert foreseen(Workload(2000.0, 2000.0, 1e6), count, time) > 250.0
    assert foreseen(Workload(1000.0, 1000.0, 1e6), count, time) <= 5.0


def test_what_is_to_come_back_is_counted_on() -> None:
    used = RemainingBudget(0.0, 0.0, [100.0] * STEPS)
    assert foreseen(Workload(1000.0, 0.0, 1e6), count=used) == pytest.approx(50.0, rel=0.15)


def test_without_any_budget_the_work_never_ends() -> None:
    assert foreseen(Workload(10.0, 0.0, 1e6), count=RemainingBudget(0.0, 0.0, NOTHING)) == math.inf
    assert foreseen(Workload(10.0, 0.0, 0.0)) == math.inf


def test_the_last_of_a_job_is_done_at_once() -> None:
    room = RemainingBudget(6000.0, 0.0, NOTHING)
    evenly = seconds_for(Workload(3500.0, 0.0, 1e6), [(room, ENDLESS)], window=300.0, spread=50.0)
    at_once = seconds_for(Workload(3500.0, 0.0, 1e6), [(room, ENDLESS)], window=300.0, spread=50.0, last=0.0)
    assert at_once < 6.0 < evenly


def at_once(work: Workload, count: RemainingBudget = ENDLESS, time: RemainingBudget = ENDLESS) -> float:
    """Return how long it takes where the governor knows how much is left."""
    return seconds_for(work, [(count, time)], window=300.0, spread=50.0, last=0.0)


def test_what_comes_back_is_part_of_what_a_window_gives() -> None:
    coming = RemainingBudget(3000.0, 0.0, [50.0] * STEPS)
    assert at_once(Workload(3000.0, 0.0, 1e6), coming) < 5.1
    assert at_once(Workload(600.0, 0.0, 1e6), RemainingBudget(0.0, 0.0, [600.0, *NOTHING[1:]])) < 5.1


def test_a_job_of_more_than_four_windows_is_spread_until_four_are_left() -> None:
    room = RemainingBudget(6000.0, 0.0, NOTHING)
    evenly, ended = foreseen(Workload(25_000.0, 0.0, 1e6), room), at_once(Workload(25_000.0, 0.0, 1e6), room)
    assert 1200.0 < ended < evenly - 10.0


def test_the_seconds_of_the_last_of_a_job_are_spent_at_once_too() -> None:
    time = RemainingBudget(1200.0, 0.0, NOTHING)
    assert at_once(Workload(3500.0, 350.0, 1e6), time=time) < 5.1
    assert foreseen(Workload(7000.0, 700.0, 1e6), time=time) > 30.0


def test_what_is_in_flight_beyond_a_budget_leaves_nothing_of_it() -> None:
    spent = RemainingBudget(-50.0, 0.0, [100.0] * STEPS)
    assert foreseen(Workload(10.0, 0.0, 1e6), spent) < 5.1


def test_what_was_used_comes_back_while_everything_waits() -> None:
    returning = [*[0.0] * (STEPS - 2), 600.0, 600.0]
    used = RemainingBudget(0.0, 0.0, returning)
    took = seconds_for(Workload(900.0, 0.0, 1e6), [(used, ENDLESS)], window=300.0, spread=50.0, last=0.0, waiting=280.0)
    assert 280.0 < took < 310.0
    assert seconds_for(Workload(0.0, 0.0, 1e6), [(used, ENDLESS)], window=300.0, spread=50.0, waiting=30.0) == 30.0


def test_what_fits_at_once_is_begun_when_the_wait_is_over() -> None:
    took = seconds_for(Workload(10.0, 10.0, 10.0), [(ENDLESS, ENDLESS)], window=300.0, spread=15.0, waiting=100.0)
    assert took == pytest.approx(101.0)


def test_one_request_takes_time_too() -> None:
    assert foreseen(Workload(1.0, 0.0, 2.0)) == pytest.approx(0.5)


def test_quick_requests_take_less_of_the_time() -> None:
    time = RemainingBudget(1200.0, 1200.0, NOTHING)
    assert foreseen(Workload(2000.0, 1000.0, 1e6), time=time) <= 5.0
    assert foreseen(Workload(2000.0, 1300.0, 1e6), time=time) > 250.0


def test_what_is_spent_over_less_than_a_step_is_spent_in_one() -> None:
    room = RemainingBudget(100.0, 0.0, NOTHING)
    assert seconds_for(Workload(100.0, 0.0, 1e6), [(room, ENDLESS)], window=300.0, spread=2.5) < 5.1


def test_the_last_request_carries_what_the_window_has_no_room_for_unless_that_comes_back_meanwhile() -> None:
    def last(work: float, coming: Sequence[float] = NOTHING) -> float:
        time = RemainingBudget(100.0, 0.0, coming)
        budgets = [(ENDLESS, time)]
        return seconds_for(Workload(work, work, 10.0), budgets, window=300.0, spread=15.0, last=50.0)

    assert last(99.0) == pytest.approx(9.9)
    assert last(140.0) == pytest.approx(10.0 + 40.0)
    assert last(151.0) > 300.0, "it carries no more"
    assert last(140.0, [0.0] * 10 + [50.0] + [0.0] * (STEPS - 11)) == pytest.approx(10.0 + 40.0), "that comes later"
    assert last(140.0, [0.0] * 4 + [50.0] + [0.0] * (STEPS - 5)) < 30.0
