"""What callers read word by word: plans, previews, reports, refusals and intents as plain data."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from connector.closing.close import Preview, fulfil, preview
from connector.closing.digest import last_change, step_data
from connector.closing.model import (
    DraftPolicy,
    Intent,
    OpportunityState,
    Outcome,
    Plan,
    QuoteState,
    Refusal,
    ReopenIntent,
    Report,
    ReportStatus,
    Step,
    StepKind,
    StepResult,
    StepStatus,
)
from connector.closing.organization import Query
from connector.closing.plan import check_intent, plan_close
from connector.closing.reopening import plan_reopen
from connector.closing.report import error_data, preview_data, report_data, result_data
from connector.closing.request import parse_request, request_values
from connector.errors import Broken, InputError, NotConverged, NotSent, SignInAgain
from tests.closing.small_organization import (
    METADATA,
    OPPORTUNITY_ID,
    PROJECT_MESSAGES,
    SmallOrganization,
    organization,
    quote_id,
)
from tests.closing.test_plan import PROJECT, closed, planned, seen

OPPORTUNITY = "00000000-0000-0000-0000-000000000f00"
OFFER = "(QUO-1 Offer 1, active)"
QUOTES = [f"00000000-0000-0000-0000-00000000a00{number}" for number in range(4)]
CLOSE_LOST = Step(
    StepKind.CLOSE_OPPORTUNITY,
    "opportunity",
    OPPORTUNITY_ID,
    "Fleet",
    'W/"5"',
    "LoseOpportunity",
    OpportunityState.LOST,
    4,
    UUID("0d3a9580-b6e3-8311-a3c5-575c0a2d65ff"),
    {"subject": "Opportunity closed as lost"},
)


NO_REVENUE = "No actual revenue is written. (Microsoft's own form writes 0: DATAVERSE_LOST_REVENUE=zero does so too.)"


def projects(statuses: tuple[int, ...]) -> SmallOrganization:
    small = organization(statuses, work_based=True)
    small.known = PROJECT
    return small


def test_a_plan_says_every_step_in_full() -> None:
    intent = Intent(
        OPPORTUNITY_ID,
        Outcome.WON,
        key="k",
        closed_on=date(2026, 1, 31),
        actual_revenue=Decimal("12.50"),
        competitor_id=UUID(int=9),
        winning_quote_id=quote_id(1),
        opportunity_columns={"new_x": 5},
        quote_columns={"new_y": True},
    )
    closed_under = {"actualend": "2026-01-31T12:00:00Z", "new_y": True}
    steps = [step_data(step) for step in planned(organization((1, 2)), intent).steps]
    assert json.loads(json.dumps(steps)) == [
        {
            "kind": "activate_quote",
            "record": QUOTES[1],
            "table": "quote",
            "message": "Update",
            "state": 1,
            "status_reason": 2,
            "label": "QUO-1",
        },
        {
            "kind": "win_quote",
            "record": QUOTES[1],
            "table": "quote",
            "message": "WinQuote",
            "state": 2,
            "status_reason": 4,
            "activity": {"subject": "Quote won", **closed_under},
            "label": "QUO-1",
            "activity_id": "3d2743ab-3cc5-8311-a3c5-5652a7af65a5",
        },
        {
            "kind": "close_quote",
            "record": QUOTES[2],
            "table": "quote",
            "message": "CloseQuote",
            "state": 3,
            "status_reason": 6,
            "activity": {"subject": "Quote closed, opportunity won", **closed_under},
            "label": "QUO-2",
            "activity_id": "3d2743ab-3cc5-8311-a3c5-559954e38bec",
        },
        {
            "kind": "close_opportunity",
            "record": OPPORTUNITY,
            "table": "opportunity",
            "message": "WinOpportunity",
            "state": 1,
            "status_reason": 3,
            "activity": {
                "subject": "Opportunity closed as won",
                "actualend": "2026-01-31T12:00:00Z",
                "actualrevenue": "12.50",
                "new_x": 5,
            },
            "competitor_id": "00000000-0000-0000-0000-000000000009",
            "label": "Fleet",
            "activity_id": "0d3a9580-b6e3-8311-a3c5-575c0a2d65ff",
        },
    ]


def test_the_last_change_of_the_records_is_told() -> None:
    snapshot = seen(organization((2,)))
    assert last_change(snapshot) == ""
    user, early = UUID(int=9), datetime(2026, 1, 31, 9, 5, 7, tzinfo=UTC)
    of_quote = replace(snapshot.quotes[0], modified_on=early + timedelta(hours=1), modified_by=user)
    opportunity = replace(snapshot.opportunity, modified_on=early)
    assert last_change(replace(snapshot, opportunity=opportunity)) == (
        " Changed last: the opportunity, at 2026-01-31 09:05:07 UTC."
    )
    assert last_change(replace(snapshot, opportunity=opportunity, quotes=(of_quote,))) == (
        f" Changed last: quote QUO-1, at 2026-01-31 10:05:07 UTC by user {user}."
    )


def test_a_step_tells_the_columns_that_it_sets() -> None:
    back = Step(StepKind.REOPEN_OPPORTUNITY, "opportunity", OPPORTUNITY_ID, "Fleet", "", "Update", 0, 1)
    assert "columns" not in step_data(back)
    assert step_data(replace(back, columns={"actualvalue": Decimal("7.50")}))["columns"] == {"actualvalue": "7.50"}


def test_project_quotes_are_closed_by_one_step_after_the_drafts_are_deleted() -> None:
    intent = Intent(OPPORTUNITY_ID, Outcome.LOST, key="k", drafts=DraftPolicy.DELETE)
    assert planned(projects((1, 2, 2, 6)), intent).steps == (
        Step(StepKind.DELETE_QUOTE, "quote", quote_id(1), "QUO-1", 'W/"7"', "Delete"),
        Step(
            StepKind.CLOSE_ALL_QUOTES,
            "opportunity",
            OPPORTUNITY_ID,
            "QUO-2, QUO-3",
            'W/"5"',
            "msdyn_CloseAllOpportunityQuotes",
            QuoteState.CLOSED,
            5,
        ),
        CLOSE_LOST,
    )


@pytest.mark.parametrize("statuses", [(), (4, 5, 6), (1,)])
def test_no_step_for_all_quotes_is_there_when_none_is_left_for_it(statuses: tuple[int, ...]) -> None:
    intent = Intent(OPPORTUNITY_ID, Outcome.LOST, key="k", drafts=DraftPolicy.DELETE)
    kinds = [step.kind for step in planned(projects(statuses), intent).steps]
    assert StepKind.CLOSE_ALL_QUOTES not in kinds


def test_where_a_project_quote_wins_the_service_closes_its_siblings_and_we_close_the_others() -> None:
    small = projects((2, 2, 1))
    others = organization((2, 2, 2)).rows.quotes
    small.rows.quotes[quote_id(2)] = others[quote_id(2)]
    steps = planned(small, Intent(OPPORTUNITY_ID, Outcome.WON, key="k", winning_quote_id=quote_id(1))).steps
    assert steps[0] == Step(
        StepKind.CLOSE_PROJECT_QUOTE, "quote", quote_id(1), "QUO-1", 'W/"7"', "msdyn_CloseQuoteAsWon", QuoteState.WON, 4
    )
    assert [(step.message, step.record_id) for step in steps[1:]] == [
        ("CloseQuote", quote_id(2)),
        ("WinOpportunity", OPPORTUNITY_ID),
    ]


@pytest.mark.parametrize(
    ("winner_is_work_based", "messages", "first"),
    [
        (True, PROJECT_MESSAGES, ["msdyn_CloseQuoteAsWon"]),
        (True, frozenset[str](), ["WinQuote", "CloseQuote"]),
        (False, PROJECT_MESSAGES, ["WinQuote", "msdyn_CloseAllOpportunityQuotes"]),
        (False, frozenset[str](), ["WinQuote", "CloseQuote"]),
    ],
)
def test_the_message_that_wins_and_those_for_the_rest_go_by_the_winner_and_the_organization(
    winner_is_work_based: bool, messages: frozenset[str], first: list[str]
) -> None:
    small = projects((2, 2))
    small.known = replace(METADATA, messages=messages)
    if not winner_is_work_based:
        small.rows.quotes[quote_id(1)] = organization((2,)).rows.quotes[quote_id(1)]
    steps = planned(small, Intent(OPPORTUNITY_ID, Outcome.WON, winning_quote_id=quote_id(1))).steps
    assert [step.message for step in steps] == [*first, "WinOpportunity"]


@pytest.mark.parametrize(
    ("work_based", "reason", "message"),
    [
        (True, None, "msdyn_CloseQuoteAsLost"),
        (True, 5, "msdyn_CloseQuoteAsLost"),
        (True, 6, "CloseQuote"),
        (False, None, "CloseQuote"),
    ],
)
def test_the_message_for_one_project_quote_is_used_where_it_becomes_lost(
    work_based: bool, reason: int | None, message: str
) -> None:
    small = organization((2,), work_based=work_based)
    small.known = replace(METADATA, messages=frozenset({"msdyn_CloseQuoteAsLost"}))
    step = planned(small, Intent(OPPORTUNITY_ID, Outcome.LOST, quote_status=reason)).steps[0]
    assert (step.message, step.status) == (message, reason or 5)


def test_the_way_back_puts_each_record_to_its_first_state_by_its_version() -> None:
    small = organization((1,))
    small.perform([planned(small, Intent(OPPORTUNITY_ID, Outcome.LOST, key="job"))])
    plan = plan_reopen(seen(small), ReopenIntent(OPPORTUNITY_ID), METADATA)
    assert isinstance(plan, Plan)
    versions = small.rows.opportunity.version, small.rows.quotes[quote_id(1)].version
    assert plan.steps == (
        Step(
            StepKind.REOPEN_OPPORTUNITY,
            "opportunity",
            OPPORTUNITY_ID,
            "Fleet",
            versions[0],
            "Update",
            OpportunityState.OPEN,
            1,
            columns={"actualvalue": None, "actualclosedate": None},
        ),
        Step(StepKind.REOPEN_QUOTE, "quote", quote_id(1), "QUO-1", versions[1], "Update", QuoteState.DRAFT, 1),
    )


def test_a_way_back_that_is_not_ours_is_refused_in_a_sentence() -> None:
    verdict = plan_reopen(seen(closed(Outcome.LOST)), ReopenIntent(OPPORTUNITY_ID, closed_under="x"), METADATA)
    assert verdict == Refusal(
        OPPORTUNITY_ID,
        "closed_by_another",
        "The opportunity is lost, but not by what is to be undone. Reopen it by itself if that is wanted.",
    )


DRAFTS = (
    "Draft quotes are left alone (--drafts leave), and an opportunity with open quotes cannot be closed: QUO-1, QUO-2. "
    "Close them first, or choose another value of --drafts."
)


def nameless(small: SmallOrganization) -> SmallOrganization:
    for key, quote in small.rows.quotes.items():
        small.rows.quotes[key] = replace(quote, number="", name="")
    return small


@pytest.mark.parametrize(
    ("small", "intent", "code", "reason"),
    [
        (
            closed(Outcome.LOST),
            Intent(OPPORTUNITY_ID, Outcome.WON),
            "closed_with_other_outcome",
            "The opportunity is already closed as lost and is not turned into won. Reopen it first if that is wanted.",
        ),
        (
            organization((2,)),
            Intent(OPPORTUNITY_ID, Outcome.LOST, winning_quote_id=quote_id(1)),
            "winning_quote_needs_won",
            "A winning quote was named for a lost opportunity. Leave it out, or close the opportunity as won.",
        ),
        (
            organization((2,)),
            Intent(OPPORTUNITY_ID, Outcome.WON, winning_quote_id=quote_id(3)),
            "winning_quote_unknown",
            f"The winning quote {QUOTES[3]} is not a quote of this opportunity. It has: {QUOTES[1]} {OFFER}.",
        ),
        (
            organization((5,)),
            Intent(OPPORTUNITY_ID, Outcome.WON, winning_quote_id=quote_id(1)),
            "winning_quote_closed",
            "The winning quote QUO-1 is closed and can no longer be won. Revise it, or name another.",
        ),
        (
            nameless(organization((5,))),
            Intent(OPPORTUNITY_ID, Outcome.WON, winning_quote_id=quote_id(1)),
            "winning_quote_closed",
            f"The winning quote {quote_id(1)} is closed and can no longer be won. Revise it, or name another.",
        ),
        (organization((1, 1)), Intent(OPPORTUNITY_ID, Outcome.WON, drafts=DraftPolicy.LEAVE), "drafts_stand", DRAFTS),
    ],
)
def test_a_refusal_says_what_stands_in_the_way(
    small: SmallOrganization, intent: Intent, code: str, reason: str
) -> None:
    assert plan_close(seen(small), intent, METADATA) == Refusal(OPPORTUNITY_ID, code, reason)


def test_a_preview_is_a_report_of_what_would_be() -> None:
    intent = Intent(OPPORTUNITY_ID, Outcome.LOST, key="k")
    plan = planned(organization(), intent)
    assert preview_data(preview(organization(), intent)) == {
        "opportunity_id": OPPORTUNITY,
        "status": "planned",
        "digest": plan.digest,
        "notes": [NO_REVENUE],
        "steps": [result_data(StepResult(CLOSE_LOST, StepStatus.PLANNED))],
    }
    done = preview_data(preview(closed(Outcome.LOST), intent))
    assert (done["status"], done["steps"]) == ("already_closed", [])
    open_already = preview(organization(), ReopenIntent(OPPORTUNITY_ID))
    assert preview_data(open_already, ReportStatus.ALREADY_OPEN)["status"] == "already_open"
    refusal = preview(organization((1, 1)), Intent(OPPORTUNITY_ID, Outcome.WON, drafts=DraftPolicy.LEAVE))
    assert preview_data(Preview(refusal.snapshot, refusal.verdict)) == {
        "opportunity_id": OPPORTUNITY,
        "status": "refused",
        "steps": [],
        "reason": DRAFTS,
        "reason_code": "drafts_stand",
    }


def test_a_report_says_each_step_and_what_came_of_it() -> None:
    step = {
        "kind": "close_opportunity",
        "record": OPPORTUNITY,
        "table": "opportunity",
        "message": "LoseOpportunity",
        "state": 2,
        "status_reason": 4,
        "activity": {"subject": "Opportunity closed as lost"},
        "label": "Fleet",
        "activity_id": "0d3a9580-b6e3-8311-a3c5-575c0a2d65ff",
    }
    small = organization()
    report = fulfil(small, Intent(OPPORTUNITY_ID, Outcome.LOST, key="k"), pause=small.pause)
    assert report_data(report) == {
        "status": "closed",
        "opportunity_id": OPPORTUNITY,
        "digest": report.digest,
        "steps": [step | {"result": "done"}],
        "partial": False,
        "warnings": [],
        "rounds": 2,
        "notes": [NO_REVENUE],
        "before": {"state": 0, "status": 1, "actualvalue": None, "actualclosedate": None, "closeprobability": None},
    }
    failed = StepResult(CLOSE_LOST, StepStatus.FAILED, NotSent("No connection."), "r-1", "Later.")
    del step["activity_id"]  # there is none: the write did not happen
    assert result_data(failed) == step | {
        "result": "failed",
        "request_id": "r-1",
        "note": "Later.",
        "error": {"kind": "NotSent", "message": "No connection.", "effect": "none"},
    }
    refused = Report(OPPORTUNITY_ID, ReportStatus.REFUSED, (), "d", reason="No.", reason_code="no", partial=True)
    assert report_data(refused) == {
        "status": "refused",
        "opportunity_id": OPPORTUNITY,
        "digest": "d",
        "steps": [],
        "partial": True,
        "warnings": [],
        "rounds": refused.rounds,
        "reason": "No.",
        "reason_code": "no",
    }


def test_an_error_says_the_services_own_words_also_from_within_one_that_gave_up() -> None:
    inner = Broken("The service failed.", status=503, code="0x80040216", request_id="r-2")
    outer = NotConverged("It did not end.", last=NotConverged("Nor did this.", last=inner))
    assert error_data(outer) == {
        "kind": "NotConverged",
        "message": "It did not end.",
        "effect": outer.effect.value,
        "code": "0x80040216",
        "request_id": "r-2",
        "http_status": 503,
    }
    assert "code" not in error_data(NotConverged("It did not end."))
    again = SignInAgain("Sign in again.", claims="{}")
    assert error_data(again)["claims"] == "{}"


def test_a_missing_opportunity_is_told_by_its_id_with_what_to_check() -> None:
    small = organization()
    report = fulfil(small, Intent(UUID(int=77), Outcome.WON), pause=small.pause)
    assert (report.status, report.rounds, report.steps) == (ReportStatus.FAILED, 1, ())
    assert report.error is not None
    assert error_data(report.error) == {
        "kind": "NotFound",
        "message": f"There is no opportunity {UUID(int=77)} that the application user can see.",
        "remedy": "Check the id, and that the application user may read the opportunity.",
        "effect": "none",
        "http_status": 404,
    }


def test_an_intent_as_columns_of_a_file_is_read_back_as_it_was() -> None:
    intent = Intent(
        OPPORTUNITY_ID,
        Outcome.WON,
        "k",
        "Won by Referral",
        6,
        date(2026, 1, 31),
        Decimal("12.50"),
        "S",
        "D",
        UUID(int=9),
        UUID(int=10),
        DraftPolicy.DELETE,
        {"new_a": 1, "new_b": True, "new_c": Decimal("2.5"), "new_d": "t"},
        {"new_e": 1.5},
    )
    values = request_values(intent)
    assert values == {
        "opportunityid": OPPORTUNITY,
        "outcome": "won",
        "status": "Won by Referral",
        "closed_on": "2026-01-31",
        "actual_revenue": Decimal("12.50"),
        "description": "D",
        "subject": "S",
        "competitor": str(UUID(int=9)),
        "winning_quote": str(UUID(int=10)),
        "quote_status": 6,
        "drafts": "delete",
        "opportunityclose.new_a:int": 1,
        "opportunityclose.new_b:bool": True,
        "opportunityclose.new_c:decimal": Decimal("2.5"),
        "opportunityclose.new_d": "t",
        "quoteclose.new_e:decimal": 1.5,
    }
    assert parse_request(values, "k") == intent
    bare = Intent(OPPORTUNITY_ID, Outcome.LOST)
    assert request_values(bare) == {"opportunityid": OPPORTUNITY, "outcome": "lost", "drafts": "activate"}


def test_a_query_as_data_has_what_was_given() -> None:
    assert Query().data() == {}
    assert Query("name eq 'x'", 0, "Stale").data() == {"where": "name eq 'x'", "older_than": 0, "view": "Stale"}


def test_reasons_are_checked_without_a_plan() -> None:
    check_intent(Intent(OPPORTUNITY_ID, Outcome.WON, status=3, quote_status=6), METADATA)
    for wrong in (Intent(OPPORTUNITY_ID, Outcome.WON, status=4), Intent(OPPORTUNITY_ID, Outcome.WON, quote_status=2)):
        with pytest.raises(InputError):
            check_intent(wrong, METADATA)


def test_what_a_reason_may_be_is_told_where_it_cannot_be_what_was_named() -> None:
    twice = replace(METADATA.quote_statuses[0], value=99, state=3, labels=("Lost",))
    metadata = replace(METADATA, quote_statuses=(*METADATA.quote_statuses, twice))
    with pytest.raises(InputError) as error:
        check_intent(Intent(OPPORTUNITY_ID, Outcome.LOST, quote_status="lost"), metadata)
    assert error.value.message == "The label 'lost' is ambiguous: the quote has 5 Lost, 99 Lost."
    assert error.value.remedy.startswith("Give the number. Valid for quote closed: 5 Lost, ")
    bare = replace(METADATA, opportunity_statuses=METADATA.opportunity_statuses[:2])
    with pytest.raises(InputError) as error:
        check_intent(Intent(OPPORTUNITY_ID, Outcome.LOST, status=77), bare)
    assert error.value.message == "The opportunity has no status reason 77."
    assert error.value.remedy == "Valid for opportunity lost: none."


def test_a_reopen_may_be_bound_to_a_plan_and_its_preview_reads_the_activities() -> None:
    small = organization((1,))
    small.perform([planned(small, Intent(OPPORTUNITY_ID, Outcome.LOST, key="job"))])
    intent = ReopenIntent(OPPORTUNITY_ID)
    plan = preview(small, intent).verdict
    assert isinstance(plan, Plan)
    assert [step.kind for step in plan.steps] == [StepKind.REOPEN_OPPORTUNITY, StepKind.REOPEN_QUOTE]
    refused = fulfil(small, intent, pause=small.pause, if_plan="another")
    assert refused.reason_code == "plan_changed"
    assert fulfil(small, intent, pause=small.pause, if_plan=plan.digest).status is ReportStatus.REOPENED


def test_an_id_or_an_outcome_in_text_is_told_at_once() -> None:
    with pytest.raises(InputError) as error:
        Intent(OPPORTUNITY, Outcome.WON)  # type: ignore[arg-type]
    assert error.value.message == f"opportunity_id is {OPPORTUNITY!r}, which is no UUID."
    assert error.value.remedy == "Give uuid.UUID('...')."
    with pytest.raises(InputError) as error:
        Intent(OPPORTUNITY_ID, "won")  # type: ignore[arg-type]
    assert (error.value.message, error.value.remedy) == ("outcome is 'won'.", "Give Outcome.WON or Outcome.LOST.")
