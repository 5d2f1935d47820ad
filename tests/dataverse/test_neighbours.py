"""Others under the same application user: what is left is taken, and who is refused again stays away longer."""

from __future__ import annotations

import random

import pytest

from connector.dataverse.pacing.governor import Governor
from connector.dataverse.pacing.permits import Binding, Facet, Feedback, Permit, Wait
from connector.dataverse.pacing.web_servers import ReservedQuota

REFUSED = Feedback(facet=Facet.TIME, retry_after=10.0, number=1200)


def sent(governor: Governor, now: float) -> Permit:
    leave = governor.ask(now)
    assert isinstance(leave, Permit)
    return leave


def test_after_a_refusal_one_request_goes_first_and_the_others_follow_its_answer() -> None:
    governor = Governor(0.0)
    governor.settle(1.0, sent(governor, 0.0), Feedback(facet=Facet.CONCURRENCY, retry_after=10.0, number=40))
    first = sent(governor, 11.0)
    assert governor.ask(11.0) == Wait(16.0, Binding.WAITING)
    governor.settle(12.0, first, Feedback())
    sent(governor, 12.0)


def test_one_that_takes_long_does_not_hold_the_others_up() -> None:
    governor = Governor(0.0)
    governor.settle(1.0, sent(governor, 0.0), Feedback(facet=Facet.CONCURRENCY, retry_after=10.0, number=40))
    sent(governor, 11.0)
    sent(governor, 16.0)


def test_two_that_are_refused_again_and_again_do_not_come_back_at_the_same_moment() -> None:
    waits = []
    for seed in range(20):
        governor, now = Governor(0.0, chance=random.Random(seed)), 0.0
        for _ in range(8):
            governor.settle(now, sent(governor, now), REFUSED)
            now += governor.pace(now).waiting
        waits.append(round(governor.pace(now - 1).waiting + now, 3))
    assert len(set(waits)) == 20
    assert all(8 * 10 < wait < 8 * (10 + 160) for wait in waits)


def test_a_window_that_others_filled_leaves_them_more_and_less_again_when_they_have_left() -> None:
    governor = Governor(0.0)
    (server,) = governor._servers.values()
    governor.settle(1.0, sent(governor, 0.0), REFUSED)
    assert server.for_others.share(1.0) == pytest.approx(10 / 600)
    assert server.executed.used(1.0) > 1199
    assert server.for_others.share(1.0 + 3 * 300) == pytest.approx(10 / 600 / 16)


def test_never_more_than_half_is_left_to_others() -> None:
    for_others = ReservedQuota(300.0)
    for moment in range(20):
        for_others.more(float(moment), 30.0)
    assert for_others.share(20.0) == 0.5
