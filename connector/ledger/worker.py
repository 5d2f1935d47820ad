"""One worker at the ledger: claims items, says that it lives, records what came of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Self
from uuid import UUID

from connector.clock import Clock
from connector.ledger.database import Database, Found, Transaction, Value
from connector.ledger.intents import report_bytes, wanted_from
from connector.ledger.model import Item, ItemStatus, Job, JobKind, Receipt, Result, Wish, WorkerLost
from connector.ledger.schema import ROW_BITS, ROW_MASK, item_id
from connector.ledger.tally import add_to_tally, note
from connector.ledger.watch import Watch

LONGEST_WAIT = 900.0
"""Seconds after which a failed item is tried again at the latest; what is due later than that was dated by a clock
that has since been set back, and is due now."""

MOST_AT_ONCE = 5_000
"""Items in one claim."""

LOOK_AGAIN = 1.0
"""Seconds after which to look again for items that are in other hands."""

FREE = "NOT EXISTS (SELECT 1 FROM item AS other WHERE other.status = 1 AND other.opportunity = item.opportunity)"
CLAIMABLE = "SELECT id, status, opportunity, account, epoch, attempts, plan, wanted FROM item"
PENDING = f"{CLAIMABLE} WHERE job = ? AND status = 0 AND {FREE} ORDER BY turn, id LIMIT ?"
WAITING = f"{CLAIMABLE} WHERE job = ? AND status = 2 AND (due <= ? OR due > ?) AND {FREE} ORDER BY due LIMIT ?"
_RECORDABLE = frozenset(status for status in ItemStatus if status is ItemStatus.CLAIMED or status.final)
_CLAIMED = frozenset({ItemStatus.CLAIMED})
_UNDOING = frozenset({ItemStatus.REOPENED, ItemStatus.ALREADY_OPEN})


class Worker:
    """A worker of this process. Methods may be called from any thread; they raise LedgerError.

    Every commit of a worker is a sign of life. One that has nothing to commit calls `renew` well within every lease.
    """

    def __init__(self, database: Database, clock: Clock, watch: Watch, number: int) -> None:
        self.id = number
        self._database = database
        self._clock = clock
        self._watch = watch

    @classmethod
    def enter(cls, database: Database, clock: Clock, watch: Watch, who: str, job: Job | None) -> Self:
        """Write down a new worker."""
        with database.transaction() as transaction:
            number = watch.add(transaction, who, job.id if job else None)
        return cls(database, clock, watch, number)

    def leave(self) -> None:
        """Stop; what is still claimed is given back."""
        self._watch.remove(self.id)

    def renew(self) -> None:
        """Say that this worker lives; raises WorkerLost when it has been taken for dead."""
        with self._database.transaction() as transaction:
            self.beat(transaction)

    def wish(self, job: Job) -> Wish:
        """Return what is wanted of the job now; a job that was deleted is cancelled."""
        found = self._database.rows("SELECT wish FROM job WHERE id = ?", (job.id,))
        return Wish(found[0][0]) if found else Wish.CANCEL

    def claim(self, job: Job, most: int) -> list[Item]:
        """Take up to `most` items, those that waited first; it is committed when this returns.

        Nothing is returned when the job is paused, cancelled or has nothing to claim now: see `idle`. Opportunities
        that are in anybody's hands, in this or another job, are passed over.
        """
        self._watch.bury()
        with self._database.transaction() as transaction:
            transaction.exclude_claims()
            going = transaction.rows("SELECT 1 FROM job WHERE id = ? AND state = 'ready' AND wish = 'run'", (job.id,))
            found = self._claimable(transaction, job.id, min(most, MOST_AT_ONCE)) if going else []
            take(transaction, self.id, found)
            self.beat(transaction)
        return [claimed(item, job.kind, job.name) for item in found]

    def record(self, job: Job, results: Sequence[Result]) -> Receipt:
        """Write down results, durably; those of items that are no longer this worker's are left out and named.

        Doing it again with the same results does no harm. The job is finished with its last result.
        """
        if not all(result.status.final for result in results):
            raise ValueError("a result has a final status")
        now = self._clock.now().timestamp()
        with self._database.transaction() as transaction:
            mine = self._mine(transaction, job, results, _RECORDABLE)
            taken = [result for result in results if result.row in mine]
            transaction.update_items([_update(result, item_id(job.id, result.row), now) for result in taken])
            changes = Counter((result.status, result.reason) for result in taken)
            changes.subtract(mine.values())
            add_to_tally(transaction, job.id, changes)
            self._undo(transaction, job, taken)
            self._finish(transaction, job, now)
            self.beat(transaction)
            return self._receipt(transaction, job, [result.row for result in results if result.row not in mine])

    def requeue(self, job: Job, items: Sequence[Item], seconds: float) -> Receipt:
        """Put items back to be tried again after `seconds`, which are at most LONGEST_WAIT; the attempt counts."""
        due = self._clock.now().timestamp() + min(max(seconds, 0.0), LONGEST_WAIT)
        with self._database.transaction() as transaction:
            mine = self._mine(transaction, job, items, _CLAIMED)
            self._set(transaction, job, list(mine), "status = 2, holder = NULL, due = ?", (due,))
            add_to_tally(transaction, job.id, _moved(len(mine), ItemStatus.WAITING))
            self.beat(transaction)
            return self._receipt(transaction, job, [item.row for item in items if item.row not in mine])

    def release(self, job: Job, items: Sequence[Item]) -> Receipt:
        """Give items back untouched, for anybody to claim; the attempt does not count."""
        with self._database.transaction() as transaction:
            mine = self._mine(transaction, job, items, _CLAIMED)
            self._set(transaction, job, list(mine), "status = 0, holder = NULL, attempts = attempts - 1", ())
            add_to_tally(transaction, job.id, _moved(len(mine), ItemStatus.PENDING))
            self.beat(transaction)
            return self._receipt(transaction, job, [item.row for item in items if item.row not in mine])

    def idle(self, job: Job) -> float | None:
        """Return in how many seconds to claim again when there was nothing to claim; None when all have a result."""
        found = self._database.rows(
            "SELECT status, SUM(n) FROM tally WHERE job = ? AND status < 3 GROUP BY status HAVING SUM(n) > 0", (job.id,)
        )
        there = {ItemStatus(status) for status, _ in found}
        if not there:
            return None
        if there != {ItemStatus.WAITING}:
            return LOOK_AGAIN
        due = self._database.rows("SELECT MIN(due) FROM item WHERE job = ? AND status = 2", (job.id,))[0][0]
        ahead = (due or 0.0) - self._clock.now().timestamp()
        return min(max(ahead, 0.0), LOOK_AGAIN * 10) if ahead <= LONGEST_WAIT else 0.0

    # -- inside a transaction: items first, then tally, job, worker, so that no two wait for each other ---------------

    def _claimable(self, transaction: Transaction, job: int, most: int) -> list[Found]:
        now = self._clock.now().timestamp()
        waiting = transaction.rows(
            WAITING + self._database.skip_locked,
            (job, now, now + LONGEST_WAIT, most),
        )
        if len(waiting) == most:
            return waiting
        return waiting + transaction.rows(
            PENDING + self._database.skip_locked,
            (job, most - len(waiting)),
        )

    def _mine(
        self, transaction: Transaction, job: Job, held: Sequence[Item | Result], statuses: frozenset[ItemStatus]
    ) -> dict[int, tuple[ItemStatus, str]]:
        """Return status and reason, by row, of the items that are still held under the epoch they were claimed with."""
        epochs = {item.row: item.epoch for item in held}
        if not epochs:
            return {}
        found = transaction.rows(
            f"SELECT id, epoch, status, reason FROM item WHERE id IN ({', '.join('?' * len(epochs))})"
            f" ORDER BY id{self._database.lock}",
            [item_id(job.id, row) for row in epochs],
        )
        return {
            id_ & ROW_MASK: (ItemStatus(status), reason or "")
            for id_, epoch, status, reason in found
            if epochs[id_ & ROW_MASK] == epoch and status in statuses
        }

    def _set(self, transaction: Transaction, job: Job, rows: Sequence[int], what: str, values: Sequence[Value]) -> None:
        if rows:
            marks = ", ".join("?" * len(rows))
            keys = [item_id(job.id, row) for row in rows]
            transaction.run(f"UPDATE item SET {what} WHERE id IN ({marks})", (*values, *keys))

    def _undo(self, transaction: Transaction, job: Job, results: Sequence[Result]) -> None:
        """Where this job takes another one's closes back, mark there what is open again."""
        opened = [result.row for result in results if result.status in _UNDOING]
        if not job.undoes or not opened:
            return
        (source,) = transaction.rows("SELECT undoes FROM job WHERE id = ?", (job.id,))[0]
        found = transaction.rows(
            f"SELECT id, reason FROM item WHERE status = 3 AND id IN ({', '.join('?' * len(opened))})"
            f" ORDER BY id{self._database.lock}",
            [item_id(source, row) for row in opened],
        )
        if found:
            marks = ", ".join("?" * len(found))
            transaction.run(f"UPDATE item SET status = 9 WHERE id IN ({marks})", [id_ for id_, _ in found])
            changes = Counter((ItemStatus.UNDONE, reason or "") for _, reason in found)
            changes.subtract((ItemStatus.CLOSED, reason or "") for _, reason in found)
            add_to_tally(transaction, source, changes)

    def _finish(self, transaction: Transaction, job: Job, now: float) -> None:
        left = transaction.rows("SELECT 1 FROM tally WHERE job = ? AND status < 3 AND n > 0 LIMIT 1", (job.id,))
        if not left and transaction.run(
            "UPDATE job SET state = 'finished', finished = ? WHERE id = ? AND state = 'ready'", (now, job.id)
        ):
            note(transaction, job.id, now, "finished")

    def _receipt(self, transaction: Transaction, job: Job, lost: Sequence[int]) -> Receipt:
        found = transaction.rows("SELECT wish FROM job WHERE id = ?", (job.id,))
        return Receipt(tuple(lost), Wish(found[0][0]) if found else Wish.CANCEL)

    def beat(self, transaction: Transaction) -> None:
        """Say in a transaction that this worker lives; raises WorkerLost when it has been taken for dead."""
        if not self._watch.beat(transaction, self.id):
            raise WorkerLost(
                "This worker gave no sign of life for too long, and its rows were given to another.",
                remedy="Nothing is lost. Start it again to go on.",
            )


def _moved(count: int, status: ItemStatus) -> dict[tuple[ItemStatus, str], int]:
    return {(ItemStatus.CLAIMED, ""): -count, (status, ""): count}


def _update(result: Result, key: int, now: float) -> tuple[Value, ...]:
    report = report_bytes(result.report) if result.report else None
    return int(result.status), result.reason or None, report, None, now, key


def take(transaction: Transaction, worker: int, found: Sequence[Found]) -> None:
    """Make the items, rows of CLAIMABLE, that worker's, in a transaction that lets nobody else claim."""
    if not found:
        return
    marks = ", ".join("?" * len(found))
    transaction.run(
        "UPDATE item SET status = 1, holder = ?, epoch = epoch + 1, attempts = attempts + 1, due = NULL"
        f" WHERE id IN ({marks})",
        (worker, *(item[0] for item in found)),
    )
    before = Counter((item[0] >> ROW_BITS, ItemStatus(item[1])) for item in found)
    for (job, status), count in sorted(before.items()):
        add_to_tally(transaction, job, {(status, ""): -count, (ItemStatus.CLAIMED, ""): count})


def claimed(found: Found, kind: JobKind, key: str) -> Item:
    """Return a row of CLAIMABLE as the item it is once it has been taken."""
    id_, _, opportunity, account, epoch, attempts, plan, wanted = found
    return Item(
        row=id_ & ROW_MASK,
        epoch=epoch + 1,
        attempts=attempts + 1,
        wanted=wanted_from(wanted, UUID(bytes=bytes(opportunity)), kind, key),
        account=UUID(bytes=bytes(account)) if account is not None else None,
        plan=plan or "",
    )
