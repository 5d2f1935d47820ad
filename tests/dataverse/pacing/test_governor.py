from __future__ import annotations

import random

import pytest

from connector.dataverse.pacing.governor import Governor
from connector.dataverse.pacing.permits import Binding, Facet, Feedback, Permit, Wait
from connector.dataverse.pacing.service_limits import LimitEstimate
from connector.dataverse.pacing.throttled_server import further_back


def test_it_starts_with_one_less_than_is_documented() -> None:
    governor = Governor(0.0)
    permits: list[Permit] = []
    while isinstance(leave := governor.ask(0.0, "write"), Permit):
        permits.append(leave)
    assert len(permits) == governor.pace(0.0).most_in_flight == 51
    assert leave == Wait(float("inf"), Binding.CONCURRENCY)


def test_a_server_that_shows_up_counts_what_may_be_under_way_to_it() -> None:
    governor = Governor(0.0)
    permits = [governor.ask(0.0) for _ in range(51)]
    for permit, key in zip(permits[:2], ("a", "b"), strict=True):
        assert isinstance(permit, Permit)
        governor.settle(1.0, permit, Feedback(server=key))
    more = 0
    while isinstance(governor.ask(1.0), Permit):
        more += 1
    assert more == 2 * (51 - 49), "49 may be under way to either of them"


def test_all_that_goes_to_a_server_waits_for_the_whole_retry_after() -> None:
    governor = Governor(0.0)
    permit = governor.ask(0.0)
    assert isinstance(permit, Permit)
    governor.settle(1.0, permit, Feedback(facet=Facet.COUNT, retry_after=100.0, number=6000))
    assert governor.ask(100.9) == Wait(101.0, Binding.WAITING)
    assert governor.pace(50.0).waiting == 51.0
    assert isinstance(governor.ask(101.0), Permit)


def test_a_busy_service_that_names_a_time_is_left_alone_until_then() -> None:
    governor = Governor(0.0)
    permit = governor.ask(0.0)
    assert isinstance(permit, Permit)
    governor.settle(1.0, permit, Feedback(ok=False, retry_after=30.0))
    assert governor.ask(20.0) == Wait(31.0, Binding.WAITING)


@pytest.mark.parametrize(("seconds_per_part", "parts"), [(0.01, 50), (0.4, 5), (1.0, 2), (30.0, 1)])
def test_a_batch_carries_a_few_seconds_of_work(seconds_per_part: float, parts: int) -> None:
    governor = Governor(0.0)
    now = 0.0
    assert governor.parts("write") == 6, "of 0.3 s, which a part is taken to cost"
    for _ in range(10):
        permit = governor.ask(now, "write", 4)
        assert isinstance(permit, Permit)
        now += 4 * seconds_per_part
        governor.settle(now, permit, Feedback())
        now += 20
    assert governor.parts("write") == pytest.approx(parts, abs=1)


def test_a_limit_of_requests_at_once_is_what_a_refusal_names_however_many_seemed_to_be_under_way() -> None:
    limit = LimitEstimate(52, 0.0, horizon=15, settle=None)
    for _ in range(2):  # of two servers at the same moment, while requests were under way to either
        limit.refused(0.0, 23, 60, 10)
        limit.told_elsewhere(0.0, 10, 60)
    assert limit.value == 10


def test_a_limit_is_foreseen_in_the_units_in_which_use_is_measured() -> None:
    limit = LimitEstimate(1200, 0.0, horizon=60, settle=300)
    for number in range(1, 101):
        ours = 1.1 * number  # the way there and back, which the service does not count
        limit.hear(float(number), 1200 - number, ours)
    assert limit.foreseen(110) == pytest.approx(1320, rel=0.02)
    assert limit.value < 1215


def allowed(governor: Governor, now: float, kind: str = "", parts: int = 1) -> Permit:
    leave = governor.ask(now, kind, parts)
    assert isinstance(leave, Permit)
    return leave


def two_servers(governor: Governor) -> None:
    for key in "abababababab":
        governor.settle(0.0, allowed(governor, 0.0), Feedback(server=key))


def test_a_server_that_answers_for_another_twice_is_forgotten_with_what_is_under_way_to_it() -> None:
    governor = Governor(0.0)
    two_servers(governor)
    permits = [allowed(governor, 1.0) for _ in range(20)]
    to_a = [permit for permit in permits if permit.server == "a"]
    assert len(to_a) > 2
    for permit in to_a[:2]:
        governor.settle(2.0, permit, Feedback(server="b"))
    assert governor.pace(2.0).servers == 1
    for permit in [permit for permit in permits if permit is not to_a[0] and permit is not to_a[1]]:
        governor.settle(2.0, permit, Feedback(server="b"))
    assert governor.pace(2.0).in_flight == 0


def test_where_the_cookie_chooses_nothing_it_is_no_longer_sent() -> None:
    governor = Governor(0.0)
    two_servers(governor)
    for number in range(400):
        permit = allowed(governor, 1.0 + number)
        governor.settle(1.5 + number, permit, Feedback(server="b" if permit.server == "a" else "a"))
    assert all(allowed(governor, 500.0 + number).server == "" for number in range(5))


def under_way(governor: Governor, now: float) -> int:
    while isinstance(governor.ask(now), Permit):
        pass
    assert governor.ask(now) == Wait(float("inf"), Binding.CONCURRENCY)
    return governor.pace(now).in_flight


def two_known(answered_as_chosen: int) -> Governor:
    governor = Governor(0.0)
    for place, key in enumerate("ab"):
        governor.settle(0.1 + place, allowed(governor, float(place)), Feedback(server=key))
    while answered_as_chosen:
        permit = allowed(governor, 2.0)
        answered_as_chosen -= bool(permit.server)
        governor.settle(2.1, permit, Feedback(server=permit.server or "a"))
    return governor


def test_a_lost_answer_leaves_its_place_taken_until_its_request_is_over() -> None:
    governor = Governor(0.0)
    lost, *answered = [allowed(governor, 0.0) for _ in range(51)]
    for number, permit in enumerate(answered):
        if number == 3:
            governor.settle(1.0, lost, Feedback(ok=False))
        governor.settle(1.0, permit, Feedback(server="a"))
    assert [governor.most_in_flight(second) for second in (1.0, 7.9, 8.0)] == [50, 50, 51]


@pytest.mark.parametrize(("answered_as_chosen", "at_once"), [(0, 62), (1, 62), (2, 90)])
def test_until_two_were_answered_by_the_server_they_chose_so_many_go_that_chance_sends_none_too_many(
    answered_as_chosen: int, at_once: int
) -> None:
    assert under_way(two_known(answered_as_chosen), 3.0) == at_once


def test_one_that_another_server_answers_lets_all_be_careful_again() -> None:
    governor = two_known(2)
    permit = next(permit for permit in [allowed(governor, 3.0) for _ in range(3)] if permit.server)
    governor.settle(3.1, permit, Feedback(server="b" if permit.server == "a" else "a"))
    assert under_way(governor, 4.0) == 62


def test_where_the_cookie_chooses_nothing_no_more_are_under_way_in_all_than_one_server_takes() -> None:
    governor = Governor(0.0)
    two_servers(governor)
    for number in range(400):
        permit = allowed(governor, 1.0 + number)
        governor.settle(1.5 + number, permit, Feedback(server="b" if permit.server == "a" else "a"))
    assert under_way(governor, 800.0) == 51


def test_once_all_servers_are_known_one_request_in_25_may_find_another() -> None:
    governor = Governor(0.0)
    two_servers(governor)
    chosen = []
    for number in range(100):
        permit = allowed(governor, 1.0 + number)
        chosen.append(permit.server)
        governor.settle(1.1 + number, permit, Feedback(server=permit.server or "a"))
    assert chosen[50:].count("") == 2


def test_a_refusal_of_another_kind_stops_everything_and_teaches_no_limit() -> None:
    governor = Governor(0.0)
    governor.settle(1.0, allowed(governor, 0.0), Feedback(facet=Facet.OTHER))
    assert governor.ask(10.9) == Wait(11.0, Binding.WAITING), "a thirtieth of the window where no time is told"
    left = governor.carried_over(11.0)
    assert (left.requests, left.seconds, left.concurrency) == (6000, 1200, 52)
    assert governor.pace(11.0).refused == 1


def test_after_a_refusal_one_request_goes_first_and_the_others_after_its_answer() -> None:
    governor = Governor(0.0)
    governor.settle(0.0, allowed(governor, 0.0), Feedback(facet=Facet.CONCURRENCY, retry_after=10.0, number=52))
    first = allowed(governor, 10.0)
    assert governor.ask(10.0) == Wait(15.0, Binding.WAITING)
    governor.settle(11.0, first, Feedback())
    assert isinstance(governor.ask(11.0), Permit)


@pytest.mark.parametrize(("servers", "chosen"), [("ab", "a"), ("a", "")])
def test_who_refused_is_asked_first_again_where_servers_can_be_chosen(servers: str, chosen: str) -> None:
    governor = Governor(0.0)
    for key in servers * 6:
        governor.settle(0.0, allowed(governor, 0.0), Feedback(server=key))
    refused = Feedback(server="a", facet=Facet.CONCURRENCY, retry_after=10.0, number=52)
    governor.settle(1.0, allowed(governor, 1.0), refused)
    assert allowed(governor, 11.0).server == chosen


def refused_by_one_of_two() -> Governor:
    """Return a governor that server a has told, at second 1, to wait for 100 seconds."""
    governor = Governor(0.0)
    two_servers(governor)
    governor.settle(1.0, to(governor, 1.0, "a"), Feedback(server="a", facet=Facet.TIME, retry_after=100.0, number=1200))
    return governor


def to(governor: Governor, now: float, server: str) -> Permit:
    """Return leave for a request to one server."""
    return next(permit for permit in iter(lambda: allowed(governor, now), None) if permit.server == server)


def test_what_one_server_refuses_stops_everything_until_its_retry_after_is_over() -> None:
    governor = refused_by_one_of_two()
    assert governor.ask(2.0) == governor.ask(100.9) == Wait(101.0, Binding.WAITING)
    assert governor.pace(3.0).waiting == 98.0
    assert governor.seconds_for(3.0, 0.0, 0.0, float("inf")) == 98.0
    assert governor.carried_over(60.0).waiting == 41.0


def test_a_request_that_goes_first_to_one_server_holds_up_no_other() -> None:
    governor = refused_by_one_of_two()
    first = allowed(governor, 101.0)
    assert first.server == "a"
    assert {allowed(governor, 101.0).server for _ in range(5)} == {"b"}
    governor.settle(102.0, first, Feedback(server="a", facet=Facet.TIME, retry_after=10.0, number=1200))
    assert 117.0 <= governor.carried_over(102.0).waiting + 102.0 <= 122.0, "refused again: further back"
    assert isinstance(governor.ask(116.9), Wait)


def test_when_the_first_one_takes_long_the_others_follow_all_the_same() -> None:
    governor = Governor(0.0)
    governor.settle(0.0, allowed(governor, 0.0), Feedback(facet=Facet.CONCURRENCY, retry_after=10.0, number=52))
    allowed(governor, 10.0)
    assert governor.ask(14.9) == Wait(15.0, Binding.WAITING)
    assert isinstance(governor.ask(15.0), Permit)


def test_refused_again_after_waiting_as_told_it_stays_away_twice_as_long_each_time_up_to_160_seconds() -> None:
    governor, now = Governor(0.0, chance=random.Random(1)), 0.0
    further = list[float]()
    for _ in range(8):
        governor.settle(now, allowed(governor, now), Feedback(facet=Facet.CONCURRENCY, retry_after=10.0, number=52))
        further.append(governor.pace(now).waiting - 10.0)
        now += governor.pace(now).waiting
    assert further[0] == 0.0
    for place, most in enumerate((10, 20, 40, 80, 160, 160, 160), 1):
        assert most / 2 <= further[place] <= most
    governor.settle(now, allowed(governor, now), Feedback())
    now += 1
    governor.settle(now, allowed(governor, now), Feedback(facet=Facet.CONCURRENCY, retry_after=10.0, number=52))
    assert governor.pace(now).waiting == pytest.approx(10.0), "one that got through ends it"


@pytest.mark.parametrize(("again", "seconds"), [(0, 0.0), (1, 10.0), (2, 20.0), (5, 160.0), (9, 160.0)])
def test_each_refusal_after_waiting_as_told_is_stayed_away_from_twice_as_long(again: int, seconds: float) -> None:
    assert further_back(again, 300.0, 1.0) == seconds


def test_refused_again_with_a_window_of_our_own_it_leaves_others_a_part_of_it() -> None:
    governor = Governor(0.0, chance=random.Random(1))
    for permit in [allowed(governor, 0.0) for _ in range(50)]:
        governor.settle(23.5, permit, Feedback())
    slots, now = list[int](), 24.0
    for _ in range(2):
        governor.settle(now, allowed(governor, now), Feedback(facet=Facet.TIME, retry_after=60.0, number=1200))
        slots.append(governor.most_in_flight(now))
        now += governor.pace(now).waiting
    assert slots == [51, 45], "a tenth more after a fifth of a window, since others keep the penalty going"


def test_where_the_service_tells_that_no_request_is_left_none_goes() -> None:
    governor = Governor(0.0)
    governor.settle(1.0, allowed(governor, 0.0), Feedback(requests_left=0.0, seconds_left=1_000.0))
    assert isinstance(governor.ask(1.0), Wait)
    assert governor.pace(1.0).binding is Binding.COUNT


def test_a_server_that_shows_up_later_begins_with_what_another_has_learnt() -> None:
    governor = Governor(0.0)
    governor.settle(1.0, allowed(governor, 0.0), Feedback("a"))
    governor.settle(2.0, allowed(governor, 1.0), Feedback("a", facet=Facet.CONCURRENCY, retry_after=10.0, number=40))
    governor.settle(13.0, allowed(governor, 12.0), Feedback("b"))
    assert governor.most_in_flight(14.0) <= 80


def test_a_permit_is_of_the_kind_that_was_asked_for_whichever_server_is_chosen() -> None:
    governor = Governor(0.0)
    two_servers(governor)
    assert {allowed(governor, 1.0, "write").kind for _ in range(9)} == {"write"}


def test_refusals_of_one_stop_count_once() -> None:
    governor = Governor(0.0)
    permits = [allowed(governor, 0.0) for _ in range(3)]
    governor.settle(1.0, permits[0], Feedback(facet=Facet.CONCURRENCY, retry_after=60.0, number=30))
    governor.settle(1.0, permits[1], Feedback(facet=Facet.CONCURRENCY, retry_after=60.0, number=20))
    assert governor.carried_over(1.0).concurrency == 30
    assert governor.pace(1.0).refused == 2


def test_what_a_part_costs_is_guessed_until_it_is_measured() -> None:
    governor = Governor(0.0)
    assert governor.pace(0.0, "write").seconds_per_part == 0.3
    governor.settle(8.0, allowed(governor, 0.0, "write", 4), Feedback())
    assert governor.pace(8.0, "write").seconds_per_part == 2.0
    assert governor.pace(8.0, "read").seconds_per_part == 0.3


@pytest.mark.parametrize(("seconds", "waiting", "parts"), [(1.2, 1e6, 1), (0.1, 1e6, 3), (0.1, 4000, 1)])
def test_a_request_carries_several_parts_only_where_requests_would_be_scarce(
    seconds: float, waiting: float, parts: int
) -> None:
    governor = Governor(0.0)
    for number in range(10):
        governor.settle(2.0 * number + seconds, allowed(governor, 2.0 * number, "write"), Feedback())
    assert governor.fewest_parts(20.0, "write", waiting) == parts


def test_the_more_others_differ_the_later_one_seems_to_hang() -> None:
    governor = Governor(0.0)
    for number in range(20):
        seconds = (0.5, 2.0)[number % 2]
        governor.settle(3.0 * number + seconds, allowed(governor, 3.0 * number, "write"), Feedback())
    allowed(governor, 60.0, "write")
    usual = governor.pace(60.0, "write").usual_seconds
    assert governor.pace(60.0 + 7.9 * usual, "write").hanging == 0
    assert governor.pace(60.0 + 8.1 * usual, "write").hanging == 120.0


def test_what_hangs_is_told_apart_and_says_nothing_of_what_is_usual() -> None:
    governor = Governor(0.0)
    for number in range(10):
        governor.settle(2.0 * number + 1, allowed(governor, 2.0 * number, "write"), Feedback())
    hanging = allowed(governor, 20.0, "write")
    assert governor.pace(23.0, "write").hanging == 0
    assert governor.pace(23.1, "write").hanging == 120.0, "where the others take as long as each other"
    governor.settle(140.0, hanging, Feedback())
    pace = governor.pace(140.0, "write")
    assert (pace.hanging, pace.unlike, pace.usual_seconds, pace.spread) == (0, 1, 1.0, 0.0)
    assert pace.seconds_per_part > 10.0, "it did cost that much"


def test_those_in_flight_count_with_the_time_they_have_had() -> None:
    governor = Governor(0.0)
    assert governor.pace(0.0).executed == 0.0
    governor.settle(2.0, allowed(governor, 0.0), Feedback())
    allowed(governor, 2.0)
    pace = governor.pace(3.0)
    assert (pace.requests, pace.in_flight) == (2, 1)
    assert pace.executed == 2.0 + 1.0
    assert pace.since_sent == 1.0


def test_no_more_are_in_flight_than_there_are_connections() -> None:
    governor = Governor(0.0, connections=2)
    permits = [allowed(governor, 0.0) for _ in range(2)]
    assert governor.ask(0.0) == Wait(float("inf"), Binding.LATENCY)
    assert governor.pace(0.0).binding is Binding.LATENCY
    governor.settle(1.0, permits[0], Feedback())
    assert isinstance(governor.ask(1.0), Permit)


def test_no_end_is_foreseen_where_a_limit_fell_and_nobody_has_said_how_far() -> None:
    governor = Governor(0.0)
    governor.settle(2.0, allowed(governor, 0.0), Feedback(seconds_left=1198.0))
    assert governor.seconds_for(2.0, 10.0, 10.0, float("inf")) < float("inf")
    governor.settle(802.0, allowed(governor, 2.0), Feedback(seconds_left=0.0))
    assert governor.seconds_for(802.0, 10.0, 10.0, float("inf")) == float("inf")


def test_the_end_is_no_sooner_than_a_running_retry_after_and_what_may_be_in_flight_allow() -> None:
    governor = Governor(0.0)
    assert governor.seconds_for(0.0, 510.0, 510.0, float("inf")) == pytest.approx(10.0)
    governor.settle(0.0, allowed(governor, 0.0), Feedback(ok=False, retry_after=40.0))
    assert governor.seconds_for(10.0, 0.0, 0.0, float("inf")) == pytest.approx(30.0)


def spreads(parts: float, size: int, *, seconds: float = 0.3, kind: str = "write") -> bool:
    """Return whether a governor spreads what comes back, so many parts being left, of which each takes so long."""
    governor = Governor(0.0)
    for at in (0.0, 200.0):  # at 400 the first of them has left the window, the other has not
        governor.settle(at + seconds, allowed(governor, at, "write"), Feedback())
    governor.expect(400.0, kind, parts, size)
    allowed(governor, 400.0, "write")
    return isinstance(governor.ask(400.0, "write"), Wait)


@pytest.mark.parametrize(
    ("parts", "size", "seconds", "spread"),
    [
        (19_200, 1, 0.25, False),
        (19_201, 1, 0.25, True),
        (48_000, 2, 0.01, False),
        (48_000, 1, 0.01, True),
        (4_800, 1, 1.0, False),
        (4_801, 1, 1.0, True),
    ],
)
def test_what_is_left_of_a_job_that_fits_into_four_windows_is_not_spread(
    parts: float, size: int, seconds: float, *, spread: bool
) -> None:
    assert spreads(parts, size, seconds=seconds) is spread


def test_the_cost_of_what_is_left_is_that_of_its_own_kind() -> None:
    assert spreads(4_801, 1, seconds=1.0)
    assert not spreads(4_801, 1, seconds=1.0, kind="read")


def test_a_governor_that_knows_how_much_is_left_foresees_a_sooner_end() -> None:
    governor = Governor(0.0)
    for at in (0.0, 200.0):
        governor.settle(at + 0.1, allowed(governor, at), Feedback())
    evenly = governor.seconds_for(400.0, 5000.0, 1.0, float("inf"))
    governor.expect(400.0, "", 1e9, 1)
    assert governor.seconds_for(400.0, 5000.0, 1.0, float("inf")) < evenly / 5


@pytest.mark.parametrize(("answers", "exploring"), [("aabab", 10), ("aababa", 1), ("ababac", 10), ("aababac", 10)])
def test_every_second_request_explores_until_three_answers_for_each_server_and_again_when_another_shows_up(
    answers: str, exploring: int
) -> None:
    governor = Governor(0.0)
    for permit, key in zip([allowed(governor, 0.0) for _ in answers], answers, strict=True):
        governor.settle(0.0, permit, Feedback(server=key))
    assert [allowed(governor, 0.0).server for _ in range(20 if exploring > 1 else 25)].count("") == exploring


def test_the_end_is_foreseen_for_all_servers_together() -> None:
    governor = Governor(0.0)
    two_servers(governor)
    assert governor.seconds_for(0.0, 600.0, 0.0, 2.0) == pytest.approx(300.0)
    assert governor.seconds_for(0.0, 100.0, 2000.0, float("inf")) == pytest.approx(2000 / 102, rel=0.05)
    assert governor.seconds_for(0.0, 1.0, 100.0, float("inf")) == pytest.approx(100 / 102, rel=0.05)
    assert 0 < governor.seconds_for(0.0, 100.0, 0.5, float("inf")) < 0.1


def nearly_done(seconds_left: float, seconds: float = 1.0, servers: str = "a", last: int = 18) -> Governor:
    """Return a governor that has been told how much of the window is left; a part takes so many seconds."""
    governor = Governor(0.0)
    for number in range(last):
        permit = allowed(governor, 2.0 * number, "write")
        told = Feedback(
            server=servers[number % len(servers)], seconds_left=seconds_left + seconds * (last - 1 - number)
        )
        governor.settle(2.0 * number + seconds, permit, told)
    return governor


def test_the_last_request_of_a_job_carries_what_the_window_has_no_room_for() -> None:
    governor = nearly_done(100.0)
    assert governor.expect(40.0, "write", 98, 1) == 0, "all fit"
    assert governor.expect(40.0, "write", 122, 1) == 0, "the last one carries 24, others come before"
    assert governor.seconds_for(40.0, 122.0, 122.0, 10.0) == pytest.approx((122 - 22) / 10 + 22)
    full = nearly_done(0.0)
    assert full.expect(40.0, "write", 1, 1) == 0
    assert full.seconds_for(40.0, 1.0, 1.0, 10.0) > 200, "a full window lets in nothing"
    assert nearly_done(2.0).expect(40.0, "write", 23, 1) == 23
    assert nearly_done(2.1).expect(40.0, "write", 23, 1) == 0, "one of them can go before"


def test_the_last_request_waits_until_what_is_on_its_way_has_come_there() -> None:
    governor = nearly_done(3.0)
    first, second = (allowed(governor, 40.0 + part, "write") for part in (0.0, 0.8))
    assert governor.expect(40.8, "write", 5, 1) is None, "both may not have been taken off"
    governor.settle(41.0, first, Feedback(server="a", seconds_left=1.0))
    assert governor.expect(41.0, "write", 5, 1) is None, "one may have been under way when it was told"
    governor.settle(41.8, second, Feedback(server="a", seconds_left=1.0))
    assert governor.expect(41.8, "write", 5, 1, 2) is None, "two are made ready and come before"
    assert governor.expect(41.8, "write", 5, 1) == 6, "the five and what is not known of them"


def test_a_job_waits_for_the_next_window_where_one_request_would_carry_too_much_or_another_server_would_stop() -> None:
    assert nearly_done(7.0, 0.5).expect(40.0, "write", 64, 1) == 0, "more than fifty parts"
    assert nearly_done(7.0, servers="ab").expect(40.0, "write", 20, 1) == 0


def test_where_the_rest_is_sent_now_those_under_way_are_not_taken_off_twice() -> None:
    governor = nearly_done(9.0)
    first, *_ = [allowed(governor, 40.0, "write") for _ in range(6)]
    governor.settle(41.0, first, Feedback(server="a", seconds_left=4.0))
    assert isinstance(governor.ask(41.0, "write"), Wait), "five are under way, four seconds are left"
    governor.expect(41.0, "write", 3, 1)
    assert isinstance(governor.ask(41.0, "write"), Permit), "the four seconds were told when they were under way"
