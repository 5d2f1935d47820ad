"""What a snapshot shows of steps: whether they took effect, what stands, and what is not quite as asked. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from uuid import UUID

from connector.closing import reasons
from connector.closing.identity import is_ours
from connector.closing.model import (
    Intent,
    Opportunity,
    OpportunityState,
    OrganizationMetadata,
    Quote,
    QuoteState,
    Snapshot,
    Step,
    StepKind,
    StepResult,
    StepStatus,
)
from connector.closing.plan import CLOSED_STATE
from connector.closing.plan_checks import missing_order, revenue_of, winning_quotes
from connector.closing.reopening import why_closed
from connector.closing.step_words import label_of
from connector.errors import ConnectorError, StateConflict

_PASSING = frozenset({StepKind.ACTIVATE_QUOTE, StepKind.CLOSE_ALL_QUOTES})
"""Steps whose status reason their record does not have in the end: another step follows, or it is of other records."""

_OF_OPPORTUNITY = frozenset({StepKind.CLOSE_OPPORTUNITY, StepKind.REOPEN_OPPORTUNITY})

_NEEDED = {
    StepKind.ACTIVATE_QUOTE: QuoteState.DRAFT,
    StepKind.WIN_QUOTE: QuoteState.ACTIVE,
    StepKind.CLOSE_QUOTE: QuoteState.ACTIVE,
    StepKind.CLOSE_OPPORTUNITY: OpportunityState.OPEN,
}
"""The state in which a step finds its record where nothing comes between."""


def shows(step: Step, snapshot: Snapshot) -> bool:
    """Return whether the snapshot is as this step leaves it, by this call or another."""
    if step.kind is StepKind.CREATE_ORDER:
        return any(order.quote_id == step.record_id for order in snapshot.orders)
    if step.kind is StepKind.CLOSE_ALL_QUOTES:
        return not any(quote.is_open for quote in snapshot.quotes)
    state = _state(step, snapshot)
    if step.kind is StepKind.DELETE_QUOTE:
        return state is None
    if step.kind is StepKind.ACTIVATE_QUOTE:
        return state not in {None, QuoteState.DRAFT}
    return state == step.state


def left_a_mark(result: StepResult, before: Snapshot, after: Snapshot) -> bool:
    """Tell whether an attempted step left its record otherwise than it was.

    A step that was turned down can do so too: a plug-in that runs before the transaction may push a quote back to
    draft and then fail, and only its failure is rolled back.
    """
    if result.status is StepStatus.DONE:
        return _trace(result.step, before) != _trace(result.step, after)
    if result.status is StepStatus.FAILED and result.step.table == "quote":
        return _state(result.step, after) == QuoteState.DRAFT != _state(result.step, before)
    return False


def left_marks(results: Iterable[StepResult], before: Snapshot | None, after: Snapshot | None) -> bool:
    """Tell whether one of the attempted steps left its record otherwise than it was, as far as that was seen."""
    return before is not None and after is not None and any(left_a_mark(result, before, after) for result in results)


def where_it_stands(snapshot: Snapshot, error: ConnectorError, left: Sequence[Step], when: str) -> str:
    """Return where a failure leaves the records, and what the steps that are left mean."""
    return f"{when}, {standing(snapshot)}{unseen_quote(error, left, snapshot)}{missing_order(left, snapshot)}"


def standing(snapshot: Snapshot) -> str:
    """Return a sentence that says which state the opportunity and each of its quotes is in."""
    labels = [label_of(quote) for quote in snapshot.quotes]
    parts = [f"the opportunity is {snapshot.opportunity.state.name.lower()}"]
    for label, quote in zip(labels, snapshot.quotes, strict=True):
        revision = f" (revision {quote.revision})" if labels.count(label) > 1 else ""
        parts.append(f"quote {label}{revision} is {quote.state.name.lower()}")
    return f"{', '.join(parts)}."


_CLOSED_ALREADY = "0x80040515"
"""The refusal of a close because the opportunity is closed (OpportunityAlreadyClosed, web-service-error-codes)."""


def unseen_quote(error: ConnectorError, left: Sequence[Step], snapshot: Snapshot) -> str:
    """Return what the refusal of the last step means if it contradicts what was read, or nothing."""
    closing = len(left) == 1 and left[0].kind is StepKind.CLOSE_OPPORTUNITY
    others = any(quote.is_open for quote in snapshot.quotes)
    if others or not closing or not isinstance(error, StateConflict) or error.code == _CLOSED_ALREADY:
        return ""
    return (
        " No open quote of it was seen, so there may be one that the application user may not read, of another "
        "business unit say: let it read quotes of the whole organization."
    )


def rolled_back(error: ConnectorError, left: Sequence[Step], snapshot: Snapshot) -> str:
    """Return what to do where a record is said to stand otherwise than it does after the refusal, or nothing.

    What changed it was part of the request itself, and was undone with it: a plug-in that runs before the step.
    """
    step = left[0] if left else None
    if step is None or not isinstance(error, StateConflict) or unseen_quote(error, left, snapshot):
        return ""
    if step.kind not in _NEEDED or _state(step, snapshot) != _NEEDED[step.kind]:
        return ""
    return (
        f"The {step.table} {step.label} stands as this step needs it: most likely the organization's own logic changed "
        "it inside the request, and that was undone with it. Ask who maintains that logic (`connector doctor` lists "
        "what runs on a close), or leave it out (--bypass, --bypass-steps) if the user may."
    )


def changed_meanwhile(
    before: Snapshot | None, after: Snapshot | None, results: Iterable[StepResult], users: frozenset[UUID]
) -> Iterator[str]:
    """Yield who changed the state of the opportunity during this call, if it was not the last step of this call.

    `users` are who signed in and who acts: what runs as they do is not told apart from other programs of theirs.
    """
    if before is None or after is None or before.opportunity.state is after.opportunity.state:
        return
    was, now = before.opportunity.state, after.opportunity
    done = [result.step for result in results if result.status is StepStatus.DONE]
    ours = [step.state for step in done if step.kind in _OF_OPPORTUNITY and step.state is not None]
    other = f"the user {now.modified_by}, or logic that runs as that user" if now.modified_by else "somebody else"
    who = "the organization's own logic, or another program of the same user" if now.modified_by in users else other
    made = f"this call made it {OpportunityState(ours[-1]).name.lower()}, and then" if ours else ""
    first = made or "while this call was at work,"
    yield f"The opportunity was {was.name.lower()} at first; {first} {who} made it {now.state.name.lower()}."


def left_closed(after: Snapshot, metadata: OrganizationMetadata) -> Iterator[str]:
    """Yield a sentence for each quote that stays closed on the way back, and why."""
    of_ours = {activity.record_id for activity in after.activities if is_ours(activity.id, after.opportunity.id)}
    for quote in after.quotes:
        if quote.id in of_ours and quote.state is QuoteState.CLOSED and (why := why_closed(quote, after, metadata)):
            yield f"Quote {label_of(quote)} (revision {quote.revision}) stays closed: {why}."


def status_warnings(results: Iterable[StepResult], after: Snapshot, metadata: OrganizationMetadata) -> Iterator[str]:
    """Yield a sentence for each row that was written but does not have the status reason it was given."""
    for result in results:
        step = result.step
        if result.status is not StepStatus.DONE or step.status is None or step.kind in _PASSING:
            continue
        if (row := _row(step, after)) is not None and row.status != step.status:
            statuses = metadata.quote_statuses if step.table == "quote" else metadata.opportunity_statuses
            otherwise = reasons.otherwise(statuses, row.status, step.status)
            yield f"The {step.table} {step.label} has the status reason {otherwise} as was planned."


def closing_warnings(intent: Intent, after: Snapshot, metadata: OrganizationMetadata) -> Iterator[str]:
    """Yield a sentence for each thing the intent asks for by name and the closed opportunity has otherwise."""
    opportunity = after.opportunity
    if intent.status is not None:
        statuses = metadata.opportunity_statuses
        status = reasons.resolve("opportunity", statuses, intent.status, CLOSED_STATE[intent.outcome])
        if status != opportunity.status:
            otherwise = reasons.otherwise(statuses, opportunity.status, status)
            yield f"The opportunity has the status reason {otherwise} as was asked."
    problems = value_problems(intent, after, metadata)  # of what cannot be read a note of the plan says so
    yield from (sentence for column, sentence in problems if f"opportunity.{column}" not in metadata.unreadable)
    yield from _quote_warnings(intent, after)


def value_problems(intent: Intent, after: Snapshot, metadata: OrganizationMetadata) -> Iterator[tuple[str, str]]:
    """Yield the columns of the closed opportunity that have not the value that was asked, each with a sentence."""
    day, value, revenue = after.opportunity.actual_close_date, after.opportunity.actual_value, revenue_of(after, intent)
    if intent.closed_on is not None and day != intent.closed_on:
        yield "actualclosedate", _otherwise("close date", day, intent.closed_on)
    decimals = metadata.decimals.get(None, metadata.decimals.get(after.opportunity.currency_id))
    if revenue is not None and not same_amount(revenue, value, decimals):
        yield "actualvalue", _otherwise("actual revenue", value, revenue)


def same_amount(amount: Decimal, read: Decimal | None, decimals: int | None = None) -> bool:
    """Tell whether an amount was kept: the column and its currency round it to so many `decimals`.

    Where these are not known, those that were read count; zeros at the end tell nothing.
    """
    if read is None:
        return False
    unit = Decimal(1).scaleb(min(0, int(read.normalize().as_tuple().exponent)) if decimals is None else -decimals)
    return read in {amount, *(amount.quantize(unit, rounding) for rounding in (ROUND_HALF_UP, ROUND_HALF_EVEN))}


def _otherwise(what: str, value: object, requested: object) -> str:
    if value is None:
        return f"The {what} that was asked ({requested}) cannot be read back: it is empty, or secured from this user."
    return f"The opportunity's {what} is {value}, not {requested} as was asked."


def _quote_warnings(intent: Intent, after: Snapshot) -> Iterator[str]:
    winners = winning_quotes(after, intent)
    if intent.winning_quote_id and not winners:
        yield f"The winning quote {intent.winning_quote_id} is not a quote of this opportunity."
    for quote in after.quotes:
        if quote in winners and quote.state is not QuoteState.WON:
            yield f"The winning quote {label_of(quote)} is {quote.state.name.lower()}, not won."
        elif quote.is_open:
            yield f"Quote {label_of(quote)} of the closed opportunity is {quote.state.name.lower()}; it was left alone."


def _state(step: Step, snapshot: Snapshot) -> int | None:
    return None if (row := _row(step, snapshot)) is None else row.state


def _trace(step: Step, snapshot: Snapshot) -> object:
    if step.kind is StepKind.CREATE_ORDER:
        return [order.id for order in snapshot.orders]
    if step.kind is StepKind.CLOSE_ALL_QUOTES:
        return [quote.state for quote in snapshot.quotes]
    return _state(step, snapshot)


def _row(step: Step, snapshot: Snapshot) -> Opportunity | Quote | None:
    rows: tuple[Opportunity | Quote, ...] = (snapshot.opportunity, *snapshot.quotes)
    return next((row for row in rows if row.id == step.record_id), None)
