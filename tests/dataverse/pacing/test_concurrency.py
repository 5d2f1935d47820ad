from __future__ import annotations

import math

import pytest

from connector.dataverse.pacing.concurrency import ConcurrencyLimiter, RunningMean, ServiceTime


def measured(time: ServiceTime, seconds: float, count: int, *, start: float = 0.0, in_flight: int = 1) -> float:
    """Add so many measurements, one a second, and return the moment of the last."""
    for number in range(count):
        time.add(start + number, seconds, in_flight)
    return start + count - 1


def test_the_first_values_of_a_mean_count_equally_and_then_the_newest_counts_by_its_weight() -> None:
    mean = RunningMean(0.25)
    for value in (4.0, 8.0, 0.0):
        mean.add(value)
    assert (mean.value, mean.count) == (4.0, 3)
    for _ in range(3):
        mean.add(4.0)
    mean.add(8.0)
    assert mean.value == 5.0


def test_answers_are_slow_when_they_take_two_and_a_half_times_as_long_as_the_fastest_block() -> None:
    time = ServiceTime(300.0)
    assert not time.slowed
    end = measured(time, 1.0, 102)
    assert not time.slowed
    measured(time, 2.4, 300, start=end + 1)
    assert not time.slowed
    measured(time, 2.6, 300, start=end + 1)
    assert time.slowed


def test_nothing_is_slow_before_a_block_says_how_fast_the_service_is() -> None:
    time = ServiceTime(300.0)
    measured(time, 1.0, 101)
    measured(time, 100.0, 1)
    assert not time.slowed


def test_blocks_of_more_than_two_windows_ago_are_forgotten() -> None:
    time = ServiceTime(300.0)
    end = measured(time, 1.0, 102)
    end = measured(time, 3.0, 400, start=end + 1)
    assert time.slowed
    measured(time, 3.0, 102 * 61, start=end + 1)
    assert not time.slowed


def test_a_block_counts_only_when_about_as_many_were_in_flight_all_the_time() -> None:
    time = ServiceTime(300.0)
    measured(time, 1.0, 102)
    time.add(200.0, 0.1, 1)
    measured(time, 0.1, 139, start=201.0, in_flight=20)
    measured(time, 1.0, 200, start=500.0, in_flight=20)
    assert not time.slowed, "the quick answers of a growing crowd are no measure"


def test_one_request_that_takes_minutes_counts_as_ten_times_the_usual() -> None:
    time = ServiceTime(300.0)
    measured(time, 1.0, 99)
    time.add(100.0, 1000.0, 1)
    assert time.mean.value == pytest.approx((99 + 10 * math.exp(math.log(1000) * 0.04)) / 100)


def test_each_good_answer_lets_one_more_in() -> None:
    limiter = ConcurrencyLimiter(300.0)
    limiter.most = 20.0
    limiter.answered(0.0, 8.0, 20, slowed=False)
    assert limiter.most == 21.0


def slowed(limiter: ConcurrencyLimiter, now: float, answers: int, in_flight: int = 40) -> float:
    for _ in range(answers):
        limiter.answered(now, 8.0, in_flight, slowed=True)
    return limiter.most


def test_slow_answers_bring_it_down_to_the_least_once_a_window_and_to_seven_tenths_otherwise() -> None:
    limiter = ConcurrencyLimiter(300.0)
    limiter.failed(8.0, 1)  # what is known of the crowd before counts as one round trip
    for _ in range(50):
        limiter.answered(0.0, 8.0, 40, slowed=False)
    assert slowed(limiter, 0.0, 1) == 8.0
    limiter.most = 100.0
    assert slowed(limiter, 1.0, 40) == 100.0, "the answers of one round trip count once"
    assert slowed(limiter, 1.0, 41) == pytest.approx(28.0)
    for _ in range(82):
        limiter.answered(2.0, 8.0, 40, slowed=False)
    assert slowed(limiter, 301.0, 1) == 8.0


def test_failures_bring_it_down_to_four_fifths_and_never_below_the_least() -> None:
    limiter = ConcurrencyLimiter(300.0)
    for _ in range(41):
        limiter.failed(8.0, 40)
    assert limiter.most == 32.0
    for _ in range(200):
        limiter.failed(8.0, 4)
    assert limiter.most == 8.0
