"""What a close or the way back changes of one opportunity, beside what stands now, and what about it looks unusual."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from connector.assembly import Connection
from connector.cli.screen import TextTable
from connector.clock import Clock
from connector.closing.intent import COLUMN_FIELDS, PLAIN_FIELDS, AnyIntent
from connector.closing.model import Intent, Opportunity, OrganizationMetadata, Outcome, Plan, Snapshot, Step, StepKind
from connector.closing.step_words import opportunity_words
from connector.dataverse.record_cards import OpportunityCard, read_cards
from connector.errors import ConnectorError

UNUSUAL_DAYS = 366
"""Days between a close date and the day it was expected, from which on it is remarked."""
UNUSUAL_FACTOR = 10
"""How many times the estimated value an actual revenue is, or the other way round, to be remarked."""
_SHOWN_APART = {"outcome", "status", "closed_on", "actual_revenue", "drafts"}
_DECIDES = {StepKind.CLOSE_OPPORTUNITY, StepKind.REOPEN_OPPORTUNITY}


@dataclass(frozen=True, slots=True)
class ChangeContext:
    """What is known around a plan: the organization's address, the intent, the day here, and the record's card.

    `card` is None where names and amounts could not be read; `problem` then says why. Nothing else depends on it.
    """

    organization: str
    intent: AnyIntent
    today: date
    card: OpportunityCard | None = None
    problem: str = ""

    @property
    def currency(self) -> str:
        """Return the name of the currency, with a space before it, or nothing."""
        return f" {self.card.currency}" if self.card and self.card.currency else ""

    def data(self) -> dict[str, object]:
        """Return it as plain data, for a result in JSON."""
        data: dict[str, object] = {"organization": self.organization, "remarks": remarks(self)}
        if self.card is not None:
            data["record"] = self.card.data()
        return data

    def totals(self) -> dict[UUID, str]:
        """Return the value of each quote, and of the opportunity, by its id."""
        if self.card is None:
            return {}
        values = {quote.record.id: quote.total for quote in self.card.quotes}
        values[self.card.record.id] = self.card.record.estimated_value
        return {id_: self.card.amount(value) for id_, value in values.items() if value is not None}

    def money(self, amount: Decimal) -> str:
        """Return an amount with its currency, for people."""
        return f"{self.card.amount(amount) if self.card else f'{amount:,.2f}'}{self.currency}"


def local_day(clock: Clock) -> date:
    """Return the day of this machine's time zone."""
    return clock.now().astimezone().date()


def read_context(connection: Connection, intent: AnyIntent, today: date) -> ChangeContext:
    """Return what is known around an intent; names that cannot be read are no reason to stop."""
    try:
        cards = read_cards(connection.handler, connection.endpoint, [intent.opportunity_id])
    except ConnectorError as error:
        return ChangeContext(connection.base_url, intent, today, problem=error.message)
    return ChangeContext(connection.base_url, intent, today, cards.get(intent.opportunity_id))


def change_table(plan: Plan, snapshot: Snapshot, metadata: OrganizationMetadata, around: ChangeContext) -> TextTable:
    """Return what stands now beside what will: a row that changes begins with `~`."""
    rows = [(name, now, "") for name, now in _identity(snapshot, around)]
    step = next((step for step in plan.steps if step.kind in _DECIDES), None)
    rows += list(_changes(step, snapshot, metadata, around)) if step else []
    marked = [("~" if after and after != now else " ", name, now, after) for name, now, after in rows]
    return TextTable(
        f"Opportunity {snapshot.opportunity.id} in {around.organization}", ("", "", "now", "will be"), tuple(marked)
    )


def _identity(snapshot: Snapshot, around: ChangeContext) -> Iterator[tuple[str, str]]:
    yield "Opportunity", snapshot.opportunity.name or "without a name"
    if around.card is not None:
        yield "Customer", around.card.customer or "none"
        yield "Owner", around.card.owner


def rests_on(snapshot: Snapshot) -> str:
    """Return what a plan was made from: with other versions of these rows it would be another plan."""
    number = snapshot.opportunity.version.removeprefix("W/").strip('"')
    quotes = f"{len(snapshot.quotes)} quote{'s' if len(snapshot.quotes) != 1 else ''}"
    return f"version {number} of the opportunity and its {quotes}; if one of them changes, it is another plan"


def _changes(
    step: Step, snapshot: Snapshot, metadata: OrganizationMetadata, around: ChangeContext
) -> Iterator[tuple[str, str, str]]:
    opportunity, card = snapshot.opportunity, around.card
    now = opportunity_words(opportunity.state, opportunity.status, metadata)
    yield "Status", now, opportunity_words(step.state or 0, step.status or 0, metadata)
    if step.kind is StepKind.REOPEN_OPPORTUNITY:
        yield from _brought_back(step, opportunity, around)
        return
    due = f"expected {card.estimated_close_date}" if card and card.estimated_close_date else ""
    closed_on = str(step.activity.get("actualend") or "")[:10]
    when = closed_on or f"today, as the organization counts ({around.today} here)"
    when += " (today)" if "actualend" in step.assumed else ""
    yield "Close date", _beside(str(opportunity.actual_close_date or "none"), due), when
    revenue = step.activity.get("actualrevenue")
    estimated = around.money(opportunity.estimated_value) if opportunity.estimated_value is not None else ""
    stands = around.money(opportunity.actual_value) if opportunity.actual_value is not None else "none"
    lost = isinstance(around.intent, Intent) and around.intent.outcome is Outcome.LOST
    unset = stands if lost else "as the organization sets it"
    amount = around.money(Decimal(str(revenue))) if revenue is not None else unset
    yield "Actual revenue", _beside(stands, f"estimated {estimated}" if estimated else ""), amount
    yield from _others(around.intent)


def _shown(value: object, around: ChangeContext) -> str:
    if value is None:
        return "none"
    return around.money(value) if isinstance(value, Decimal) else str(value)


def _brought_back(step: Step, opportunity: Opportunity, around: ChangeContext) -> Iterator[tuple[str, str, str]]:
    """Yield the columns that the way back sets to what they were."""
    now = {
        "actualclosedate": ("Close date", opportunity.actual_close_date),
        "actualvalue": ("Actual revenue", opportunity.actual_value),
        "closeprobability": ("Probability", opportunity.close_probability),
    }
    for name, value in sorted(step.columns.items(), key=lambda pair: list(now).index(pair[0])):
        words, stands = now[name]
        back = Decimal(str(value)) if name == "actualvalue" and value else value
        yield words, _shown(stands, around), _shown(back, around)


def _others(intent: AnyIntent) -> Iterator[tuple[str, str, str]]:
    """Yield what else was asked for, as it was given."""
    for field in PLAIN_FIELDS:
        value = getattr(intent, field.key, None)
        if field.name not in _SHOWN_APART and value not in (None, False, ""):
            yield field.label, "", "yes" if value is True else str(value)
    for field in COLUMN_FIELDS:
        for name, value in getattr(intent, field.key, {}).items():
            yield f"{field.table}.{name}", "", str(value)


def remarks(around: ChangeContext) -> list[str]:
    """Return a sentence for each date or amount that is far from the record's own; none is a reason to refuse."""
    intent, card = around.intent, around.card
    if not isinstance(intent, Intent):
        return []
    return [
        *([f"Names and amounts could not be read: {around.problem}"] if around.problem else []),
        *(_unusual_day(intent.closed_on, around) if intent.closed_on else []),
        *(_unusual_amount(intent.actual_revenue, card) if card and isinstance(intent.actual_revenue, Decimal) else []),
    ]


def _unusual_day(day: date, around: ChangeContext) -> Iterator[str]:
    expected = around.card.estimated_close_date if around.card else None
    if day > around.today:
        yield f"The close date {day} is {_days((day - around.today).days)} in the future."
    elif expected is None and (around.today - day).days > UNUSUAL_DAYS:
        yield f"The close date {day} is {_days((around.today - day).days)} ago."
    if expected and abs((day - expected).days) > UNUSUAL_DAYS:
        yield f"The close date {day} is {_days(abs((day - expected).days))} from the expected {expected}."


def _unusual_amount(amount: Decimal, card: OpportunityCard) -> Iterator[str]:
    estimated = card.record.estimated_value
    if not estimated:
        return
    if amount > estimated * UNUSUAL_FACTOR or amount < estimated / UNUSUAL_FACTOR:
        yield f"The actual revenue {card.amount(amount)} is far from the estimated value {card.amount(estimated)}."


def _days(days: int) -> str:
    return f"{days / 365.25:.0f} years" if days > 2 * UNUSUAL_DAYS else f"{days} day{'s' if days != 1 else ''}"


def _beside(value: str, remark: str) -> str:
    return f"{value} ({remark})" if remark else value
