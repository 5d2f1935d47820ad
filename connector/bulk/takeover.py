"""Who works on a job for certain: between machines a worker that was killed looks alive until its lease ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from connector.ledger.jobs import WorkerInfo
from connector.ledger.ledger import Ledger

LOOK = 0.5
"""Seconds between looks whether a worker has given a sign of life."""


def live_workers(ledger: Ledger, job: str, tell: Callable[[str], None]) -> list[WorkerInfo]:
    """Return the workers of a job that live: by proof, or by a heartbeat seen meanwhile.

    Waits at most a lease and says so by `tell`; who gives no sign of life by then is reaped. Raises LedgerError.
    """
    doubtful = {worker.id: worker for worker in ledger.workers(job) if ledger.database.is_dead(worker.id) is None}
    if doubtful:
        names = ", ".join(worker.name for worker in doubtful.values())
        tell(f"Job {job}: waiting up to {ledger.lease:.0f} s for a sign of life of {names}.")
    ends = ledger.clock.monotonic() + ledger.lease + 2 * LOOK
    while doubtful and ledger.clock.monotonic() < ends:
        ledger.clock.sleep(LOOK)
        there = {worker.id: worker for worker in ledger.workers(job)}
        if _moved(doubtful, there):
            break
        doubtful = {id_: worker for id_, worker in doubtful.items() if id_ in there}
    return ledger.workers(job)


def _moved(before: Mapping[int, WorkerInfo], now: Mapping[int, WorkerInfo]) -> bool:
    return any(id_ in now and now[id_].last_heard != worker.last_heard for id_, worker in before.items())
