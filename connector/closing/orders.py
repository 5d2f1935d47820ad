"""The order of the winning quote, and the revenue that is taken from the quote or the order.

The quote's orders are the evidence: a quote that has one gets no other. The order comes after the close, as a step of
its own: no document says that ConvertQuoteToSalesOrder may stand in a change set with the close of its quote. Source:
learn.microsoft.com /dynamics365/sales/developer (ProcessQuotesSalesOrdersInvoices: WinQuote, then the conversion).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from connector.closing.intent import Intent, Outcome, RevenueSource
from connector.closing.model import Quote, QuoteOrder, QuoteState, Refusal, Snapshot, Step, StepKind
from connector.closing.plan_checks import winning_quotes
from connector.closing.step_words import label_of

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
