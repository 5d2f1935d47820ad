"""What workers share besides items: which of them acts as which user, and what was learnt of a user's limits.

The service counts per user, so a user's budget must not be spent by two governors who do not know of each other. A user
has a number of slots; a worker takes one before it acts as that user, and loses it with its life.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from connector.ledger.claims import Worker
from connector.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Slot:
    """A share of a user's budget: one of `of` equal ones."""

    identity: str
    number: int
    of: int


@dataclass(frozen=True, slots=True)
class SavedState:
    """What a governor had learnt of a user's limits, as plain data, and when it wrote that down."""

    data: Mapping[str, object]
    at: datetime


class UserSlots:
    """The budgets of the users that work in a store is done as; all methods raise LedgerError."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._database = ledger.database

    def take(self, worker: Worker, identities: Sequence[str], slots: int = 1) -> Slot | None:
        """Take a slot of the user with the fewest taken ones, each having `slots`; None when all are taken."""
        self._ledger.liveness.reap()
        with self._database.transaction() as transaction:
            transaction.exclude_claims()
            in_use = {(identity, number) for identity, number in transaction.rows("SELECT identity, number FROM slot")}
            load = Counter(identity for identity, _ in in_use)
            free = [
                (load[identity], place, number)
                for place, identity in enumerate(identities)
                for number in range(slots)
                if (identity, number) not in in_use
            ]
            if not free:
                return None
            _, place, number = min(free)
            transaction.run(
                "INSERT INTO slot (identity, number, worker) VALUES (?, ?, ?)", (identities[place], number, worker.id)
            )
        return Slot(identities[place], number, slots)

    def give_back(self, worker: Worker, slot: Slot) -> None:
        """Let others have a slot; leaving gives back all that a worker has."""
        with self._database.transaction() as transaction:
            release = "DELETE FROM slot WHERE identity = ? AND number = ? AND worker = ?"
            transaction.run(release, (slot.identity, slot.number, worker.id))

    def remember(self, name: str, data: Mapping[str, object]) -> None:
        """Write down what was learnt of a user's limits, for the next governor of that user."""
        with self._database.transaction() as transaction:
            transaction.run(
                "INSERT INTO saved_state (name, data, at) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET data = excluded.data, at = excluded.at",
                (name, json.dumps(dict(data)), self._ledger.now()),
            )

    def recall(self, name: str) -> SavedState | None:
        """Return what was learnt of a user's limits, or None."""
        rows = self._database.rows("SELECT data, at FROM saved_state WHERE name = ?", (name,))
        return SavedState(json.loads(rows[0][0]), datetime.fromtimestamp(rows[0][1], UTC)) if rows else None
