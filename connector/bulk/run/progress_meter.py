"""How a run is going: what is done, how fast, what holds it back, when it will be finished."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from connector.bulk.run.allowance import RunAllowance
from connector.bulk.run.paced_client import PacedClient
from connector.bulk.run.row_in_hand import PipelineState
from connector.clock import Clock
from connector.errors import ConnectorError
from connector.handler import PacingStatus
from connector.ledger.job_limits import JobLimits
from connector.ledger.jobs import Counts, DesiredState, ItemStatus, Job

RECENT = 30.0
"""Seconds over which the present rate is measured."""
ENOUGH, ENOUGH_SHARE = 20, 0.05
"""Rows that a run has done, and their share of what it found to do, before it can tell when it will be finished."""

SLOW, LUCK = 0.41, 2.0
"""The last of `n` requests in flight together ends after `n ** (SLOW * spread)` times their mean, 19 times in 20 `LUCK`
spreads sooner or later at most: with log-normal times of spreads from 0.2 to 0.7, for 8 to 400, within a tenth."""
UNUSUAL = 1.15
"""A row costs at most so many times what answered ones usually do, and those in flight what answered ones do."""
MANY = 100
"""Rows that took many times as long as usual before it is known how many of them there are among the others."""
UNSURE = 0.08
"""The share by which a mean cost may be wrong whatever was measured: rows differ from those before them."""
SETTLED = 3.0
"""Seconds of a run before it can tell anything of its end."""
DOUBT, FAR_APART = 1.5, 0.1
"""A forecast is told where a mean cost that is wrong by so many standard errors, and last requests that are longer or
shorter than usual, change the end by less than that share of the whole time either way."""
UNSURE_PARTS = 8
"""Rows more or less for which a window that is nearly full has room: the pacer spares them for what is on its way."""
LONGEST = 120.0
"""Seconds after which the service ends what hangs: the job lasts as long at least."""
WINDOW = 300.0
"""Seconds of the documented window."""
LUMP = 0.1
"""The share of the whole time that a window may be where rows that hang fill it, for the end to be told."""
FREE = frozenset({"latency", "concurrency"})
"""What binds while no budget does."""
FRESH, FRESH_SHARE = 0.2, 0.01
"""Seconds, and share of what is left, after which the end is worked out anew: every bucket counts in it."""
STEADY, STEADY_ROWS = 4.0, 300
"""Seconds for which as many requests as now may be in flight before the rate since then is that of the rest; it is
known sooner where one round was answered and so many rows are done: it is right within a seventeenth then."""


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
    paces: tuple[tuple[str, PacingStatus], ...]
    desired_state: DesiredState = DesiredState.RUN
    opens_at: datetime | None = None
    executed_per_row: float | None = None
    """Seconds of execution for each row that this run has done, reads and failed tries included."""

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
        """Return whether every row has a result, none is refused or failed, and all were read again."""
        bad = self.counts.of(ItemStatus.REFUSED) + self.counts.of(ItemStatus.FAILED) + self.counts.not_read_again
        return not self.stopped and not bad


Cost = tuple[float, float, float]
"""Requests of a row and its seconds of execution: usually, and with those few that take many times as long."""


class ProgressMeter:
    """Measures what a run does; `counts` are those it began with."""

    def __init__(self, job: Job, clients: Sequence[PacedClient], counts: Counts, clock: Clock) -> None:
        self._job = job
        self._clients = clients
        self._clock = clock
        self._to_do = counts.open
        self._done = 0
        self._before = [(client.gate.pace().requests, client.gate.pace().executed) for client in clients]
        self._began = clock.monotonic()
        self._recent: deque[tuple[float, int]] = deque([(clock.monotonic(), 0)])
        self._width = 0
        self._steady = (clock.monotonic(), 0)
        self._end_at: float | None = None
        self._forecast_until = float("-inf")

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
        paces = tuple(self._paces())
        cost = self._per_row(paces, states)
        ceilings = [pace.ceiling * client.gate.parts() for client, (_, pace) in zip(self._clients, paces, strict=True)]
        rate = allowance.limits.rate or float("inf")
        rate_now, ran = self._rate(), self._clock.monotonic() - self._began
        still = rate_now == 0.0 and ran >= RECENT and all(pace.binding in FREE for _, pace in paces)
        still = still or any(state.out for state in states)
        held = "" if still else _held_by(paces, allowance.limits, short=short and counts.of(ItemStatus.PENDING) > 0)
        unknown = still or 0 < counts.open == counts.of(ItemStatus.WAITING)  # nothing comes back, or rows are due later
        left = self._forecast(counts, states, cost) if cost and not unknown else None
        if left is None and held == "at_most":  # what rows cost does not matter then
            left = 0.0
        return ProgressSnapshot(
            job=self._job.name,
            counts=counts,
            in_hand=sum(state.in_flight for state in states),
            in_doubt=sum(state.in_doubt for state in states),
            rate=rate_now,
            ceiling=min(sum(ceilings), rate) if any(state.answered for state in states) else allowance.limits.rate,
            left=None if left is None else max(left, counts.open / rate),
            binding=held or _binding(paces, states, counts),
            paces=paces,
            desired_state=desired_state,
            opens_at=allowance.opens_at,
            executed_per_row=self._executed(paces) / self._done if self._done else None,
        )

    def _executed(self, paces: Sequence[tuple[str, PacingStatus]]) -> float:
        """Return the seconds of execution that this run has used."""
        return sum(pace.executed - first for (_, pace), (_, first) in zip(paces, self._before, strict=True))

    def _rate(self) -> float:
        """Return the rows per second of the last half minute, or since the beginning."""
        now = self._clock.monotonic()
        self._recent.append((now, self._done))
        while len(self._recent) > 1 and self._recent[1][0] <= now - RECENT:
            self._recent.popleft()
        began, count = self._recent[0]
        return (self._done - count) / (now - began) if now > began else 0.0

    def _steady_rate(self, paces: Sequence[tuple[str, PacingStatus]], each: float) -> float:
        """Return the rows per second since as many as now may be in flight and nothing else held them.

        Infinite before that says something: the first of them come back after `each` seconds.
        """
        now = self._clock.monotonic()
        width = sum(pace.most_in_flight for _, pace in paces)
        free = all(pace.binding in FREE for _, pace in paces)
        if width != self._width or not free:
            self._width, self._steady = width, (now + each, self._done)
        since, done = self._steady
        if now <= since:
            self._steady = since, self._done
        rows, seconds = self._done - done, now - since
        is_known = seconds >= STEADY or (seconds >= each and rows >= STEADY_ROWS)
        return rows / seconds if is_known and rows > 0 else float("inf")

    def _per_row(self, paces: Sequence[tuple[str, PacingStatus]], states: Sequence[PipelineState]) -> Cost | None:
        """Return what a row has cost on average; None until that is known.

        The quick ones are answered first: it is known when as many were answered as may be in
        flight, and half of what those in flight will take counts as theirs.
        """
        answered = sum(state.answered for state in states)
        width = sum(pace.most_in_flight for _, pace in paces)
        enough = max(min(ENOUGH, self._to_do), ENOUGH_SHARE * self._to_do, min(width, self._to_do / 2), 1)
        if min(answered, self._done) < enough or self._clock.monotonic() - self._began < SETTLED:
            return None
        half = sum(state.in_flight for state in states) / 2
        pairs = list(zip(paces, self._before, strict=True))
        requests = [pace.requests - pace.in_flight / 2 - first for (_, pace), (first, _) in pairs]
        seconds = [pace.executed - first for (_, pace), (_, first) in pairs]
        mean = (sum(seconds) + sum(pace.hanging for _, pace in paces)) / (answered + half)
        many = sum(pace.unlike for _, pace in paces) >= MANY
        usual = mean if many else min(mean, UNUSUAL * max(pace.usual_seconds for _, pace in paces))
        return sum(requests) / (answered + half), usual, mean

    def _forecast(self, counts: Counts, states: Sequence[PipelineState], cost: Cost) -> float | None:
        """Return how long the rest will take, worked out a short while ago at most."""
        now = self._clock.monotonic()
        if now >= self._forecast_until or not counts.open:
            left = self._left(counts, states, cost)
            self._end_at = None if left is None else now + left
            share = FRESH_SHARE * (now - self._began if left is None else left)
            self._forecast_until = now + max(FRESH, share)
        return None if self._end_at is None else max(0.0, self._end_at - now)

    def _left(self, counts: Counts, states: Sequence[PipelineState], cost: Cost) -> float | None:
        """Return how long the rows that are not to be tried later will take; None where that is not known.

        It is not known where a few seconds of work more or less decide whether another window must be waited for.
        """
        doubtful = sum(state.in_doubt for state in states)
        rows = counts.open - counts.of(ItemStatus.WAITING) - doubtful
        if not counts.of(ItemStatus.PENDING) and not any(state.waiting for state in states):
            rows = min(rows, sum(state.in_flight for state in states))  # the others are answered
        if rows <= 0:
            return None if counts.open else self._until_checked(states, cost)
        paces = [pace for _, pace in self._paces()]
        error = max(UNSURE, DOUBT * max(pace.spread for pace in paces) / math.sqrt(self._done))
        requests, seconds, most = cost
        shares = {-1: seconds * (1 - error), 0: seconds, 1: most * (1 + error)}
        left = {-1: max(1, rows - UNSURE_PARTS), 0: rows, 1: rows}
        ends = [self._end(left[luck], states, requests, each, luck) for luck, each in shares.items()]
        elapsed = self._clock.monotonic() - self._began
        if elapsed + ends[1] > WINDOW and any(pace.unlike or pace.hanging for pace in paces):
            return self._left_with_stops(rows, elapsed)
        if ends[-1] == float("inf") or max(ends[1] - ends[0], ends[2] - ends[1]) > FAR_APART * (elapsed + ends[1]):
            return None
        hangs = ends[1] < LONGEST and any(pace.hanging for pace in paces)
        stopped = LUMP * (elapsed + ends[1]) < WINDOW and any(pace.waiting for pace in paces)  # and may be so again
        if hangs or stopped or not 0.0 < ends[1] <= elapsed / ENOUGH_SHARE:
            return None  # the last ones hang, or what goes wrong now and then has hardly had the time to show
        if all(pace.binding in FREE for pace in paces) and max(pace.servers for pace in paces) > 1:
            each = seconds / requests
            if self._steady_rate(self._paces(), each) == float("inf"):
                return None  # servers may still be found, and how fast they are together shows later
        return ends[1]

    def _until_checked(self, states: Sequence[PipelineState], cost: Cost) -> float:
        """Return how long until the last rows are read again; a full window has no room for that."""
        each = cost[1] / cost[0]
        gates = [client.gate for client, state in zip(self._clients, states, strict=True) if state.unchecked]
        return max((gate.seconds_for(1, each, math.inf) for gate in gates), default=0.0)

    def _left_with_stops(self, rows: int, elapsed: float) -> float | None:
        """Return the same where rows that hang fill the windows, so that now and then everything has to stop.

        When the service counts them is not known, so neither is when a window opens: what they cost shows over many.
        """
        left = rows * elapsed / self._done
        return left if WINDOW * max(1.0, left / elapsed) <= LUMP * (elapsed + left) else None

    def _paces(self) -> list[tuple[str, PacingStatus]]:
        return [(client.name, client.gate.pace()) for client in self._clients]

    def _end(self, rows: int, states: Sequence[PipelineState], requests: float, seconds: float, luck: int) -> float:
        """Return when the last user has done its share of so many rows, with good (-1), usual (0) or bad (1) luck.

        The requests under way have begun already; from when the last one is sent it takes as long as a slow one does,
        and while some are not answered a spread for the last of them and more for the others, however old they are.
        No faster than all that may be in flight are answered, nor than it went since as many may be in flight.
        """
        share = rows / len(self._clients)
        each = seconds / requests
        paces = self._paces()
        steady = self._steady_rate(paces, each) / len(self._clients)
        longest = 0.0
        for (_, pace), client, state in zip(paces, self._clients, states, strict=True):
            width = max(1, pace.most_in_flight)
            slow = each * (state.largest - 1 + width ** (SLOW * pace.spread) + luck * LUCK * pace.spread)
            stuck = pace.binding in FREE and pace.since_sent > slow  # rows wait for the account of one that hangs
            if share <= state.in_flight or stuck:
                tail = each * pace.spread * (1 + math.log(max(1, pace.in_flight)))
                late = stuck or pace.since_sent > slow + LUCK * tail
                longest = max(longest, slow - pace.since_sent, 0.0 if late else tail)
                continue
            fastest = min(width / each if each else float("inf"), steady * requests)
            end = client.gate.seconds_for(share * requests, share * seconds, fastest)
            longest = max(longest, end - state.in_flight * seconds / width + slow)
        return longest


def _held_by(paces: Sequence[tuple[str, PacingStatus]], limits: JobLimits, *, short: bool) -> str:
    """Return which limit that a person has set holds the rate, if one does."""
    if limits.rate is not None and short:
        return "at_most"
    in_flight = sum(pace.most_in_flight for _, pace in paces)
    return "in_flight" if limits.in_flight is not None and limits.in_flight < in_flight else ""


def _binding(paces: Sequence[tuple[str, PacingStatus]], states: Sequence[PipelineState], counts: Counts) -> str:
    """Return what holds the rate: of the user with the most requests, as the pacer says, unless no rows wait."""
    _, (_, pace) = max(enumerate(paces), key=lambda pair: pair[1][1].requests)
    if any(state.out for state in states):
        return "outage"
    if not (any(state.waiting for state in states) or counts.of(ItemStatus.PENDING) or pace.binding == "waiting"):
        return "rows"
    behind = sum(state.behind for state in states)
    return "account" if pace.binding in FREE and 0 < behind == sum(state.waiting for state in states) else pace.binding
