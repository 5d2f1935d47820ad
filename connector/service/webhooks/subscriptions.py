"""Who wants to be told of closed opportunities: kept in the ledger's store, the callback sealed, the address a proof.

Flows have been seen to unsubscribe without a key (PowerPlatformConnectors 3678), so the address of a subscription is
itself the right to end it. Subscribing again with the same callback and filter renews what stands.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from connector.clock import Clock
from connector.ledger.database import Database, Found
from connector.service.operations.status_links import Seal
from connector.service.problems import declined
from connector.service.schemas.request_models import SubscribeBody
from connector.service.schemas.response_models import ClosedEvent
from connector.service.webhooks.callback_hosts import check_callback

LASTS = 90 * 86400.0
"""Seconds after which a subscription ends unless the flow renews it."""

MOST = 1_000
"""Subscriptions that one owner may have."""

_COLUMNS = "id, tenant, outcome, minimum, created, expires, failing"
_NONCE = 12


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription; `failing` is since when its callback has not taken anything. Times in seconds since 1970."""

    id: str
    tenant: str
    outcome: str
    minimum: Decimal | None
    created: float
    expires: float
    failing: float | None = None

    @property
    def ends(self) -> datetime:
        """Return when it ends unless it is renewed."""
        return datetime.fromtimestamp(self.expires, UTC)

    def wants(self, event: ClosedEvent) -> bool:
        """Return whether the event passes the filter."""
        if self.outcome not in ("any", event.outcome):
            return False
        revenue = Decimal(str(event.actual_revenue or 0))
        return self.minimum is None or revenue >= self.minimum


class Subscriptions:
    """The subscriptions of one store. `secret` signs addresses and seals callbacks; `hosts` are the allowed callbacks.

    `entropy` gives that many random bytes. Methods may be called from any thread.
    """

    def __init__(
        self,
        database: Database,
        secret: bytes,
        clock: Clock,
        entropy: Callable[[int], bytes],
        hosts: tuple[str, ...],
    ) -> None:
        self._database = database
        self._clock = clock
        self._entropy = entropy
        self._hosts = hosts
        self._secret = hashlib.sha256(b"subscription-address\0" + secret).digest()
        self._seal = Seal(secret)

    def subscribe(self, owner: str, tenant: str, wish: SubscribeBody) -> Subscription:
        """Return the subscription that `wish` makes or renews; raises RequestRefused (400, 429)."""
        check_callback(wish.callback_url, self._hosts)
        minimum = None if wish.minimum_revenue is None else str(wish.minimum_revenue.normalize())
        twin = self._signature("\0".join((owner, tenant, wish.callback_url, wish.outcome, minimum or "")))
        now = self._now()
        fresh = UUID(bytes=self._entropy(16), version=4).hex
        callback = self._seal.close(wish.callback_url, fresh, self._entropy(_NONCE))
        with self._database.transaction() as transaction:
            count = transaction.rows("SELECT count(*) FROM subscription WHERE owner = ?", (owner,))[0][0]
            renewed = transaction.run(
                "UPDATE subscription SET expires = ?, failing = NULL WHERE twin = ?", (now + LASTS, twin)
            )
            if not renewed and count >= MOST:
                raise declined(429, "too_many_subscriptions", f"You have {MOST} subscriptions. End some of them first.")
            if not renewed:
                transaction.run(
                    "INSERT INTO subscription (id, twin, owner, tenant, callback, outcome, minimum, created, expires)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (fresh, twin, owner, tenant, callback, wish.outcome, minimum, now, now + LASTS),
                )
            found = transaction.rows(f"SELECT {_COLUMNS} FROM subscription WHERE twin = ?", (twin,))
        return _subscription(found[0])

    def address(self, subscription: Subscription) -> str:
        """Return the last part of the subscription's address: its id and a signature that only we can make."""
        return f"{subscription.id}.{self._signature(subscription.id)}"

    def end(self, address: str) -> None:
        """End the subscription at `address`; twice is no failure. Raises RequestRefused (404)."""
        name, _, signature = address.partition(".")
        if not hmac.compare_digest(self._signature(name).encode(), signature.encode()):
            raise declined(404, "subscription_unknown", "There is no such subscription.")
        self.remove(name)

    def remove(self, name: str) -> None:
        """Remove a subscription and what was still to be sent to it."""
        with self._database.transaction() as transaction:
            transaction.run("DELETE FROM delivery WHERE subscription = ?", (name,))
            transaction.run("DELETE FROM subscription WHERE id = ?", (name,))

    def of_tenant(self, tenant: str) -> list[Subscription]:
        """Return the subscriptions of a tenant that have not expired."""
        found = self._database.rows(
            f"SELECT {_COLUMNS} FROM subscription WHERE tenant = ? AND expires > ? ORDER BY id",
            (tenant, self._now()),
        )
        return [_subscription(row) for row in found]

    def tenants(self) -> list[str]:
        """Return the tenants with a subscription that has not expired."""
        query = "SELECT DISTINCT tenant FROM subscription WHERE expires > ? ORDER BY tenant"
        return [str(row[0]) for row in self._database.rows(query, (self._now(),))]

    def callback(self, name: str) -> str:
        """Return where a subscription is told; empty when it is gone, or sealed with another secret."""
        found = self._database.rows("SELECT callback FROM subscription WHERE id = ?", (name,))
        return self._seal.open(found[0][0], name) if found else ""

    def expire(self) -> int:
        """Remove what has expired and return how many that were."""
        expired = self._database.rows("SELECT id FROM subscription WHERE expires <= ?", (self._now(),))
        for (name,) in expired:
            self.remove(name)
        return len(expired)

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _signature(self, text: str) -> str:
        digest = hmac.new(self._secret, text.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _subscription(found: Found) -> Subscription:
    name, tenant, outcome, minimum, created, expires, failing = found
    return Subscription(name, tenant, outcome, None if minimum is None else Decimal(minimum), created, expires, failing)
