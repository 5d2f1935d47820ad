"""How many items of a job have which status, kept with every change; and the events of a job."""

from __future__ import annotations

import json
from collections.abc import Mapping

from connector.ledger.database import Transaction
from connector.ledger.jobs import ItemStatus

Changes = Mapping[tuple[ItemStatus, str], int]
"""By how much the number of items with this status and reason rises."""


def add_to_tally(transaction: Transaction, job: int, changes: Changes) -> None:
    """Change the numbers; always in the same order, so that two transactions never wait for each other."""
    for (status, reason), count in sorted(changes.items()):
        if count:
            transaction.run(
                "INSERT INTO tally (job, status, reason, n) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (job, status, reason) DO UPDATE SET n = tally.n + excluded.n",
                (job, status.value, reason, count),
            )


def note(transaction: Transaction, job: int, at: float, kind: str, data: Mapping[str, object] | None = None) -> None:
    """Add an event to the job."""
    transaction.run(
        "INSERT INTO event (job, at, kind, data) VALUES (?, ?, ?, ?)",
        (job, at, kind, json.dumps(dict(data)) if data else None),
    )
