from __future__ import annotations

import pytest

from connector.dataverse.pacing.permits import Facet, Feedback, Permit
from connector.dataverse.pacing.service_limits import Budget
from connector.dataverse.pacing.web_servers import (
    NEVER,
    InFlight,
    LimitEstimates,
    ReservedQuota,
    WebServer,
    fits,
    last_parts,
)


def server(key: str = "a", unaddressed: InFlight | None = None, learnt: LimitEstimates | None = None) -> WebServer:
    return WebServer(key, Budget(), 0.0, unaddressed or InFlight(), learnt)


def used_up_long_ago(web_server: WebServer) -> WebServer:
    """Let something come back, so that nothing is fresh any more."""
    web_server.ran(-305.0, 1.0)
    web_server.ran(-300.0, 1.0)
    web_server.sent.used(0.0)
    web_server.executed.used(0.0)
    return web_server


def test_requests_in_flight_are_counted_with_the_seconds_that_are_expected_of_them() -> None:
    under_way = InFlight()
    under_way.add(2.0)
    under_way.add(3.0)
    assert (under_way.requests, under_way.seconds) == (2, 5.0)
    under_way.remove(4.0)
    assert (under_way.requests, under_way.seconds) == (1, 1.0)
    under_way.remove(0.1)
    assert (under_way.requests, under_way.seconds) == (0, 0.0), "no drift survives"


def test_others_are_left_more_each_time_by_how_long_it_stops_us_and_half_at_most() -> None:
    quota = ReservedQuota(300.0)
    assert quota.share(0.0) == 0.0
    quota.more(0.0, 60.0)
    assert quota.share(0.0) == quota.share(300.0) == pytest.approx(0.1)
    assert quota.share(600.0) == pytest.approx(0.1 / 4)
    assert quota.share(900.0) == pytest.approx(0.1 / 16)
    for _ in range(9):
        quota.more(900.0, 60.0)
    assert quota.share(900.0) == 0.5


def test_one_less_than_documented_may_be_under_way_and_the_unaddressed_count_everywhere() -> None:
    anywhere = InFlight()
    web_server = server(unaddressed=anywhere)
    web_server.addressed.add(1.0)
    anywhere.add(1.0)
    anywhere.add(1.0)
    assert (web_server.at_once(0.0), web_server.in_flight) == (51, 3)


def test_as_many_as_documented_may_be_under_way_while_nobody_else_uses_the_limit() -> None:
    web_server = server()
    web_server.ran(0.0, 1.0)
    for _ in range(2):
        web_server.hear(0.0, 5_999.0, None)
        assert web_server.at_once(0.0) == 52
    web_server.hear(0.0, 5_998.0, None)
    assert [web_server.at_once(now) for now in (0.0, 299.0, 301.0)] == [51, 51, 52], "somebody else has asked"


@pytest.mark.parametrize(("others", "at_once"), [(0.0, 51), (30.0, 51), (150.0, 50), (600.0, 47), (900.0, 45)])
def test_what_others_have_used_of_the_seconds_says_how_many_requests_of_theirs_are_at_work(
    others: float, at_once: int
) -> None:
    web_server = server()
    web_server.ran(0.0, 1.0)
    web_server.addressed.add(3.0)
    web_server.hear(0.0, 5_900.0, 1_196.0 - others)
    assert web_server.at_once(0.0) == at_once
    web_server.hear(1.0, 5_900.0, 100.0)
    assert web_server.at_once(1.0) == at_once, "later it is not known whose they are"
    web_server.hear(302.0, 5_900.0, 600.0)
    assert web_server.at_once(302.0) == 47, "nothing was heard for a window"


def test_what_may_be_at_work_though_its_answer_was_lost_counts_until_it_is_over_but_eight_may_go() -> None:
    web_server = server()
    for until in (5.0, 10.0, 10.0):
        web_server.lost(1.0, until)
    assert [web_server.at_once(now) for now in (1.0, 5.0, 10.0)] == [48, 49, 51]
    for _ in range(100):
        web_server.lost(11.0, 20.0)
    assert (web_server.at_once(19.0), len(web_server.unsettled)) == (8, 53)
    web_server.concurrency.value = 5.0
    assert web_server.at_once(19.0) == 4, "no more than the limit"


def test_what_has_lain_unused_for_a_window_is_spent_at_once() -> None:
    assert server().intervals(0.0, 1.0, 1) == (0.0, 0.0)


def test_what_comes_back_is_spent_over_fifteen_seconds() -> None:
    web_server = used_up_long_ago(server())
    count, time = web_server.intervals(0.0, 2.0, 1)
    assert count == pytest.approx(15 / (6000 - 1 + 1))
    assert time == pytest.approx(2.0 * 15 / (1200 - 1 + 1))


def test_what_is_under_way_counts_as_used() -> None:
    anywhere = InFlight()
    web_server = used_up_long_ago(server(unaddressed=anywhere))
    for _ in range(10):
        web_server.addressed.add(4.0)
        anywhere.add(8.0)
    count, time = web_server.intervals(0.0, 1.0, 4)
    assert count == pytest.approx(15 / (6000 - 20))
    assert time == pytest.approx(15 / (1200 - 40 - 80 / 4)), "those of unknown servers are dealt out"


def test_without_room_nothing_goes() -> None:
    web_server = used_up_long_ago(server())
    web_server.sent.add(0.0, 5998.0)
    assert web_server.intervals(0.0, 1.0, 1)[0] < NEVER, "the last request may cross the limit"
    web_server.sent.add(0.0, 0.001)
    assert web_server.intervals(0.0, 1.0, 1)[0] == NEVER
    web_server.executed.add(0.0, 1199.0)
    assert web_server.intervals(0.0, 1.0, 1) == (NEVER, NEVER)


def test_where_the_service_tells_what_is_left_a_smaller_margin_is_kept_and_none_of_what_is_fresh() -> None:
    web_server = used_up_long_ago(server())
    web_server.hear(0.0, 2999.0, 599.0)
    count, time = web_server.intervals(0.0, 1.0, 1)
    assert count == pytest.approx(15 / (0.995 * 3000))
    assert time == pytest.approx(15 / (0.995 * 600))
    fresh = server()
    fresh.ran(0.0, 1.0)
    fresh.hear(0.0, 0.0, 0.0)
    assert fresh.intervals(0.0, 1.0, 1) == (NEVER, NEVER), "the whole limit of one is used"
    fresh.hear(0.0, 1.0, 0.001)
    assert fresh.intervals(0.0, 1.0, 1) == (0.0, 0.0)


def test_what_is_not_told_is_not_heard() -> None:
    web_server = server()
    web_server.hear(0.0, None, None)
    assert not web_server.count.confirmed(0.0)
    assert not web_server.time.confirmed(0.0)


def test_what_is_left_for_a_forecast_adds_what_is_under_way_where_the_service_has_taken_it_off() -> None:
    anywhere = InFlight()
    web_server = server(unaddressed=anywhere)
    web_server.ran(0.0, 3.0)
    web_server.addressed.add(2.0)
    for _ in range(2):
        anywhere.add(2.0)
    count, time = web_server.remaining(0.0, 2)
    assert (count.room, time.room) == (5999.0, 1197.0)
    assert (count.fresh, time.fresh) == (5999.0, 1197.0)
    assert (sum(count.returning), sum(time.returning)) == (1.0, 3.0)
    web_server.hear(0.0, 5000.0, 1000.0)
    count, time = web_server.remaining(0.0, 2)
    assert (count.room, time.room) == (5002.0, 1004.0)
    used = used_up_long_ago(server()).remaining(0.0, 1)
    assert [budget.fresh for budget in used] == [0.0, 0.0]


def test_a_refusal_for_requests_at_once_is_learnt_of_those_under_way() -> None:
    web_server = server()
    for _ in range(30):
        web_server.addressed.add(1.0)
    web_server.refused(0.0, Feedback(facet=Facet.CONCURRENCY), 300.0, again=False)
    assert web_server.at_once(0.0) == 29
    assert web_server.for_others.share(0.0) == 0.0


def test_a_full_window_that_we_have_not_filled_was_filled_by_others_who_are_left_more() -> None:
    web_server = server()
    web_server.sent.add(0.0, 5399.0)
    web_server.refused(0.0, Feedback(facet=Facet.COUNT, number=6000.0), 30.0, again=False)
    assert web_server.for_others.share(0.0) == pytest.approx(0.05)
    assert web_server.sent.used(0.0) == pytest.approx(6000.0), "what they used counts, too"
    full = server()
    full.sent.add(0.0, 5400.0)
    full.refused(0.0, Feedback(facet=Facet.COUNT, number=6000.0), 30.0, again=False)
    assert full.for_others.share(0.0) == 0.0


def test_what_requests_of_ours_that_hang_may_have_used_was_not_used_by_others() -> None:
    web_server = server()
    web_server.executed.add(0.0, 900.0)
    web_server.refused(0.0, Feedback(facet=Facet.TIME, number=1200.0), 30.0, again=False, hanging=240.0)
    assert web_server.for_others.share(0.0) == 0.0
    assert web_server.executed.used(0.0) == pytest.approx(960.0)


def test_who_is_refused_again_after_waiting_as_told_leaves_others_more() -> None:
    web_server = server()
    web_server.executed.add(0.0, 1200.0)
    web_server.refused(0.0, Feedback(facet=Facet.TIME, number=1200.0), 30.0, again=True)
    assert web_server.for_others.share(0.0) == pytest.approx(0.05)


def test_what_is_left_to_others_is_not_used_and_the_rest_more_evenly() -> None:
    web_server = used_up_long_ago(server())
    web_server.for_others.more(0.0, 60.0)
    assert web_server.intervals(0.0, 1.0, 1)[0] == pytest.approx(15 / ((0.9 * 6000 - 1) / (1 + 30 * 0.1) + 1))
    assert web_server.at_once(0.0) == 45, "six less, for a crowd would meet them"


def test_a_number_that_another_server_named_holds_for_the_same_limit_only() -> None:
    web_server = server()
    web_server.told_elsewhere(0.0, Feedback(facet=Facet.TIME, number=600.0), 30.0)
    web_server.told_elsewhere(0.0, Feedback(facet=Facet.COUNT), 30.0)
    assert web_server.learnt() == LimitEstimates(6000.0, 600.0, 52.0)
    web_server.told_elsewhere(0.0, Feedback(facet=Facet.CONCURRENCY, number=10.0), 30.0)
    assert web_server.learnt() == LimitEstimates(6000.0, 600.0, 10.0)


def test_a_server_begins_with_what_another_learnt_or_is_told_later() -> None:
    learnt = LimitEstimates(3000.0, 600.0, 10.0)
    assert server(learnt=learnt).learnt() == learnt
    web_server = server()
    web_server.assume(0.0, learnt)
    assert web_server.learnt() == learnt


def test_each_limit_grows_by_what_is_used_of_it() -> None:
    web_server = server()
    web_server.sent.add(299.0, 6000.0)
    web_server.executed.add(299.0, 1000.0)
    for _ in range(500):
        web_server.grow(310.0)
    assert web_server.count.value > 6000.0
    assert (web_server.time.value, web_server.concurrency.value) == (1200.0, 52.0)


@pytest.mark.parametrize(("cost", "ceiling"), [(0.01, 20.0), (1.0, 4.0), (20.0, 0.2), (0.0, 20.0)])
def test_the_ceiling_is_what_the_scarcest_limit_allows_for_hours(cost: float, ceiling: float) -> None:
    assert server().ceiling(cost) == pytest.approx(ceiling)


def test_few_at_once_can_be_what_holds_for_hours() -> None:
    assert server(learnt=LimitEstimates(6000.0, 1200.0, 2.0)).ceiling(1.0) == pytest.approx(2.0)


def test_at_the_end_of_a_job_nothing_is_spread_as_long_as_a_tenth_of_a_limit_is_left() -> None:
    web_server = used_up_long_ago(server())
    assert web_server.intervals(0.0, 2.0, 1, ending=True) == (0.0, 0.0)
    web_server.sent.add(0.0, 5500.0)
    web_server.executed.add(0.0, 1100.0)
    count, time = web_server.intervals(0.0, 2.0, 1, ending=True)
    assert count == pytest.approx(5 / (6000 - 5501))
    assert time == pytest.approx(2.0 * 5 / (1200 - 1101))


def test_work_that_fits_into_four_windows_of_all_servers_is_the_end_of_a_job() -> None:
    servers = [server("a"), server("b")]
    assert fits(servers, 48_000.0, 9_600.0)
    assert not fits(servers, 48_001.0, 1.0)
    assert not fits(servers, 1.0, 9_601.0)


def test_later_a_forecast_counts_on_what_the_service_usually_lets_through() -> None:
    web_server = used_up_long_ago(server())
    web_server.hear(0.0, 2999.0, 599.0)
    web_server.addressed.add(2.0)  # as much that is as old has come back there, and counts still here
    count, time = web_server.remaining(0.0, 1)
    assert count.room == pytest.approx(0.995 * web_server.count.usual - 1)
    assert time.room == pytest.approx(0.995 * web_server.time.usual - 1)


def nearly_full(left: float) -> WebServer:
    web_server = server()
    web_server.ran(0.0, 1200.0 - left)
    return web_server


@pytest.mark.parametrize(
    ("left", "parts", "carried"),
    [
        (100.0, 98, 0),  # it fits, with two parts of which nobody knows
        (100.0, 101, 3),
        (100.0, 148, 50),
        (100.0, 149, None),  # more parts than any request carries
        (0.5, 39, 40.5),
        (0.0, 40, None),  # even one would not be let in
    ],
)
def test_the_last_request_carries_what_is_too_much_for_the_window(
    left: float, parts: int, carried: float | None
) -> None:
    assert last_parts([nearly_full(left)], 10.0, parts, 1.0, 0.0) == carried
    told = server()
    told.hear(10.0, None, left)
    told.ran(10.0, 0.0)
    assert last_parts([told], 10.0, parts, 1.0, 0.0) == carried


def test_the_last_request_lasts_no_longer_than_a_fifth_of_the_window() -> None:
    assert last_parts([nearly_full(100.0)], 10.0, 78, 2.0, 0.0) == 30
    assert last_parts([nearly_full(100.0)], 10.0, 79, 2.0, 0.0) is None


def test_what_comes_back_sooner_is_waited_for() -> None:
    assert last_parts([nearly_full(100.0)], 295.0, 101, 1.0, 0.0) == 3, "in five seconds, which three take less than"
    assert last_parts([nearly_full(100.0)], 299.0, 136, 1.0, 0.0) is None
    assert last_parts([nearly_full(100.0)], 280.0, 121, 1.0, 0.0) is None, "it would take 23 s, and in 21 more is back"


def test_what_was_under_way_when_the_server_told_what_is_left_has_been_taken_off() -> None:
    web_server = server()
    web_server.addressed.add(2.0)
    assert (web_server.left(0.0), bool(web_server.lately)) == (1200.0, False)
    web_server.hear(0.0, None, 500.0)
    assert (web_server.left(0.0), web_server.room(0.0, 1)[1]) == (500.0, 498.0)
    permit = Permit(1.0, "a", "writes", 1, 0.8)
    web_server.goes(permit)
    assert (web_server.left(1.1), bool(web_server.lately)) == (499.0, True), "it may take a quarter longer"
    assert web_server.intervals(1.1, 1.0, 1, last=True) == (0.0, 0.0)
    web_server.hear(1.2, None, 0.9)
    assert web_server.lately, "it may have been on its way when that was told"
    assert web_server.intervals(1.2, 1.0, 1, last=True)[1] == NEVER
    web_server.hear(1.4, None, 0.9)
    assert (web_server.left(1.4), web_server.lately) == (0.9, {})


def test_the_last_request_is_not_held_up_by_what_it_carries() -> None:
    web_server = used_up_long_ago(server())
    web_server.ran(0.0, 1100.0)
    web_server.hear(0.0, None, 3.0)
    assert web_server.intervals(0.0, 2.0, 1, ending=True, last=True)[1] == pytest.approx(2 * 5 / 3)
    assert web_server.intervals(0.0, 40.0, 1, ending=True, last=True)[1] == 0.0


def test_the_last_request_goes_earlier_the_more_its_parts_differ() -> None:
    assert last_parts([nearly_full(1.5)], 10.0, 5, 1.0, 0.25) == 6.5


def test_the_last_request_of_a_job_may_carry_fifty_parts_whatever_is_on_its_way() -> None:
    web_server = server()
    web_server.hear(0.0, None, 10.0)
    web_server.ran(0.0, 0.0)
    for number in range(8):
        web_server.goes(Permit(0.0, "a", f"write {number}", 1, 1.0))
    assert web_server.left(0.0) == 0.0
    assert last_parts([web_server], 0.0, 58, 1.0, 0.0) == 60.0, "fifty when all those have been taken off"
    assert last_parts([web_server], 0.0, 59, 1.0, 0.0) is None
