"""A reduced form of `scripts/bench truth`: effects counted on the server, on virtual time."""

from __future__ import annotations

import logging
from uuid import UUID

import pytest

from connector.emulator.limits.protection import Limits
from connector.emulator.seeding.emulator_options import EmulatorOptions
from scripts.benchmarks import truth
from scripts.benchmarks.embedded_client import Stage

pytestmark = (
    pytest.mark.no_cover
)  # a simulation of hours; other tests cover the lines, and measuring takes four times as long


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="connector")


@pytest.mark.parametrize("plan", truth.names())
def test_everything_happens_once_and_is_told_as_it_is(plan: str) -> None:
    counted = truth.play(plan, 80, 3)
    assert (counted.duplicates, counted.missed, counted.wrongly_reported) == (0, 0, 0)
    assert counted.rows == 80


@pytest.mark.parametrize("plan", ["503 before, 500 after the commit", "deadlocks and time-outs of SQL", truth.KILLED])
def test_nor_does_it_where_plug_ins_close_refuse_and_take_time(plan: str) -> None:
    counted = truth.play(plan, 24, 3, plugins=True)
    assert (counted.duplicates, counted.missed, counted.wrongly_reported) == (0, 0, 0)
    assert counted.struck > 0


def test_random_mixtures_of_trouble_change_nothing() -> None:
    mixtures = truth.forever(60, 5)
    assert [next(mixtures).well for _ in range(3)] == [True] * 3


def test_the_count_notices_what_is_wrong() -> None:
    stage = Stage(3, EmulatorOptions(seeded=0, limits=Limits(enforced=False)))
    assert set(stage.state().values()) == {False}
    stage.client(1).close(stage.keys[:1])
    assert list(stage.state().values()) == [True, False, False]
    assert (stage.once(), stage.duplicates()) == (3, 0)
    stage.embedded.close()


def test_the_count_notices_what_is_closed_twice() -> None:
    stage = Stage(1, EmulatorOptions(seeded=0, limits=Limits(enforced=False)))
    stage.client(1).close(stage.keys)
    again = {"activityid": str(UUID(int=7)), "opportunityid": str(stage.keys[0]), "statecode": 1, "statuscode": 2}
    stage.embedded.emulator.organization.load_rows("opportunityclose", [again])
    assert stage.duplicates() == 1
    stage.embedded.close()


def test_the_same_seed_is_the_same_story() -> None:
    assert truth.play(truth.TWICE, 60, 4) == truth.play(truth.TWICE, 60, 4)
    assert truth.play(truth.KILLED, 60, 4) == truth.play(truth.KILLED, 60, 4)
