"""Before a close a person sees what changes, of whom and where, and what about it is unusual."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest

from connector.cli.close_view import ChangeContext, change_table, remarks
from connector.closing.model import (
    Intent,
    Opportunity,
    OpportunityState,
    OrganizationMetadata,
    Outcome,
    Plan,
    Snapshot,
    StatusReason,
)
from connector.closing.plan import plan_close
from connector.dataverse.record_cards import OpportunityCard

ID, TODAY = UUID(int=1), date(2026, 11, 28)
RECORD = Opportunity(ID, "Winter order", OpportunityState.OPEN, 1, 'W/"7"', estimated_value=Decimal(1000))
CARD = OpportunityCard(RECORD, "In Progress", "Contoso", "Anna", "Euro", date(2026, 10, 1), ())
METADATA = OrganizationMetadata(
    (
        StatusReason(1, 0, default=True, labels=("In Progress",)),
        StatusReason(3, 1, default=True, labels=("Won",)),
        StatusReason(4, 2, default=True, labels=("Canceled",)),
    ),
    (StatusReason(6, 3, default=True, labels=("Canceled",)),),
)


def context(intent: Intent, card: OpportunityCard | None = CARD) -> ChangeContext:
    return ChangeContext("https://contoso.crm4.dynamics.com", intent, TODAY, card)


def table(intent: Intent) -> dict[str, tuple[str, str, str]]:
    snapshot = Snapshot(RECORD, ())
    plan = plan_close(snapshot, intent, METADATA)
    assert isinstance(plan, Plan)
    rows = change_table(plan, snapshot, METADATA, context(intent)).rows
    return {name: (mark, now, after) for mark, name, now, after in rows}


def test_what_will_be_written_stands_beside_what_is_there() -> None:
    rows = table(Intent(ID, Outcome.WON, closed_on=date(2026, 11, 1), actual_revenue=Decimal("900.50")))
    assert rows["Customer"] == (" ", "Contoso", "")
    assert rows["Owner"] == (" ", "Anna", "")
    assert rows["Status"] == ("~", "Open, In Progress", "Won")
    assert rows["Close date"] == ("~", "none (expected 2026-10-01)", "2026-11-01")
    assert rows["Actual revenue"] == ("~", "none (estimated 1,000.00 Euro)", "900.50 Euro")


def test_what_is_only_said_yes_to_is_shown_as_yes() -> None:
    snapshot, intent = Snapshot(RECORD, ()), Intent(ID, Outcome.WON)
    plan = plan_close(snapshot, intent, METADATA)
    assert isinstance(plan, Plan)
    rows = change_table(plan, snapshot, METADATA, context(replace(intent, order=True))).rows
    assert rows[-1][1:] == ("Order", "", "yes")


def test_everything_else_that_was_asked_for_is_shown_as_it_was_given() -> None:
    rows = table(Intent(ID, Outcome.LOST, description="Too dear", opportunity_columns={"new_reason": "price"}))
    assert rows["Description"] == ("~", "", "Too dear")
    assert rows["opportunityclose.new_reason"] == ("~", "", "price")


@pytest.mark.parametrize(
    ("closed_on", "said"),
    [
        (date(2062, 1, 31), ["35 years in the future", "35 years from the expected 2026-10-01"]),
        (date(1999, 1, 1), ["28 years from the expected 2026-10-01"]),
        (date(2026, 11, 29), ["1 day in the future"]),
        (date(2026, 11, 28), []),
    ],
)
def test_a_date_far_from_the_record_is_remarked(closed_on: date, said: list[str]) -> None:
    found = remarks(context(Intent(ID, Outcome.WON, closed_on=closed_on)))
    assert len(found) == len(said)
    assert all(part in sentence for part, sentence in zip(said, found, strict=True))


@pytest.mark.parametrize(("amount", "remarked"), [("1000", 0), ("10000", 0), ("10001", 1), ("99", 1), ("100", 0)])
def test_an_amount_far_from_the_estimate_is_remarked(amount: str, remarked: int) -> None:
    assert len(remarks(context(Intent(ID, Outcome.WON, actual_revenue=Decimal(amount))))) == remarked


def test_without_an_estimate_no_amount_is_unusual() -> None:
    card = replace(CARD, record=replace(RECORD, estimated_value=None))
    assert remarks(context(Intent(ID, Outcome.WON, actual_revenue=Decimal(10**9)), card)) == []
