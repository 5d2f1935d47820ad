"""Turns closes into deliveries: what is to be sent is kept in the store until the callback has taken it.

An event may arrive twice after a crash, with the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from connector.clock import Clock
from connector.closing.model import Report
from connector.closing.organization import Organization
from connector.ledger.subscriptions import Subscription
from connector.service.operations.status_links import Seal
from connector.service.schemas.response_models import ClosedEvent
from connector.service.webhooks.closed_events import Source, closed_by_us, closed_event
from connector.service.webhooks.subscription_service import SubscriptionService, wants

REMEMBERS = 7 * 86400.0
"""Seconds for which it is known what was sent, and how old a close may be to be told of."""
_EARLY = 300.0


class Notifier:
    """Turns closes into deliveries, one for each subscription that wants it.

    `organization_for` gives a tenant's organization as the endpoint's own application sees it.
    """

    def __init__(
        self,
        subscriptions: SubscriptionService,
        organization_for: Callable[[str], Organization],
        secret: bytes,
        clock: Clock,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._subscriptions = subscriptions
        self._organization_for = organization_for
        self._seal = Seal(secret)
        self._clock = clock
        self._entropy = entropy

    def announce(self, tenant: str, ids: Sequence[UUID], source: Source) -> int:
        """Read the opportunities and queue an event for each that is closed; returns how many deliveries are new.

        Raises ConnectorError when they cannot be read: then nothing was queued, and it may be announced again.
        """
        waiting = self._subscriptions.of_tenant(tenant)
        if not waiting or not ids:
            return 0
        seen = self._organization_for(tenant).observe(tuple(dict.fromkeys(ids)), activities=True)
        now = self._clock.now()
        events = (closed_event(tenant, snapshot, source, now) for snapshot in seen.values())
        return sum(self._queue(event, waiting, now) for event in events if event is not None)

    def announce_own(self, tenant: str, report: Report, operation_id: str) -> int:
        """Queue an event for what an operation of this endpoint closed; returns how many deliveries are new.

        The report says all there is to tell, so nothing is read that could fail.
        """
        closed = closed_by_us(report, self._clock.now())
        waiting = self._subscriptions.of_tenant(tenant) if closed else []
        if closed is None or not waiting:
            return 0
        now = self._clock.now()
        event = closed_event(tenant, closed, "connector", now, operation_id)
        return self._queue(event, waiting, now) if event is not None else 0

    def _queue(self, event: ClosedEvent, waiting: Sequence[Subscription], now: datetime) -> int:
        """Queue the event where it is wanted; a close from before a subscription, or long ago, is no news."""
        happened = event.occurred_at.timestamp()
        if happened < now.timestamp() - REMEMBERS:
            return 0
        body = event.model_dump_json(by_alias=True, exclude_none=True)
        queued = 0
        for subscription in waiting:
            if happened < subscription.created - _EARLY or not wants(subscription, event):
                continue
            sealed = self._seal.close(body, f"{subscription.id}.{event.event_id}", self._entropy(12))
            queued += self._subscriptions.store.add_delivery(subscription.id, event.event_id, sealed, now.timestamp())
        return queued
