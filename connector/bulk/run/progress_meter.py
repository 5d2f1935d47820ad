"""How a run is going: what is done, how fast, what holds it back, when it will be finished."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from connector.bulk.run.paced_client import PacedClient, PacerStatus
from connector.clock import Clock
from connector.errors import ConnectorError
from connector.ledger.jobs import Counts, DesiredState, ItemResult, ItemStatus, Job

RECENT = 30.0
"""Seconds over which the present rate is measured."""
ENOUGH = 20
"""Rows performed before the end can be foreseen."""


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """A look at a run. Rates are in rows per second, times in seconds; None where nothing can be said yet.

    `ceiling` is the rate that could go on for hours. `left` is how long the rest will take. `desired_state` is what the
    worker knows of the job.
    """

    job: str
    counts: Counts
    in_hand: int
    rate: float
    ceiling: float | None
    left: float | None
    paces: tuple[tuple[str, PacerStatus], ...]
    desired_state: DesiredState = DesiredState.RUN

    @property
    def binding(self) -> str:
        """Return what holds the rate: that of the lane with the most requests."""
        return max(self.paces, key=lambda pair: pair[1].requests)[1].binding

    @property
    def waiting(self) -> float:
        """Return how long the lane that is free first is still stopped."""
        return min(pace.waiting for _, pace in self.paces)


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended: the counts, what was wanted of the job, whether rows are left, and what kept it from working."""

    counts: Counts
    desired_state: DesiredState
    stopped: bool
    blocked: ConnectorError | None

    @property
    def well(self) -> bool:
        """Return whether every row has a result and none is refused or failed."""
        bad = self.counts.of(ItemStatus.REFUSED) + self.counts.of(ItemStatus.FAILED)
        return not self.stopped and not bad


class ProgressMeter:
    """Counts what a run does. Safe for threads."""

    def __init__(self, job: Job, lanes: Sequence[PacedClient], counts: Counts, clock: Clock) -> None:
        self._job = job
        self._lanes = lanes
        self._clock = clock
        self._by_status = Counter(counts.by_status)
        self._reasons = Counter(counts.reasons)
        self._started = clock.monotonic()
        self._before = [(lane.gate.pace().requests, lane.gate.pace().executed) for lane in lanes]
        self._in_hand = 0
        self._performed = 0
        self._recent: deque[tuple[float, int]] = deque([(self._started, 0)])
        self._lock = threading.Lock()

    def performed(self, change: int) -> None:
        """Count plans that came back (positive) or were given out (negative)."""
        with self._lock:
            self._in_hand -= change
            self._performed += max(0, change)

    def recorded(self, results: Sequence[ItemResult]) -> None:
        """Count results that were written down."""
        with self._lock:
            for result in results:
                self._by_status[result.status] += 1
                if result.reason:
                    self._reasons[result.status, result.reason] += 1
            self._by_status[ItemStatus.PENDING] -= len(results)

    def moment(self, desired_state: DesiredState = DesiredState.RUN) -> ProgressSnapshot:
        """Return how it goes now; `desired_state` is what is wanted."""
        now = self._clock.monotonic()
        paces = tuple((lane.name, lane.gate.pace()) for lane in self._lanes)
        with self._lock:
            self._recent.append((now, self._performed))
            while self._recent[0][0] < now - RECENT and len(self._recent) > 1:
                self._recent.popleft()
            began, count = self._recent[0]
            rate = (self._performed - count) / (now - began) if now > began else 0.0
            counts = Counts(dict(self._by_status), dict(self._reasons))
            performed, in_hand = self._performed, self._in_hand
        requests, seconds = self._per_row(paces, performed)
        ceiling = sum(pace.ceiling for _, pace in paces) / requests if requests else None
        left = self._left(counts.open - in_hand, rate, requests, seconds, paces) if requests else None
        return ProgressSnapshot(self._job.name, counts, in_hand, rate, ceiling, left, paces, desired_state)

    def _per_row(self, paces: Sequence[tuple[str, PacerStatus]], performed: int) -> tuple[float, float]:
        """Return the requests and the seconds of execution that a row has cost on average; zero at first."""
        if performed < ENOUGH:
            return 0.0, 0.0
        done = [
            pace.requests - pace.in_flight - first for (_, pace), (first, _) in zip(paces, self._before, strict=True)
        ]
        seconds = [pace.executed - first for (_, pace), (_, first) in zip(paces, self._before, strict=True)]
        return sum(done) / performed, sum(seconds) / performed

    def _left(
        self, rows: int, rate: float, requests: float, seconds: float, paces: Sequence[tuple[str, PacerStatus]]
    ) -> float | None:
        """Return how long so many rows will take, shared out among the lanes."""
        share = max(0, rows) / len(self._lanes)
        free = all(pace.binding == "latency" for _, pace in paces)
        fastest = rate / len(self._lanes) * requests if free else float("inf")
        if free and not rate:
            return None
        return max(lane.gate.seconds_for(share * requests, share * seconds, fastest) for lane in self._lanes)
