"""What a snapshot shows of steps: whether they took effect, what stands, and what is not quite as asked. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

from connector.closing import reasons
from connector.closing.identity import is_ours
from connector.closing.model import (
    Intent,
    OrganizationMetadata,
    Quote,
    QuoteState,
    Snapshot,
    Step,
    StepKind,
    StepResult,
    StepStatus,
)
from connector.closing.orders import missing_order, revenue_of
from connector.closing.plan import CLOSED_STATE, OPEN_QUOTES
from connector.closing.plan_checks import winning_quotes
from connector.closing.reopening import has_newer
from connector.errors import ConnectorError, StateConflict

_FINAL = frozenset(
    {
        StepKind.WIN_QUOTE,
        StepKind.CLOSE_QUOTE,
        StepKind.CLOSE_PROJECT_QUOTE,
        StepKind.CLOSE_OPPORTUNITY,
        StepKind.REOPEN_OPPORTUNITY,
        StepKind.REOPEN_QUOTE,
    }
)
"""Steps whose status reason the row shall have in the end."""


def shows(step: Step, snapshot: Snapshot) -> bool:
    """Return whether the snapshot is as this step leaves it, by this call or another."""
    if step.kind is StepKind.CREATE_ORDER:
        return any(order.quote_id == step.record_id for order in snapshot.orders)
    if step.kind is StepKind.CLOSE_ALL_QUOTES:
        return not any(quote.state in OPEN_QUOTES for quote in snapshot.quotes)
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
    parts = [f"the opportunity is {snapshot.opportunity.state.name.lower()}"]
    parts += [f"quote {_named(quote)} is {quote.state.name.lower()}" for quote in snapshot.quotes]
    return f"{', '.join(parts)}."


def unseen_quote(error: ConnectorError, left: Sequence[Step], snapshot: Snapshot) -> str:
    """Return what the refusal of the last step means if it contradicts what was read, or nothing."""
    closing = len(left) == 1 and left[0].kind is StepKind.CLOSE_OPPORTUNITY
    if not closing or not isinstance(error, StateConflict) or any(quote.is_open for quote in snapshot.quotes):
        return ""
    return (
        " No open quote of it was seen, so there may be one that the application user may not read, of another "
        "business unit say: let it read quotes of the whole organization."
    )


def left_closed(after: Snapshot) -> Iterator[str]:
    """Yield a sentence for each quote that stays closed on the way back, as a newer revision of it is there."""
    of_ours = {activity.record_id for activity in after.activities if is_ours(activity.id, after.opportunity.id)}
    for quote in after.quotes:
        if quote.id in of_ours and quote.state is QuoteState.CLOSED and has_newer(quote, after):
            yield f"Quote {_named(quote)} (revision {quote.revision}) stays closed: a newer revision of it is there."


def status_warnings(results: Iterable[StepResult], after: Snapshot) -> Iterator[str]:
    """Yield a sentence for each row that was written but does not have the status reason it was given."""
    for result in results:
        step = result.step
        if result.status is not StepStatus.DONE or step.kind not in _FINAL:
            continue
        status = _status(step, after)
        if status is not None and status != step.status:
            yield f"The {step.table} {step.label} has the status reason {status}, not {step.status} as was asked."


def closing_warnings(intent: Intent, after: Snapshot, metadata: OrganizationMetadata) -> Iterator[str]:
    """Yield a sentence for each thing the intent asks for by name and the closed opportunity has otherwise."""
    opportunity = after.opportunity
    if intent.status is not None:
        status = reasons.resolve(
            "opportunity", metadata.opportunity_statuses, intent.status, CLOSED_STATE[intent.outcome]
        )
        if status != opportunity.status:
            yield f"The opportunity has the status reason {opportunity.status}, not {status} as was asked."
    if intent.closed_on is not None and opportunity.actual_close_date != intent.closed_on:
        yield f"The opportunity's close date is {opportunity.actual_close_date}, not {intent.closed_on} as was asked."
    revenue = revenue_of(after, intent)
    if revenue is not None and not is_amount(opportunity.actual_value, revenue):
        yield _about_revenue(opportunity.actual_value, revenue)
    yield from _quote_warnings(intent, after)


def is_amount(seen: Decimal | None, amount: Decimal) -> bool:
    """Tell whether an amount was kept, at the precision that came back: the column and the currency round it."""
    if seen is None:
        return False
    exponent = seen.as_tuple().exponent
    if seen == amount or not isinstance(exponent, int) or exponent >= 0:
        return seen == amount
    unit = Decimal(1).scaleb(exponent)
    return any(amount.quantize(unit, rounding) == seen for rounding in (ROUND_HALF_UP, ROUND_HALF_EVEN))


def _about_revenue(seen: Decimal | None, amount: Decimal) -> str:
    if seen is None:
        return (
            f"The actual revenue that was asked ({amount}) cannot be read back: the column is empty, or secured so "
            "that the application user may not read it."
        )
    return f"The opportunity's revenue is {seen}, not {amount} as was asked."


def _quote_warnings(intent: Intent, after: Snapshot) -> Iterator[str]:
    winners = winning_quotes(after, intent)
    for quote in after.quotes:
        if quote in winners and quote.state is not QuoteState.WON:
            yield f"The winning quote {_named(quote)} is {quote.state.name.lower()}, not won."
        elif quote.state in OPEN_QUOTES:
            yield f"Quote {_named(quote)} of the closed opportunity is {quote.state.name.lower()}; it was left alone."


def _state(step: Step, snapshot: Snapshot) -> int | None:
    if step.table == "opportunity":
        return snapshot.opportunity.state
    quote = _quote(step, snapshot)
    return None if quote is None else quote.state


def _status(step: Step, snapshot: Snapshot) -> int | None:
    if step.table == "opportunity":
        return snapshot.opportunity.status
    quote = _quote(step, snapshot)
    return None if quote is None else quote.status


def _trace(step: Step, snapshot: Snapshot) -> object:
    if step.kind is StepKind.CREATE_ORDER:
        return [order.id for order in snapshot.orders]
    if step.kind is StepKind.CLOSE_ALL_QUOTES:
        return [quote.state for quote in snapshot.quotes]
    return _state(step, snapshot)


def _quote(step: Step, snapshot: Snapshot) -> Quote | None:
    return next((quote for quote in snapshot.quotes if quote.id == step.record_id), None)


def _named(quote: Quote) -> str:
    return quote.number or quote.name or str(quote.id)
