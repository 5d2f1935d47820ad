"""Subscriptions to closed opportunities, deliveries to them, and how far each tenant's changes were read."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from connector.ledger.claims import SKEW
from connector.ledger.schema import Database, SqlRow

_COLUMNS = "id, tenant, outcome, minimum, created, expires, failing"
_DELIVERY = "id, subscription, event, body, due, attempts"
_DUE = "delivery.due IS NOT NULL AND (delivery.due <= ? OR delivery.made > ?)"
"""`made` is when a delivery was added or put off: as for items, that is not later than `SKEW` from now."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription: `failing` is since when its callback has taken nothing; `minimum` is an actual revenue."""

    id: str
    tenant: str
    outcome: str
    minimum: Decimal | None
    created: float
    expires: float
    failing: float | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to a subscription; `body` is sealed, `attempts` counts those before."""

    number: int
    subscription: str
    event: str
    body: str
    due: float
    attempts: int


class SubscriptionStore:
    """The subscriptions of a ledger's database. Methods may be called from any thread and raise LedgerError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, subscription: Subscription, owner: str, twin: str, callback: str, most: int) -> Subscription | None:
        """Add a subscription, or renew the one with the same `twin`; None when `owner` has `most` already."""
        with self._database.transaction() as transaction:
            owned = transaction.rows("SELECT count(*) FROM subscription WHERE owner = ?", (owner,))[0][0]
            renewed = transaction.run(
                "UPDATE subscription SET expires = ?, failing = NULL WHERE twin = ?", (subscription.expires, twin)
            )
            if not renewed and owned >= most:
                return None
            if not renewed:
                minimum = None if subscription.minimum is None else str(subscription.minimum)
                new = (subscription.id, twin, owner, subscription.tenant, callback, subscription.outcome, minimum)
                transaction.run(
                    "INSERT INTO subscription (id, twin, owner, tenant, callback, outcome, minimum, created, expires)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*new, subscription.created, subscription.expires),
                )
            rows = transaction.rows(f"SELECT {_COLUMNS} FROM subscription WHERE twin = ?", (twin,))
        return _subscription(rows[0])

    def of_tenant(self, tenant: str, now: float) -> list[Subscription]:
        """Return the subscriptions of a tenant that have not expired."""
        query = f"SELECT {_COLUMNS} FROM subscription WHERE tenant = ? AND expires > ? ORDER BY id"
        return [_subscription(row) for row in self._database.rows(query, (tenant, now))]

    def tenants(self, now: float) -> list[str]:
        """Return the tenants with a subscription that has not expired."""
        query = "SELECT DISTINCT tenant FROM subscription WHERE expires > ? ORDER BY tenant"
        return [str(row[0]) for row in self._database.rows(query, (now,))]

    def callback(self, id_: str) -> str | None:
        """Return the sealed callback of a subscription; None when it is gone."""
        rows = self._database.rows("SELECT callback FROM subscription WHERE id = ?", (id_,))
        return str(rows[0][0]) if rows else None

    def remove(self, id_: str) -> None:
        """Remove a subscription and what is still to be delivered to it."""
        with self._database.transaction() as transaction:
            transaction.run("DELETE FROM delivery WHERE subscription = ?", (id_,))
            transaction.run("DELETE FROM subscription WHERE id = ?", (id_,))

    def expire(self, now: float) -> int:
        """Remove the subscriptions that have expired and return how many there were."""
        expired = [str(row[0]) for row in self._database.rows("SELECT id FROM subscription WHERE expires <= ?", (now,))]
        for id_ in expired:
            self.remove(id_)
        return len(expired)

    def add_delivery(self, subscription: str, event: str, body: str, now: float) -> int:
        """Add a delivery, due at once; return 0 when the subscription has had this event before."""
        with self._database.transaction() as transaction:
            return transaction.run(
                "INSERT INTO delivery (subscription, event, body, due, attempts, made) VALUES (?, ?, ?, ?, 0, ?)"
                " ON CONFLICT (subscription, event) DO NOTHING",
                (subscription, event, body, now, now),
            )

    def due_destinations(self, now: float, most: int) -> list[tuple[str, bool]]:
        """Return up to `most` subscriptions with a delivery that is due, and whether their callback is failing."""
        query = (
            "SELECT delivery.subscription, subscription.failing IS NOT NULL FROM delivery"
            " JOIN subscription ON subscription.id = delivery.subscription"
            f" WHERE {_DUE} GROUP BY delivery.subscription, subscription.failing ORDER BY min(delivery.due) LIMIT ?"
        )
        return [(str(id_), bool(failing)) for id_, failing in self._database.rows(query, (now, now + SKEW, most))]

    def next_delivery(self, subscription: str, now: float) -> Delivery | None:
        """Return the delivery to a subscription that has been due for longest; None when none is."""
        query = f"SELECT {_DELIVERY} FROM delivery WHERE subscription = ? AND {_DUE} ORDER BY due, id LIMIT 1"
        return next((Delivery(*row) for row in self._database.rows(query, (subscription, now, now + SKEW))), None)

    def claim(self, delivery: Delivery, now: float, until: float) -> bool:
        """Take a delivery for this process until a moment; return False when another process has it."""
        with self._database.transaction() as transaction:
            claimed = transaction.run(
                "UPDATE delivery SET due = ?, made = ?, attempts = ? WHERE id = ? AND due = ?",
                (until, now, delivery.attempts + 1, delivery.number, delivery.due),
            )
        return bool(claimed)

    def delivered(self, delivery: Delivery) -> None:
        """Note that the callback has taken a delivery: its body is deleted, its event remembered."""
        with self._database.transaction() as transaction:
            transaction.run("UPDATE delivery SET due = NULL, body = NULL WHERE id = ?", (delivery.number,))
            transaction.run("UPDATE subscription SET failing = NULL WHERE id = ?", (delivery.subscription,))

    def failing_since(self, id_: str) -> float | None:
        """Return since when the callback of a subscription has taken nothing; None when it has."""
        rows = self._database.rows("SELECT failing FROM subscription WHERE id = ?", (id_,))
        return rows[0][0] if rows else None

    def put_off(self, delivery: Delivery, now: float, due: float) -> None:
        """Try a delivery again at `due`; its callback has taken nothing since now, or before."""
        with self._database.transaction() as transaction:
            transaction.run("UPDATE delivery SET due = ?, made = ? WHERE id = ?", (due, now, delivery.number))
            failing = "UPDATE subscription SET failing = COALESCE(failing, ?) WHERE id = ?"
            transaction.run(failing, (now, delivery.subscription))

    def forget_delivered(self, before: float) -> None:
        """Forget the events that were delivered and are older than `before`."""
        with self._database.transaction() as transaction:
            transaction.run("DELETE FROM delivery WHERE due IS NULL AND made < ?", (before,))

    def change_token(self, tenant: str) -> str | None:
        """Return the token from which a tenant's changes are to be read; None before the first look."""
        rows = self._database.rows("SELECT token FROM tracking WHERE tenant = ?", (tenant,))
        return str(rows[0][0]) if rows else None

    def keep_change_token(self, tenant: str, token: str) -> None:
        """Keep the token from which a tenant's changes are to be read next."""
        with self._database.transaction() as transaction:
            transaction.run(
                "INSERT INTO tracking (tenant, token) VALUES (?, ?)"
                " ON CONFLICT (tenant) DO UPDATE SET token = excluded.token",
                (tenant, token),
            )


def _subscription(row: SqlRow) -> Subscription:
    id_, tenant, outcome, minimum, created, expires, failing = row
    return Subscription(id_, tenant, outcome, None if minimum is None else Decimal(minimum), created, expires, failing)
