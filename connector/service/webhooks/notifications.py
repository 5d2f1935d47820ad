"""What is told to subscribers, and how: a close is noticed, becomes an event, and is sent until it is taken.

The same close may be noticed three times (done here, told by a webhook, found by change tracking): its event is named
after its close activity, so it is sent once. What is to be sent is kept in the store until then; an event may arrive
twice after a crash, with the same id.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time
from email.utils import parsedate_to_datetime
from typing import Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from connector.clock import Clock
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
from connector.closing.organization import Organization
from connector.errors import TransportError
from connector.handler import Handler, Request, Response
from connector.ledger.database import Database
from connector.service.operations.status_links import Seal
from connector.service.schemas.response_models import ClosedEvent, QuoteView
from connector.service.webhooks.callback_hosts import allowed
from connector.service.webhooks.subscriptions import Subscription, Subscriptions

Source = Literal["connector", "dataverse_webhook", "change_tracking"]

PAUSES = (10.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0)
"""Seconds between attempts; the last one repeats."""

GIVES_UP = 3 * 86400.0
"""Seconds for which a callback may fail before its subscription is removed."""

REMEMBERS = 7 * 86400.0
"""Seconds for which it is known what was sent, and how old a close may be to be told of."""

CLAIM = 120.0
"""Seconds for which one process has a delivery to itself."""

TIMEOUT = 30.0
_EARLY = 300.0
_LONGEST_WAIT = 86400.0
_GONE = frozenset({404, 410})
_OUTCOME = {OpportunityState.WON: Outcome.WON, OpportunityState.LOST: Outcome.LOST}
_QUOTE_STATES: dict[QuoteState, Literal["draft", "active", "won", "closed"]] = {
    QuoteState.DRAFT: "draft",
    QuoteState.ACTIVE: "active",
    QuoteState.WON: "won",
    QuoteState.CLOSED: "closed",
}

_log = logging.getLogger("connector.service.webhooks.notifications")


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


def _closed_by_us(report: Report, now: datetime) -> Snapshot | None:
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


class Notifier:
    """Turns closes into deliveries, one for each subscription that wants it.

    `organization_for` gives a tenant's organization as the endpoint's own application sees it.
    """

    def __init__(
        self,
        database: Database,
        subscriptions: Subscriptions,
        organization_for: Callable[[str], Organization],
        secret: bytes,
        clock: Clock,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._database = database
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
        closed = _closed_by_us(report, self._clock.now())
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
            if happened < subscription.created - _EARLY or not subscription.wants(event):
                continue
            sealed = self._seal.close(body, f"{subscription.id}.{event.event_id}", self._entropy(12))
            with self._database.transaction() as transaction:
                queued += transaction.run(
                    "INSERT INTO delivery (subscription, event, body, due, attempts, made) VALUES (?, ?, ?, ?, 0, ?)"
                    " ON CONFLICT (subscription, event) DO NOTHING",
                    (subscription.id, event.event_id, sealed, now.timestamp(), now.timestamp()),
                )
        return queued


class DeliveryWorker:
    """Sends what is due by `http`, which must not follow redirects; `hosts` are checked again before every call."""

    def __init__(
        self,
        database: Database,
        subscriptions: Subscriptions,
        http: Handler,
        secret: bytes,
        clock: Clock,
        hosts: tuple[str, ...],
    ) -> None:
        self._database = database
        self._subscriptions = subscriptions
        self._http = http
        self._seal = Seal(secret)
        self._clock = clock
        self._hosts = hosts

    def round(self, most: int = 100) -> int:
        """Send what is due, at most so many, and return how many were taken."""
        due = self._database.rows(
            "SELECT id, subscription, event, body, due, attempts FROM delivery WHERE due IS NOT NULL AND due <= ?"
            " ORDER BY due LIMIT ?",
            (self._now(), most),
        )
        return sum(self._deliver(*row) for row in due)

    def sweep(self) -> None:
        """Forget what was sent long ago, and end subscriptions that have expired."""
        with self._database.transaction() as transaction:
            transaction.run("DELETE FROM delivery WHERE due IS NULL AND made < ?", (self._now() - REMEMBERS,))
        self._subscriptions.expire()

    def _deliver(self, number: int, name: str, event: str, sealed: str, due: float, attempts: int) -> bool:
        with self._database.transaction() as transaction:
            claimed = transaction.run(
                "UPDATE delivery SET due = ?, attempts = ? WHERE id = ? AND due = ?",
                (self._now() + CLAIM, attempts + 1, number, due),
            )
        if not claimed:
            return False  # another process has it
        callback = self._subscriptions.callback(name)
        body = self._seal.open(sealed, f"{name}.{event}")
        if not body or not allowed(callback, self._hosts):
            self._subscriptions.remove(name)
            _log.warning("subscription %s removed: its callback is sealed with another secret or not allowed", name)
            return False
        answer = self._send(callback, body)
        return self._settle(number, name, attempts, answer)

    def _send(self, callback: str, body: str) -> Response | None:
        request = Request("POST", callback, {"content-type": "application/json"}, body.encode(), TIMEOUT)
        try:
            return self._http(request)
        except TransportError:
            return None  # its text may hold the callback, which is a secret

    def _settle(self, number: int, name: str, attempts: int, answer: Response | None) -> bool:
        """Note that it was taken, or when to try again, or that nobody waits for it any more."""
        status = answer.status if answer is not None else 0
        if 200 <= status < 300:
            with self._database.transaction() as transaction:
                transaction.run("UPDATE delivery SET due = NULL, body = NULL WHERE id = ?", (number,))
                transaction.run("UPDATE subscription SET failing = NULL WHERE id = ?", (name,))
            return True
        now = self._now()
        since = self._database.rows("SELECT failing FROM subscription WHERE id = ?", (name,))
        failing = since[0][0] if since and since[0][0] is not None else now
        if status in _GONE or now - failing >= GIVES_UP:
            self._subscriptions.remove(name)
            _log.info("subscription %s removed: its callback answered %s", name, status or "nothing")
            return False
        pause = max(PAUSES[min(attempts, len(PAUSES) - 1)], _told_pause(answer, self._clock.now()))
        with self._database.transaction() as transaction:
            transaction.run("UPDATE delivery SET due = ? WHERE id = ?", (now + pause, number))
            transaction.run("UPDATE subscription SET failing = ? WHERE id = ?", (failing, name))
        return False

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _told_pause(answer: Response | None, now: datetime) -> float:
    """Return the seconds of Retry-After, in either of its forms, at most a day; 0 without one."""
    said = (answer.header("retry-after") or "").strip() if answer is not None else ""
    if said.isdecimal():
        return min(float(said), _LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(said)
    except ValueError:
        return 0.0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), _LONGEST_WAIT)


def event_from(body: bytes) -> ClosedEvent:
    """Return the event that a subscriber was sent."""
    return ClosedEvent.model_validate(json.loads(body))
