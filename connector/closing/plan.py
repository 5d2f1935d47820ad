"""Plans a close: from a snapshot and an intent to the writes that are left, or to a refusal. Pure.

A plan holds only what is not so already, so the plan after a crash is simply shorter, and an empty one means: done.
An opportunity that is closed as wanted is done whatever its quotes are: they come before it in every plan, so a quote
that is open afterwards was opened by somebody later (to make an order of it, say) and is theirs.

Sources: *Close a quote* and *Close an opportunity as won or lost* (Dynamics 365 Sales), *Close an opportunity* and
*Win a quote* (Project Operations), and the table references of opportunity and quote, all on Microsoft Learn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from connector.closing import identity, reasons
from connector.closing.activity_columns import assumed_columns, opportunity_close, quote_close, with_assumptions
from connector.closing.close_columns import columns_asked_for, resolve_columns
from connector.closing.digest import make_plan
from connector.closing.model import (
    DraftPolicy,
    Intent,
    Opportunity,
    OpportunityState,
    OrganizationMetadata,
    Outcome,
    Plan,
    Quote,
    QuoteState,
    Refusal,
    Snapshot,
    Step,
    StepKind,
)
from connector.closing.orders import order_refusal, order_step, with_revenue
from connector.closing.plan_checks import forbidden_transition, refuse_lacking, winner_refusal, winning_quotes
from connector.closing.plan_notes import notes_of
from connector.errors import InputError

_ACTIVATE, _DELETE, _CLOSE = StepKind.ACTIVATE_QUOTE, StepKind.DELETE_QUOTE, StepKind.CLOSE_QUOTE

# fmt: off
CLOSING_STEPS: Mapping[QuoteState, Mapping[DraftPolicy, tuple[StepKind, ...] | None]] = {
    state: dict(zip(DraftPolicy, row, strict=True))
    for state, row in {
        # state              ACTIVATE              DELETE      DIRECT     LEAVE
        QuoteState.DRAFT:  ((_ACTIVATE, _CLOSE), (_DELETE,), (_CLOSE,), None),
        QuoteState.ACTIVE: ((_CLOSE,),           (_CLOSE,),  (_CLOSE,), (_CLOSE,)),
        QuoteState.WON:    ((),                  (),         (),        ()),
        QuoteState.CLOSED: ((),                  (),         (),        ()),
    }.items()
}
# fmt: on
"""A quote's way to where it does not block its opportunity; None: the close is refused while such a quote stands.

Sales closes a quote only from Active: a draft is activated first, or deleted. Won and closed quotes are left alone.
"""

OPEN_QUOTES = frozenset({QuoteState.DRAFT, QuoteState.ACTIVE})
"""The states of a quote that block the close of its opportunity."""

CLOSED_STATE = {Outcome.WON: OpportunityState.WON, Outcome.LOST: OpportunityState.LOST}
"""The state of an opportunity closed with an outcome."""

CLOSE_ACTION = {OpportunityState.WON: "WinOpportunity", OpportunityState.LOST: "LoseOpportunity"}
"""The action by the state of the status reason, never by its number: a custom reason of Won is not 3."""

CLOSE_ALL_QUOTES = "msdyn_CloseAllOpportunityQuotes"
CLOSE_PROJECT_QUOTE_AS_LOST = "msdyn_CloseQuoteAsLost"
CLOSE_PROJECT_QUOTE_AS_WON = "msdyn_CloseQuoteAsWon"

PROJECT_STEPS = frozenset({StepKind.CLOSE_ALL_QUOTES, StepKind.CLOSE_PROJECT_QUOTE})
"""Steps by messages of Project Operations, which may run as a background job there: done is not yet visible."""

MESSAGES_OF_INTEREST = (
    *CLOSE_ACTION.values(),
    "CloseQuote",
    "WinQuote",
    CLOSE_ALL_QUOTES,
    CLOSE_PROJECT_QUOTE_AS_LOST,
    CLOSE_PROJECT_QUOTE_AS_WON,
)
"""The messages whose presence in an organization matters here; those of Project Operations are used where present."""


def plan_close(snapshot: Snapshot, intent: Intent, metadata: OrganizationMetadata) -> Plan | Refusal:
    """Return the writes that close this opportunity with its quotes, or why that must not be done.

    They come so: the winning quote, the other quotes by id, the opportunity, its order. Raises InputError when it names
    a status reason which the organization does not have for that state, a column that is not free or not there, a value
    that does not fit or a row that is not to be seen; Forbidden when the user lacks a privilege for a step.
    """
    statuses = _resolve(intent, metadata)
    refusal = _refusal(snapshot, intent)
    if refusal is not None:
        return refusal
    opportunity, user = snapshot.opportunity, _id(intent.as_user, "as_user")
    order = list(order_step(snapshot, intent))
    if opportunity.state is not OpportunityState.OPEN:
        return make_plan(opportunity.id, order, metadata.bypass.text, user)
    assumed = assumed_columns(intent, metadata)
    intent = with_assumptions(with_revenue(snapshot, resolve_columns(intent, metadata)), metadata)
    key = intent.key or identity.natural_key(opportunity.id, intent.outcome)
    closing = _ResolvedIntent(intent, metadata, statuses, assumed, identity.activity_ids(opportunity.id, key))
    steps = [*_quote_steps(closing, snapshot), _close_opportunity(closing, opportunity), *order]
    if intent.quote_columns and any(step.kind in PROJECT_STEPS for step in steps):
        raise InputError(
            "Project quotes are closed by Project Operations, which takes no columns for the close activity.",
            remedy="Leave the quoteclose columns out for this opportunity.",
        )
    if forbidden := forbidden_transition(steps, snapshot, metadata):
        return _refuse(snapshot, "transition_forbidden", forbidden)
    refuse_lacking(steps, metadata.privileges if user is None else None)
    asked_for = columns_asked_for(intent, metadata, {f"{step.table}close" for step in steps if step.activity})
    notes = notes_of(intent, metadata, assumed, asked_for)
    return make_plan(opportunity.id, steps, metadata.bypass.text, user, notes)


class _Statuses(NamedTuple):
    """The status reasons that an intent means in an organization: of the opportunity, its quotes, project quotes."""

    opportunity: int
    quote: int
    project_quote: int


@dataclass(frozen=True, slots=True)
class _ResolvedIntent:
    """An intent with its names looked up in an organization's metadata; `activity_id` names its close activities."""

    intent: Intent
    metadata: OrganizationMetadata
    statuses: _Statuses
    assumed: frozenset[str]
    activity_id: Callable[[UUID, str, identity.OriginalState | None], UUID]

    def has(self, message: str) -> bool:
        return message in self.metadata.messages


def check_intent(intent: Intent, metadata: OrganizationMetadata) -> None:
    """Raise InputError for a status reason that the organization does not have, or a column that does not fit."""
    _resolve(intent, metadata)
    resolve_columns(intent, metadata)


def _resolve(intent: Intent, metadata: OrganizationMetadata) -> _Statuses:
    state, quotes = CLOSED_STATE[intent.outcome], metadata.quote_statuses
    opportunities = metadata.opportunity_statuses
    if intent.status is None:
        status = reasons.default_of("opportunity", opportunities, state)
    else:
        status = reasons.resolve("opportunity", opportunities, intent.status, state)
    if intent.quote_status is None:
        quote_status = reasons.closed_quote_default(quotes, intent.outcome)
        project_quote_status = reasons.LOST
    else:
        quote_status = reasons.resolve("quote", quotes, intent.quote_status, QuoteState.CLOSED)
        project_quote_status = quote_status
    return _Statuses(status, quote_status, project_quote_status)


def _refusal(snapshot: Snapshot, intent: Intent) -> Refusal | None:
    opportunity = snapshot.opportunity
    if intent.winning_quote_id is not None and intent.outcome is not Outcome.WON:
        return _refuse(snapshot, "winning_quote_needs_won", "A winning quote was named for a lost opportunity.")
    if opportunity.state is CLOSED_STATE[intent.outcome]:
        return order_refusal(snapshot, intent) if intent.order else None
    if opportunity.state is not OpportunityState.OPEN:
        return _refuse(
            snapshot,
            "closed_with_other_outcome",
            f"The opportunity is already closed as {state_name(opportunity.state)} and is not turned into "
            f"{intent.outcome}. Reopen it first if that is wanted.",
        )
    return winner_refusal(snapshot, intent) or order_refusal(snapshot, intent) or _drafts_refusal(snapshot, intent)


def _drafts_refusal(snapshot: Snapshot, intent: Intent) -> Refusal | None:
    standing = [q for q in snapshot.quotes if CLOSING_STEPS[q.state][intent.drafts] is None]
    if not standing:
        return None
    reason = (
        "Draft quotes are left alone (--drafts leave), and an opportunity with open quotes cannot be closed: "
        f"{', '.join(label_of(quote) for quote in standing)}. Close them first, or choose another value of --drafts."
    )
    return _refuse(snapshot, "drafts_stand", reason)


def _refuse(snapshot: Snapshot, code: str, reason: str) -> Refusal:
    return Refusal(snapshot.opportunity.id, code, reason)


def _quote_steps(closing: _ResolvedIntent, snapshot: Snapshot) -> Iterator[Step]:
    """Yield the steps of the quotes: the winner's first, then the others' by id.

    Winning a project quote makes Project Operations close the other project quotes itself, as Lost; steps for them
    would only fail. Should they stand, the close of the opportunity is turned down and the next plan has them.
    """
    winner = next(iter(winning_quotes(snapshot, closing.intent)), None)
    others = sorted((quote for quote in snapshot.quotes if quote is not winner), key=lambda quote: quote.id)
    if winner is not None and winner.state in OPEN_QUOTES:
        yield from _win(closing, winner)
        if winner.work_based and closing.has(CLOSE_PROJECT_QUOTE_AS_WON):
            yield from _close_each(closing, [quote for quote in others if not quote.work_based])
            return
    if snapshot.opportunity.work_based and closing.has(CLOSE_ALL_QUOTES):
        yield from _close_all(closing, snapshot.opportunity, others)
    else:
        yield from _close_each(closing, others)


def _win(closing: _ResolvedIntent, quote: Quote) -> Iterator[Step]:
    won = reasons.default_of("quote", closing.metadata.quote_statuses, QuoteState.WON)
    if quote.state is QuoteState.DRAFT:
        yield _activate(closing, quote, won)
    if quote.work_based and closing.has(CLOSE_PROJECT_QUOTE_AS_WON):
        yield _project_step(quote, CLOSE_PROJECT_QUOTE_AS_WON, QuoteState.WON, won)
    else:
        yield _quote_step(closing, quote, StepKind.WIN_QUOTE, won)


def _close_each(closing: _ResolvedIntent, quotes: Iterable[Quote]) -> Iterator[Step]:
    for quote in quotes:
        for kind in CLOSING_STEPS[quote.state][closing.intent.drafts] or ():
            match kind:
                case StepKind.ACTIVATE_QUOTE:
                    yield _activate(closing, quote, closing.statuses.quote)
                case StepKind.DELETE_QUOTE:
                    yield _delete(quote)
                case _:
                    yield _close(closing, quote)


def _close_all(closing: _ResolvedIntent, opportunity: Opportunity, quotes: Iterable[Quote]) -> Iterator[Step]:
    """Yield one step for all open quotes, drafts too: the one message which is documented to close those."""
    standing = [quote for quote in quotes if quote.state in OPEN_QUOTES]
    if closing.intent.drafts is DraftPolicy.DELETE:
        yield from (_delete(quote) for quote in standing if quote.state is QuoteState.DRAFT)
        standing = [quote for quote in standing if quote.state is not QuoteState.DRAFT]
    if standing:
        yield Step(
            kind=StepKind.CLOSE_ALL_QUOTES,
            table="opportunity",
            record_id=opportunity.id,
            label=", ".join(label_of(quote) for quote in standing),
            version=opportunity.version,
            message=CLOSE_ALL_QUOTES,
            state=QuoteState.CLOSED,
            status=closing.statuses.project_quote,
        )


def _activate(closing: _ResolvedIntent, quote: Quote, then: int) -> Step:
    """Return the activation of a draft, under a reason that may stand between the draft's and the one `then`."""
    status = reasons.reachable("quote", closing.metadata.quote_statuses, quote.status, QuoteState.ACTIVE, then)
    return update_step(StepKind.ACTIVATE_QUOTE, "quote", quote, QuoteState.ACTIVE, status)


def _delete(quote: Quote) -> Step:
    return Step(StepKind.DELETE_QUOTE, "quote", quote.id, label_of(quote), quote.version, "Delete")


def _close(closing: _ResolvedIntent, quote: Quote) -> Step:
    lost = closing.statuses.project_quote == reasons.LOST
    if quote.work_based and lost and closing.has(CLOSE_PROJECT_QUOTE_AS_LOST):
        return _project_step(quote, CLOSE_PROJECT_QUOTE_AS_LOST, QuoteState.CLOSED, reasons.LOST)
    return _quote_step(closing, quote, StepKind.CLOSE_QUOTE, closing.statuses.quote)


def _quote_step(closing: _ResolvedIntent, quote: Quote, kind: StepKind, status: int) -> Step:
    wins = kind is StepKind.WIN_QUOTE
    subject = "Quote won" if wins else f"Quote closed, opportunity {closing.intent.outcome}"
    return Step(
        kind=kind,
        table="quote",
        record_id=quote.id,
        label=label_of(quote),
        version=quote.version,
        message="WinQuote" if wins else "CloseQuote",
        state=QuoteState.WON if wins else QuoteState.CLOSED,
        status=status,
        activity_id=closing.activity_id(quote.id, quote.version, None),
        activity=quote_close(closing.intent, subject, closing.metadata),
        assumed=closing.assumed,
    )


def _project_step(quote: Quote, message: str, state: QuoteState, status: int) -> Step:
    """Return the step of a message bound to the quote; it takes neither a status nor an activity."""
    kind = StepKind.CLOSE_PROJECT_QUOTE
    return Step(kind, "quote", quote.id, label_of(quote), quote.version, message, state, status)


def _close_opportunity(closing: _ResolvedIntent, opportunity: Opportunity) -> Step:
    state = CLOSED_STATE[closing.intent.outcome]
    return Step(
        kind=StepKind.CLOSE_OPPORTUNITY,
        table="opportunity",
        record_id=opportunity.id,
        label=opportunity.name,
        version=opportunity.version,
        message=closing.metadata.close_action or CLOSE_ACTION[state],
        state=state,
        status=closing.statuses.opportunity,
        activity_id=closing.activity_id(
            opportunity.id, opportunity.version, identity.state_before(opportunity, closing.metadata.unreadable)
        ),
        activity=opportunity_close(closing.intent, closing.metadata, opportunity.currency_id),
        competitor_id=_id(closing.intent.competitor_id, "competitor"),
        assumed=closing.assumed,
    )


def update_step(
    kind: StepKind, table: str, row: Opportunity | Quote, state: OpportunityState | QuoteState, status: int
) -> Step:
    """Return the step that gives a row a state and a status reason."""
    return Step(kind, table, row.id, label_of(row), row.version, "Update", state, status)


def _id(value: UUID | str | None, name: str) -> UUID | None:
    """Return an id; raises InputError for a name that was not looked up (see `record_keys.look_up_all`)."""
    if isinstance(value, str):
        raise InputError(f"{name} is {value!r}, which is not the id of a record.", remedy="Look it up first.")
    return value


def label_of(row: Opportunity | Quote) -> str:
    """Return what names the row for people: a quote's number, else the name, else the id."""
    number = row.number if isinstance(row, Quote) else ""
    return number or row.name or str(row.id)


def state_name(state: OpportunityState) -> str:
    """Return a state in a sentence: `won`."""
    return state.name.lower()
