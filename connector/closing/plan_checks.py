"""What is looked at before a write: the winning quote, its order and revenue, transitions, privileges.

The quote's orders are the evidence: a quote that has one gets no other. The order comes after the close, as a step of
its own: no document says that ConvertQuoteToSalesOrder may stand in a change set with the close of its quote. Source:
learn.microsoft.com /dynamics365/sales/developer (ProcessQuotesSalesOrdersInvoices: WinQuote, then the conversion).

Other sources: the message privileges of WinOpportunity, LoseOpportunity, WinQuote and CloseQuote (Microsoft Learn,
previous versions: gg334650, gg334747, gg334662, gg328578); learn.microsoft.com/power-apps/developer/data-platform
/define-custom-state-model-transitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from http import HTTPStatus

from connector.closing.intent import RevenueSource
from connector.closing.model import (
    Intent,
    OrganizationMetadata,
    Outcome,
    Quote,
    QuoteOrder,
    QuoteState,
    Refusal,
    Snapshot,
    StatusReason,
    Step,
    StepKind,
)
from connector.closing.reasons import in_list, may_follow
from connector.closing.step_words import label_of, phrase
from connector.errors import Forbidden

_ACTIVITY = ("prvCreateActivity", "prvAppendActivity")
_QUOTE_CLOSE = ("prvWriteQuote", "prvAppendToQuote", *_ACTIVITY)
_COMPETITOR = "prvAppendToCompetitor"
_BY_STEP: Mapping[StepKind, tuple[str, ...]] = {
    StepKind.ACTIVATE_QUOTE: ("prvWriteQuote",),
    StepKind.DELETE_QUOTE: ("prvDeleteQuote",),
    StepKind.WIN_QUOTE: _QUOTE_CLOSE,
    StepKind.CLOSE_QUOTE: _QUOTE_CLOSE,
    StepKind.CLOSE_PROJECT_QUOTE: ("prvWriteQuote",),
    StepKind.CLOSE_ALL_QUOTES: ("prvWriteQuote",),
    StepKind.CLOSE_OPPORTUNITY: ("prvWriteOpportunity", "prvAppendToOpportunity", *_ACTIVITY),
    StepKind.CREATE_ORDER: (),  # no document names what the conversion needs
    StepKind.REOPEN_OPPORTUNITY: ("prvWriteOpportunity",),
    StepKind.REOPEN_QUOTE: ("prvWriteQuote",),
}

STEP_PRIVILEGES = tuple(sorted({name for names in _BY_STEP.values() for name in names} | {_COMPETITOR}))
"""Every privilege that a step may need."""


def refuse_lacking(steps: Sequence[Step], held: frozenset[str] | None) -> None:
    """Raise Forbidden for the privileges that `steps` need and the acting user lacks; None: they are not known."""
    if held is None:
        return
    lacking: dict[str, list[str]] = {}
    for step in steps:
        competitor = () if step.competitor_id is None else (_COMPETITOR,)
        for name in (*_BY_STEP[step.kind], *competitor):
            if name not in held:
                lacking.setdefault(name, []).append(phrase(step.kind))
    if not lacking:
        return
    named = ", ".join(f"{name} (to {' and '.join(dict.fromkeys(uses))})" for name, uses in lacking.items())
    raise Forbidden(
        f"The user lacks {named}. This was found before anything was written.",
        status=HTTPStatus.FORBIDDEN,
        remedy="Add it to a security role of the application user (Power Platform admin center), or run "
        "`connector doctor`, which lists all that closing needs.",
    )


def forbidden_transition(steps: Sequence[Step], snapshot: Snapshot, metadata: OrganizationMetadata) -> str:
    """Return why a step would be turned down, naming what may follow instead, or an empty text."""
    tables: Mapping[str, Sequence[StatusReason]] = {
        "opportunity": metadata.opportunity_statuses,
        "quote": metadata.quote_statuses,
    }
    now = {quote.id: quote.status for quote in snapshot.quotes} | {snapshot.opportunity.id: snapshot.opportunity.status}
    for step in steps:
        if step.status is None or step.kind is StepKind.CLOSE_ALL_QUOTES:
            continue
        reasons, was = tables[step.table], now.get(step.record_id, step.status)
        if not may_follow(reasons, was, step.status):
            return _why(step, was, reasons)
        now[step.record_id] = step.status
    return ""


def _why(step: Step, was: int, reasons: Sequence[StatusReason]) -> str:
    by_value = {reason.value: reason for reason in reasons}
    followers = by_value[was].followers or frozenset()
    may = [reason for reason in reasons if reason.value in followers]
    allowed = [reason for reason in may if reason.state == step.state]
    others = f"No reason of that state may{f', only {in_list(may)}' if may else ''}. Change its reason first."
    options = f"Of that state only these may: {in_list(allowed)}. Give one of these." if allowed else others
    which = f"quote {step.label}" if step.table == "quote" else "opportunity"
    return (
        f"The organization does not let the status reason {in_list([by_value[step.status or 0]])} follow "
        f"{in_list([by_value[was]])}, which the {which} has. {options} Nothing was changed."
    )


def winning_quotes(snapshot: Snapshot, intent: Intent) -> tuple[Quote, ...]:
    """Return the quotes that an intent can mean by its winning quote: an id means one, a number its standing revision.

    That is the one that is open or won; where there is none, the newest. A number is compared without regard to case.
    """
    named = intent.winning_quote_id
    if not isinstance(named, str):
        return tuple(quote for quote in snapshot.quotes if quote.id == named)
    revisions = [quote for quote in snapshot.quotes if quote.number.casefold() == named.casefold()]
    standing = tuple(quote for quote in revisions if quote.state is not QuoteState.CLOSED)
    return standing or tuple(sorted(revisions, key=lambda quote: quote.revision)[-1:])


def winner_refusal(snapshot: Snapshot, intent: Intent) -> Refusal | None:
    """Return why the winning quote of an intent cannot be won, with the quotes that can be meant, or None."""
    if intent.winning_quote_id is None:
        return None
    winner, named = intent.winning_quote_id, winning_quotes(snapshot, intent)
    if not named:
        quotes = ", ".join(_with_state(quote) for quote in snapshot.quotes) or "none"
        code = "winning_quote_unknown"
        reason = f"The winning quote {winner} is not a quote of this opportunity. It has: {quotes}."
    elif len(named) > 1:
        quotes = ", ".join(_with_state(quote) for quote in named)
        code = "winning_quote_ambiguous"
        reason = f"{len(named)} quotes of this opportunity can be {winner}: {quotes}. Give the id of one."
    elif named[0].state is QuoteState.CLOSED:
        code, name = "winning_quote_closed", label_of(named[0])
        reason = f"The winning quote {name} is closed and can no longer be won. Revise it, or name another."
    else:
        return None
    return Refusal(snapshot.opportunity.id, code, reason)


def _with_state(quote: Quote) -> str:
    name = " ".join(part for part in (quote.number, quote.name) if part) or "no name"
    return f"{quote.id} ({name}, {quote.state.name.lower()})"


CREATE_ORDER = "ConvertQuoteToSalesOrder"


def sold_quote(snapshot: Snapshot, intent: Intent) -> Quote | None:
    """Return the quote that is sold: the winning one of the intent, else the only one that is won."""
    if intent.winning_quote_id is not None:
        return next(iter(winning_quotes(snapshot, intent)), None)
    won = [quote for quote in snapshot.quotes if quote.state is QuoteState.WON]
    return won[0] if len(won) == 1 else None


def orders_of(snapshot: Snapshot, intent: Intent) -> list[QuoteOrder]:
    """Return the orders of the quote that is sold."""
    quote = sold_quote(snapshot, intent)
    return [order for order in snapshot.orders if quote and order.quote_id == quote.id]


def needs_orders(intent: Intent) -> bool:
    """Return whether the orders of the quotes must be seen."""
    return intent.order or intent.actual_revenue is RevenueSource.ORDER


def order_refusal(snapshot: Snapshot, intent: Intent) -> Refusal | None:
    """Return why the order cannot be made, or the revenue not be taken from where it is to come from, or None."""
    from_record = isinstance(intent.actual_revenue, RevenueSource)
    if not intent.order and not from_record:
        return None
    opportunity, what = snapshot.opportunity, "An order" if intent.order else "The revenue of a quote"
    if intent.outcome is not Outcome.WON:
        reason = f"{what} was asked for a lost opportunity. Leave it out, or close the opportunity as won."
        return Refusal(opportunity.id, "order_needs_won", reason)
    quote = sold_quote(snapshot, intent)
    if quote is None:
        reason = f"{what} was asked, but no winning quote is named, and not exactly one is won."
        return Refusal(opportunity.id, "order_needs_quote", f"{reason} Name it as the winning quote.")
    if from_record and revenue_of(snapshot, intent) is None:
        reason = f"The total of the quote {quote.number or quote.id} cannot be read, so it cannot be the revenue."
        return Refusal(opportunity.id, "revenue_unknown", f"{reason} Give the revenue as an amount.")
    if from_record and quote.currency_id != opportunity.currency_id:
        reason = f"The quote {quote.number or quote.id} has another currency than the opportunity."
        return Refusal(opportunity.id, "revenue_currency", f"{reason} Give the revenue as an amount.")
    return None


def revenue_of(snapshot: Snapshot, intent: Intent) -> Decimal | None:
    """Return the actual revenue to write: the amount, or the total of the quote or its order.

    An order that is still to be made will have the total of its quote.
    """
    if not isinstance(intent.actual_revenue, RevenueSource):
        return intent.actual_revenue
    quote, orders = sold_quote(snapshot, intent), orders_of(snapshot, intent)
    if intent.actual_revenue is RevenueSource.ORDER and orders:
        return orders[0].total
    return quote.total if quote else None


def order_step(snapshot: Snapshot, intent: Intent) -> Iterable[Step]:
    """Yield the step that makes the order of the winning quote, unless the quote has one."""
    quote = sold_quote(snapshot, intent) if intent.order else None
    if quote is not None and not orders_of(snapshot, intent):
        yield Step(StepKind.CREATE_ORDER, "quote", quote.id, label_of(quote), "", CREATE_ORDER)


def missing_order(left: Iterable[Step], snapshot: Snapshot) -> str:
    """Return a sentence where the opportunity is closed and nothing but the order is missing."""
    kinds = {step.kind for step in left}
    if kinds != {StepKind.CREATE_ORDER} or snapshot.opportunity.actual_close_date is None:
        return ""
    return " The order of the winning quote is missing: run the same again to make it."
