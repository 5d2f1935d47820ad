"""The jobs of a store, as a program sees them: where each stands, and what came of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

from connector.bulk.results import result_data
from connector.bulk.status import reasons_data
from connector.bulk.undo import undo_name
from connector.clock import SystemClock
from connector.ledger.jobs import DesiredState, ItemStatus, Job, JobState
from connector.ledger.ledger import Ledger
from connector.ledger.store import open_ledger


@dataclass(frozen=True, slots=True)
class JobReport:
    """Where a job stands: how many rows it has of each status, and why rows were refused or failed.

    `unfinished` says that rows are left and nobody stopped it: `bulk resume` goes on. `retryable` is how many failed
    rows `bulk retry` would try again; none of a job that was undone. Times have a zone.

    >>> with Jobs(load_settings().store) as jobs:
    ...     [(report.name, report.counts["closed"]) for report in jobs.since(datetime.min.replace(tzinfo=UTC))]
    [('example', 1)]
    """

    name: str
    created: datetime
    finished: datetime | None
    counts: Mapping[str, int]
    reasons: tuple[Mapping[str, object], ...]
    unfinished: bool
    retryable: int


class Jobs:
    """The jobs of a store, as CONNECTOR_STORE names it; use it in a `with` statement. Methods raise LedgerError.

    >>> with Jobs(load_settings().store) as jobs:
    ...     report = jobs.report("example")
    ...     [row["status"] for row in jobs.rows("example")]
    ['closed']
    >>> report.unfinished
    False
    """

    def __init__(self, store: str) -> None:
        self._ledger: Ledger = open_ledger(store, SystemClock())

    def __enter__(self) -> Self:
        """Return the jobs."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store."""
        self._ledger.close()

    def report(self, name: str) -> JobReport:
        """Return where the job of this name stands."""
        return self._report(self._ledger.whole(name))

    def since(self, moment: datetime) -> list[JobReport]:
        """Return the jobs that were made or finished since then, the oldest first; those being loaded are left out."""
        return [
            self._report(job)
            for job in reversed(self._ledger.jobs())
            if job.state is not JobState.LOADING and max(job.created, job.finished or job.created) >= moment
        ]

    def rows(self, name: str) -> Iterator[Mapping[str, object]]:
        """Yield what came of each row, in the shape of a line of `bulk report NAME rows.jsonl`."""
        for record in self._ledger.records(self._ledger.whole(name).name, ()):
            yield result_data(record)

    def _report(self, job: Job) -> JobReport:
        counts = self._ledger.counts(job.name)
        undone = self._ledger.find(undo_name(job)) is not None
        return JobReport(
            name=job.name,
            created=job.created,
            finished=job.finished,
            counts=counts.data(),
            reasons=tuple(reasons_data(counts)),
            unfinished=job.state is JobState.READY and job.desired_state is DesiredState.RUN,
            retryable=0 if undone else counts.of(ItemStatus.FAILED),
        )
