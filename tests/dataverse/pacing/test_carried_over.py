"""A user who moves to another machine: the next governor begins where the last one ended."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.dataverse.pacing.carried_over import STEPS, CarriedOverLimits
from connector.dataverse.pacing.governor import Governor
from connector.dataverse.pacing.permits import Binding, Facet, Feedback, Permit, Wait
from connector.emulator.limits.protection import Limits
from tests.dataverse.virtual_load import Load, Service, ceiling

MOVED_AT = 900.0
numbers = st.floats(20, 1e6)
amounts = st.tuples(*[st.floats(0, 1e5)] * STEPS)
carried_over_limits = st.builds(CarriedOverLimits, numbers, numbers, numbers, amounts, amounts, st.floats(0, 1000))


class Leaving:
    """A governor that lets nothing more through: its machine is leaving."""

    def __init__(self, governor: Governor) -> None:
        self.governor = governor

    def ask(self, _now: float, _kind: str = "", _parts: int = 1) -> Wait:
        return Wait(float("inf"), Binding.LATENCY)

    def settle(self, now: float, permit: Permit, feedback: Feedback) -> None:
        self.governor.settle(now, permit, feedback)


def move(load: Load, age: float, *, told: bool) -> None:
    """Let another governor go on `age` seconds after the first one's last request was answered."""
    old = load.governor
    load.governor = Leaving(old)  # type: ignore[assignment]
    while old.pace(load.now).in_flight:
        load.step()
    left, load.now = CarriedOverLimits.read(old.carried_over(load.now).data()), load.now + age
    load.governor = Governor(load.now)
    if told:
        assert left is not None
        load.governor.begin_with(load.now, left, age)
    load._ask()


@pytest.mark.parametrize("age", [0.0, 5.0, 60.0])
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_who_takes_over_is_not_refused_and_as_fast_as_before(age: float, factor: float) -> None:
    limits = Limits(servers=2, requests=int(6000 * factor), execution_seconds=1200.0 * factor)
    service = Service(limits, lambda chance, _now: chance.expovariate(1.0), headers=False)
    load = Load(service)
    before = len(load.run(MOVED_AT).refused)
    move(load, age, told=True)
    outcome = load.run(MOVED_AT + 900)
    assert len(outcome.refused) - before <= 0.005 * len(outcome.answered)
    assert outcome.rate(MOVED_AT, MOVED_AT + 900) >= 0.9 * ceiling(limits, 1.0)


def test_who_is_told_nothing_is_refused() -> None:
    load = Load(Service(Limits(servers=2), lambda chance, _now: chance.expovariate(1.0), headers=False))
    before = len(load.run(MOVED_AT).refused)
    move(load, 0.0, told=False)
    assert len(load.run(MOVED_AT + 300).refused) > before


def test_a_retry_after_that_is_running_is_kept() -> None:
    old, new = Governor(0.0), Governor(1000.0)
    permit = old.ask(0.0)
    assert isinstance(permit, Permit)
    old.settle(1.0, permit, Feedback(facet=Facet.CONCURRENCY, retry_after=300.0))
    new.begin_with(1000.0, old.carried_over(11.0), 20.0)
    leave = new.ask(1000.0)
    assert leave == Wait(1270.0, Binding.WAITING)


@given(carried_over_limits)
def test_what_is_left_survives_the_way_through_plain_data(carried_over: CarriedOverLimits) -> None:
    assert CarriedOverLimits.read(carried_over.data()) == carried_over


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"requests": 6000},
        dict.fromkeys(CarriedOverLimits.__slots__, "x"),
        dict.fromkeys(CarriedOverLimits.__slots__, 1),
        {**dict.fromkeys(CarriedOverLimits.__slots__, 1000), "sent": [0.0] * STEPS, "executed": [0.0] * (STEPS + 1)},
    ],
)
def test_what_is_not_understood_is_passed_over(data: Mapping[str, object]) -> None:
    assert CarriedOverLimits.read(data) is None


@given(st.lists(carried_over_limits, min_size=1, max_size=4), st.floats(0, 1e4), st.integers(0, 1 << 30))
def test_whatever_was_left_a_governor_lets_something_through_in_time(
    left: list[CarriedOverLimits], age: float, seed: int
) -> None:
    chance = random.Random(seed)
    governor, now = Governor(0.0), 0.0
    for carried_over in left:
        governor.begin_with(now, carried_over, age)
    while isinstance(leave := governor.ask(now), Wait):
        now = max(now + 1, min(leave.until, now + chance.uniform(1, 1000)))
        assert now < 1e4
