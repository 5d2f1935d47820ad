"""How a run is going: what is done, how fast, what holds it back, when it will be finished."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from connector.bulk.run.allowance import RunAllowance
from connector.bulk.run.paced_client import PacedClient, PacerStatus
from connector.bulk.run.row_in_hand import PipelineState
from connector.clock import Clock
from connector.errors import ConnectorError
from connector.ledger.job_limits import JobLimits
from connector.ledger.jobs import Counts, DesiredState, ItemStatus, Job

RECENT = 30.0
"""Seconds over which the present rate is measured."""
ENOUGH, ENOUGH_SHARE = 20, 0.05
"""Rows that a run has done, and their share of what it found to do, before it can tell when it will be finished."""

STEADY = 4.0
"""Seconds for which as many requests as now may be in flight before the rate since then is that of the rest."""


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """A look at a run. Rates are in rows per second, times in seconds; None where nothing can be said yet.

    `in_hand` rows are being sent, `in_doubt` are to be looked at again. `rate` is that of the last half minute,
    `ceiling` the one that could go on for hours, `left` how long the rest will take, `binding` what holds the rate.
    `desired_state` is what the worker knows to be wanted, `opens_at` until when it sleeps outside its hours.
    """

    job: str
    counts: Counts
    in_hand: int
    in_doubt: int
    rate: float
    ceiling: float | None
    left: float | None
    binding: str
    paces: tuple[tuple[str, PacerStatus], ...]
    desired_state: DesiredState = DesiredState.RUN
    opens_at: datetime | None = None

    @property
    def waiting(self) -> float:
        """Return how long the user who is free first is still stopped."""
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
    """Measures what a run does; `counts` are those it began with."""

    def __init__(self, job: Job, clients: Sequence[PacedClient], counts: Counts, clock: Clock) -> None:
        self._job = job
        self._clients = clients
        self._clock = clock
        self._to_do = counts.open
        self._done = 0
        self._before = [(client.gate.pace().requests, client.gate.pace().executed) for client in clients]
        self._recent: deque[tuple[float, int]] = deque([(clock.monotonic(), 0)])
        self._width = 0
        self._steady = (clock.monotonic(), 0)

    def recorded(self, rows: int) -> None:
        """Count rows that were written down."""
        self._done += rows

    def snapshot(
        self,
        counts: Counts,
        states: Sequence[PipelineState],
        desired_state: DesiredState,
        allowance: RunAllowance,
        *,
        short: bool,
    ) -> ProgressSnapshot:
        """Return how it goes now: by the ledger's counts, by where the rows are with each user, by what is allowed.

        `short` is whether the ledger gave fewer rows than there was room for.
        """
        paces = tuple((client.name, client.gate.pace()) for client in self._clients)
        requests, seconds = self._per_row(paces, sum(state.answered for state in states))
        ceilings = [pace.ceiling * client.gate.parts() for client, (_, pace) in zip(self._clients, paces, strict=True)]
        rate = allowance.limits.rate or float("inf")
        left = self._left(counts.open, requests, seconds, paces) if requests and not _only_later(counts) else None
        return ProgressSnapshot(
            job=self._job.name,
            counts=counts,
            in_hand=sum(state.in_flight for state in states),
            in_doubt=sum(state.in_doubt for state in states),
            rate=self._rate(),
            ceiling=min(sum(ceilings), rate) if requests else None,
            left=None if left is None else max(left, counts.open / rate),
            binding=_held_by(paces, allowance.limits, short=short and counts.of(ItemStatus.PENDING) > 0)
            or _binding(paces, states, counts),
            paces=paces,
            desired_state=desired_state,
            opens_at=allowance.opens_at,
        )

    def _rate(self) -> float:
        """Return the rows per second of the last half minute, or since the beginning."""
        now = self._clock.monotonic()
        self._recent.append((now, self._done))
        while len(self._recent) > 1 and self._recent[1][0] <= now - RECENT:
            self._recent.popleft()
        began, count = self._recent[0]
        return (self._done - count) / (now - began) if now > began else 0.0

    def _steady_rate(self, width: int) -> float:
        """Return the rows per second since `width` requests may be in flight; infinite before that says something."""
        now = self._clock.monotonic()
        if width != self._width:
            self._width, self._steady = width, (now, self._done)
        since, done = self._steady
        return (self._done - done) / (now - since) if now - since >= STEADY and self._done > done else float("inf")

    def _per_row(self, paces: Sequence[tuple[str, PacerStatus]], answered: int) -> tuple[float, float]:
        """Return the requests and the seconds of execution that a row has cost on average; zero until that is known."""
        if min(answered, self._done) < max(min(ENOUGH, self._to_do), ENOUGH_SHARE * self._to_do, 1):
            return 0.0, 0.0
        pairs = list(zip(paces, self._before, strict=True))
        requests = [pace.requests - pace.in_flight - first for (_, pace), (first, _) in pairs]
        seconds = [pace.executed - first for (_, pace), (_, first) in pairs]
        return sum(requests) / answered, sum(seconds) / answered

    def _left(
        self, rows: int, requests: float, seconds: float, paces: Sequence[tuple[str, PacerStatus]]
    ) -> float | None:
        """Return how long so many rows will take, shared out among the users; None where that is not known.

        No faster than all that may be in flight are answered, nor than it went since as many may be in flight.
        """
        if not rows:
            return 0.0
        share = rows / len(self._clients)
        each = seconds / requests
        steady = self._steady_rate(sum(pace.most_in_flight for _, pace in paces)) / len(self._clients)
        longest = 0.0
        for client, (_, pace) in zip(self._clients, paces, strict=True):
            fastest = min(pace.most_in_flight / each if each else float("inf"), steady * requests)
            longest = max(longest, client.gate.seconds_for(share * requests, share * seconds, fastest))
        return longest if longest < float("inf") else None


def _only_later(counts: Counts) -> bool:
    """Return whether all rows that are left wait to be tried again: how long that takes is not known."""
    return 0 < counts.open == counts.of(ItemStatus.WAITING)


def _held_by(paces: Sequence[tuple[str, PacerStatus]], limits: JobLimits, *, short: bool) -> str:
    """Return which limit that a person has set holds the rate, if one does."""
    if limits.rate is not None and short:
        return "at_most"
    in_flight = sum(pace.most_in_flight for _, pace in paces)
    return "in_flight" if limits.in_flight is not None and limits.in_flight < in_flight else ""


def _binding(paces: Sequence[tuple[str, PacerStatus]], states: Sequence[PipelineState], counts: Counts) -> str:
    """Return what holds the rate: of the user with the most requests, as the pacer says, unless rows are wanting."""
    _, (_, pace) = max(enumerate(paces), key=lambda pair: pair[1][1].requests)
    starving = not any(state.waiting for state in states) and not counts.of(ItemStatus.PENDING)
    if starving and pace.binding != "waiting":
        return "rows"
    return pace.binding
