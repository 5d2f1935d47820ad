"""The way back for a whole job: rows that open again what it closed, and only that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from connector.closing.model import Intent, ReopenIntent
from connector.errors import InputError
from connector.ledger.jobs import ItemStatus, Job, JobKind, Row
from connector.ledger.ledger import Ledger

OPEN = 0
"""The state of an open opportunity, as reports have it."""


def undo_name(job: Job) -> str:
    """Return the name of the job that undoes `job`."""
    return f"{job.name}.undo"


def undo_rows(ledger: Ledger, job: Job) -> Iterator[Row]:
    """Return a row for each opportunity that `job` closed, under the number it has there.

    An opportunity that was closed by anything else since is refused when its turn comes: what counts is under which key
    its close activities were made. Raises InputError when `job` is not one that closes.
    """
    if job.kind is not JobKind.CLOSE:
        raise InputError(f"The job {job.name} opens opportunities; there is nothing to undo.")
    for record in ledger.records(job.name, (ItemStatus.CLOSED,)):
        assert isinstance(record.intent, Intent)
        before = (record.report or {}).get("before")
        status = before.get("status") if isinstance(before, Mapping) and before.get("state") == OPEN else None
        intent = ReopenIntent(record.opportunity_id, closed_under=record.intent.key, open_status=status)
        yield Row(record.row, intent, record.account)
