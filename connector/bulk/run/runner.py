"""Works a job off: claims chunks, lets every user's lane do some, records what came of them, and tells how it goes.

One thread coordinates and is the only one that talks to the ledger. Each lane has a few threads that carry a chunk
through the closing loop, and one thread for each batch in flight. Killed at any moment, the next run finds what was
claimed given back, looks at the organization, and does what is left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from connector.bulk.run.chunk import Outcome, work_off
from connector.bulk.run.paced_client import PacedClient
from connector.bulk.run.progress_meter import ProgressMeter, ProgressSnapshot, RunResult
from connector.bulk.run.spread import Crew, Spread
from connector.bulk.status import governor_data
from connector.clock import Clock
from connector.errors import ConnectorError
from connector.ledger.claims import Worker
from connector.ledger.jobs import DesiredState, Item, Job
from connector.ledger.ledger import Ledger
from connector.ledger.liveness import worker_key
from connector.ledger.user_slots import UserSlots

CHUNK = 300
"""Rows looked at together: one read before and one after, about 0.007 per row."""
MOST_BATCHES = 64
"""Threads of a lane, each with a batch in flight: as many as connections are kept open."""
FEWEST_CHUNKS = 2
"""Chunks of a lane under way at once, at least: one is read while another is written."""
MOST_CHUNKS = 16
"""Chunks of a lane under way at once."""
TICK = 0.5
"""Seconds between looks at what is wanted, at most."""
RENEWAL = 5.0
"""Seconds between signs of life to the ledger."""
LONGEST_OUTAGE_PAUSE = 60.0
"""Seconds between attempts while the organization or the sign-in cannot be reached."""


@dataclass(slots=True)
class _LaneAtWork:
    """A lane with its threads and how many opportunities wait for a thread or are being sent."""

    lane: PacedClient
    crew: Crew
    drivers: ThreadPoolExecutor
    chunks: int = 0
    waiting: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def under_way(self, change: int) -> None:
        """Count plans given to the crew, or back from it."""
        with self.lock:
            self.waiting += change

    def wants_more(self) -> bool:
        """Return whether its threads would soon run out of batches."""
        most = min(self.lane.gate.pace().most_in_flight, MOST_BATCHES)
        enough = most * self.lane.gate.parts()
        return self.chunks < FEWEST_CHUNKS or (self.chunks < MOST_CHUNKS and self.waiting < enough)


class Run:
    """One worker of a job, in this process. `watch` is told how it goes, about twice a second."""

    def __init__(
        self,
        ledger: Ledger,
        job: Job,
        lanes: Sequence[PacedClient],
        clock: Clock,
        watch: Callable[[ProgressSnapshot], None],
    ) -> None:
        self._ledger = ledger
        self._job = job
        self._clock = clock
        self._watch = watch
        self._stopping = threading.Event()
        self._meter = ProgressMeter(job, lanes, ledger.counts(job.name), clock)
        self._lanes = [self._at_work(lane) for lane in lanes]
        self._chunks: dict[Future[Outcome], tuple[_LaneAtWork, list[Item]]] = {}
        self._blocked: ConnectorError | None = None
        self._outages = 0
        self._quiet_until = clock.monotonic()

    def stop(self) -> None:
        """Finish what is in flight and end. May be called from any thread and from a signal handler."""
        self._stopping.set()

    def work(self, who: str) -> RunResult:
        """Work until every row has its result, or it is stopped, paused, cancelled or blocked; return how it ended.

        `who` names this worker for people. Raises LedgerError.
        """
        worker = self._ledger.enter(who, self._job.name)
        try:
            desired_state = self._work(worker)
        finally:
            self._stopping.set()
            for lane in self._lanes:
                lane.drivers.shutdown(cancel_futures=True)
                lane.crew.executor.shutdown(cancel_futures=True)
            worker.leave()
        self._remember(f"job {self._job.name}")
        self._watch(self._meter.moment())
        counts = self._ledger.counts(self._job.name)
        return RunResult(counts, desired_state, stopped=counts.open > 0, blocked=self._blocked)

    def _work(self, worker: Worker) -> DesiredState:
        renewed, desired_state = float("-inf"), DesiredState.RUN
        while True:
            desired_state = worker.desired_state(self._job)
            if desired_state is not DesiredState.RUN:
                self._stopping.set()
            wait_for = self._claim(worker)
            if not self._chunks and (self._stopping.is_set() or wait_for is None):
                return desired_state
            self._collect(worker, TICK if wait_for is None else min(wait_for, TICK))
            if self._clock.monotonic() - renewed > RENEWAL:
                renewed = self._clock.monotonic()
                worker.renew()
                self._remember(worker_key(worker.id))
            self._watch(self._meter.moment(desired_state))

    def _remember(self, key: str) -> None:
        """Let whoever asks for the status of the job see what the governors are doing, or were in the end."""
        UserSlots(self._ledger).remember(key, governor_data(self._meter.moment()))

    def _claim(self, worker: Worker) -> float | None:
        """Give chunks to the lanes that want some; return when to ask again, or None when nothing is left to claim."""
        if self._stopping.is_set():
            return None
        quiet = self._quiet_until - self._clock.monotonic()
        if quiet > 0:
            return quiet
        while hungry := [lane for lane in self._lanes if lane.wants_more()]:
            items = worker.claim(self._job, CHUNK)
            if not items:
                return worker.idle(self._job)
            lane = min(hungry, key=lambda lane: lane.chunks)
            lane.chunks += 1
            self._chunks[lane.drivers.submit(self._chunk, lane, items)] = lane, items
        return TICK

    def _chunk(self, lane: _LaneAtWork, items: list[Item]) -> Outcome:
        return work_off(items, Spread(lane.lane.organization, lane.crew), self._pause)

    def _pause(self, seconds: float) -> None:
        """Wait, but not when the run is stopping."""
        ends = self._clock.monotonic() + seconds
        while not self._stopping.is_set() and (left := ends - self._clock.monotonic()) > 0:
            self._clock.sleep(min(left, TICK))

    def _collect(self, worker: Worker, seconds: float) -> None:
        """Wait so long for chunks to end and record what came of those that have."""
        if not self._chunks:
            self._clock.sleep(seconds)
            return
        done, _ = wait(self._chunks, timeout=seconds, return_when=FIRST_COMPLETED)
        for future in done:
            lane, items = self._chunks.pop(future)
            lane.chunks -= 1
            self._record(worker, items, future.result())

    def _record(self, worker: Worker, items: list[Item], outcome: Outcome) -> None:
        """Write down what came of a chunk; rows that are no longer this worker's are somebody else's to report."""
        worker.record(self._job, outcome.results)
        if outcome.untouched:
            worker.release(self._job, outcome.untouched)
        for pause in {seconds for _, seconds in outcome.later}:
            worker.requeue(self._job, [item for item, seconds in outcome.later if seconds == pause], pause)
        self._meter.recorded(outcome.results)
        self._look_at_trouble(outcome, len(items))

    def _look_at_trouble(self, outcome: Outcome, size: int) -> None:
        """End when nothing can work without a person; wait longer and longer while nothing gets through."""
        if outcome.blocked is not None:
            self._blocked = outcome.blocked
            self._stopping.set()
        if outcome.outage is None:
            self._outages = 0
        elif len(outcome.untouched) == size:
            self._outages += 1
            pause = min(LONGEST_OUTAGE_PAUSE, 2.0 ** min(self._outages, 6))
            self._quiet_until = self._clock.monotonic() + pause

    def _at_work(self, lane: PacedClient) -> _LaneAtWork:
        executor = ThreadPoolExecutor(MOST_BATCHES, thread_name_prefix="batch")
        at_work: _LaneAtWork

        def under_way(change: int) -> None:
            at_work.under_way(change)
            self._meter.performed(-change)

        crew = Crew(executor, lane.gate.parts, lambda: lane.gate.pace().most_in_flight, self._stopping, under_way)
        at_work = _LaneAtWork(lane, crew, ThreadPoolExecutor(MOST_CHUNKS, thread_name_prefix="chunk"))
        return at_work
