"""The way back: which writes open an opportunity again, with the quotes that this connector closed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from connector.closing import identity, reasons
from connector.closing.digest import make_plan
from connector.closing.model import (
    ColumnValue,
    Opportunity,
    OpportunityState,
    OrganizationMetadata,
    Plan,
    Quote,
    QuoteState,
    Refusal,
    ReopenIntent,
    Snapshot,
    Step,
    StepKind,
)
from connector.closing.plan import OPEN_QUOTES, state_name, update_step
from connector.closing.plan_checks import forbidden_transition, refuse_lacking

_VALUE, _DATE, _PROBABILITY = "actualvalue", "actualclosedate", "closeprobability"
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def plan_reopen(snapshot: Snapshot, intent: ReopenIntent, metadata: OrganizationMetadata) -> Plan | Refusal:
    """Return the writes that open the opportunity and put the quotes this connector closed back to draft.

    A quote counts when the newest completed activity on it is ours. The snapshot must hold the activities. Quotes that
    Project Operations closed carry no activity of ours and stay closed, as its documents demand.
    """
    opportunity = snapshot.opportunity
    completed = sorted((a for a in snapshot.activities if a.completed), key=lambda a: a.created_on or _LONG_AGO)
    newest = {activity.record_id: activity.id for activity in completed}
    ours = {record for record, activity in newest.items() if _is_to_undo(activity, intent)}
    narrowed = intent.activity_ids is not None or intent.closed_under is not None
    closed = opportunity.state is not OpportunityState.OPEN
    if closed and narrowed and opportunity.id not in ours:
        return Refusal(
            opportunity.id,
            "closed_by_another",
            f"The opportunity is {state_name(opportunity.state)}, but not by what is to be undone. "
            "Reopen it by itself if that is wanted.",
        )
    back = [q for q in snapshot.quotes if q.state not in OPEN_QUOTES and q.id in ours and not has_newer(q, snapshot)]
    known = _known(opportunity, intent, newest.get(opportunity.id), metadata)
    steps = [_reopen_opportunity(opportunity, known, metadata)] if closed else []
    steps += [_reopen_quote(quote, metadata) for quote in back]
    if forbidden := forbidden_transition(steps, snapshot, metadata):
        return Refusal(opportunity.id, "transition_forbidden", forbidden)
    refuse_lacking(steps, metadata.privileges)
    notes = _notes(opportunity, known, metadata) if closed else ()
    return make_plan(opportunity.id, steps, metadata.bypass.text, None, tuple(notes))


def has_newer(quote: Quote, snapshot: Snapshot) -> bool:
    """Tell whether a newer revision of the quote is there, or one that is open: a number has one open revision."""
    return bool(quote.number) and any(
        other.number == quote.number and other.id != quote.id and (other.revision > quote.revision or other.is_open)
        for other in snapshot.quotes
    )


def _is_to_undo(activity: UUID, intent: ReopenIntent) -> bool:
    if intent.activity_ids is not None and activity not in intent.activity_ids:
        return False
    if intent.closed_under is not None:
        return identity.is_made_under(activity, intent.opportunity_id, intent.closed_under)
    return intent.activity_ids is not None or identity.is_ours(activity, intent.opportunity_id)


@dataclass(frozen=True, slots=True)
class _OriginalFacts:
    """What is known of an opportunity before its close; `values` has the columns that are, by name."""

    status: int | None
    values: Mapping[str, ColumnValue]


def _known(
    opportunity: Opportunity, intent: ReopenIntent, activity: UUID | None, metadata: OrganizationMetadata
) -> _OriginalFacts:
    """Return what the intent says, from the ledger of a job, or else what the id of the close activity keeps."""
    open_ones = [status.value for status in metadata.opportunity_statuses if status.state == OpportunityState.OPEN]
    before = None if activity is None else identity.kept_before(activity, opportunity.id)
    if intent.open_status is not None or before is None:
        status = intent.open_status if intent.open_status in open_ones else None
        return _OriginalFacts(status, intent.open_values)
    fitting = [status for status in open_ones if before.had(status)]
    values: dict[str, ColumnValue] = {}
    if before.probability is not None:
        values[_PROBABILITY] = before.probability
    values |= {name: None for name, empty in ((_VALUE, before.no_revenue), (_DATE, before.no_date)) if empty}
    return _OriginalFacts(fitting[0] if len(fitting) == 1 else None, values)


def _now(opportunity: Opportunity) -> dict[str, ColumnValue]:
    day = opportunity.actual_close_date
    return {
        _VALUE: opportunity.actual_value,
        _DATE: None if day is None else day.isoformat(),
        _PROBABILITY: opportunity.close_probability,
    }


def _reopen_opportunity(opportunity: Opportunity, known: _OriginalFacts, metadata: OrganizationMetadata) -> Step:
    """Return the step that opens it, with what it had before as far as that is known and was changed."""
    state, statuses = OpportunityState.OPEN, metadata.opportunity_statuses
    status = known.status
    if status is None or not reasons.may_follow(statuses, opportunity.status, status):
        status = reasons.default_of("opportunity", statuses, state)
    now = _now(opportunity)
    back = {name: value for name, value in known.values.items() if name in now and now[name] != value}
    back = {name: value for name, value in back.items() if f"opportunity.{name}" not in metadata.unwritable}
    return replace(update_step(StepKind.REOPEN_OPPORTUNITY, "opportunity", opportunity, state, status), columns=back)


def _notes(opportunity: Opportunity, known: _OriginalFacts, metadata: OrganizationMetadata) -> Iterator[str]:
    """Yield what cannot be brought back."""
    if known.status is None:
        label = reasons.default_of("opportunity", metadata.opportunity_statuses, OpportunityState.OPEN)
        yield f"The status reason it had before the close is not known: it gets the default of Open ({label})."
    now = _now(opportunity)
    for name, words in ((_VALUE, "actual revenue"), (_DATE, "close date")):
        if now[name] is not None and name not in known.values:
            yield f"The {words} {now[name]} stays: what it was before the close is not known."


def _reopen_quote(quote: Quote, metadata: OrganizationMetadata) -> Step:
    status = reasons.default_of("quote", metadata.quote_statuses, QuoteState.DRAFT)
    return update_step(StepKind.REOPEN_QUOTE, "quote", quote, QuoteState.DRAFT, status)
