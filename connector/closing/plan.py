"""Plans a close: from a snapshot and an intent to the writes that are left, or to a refusal. Pure.

A plan holds only what is not so already, so the plan after a crash is simply shorter, and an empty one means: done.
An opportunity that is closed as wanted is done whatever its quotes are: they come before it in every plan, so a quote
that is open afterwards was opened by somebody later (to make an order of it, say) and is theirs.

Sources: *Close a quote* and *Close an opportunity as won or lost* (Dynamics 365 Sales), *Close an opportunity* and
*Win a quote* (Project Operations), and the table references of opportunity and quote, all on Microsoft Learn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID

from connector.closing import identity, reasons
from connector.closing.activity_columns import assumed_columns, opportunity_close, quote_close, with_assumptions
from connector.closing.close_columns import columns_left_empty, resolve_columns
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
from connector.closing.plan_checks import (
    forbidden_transition,
    order_refusal,
    order_step,
    refuse_lacking,
    revenue_of,
    winner_refusal,
    winning_quotes,
)
from connector.closing.step_words import label_of
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

CLOSED_STATE = {Outcome.WON: OpportunityState.WON, Outcome.LOST: OpportunityState.LOST}
"""The state of an opportunity closed with an outcome."""

CLOSE_ACTION = {OpportunityState.WON: "WinOpportunity", OpportunityState.LOST: "LoseOpportunity"}
"""The action by the state of the status reason, never by its number: a custom reason of Won is not 3."""

CLOSE_ALL_QUOTES = "msdyn_CloseAllOpportunityQuotes"
CLOSE_PROJECT_QUOTE_AS_LOST = "msdyn_CloseQuoteAsLost"
CLOSE_PROJECT_QUOTE_AS_WON = "msdyn_CloseQuoteAsWon"
"""The messages of Project Operations are bound to their record; they take neither a status nor an activity."""

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
    intent, revenue = resolve_columns(intent, metadata), revenue_of(snapshot, intent)
    intent = intent if revenue is intent.actual_revenue else replace(intent, actual_revenue=revenue)
    intent = with_assumptions(intent, metadata)
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
    left_empty = columns_left_empty(intent, metadata, {f"{step.table}close" for step in steps if step.activity})
    notes = tuple(_notes(snapshot, intent, metadata, assumed, left_empty))
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
        reason = "A winning quote was named for a lost opportunity. Leave it out, or close the opportunity as won."
        return _refuse(snapshot, "winning_quote_needs_won", reason)
    if opportunity.state is CLOSED_STATE[intent.outcome]:
        return order_refusal(snapshot, intent) if intent.order else None
    if opportunity.state is not OpportunityState.OPEN:
        return _refuse(
            snapshot,
            "closed_with_other_outcome",
            f"The opportunity is already closed as {opportunity.state.name.lower()} and is not turned into "
            f"{intent.outcome}. Reopen it first if that is wanted.",
        )
    return winner_refusal(snapshot, intent) or order_refusal(snapshot, intent) or _drafts_refusal(snapshot, intent)


def _drafts_refusal(snapshot: Snapshot, intent: Intent) -> Refusal | None:
    drafts = [q for q in snapshot.quotes if CLOSING_STEPS[q.state][intent.drafts] is None]
    if not drafts:
        return None
    reason = (
        "Draft quotes are left alone (--drafts leave), and an opportunity with open quotes cannot be closed: "
        f"{', '.join(label_of(quote) for quote in drafts)}. Close them first, or choose another value of --drafts."
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
    if winner is not None and winner.is_open:
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
        yield step_on(quote, StepKind.CLOSE_PROJECT_QUOTE, CLOSE_PROJECT_QUOTE_AS_WON, QuoteState.WON, won)
    else:
        yield _quote_step(closing, quote, StepKind.WIN_QUOTE, won)


def _close_each(closing: _ResolvedIntent, quotes: Iterable[Quote]) -> Iterator[Step]:
    for quote in quotes:
        for kind in CLOSING_STEPS[quote.state][closing.intent.drafts] or ():
            match kind:
                case StepKind.ACTIVATE_QUOTE:
                    yield _activate(closing, quote, closing.statuses.quote)
                case StepKind.DELETE_QUOTE:
                    yield step_on(quote, StepKind.DELETE_QUOTE, "Delete")
                case _:
                    yield _close(closing, quote)


def _close_all(closing: _ResolvedIntent, opportunity: Opportunity, quotes: Iterable[Quote]) -> Iterator[Step]:
    """Yield one step for all open quotes, drafts too: the one message which is documented to close those."""
    open_quotes = [quote for quote in quotes if quote.is_open]
    if closing.intent.drafts is DraftPolicy.DELETE:
        drafts = [quote for quote in open_quotes if quote.state is QuoteState.DRAFT]
        yield from (step_on(quote, StepKind.DELETE_QUOTE, "Delete") for quote in drafts)
        open_quotes = [quote for quote in open_quotes if quote.state is QuoteState.ACTIVE]
    if open_quotes:
        status = closing.statuses.project_quote
        step = step_on(opportunity, StepKind.CLOSE_ALL_QUOTES, CLOSE_ALL_QUOTES, QuoteState.CLOSED, status)
        yield replace(step, label=", ".join(label_of(quote) for quote in open_quotes))


def _activate(closing: _ResolvedIntent, quote: Quote, then: int) -> Step:
    """Return the activation of a draft, under a reason that may stand between the draft's and the one `then`."""
    status = reasons.reachable("quote", closing.metadata.quote_statuses, quote.status, QuoteState.ACTIVE, then)
    return step_on(quote, StepKind.ACTIVATE_QUOTE, "Update", QuoteState.ACTIVE, status)


def _close(closing: _ResolvedIntent, quote: Quote) -> Step:
    lost = closing.statuses.project_quote == reasons.LOST
    if quote.work_based and lost and closing.has(CLOSE_PROJECT_QUOTE_AS_LOST):
        message = CLOSE_PROJECT_QUOTE_AS_LOST
        return step_on(quote, StepKind.CLOSE_PROJECT_QUOTE, message, QuoteState.CLOSED, reasons.LOST)
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


def _close_opportunity(closing: _ResolvedIntent, opportunity: Opportunity) -> Step:
    intent, metadata, state = closing.intent, closing.metadata, CLOSED_STATE[closing.intent.outcome]
    before = identity.state_before(opportunity, metadata.unreadable)
    return Step(
        kind=StepKind.CLOSE_OPPORTUNITY,
        table="opportunity",
        record_id=opportunity.id,
        label=opportunity.name,
        version=opportunity.version,
        message=metadata.close_action or CLOSE_ACTION[state],
        state=state,
        status=closing.statuses.opportunity,
        activity_id=closing.activity_id(opportunity.id, opportunity.version, before),
        activity=opportunity_close(intent, metadata, opportunity.currency_id),
        competitor_id=_id(intent.competitor_id, "competitor"),
        assumed=closing.assumed,
    )


def step_on(
    row: Opportunity | Quote, kind: StepKind, message: str, state: IntEnum | None = None, status: int | None = None
) -> Step:
    """Return the step that gives a row a state and a status reason by this message; a deletion gives neither."""
    table = "quote" if isinstance(row, Quote) else "opportunity"
    return Step(kind, table, row.id, label_of(row), row.version, message, state, status)


def _id(value: UUID | str | None, name: str) -> UUID | None:
    """Return an id; raises InputError for a name that was not looked up (see `record_keys.look_up_all`)."""
    if isinstance(value, str):
        raise InputError(f"{name} is {value!r}, which is not the id of a record.", remedy="Look it up first.")
    return value


def _notes(
    snapshot: Snapshot, intent: Intent, metadata: OrganizationMetadata, assumed: frozenset[str], empty: Sequence[str]
) -> Iterator[str]:
    """Yield what a person should know beside the steps: what is not written, not checked, not to be read back.

    `assumed` columns have values that the caller did not give; `empty` have none, and forms require one.
    """
    if "actualend" in assumed:
        yield f"The close date is {metadata.today}, the day it is now by {metadata.day_of}."
    if intent.outcome is Outcome.LOST and intent.actual_revenue is None:
        yield "No actual revenue is written. (Microsoft's own form writes 0: DATAVERSE_LOST_REVENUE=zero does so too.)"
    won = [label_of(quote) for quote in snapshot.quotes if quote.state is QuoteState.WON]
    if won and intent.outcome is Outcome.LOST:
        yield f"What is won stays won, although the opportunity is lost: {', '.join(won)}."
    for column, value in (("actualvalue", intent.actual_revenue), ("actualclosedate", intent.closed_on)):
        if value is not None and f"opportunity.{column}" in metadata.unreadable:
            yield f"opportunity.{column} is secured, the user may not read it: what is written cannot be compared."
    if empty:
        yield (
            f"The organization's forms require {', '.join(empty)}, which this close leaves empty. The service "
            "does not; plug-ins may."
        )
    yield from metadata.unchecked
