"""Flows as they are: the same request many times, in any order, over hours, with everything going wrong in between.

`scripts/bench flows` plays 10,000 operations.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connector.emulator.identity.keys import Keys
from tests.service.flow_engine import CUT, LONGEST
from tests.service.flow_stage import Play, played

pytestmark = pytest.mark.no_cover  # hours of flows; the tests of each part of the endpoint cover its lines


@pytest.mark.parametrize("seed", [1, 3])
def test_twelve_deliveries_over_hours_have_one_set_of_effects_and_one_answer(
    tmp_path: Path, emulator_keys: Keys, seed: int
) -> None:
    found = played(Play(actions=6, deliveries=12, troubles=40, seed=seed), tmp_path, emulator_keys)
    assert found.effects == {"once": 6}
    assert [answers.total() for answers in found.engine.answers.values()] == [12] * 6
    for answers in found.engine.answers.values():
        ((status, body),) = answers
        assert (status, json.loads(body)["result"], json.loads(body)["changed"]) == (200, "closed", True)
    assert found.engine.slowest < LONGEST < CUT
    assert found.engine.cuts == 0
    found.close()


def test_many_actions_of_many_flows_each_take_effect_once(tmp_path: Path, emulator_keys: Keys) -> None:
    found = played(Play(36, deliveries=3, troubles=40, seed=5, keyless=True), tmp_path, emulator_keys)
    assert found.effects == {"once": 36}
    assert {status for answers in found.engine.answers.values() for status, _ in answers} == {200}
    assert found.engine.slowest < LONGEST
    assert len(found.witness.faults) >= 7, "every kind of fault was met"
    found.close()


def test_an_outage_of_two_hours_is_waited_for_with_polls_that_are_told_when_to_come_back(
    tmp_path: Path, emulator_keys: Keys
) -> None:
    found = played(Play(6, deliveries=3, troubles=10, seed=7, outage=7200.0), tmp_path, emulator_keys)
    assert found.effects == {"once": 6}
    assert {status for answers in found.engine.answers.values() for status, _ in answers} == {200}
    assert found.engine.slowest < LONGEST
    assert found.engine.requests < 18 * 60, "polls wait as long as the operation does"
    found.close()
