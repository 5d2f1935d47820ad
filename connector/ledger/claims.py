"""One worker at the ledger: claims items, says that it lives, records what came of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from connector.ledger.audit import AuditEntry, AuditLog, source_of
from connector.ledger.intents import intent_from, report_bytes, report_from
from connector.ledger.job_limits import JobLimits, affordable, saved_up
from connector.ledger.jobs import (
    DONE_HERE,
    TALLY,
    DesiredState,
    Item,
    ItemResult,
    ItemStatus,
    Job,
    JobKind,
    Receipt,
    WorkerLost,
    add_to_tally,
    change_items,
    counts_from,
    mark_not_read_again,
    marks,
    note,
)
from connector.ledger.liveness import LivenessMonitor
from connector.ledger.schema import ROW_BITS, ROW_MASK, SqlRow, Transaction, Value, item_id

LONGEST_WAIT = 900.0
"""Seconds after which a failed item is tried again at the latest."""
SKEW = 60.0
"""Seconds by which clocks differ; what was put off later than that from now, before a clock was set back, is due."""

MOST_AT_ONCE = 5_000
"""Items in one claim."""

LOOK_AGAIN = 1.0
"""Seconds after which to look again for items that are in other hands."""

OPEN = "'pending', 'claimed', 'waiting'"
FREE = (
    "NOT EXISTS (SELECT 1 FROM item AS other WHERE other.status = 'claimed' AND other.opportunity = item.opportunity)"
)
CLAIMABLE = "SELECT id, status, opportunity, account, epoch, attempts, plan, intent, report FROM item"
PENDING = f"{CLAIMABLE} WHERE job = ? AND status = 'pending' AND {FREE} ORDER BY rank, id LIMIT ?"
WAITING = f"{CLAIMABLE} WHERE job=? AND status = 'waiting' AND (due <= ? OR ended > ?) AND {FREE} ORDER BY due LIMIT ?"
_RECORDABLE = frozenset(status for status in ItemStatus if status is ItemStatus.CLAIMED or status.final)
_CLAIMED = frozenset({ItemStatus.CLAIMED})
_UNDOING = frozenset({ItemStatus.REOPENED, ItemStatus.ALREADY_OPEN})


class Worker:
    """A worker of this process. Methods may be called from any thread; they raise LedgerError.

    Every commit of a worker is a sign of life. One that has nothing to commit calls `renew` well within every lease.
    """

    def __init__(self, liveness: LivenessMonitor, audit: AuditLog, number: int, who: str) -> None:
        self.id = number
        self._audit = audit
        self._host = who.partition(":")[0]
        self._liveness, self._database, self._clock = liveness, liveness.database, liveness.clock

    def leave(self) -> None:
        """Stop; what is still claimed is given back."""
        self._liveness.remove(self.id)

    def keep_only(self, held: Iterable[tuple[Job, Item]]) -> None:
        """Give back all but what is in hand: where the store failed, a claim or the end of one may have been lost."""
        self._liveness.keep_only(self.id, {item_id(job.id, item.row) for job, item in held})

    def renew(self) -> None:
        """Say that this worker lives; raises WorkerLost when it has been taken for dead."""
        with self._database.transaction() as transaction:
            self.heartbeat(transaction)

    def desired_state(self, job: Job) -> DesiredState:
        """Return what is asked of the job now; a deleted job counts as cancelled."""
        rows = self._database.rows("SELECT desired_state FROM job WHERE id = ?", (job.id,))
        return DesiredState(rows[0][0]) if rows else DesiredState.CANCEL

    def limits(self, job: Job) -> tuple[JobLimits, int]:
        """Return what the job may do now, and how many operations it has used."""
        rows = self._database.rows("SELECT options, operations FROM job WHERE id = ?", (job.id,))
        return (JobLimits.of(json.loads(rows[0][0])), rows[0][1]) if rows else (JobLimits(), 0)

    def claim(self, job: Job, most: int) -> list[Item]:
        """Take up to `most` items, those that were never tried first; it is committed when this returns.

        Nothing is returned when the job is paused, cancelled or has nothing to claim now: see `idle`. Opportunities
        that any worker holds, in this or another job, are passed over.
        """
        self._liveness.reap()
        with self._database.transaction() as transaction:
            transaction.exclude_claims()
            now = self._clock.now().timestamp()
            most, fresh, allowance = self._allowed(transaction, job, min(most, MOST_AT_ONCE), now)
            rows = self._claimable(transaction, job.id, most, fresh) if most else []
            take(transaction, self.id, rows)
            if allowance is not None:
                left = (allowance - len(rows), now, job.id)
                transaction.run("UPDATE job SET allowance = ?, allowed_at = ? WHERE id = ?", left)
            self.heartbeat(transaction)
        return [claimed(item, job.kind, job.name) for item in rows]

    def record(self, job: Job, results: Sequence[ItemResult]) -> Receipt:
        """Write down results, durably; those of items that are no longer this worker's are left out and named.

        Doing it again with the same results does no harm. The job is finished with its last result.
        """
        if not all(result.status.final for result in results):
            raise ValueError("a result has a final status")
        now = self._clock.now().timestamp()
        with self._database.transaction() as transaction:
            mine = self._mine(transaction, job, results, _RECORDABLE)
            last_of_each = {result.row: result for result in results if result.row in mine}
            recorded = list(last_of_each.values())
            moments = {result.row: mine[result.row][3] if result.audit is None else None for result in recorded}
            transaction.update_items([_update(r, item_id(job.id, r.row), moments[r.row] or now) for r in recorded])
            changes = Counter((result.status, result.reason) for result in recorded)
            changes.subtract(before[:2] for before in mine.values())
            add_to_tally(transaction, job.id, changes)
            self._undo(transaction, job, recorded)
            self._finish(transaction, job, now)
            written = self._audit.add(transaction, self._entries(job, recorded, mine))
            self.heartbeat(transaction)
            receipt = self._receipt(transaction, job, [result.row for result in results if result.row not in mine])
        self._audit.told(written)
        return receipt

    def leave_unread(self, job: Job, items: Sequence[Item]) -> None:
        """Mark those of the items that this worker has done: it will not read them again, and others have to."""
        with self._database.transaction() as transaction:
            if ids := [item_id(job.id, item.row) for item in items]:
                mark_not_read_again(transaction, job.id, self.id, f"id IN ({marks(ids)})", ids)

    def requeue(self, job: Job, items: Sequence[Item], seconds: float, reason: str = "") -> Receipt:
        """Put items back to be tried after all others, in `seconds` (at most LONGEST_WAIT); `reason` is told."""
        now = self._clock.now().timestamp()
        change = "status = 'waiting', holder = NULL, due = ?, ended = ?, reason = ?"
        values = (now + min(max(seconds, 0.0), LONGEST_WAIT), now, reason or None)
        return self._put_back(job, items, ItemStatus.WAITING, change, values)

    def release(self, job: Job, items: Sequence[Item | ItemResult]) -> Receipt:
        """Give items back untouched, for anybody to claim; the attempt does not count."""
        change = "status = 'pending', holder = NULL, attempts = attempts - 1"
        return self._put_back(job, items, ItemStatus.PENDING, change, ())

    def _put_back(
        self, job: Job, items: Sequence[Item | ItemResult], to: ItemStatus, change: str, values: Sequence[Value]
    ) -> Receipt:
        with self._database.transaction() as transaction:
            mine = self._mine(transaction, job, items, _CLAIMED)
            change_items(transaction, change, values, [item_id(job.id, row) for row in mine])
            add_to_tally(transaction, job.id, {(ItemStatus.CLAIMED, ""): -len(mine), (to, ""): len(mine)})
            self.heartbeat(transaction)
            return self._receipt(transaction, job, [item.row for item in items if item.row not in mine])

    def idle(self, job: Job) -> float | None:
        """Return in how many seconds to claim again when there was nothing to claim; None when all have a result."""
        rows = self._database.rows(
            f"SELECT status, SUM(n) FROM tally WHERE job = ? AND status IN ({OPEN}) GROUP BY status HAVING SUM(n) > 0",
            (job.id,),
        )
        statuses = {ItemStatus(status) for status, _ in rows}
        if not statuses:
            return None
        if statuses != {ItemStatus.WAITING}:
            return LOOK_AGAIN
        due = self._database.rows("SELECT MIN(due) FROM item WHERE job = ? AND status = 'waiting'", (job.id,))[0][0]
        return min(max((due or 0.0) - self._clock.now().timestamp(), 0.0), LOOK_AGAIN * 10)

    # Inside a transaction: items first, then tally, job, worker, so that no two wait for each other.

    def _allowed(self, transaction: Transaction, job: Job, most: int, now: float) -> tuple[int, int, float | None]:
        """Return how many items of a job may be claimed, how many of them untried ones, and what its rate allows."""
        rows = transaction.rows(
            "SELECT options, operations, allowance, allowed_at FROM job"
            " WHERE id = ? AND state = 'ready' AND desired_state = 'run'",
            (job.id,),
        )
        if not rows:
            return 0, 0, None
        options, operations, allowance, allowed_at = rows[0]
        limits = JobLimits.of(json.loads(options))
        if limits.rate is None:
            allowance = None
        else:
            allowance = saved_up(limits.rate, allowance, allowed_at or now, now)
            most = min(most, int(allowance))
        if limits.max_operations is None and limits.leave is None:
            return most, most, allowance
        counts = counts_from(transaction.rows(f"{TALLY} ?", (job.id,)))
        most = max(0, min(most, affordable(limits, counts, operations)))
        return most, min(most, max(0, counts.of(ItemStatus.PENDING) - (limits.leave or 0))), allowance

    def spend(self, job: Job, operations: int) -> None:
        """Add to what the job has used of the entitlement."""
        with self._database.transaction() as transaction:
            transaction.run("UPDATE job SET operations = operations + ? WHERE id = ?", (operations, job.id))
            self.heartbeat(transaction)

    def pause(self, job: Job, why: str) -> None:
        """Pause the job because a limit of it is reached, unless a person wants something else of it by now."""
        with self._database.transaction() as transaction:
            if transaction.run(
                "UPDATE job SET desired_state = 'pause' WHERE id = ? AND desired_state = 'run'", (job.id,)
            ):
                note(transaction, job.id, self._clock.now().timestamp(), DesiredState.PAUSE.value, {"limit": why})

    def _claimable(self, transaction: Transaction, job: int, most: int, fresh: int) -> list[SqlRow]:
        pending = transaction.rows(PENDING + self._database.skip_locked, (job, fresh))
        if len(pending) == most:
            return pending
        now = self._clock.now().timestamp()
        return pending + transaction.rows(
            WAITING + self._database.skip_locked, (job, now, now + SKEW, most - len(pending))
        )

    def _mine(
        self, transaction: Transaction, job: Job, held: Sequence[Item | ItemResult], statuses: frozenset[ItemStatus]
    ) -> dict[int, tuple[ItemStatus, str, UUID, float | None]]:
        """Return status, reason, opportunity and end, by row, of items still held under the epoch of their claim."""
        epochs = {item.row: item.epoch for item in held}
        if not epochs:
            return {}
        rows = transaction.rows(
            f"SELECT id, epoch, status, reason, opportunity, ended FROM item WHERE id IN ({marks(epochs)})"
            f" ORDER BY id{self._database.lock}",
            [item_id(job.id, row) for row in epochs],
        )
        return {
            id_ & ROW_MASK: (ItemStatus(status), reason or "", UUID(bytes=bytes(opportunity)), ended)
            for id_, epoch, status, reason, opportunity, ended in rows
            if epochs[id_ & ROW_MASK] == epoch and status in statuses
        }

    def _entries(
        self, job: Job, results: Sequence[ItemResult], before: Mapping[int, tuple[ItemStatus, str, UUID, float | None]]
    ) -> list[AuditEntry]:
        """Return what is written down of results; one that was recorded before is not said twice."""
        users = {result.user for result in results}
        sources = {user: source_of(job.options, job.organization, self._host, user) for user in users}
        return [
            AuditEntry(result.status.value, before[result.row][2], sources[result.user], job.name, result.audit)
            for result in results
            if before[result.row][:2] != (result.status, result.reason) and result.audit is not None
        ]

    def _undo(self, transaction: Transaction, job: Job, results: Sequence[ItemResult]) -> None:
        """Where this job takes another one's closes back, mark there what is open again."""
        opened = [result.row for result in results if result.status in _UNDOING]
        if not job.undoes or not opened:
            return
        (source,) = transaction.rows("SELECT undoes FROM job WHERE id = ?", (job.id,))[0]
        rows = transaction.rows(
            f"SELECT id, reason FROM item WHERE status = 'closed' AND id IN ({marks(opened)})"
            f" ORDER BY id{self._database.lock}",
            [item_id(source, row) for row in opened],
        )
        change_items(transaction, "status = 'undone'", (), [id_ for id_, _ in rows])
        changes = Counter((ItemStatus.UNDONE, reason or "") for _, reason in rows)
        changes.subtract((ItemStatus.CLOSED, reason or "") for _, reason in rows)
        add_to_tally(transaction, source, changes)

    def _finish(self, transaction: Transaction, job: Job, now: float) -> None:
        left = transaction.rows(
            f"SELECT 1 FROM tally WHERE job = ? AND status IN ({OPEN}) AND n > 0 LIMIT 1", (job.id,)
        )
        if not left and transaction.run(
            "UPDATE job SET state = 'finished', finished = ? WHERE id = ? AND state = 'ready'", (now, job.id)
        ):
            note(transaction, job.id, now, "finished")

    def _receipt(self, transaction: Transaction, job: Job, lost: Sequence[int]) -> Receipt:
        rows = transaction.rows("SELECT desired_state FROM job WHERE id = ?", (job.id,))
        return Receipt(tuple(lost), DesiredState(rows[0][0]) if rows else DesiredState.CANCEL)

    def heartbeat(self, transaction: Transaction) -> None:
        """Say in a transaction that this worker lives; raises WorkerLost when it has been taken for dead."""
        if not self._liveness.heartbeat(transaction, self.id):
            raise WorkerLost(
                "This worker gave no sign of life for too long, and its rows were given to another.",
                remedy="Nothing is lost. Start it again to go on.",
            )


def _update(result: ItemResult, key: int, now: float) -> tuple[Value, ...]:
    report = report_bytes(result.report) if result.report else None
    return result.status.value, result.reason or None, report, None, now, key


def take(transaction: Transaction, worker: int, rows: Sequence[SqlRow]) -> None:
    """Claim the items, rows of CLAIMABLE, for the worker, in a transaction that keeps other claims out."""
    change = "status = 'claimed', holder = ?, epoch = epoch + 1, attempts = attempts + 1, due = NULL, reason = NULL"
    change_items(transaction, change, (worker,), [item[0] for item in rows])
    before = Counter((item[0] >> ROW_BITS, ItemStatus(item[1])) for item in rows)
    for (job, status), count in sorted(before.items()):
        add_to_tally(transaction, job, {(status, ""): -count, (ItemStatus.CLAIMED, ""): count})


def claimed(row: SqlRow, kind: JobKind, key: str) -> Item:
    """Return a row of CLAIMABLE as the item it is once it has been taken."""
    id_, _, opportunity, account, epoch, attempts, plan, intent, report = row
    read = intent_from(intent, UUID(bytes=bytes(opportunity)), kind, key)
    customer = None if account is None else UUID(bytes=bytes(account))
    before = report_from(report) if report else {}
    recorded = before if before.get("status") in DONE_HERE else None  # whoever read it again may have died as well
    return Item(id_ & ROW_MASK, epoch + 1, attempts + 1, read, customer, plan or "", recorded=recorded)
