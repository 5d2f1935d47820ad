"""What workers share besides items: which of them acts as which user, and what was learnt of a user's limits.

The service counts per user, so a user's budget must not be spent by two governors who do not know of each other: a
worker takes a user before it acts as that user, and loses it with its life. All functions raise LedgerError.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from connector.ledger.claims import Worker
from connector.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True)
class SavedState:
    """What a governor had learnt of a user's limits, as plain data, and when it wrote that down."""

    data: Mapping[str, object]
    at: datetime


def take_user(ledger: Ledger, worker: Worker, user: str) -> bool:
    """Let a worker act as a user; return False where another does."""
    ledger.liveness.reap()
    with ledger.database.transaction() as transaction:
        transaction.exclude_claims()
        if transaction.rows("SELECT 1 FROM slot WHERE identity = ?", (user,)):
            return False
        transaction.run("INSERT INTO slot (identity, number, worker) VALUES (?, 0, ?)", (user, worker.id))
    return True


def give_back_user(ledger: Ledger, worker: Worker, user: str) -> None:
    """Let others act as a user; leaving gives back all that a worker has."""
    with ledger.database.transaction() as transaction:
        transaction.run("DELETE FROM slot WHERE identity = ? AND worker = ?", (user, worker.id))


def remember(ledger: Ledger, name: str, data: Mapping[str, object]) -> None:
    """Write down under a name what was learnt, as of a user's limits for the next governor of that user."""
    with ledger.database.transaction() as transaction:
        transaction.run(
            "INSERT INTO saved_state (name, data, at) VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET data = excluded.data, at = excluded.at",
            (name, json.dumps(dict(data)), ledger.now()),
        )


def recall(ledger: Ledger, name: str) -> SavedState | None:
    """Return what was written down under a name, or None."""
    rows = ledger.database.rows("SELECT data, at FROM saved_state WHERE name = ?", (name,))
    return SavedState(json.loads(rows[0][0]), datetime.fromtimestamp(rows[0][1], UTC)) if rows else None
