"""The threads of an instance that work operations off, and the one that shares the work out to them."""

from __future__ import annotations

import functools
import logging
import threading
from collections import Counter
from concurrent.futures import Future, wait

from connector.errors import LedgerError
from connector.ledger.claims import Worker
from connector.ledger.jobs import Item, Job, WorkerLost
from connector.ledger.ledger import Ledger
from connector.ledger.operation_store import OperationStore
from connector.service.operations.operation_runner import OperationRunner, Stopping
from connector.service.operations.waiting import DaemonExecutor
from connector.service.problems import frames_of

_log = logging.getLogger("connector.service")


def tenant_of(job: Job) -> str:
    """Return the tenant of the caller of an operation."""
    caller = job.options.get("caller")
    return str(caller.get("tenant", "")) if isinstance(caller, dict) else ""


LOOK_AGAIN = 1.0
"""Seconds after which to look for work when nobody told of any: what waits has come due, another instance died."""
RENEWAL = 5.0
"""Seconds between signs of life to the ledger while there is nothing to do."""
OUTAGE_PAUSE = 5.0
STOPPING = 6.0
"""Seconds for which the end of what is under way is waited for."""
UNFORESEEN_PAUSE, UNFORESEEN_TRIES = 60.0, 5
"""Seconds until what broke off for no known reason is tried again, and how often at most it is tried in all."""
SLOW, SPARE = 25.0, 4
"""Seconds after which an operation counts as slow and another may run beside it: up to so many times the workers.

A write may take minutes, so those that were under way when an organization fell silent wait on when it is back.
"""


class OperationWorkerPool:
    """The workers of this process; `size` operations are worked off side by side. `who` names the process.

    One tenant has `share` of them at most, so that its silent organization does not hold up everybody's.
    """

    def __init__(
        self, ledger: Ledger, work: OperationRunner, size: int, share: int, who: str, stopping: threading.Event
    ) -> None:
        self._ledger = ledger
        self._operations = OperationStore(ledger)
        self._work = work
        self._size = size
        self._who = who
        self._stopping = stopping
        self._woken = threading.Condition()
        self._wanted = True
        self._share = share
        self._pool = DaemonExecutor(SPARE * size, "operation")
        self._running: dict[Future[None], tuple[Job, Item, float]] = {}
        """Each operation that is worked on, and when that began."""
        self._store_failed = self._broke_off = False
        self._thread = threading.Thread(target=self._run, name="operations", daemon=True)
        self._worker: Worker | None = None
        self._renew_at = 0.0

    def start(self) -> None:
        """Begin: what an earlier process left unfinished comes first."""
        self._thread.start()

    def wake(self) -> None:
        """Say that there may be work."""
        with self._woken:
            self._wanted = True
            self._woken.notify()

    def stop(self) -> None:
        """Stop, giving back what waits in the middle; what is being sent is waited for.

        What takes too long is left to the process that finds this one dead: another instance, or the next start.
        """
        self._stopping.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(STOPPING)
        _, left = wait(self._running, STOPPING)
        if self._worker is not None and not left and not self._thread.is_alive():
            self._worker.leave()

    @property
    def alive(self) -> bool:
        """Return whether work is being shared out."""
        return self._thread.is_alive() and not self._broke_off

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._share_out()
                self._broke_off = False
            except WorkerLost:
                self._worker = None  # taken for dead: other workers have its items, and it begins again
            except LedgerError as error:
                self._store_failed = True
                _log.error("Operations wait, since the store cannot be used. %s", error)
                self._stopping.wait(OUTAGE_PAUSE)
            except Exception as error:  # noqa: BLE001 - no row that cannot be read ends the thread
                self._store_failed = self._broke_off = True
                _log.error("Sharing out operations broke off: %s\n%s", type(error).__name__, frames_of(error))
                self._stopping.wait(OUTAGE_PAUSE)

    def _share_out(self) -> None:
        if self._worker is None:
            self._worker = self._ledger.enter(self._who)
        if self._store_failed:
            self._store_failed = False
            with self._woken:
                held = [(job, item) for job, item, _ in self._running.values()]
            self._worker.keep_only(held)
        with self._woken:
            self._woken.wait_for(lambda: self._wanted or self._stopping.is_set(), LOOK_AGAIN)
            self._wanted = False
            most, full = self._room()
        if self._stopping.is_set():
            return
        claimed = self._operations.claim(self._worker, most, full) if most and self._operations.unfinished() else []
        now = self._work.clock.monotonic()
        if not claimed and now >= self._renew_at:
            self._worker.renew()
        self._renew_at = now + RENEWAL if claimed or now >= self._renew_at else self._renew_at
        for job, item in claimed:
            future = self._pool.submit(functools.partial(self._work.do, self._worker, job, item))
            with self._woken:
                self._running[future] = job, item, now
                self._wanted = True  # there may be work of other tenants
            future.add_done_callback(functools.partial(self._back, job, item))

    def _room(self) -> tuple[int, list[str]]:
        """Return how many operations more may be begun, and the tenants that have their share."""
        young = self._work.clock.monotonic() - SLOW
        held = Counter(tenant_of(job) for job, _, _ in self._running.values())
        busy = Counter(tenant_of(job) for job, _, began in self._running.values() if began > young)
        full = [tenant for tenant in held if busy[tenant] >= self._share or held[tenant] >= SPARE * self._share]
        spare = self._share - max((count for tenant, count in busy.items() if tenant not in full), default=0)
        return max(0, min(self._size - busy.total(), spare, SPARE * self._size - held.total())), full

    def _back(self, job: Job, item: Item, future: Future[None]) -> None:
        """Take a thread back; an operation that broke off is tried again later, not for ever."""
        with self._woken:
            self._running.pop(future, None)
        self.wake()
        error = future.exception()
        if error is None or isinstance(error, WorkerLost | Stopping):
            return
        _log.error("The operation %s broke off: %s\n%s", job.name, type(error).__name__, frames_of(error))
        worker = self._worker
        if worker is not None:
            try:
                if item.attempts < UNFORESEEN_TRIES:
                    worker.requeue(job, [item], UNFORESEEN_PAUSE)
                else:
                    self._work.give_up(worker, job, item)
            except LedgerError as failure:
                self._store_failed = True
                _log.error("The operation %s goes on when the store can be used again. %s", job.name, failure)
