"""The way back: which writes open an opportunity again, with the quotes that this connector closed. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
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
from connector.closing.plan import step_on
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
            f"The opportunity is {opportunity.state.name.lower()}, but not by what is to be undone. "
            "Reopen it by itself if that is wanted.",
        )
    back = [quote for quote in snapshot.quotes if not quote.is_open and quote.id in ours]
    steps: list[Step] = []
    notes: tuple[str, ...] = ()
    if closed:
        intent = _completed(intent, opportunity, newest.get(opportunity.id), metadata)
        status = _open_status(opportunity, intent, metadata)
        steps = [_reopen_opportunity(opportunity, intent, status, metadata)]
        notes = tuple(_notes(opportunity, intent, status, metadata))
    steps += [_reopen_quote(quote, metadata) for quote in back if not why_closed(quote, snapshot, metadata)]
    if forbidden := forbidden_transition(steps, snapshot, metadata):
        return Refusal(opportunity.id, "transition_forbidden", forbidden)
    refuse_lacking(steps, metadata.privileges)
    return make_plan(opportunity.id, steps, metadata.bypass.text, None, notes)


def why_closed(quote: Quote, snapshot: Snapshot, metadata: OrganizationMetadata) -> str:
    """Return why a closed quote cannot be a draft again, or nothing: a number has one open revision, say."""
    newer = any(
        other.number == quote.number and other.id != quote.id and (other.revision > quote.revision or other.is_open)
        for other in snapshot.quotes
    )
    if quote.number and newer:
        return "a newer revision of it is there"
    may = reasons.may_follow(metadata.quote_statuses, quote.status, _reopen_quote(quote, metadata).status or 0)
    return "" if may else "the organization lets no status reason of a draft follow the one it has"


def _is_to_undo(activity: UUID, intent: ReopenIntent) -> bool:
    if intent.activity_ids is not None and activity not in intent.activity_ids:
        return False
    if intent.closed_under is not None:
        return identity.is_made_under(activity, intent.opportunity_id, intent.closed_under)
    return intent.activity_ids is not None or identity.is_ours(activity, intent.opportunity_id)


def _completed(
    intent: ReopenIntent, opportunity: Opportunity, activity: UUID | None, metadata: OrganizationMetadata
) -> ReopenIntent:
    """Return the intent with what was before the close: by the ledger of a job, else by the close activity's id."""
    open_ones = [status.value for status in metadata.opportunity_statuses if status.state == OpportunityState.OPEN]
    before = None if activity is None else identity.kept_before(activity, opportunity.id)
    if intent.open_status is not None or before is None:
        return intent if intent.open_status in open_ones else replace(intent, open_status=None)
    fitting = [status for status in open_ones if before.had(status)]
    values: dict[str, ColumnValue] = {}
    if before.probability is not None:
        values[_PROBABILITY] = before.probability
    values |= {name: None for name, empty in ((_VALUE, before.no_revenue), (_DATE, before.no_date)) if empty}
    return replace(intent, open_status=fitting[0] if len(fitting) == 1 else None, open_values=values)


def changed_columns(opportunity: Opportunity) -> dict[str, ColumnValue]:
    """Return the columns of the opportunity that a close changes, beside state and status reason, as they are now."""
    day = opportunity.actual_close_date
    return {
        _VALUE: opportunity.actual_value,
        _DATE: None if day is None else day.isoformat(),
        _PROBABILITY: opportunity.close_probability,
    }


def _reopen_opportunity(
    opportunity: Opportunity, intent: ReopenIntent, status: int, metadata: OrganizationMetadata
) -> Step:
    """Return the step that opens it, with what it had before as far as that is known and was changed."""
    now = changed_columns(opportunity)
    back = {name: value for name, value in intent.open_values.items() if name in now and now[name] != value}
    back = {name: value for name, value in back.items() if f"opportunity.{name}" not in metadata.unwritable}
    step = step_on(opportunity, StepKind.REOPEN_OPPORTUNITY, "Update", OpportunityState.OPEN, status)
    return replace(step, columns=back)


def _open_status(opportunity: Opportunity, intent: ReopenIntent, metadata: OrganizationMetadata) -> int:
    """Return the reason it had, or another where that is not known or may not follow the one it has."""
    statuses, was = metadata.opportunity_statuses, opportunity.status
    if intent.open_status is not None and reasons.may_follow(statuses, was, intent.open_status):
        return intent.open_status
    return reasons.reachable("opportunity", statuses, was, OpportunityState.OPEN)


def _notes(
    opportunity: Opportunity, intent: ReopenIntent, status: int, metadata: OrganizationMetadata
) -> Iterator[str]:
    """Yield what cannot be brought back."""
    label = {reason.value: reasons.in_list([reason]) for reason in metadata.opportunity_statuses}
    if intent.open_status is None:
        yield f"The status reason it had before the close is not known: it gets {label[status]}."
    elif status != intent.open_status:
        had = label[intent.open_status]
        yield f"{had}, which it had, may not follow the status reason it has: it gets {label[status]}."
    now = changed_columns(opportunity)
    for name, words in ((_VALUE, "actual revenue"), (_DATE, "close date")):
        if now[name] is not None and name not in intent.open_values:
            yield f"The {words} {now[name]} stays: what it was before the close is not known."


def _reopen_quote(quote: Quote, metadata: OrganizationMetadata) -> Step:
    status = reasons.reachable("quote", metadata.quote_statuses, quote.status, QuoteState.DRAFT)
    return step_on(quote, StepKind.REOPEN_QUOTE, "Update", QuoteState.DRAFT, status)
