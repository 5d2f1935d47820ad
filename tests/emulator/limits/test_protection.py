"""Service protection as arithmetic: windows, gauge, penalties, queues and locks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.emulator.limits.protection import Admission, Limits, Protection, SlidingWindow, Throttle

USER = "a user"


def admitted(verdict: Admission | Throttle) -> Admission:
    assert isinstance(verdict, Admission), verdict
    return verdict


def refused(verdict: Admission | Throttle) -> Throttle:
    assert isinstance(verdict, Throttle), verdict
    return verdict


def spend(protection: Protection, now: float, times: int, *, seconds: float = 0.0) -> None:
    for _ in range(times):
        admission = admitted(protection.arrive(USER, 0, now, seconds=seconds))
        protection.leave(admission, admission.ends)


def test_six_thousand_requests_pass_as_fast_as_one_likes_and_the_next_is_refused() -> None:
    protection = Protection()
    spend(protection, 0.0, 6000)
    throttle = refused(protection.arrive(USER, 0, 1.0))
    assert throttle.facet == "count"
    assert throttle.retry_after == 299


def test_who_waits_as_told_is_let_in_again() -> None:
    protection = Protection()
    spend(protection, 10.0, 6000)
    throttle = refused(protection.arrive(USER, 0, 11.0))
    admitted(protection.arrive(USER, 0, 11.0 + throttle.retry_after))


@given(st.lists(st.floats(0, 20), min_size=1, max_size=40), st.integers(1, 20), st.floats(0, 20))
@settings(deadline=None)
def test_whenever_somebody_is_refused_waiting_as_told_is_enough(gaps: list[float], limit: int, last: float) -> None:
    protection, now = Protection(Limits(requests=limit, window_seconds=60.0)), 0.0
    for gap in [*gaps, last]:
        now += gap
        verdict = protection.arrive(USER, 0, now)
        if isinstance(verdict, Throttle):
            now += verdict.retry_after
            admitted(protection.arrive(USER, 0, now))


def test_several_programs_that_each_wait_as_told_do_not_keep_each_other_out() -> None:
    protection = Protection(Limits(requests=100))
    spend(protection, 0.0, 100)
    back_at = {program: 290.0 + program for program in range(4)}
    refusals = dict.fromkeys(back_at, 0)
    while back_at:
        program, now = min(back_at.items(), key=lambda item: item[1])
        verdict = protection.arrive(USER, 0, now)
        if isinstance(verdict, Throttle):
            refusals[program] += 1
            back_at[program] = now + verdict.retry_after
        else:
            del back_at[program]
    assert max(refusals.values()) <= 2, "the first wait, and that by which the others have prolonged it"


def test_who_comes_early_waits_longer_each_time() -> None:
    protection = Protection()
    spend(protection, 0.0, 6000)
    ends = []
    now = 1.0
    for _ in range(5):
        throttle = refused(protection.arrive(USER, 0, now))
        ends.append(now + throttle.retry_after)
        now += 1
    assert ends == sorted(set(ends)), "the end of the wait must move away with every early request"
    assert throttle.early


def test_execution_time_has_a_budget_of_its_own() -> None:
    protection = Protection()
    spend(protection, 0.0, 12, seconds=100.0)
    throttle = refused(protection.arrive(USER, 0, 1.0))
    assert (throttle.facet, throttle.code) == ("time", "0x80072321")


def test_the_gauge_refuses_the_fifty_third_at_once_and_clears_at_once() -> None:
    protection = Protection()
    running = [admitted(protection.arrive(USER, 0, 0.0)) for _ in range(52)]
    throttle = refused(protection.arrive(USER, 0, 0.0))
    assert throttle.facet == "concurrency"
    assert 363 <= throttle.retry_after <= 427
    protection.leave(running[0], 0.1)
    admitted(protection.arrive(USER, 0, 0.1))


def test_every_user_and_every_server_has_a_budget_of_its_own() -> None:
    protection = Protection(Limits(servers=2, requests=1))
    admitted(protection.arrive(USER, 0, 0.0))
    refused(protection.arrive(USER, 0, 0.0))
    admitted(protection.arrive(USER, 1, 0.0))
    admitted(protection.arrive("somebody else", 0, 0.0))


def test_codes_and_messages_are_those_documented() -> None:
    samples = Path(__file__).parents[2] / "fixtures" / "dataverse" / "errors.jsonl"
    documented = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    bodies = {
        row["id"].removeprefix("throttle-"): row["body"]["error"] for row in documented if "throttle" in row["id"]
    }
    assert set(bodies) == {"count", "time", "concurrency"}
    for facet, error in bodies.items():
        throttle = Protection().throttle(USER, 0, facet, 7.2)
        assert {"code": throttle.code, "message": throttle.message} == error
        assert throttle.retry_after == 8


def test_a_cookie_pins_and_none_is_spread() -> None:
    protection = Protection(Limits(servers=4), seed=3)
    assert {protection.route(protection.cookie(2)) for _ in range(50)} == {2}
    assert {protection.route(None) for _ in range(200)} == {0, 1, 2, 3}
    assert protection.cookie(2) == Protection(Limits(servers=4), seed=3).cookie(2)


def test_rows_of_one_account_wait_for_each_other_and_others_do_not() -> None:
    protection = Protection()
    first = admitted(protection.arrive(USER, 0, 0.0, seconds=2.0, locks=("account:a",)))
    second = admitted(protection.arrive(USER, 0, 0.5, seconds=1.0, locks=("account:a",)))
    third = admitted(protection.arrive(USER, 0, 0.5, seconds=1.0, locks=("account:b",)))
    assert (first.ends, second.ends, third.ends) == (2.0, 3.0, 1.5)
    assert second.charged == pytest.approx(2.5), "waiting for a lock keeps a worker and counts"


def test_a_server_with_two_workers_makes_the_third_request_queue() -> None:
    protection = Protection(Limits(workers=2))
    ends = [admitted(protection.arrive(USER, 0, 0.0, seconds=1.0)).ends for _ in range(5)]
    assert ends == [1.0, 1.0, 2.0, 2.0, 3.0]


def test_limits_can_change_while_it_runs() -> None:
    protection = Protection()
    spend(protection, 0.0, 10)
    protection.change({"requests": 10})
    assert refused(protection.arrive(USER, 0, 0.0)).message.startswith("Number of requests exceeded the limit of 10 ")
    with pytest.raises(TypeError):
        protection.change({"wishes": 3})


def test_limits_that_are_not_enforced_still_count() -> None:
    protection = Protection(Limits(requests=1, enforced=False))
    spend(protection, 0.0, 5)
    assert protection.remaining(USER, 0, 0.0).requests == 0


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 50)), max_size=80), st.floats(0, 400))
@settings(deadline=None)
def test_a_window_forgets_exactly_what_is_older_than_it(steps: list[tuple[float, float]], idle: float) -> None:
    window, now, seen = SlidingWindow(300.0), 0.0, []
    for gap, seconds in steps:
        now += gap
        window.slide(now)
        window.add(now, 1, seconds)
        seen.append((now - now % 1.0, seconds))
    now += idle
    window.slide(now)
    kept = [seconds for start, seconds in seen if start > now - 300.0 + 1e-6]
    assert window.count == len(kept)
    assert window.seconds == pytest.approx(sum(kept), abs=1e-6)


@given(st.lists(st.floats(0, 20), min_size=1, max_size=60), st.integers(1, 12), st.integers(0, 3))
@settings(deadline=None)
def test_never_more_than_the_limit_is_admitted_within_a_window(gaps: list[float], limit: int, seed: int) -> None:
    protection = Protection(Limits(requests=limit, window_seconds=60.0), seed)
    now, passed = 0.0, []
    for gap in gaps:
        now += gap
        verdict = protection.arrive(USER, 0, now)
        if isinstance(verdict, Admission):
            passed.append(now)
            protection.leave(verdict, now)
    assert all(sum(1 for one in passed if moment - 59.8 < one <= moment) <= limit for moment in passed)
