from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.dataverse.pacing.service_limits import Budget, LimitEstimate, SlidingWindow

EDGE = 301.0
"""When an amount used at 0 has left a window of 300 seconds: its bucket of one second must be older than the window."""


def window() -> SlidingWindow:
    return SlidingWindow(300.0, 50.0)


def counted() -> LimitEstimate:
    return LimitEstimate(6000.0, 0.0, horizon=60.0, settle=300.0)


def test_the_documented_budget_is_spent_over_a_twentieth_of_its_window_and_grows_in_a_fifth() -> None:
    assert (Budget().requests, Budget().seconds, Budget().concurrency, Budget().window) == (6000, 1200, 52, 300)
    assert (Budget().spread, Budget().horizon) == (15, 60)
    assert (Budget(window=6.0).spread, Budget(window=6.0).horizon) == (0.3, 1.2)


def test_what_was_used_counts_for_a_whole_window_and_not_longer() -> None:
    used = window()
    used.add(0.0, 2.0)
    used.add(0.5, 3.0)
    used.add(1.0, 7.0)
    assert used.used(300.9) == 12.0
    assert used.used(EDGE) == 7.0
    assert used.used(EDGE + 1) == 0.0


def test_what_returns_is_told_one_horizon_ahead() -> None:
    used = window()
    used.add(0.0, 2.0)
    used.add(60.0, 5.0)
    assert (used.used(250.9), used.returning(250.9)) == (7.0, 0.0)
    assert (used.used(251.0), used.returning(251.0)) == (7.0, 2.0)
    assert (used.used(EDGE), used.returning(EDGE)) == (5.0, 0.0)
    assert (used.used(311.0), used.returning(311.0)) == (5.0, 5.0)


def test_a_window_is_fresh_until_something_that_was_used_comes_back_and_again_when_it_is_empty() -> None:
    used = window()
    assert used.fresh
    used.add(0.0, 1.0)
    used.add(10.0, 1.0)
    assert used.used(300.0) == 2.0
    assert used.fresh
    assert used.used(EDGE) == 1.0
    assert not used.fresh
    assert used.used(EDGE + 10) == 0.0
    assert used.fresh


def test_it_is_known_when_what_was_used_leaves() -> None:
    used = window()
    used.add(10.0, 1.0)
    used.add(110.0, 2.0)
    used.add(290.0, 4.0)
    assert used.leaving(299.0, 3) == [1.0, 2.0, 4.0]
    assert used.ages(299.0, 3) == [4.0, 2.0, 1.0]


def test_use_of_unknown_age_comes_back_evenly() -> None:
    used = window()
    used.add(0.0, 30.0)
    used.add_aged(100.0, (1.0,) * 300, 0.0)
    assert not used.fresh
    assert used.used(100.0) == pytest.approx(330.0)
    assert used.used(200.5) == pytest.approx(230.0, abs=1.5)
    assert used.returning(200.5) == pytest.approx(50.0, abs=1.5)
    assert used.used(400.5) == pytest.approx(0.0, abs=1.5)


def test_use_that_somebody_else_had_comes_back_when_it_would_have_there() -> None:
    used = window()
    used.add_aged(1000.0, [3.0, 0.0, 5.0], 20.0)  # 3 used 20 seconds ago, 5 used 220 seconds ago
    assert not used.fresh
    assert used.used(1000.0) == 8.0
    assert used.used(1082.0) == 3.0
    assert used.used(1282.0) == 0.0


def test_use_that_is_older_than_the_window_does_not_count() -> None:
    used = window()
    used.add_aged(1000.0, [1.0, 2.0], 160.0)
    assert used.used(1000.0) == 1.0


def test_use_that_somebody_else_had_adds_to_what_was_used_here() -> None:
    used = window()
    used.add(850.0, 2.0)
    used.add_aged(1000.0, [3.0, 0.0, 5.0], 20.0)
    used.add_aged(1000.0, [1.0], 0.0)
    assert used.used(1000.0) == 11.0
    assert used.leaving(1000.0, 3) == [5.0, 2.0, 4.0]
    assert used.used(1202.0) == 4.0
    assert used.returning(1270.0) == 4.0


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 50)), max_size=60))
def test_never_more_than_was_used_and_never_less_than_the_service_counts(uses: list[tuple[float, int]]) -> None:
    used, now, sent = window(), 0.0, list[tuple[float, int]]()
    for pause, amount in uses:
        now += pause
        used.add(now, amount)
        sent.append((now, amount))
        assert sum(amount for at, amount in sent if at > now - 300) <= used.used(now) + 1e-6
        assert used.used(now) <= sum(amount for at, amount in sent if at > now - 302) + 1e-6
        assert sum(used.leaving(now, 60)) == pytest.approx(used.used(now))


def test_what_the_service_says_is_left_is_the_limit() -> None:
    limit = counted()
    assert not limit.confirmed(0.0)
    limit.hear(10.0, left=2000.0, used=1000.0)
    assert limit.value == 3000.0
    assert limit.confirmed(310.0)
    assert not limit.confirmed(310.1)


def test_what_is_used_without_being_counted_shows_early() -> None:
    limit = LimitEstimate(1200.0, 0.0, horizon=60.0, settle=300.0)
    limit.hear(0.0, left=1200.0, used=0.0)
    assert limit.foreseen(10.0) == 1200.0, "too little is known yet"
    limit.hear(1.0, left=1100.0, used=125.0)
    assert limit.foreseen(125.0) == pytest.approx(1500.0), "a fifth of what we measure does not count"
    limit = LimitEstimate(1200.0, 0.0, horizon=60.0, settle=300.0)
    limit.hear(0.0, left=1200.0, used=0.0)
    limit.hear(1.0, left=1155.0, used=100.0)
    assert limit.foreseen(100.0) == pytest.approx((1255 - 0.5 * 100) / 0.5), "half at most"


def test_a_refusal_that_names_its_number_is_believed() -> None:
    limit = counted()
    others = limit.refused(100.0, used=2000.0, stopped=30.0, number=3000.0)
    assert (limit.value, limit.number, others) == (3000.0, 3000.0, 1000.0)


def test_measuring_more_than_is_counted_is_learnt_from_a_refusal() -> None:
    limit = LimitEstimate(1200.0, 0.0, horizon=60.0, settle=300.0)
    assert limit.refused(100.0, used=1320.0, stopped=30.0, number=1200.0) == 0.0
    assert limit.value == pytest.approx(1320.0)
    assert limit.refused(500.0, used=1700.0, stopped=30.0, number=1200.0) == 0.0
    assert limit.value == pytest.approx(1320.0), "more than a quarter is something else"


@pytest.mark.parametrize(("used", "value"), [(4000.0, 4000.0), (3000.0, 3000.0), (2999.0, 6000.0)])
def test_a_refusal_without_a_number_means_what_was_used_if_that_was_half_at_least(used: float, value: float) -> None:
    limit = counted()
    limit.refused(100.0, used=used, stopped=30.0, number=None)
    assert limit.value == value


def test_a_number_of_another_server_holds_here_if_it_is_lower() -> None:
    limit = counted()
    limit.told_elsewhere(0.0, 5900.0, 10.0)
    assert limit.value == 6000.0, "no news"
    limit.told_elsewhere(0.0, 7000.0, 10.0)
    assert limit.value == 6000.0
    limit.told_elsewhere(0.0, 3000.0, 10.0)
    assert (limit.value, limit.number) == (3000.0, 3000.0)


def test_a_number_of_another_server_is_not_doubted_for_five_horizons_after_its_stop() -> None:
    limit = counted()
    limit.told_elsewhere(1000.0, 3000.0, 100.0)
    assert grown(limit, 1000.0, 3900) == 3000.0, "until 1400"
    assert grown(limit, 1390.0, 200) > 3000.0


def grown(limit: LimitEstimate, start: float, answers: int, every: float = 0.1, used: float = 1e9) -> float:
    now = start
    for _ in range(answers):
        now += every
        limit.grow(now, used)
    return limit.value


def test_an_estimate_that_holds_us_back_grows_by_a_tenth_in_a_horizon() -> None:
    limit = counted()
    assert grown(limit, 0.0, 2900) == 6000.0, "not before a window is over"
    assert grown(limit, 300.0, 600) == pytest.approx(6000.0 * 1.1, rel=0.02)


def test_an_estimate_does_not_grow_while_less_is_used_or_the_service_confirms_it() -> None:
    limit = counted()
    assert grown(limit, 300.0, 600, used=5399.0) == 6000.0
    limit.hear(360.0, left=1000.0, used=5000.0)
    assert grown(limit, 360.0, 600) == 6000.0
    assert LimitEstimate(52.0, 0.0, horizon=15.0, settle=None).value == 52.0
    assert grown(LimitEstimate(52.0, 0.0, horizon=15.0, settle=None), 1000.0, 900) == 52.0


def test_after_a_pause_it_grows_by_a_hundredth_at_most() -> None:
    limit = counted()
    limit.grow(10_000.0, 1e9)
    assert limit.value == pytest.approx(6000.0 * 1.01)


def test_after_a_refusal_it_grows_no_sooner_than_five_horizons_later() -> None:
    limit = counted()
    limit.refused(1000.0, used=5000.0, stopped=100.0, number=5000.0)
    assert grown(limit, 1100.0, 2999) == 5000.0, "300 seconds after the stop"
    assert grown(limit, 1400.0, 2) > 5000.0


def test_each_search_in_vain_makes_the_next_one_wait_twice_as_long_up_to_sixteen_times() -> None:
    limit, now = counted(), 1000.0
    limit.refused(now, used=5000.0, stopped=0.0, number=5000.0)
    for wait in (600.0, 1200.0, 2400.0, 4800.0, 4800.0):
        limit.refused(now, used=5000.0, stopped=0.0, number=5000.0)
        assert grown(limit, now, 500, every=(wait - 1) / 500) == 5000.0
        assert grown(limit, now + wait, 1) > 5000.0
        limit.value = 5000.0


def test_what_was_learnt_elsewhere_is_not_doubted_for_five_horizons() -> None:
    limit = counted()
    limit.assume(1000.0, 3000.0)
    assert limit.value == 3000.0
    assert grown(limit, 1000.0, 2990) == 3000.0
    assert grown(limit, 1300.0, 1) > 3000.0


def test_what_is_heard_is_compared_with_what_was_heard_first_until_the_limit_itself_changes() -> None:
    limit = counted()
    limit.hear(10.0, left=5000.0, used=1000.0)
    limit.hear(11.0, left=4600.0, used=1500.0)
    assert limit.foreseen(1200.0) == limit.value == 6100.0
    assert limit.foreseen(1500.0) == pytest.approx((6100 - 0.2 * 1500) / 0.8)
    limit.hear(12.0, left=7000.0, used=1600.0)
    assert limit.foreseen(1700.0) == 8600.0


def test_where_nothing_is_left_a_limit_fell_and_how_far_is_not_known() -> None:
    limit = counted()
    limit.hear(10.0, left=5000.0, used=1000.0)
    limit.hear(11.0, left=0.0, used=1500.0)
    limit.hear(12.0, left=0.0, used=1490.0)
    assert (limit.value, limit.fell) == (1490.0, True)
    limit.refused(13.0, 1490.0, 30.0, 600.0)
    assert (limit.value, limit.usual, limit.fell) == (600.0, 600.0, False)
    limit.hear(14.0, left=0.0, used=1480.0)
    assert (limit.value, limit.fell) == (600.0, False), "what is used up says nothing new"
    limit.refused(15.0, 1470.0, 30.0, 600.0)
    limit.hear(16.0, left=0.0, used=1460.0)
    assert (limit.value, limit.fell) == (600.0, False)
    limit.hear(400.0, left=300.0, used=600.0)
    assert (limit.value, limit.usual) == (900.0, 900.0)


def test_a_limit_of_which_nothing_is_left_is_taken_as_what_we_have_used_unless_a_refusal_named_a_lower_one() -> None:
    """The service counts what hangs when it begins, we when it ends: then we have used more than we knew."""
    limit = counted()
    limit.hear(10.0, left=0.0, used=5000.0)
    limit.refused(11.0, 5000.0, 30.0, 6000.0)
    limit.hear(12.0, left=0.0, used=5100.0)
    assert limit.value == 5100.0


def test_what_a_limit_usually_is_follows_slowly_what_is_told_while_it_is_told() -> None:
    limit = counted()
    limit.hear(10.0, left=5000.0, used=0.0)
    assert limit.usual == 5000.0
    limit.hear(11.0, left=4200.0, used=1000.0)
    assert limit.usual == pytest.approx(5004.0)
    limit.hear(12.0, left=4200.0, used=1000.0)
    assert limit.usual == pytest.approx(5007.92)
    limit.hear(13.0, left=4000.0, used=2000.0)
    assert limit.usual == 6000.0, "it is another limit now"
    limit.hear(400.0, left=3000.0, used=0.0)
    assert limit.usual == 3000.0, "what was told long ago tells nothing"
