"""Sends events to callbacks until they are taken: destinations apart, one event at a time to each, a deadline each.

A destination that does not answer holds its own thread and nobody else's. One that has failed before is served by
threads of its own kind, so that however many hang, those that answer are told at once.
"""

from __future__ import annotations

import functools
import logging
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from connector.clock import Clock
from connector.errors import ConnectorError, TransportError
from connector.handler import Handler, Request, Response
from connector.ledger.subscriptions import Delivery
from connector.service.operations.status_links import Seal
from connector.service.operations.waiting import DaemonExecutor
from connector.service.webhooks.closed_events import REMEMBERS
from connector.service.webhooks.subscription_service import SubscriptionService, allowed

PAUSES = (10.0, 20.0, *(30.0,) * 20, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0)
"""Seconds between attempts; the last one repeats. Who is back after ten minutes is told within half a minute."""
GIVES_UP = 3 * 86400.0
"""Seconds for which a callback may fail before its subscription is removed."""
CLAIM = 120.0
"""Seconds for which one process has a delivery to itself."""
TIMEOUT = 20.0
"""Seconds for which the answer of a callback is waited for."""
MOST_DESTINATIONS = 2_000
"""Destinations that are looked at in one round."""
_LONGEST_WAIT = 86400.0
_LONGEST_TEXT = 64
_GONE = frozenset({404, 410})

_log = logging.getLogger("connector.service.webhooks")


@dataclass(slots=True)
class DeliveryWorker:
    """Sends what is due by `http`, which must not follow redirects; `hosts` are checked again before every call.

    `executor` serves the destinations that answer, `slow` those that have failed. Safe from several threads.
    """

    subscriptions: SubscriptionService
    http: Handler
    seal: Seal
    clock: Clock
    hosts: tuple[str, ...]
    executor: DaemonExecutor
    slow: DaemonExecutor
    _serving: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def round(self) -> list[Future[int]]:
        """Begin to serve every destination for which something is due; each future has how many events it took."""
        begun = []
        for id_, failing in self.subscriptions.store.due_destinations(self._now(), MOST_DESTINATIONS):
            with self._lock:
                if id_ in self._serving:
                    continue
                self._serving.add(id_)
            begun.append((self.slow if failing else self.executor).submit(functools.partial(self._serve, id_)))
        return begun

    @property
    def busy(self) -> bool:
        """Return whether a destination is being served."""
        with self._lock:
            return bool(self._serving)

    def sweep(self) -> None:
        """Forget what was delivered long ago, and end subscriptions that have expired."""
        self.subscriptions.store.forget_delivered(self._now() - REMEMBERS)
        self.subscriptions.expire()

    def _serve(self, id_: str) -> int:
        """Deliver to one destination until nothing is due, or until it does not take an event."""
        delivered = 0
        try:
            delivery = self.subscriptions.store.next_delivery(id_, self._now())
            while delivery is not None and self._deliver(delivery):
                delivered += 1
                delivery = self.subscriptions.store.next_delivery(id_, self._now())
        except ConnectorError as error:
            _log.warning("What is due to subscription %s waits for the store: %s", id_, type(error).__name__)
        except Exception as error:  # the claim ends by itself: the delivery is tried again
            _log.exception("Serving subscription %s broke off: %s", id_, type(error).__name__, exc_info=False)
        finally:
            with self._lock:
                self._serving.discard(id_)
        return delivered

    def _deliver(self, delivery: Delivery) -> bool:
        """Send one event; return whether the callback took it."""
        now = self._now()
        if not self.subscriptions.store.claim(delivery, now, now + CLAIM):
            return False  # another process has it
        callback = self.subscriptions.callback(delivery.subscription)
        body = self.seal.open(delivery.body, f"{delivery.subscription}.{delivery.event}")
        if not body or not allowed(callback, self.hosts):
            self.subscriptions.store.remove(delivery.subscription)
            _log.warning(
                "subscription %s removed: its callback is sealed with another secret or not allowed",
                delivery.subscription,
            )
            return False
        return self._settle(delivery, self._send(callback, body))

    def _send(self, callback: str, body: str) -> Response | None:
        request = Request("POST", callback, {"content-type": "application/json"}, body.encode(), TIMEOUT)
        try:
            return self.http(request)
        except TransportError:
            return None  # its text may hold the callback, which is a secret

    def _settle(self, delivery: Delivery, response: Response | None) -> bool:
        """Note that the event was taken, or when to try again, or that nobody waits for it any more."""
        status = response.status if response is not None else 0
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            self.subscriptions.store.delivered(delivery)
            return True
        now, since = self._now(), self.subscriptions.store.failing_since(delivery.subscription)
        lasting = delivery.attempts >= len(PAUSES)  # a clock that jumps is not enough
        if status in _GONE or (lasting and since is not None and now - since >= GIVES_UP):
            self.subscriptions.store.remove(delivery.subscription)
            _log.info("subscription %s removed: its callback answered %s", delivery.subscription, status or "nothing")
            return False
        pause = max(PAUSES[min(delivery.attempts, len(PAUSES) - 1)], asked_pause(response, self.clock.now()))
        self.subscriptions.store.put_off(delivery, now, now + pause)
        return False

    def _now(self) -> float:
        return self.clock.now().timestamp()


def asked_pause(response: Response | None, now: datetime) -> float:
    """Return the seconds of Retry-After, in either of its forms, at most a day; 0 for none and for what is no time."""
    text = (response.header("retry-after") or "").strip() if response is not None else ""
    if len(text) > _LONGEST_TEXT or not text.isascii():
        return 0.0
    if text.isdecimal():
        return min(float(text), _LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return min(max(0.0, (moment - now).total_seconds()), _LONGEST_WAIT)
    except (ValueError, OverflowError, TypeError, IndexError):
        return 0.0  # a callback may send anything
