"""A sample of planned rows is asked: who would refuse them, how long they take, and nothing is left of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from connector.clock import SystemClock
from connector.closing.close import preview
from connector.closing.model import Intent, Outcome, Plan
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.dataverse.diagnosis import Diagnosis
from connector.dataverse.reading import WebApi
from connector.dataverse.webapi import Endpoint
from connector.emulator.embedded import open_embedded
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.emulator.world.custom_logic import LogicContext
from connector.errors import Unanswered
from connector.handler import Request, Response
from connector.organization.safe_requests import RowAnswer, RowSample, asked_data
from tests.cli.desk import Desk
from tests.organization.asked import KEYS, OPPORTUNITY, Asked


def test_rows_are_asked_with_the_own_logic_and_nothing_changes() -> None:
    asked = Asked(EmulatorOptions(seeded=0))
    keys = [UUID(int=OPPORTUNITY.int + number) for number in range(4)]
    for key in keys:
        asked.has_opportunity(0, 1, key=key)

    def plugin(context: LogicContext) -> None:
        if context.message == "LoseOpportunity" and context.stage == "post":
            context.sleep(2)
            context.update("opportunity", context.record_id, {"description": "touched by own logic"})
            if context.record_id == str(keys[1]):
                context.abort("Ask your manager first.")

    asked.embedded.emulator.organization.world.logic.add(plugin)
    organization = DataverseOrganization(asked.handler, asked.base_url, clock=asked.clock)
    sample = RowSample(10)
    for key in keys:
        seen = preview(organization, Intent(key, Outcome.LOST))
        assert isinstance(seen.verdict, Plan)
        sample.add(seen.verdict, seen.snapshot)
    before = asked.everything()
    trouble = {number: Unanswered("It was lost.") for number in (1, 13)}  # of an empty set, and of the third row

    def losing_answers(request: Request) -> Response:
        response = asked.handler(request)
        sets.append(request)
        if len(sets) in trouble:
            raise trouble[len(sets)]
        return response

    sets: list[Request] = []
    user = Diagnosis(asked.handler, asked.base_url).acting_user()
    asking = sample.ask(WebApi(losing_answers, Endpoint(asked.base_url)), organization, asked.clock.monotonic, user)
    answers = list(asking)
    assert asked.everything() == before
    assert [answer.refused for answer in answers] == [False, True, None, False]
    assert "plugin" in answers[1].plug_in
    assert [answer.reason for answer in answers[1:3]] == ["Ask your manager first.", "It was lost."]
    assert not any(answer.changes for answer in answers)
    assert all(answer.seconds >= 2 for answer in answers)
    totals = asked_data(answers)
    assert (totals["rows"], totals["refused"], totals["not_known"]) == (4, 1, 1)
    assert "seconds" not in asked_data([answers[2]])


def test_of_a_row_that_is_not_known_our_cause_and_the_organizations_words_are_told() -> None:
    asked = Asked(EmulatorOptions(seeded=0))
    asked.has_opportunity(0, 1)

    def plugin(context: LogicContext) -> None:
        if context.message == "LoseOpportunity":
            context.crash()

    asked.embedded.emulator.organization.world.logic.add(plugin)
    organization = DataverseOrganization(asked.handler, asked.base_url, clock=asked.clock)
    seen, sample = preview(organization, Intent(OPPORTUNITY, Outcome.LOST)), RowSample(1)
    assert isinstance(seen.verdict, Plan)
    sample.add(seen.verdict, seen.snapshot)
    user = Diagnosis(asked.handler, asked.base_url).acting_user()
    service = WebApi(asked.handler, Endpoint(asked.base_url))
    (answer,) = sample.ask(service, organization, asked.clock.monotonic, user)
    assert answer.refused is None
    assert "a plug-in of this organization crashed" in answer.reason
    assert ". The organization said: The plug-in execution failed because" in answer.reason


def test_the_mean_of_some_rows_is_as_unsure_as_they_differ_for_equal_steps() -> None:
    equal = [RowAnswer(OPPORTUNITY, refused=False, seconds=seconds) for seconds in (1.0, 3.0)]
    assert asked_data(equal) == {"rows": 2, "refused": 0, "not_known": 0, "steps": 1, "seconds": 2.0, "error": 1.0}
    more_steps_take_longer = [replace(answer, steps=round(answer.seconds)) for answer in equal]
    assert asked_data(more_steps_take_longer)["error"] == 0
    assert asked_data(equal[:1])["error"] == 1.0, "of one row nothing is known about others"


def test_who_wrote_meanwhile_is_told_and_what_was_asked_is_not_blamed_for_it() -> None:
    asked = Asked(EmulatorOptions(seeded=0))
    keys = [UUID(int=OPPORTUNITY.int + number) for number in range(3)]
    for key in keys:
        asked.has_opportunity(1, key=key)
    organization = DataverseOrganization(asked.handler, asked.base_url, clock=asked.clock)
    user = Diagnosis(asked.handler, asked.base_url).acting_user()
    other = UUID(asked.store.rows("SELECT systemuserid FROM systemuser WHERE applicationid IS NULL")[0][0])
    writers = {str(keys[1]): other, str(keys[2]): user}
    sample = RowSample(3)
    for key in keys:
        seen = preview(organization, Intent(key, Outcome.WON))
        assert isinstance(seen.verdict, Plan)
        sample.add(seen.verdict, seen.snapshot)

    def beside(request: Request) -> Response:
        """Answer, and let somebody write to the same row."""
        response = asked.handler(request)
        for key, writer in writers.items():
            if key.encode() in request.body:
                asked.store.update("opportunity", key, {"description": "meanwhile", "modifiedby": str(writer)})
        return response

    answers = list(sample.ask(WebApi(beside, Endpoint(asked.base_url)), organization, asked.clock.monotonic, user))
    assert [answer.refused for answer in answers] == [False] * 3
    assert answers[0].changes == ()
    ((by_other,), (by_this,)) = (answer.changes for answer in answers[1:])
    assert (by_other.by_others, by_this.by_others) == (True, False)
    assert f"user {other} wrote it last, not this one" in by_other.text
    assert "this user wrote it last: what was asked here, or another program" in by_this.text
    assert answers[1].data()["changed"] is True


def test_a_sample_is_of_the_size_that_was_asked_for_and_of_all_rows() -> None:
    asked = Asked(EmulatorOptions(seeded=0))
    asked.has_opportunity(1)
    organization = DataverseOrganization(asked.handler, asked.base_url, clock=asked.clock)
    seen = preview(organization, Intent(OPPORTUNITY, Outcome.WON))
    assert isinstance(seen.verdict, Plan)
    sample, none = RowSample(5), RowSample(0)
    for number in range(200):
        plan = Plan(UUID(int=number), seen.verdict.steps, "")
        sample.add(plan, seen.snapshot)
        none.add(plan, seen.snapshot)
    places = sorted(plan.opportunity_id.int for plan in sample.plans)
    assert (len(places), none.plans) == (5, [])
    assert places[-1] > 20


def test_a_plan_asks_for_some_of_its_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    file = tmp_path / "organization.db"
    open_embedded(file, SystemClock(), EmulatorOptions(seeded=12), KEYS).close()
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    desk = Desk(file, capsys, monkeypatch)
    before = desk.rows()
    plan = ("bulk", "plan", "--where", "statecode eq 0", "--lost", "--out", "all.plan.jsonl", "--ask", "3")
    said = desk.run(*plan)
    assert (said.code, "Agree with --yes" in said.err) == (2, True)
    said = desk.run(*plan, "--yes", "--json")
    assert [answer["refused"] for answer in said.data["answers"]] == [False] * 3
    assert (said.data["asked"]["rows"], said.data["asked"]["refused"]) == (3, 0)
    assert {"steps", "seconds", "error"} <= set(said.data["asked"])
    assert "Of 3 rows that were asked 0 would be refused" in desk.run(*plan, "--yes").out
    assert desk.rows() == before
