"""Works a job off: claims rows, gives them to the pipeline of every user, and records what came of them.

One thread coordinates and is the only one that talks to the ledger. Killed at any moment, the next run finds what was
claimed given back, looks at the organization, and does what is left.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

from connector.bulk.job_rules import has_ended, is_running
from connector.bulk.run.allowance import RunAllowance
from connector.bulk.run.decision import ALIKE, Breaker, BreakerDecision, Decisions, SendOrder, result_of
from connector.bulk.run.paced_client import AHEAD, MOST_IN_FLIGHT, PacedClient
from connector.bulk.run.pipeline import MOST_LOOKS, Pipeline
from connector.bulk.run.progress_meter import ProgressMeter, ProgressSnapshot, RunResult
from connector.bulk.run.row_in_hand import RowInHand
from connector.bulk.status import governor_data
from connector.closing.model import Report
from connector.errors import ConnectorError
from connector.ledger.claims import Worker
from connector.ledger.jobs import PACE, DesiredState, ItemResult, ItemStatus, Job
from connector.ledger.ledger import Ledger
from connector.ledger.liveness import UNREAD_SINCE, worker_key
from connector.ledger.shared_state import remember

MOST_CLAIMED = 1_000
"""Rows in one claim."""
FEWEST = 100
"""Rows that a user must have room for before it is given some: few reads are made for many rows."""
GATHER = 1.0
"""Seconds over which rows that a rate lets through gather, so that one request takes several."""
TICK = 0.4
"""Seconds between looks at what was decided and what is wanted, at most."""
IDLE_TICK = 1.0
"""The same while nothing is in flight."""
NAP = 0.01
"""Seconds between them, at least."""
RENEWAL = 5.0
"""Seconds between signs of life to the ledger."""
TELL_EVERY = 1.0
"""Seconds between the times at which it writes down how it goes, for those who ask for the status of the job."""

NOTE_EVERY, NOTES = 5.0, 100
"""Seconds between the times at which it notes what holds it, at least, and about how many of them there are."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a run without an organization has of its own: what carries its requests, what it waits on meanwhile.

    `results` makes what is recorded of a row.
    """

    threads: Executor
    wake: threading.Event
    results: Callable[[RowInHand, Report, str], ItemResult] = result_of


class Run:
    """One worker of a job, in this process. `watch` is told how it goes, some times a second.

    `most_alike` rows in a row may fail alike while none is done; then it stops (see `Breaker`).
    """

    def __init__(
        self,
        ledger: Ledger,
        job: Job,
        clients: Sequence[PacedClient],
        watch: Callable[[ProgressSnapshot], None],
        *,
        most_alike: float = ALIKE,
        simulation: Simulation | None = None,
    ) -> None:
        self._ledger = ledger
        self._job = job
        self._clients = clients
        self._clock = clock = ledger.clock
        self._watch = watch
        self._stopping = threading.Event()
        self._wake = simulation.wake if simulation else threading.Event()
        most = len(clients) * (MOST_IN_FLIGHT + AHEAD + MOST_LOOKS)
        self._threads = simulation.threads if simulation else ThreadPoolExecutor(most, thread_name_prefix="request")
        results = simulation.results if simulation else result_of
        order = SendOrder()
        self._allowance = RunAllowance(ledger, job)
        self._pipelines = [
            Pipeline(client, self._threads, clock, random.random, self._wake.set, order, self._allowance.spend, results)
            for client in clients
        ]
        self._breaker = Breaker(order, most_alike)
        self._blocked: ConnectorError | None = None
        self._short = False
        self._counts = ledger.counts(job.name)
        self._meter = ProgressMeter(job, clients, self._counts, clock)
        self._claim_at = self._renew_at = self._tell_at = self._began = self._note_at = clock.monotonic()
        self._noted, self._noted_at = "", self._began

    def stop(self) -> None:
        """Finish what is in flight and end. May be called from any thread and from a signal handler."""
        self._stopping.set()
        self._wake.set()

    def work(self, who: str) -> RunResult:
        """Work until every row has its result, or it is stopped, paused, cancelled or blocked; return how it ended.

        `who` names this worker for people. Raises LedgerError.
        """
        worker = self._ledger.enter(who, self._job.name)
        self._counts = self._ledger.read_again(self._job.name)
        try:
            desired_state = self._work(worker)
        finally:
            self.stop()
            for client in self._clients:
                client.gate.close()  # also where the store failed: what waits for a Retry-After is not waited for
            self._threads.shutdown(cancel_futures=True)
            for client in self._clients:
                client.gate.open()  # others than this run may use it
            self._allowance.keep(worker)
            worker.leave_unread(self._job, [row.item for pipeline in self._pipelines for row in pipeline.unread])
            self._ledger.note(self._job.name, PACE, {"worker": worker_key(worker.id), "binding": "", "ceiling": 0.0})
            worker.leave()
        has_ended(self._ledger, self._job.name, self._blocked)
        self._counts = self._ledger.counts(self._job.name)
        self._tell(f"job {self._job.name}", desired_state)
        return RunResult(self._counts, desired_state, stopped=self._counts.open > 0, blocked=self._blocked)

    def _work(self, worker: Worker) -> DesiredState:
        while True:
            desired_state = worker.desired_state(self._job)
            if desired_state is not DesiredState.RUN:
                self._stopping.set()
            self._allowance.look(worker, self._counts)
            changed = self._record(worker, self._decisions())
            claimed = self._claim(worker)
            self._give_out()
            if not claimed and all(pipeline.idle for pipeline in self._pipelines):
                self._record(worker, self._decisions())
                self._write(worker, self._breaker.end())
                if self._stopping.is_set():
                    return desired_state
                self._counts = self._ledger.read_again(self._job.name)  # others may have left some
                if not self._counts.open:
                    return desired_state
            self._keep_alive(worker, desired_state, changed=changed or claimed)
            self._rest()

    @property
    def _resting(self) -> bool:
        return self._stopping.is_set() or self._allowance.resting

    def _give_out(self) -> None:
        """Let the users work, each on its share of the requests that may be under way."""
        for pipeline, most in zip(self._pipelines, self._allowance.shares(len(self._pipelines)), strict=True):
            pipeline.stop() if self._resting or not most else pipeline.go_on(self._to_come(), most)

    def _to_come(self) -> float:
        """Return how many rows of the job each user may still be given, apart from those that wait."""
        return self._counts.of(ItemStatus.PENDING) / len(self._pipelines)

    # -- rows in ------------------------------------------------------------------------------------------------------

    def _claim(self, worker: Worker) -> bool:
        """Give rows to the users that have room for some; return whether there were any."""
        now = self._clock.monotonic()
        with_room = [(pipeline, most) for pipeline in self._pipelines if (most := pipeline.wants()) >= FEWEST]
        if self._resting or not with_room or now < self._claim_at:
            return False
        most = min(MOST_CLAIMED, sum(most for _, most in with_room))
        items = worker.claim(self._job, most)
        self._short = len(items) < most
        if not items:
            self._claim_at = now + (worker.idle(self._job) or 0.0)
        elif self._short and self._allowance.limits.rate:
            self._claim_at = now + GATHER
        random.shuffle(with_room)  # where there are few rows, all users get some in time
        share = -(-len(items) // len(with_room))
        for number, (pipeline, _) in enumerate(with_room):
            pipeline.add(items[number * share : (number + 1) * share])
        self._counts = self._ledger.counts(self._job.name)
        return bool(items)

    # -- rows out -----------------------------------------------------------------------------------------------------

    def _decisions(self) -> Decisions:
        """Return what the pipelines have decided since the last time."""
        decisions = Decisions()
        for pipeline in self._pipelines:
            own = pipeline.take_decisions()
            decisions.verdicts += own.verdicts
            decisions.untouched += own.untouched
            decisions.postponed += own.postponed
            decisions.blocked = own.blocked or decisions.blocked
        return decisions

    def _record(self, worker: Worker, decisions: Decisions) -> bool:
        """Write down what was decided; rows that are no longer this worker's are somebody else's to report.

        Return whether there was anything.
        """
        self._write(worker, self._breaker.sift(decisions.verdicts))
        self._meter.recorded(sum(not verdict.amends for verdict in decisions.verdicts))
        if decisions.untouched:
            worker.release(self._job, decisions.untouched)
        ordered = sorted(decisions.postponed, key=lambda postponed: (postponed.seconds, postponed.reason))
        for (seconds, reason), rows in groupby(ordered, key=lambda postponed: (postponed.seconds, postponed.reason)):
            worker.requeue(self._job, [postponed.item for postponed in rows], seconds, reason)
        if decisions.untouched or decisions.postponed:
            self._counts = self._ledger.counts(self._job.name)
        self._block(decisions.blocked)
        return bool(decisions.verdicts or decisions.untouched or decisions.postponed)

    def _write(self, worker: Worker, decision: BreakerDecision) -> None:
        if decision.record:
            worker.record(self._job, decision.record)
        if decision.give_back:
            worker.release(self._job, decision.give_back)
        if decision.record or decision.give_back:
            self._counts = self._ledger.counts(self._job.name)
        self._block(self._breaker.open)

    def _block(self, error: ConnectorError | None) -> None:
        if error is not None:
            self._blocked = self._blocked or error
            self._stopping.set()

    # -- meanwhile ----------------------------------------------------------------------------------------------------

    def _keep_alive(self, worker: Worker, desired_state: DesiredState, *, changed: bool) -> None:
        """Say that this worker lives, and how it goes."""
        now = self._clock.monotonic()
        if now >= self._renew_at:
            self._renew_at = now + RENEWAL
            worker.renew()
            is_running(self._ledger, self._job.name)
        if now >= self._tell_at:
            self._tell_at = now + TELL_EVERY
            self._counts = self._ledger.counts(self._job.name)  # others may work on it too
            key = worker_key(worker.id)
            self._note(key, self._tell(key, desired_state))
        elif changed:
            self._watch(self._snapshot(desired_state))

    def _snapshot(self, desired_state: DesiredState) -> ProgressSnapshot:
        states = [pipeline.state() for pipeline in self._pipelines]
        return self._meter.snapshot(self._counts, states, desired_state, self._allowance, short=self._short)

    def _tell(self, key: str, desired_state: DesiredState) -> ProgressSnapshot:
        """Save how the job goes or went for those who ask for its status, show it to who watches, and return it."""
        snapshot = self._snapshot(desired_state)
        since = self._ledger.now() - max(pipeline.longest_unread() for pipeline in self._pipelines)
        remember(self._ledger, key, governor_data(snapshot) | {UNREAD_SINCE: since})
        self._watch(snapshot)
        return snapshot

    def _note(self, key: str, snapshot: ProgressSnapshot) -> None:
        """Note now and then, and when it changes, what holds the rate, for the report."""
        now, binding = self._clock.monotonic(), "window" if snapshot.opens_at else str(snapshot.binding)
        if now < self._note_at and (binding == self._noted or now < self._noted_at + NOTE_EVERY):
            return
        self._noted, self._noted_at = binding, now
        self._note_at = now + max(NOTE_EVERY, (now - self._began) / NOTES)
        ceiling = 0.0 if snapshot.opens_at else snapshot.ceiling
        self._ledger.note(self._job.name, PACE, {"worker": key, "binding": binding, "ceiling": ceiling})

    def _rest(self) -> None:
        """Wait until there may be something to do."""
        if self._allowance.opens_at and all(pipeline.idle for pipeline in self._pipelines):
            self._clock.sleep(IDLE_TICK)
            return
        if any(pipeline.busy for pipeline in self._pipelines):
            self._wake.wait(TICK)
            self._wake.clear()
            return
        due = [pipeline.due_in() for pipeline in self._pipelines]
        if any(pipeline.wants() for pipeline in self._pipelines):
            due.append(self._claim_at - self._clock.monotonic())
        self._clock.sleep(min(IDLE_TICK, max(NAP, min(due))))
