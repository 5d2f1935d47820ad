"""What people read of steps and of what is left out, word by word."""

from __future__ import annotations

import re
from dataclasses import replace
from uuid import UUID

import pytest

from connector.closing.bypass import NO_BYPASS, Bypass, bypass_of, read_bypass
from connector.closing.digest import digests, in_words, make_plan, step_data
from connector.closing.model import DraftPolicy, Intent, OpportunityState, Outcome, Step, StepKind
from connector.closing.reasons import default_of
from connector.closing.report import alike
from connector.closing.step_words import opportunity_words, phrase, quote_words, step_rows
from connector.errors import InputError
from tests.closing.small_organization import METADATA, OPPORTUNITY_ID, organization, quote_id
from tests.closing.test_plan import PROJECT, planned, seen

STEP = UUID(int=5)


def test_a_row_per_step_begins_where_the_record_was_left() -> None:
    small = organization((1, 2))
    plan = planned(small, Intent(OPPORTUNITY_ID, Outcome.LOST))
    assert step_rows(plan.steps, seen(small), METADATA, {quote_id(1): "5.00"}) == [
        ("activate quote", "QUO-1 Offer 1, 5.00", "Draft, In Progress", "Active, In Progress"),
        ("close quote", "QUO-1 Offer 1, 5.00", "Active, In Progress", "Closed, Lost"),
        ("close quote", "QUO-2 Offer 2", "Active, In Progress", "Closed, Lost"),
        ("close opportunity", "Fleet", "Open, In Progress", "Lost, Canceled"),
    ]
    assert step_rows(plan.steps[-1:], None, METADATA) == [("close opportunity", "Fleet", "", "Lost, Canceled")]


def test_a_step_for_all_quotes_and_one_that_deletes_have_rows_too() -> None:
    small = organization((1, 2), work_based=True)
    small.known = PROJECT
    intent = Intent(OPPORTUNITY_ID, Outcome.LOST, drafts=DraftPolicy.DELETE)
    assert step_rows(planned(small, intent).steps, seen(small), PROJECT) == [
        ("delete quote", "QUO-1 Offer 1", "Draft, In Progress", "deleted"),
        ("close all quotes", "QUO-2", "", "Closed, Lost"),
        ("close opportunity", "Fleet", "Open, In Progress", "Lost, Canceled"),
    ]
    bare = Step(StepKind.REOPEN_QUOTE, "quote", quote_id(1), "QUO-1", "", "Update")
    assert step_rows([bare], None, METADATA) == [("reopen quote", "QUO-1", "", "")]
    assert phrase(StepKind.CREATE_ORDER) == "make the order of quote"


def test_states_and_reasons_are_named_as_the_organization_does_and_once_where_they_are_alike() -> None:
    assert opportunity_words(1, 3, METADATA) == "Won"
    assert opportunity_words(2, 77, METADATA) == "Lost, 77"
    assert quote_words(3, 6, METADATA) == "Closed, Canceled"


def test_a_step_as_data_has_no_state_where_it_has_none() -> None:
    delete = Step(StepKind.DELETE_QUOTE, "quote", quote_id(1), "QUO-1", "", "Delete")
    assert not {"state", "status_reason", "activity", "activity_id", "competitor_id"} & set(step_data(delete))


def test_a_state_without_any_reason_is_told() -> None:
    with pytest.raises(InputError) as error:
        default_of("opportunity", METADATA.opportunity_statuses[:2], OpportunityState.WON)
    assert error.value.message == "The organization's metadata has no status reason for opportunity won."
    assert error.value.remedy == "Check that the application user may read the table's definition."


def test_what_is_left_out_is_read_and_told() -> None:
    assert read_bypass("", "", "") == NO_BYPASS
    assert not NO_BYPASS.needs_privilege
    assert NO_BYPASS.text == ""
    bypass = read_bypass(" Async, sync,sync", f"{STEP}, {STEP}", " close-connector ")
    assert bypass == Bypass(("sync", "async"), (STEP,), "close-connector")
    assert bypass.needs_privilege
    assert bypass.text == f"leaves out sync, async; leaves out the steps {STEP}; tag close-connector"
    assert not replace(NO_BYPASS, tag="x").needs_privilege


def test_as_many_steps_are_left_out_as_the_service_allows() -> None:
    steps = tuple(UUID(int=number) for number in range(1, 4))
    assert read_bypass("", ",".join(map(str, steps)), "x" * 100) == Bypass((), steps, "x" * 100)


@pytest.mark.parametrize(
    ("kinds", "steps", "tag", "sentence"),
    [
        ("sync,all", "", "", "all is none of sync, async, flows"),
        ("", "x", "", "'x' is not a list of step ids (GUIDs) with commas between them"),
        (
            "",
            ",".join(str(UUID(int=number)) for number in range(1, 5)),
            "",
            "4 steps are named; the service leaves out at most 3",
        ),
        ("", "", "x" * 101, "a tag has at most 100 plain (ASCII) characters on one line"),
        ("", "", "ä", "a tag has at most 100 plain (ASCII) characters on one line"),
        ("", "", "a\nb", "a tag has at most 100 plain (ASCII) characters on one line"),
    ],
)
def test_what_cannot_be_left_out_is_told_in_a_sentence(kinds: str, steps: str, tag: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        read_bypass(kinds, steps, tag)


def test_what_is_left_out_is_kept_with_a_job_and_read_again() -> None:
    bypass = Bypass(("sync", "flows"), (STEP,), "weekend")
    assert bypass.data() == {"kinds": "sync,flows", "steps": str(STEP), "tag": "weekend"}
    assert bypass_of({"bypass": bypass.data()}, NO_BYPASS) == bypass
    several = replace(bypass, steps=(STEP, UUID(int=2)))
    assert bypass_of({"bypass": several.data()}, NO_BYPASS) == several
    assert bypass_of({"bypass": {"tag": "weekend"}}, NO_BYPASS) == Bypass(tag="weekend")
    assert bypass_of({"bypass": {}}, bypass) == NO_BYPASS
    assert bypass_of({}, bypass) is bypass
    assert bypass_of({"bypass": None}, bypass) is bypass


def test_refusals_that_differ_in_ids_names_and_numbers_alone_are_alike() -> None:
    assert alike("Approval 4711 of 'Contoso' is missing.") == alike("Approval 5 of 'Fabrikam' is missing.")
    assert alike("Approval 4711 is missing.") != alike("Approval 4711 is late.")


def test_names_of_the_records_are_told_apart_from_words_that_hold_them() -> None:
    names = ["Roof", "Roof (phase 2)", "", "a+b"]
    assert (
        alike("Roof (phase 2): no approval, Roofing is late for Roof.", names)
        == "…: no approval, Roofing is late for …."
    )
    assert alike("a+b is late", names) == alike("'a+b' is late").replace("'…'", "…")
    assert alike("Roof is late") == "Roof is late"


def test_what_a_person_approves_of_a_plan_is_all_in_its_digests() -> None:
    step = Step(StepKind.CLOSE_OPPORTUNITY, "opportunity", OPPORTUNITY_ID, "Fleet", "v1", "LoseOpportunity", 2, 4)
    plan = make_plan(OPPORTUNITY_ID, [step])
    others = [
        make_plan(UUID(int=4), [step]),
        make_plan(OPPORTUNITY_ID, [replace(step, competitor_id=UUID(int=9))]),
        make_plan(OPPORTUNITY_ID, [replace(step, status=5)]),
        make_plan(OPPORTUNITY_ID, [replace(step, activity={"description": "x"})]),
        make_plan(OPPORTUNITY_ID, [replace(step, columns={"closeprobability": 5})]),
        make_plan(OPPORTUNITY_ID, [step], bypass="leaves out sync"),
        make_plan(OPPORTUNITY_ID, [step], as_user=UUID(int=9)),
    ]
    assert len({digest for each in (plan, *others) for digest in digests(each)}) == 2 * (1 + len(others))
    touched = make_plan(OPPORTUNITY_ID, [replace(step, version="v2")])
    assert (touched.digest != plan.digest, digests(touched)[1]) == (True, digests(plan)[1])
    unseen = replace(step, label="Other", activity={"actualend": "x"}, assumed=frozenset({"actualend"}))
    assert make_plan(OPPORTUNITY_ID, [unseen]).digest == plan.digest
    assert in_words(make_plan(OPPORTUNITY_ID, [step, replace(step, label="QUO-1")])) == " (Fleet, QUO-1)"
    assert in_words(make_plan(OPPORTUNITY_ID, ())) == " (nothing is left to do)"
