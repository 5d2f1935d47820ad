"""Which workers are alive, and when the items of a dead worker go back to be done by another.

On one machine the operating system proves a death (`lock_files`). Between machines a worker raises its `heartbeat` with
every commit. Whoever waits for its items watches it: a heartbeat that does not move for a whole lease, by the watcher's
own monotonic clock, is a death. No two clocks are compared, so clocks that jump or differ change nothing. A worker that
is taken for dead by mistake (a suspended machine, a network that was cut) learns it from its next commit, which matches
no row. Closing reads before it writes, so what that worker did is not repeated.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Collection
from contextlib import suppress

from connector.clock import Clock
from connector.errors import LedgerError
from connector.ledger.jobs import ItemStatus, add_to_tally, change_items, mark_not_read_again, note
from connector.ledger.schema import ROW_BITS, ROW_MASK, Database, Transaction

UNREAD_SINCE = "unread_since"
"""In what a worker remembers: since when, by its clock, it closed what it has not read again."""
_PIECE = 5_000


def worker_key(worker: int) -> str:
    """Return under what name a worker remembers how it is going; that goes with the worker."""
    return f"worker {worker}"


class LivenessMonitor:
    """What one process has seen of the workers of a database; `lease` is in seconds."""

    def __init__(self, database: Database, clock: Clock, lease: float) -> None:
        self.lease = lease
        self.database = database
        self.clock = clock
        self._seen: dict[int, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def reap(self) -> set[int]:
        """Give back the items of every worker that is known to be dead; return their ids, also where that fails."""
        dead = set()
        for worker, heartbeat in self.database.rows("SELECT id, heartbeat FROM worker"):
            if self._dead(worker, heartbeat):
                dead.add(worker)
                with suppress(LedgerError), self.database.transaction() as transaction:
                    self._take_over(transaction, worker, heartbeat)
        return dead

    def add(self, transaction: Transaction, who: str, job: int | None) -> int:
        """Write down a new worker of this process and return its id; it is alive before anybody can see it."""
        now = self.clock.now().timestamp()
        worker = transaction.insert(
            "INSERT INTO worker (job, name, heartbeat, started, seen) VALUES (?, ?, 0, ?, ?)", (job, who, now, now)
        )
        self.database.hold(worker)
        return worker

    def heartbeat(self, transaction: Transaction, worker: int) -> bool:
        """Say that the worker lives; False when it has been taken for dead."""
        now = self.clock.now().timestamp()
        return transaction.run("UPDATE worker SET heartbeat = heartbeat + 1, seen = ? WHERE id = ?", (now, worker)) == 1

    def remove(self, worker: int) -> None:
        """Let a worker go, giving back what it still holds."""
        with self.database.transaction() as transaction:
            self._give_back(transaction, worker, "left")
        self.database.let_go(worker)

    def keep_only(self, worker: int, items: Collection[int]) -> None:
        """Give back what a living worker holds beside these items."""
        with self.database.transaction() as transaction:
            self._free(transaction, worker, "given_back", items)

    def _dead(self, worker: int, heartbeat: int) -> bool:
        proven = self.database.is_dead(worker)
        if proven is not None:
            return proven
        now = self.clock.monotonic()
        with self._lock:
            last, since = self._seen.get(worker, (None, now))
            if last != heartbeat:
                self._seen[worker] = (heartbeat, now)
                return False
        return now - since >= self.lease

    def _take_over(self, transaction: Transaction, worker: int, heartbeat: int) -> None:
        """Give back what a dead worker held, unless it has moved since it was looked at."""
        if transaction.rows("SELECT 1 FROM worker WHERE id = ? AND heartbeat = ?", (worker, heartbeat)):
            self._mark_unread(transaction, worker)
            self._give_back(transaction, worker, "taken_over")
        with self._lock:
            self._seen.pop(worker, None)

    def _mark_unread(self, transaction: Transaction, worker: int) -> None:
        """Mark what a dead worker had done and not read again, by what it last remembered."""
        query = "SELECT worker.job, data FROM worker JOIN saved_state ON saved_state.name = ? WHERE worker.id = ?"
        for job, text in transaction.rows(query, (worker_key(worker), worker)):
            mark_not_read_again(transaction, job, worker, "ended >= ?", [json.loads(text).get(UNREAD_SINCE)])

    def _give_back(self, transaction: Transaction, worker: int, why: str) -> None:
        self._free(transaction, worker, why)
        transaction.run("DELETE FROM slot WHERE worker = ?", (worker,))
        transaction.run("DELETE FROM saved_state WHERE name = ?", (worker_key(worker),))
        transaction.run("DELETE FROM worker WHERE id = ?", (worker,))

    def _free(self, transaction: Transaction, worker: int, why: str, in_hand: Collection[int] = ()) -> None:
        order = f" ORDER BY id{self.database.lock}"
        held = transaction.rows(f"SELECT id FROM item WHERE status = 'claimed' AND holder = ?{order}", (worker,))
        back = [item for (item,) in held if item not in in_hand]
        for start in range(0, len(back), _PIECE):
            change_items(transaction, "status = 'pending', holder = NULL", (), back[start : start + _PIECE])
        jobs = Counter(item >> ROW_BITS for item in back)
        for job, count in sorted(jobs.items()):
            add_to_tally(transaction, job, {(ItemStatus.CLAIMED, ""): -count, (ItemStatus.PENDING, ""): count})
            rows = [item & ROW_MASK for item in back if item >> ROW_BITS == job]
            note(transaction, job, self.clock.now().timestamp(), why, {"worker": worker, "items": len(rows)})
