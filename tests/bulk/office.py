"""An office with an emulated organization, a store of jobs, and clients to work with."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from connector.assembly import Connection
from connector.bulk.run.progress_meter import ProgressSnapshot, RunResult
from connector.bulk.run.runner import Run
from connector.clock import Clock
from connector.closing.model import Intent, Outcome
from connector.handler import Request
from connector.ledger.jobs import Job, Row, mark_not_read_again
from connector.ledger.ledger import Ledger


def on_clock(ledger: Ledger, clock: Clock) -> Ledger:
    """The same jobs, with another clock."""
    return Ledger(ledger.database, clock)


def leave_unread(ledger: Ledger, name: str) -> int:
    """Leave what a job closed as whoever stops or dies before it has read that again; return how many."""
    job = ledger.job(name)
    with ledger.database.transaction() as transaction:
        for (worker,) in transaction.rows("SELECT DISTINCT holder FROM item"):
            mark_not_read_again(transaction, job.id, worker, "ended > ?", (0.0,))
    return ledger.counts(name).not_read_again


@dataclass(frozen=True, slots=True)
class Office:
    """What is sent to the organization is in `sent`; writes are answered while the `door` is open.

    Those after `most_writes[0]` are refused with 429.
    """

    file: Path
    connection: Connection
    ledger: Ledger
    clock: Clock
    sent: list[Request] = field(default_factory=list)
    door: threading.Event = field(default_factory=threading.Event)
    most_writes: list[int] = field(default_factory=list)

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.file)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def open_ids(self) -> list[UUID]:
        found = self.sql("SELECT opportunityid FROM opportunity WHERE statecode = 0 ORDER BY 1")
        return [UUID(str(id_)) for (id_,) in found]

    def job(self, name: str, ids: list[UUID], outcome: Outcome = Outcome.WON) -> Job:
        rows = (Row(number, Intent(id_, outcome)) for number, id_ in enumerate(ids, 1))
        return self.ledger.create(name, rows)

    def run(self, job: Job, moments: list[ProgressSnapshot] | None = None) -> RunResult:
        watch = moments.append if moments is not None else lambda _moment: None
        return Run(self.ledger, job, self.connection.clients, watch).work("here")

    def closes(self) -> dict[str, int]:
        """How many close activities that stand each opportunity has, by its id."""
        found = self.sql(
            "SELECT opportunityid, COUNT(*) FROM opportunityclose WHERE statecode = 1 AND opportunityid IN "
            "(SELECT opportunityid FROM opportunity WHERE statecode <> 0) GROUP BY 1"
        )
        return {str(id_): int(str(count)) for id_, count in found}

    def requests(self) -> int:
        return len(self.sent)
