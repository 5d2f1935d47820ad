"""Flows as they are: the same request many times, in any order, over hours, with everything going wrong in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.emulator.identity.keys import Keys
from tests.service.flow_engine import CUT, LONGEST
from tests.service.flow_stage import Play, effects, played


def test_twelve_deliveries_over_hours_have_one_set_of_effects_and_one_answer(
    tmp_path: Path, emulator_keys: Keys
) -> None:
    engine, stage, opportunities = played(Play(actions=20, deliveries=12, troubles=15, seed=1), tmp_path, emulator_keys)
    assert effects(stage, opportunities) == {"once": 20}
    assert {len(answers) for answers in engine.answers.values()} == {12}
    for answers in engine.answers.values():
        assert len({answer.body for answer in answers}) == 1
        assert (answers[0].status, answers[0].json["result"], answers[0].json["changed"]) == (200, "closed", True)
    assert engine.slowest < LONGEST < CUT
    assert engine.cuts == 0
    stage.close()


@pytest.mark.parametrize("seed", [2, 3])
def test_many_actions_of_many_flows_each_take_effect_once(tmp_path: Path, emulator_keys: Keys, seed: int) -> None:
    engine, stage, opportunities = played(Play(60, deliveries=3, troubles=25, seed=seed), tmp_path, emulator_keys)
    assert effects(stage, opportunities) == {"once": 60}
    assert {answer.status for answers in engine.answers.values() for answer in answers} == {200}
    assert engine.slowest < LONGEST
    stage.close()
