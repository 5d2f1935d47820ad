"""How many items of a job have which status, kept with every change; and the events of a job."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from connector.ledger.database import SqlRow, Transaction
from connector.ledger.jobs import Counts, ItemStatus

Changes = Mapping[tuple[ItemStatus, str], int]
"""By how much the number of items with this status and reason rises."""

TALLY = "SELECT status, reason, n FROM tally WHERE n <> 0 AND job ="
"""What `counts_from` reads; the job's id follows."""


def counts_from(rows: Iterable[SqlRow]) -> Counts:
    """Return the numbers of a job."""
    by_status: dict[ItemStatus, int] = {}
    reasons: dict[tuple[ItemStatus, str], int] = {}
    for name, reason, count in rows:
        status = ItemStatus(name)
        by_status[status] = by_status.get(status, 0) + count
        if reason:
            reasons[status, reason] = count
    return Counts(by_status, reasons)


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
