"""Plans and reports for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TextIO
from uuid import UUID

import click

from connector.assembly import Connection
from connector.cli.failure_text import sentences
from connector.cli.screen import TextTable, say, show, tell
from connector.clock import Clock
from connector.closing.close import Preview
from connector.closing.intent import COLUMN_FIELDS, PLAIN_FIELDS, AnyIntent
from connector.closing.model import (
    Intent,
    Opportunity,
    OrganizationMetadata,
    Outcome,
    Plan,
    Refusal,
    Report,
    ReportStatus,
    Snapshot,
    Step,
    StepKind,
    StepStatus,
)
from connector.closing.plan import CLOSE_PROJECT_QUOTE_AS_WON
from connector.closing.report import error_data
from connector.closing.step_words import COLUMNS, opportunity_words, step_rows
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
        cards = read_cards(connection.api, [intent.opportunity_id])
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
    text = around.money(value) if isinstance(value, Decimal) else str(value)
    return "none" if value is None else text


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


def show_preview(
    preview: Preview,
    metadata: OrganizationMetadata,
    stream: TextIO,
    around: ChangeContext | None = None,
    basis: str = "",
) -> None:
    """Write what would happen: what changes, a table of the steps and the plan's digest, or why nothing would."""
    name, verdict = _name(preview.snapshot), preview.verdict
    if isinstance(verdict, Refusal):
        say(f"Refused: {verdict.reason}", stream)
        return
    if not verdict.steps:
        say(f"Nothing to do: {_state_sentence(preview.snapshot, metadata, around)}", stream)
        return
    if around is not None:
        show(change_table(verdict, preview.snapshot, metadata, around), stream)
        click.echo(file=stream)
    rows = step_rows(verdict.steps, preview.snapshot, metadata, around.totals() if around else {})
    numbered = tuple((str(number), *row) for number, row in enumerate(rows, start=1))
    show(TextTable(f"Plan for {name}", ("#", *COLUMNS), numbered), stream)
    for remark in remarks(around) if around else ():
        say(f"Note: {remark}", stream)
    for note in verdict.notes:
        say(f"Note: {note}", stream)
    if siblings := _closed_by_the_service(verdict, preview.snapshot):
        say(f"Note: Project Operations itself closes the other project quotes as lost: {', '.join(siblings)}.", stream)
    if verdict.bypass:
        say(f"The organization's own logic: {verdict.bypass}.", stream)
    if verdict.as_user:
        say(f"It is done in the name of the user {verdict.as_user} (Entra object id).", stream)
    if basis:
        say(f"Based on: {basis}.", stream)
    say(f"Valid for: {rests_on(preview.snapshot)}.\nDigest: {verdict.digest}", stream)


def _closed_by_the_service(plan: Plan, snapshot: Snapshot) -> list[str]:
    """Return the open project quotes that winning one of them closes; the plan has no steps for these."""
    if all(step.message != CLOSE_PROJECT_QUOTE_AS_WON for step in plan.steps):
        return []
    ours = {step.record_id for step in plan.steps}
    others = [quote for quote in snapshot.quotes if quote.work_based and quote.is_open and quote.id not in ours]
    return [f"{quote.number} {quote.name}".strip() for quote in others]


def show_report(
    report: Report, metadata: OrganizationMetadata, stream: TextIO, around: ChangeContext | None = None
) -> None:
    """Write what was done to `stream`; why it failed, if it did, to stderr; then what stands."""
    snapshot = report.after or report.before
    if report.steps:
        rows = step_rows([result.step for result in report.steps], report.before, metadata)
        results = [result.status.value.replace("_", " ") for result in report.steps]
        cells = tuple((row[0], row[1], row[3], result) for row, result in zip(rows, results, strict=True))
        name = _name(snapshot) if snapshot else str(report.opportunity_id)
        show(TextTable(f"Steps for {name}", (COLUMNS[0], COLUMNS[1], COLUMNS[3], "result"), cells), stream)
    show_failure(report)
    say(_ending(report, metadata, around), stream)
    for note in (*(remarks(around) if around and report.steps else ()), *report.notes):
        say(f"Note: {note}", stream)
    for warning in report.warnings:
        tell(f"Warning: {warning}")


def show_failure(report: Report) -> None:
    """Write to stderr why it failed, if it did, with what the service said: that may be customer text, so no result."""
    if report.error is not None:
        tell(sentences(error_data(report.error)))


def _ending(report: Report, metadata: OrganizationMetadata, around: ChangeContext | None) -> str:
    """Return the sentence that says how it ended and what stands."""
    any_done = any(result.status is StepStatus.DONE for result in report.steps)
    unchanged = "" if any_done else ", nothing was changed"
    opening = {
        ReportStatus.CLOSED: "Closed:",
        ReportStatus.ALREADY_CLOSED: f"Already closed{unchanged}:",
        ReportStatus.REOPENED: "Reopened:",
        ReportStatus.ALREADY_OPEN: f"Already open{unchanged}:",
        ReportStatus.REFUSED: "Refused, after some steps took effect:" if report.partial else "Refused:",
        ReportStatus.FAILED: "Failed after some steps took effect." if report.partial else "Failed.",
    }[report.status]
    if report.status is ReportStatus.FAILED and not report.steps:
        return f"Failed; nothing was changed. {report.stands}".rstrip()
    if report.reason or report.stands:
        return f"{opening} {report.reason or report.stands}"
    if report.after is None or report.status in {ReportStatus.REFUSED, ReportStatus.FAILED}:
        return opening
    return f"{opening} {_state_sentence(report.after, metadata, around)}"


def _state_sentence(snapshot: Snapshot, metadata: OrganizationMetadata, around: ChangeContext | None) -> str:
    """Return a sentence with the state of the opportunity, its close date and its revenue."""
    opportunity = snapshot.opportunity
    customer = f" of {around.card.customer}" if around and around.card and around.card.customer else ""
    parts = [f"{_name(snapshot)}{customer} is {opportunity_words(opportunity.state, opportunity.status, metadata)}"]
    if opportunity.actual_close_date is not None:
        parts.append(f"close date {opportunity.actual_close_date}")
    if opportunity.actual_value is not None:
        value = opportunity.actual_value
        parts.append(f"actual revenue {around.money(value) if around else f'{value:,.2f}'}")
    if around:
        parts.append(f"in {around.organization}")
    return f"{'; '.join(parts)}."


def _name(snapshot: Snapshot) -> str:
    return f"'{snapshot.opportunity.name}'" if snapshot.opportunity.name else f"opportunity {snapshot.opportunity.id}"
