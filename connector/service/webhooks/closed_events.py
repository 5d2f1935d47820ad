"""The event of a closed opportunity, named after its close activity, and its deliveries to subscribers.

The same close may be noticed three times (done here, told by a webhook, found by change tracking); its name makes it
one event. A delivery is kept in the store until the callback has taken it; after a crash an event may arrive twice,
with the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from typing import Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from connector.clock import Clock
from connector.closing.model import (
    CloseActivity,
    Opportunity,
    OpportunityState,
    Outcome,
    Report,
    ReportStatus,
    Snapshot,
    StepKind,
)
from connector.closing.organization import MetadataRequest, Organization
from connector.errors import ConnectorError
from connector.ledger.subscriptions import Subscription
from connector.service.operations.status_links import Seal
from connector.service.schemas.response_models import ClosedEvent, QuoteView, amount
from connector.service.webhooks.subscription_service import SubscriptionService, wants

Source = Literal["connector", "dataverse_webhook", "change_tracking"]

_OUTCOME = {OpportunityState.WON: Outcome.WON, OpportunityState.LOST: Outcome.LOST}


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
        actual_revenue=amount(opportunity.actual_value),
        closed_on=opportunity.actual_close_date,
        quotes=[QuoteView.of(quote) for quote in snapshot.quotes],
        source=source,
        operation_id=operation_id,
    )


def with_currency(event: ClosedEvent, snapshot: Snapshot, organization: Callable[[], Organization]) -> ClosedEvent:
    """Return an event with the currency of its amount; without where that cannot be read, which holds up no event."""
    try:
        codes = organization().metadata(MetadataRequest(amounts=True)).currencies
    except ConnectorError:
        return event
    return event.model_copy(update={"currency": codes.get(snapshot.opportunity.currency_id)})


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


REMEMBERS = 7 * 86400.0
"""Seconds for which it is known what was sent, and how old a close may be to be told of."""
_EARLY = 300.0


@dataclass(frozen=True, slots=True)
class Notifier:
    """Turns closes into deliveries, one for each subscription that wants it.

    `organization_for` gives a tenant's organization as the endpoint's own application sees it.
    """

    subscriptions: SubscriptionService
    organization_for: Callable[[str], Organization]
    seal: Seal
    clock: Clock
    entropy: Callable[[int], bytes]

    def announce(self, tenant: str, ids: Sequence[UUID], source: Source) -> int:
        """Read the opportunities and queue an event for each that is closed; returns how many deliveries are new.

        Raises ConnectorError when they cannot be read: then nothing was queued, and it may be announced again.
        """
        waiting = self.subscriptions.of_tenant(tenant)
        if not waiting or not ids:
            return 0
        organization = self.organization_for(tenant)
        snapshots = organization.observe(tuple(dict.fromkeys(ids)), activities=True)
        now = self.clock.now()
        events = ((closed_event(tenant, snapshot, source, now), snapshot) for snapshot in snapshots.values())
        events_told = (
            with_currency(event, snapshot, lambda: organization) for event, snapshot in events if event is not None
        )
        return sum(self._queue(event, waiting, now) for event in events_told)

    def announce_own(
        self, tenant: str, report: Report, operation_id: str, organization: Callable[[], Organization]
    ) -> int:
        """Queue an event for what an operation of this endpoint closed; returns how many deliveries are new.

        The report says all there is to tell but the code of the currency, for which the caller's `organization` is.
        """
        closed = closed_by_us(report, self.clock.now())
        waiting = self.subscriptions.of_tenant(tenant) if closed else []
        if closed is None or not waiting:
            return 0
        now = self.clock.now()
        event = closed_event(tenant, closed, "connector", now, operation_id)
        return self._queue(with_currency(event, closed, organization), waiting, now) if event is not None else 0

    def _queue(self, event: ClosedEvent, waiting: Sequence[Subscription], now: datetime) -> int:
        """Queue the event where it is wanted; a close from before a subscription, or long ago, is no news."""
        happened = event.occurred_at.timestamp()
        if happened < now.timestamp() - REMEMBERS:
            return 0
        body = event.model_dump_json(by_alias=True, exclude_none=True)
        queued = 0
        for subscription in waiting:
            begun = min(subscription.created, now.timestamp())  # the clock may have been set back since
            if happened < begun - _EARLY or not wants(subscription, event):
                continue
            sealed = self.seal.close(body, f"{subscription.id}.{event.event_id}", self.entropy(12))
            queued += self.subscriptions.store.add_delivery(subscription.id, event.event_id, sealed, now.timestamp())
        return queued
