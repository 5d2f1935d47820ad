"""What forbids a step before anything is written: the winning quote is not there, a transition, a missing privilege.

Sources: the message privileges of WinOpportunity, LoseOpportunity, WinQuote and CloseQuote (Microsoft Learn, previous
versions: gg334650, gg334747, gg334662, gg328578); learn.microsoft.com/power-apps/developer/data-platform/define-
custom-state-model-transitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from connector.closing.model import (
    Intent,
    OrganizationMetadata,
    Quote,
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
