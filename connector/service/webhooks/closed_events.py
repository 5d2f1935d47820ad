"""The event that subscribers are told: made of a closed opportunity, named after its close activity.

The same close may be noticed three times (done here, told by a webhook, found by change tracking); its name makes it
one event.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time
from typing import Literal
from uuid import NAMESPACE_URL, uuid5

from connector.closing.model import (
    CloseActivity,
    Opportunity,
    OpportunityState,
    Outcome,
    QuoteState,
    Report,
    ReportStatus,
    Snapshot,
    StepKind,
)
from connector.service.schemas.response_models import ClosedEvent, QuoteView

Source = Literal["connector", "dataverse_webhook", "change_tracking"]

_OUTCOME = {OpportunityState.WON: Outcome.WON, OpportunityState.LOST: Outcome.LOST}
_QUOTE_STATES: dict[QuoteState, Literal["draft", "active", "won", "closed"]] = {
    QuoteState.DRAFT: "draft",
    QuoteState.ACTIVE: "active",
    QuoteState.WON: "won",
    QuoteState.CLOSED: "closed",
}


def closed_event(
    tenant: str, snapshot: Snapshot, source: Source, now: datetime, operation_id: str | None = None
) -> ClosedEvent | None:
    """Return the event of a closed opportunity; None while it is open."""
    opportunity = snapshot.opportunity
    outcome = _OUTCOME.get(opportunity.state)
    if outcome is None:
        return None
    activity = _latest(snapshot)
    name = str(activity.id) if activity else f"{opportunity.id} {outcome} {opportunity.actual_close_date}"
    return ClosedEvent(
        event_id=str(uuid5(NAMESPACE_URL, f"opportunity-closed:{tenant}:{name}")),
        occurred_at=_occurred(opportunity, activity, now),
        opportunity_id=opportunity.id,
        outcome=outcome,
        status=opportunity.status,
        name=opportunity.name,
        actual_revenue=None if opportunity.actual_value is None else float(opportunity.actual_value),
        closed_on=opportunity.actual_close_date,
        quotes=[
            QuoteView(quote_id=q.id, name=q.name, number=q.number, state=_QUOTE_STATES[q.state], status=q.status)
            for q in snapshot.quotes
        ],
        source=source,
        operation_id=operation_id,
    )


def closed_by_us(report: Report, now: datetime) -> Snapshot | None:
    """Return the closed opportunity with the close activity that we made; None when there is nothing to tell of."""
    after = report.after
    if report.status is not ReportStatus.CLOSED or after is None:
        return None
    made = [
        CloseActivity(result.step.activity_id, after.opportunity.id, completed=True, created_on=now)
        for result in report.steps
        if result.step.kind is StepKind.CLOSE_OPPORTUNITY and result.step.activity_id
    ]
    return replace(after, activities=tuple(made)) if made else (after if after.activities else None)


def _latest(snapshot: Snapshot) -> CloseActivity | None:
    ours = [a for a in snapshot.activities if a.record_id == snapshot.opportunity.id and a.completed]
    return max(ours, key=lambda a: (a.created_on is not None, a.created_on, a.id), default=None)


def _occurred(opportunity: Opportunity, activity: CloseActivity | None, now: datetime) -> datetime:
    """Return when it was closed: as its close activity says, else the end of its close date, but not later than now."""
    if activity is not None and activity.created_on is not None:
        return activity.created_on
    if opportunity.actual_close_date is None:
        return now
    return min(now, datetime.combine(opportunity.actual_close_date, time.max, UTC))
