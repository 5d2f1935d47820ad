"""What a run may do now, by the limits of its job, which a person may change at any time."""

from __future__ import annotations

import math
import threading
from datetime import datetime

from connector.ledger.claims import Worker
from connector.ledger.job_limits import JobLimits
from connector.ledger.jobs import Counts, Job
from connector.ledger.ledger import Ledger

LOOK_EVERY = 1.0
"""Seconds between looks at the limits."""


class RunAllowance:
    """The limits of a job, looked at again and again; `opens_at` is until when it sleeps, None while it may run.

    `resting` is whether what waits goes back to the ledger: it sleeps, or the limits are new.
    """

    def __init__(self, ledger: Ledger, job: Job) -> None:
        self.limits = JobLimits.of(job.options)
        self.opens_at: datetime | None = None
        self.resting = False
        self._ledger = ledger
        self._job = job
        self._clock = ledger.clock
        self._look_at = float("-inf")
        self._in_flight: float = math.inf
        self._lock = threading.Lock()
        self._used = job.operations
        self._unsaid = 0
        self._spent = False

    def look(self, worker: Worker, counts: Counts) -> None:
        """See what is allowed by now, if it is time to; a limit that is reached pauses the job."""
        now = self._clock.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY
        before = self.limits
        self.keep(worker)
        self.opens_at = self.limits.opens_at(self._clock.now())
        self._in_flight = math.inf if self.limits.in_flight is None else self._share(worker, self.limits.in_flight)
        self.resting = self.opens_at is not None or self.limits != before
        reached = "max_operations" if self._spent else self.limits.reached(self._clock.now(), counts, self._used)
        if reached:
            worker.pause(self._job, reached)

    def spend(self, operations: int) -> bool:
        """Count operations towards the entitlement; return False, and count nothing, where that is too many."""
        with self._lock:
            most = self.limits.max_operations
            if most is not None and self._used + self._unsaid + operations > most:
                self._spent = True
                return False
            self._unsaid += operations
            return True

    def shares(self, users: int) -> list[float]:
        """Return how many requests each of so many users may have under way."""
        if math.isinf(self._in_flight):
            return [math.inf] * users
        return [_dealt(int(self._in_flight), users, user) for user in range(users)]

    def keep(self, worker: Worker) -> None:
        """Write down what was used since the last look."""
        with self._lock:
            unsaid = self._unsaid
        if unsaid:
            worker.spend(self._job, unsaid)
        with self._lock:
            self.limits, self._used = worker.limits(self._job)
            self._unsaid -= unsaid
            self._spent = self._spent and self.limits.max_operations is not None

    def _share(self, worker: Worker, most: int) -> int:
        """Return how many of the requests that the job may have under way are this worker's."""
        workers = [peer.id for peer in self._ledger.workers(self._job.name)]
        return _dealt(most, len(workers), workers.index(worker.id)) if worker.id in workers else 0


def _dealt(most: int, hands: int, hand: int) -> int:
    return most // hands + (hand < most % hands)
