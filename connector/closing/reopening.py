"""The way back: which writes open an opportunity again, with the quotes that this connector closed. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from connector.closing import identity, reasons
from connector.closing.digest import make_plan
from connector.closing.model import (
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
    steps = [_reopen_opportunity(opportunity, intent.open_status, metadata)] if closed else []
    steps += [_reopen_quote(quote, metadata) for quote in back]
    if forbidden := forbidden_transition(steps, snapshot, metadata):
        return Refusal(opportunity.id, "transition_forbidden", forbidden)
    refuse_lacking(steps, metadata.privileges)
    return make_plan(opportunity.id, steps, metadata.bypass.text)


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


def _reopen_opportunity(opportunity: Opportunity, before: int | None, metadata: OrganizationMetadata) -> Step:
    """Return the step that opens it, with the status reason it had before where that is still one of Open."""
    known = (s.value for s in metadata.opportunity_statuses if s.state == OpportunityState.OPEN)
    if before is not None and before in known:
        return update_step(StepKind.REOPEN_OPPORTUNITY, "opportunity", opportunity, OpportunityState.OPEN, before)
    status = reasons.default_of("opportunity", metadata.opportunity_statuses, OpportunityState.OPEN)
    return update_step(StepKind.REOPEN_OPPORTUNITY, "opportunity", opportunity, OpportunityState.OPEN, status)


def _reopen_quote(quote: Quote, metadata: OrganizationMetadata) -> Step:
    status = reasons.default_of("quote", metadata.quote_statuses, QuoteState.DRAFT)
    return update_step(StepKind.REOPEN_QUOTE, "quote", quote, QuoteState.DRAFT, status)
