"""What a look tells of a step that was sent, and what was done otherwise than asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest

from connector.closing.goal import goal_of
from connector.closing.identity import activity_ids
from connector.closing.model import (
    CloseActivity,
    Intent,
    OpportunityState,
    Outcome,
    QuoteOrder,
    QuoteState,
    Snapshot,
    Step,
    StepKind,
    StepResult,
    StepStatus,
)
from connector.closing.verify import (
    closing_warnings,
    left_a_mark,
    left_closed,
    rolled_back,
    shows,
    standing,
    status_warnings,
    unseen_quote,
)
from connector.errors import StateConflict
from tests.closing.small_organization import METADATA, OPPORTUNITY_ID, organization, quote, quote_id
from tests.closing.test_plan import seen

DRAFT, ACTIVE, WON, LOST, CANCELED = 1, 2, 4, 5, 6
EURO = UUID(int=5)


def step(kind: StepKind, number: int = 1, state: int | None = None, status: int | None = None) -> Step:
    return Step(kind, "quote", quote_id(number), f"QUO-{number}", "", "Any", state, status)


def closed(status: int = 3, state: OpportunityState = OpportunityState.WON, quotes: tuple[int, ...] = ()) -> Snapshot:
    snapshot = seen(organization(quotes))
    return replace(snapshot, opportunity=replace(snapshot.opportunity, state=state, status=status))


@pytest.mark.parametrize(
    ("kind", "state", "statuses", "shown"),
    [
        (StepKind.CLOSE_ALL_QUOTES, None, (WON, LOST), True),
        (StepKind.CLOSE_ALL_QUOTES, None, (), True),
        (StepKind.CLOSE_ALL_QUOTES, None, (LOST, DRAFT), False),
        (StepKind.CLOSE_ALL_QUOTES, None, (ACTIVE, LOST), False),
        (StepKind.DELETE_QUOTE, None, (), True),
        (StepKind.DELETE_QUOTE, None, (DRAFT,), False),
        (StepKind.ACTIVATE_QUOTE, QuoteState.ACTIVE, (DRAFT,), False),
        (StepKind.ACTIVATE_QUOTE, QuoteState.ACTIVE, (ACTIVE,), True),
        (StepKind.ACTIVATE_QUOTE, QuoteState.ACTIVE, (LOST,), True),
        (StepKind.ACTIVATE_QUOTE, QuoteState.ACTIVE, (), False),
        (StepKind.CLOSE_QUOTE, QuoteState.CLOSED, (LOST,), True),
        (StepKind.CLOSE_QUOTE, QuoteState.CLOSED, (WON,), False),
        (StepKind.CLOSE_QUOTE, QuoteState.CLOSED, (), False),
    ],
)
def test_a_step_is_seen_in_what_it_leaves(
    kind: StepKind, state: QuoteState | None, statuses: tuple[int, ...], shown: bool
) -> None:
    assert shows(step(kind, state=state), seen(organization(statuses))) is shown


def test_the_step_of_the_opportunity_is_seen_in_its_state() -> None:
    close = Step(
        StepKind.CLOSE_OPPORTUNITY,
        "opportunity",
        OPPORTUNITY_ID,
        "Fleet",
        "",
        "WinOpportunity",
        OpportunityState.WON,
        3,
    )
    assert shows(close, closed())
    assert not shows(close, closed(4, OpportunityState.LOST))
    assert not shows(close, seen(organization()))


@pytest.mark.parametrize(
    ("kind", "status", "before", "after", "marked"),
    [
        (StepKind.CLOSE_QUOTE, StepStatus.DONE, (ACTIVE,), (LOST,), True),
        (StepKind.CLOSE_QUOTE, StepStatus.DONE, (ACTIVE,), (ACTIVE,), False),
        (StepKind.CLOSE_QUOTE, StepStatus.FAILED, (ACTIVE,), (DRAFT,), True),
        (StepKind.CLOSE_QUOTE, StepStatus.FAILED, (DRAFT,), (DRAFT,), False),
        (StepKind.CLOSE_QUOTE, StepStatus.FAILED, (ACTIVE,), (LOST,), False),
        (StepKind.CLOSE_QUOTE, StepStatus.UNKNOWN, (ACTIVE,), (LOST,), False),
        (StepKind.CLOSE_ALL_QUOTES, StepStatus.DONE, (ACTIVE, DRAFT), (LOST, DRAFT), True),
        (StepKind.CLOSE_ALL_QUOTES, StepStatus.DONE, (ACTIVE, DRAFT), (ACTIVE, DRAFT), False),
    ],
)
def test_an_attempt_leaves_a_mark_when_its_record_is_otherwise_than_before(
    kind: StepKind, status: StepStatus, before: tuple[int, ...], after: tuple[int, ...], marked: bool
) -> None:
    result = StepResult(step(kind), status)
    assert left_a_mark(result, seen(organization(before)), seen(organization(after))) is marked


def test_a_failed_step_of_the_opportunity_leaves_none() -> None:
    failed = StepResult(
        Step(StepKind.CLOSE_OPPORTUNITY, "opportunity", OPPORTUNITY_ID, "Fleet", "", "Any"), StepStatus.FAILED
    )
    assert not left_a_mark(failed, closed(), seen(organization()))


def test_what_stands_is_told_by_number_by_name_or_by_id() -> None:
    quotes = (quote(1, DRAFT), replace(quote(2, LOST), number=""), replace(quote(3, WON), number="", name=""))
    assert standing(replace(closed(), quotes=quotes)) == (
        f"the opportunity is won, quote QUO-1 is draft, quote Offer 2 is closed, quote {quote_id(3)} is won."
    )


def test_revisions_of_one_number_are_told_apart() -> None:
    quotes = (quote(1, LOST), replace(quote(2, DRAFT), number="QUO-1", revision=1), quote(3, LOST))
    assert standing(replace(closed(), quotes=quotes)) == (
        "the opportunity is won, quote QUO-1 (revision 0) is closed, quote QUO-1 (revision 1) is draft, "
        "quote QUO-3 is closed."
    )


def test_another_status_reason_than_was_given_is_told() -> None:
    after = seen(organization((CANCELED, LOST, ACTIVE)))
    results = [
        StepResult(step(StepKind.CLOSE_QUOTE, 1, 3, LOST), StepStatus.DONE),
        StepResult(step(StepKind.CLOSE_QUOTE, 2, 3, LOST), StepStatus.DONE),
        StepResult(step(StepKind.ACTIVATE_QUOTE, 3, 1, 3), StepStatus.DONE),
        StepResult(step(StepKind.CLOSE_QUOTE, 3, 3, LOST), StepStatus.NOT_RUN),
        StepResult(step(StepKind.CLOSE_QUOTE, 9, 3, LOST), StepStatus.DONE),
        StepResult(
            Step(StepKind.CLOSE_OPPORTUNITY, "opportunity", OPPORTUNITY_ID, "Fleet", "", "Any", None, 3),
            StepStatus.DONE,
        ),
    ]
    assert list(status_warnings(results, after, METADATA)) == [
        "The quote QUO-1 has the status reason 6 Canceled, not 5 Lost as was planned.",
        "The opportunity Fleet has the status reason 1 In Progress, not 3 Won as was planned.",
    ]


def test_a_winning_quote_that_the_closed_opportunity_does_not_have_is_told() -> None:
    intent = Intent(OPPORTUNITY_ID, Outcome.WON, winning_quote_id="QUO-99")
    told = list(closing_warnings(intent, closed(3, quotes=(LOST,)), METADATA))
    assert told == ["The winning quote QUO-99 is not a quote of this opportunity."]


def test_what_an_intent_asks_for_by_name_and_did_not_get_is_told() -> None:
    intent = Intent(
        OPPORTUNITY_ID,
        Outcome.WON,
        status="Won by Referral",
        closed_on=date(2026, 1, 31),
        actual_revenue=Decimal(12),
        winning_quote_id=quote_id(1),
    )
    after = closed(3, quotes=(LOST, WON, DRAFT, ACTIVE))
    assert list(closing_warnings(intent, after, METADATA)) == [
        "The opportunity has the status reason 3 Won, not 100000001 Won by Referral as was asked.",
        *(
            f"The {what} that was asked ({value}) cannot be read back: it is empty, or secured from this user."
            for what, value in (("close date", "2026-01-31"), ("actual revenue", "12"))
        ),
        "The winning quote QUO-1 is closed, not won.",
        "Quote QUO-3 of the closed opportunity is draft; it was left alone.",
        "Quote QUO-4 of the closed opportunity is active; it was left alone.",
    ]
    secured = frozenset({"opportunity.actualclosedate", "opportunity.actualvalue"})
    assert len(list(closing_warnings(intent, after, replace(METADATA, unreadable=secured)))) == 4


@pytest.mark.parametrize("day", [date(2026, 7, 1), date(2020, 2, 2)])
def test_another_day_than_the_one_that_was_assumed_is_told(day: date) -> None:
    close = Step(StepKind.CLOSE_OPPORTUNITY, "opportunity", OPPORTUNITY_ID, "Fleet", "", "Any", None, 3)
    sent = replace(close, activity={"actualend": "2026-07-01T12:00:00Z"}, assumed=frozenset({"actualend"}))
    after = closed(3)
    after = replace(after, opportunity=replace(after.opportunity, actual_close_date=day))
    warnings = goal_of(Intent(OPPORTUNITY_ID, Outcome.WON)).warnings
    otherwise = "The opportunity's close date is 2020-02-02, not 2026-07-01 as was asked."
    told = () if day.year == 2026 else (otherwise,)
    assert warnings([StepResult(sent, StepStatus.DONE)], after, METADATA) == told
    assert warnings([StepResult(sent, StepStatus.NOT_RUN)], after, METADATA) == ()


def test_nothing_is_told_where_all_is_as_asked() -> None:
    intent = Intent(
        OPPORTUNITY_ID,
        Outcome.WON,
        status=3,
        closed_on=date(2026, 1, 31),
        actual_revenue=Decimal(12),
        winning_quote_id=quote_id(1),
    )
    after = closed(3, quotes=(WON, LOST))
    opportunity = replace(after.opportunity, actual_close_date=date(2026, 1, 31), actual_value=Decimal("12.00"))
    assert list(closing_warnings(intent, replace(after, opportunity=opportunity), METADATA)) == []
    bare = Intent(OPPORTUNITY_ID, Outcome.WON)
    assert list(closing_warnings(bare, after, METADATA)) == []


@pytest.mark.parametrize(
    ("decimals", "read", "told"),
    [({None: 2}, "10", True), ({None: 2}, "10.4", False), ({EURO: 2}, "10", True), ({EURO: 0}, "10", False),
     ({UUID(int=9): 2}, "10", False), ({}, "10", False), ({}, "10.5", True)],
)  # fmt: skip
def test_an_amount_is_rounded_to_the_decimals_of_its_column_or_currency_and_else_changed(
    decimals: dict[UUID | None, int], read: str, told: bool
) -> None:
    after = closed()
    opportunity = replace(after.opportunity, actual_value=Decimal(read), currency_id=EURO)
    intent = Intent(OPPORTUNITY_ID, Outcome.WON, actual_revenue=Decimal("10.40"))
    after = replace(after, opportunity=opportunity)
    assert bool(list(closing_warnings(intent, after, replace(METADATA, decimals=decimals)))) is told


def test_a_closed_quote_with_a_newer_revision_is_told_on_the_way_back() -> None:
    snapshot = closed(quotes=(LOST, DRAFT))
    old, new = snapshot.quotes
    quotes = (replace(old, number="QUO-7"), replace(new, number="QUO-7", revision=1))
    ours = activity_ids(snapshot.opportunity.id, "key")(old.id, old.version, None)
    activity = CloseActivity(ours, old.id, completed=True)
    told = list(left_closed(replace(snapshot, quotes=quotes, activities=(activity,)), METADATA))
    assert len(told) == 1
    assert told[0].endswith("(revision 0) stays closed: a newer revision of it is there.")
    assert list(left_closed(replace(snapshot, quotes=quotes[:1], activities=(activity,)), METADATA)) == []


@pytest.mark.parametrize(("quotes", "hidden"), [((LOST,), True), ((LOST, ACTIVE), False), ((DRAFT,), False)])
def test_a_refused_close_means_a_quote_that_was_not_seen_only_where_none_was_seen_open(
    quotes: tuple[int, ...], hidden: bool
) -> None:
    close = Step(StepKind.CLOSE_OPPORTUNITY, "opportunity", OPPORTUNITY_ID, "Fleet", "", "Won")
    refused = StateConflict("It has open quotes.", status=400)
    assert ("No open quote of it was seen" in unseen_quote(refused, [close], seen(organization(quotes)))) is hidden


@pytest.mark.parametrize(("state", "undone"), [(ACTIVE, True), (LOST, False)])
def test_a_refused_step_whose_record_stands_as_it_needs_was_refused_for_what_was_undone_with_it(
    state: int, undone: bool
) -> None:
    refused = StateConflict("It is not active.", status=400)
    sentence = rolled_back(refused, [step(StepKind.CLOSE_QUOTE)], seen(organization((state,))))
    assert ("changed it inside the request" in sentence) is undone


def test_an_order_leaves_a_mark_when_it_is_there() -> None:
    ordered, result = organization((ACTIVE,)), StepResult(step(StepKind.CREATE_ORDER), StepStatus.DONE)
    before = ordered.observe([OPPORTUNITY_ID], orders=True)[OPPORTUNITY_ID]
    ordered.rows.orders.append(QuoteOrder(UUID(int=5), quote_id(1)))
    after = ordered.observe([OPPORTUNITY_ID], orders=True)[OPPORTUNITY_ID]
    assert left_a_mark(result, before, after)
    assert not left_a_mark(result, before, before)
