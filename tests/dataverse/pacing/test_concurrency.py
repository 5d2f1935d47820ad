from __future__ import annotations

import pytest

from connector.dataverse.pacing.concurrency import ConcurrencyLimiter, RunningMean, ServiceTime


def test_the_first_values_of_a_mean_count_equally_and_then_the_newest_counts_by_its_weight() -> None:
    mean = RunningMean(0.25)
    for value in (4.0, 8.0, 0.0):
        mean.add(value)
    assert (mean.value, mean.count) == (4.0, 3)
    for _ in range(3):
        mean.add(4.0)
    mean.add(8.0)
    assert mean.value == 5.0


def test_the_time_of_a_part_is_known_with_how_much_it_differs() -> None:
    steady, spread = ServiceTime(), ServiceTime()
    for seconds in (1.0, 4.0) * 500:
        steady.add(2.0)
        spread.add(seconds)
    assert (steady.cost, steady.usual.count, steady.spread) == (2.0, 1000, 0.0)
    assert spread.cost == pytest.approx(2.5, rel=0.02)
    assert spread.spread == pytest.approx(0.693, rel=0.02)


def test_those_that_hang_count_in_the_mean_as_any_others_and_not_in_what_is_usual() -> None:
    time = ServiceTime()
    for _ in range(5_600):
        time.add(0.2)
    for _ in range(28):
        time.add(110.0)
    assert time.cost == pytest.approx(0.2 + 109.8 * (1 - 0.99**28), rel=0.01)
    assert time.usual.value == pytest.approx(0.2)
    assert time.unlike == 28


def test_where_most_take_many_times_as_long_that_is_usual_now() -> None:
    time = ServiceTime()
    for _ in range(1_000):
        time.add(0.2)
    for _ in range(1_000):
        time.add(2.0)
    assert time.usual.value == pytest.approx(2.0, rel=0.01)
    assert time.cost == pytest.approx(2.0, rel=0.1)


def test_an_answer_in_no_time_at_all_is_a_measurement_too() -> None:
    time = ServiceTime()
    time.add(0.0)
    assert (time.usual.value, time.spread) == (0.0, 0.0)


def test_each_good_answer_lets_one_more_in() -> None:
    limiter = ConcurrencyLimiter()
    limiter.most = 20.0
    limiter.answered()
    assert limiter.most == 21.0


def test_failures_bring_it_down_to_four_fifths_once_a_round_trip_and_never_below_the_least() -> None:
    limiter = ConcurrencyLimiter()
    for _ in range(41):
        limiter.failed(8.0, 40)
    assert limiter.most == 32.0
    limiter.most = 100.0
    for _ in range(80):
        limiter.failed(8.0, 40)
    assert limiter.most == 100.0, "the answers of one round trip count once"
    limiter.failed(8.0, 40)
    assert limiter.most == 32.0
    for _ in range(200):
        limiter.failed(8.0, 4)
    assert limiter.most == 8.0


def test_good_answers_of_the_same_round_trip_count_towards_its_end() -> None:
    limiter = ConcurrencyLimiter()
    for _ in range(40):
        limiter.answered()
    limiter.failed(8.0, 40)
    assert limiter.most == 32.0


def test_who_lost_an_answer_counts_on_eight_times_the_usual_and_where_it_took_longer_on_what_the_service_allows() -> (
    None
):
    time = ServiceTime()
    assert time.longest(1.0) == pytest.approx(2.4), "nothing is measured yet"
    time.add(1.0)
    assert (time.longest(7.9), time.longest(8.0)) == (8.0, 120.0)
