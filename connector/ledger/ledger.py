"""The durable list of what a job shall do and what came of it; the only truth about a job.

An item goes pending -> claimed -> a result, or from claimed back to waiting or pending. Every claim raises the item's
epoch, and a result counts only under the epoch it was claimed with. One opportunity is in one worker's hands at most,
whatever jobs it appears in: the database itself holds that (`item_claimed`).

No lease is measured by the wall clock, so a jump of it takes nothing from anybody. See `liveness` for how a worker
is known to be dead. The wall clock only dates things, and decides when what failed for a passing reason is due again.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Self
from uuid import UUID

from connector.clock import Clock
from connector.errors import LedgerError
from connector.ledger.audit import AuditLog
from connector.ledger.claims import Worker
from connector.ledger.intents import intent_from, report_from
from connector.ledger.job_limits import KEPT_AS, JobLimits
from connector.ledger.jobs import (
    DONE_HERE,
    NOT_READ_AGAIN,
    TALLY,
    Counts,
    DesiredState,
    Event,
    InputChanged,
    ItemStatus,
    Job,
    JobKind,
    JobState,
    Record,
    Row,
    WorkerInfo,
    add_to_tally,
    change_items,
    counts_from,
    note,
)
from connector.ledger.liveness import LivenessMonitor
from connector.ledger.load import NewJob, being_loaded, digest_of, load, sweep
from connector.ledger.schema import ROW_MASK, Database, SqlRow, Value, item_id

LEASE = 30.0
"""Seconds without a sign of life after which a worker on another machine is taken for dead."""

_NO_OPTIONS: Mapping[str, object] = MappingProxyType({})
JOB_COLUMNS = (
    "job.id, job.name, job.kind, job.state, job.desired_state, job.total, job.digest, job.options, job.organization,"
    " (SELECT source.name FROM job AS source WHERE source.id = job.undoes), job.created, job.finished, job.operations"
)
RECORD_COLUMNS = (
    "item.id, item.opportunity, item.account, item.plan, item.status, item.reason, item.attempts, item.ended,"
    " item.intent, item.report, item.kept"
)
_JOB = f"SELECT {JOB_COLUMNS} FROM job"
_RECORD = f"SELECT {RECORD_COLUMNS} FROM item"
_PIECE = 5_000


class Ledger:
    """The jobs of one store. Methods may be called from any thread; what is wrong with the store is a LedgerError.

    `lease` is in seconds; it matters only where the death of a process cannot be proven (PostgreSQL).
    """

    def __init__(self, database: Database, clock: Clock, *, lease: float = LEASE) -> None:
        self.database = database
        self.clock = clock
        self.lease = lease
        self.liveness = LivenessMonitor(database, clock, lease)
        self.audit = AuditLog(database, clock)

    def __enter__(self) -> Self:
        """Return the ledger."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the store."""
        self.database.close()

    def create(
        self,
        name: str,
        rows: Iterable[Row],
        *,
        kind: JobKind = JobKind.CLOSE,
        options: Mapping[str, object] = _NO_OPTIONS,
        organization: str = "",
        undoes: str = "",
        who: str = "",
    ) -> Job:
        """Load `rows` as a new job: whole, or, whatever happens, not at all.

        Rows are read once, as they come. What reading them raises is passed on and nothing remains. A job that a dead
        process left half loaded is thrown away first. With `undoes`, the name of a closing job, a row that is opened
        again becomes `undone` there too, under the same row number. Raises LedgerError when the name is taken, and
        InputError when an opportunity appears twice.
        """
        source = self.job(undoes).id if undoes else None
        load(self.liveness, NewJob(name, kind, options, organization, source, who), rows)
        return self.job(name)

    def find(self, name: str) -> Job | None:
        """Return the job of this name, or None; one that a dead process left half loaded is thrown away first."""
        job = self._find(name)
        if job is not None and job.state is JobState.LOADING:
            sweep(self.liveness)
            job = self._find(name)
        return job

    def _find(self, name: str) -> Job | None:
        rows = self.database.rows(f"{_JOB} WHERE name = ?", (name,))
        return job_from(rows[0]) if rows else None

    def job(self, name: str) -> Job:
        """Return the job of this name; raises LedgerError naming the ones there are."""
        job = self.find(name)
        if job is None:
            names = [row[0] for row in self.database.rows("SELECT name FROM job WHERE key IS NULL ORDER BY name")]
            near = difflib.get_close_matches(name, names, n=3) or names[:10]
            remedy = f"It has: {', '.join(near)}." if near else "It has no job yet; begin one with bulk run."
            raise LedgerError(f"There is no job {name!r} in this store.", remedy=remedy)
        return job

    def whole(self, name: str) -> Job:
        """Return the job of this name; raises LedgerError as `job`, and while another process loads or deletes it."""
        job = self.job(name)
        if job.state is JobState.LOADING:
            raise being_loaded(name)
        return job

    def jobs(self) -> list[Job]:
        """Return all jobs, the newest first; operations of the hosted endpoint are not among them."""
        return [job_from(row) for row in self.database.rows(f"{_JOB} WHERE key IS NULL ORDER BY id DESC")]

    def same_rows(self, name: str, rows: Iterable[Row]) -> Job:
        """Return the job if it was made of exactly these rows; raises InputChanged, or what reading raises."""
        job = self.whole(name)
        if digest_of(rows) != job.digest:
            raise InputChanged(
                f"The job {name!r} was made of other rows than these; nothing was touched.",
                remedy=f"Resume it without a file, or give these rows another job name (not {name!r}).",
            )
        return job

    def set_desired_state(self, name: str, desired_state: DesiredState) -> None:
        """Set what is asked of a job; its workers see it at the next commit or heartbeat."""
        job = self.job(name)
        with self.database.transaction() as transaction:
            transaction.run("UPDATE job SET desired_state = ? WHERE id = ?", (desired_state.value, job.id))
            note(transaction, job.id, self.now(), desired_state.value)

    def set_limits(self, name: str, limits: JobLimits) -> Job:
        """Say what a job may do from now on; who works on it sees it at the next claim or within seconds."""
        job = self.job(name)
        with self.database.transaction() as transaction:
            transaction.exclude_claims()
            options = {**self.job(name).options, KEPT_AS: limits.data()}
            transaction.run(
                "UPDATE job SET options = ?, allowance = NULL, allowed_at = NULL WHERE id = ?",
                (json.dumps(options), job.id),
            )
            note(transaction, job.id, self.now(), KEPT_AS, limits.data())
        return self.job(name)

    def paused_by(self, job: Job) -> str:
        """Return the name of the limit that paused a job; empty where a person did, or where it is not paused."""
        if job.desired_state is not DesiredState.PAUSE:
            return ""
        last = "SELECT data FROM event WHERE job = ? AND kind = ? ORDER BY id DESC LIMIT 1"
        rows = self.database.rows(last, (job.id, DesiredState.PAUSE.value))
        return str(json.loads(rows[0][0]).get("limit", "")) if rows and rows[0][0] else ""

    def retry(self, name: str, statuses: Sequence[ItemStatus] = (ItemStatus.FAILED,), *, reason: str = "") -> int:
        """Put the items with these results back, their attempts forgotten; return how many.

        With a `reason` only those that have it, whose attempts count.
        """
        if not statuses or not all(status.final for status in statuses):
            raise ValueError("only items that have a result can be tried again")
        job = self.job(name)
        changed, last = 0, item_id(job.id, 0)
        while piece := self._retry_piece(job.id, statuses, last, reason):
            changed, last = changed + len(piece), piece[-1][0]
        with self.database.transaction() as transaction:
            note(transaction, job.id, self.now(), "retry", {"items": changed})
        return changed

    def read_again(self, name: str) -> Counts:
        """Give back what was done and not read again since, and return the counts; who does it looks whose it is."""
        if self.counts(name).not_read_again:
            self.retry(name, DONE_HERE, reason=NOT_READ_AGAIN)
        return self.counts(name)

    def _retry_piece(self, job: int, statuses: Sequence[ItemStatus], after: int, reason: str) -> list[SqlRow]:
        only = f" AND reason = '{reason}'" if reason else ""
        with self.database.transaction() as transaction:
            piece = transaction.rows(
                f"SELECT id, status, reason FROM item WHERE id > ? AND id <= ? AND status IN ({_quoted(statuses)})"
                f"{only} ORDER BY id LIMIT {_PIECE}{self.database.skip_locked}",
                (after, item_id(job, ROW_MASK)),
            )
            if piece:
                kept = f"'{reason}'" if reason else "NULL"  # who claims it knows by this that it is done
                change = f"status = 'pending', attempts = attempts * {bool(reason):d}, reason = {kept}"
                change_items(transaction, change, (), [id_ for id_, _, _ in piece])
                changes = Counter({(ItemStatus.PENDING, ""): len(piece)})
                changes.subtract((ItemStatus(status), reason or "") for _, status, reason in piece)
                add_to_tally(transaction, job, changes)
                transaction.run("UPDATE job SET state = 'ready', finished = NULL WHERE id = ?", (job,))
        return piece

    def counts(self, name: str) -> Counts:
        """Return how many items have which status; kept with every commit, so asking is cheap at any size."""
        return counts_from(self.database.rows(f"{TALLY} (SELECT id FROM job WHERE name = ?)", (name,)))

    def tried_later(self, name: str) -> list[tuple[str, int, float]]:
        """Return why how many items wait to be tried again, and in how many seconds the first of them is due."""
        rows = self.database.rows(
            "SELECT COALESCE(reason, ''), COUNT(*), MIN(due) FROM item WHERE status = 'waiting'"
            " AND job = (SELECT id FROM job WHERE name = ?) GROUP BY 1 ORDER BY 2 DESC",
            (name,),
        )
        return [(reason, count, max(0.0, due - self.now())) for reason, count, due in rows]

    def records(
        self, name: str, statuses: Sequence[ItemStatus] = (), after: int = 0, reason: str = ""
    ) -> Iterator[Record]:
        """Return the items of a job, or those with these statuses and reason, after row `after`, in the input's order.

        They stream: memory stays flat, and the job may go on meanwhile.
        """
        job = self.job(name)
        chosen = f" AND status IN ({_quoted(statuses)})" if statuses else ""
        chosen += " AND reason = ?" if reason else ""
        values: list[Value] = [item_id(job.id, after), item_id(job.id, ROW_MASK), *([reason] if reason else [])]
        rows = self.database.stream(f"{_RECORD} WHERE id > ? AND id <= ?{chosen} ORDER BY id", values)
        return (record_from(item, job) for item in rows)

    def followed(self, job: Job, statuses: Sequence[ItemStatus]) -> Iterator[int]:
        """Return the rows whose opportunity another job left later with these statuses, but for one that undoes it."""
        rows = self.database.stream(
            "SELECT DISTINCT item.id FROM item JOIN item AS later ON later.opportunity = item.opportunity"
            f" AND later.ended > item.ended AND later.job <> item.job AND later.status IN ({_quoted(statuses)})"
            " JOIN job ON job.id = later.job AND (job.undoes IS NULL OR job.undoes <> item.job)"
            " WHERE item.id > ? AND item.id <= ? ORDER BY item.id",
            (item_id(job.id, 0), item_id(job.id, ROW_MASK)),
        )
        return (id_ & ROW_MASK for (id_,) in rows)

    def events(self, name: str) -> list[Event]:
        """Return what happened to a job, in order."""
        job = self.job(name)
        rows = self.database.rows("SELECT at, kind, data FROM event WHERE job = ? ORDER BY id", (job.id,))
        return [Event(_moment(at), kind, json.loads(data) if data else {}) for at, kind, data in rows]

    def note(self, name: str, kind: str, data: Mapping[str, object] = _NO_OPTIONS) -> None:
        """Add an event to a job."""
        job = self.job(name)
        with self.database.transaction() as transaction:
            note(transaction, job.id, self.now(), kind, data)

    def workers(self, name: str = "") -> list[WorkerInfo]:
        """Return the workers of this store, or of this job, after removing those that are dead."""
        dead = self.liveness.reap()
        rows = self.database.rows(
            "SELECT worker.id, worker.name, COALESCE(job.name, ''), worker.started, worker.seen"
            " FROM worker LEFT JOIN job ON job.id = worker.job ORDER BY worker.id"
        )
        workers = [WorkerInfo(id_, who, job, _moment(start), _moment(heard)) for id_, who, job, start, heard in rows]
        return [worker for worker in workers if name in ("", worker.job) and worker.id not in dead]

    def enter(self, who: str, job: str = "") -> Worker:
        """Begin to work, on one job or, without a name, on any; `who` tells people where this is, as `host:1234`.

        Leave by `Worker.leave`. Others are not refused: ask `present` first where only one shall work.
        """
        followed_job = self.job(job).id if job else None
        with self.database.transaction() as transaction:
            number = self.liveness.add(transaction, who, followed_job)
        return Worker(self.liveness, self.audit, number, who)

    def now(self) -> float:
        """Return the wall-clock time as the tables have it: seconds since 1970 in UTC."""
        return self.clock.now().timestamp()


def _quoted(statuses: Sequence[ItemStatus]) -> str:
    return ", ".join(f"'{status.value}'" for status in statuses)


def job_from(row: SqlRow) -> Job:
    """Return the job that JOB_COLUMNS were read of."""
    id_, name, kind, state, desired_state, total, digest, options, organization, undoes, created, finished, used = row
    states = JobKind(kind), JobState(state), DesiredState(desired_state)
    moments = _moment(created), None if finished is None else _moment(finished)
    return Job(id_, name, *states, total, digest, json.loads(options), organization, undoes or "", *moments, used)


def record_from(row: SqlRow, job: Job) -> Record:
    """Return the item of a job that RECORD_COLUMNS were read of."""
    id_, opportunity, account, plan, status, reason, attempts, ended, intent, report, kept = row
    opportunity_id = UUID(bytes=bytes(opportunity))
    customer = None if account is None else UUID(bytes=bytes(account))
    wish = id_ & ROW_MASK, opportunity_id, intent_from(intent, opportunity_id, job.kind, job.name), customer, plan or ""
    result = ItemStatus(status), reason or "", attempts, None if ended is None else _moment(ended)
    data = None if report is None else report_from(report)
    return Record(*wish, *result, data, json.loads(kept) if kept else {})


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
