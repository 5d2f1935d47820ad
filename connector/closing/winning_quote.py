"""The quote that the customer accepted: found among the quotes of the opportunity, by its id or its number. Pure."""

from __future__ import annotations

from connector.closing.model import Intent, Quote, QuoteState, Refusal, Snapshot


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
        there = ", ".join(_told(quote) for quote in snapshot.quotes) or "none"
        reason = f"The winning quote {winner} is not a quote of this opportunity. It has: {there}."
        return Refusal(snapshot.opportunity.id, "winning_quote_unknown", reason)
    if len(named) > 1:
        listed = ", ".join(_told(quote) for quote in named)
        reason = f"{len(named)} quotes of this opportunity can be {winner}: {listed}. Give the id of one."
        return Refusal(snapshot.opportunity.id, "winning_quote_ambiguous", reason)
    if named[0].state is QuoteState.CLOSED:
        name = named[0].number or named[0].name or named[0].id
        reason = f"The winning quote {name} is closed and can no longer be won. Revise it, or name another."
        return Refusal(snapshot.opportunity.id, "winning_quote_closed", reason)
    return None


def _told(quote: Quote) -> str:
    name = " ".join(part for part in (quote.number, quote.name) if part) or "no name"
    return f"{quote.id} ({name}, {quote.state.name.lower()})"
