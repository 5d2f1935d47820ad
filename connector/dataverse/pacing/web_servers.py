"""What is known of each web server behind an organization: its budgets, and when it may take another request."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import accumulate, takewhile

from connector.dataverse.pacing.concurrency import FEWEST, MOST_PARTS
from connector.dataverse.pacing.forecast import ENDING, STEPS, RemainingBudget
from connector.dataverse.pacing.permits import Facet, Feedback, Permit
from connector.dataverse.pacing.service_limits import Budget, LimitEstimate, SlidingWindow
from connector.dataverse.pacing.throttled_server import ThrottledServer

TOLD_MARGIN = 0.995
"""The share of a limit that is used where the service says what is left: requests in flight take longer than expected.
What is fresh is used to the last, and so is a limit of which nothing is told: our windows count longer than its own."""
NOT_OURS = 0.1
"""A window that is full although we have used so much less of it was filled by others under the same user too."""
ON_ITS_WAY = 0.001
"""The share of the window for which what was sent may not have been taken off yet of what the service tells."""
LARGER = 1.25
"""What is on its way may take so many times as long as expected."""
SPARE = 0.1
"""The share of a limit that must be left for a crowd to go at once: one of them may take much longer than expected."""
EVENNESS = 30
"""How much longer, for the share that is left to others, our own part is spent over: their use is not foreseen."""
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class LimitEstimates:
    """Where the estimates of a server start: those of another one, since servers of an organization are alike."""

    requests: float
    seconds: float
    concurrency: float


class InFlight:
    """Requests under way and the seconds of execution expected of them."""

    __slots__ = ("requests", "seconds")

    def __init__(self) -> None:
        self.requests = 0
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one more request, of so many seconds."""
        self.requests += 1
        self.seconds += seconds

    def remove(self, seconds: float) -> None:
        """Count it as answered, whatever came of it."""
        self.requests -= 1
        self.seconds = max(0.0, self.seconds - seconds) if self.requests else 0.0


class ReservedQuota:
    """The share of the limits that is left to others under the same user: more with each refusal that they cause.

    A window after the last such refusal it begins to shrink, to a quarter in each: when they leave, all is ours.
    """

    __slots__ = ("_at", "_share", "_window")

    def __init__(self, window: float) -> None:
        self._window = window
        self._share = 0.0
        self._at = float("-inf")

    def share(self, now: float) -> float:
        """Return the share that is left to others now."""
        windows = (now - self._at) / self._window
        return self._share * 0.25 ** max(0.0, windows - 1) if self._share else 0.0

    def more(self, now: float, stopped: float) -> None:
        """Leave them more, the more the longer their refusal has `stopped` us; half of the limits at most."""
        self._share = min(0.5, self.share(now) + 0.5 * stopped / self._window)
        self._at = now


class WebServer:
    """One web server, as one user sees it. `key` is its affinity cookie's value, empty when there is none.

    A request whose server is not known before it answers is among the `unaddressed`: each of them counts as in flight
    on every server.
    """

    __slots__ = (
        "addressed", "budget", "concurrency", "count", "executed", "for_others", "guarded_until", "hold", "kept_free",
        "key", "last_at", "lately", "sent", "strayed", "time", "told", "unaddressed", "unsettled",
    )  # fmt: skip

    def __init__(
        self, key: str, budget: Budget, now: float, unaddressed: InFlight, learnt: LimitEstimates | None = None
    ) -> None:
        start = learnt or LimitEstimates(budget.requests, budget.seconds, budget.concurrency)
        horizon, window = budget.horizon, budget.window
        self.key = key
        self.budget = budget
        self.sent = SlidingWindow(window, budget.spread)
        self.executed = SlidingWindow(window, budget.spread)
        self.count = LimitEstimate(start.requests, now, horizon=horizon, settle=window)
        self.time = LimitEstimate(start.seconds, now, horizon=horizon, settle=window)
        self.concurrency = LimitEstimate(start.concurrency, now, horizon=horizon / 4, settle=None)
        self.addressed = InFlight()
        self.unaddressed = unaddressed
        self.lately: dict[int, Permit] = {}  # under way, and perhaps not taken off yet of what the server tells is left
        self.told = 0.0  # what the server has told is left of its seconds
        self.last_at = float("-inf")
        self.hold = ThrottledServer()
        self.strayed = 0
        self.for_others = ReservedQuota(window)
        self.guarded_until = NEVER
        self.kept_free = 1
        self.unsettled: list[float] = []  # until when requests may be at work whose answers were lost

    def learnt(self) -> LimitEstimates:
        """Return the estimates as they stand, for a server not met before."""
        return LimitEstimates(self.count.value, self.time.value, self.concurrency.value)

    def assume(self, now: float, learnt: LimitEstimates) -> None:
        """Take over estimates that were made elsewhere; a higher limit is looked for slowly, as time passes."""
        self.count.assume(now, learnt.requests)
        self.time.assume(now, learnt.seconds)
        self.concurrency.assume(now, learnt.concurrency)

    @property
    def in_flight(self) -> int:
        """How many requests are under way to it, at most."""
        return self.addressed.requests + self.unaddressed.requests

    def at_once(self, now: float) -> int:
        """Return how many requests may be under way to it: as many as documented while nobody else can be there.

        Else some are kept free for them, and down to `FEWEST` for what lost its answer and may still be at work: one
        too many stops a user for minutes.
        """
        slots = int(self.concurrency.value * (1 - self.for_others.share(now)))
        slots -= self.kept_free if now < self.guarded_until else 0
        return (
            max(slots - sum(now < until for until in self.unsettled), min(slots, FEWEST)) if self.unsettled else slots
        )

    def guard(self, now: float) -> None:
        """Keep some requests free for a window: something that we do not see may be under way."""
        self.guarded_until = max(now + self.budget.window, self.guarded_until)

    def lost(self, now: float, until: float) -> None:
        """Take in that an answer was lost, whose request may be at work `until` then."""
        later = [other for other in self.unsettled if now < other]
        self.unsettled = [*later[-int(self.concurrency.value) :], until]

    def intervals(
        self, now: float, cost: float, servers: int, *, ending: bool = False, last: bool = False
    ) -> tuple[float, float]:
        """Return the seconds between two requests that spend each window's budget as it should be spent.

        First for the count, then for the execution time at `cost` seconds a request; infinite without room, zero for
        what is fresh, and where the work is `ending` and there is room to spare. Nothing is spared after the `last`.
        """
        requests, seconds = self.room(now, servers)
        if last:
            seconds = self.left(now)
        return (
            self._interval(now, 1.0, requests, self.sent, self.count.value, ending=ending) if requests >= 1 else NEVER,
            self._interval(now, cost, seconds, self.executed, self.time.value, ending=ending) if seconds > 0 else NEVER,
        )

    def _interval(
        self, now: float, cost: float, room: float, window: SlidingWindow, limit: float, *, ending: bool
    ) -> float:
        """Return the seconds between requests that spend what there is room for, and what comes back."""
        if window.fresh or (ending and not cost <= room <= SPARE * limit):
            return 0.0
        if ending:
            return cost * self.budget.window / 60 / room
        evenly = 1 + EVENNESS * self.for_others.share(now)
        return cost * self.budget.spread / (room / evenly + window.returning(now))

    def room(self, now: float, servers: int) -> tuple[float, float]:
        """Return how many requests, and how many seconds of execution, may still be used now.

        Requests in flight, and the seconds expected of them, count as used: those of the unaddressed are dealt out over
        all `servers`.
        """
        expected = self.addressed.seconds + self.unaddressed.seconds / servers
        return (
            self._usable(now, self.count, self.sent) - self.sent.used(now) - self.in_flight,
            self._usable(now, self.time, self.executed) - self.executed.used(now) - expected,
        )

    def left(self, now: float, larger: float = LARGER) -> float:
        """Return how many seconds of execution may still be sent where nothing comes after them, by the only server.

        What was under way when the server told what is left has been taken off, or will be when all has been let in.
        What was on its way, or of which nothing is told, counts as so many times `larger` than expected.
        """
        left = self.told if self.time.confirmed(now) else self.time.value - self.executed.used(now)
        on_its_way = sum(permit.cost for permit in self.lately.values())
        return left - self.for_others.share(now) * self.time.number - larger * on_its_way

    def _usable(self, now: float, limit: LimitEstimate, window: SlidingWindow) -> float:
        """Return how much of a limit may be used."""
        usable = limit.value - self.for_others.share(now) * limit.number
        return usable if window.fresh or not limit.confirmed(now) else TOLD_MARGIN * usable

    def remaining(self, now: float, servers: int) -> tuple[RemainingBudget, RemainingBudget]:
        """Return what is left of both windows and what comes back, the count first.

        A service that tells what is left has taken off what is in flight, which is still to be done: it is added again
        while a window is fresh. Later as much has come back there already that comes back here when it is as old.
        """
        used, executed = self.sent.used(now), self.executed.used(now)
        if self.sent.fresh or not self.time.confirmed(now):
            count, time = self.count.foreseen(used) - used, self.time.foreseen(executed) - executed
        else:
            count, time = TOLD_MARGIN * self.count.usual - used, TOLD_MARGIN * self.time.usual - executed
        if self.count.confirmed(now) and self.sent.fresh:
            count += self.addressed.requests + self.unaddressed.requests / servers
        if self.time.confirmed(now) and self.sent.fresh:
            time += self.addressed.seconds + self.unaddressed.seconds / servers
        return (
            RemainingBudget(count, count if self.sent.fresh else 0.0, self.sent.leaving(now, STEPS)),
            RemainingBudget(time, time if self.executed.fresh else 0.0, self.executed.leaving(now, STEPS)),
        )

    def goes(self, permit: Permit) -> None:
        """Take in what is sent to this server, or may be."""
        self.lately[id(permit)] = permit
        self.last_at = permit.sent_at
        self.hold.sent(permit)

    def ran(self, now: float, seconds: float) -> None:
        """Count a request that this server has executed in `seconds`."""
        self.sent.add(now, 1)
        self.executed.add(now, seconds)

    def hear(self, now: float, requests_left: float | None, seconds_left: float | None) -> None:
        """Take in what the server says is left of its windows, `ran` having counted the request that says so.

        Who has less than the documented limit left, beside what is ours, is not alone: what others have used of the
        seconds says at first how many requests of theirs are at work at once.
        """
        if requests_left is not None:
            used = self.sent.used(now)
            self.count.hear(now, requests_left, used)
            if requests_left + used + self.in_flight < self.budget.requests:
                self.guard(now)
            elif self.guarded_until == NEVER:
                self.guarded_until = now
        if seconds_left is not None:
            if not self.time.confirmed(now):
                others = self.budget.seconds - seconds_left - self.executed.used(now) - self.addressed.seconds
                beside = max(0.0, others - self.unaddressed.seconds) / self.budget.window
                self.kept_free = max(1, math.ceil(beside + 2 * math.sqrt(beside)))
            self.told = seconds_left
            self.time.hear(now, seconds_left, self.executed.used(now))
            since = now - ON_ITS_WAY * self.budget.window
            self.lately = {key: permit for key, permit in self.lately.items() if permit.sent_at > since}

    def refused(self, now: float, feedback: Feedback, stopped: float, *, again: bool, hanging: float = 0.0) -> None:
        """Learn from a refusal that stops us for `stopped` seconds; `again` says that we had waited as told.

        What we have not used of a full window, others have: from now on they are left more. Requests of ours that hang
        may have used as much as `hanging` seconds of it, which we shall count when they end.
        """
        limit, number = self._limit(feedback.facet), feedback.number
        if limit is self.concurrency:
            limit.refused(now, self.in_flight, stopped, number)
            self.guard(now + stopped)
            return
        window = self.sent if limit is self.count else self.executed
        used, still = window.used(now), hanging if limit is self.time else 0.0
        others = limit.refused(now, used, stopped, number) - still
        if again or (number is not None and used + still < (1 - NOT_OURS) * limit.value):
            self.for_others.more(now, feedback.retry_after or stopped)
        window.add_aged(now, (max(0.0, others) / 300,) * 300, 0.0)

    def told_elsewhere(self, now: float, feedback: Feedback, stopped: float) -> None:
        """Take in what another server named: servers of an organization are alike."""
        if feedback.number is not None:
            self._limit(feedback.facet).told_elsewhere(now, feedback.number, stopped)

    def _limit(self, facet: Facet | None) -> LimitEstimate:
        return {Facet.COUNT: self.count, Facet.TIME: self.time}.get(facet or Facet.OTHER, self.concurrency)

    def grow(self, now: float) -> None:
        """Let the estimates that hold us back grow, each when its time has come."""
        self.count.grow(now, self.sent.used(now) + self.in_flight)
        self.time.grow(now, self.executed.used(now) + self.addressed.seconds)

    def ceiling(self, cost: float) -> float:
        """Return the requests per second that can go on for hours, at `cost` seconds each."""
        window = self.budget.window
        spend = max(cost, 1e-9)
        return min(self.count.value / window, self.time.value / window / spend, self.concurrency.value / spend)


def fits(servers: Iterable[WebServer], requests: float, seconds: float) -> bool:
    """Return whether so much work fits into the last windows of a job, in which nothing is spread any more."""
    count, time = map(sum, zip(*[(server.count.value, server.time.value) for server in servers], strict=True))
    return requests <= ENDING * count and seconds <= ENDING * time


def last_parts(servers: Collection[WebServer], now: float, parts: float, cost: float, spread: float) -> float | None:
    """Return how many of the last `parts` of a job its last request must carry; None where it waits for a window.

    The service lets in the request that crosses a limit, whatever it carries: it may last no longer than it takes until
    as much comes back. It goes while two parts more have room, one of them four spreads longer; not on several servers.
    """
    server, *others = servers
    left, window = server.left(now), server.budget.window
    over = (parts + 2 + 4 * spread) * cost - left
    if over <= 0 or others:
        return None if others else 0
    back = accumulate(server.executed.leaving(now, STEPS))
    wait = window / STEPS * sum(1 for _ in takewhile(lambda seconds: seconds < over, back))
    lasts = over + left - server.left(now, 0.0)
    has_room = (left > 0 or server.lately) and lasts <= min(window / 5, wait, MOST_PARTS * cost)
    return over / cost if has_room else None


ROOMY = 0.8
"""The share of the requests that are left which a job may use without looking at them."""
BESIDE = 1.1
"""Requests for one of writes: reads are sent beside them."""


def fewest_parts(servers: Collection[WebServer], now: float, waiting: float, cost: float) -> int:
    """Return how many parts, of `cost` seconds each, a request must carry so that requests are not what is scarce."""
    if waiting <= ROOMY * sum(server.room(now, len(servers))[0] for server in servers):
        return 1
    seconds, requests = sum(server.time.value for server in servers), sum(server.count.value for server in servers)
    return math.ceil(BESIDE * seconds / requests / max(cost, 1e-6))
