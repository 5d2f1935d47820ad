"""A reduced form of `scripts/bench truth` and `day`: effects counted on the server, on virtual time."""

from __future__ import annotations

import logging

import pytest

from connector.emulator.load.protection import Limits
from connector.emulator.organization.options import EmulatorOptions
from scripts.benchmarks import day, truth
from scripts.benchmarks.embedded_client import Stage


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="connector")


@pytest.mark.parametrize("plan", truth.names())
def test_everything_happens_once_and_is_told_as_it_is(plan: str) -> None:
    counted = truth.play(plan, 80, 3)
    assert (counted.duplicates, counted.missed, counted.wrongly_reported) == (0, 0, 0)
    assert counted.rows == 80


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


def test_hours_of_short_tokens_and_outages_leave_no_row_behind() -> None:
    found = day.play(1, 1)
    assert (found.failed, found.duplicates) == (0, 0)
    assert found.tokens > 3600 / day.TOKEN_LIFETIME
