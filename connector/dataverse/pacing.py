"""The governor: how fast one user of one organization may be asked, as arithmetic on times that are passed in.

The service limits each user on each web server in three ways, and each wants another answer (Microsoft Learn, "Service
protection API limits"):

    count        requests in a sliding window       -> the rate
    time         execution seconds in the window    -> how many run side by side, and how much one request carries
    concurrency  requests in flight at one moment   -> in flight at once

Budget that is there is spent within a horizon (a fifth of the window): a small job runs at once, a large one settles at
what the window gives back. A server is told by its affinity cookie; sending that cookie back chooses the server, so the
budgets of all of them are used evenly, and a request without it now and then finds servers not seen before.
A refusal stops everything until its Retry-After has passed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from connector.dataverse.budget import DOCUMENTED, Budget
from connector.dataverse.servers import NEVER, Server

START_IN_FLIGHT = 4
"""In flight at first, until the service's own hint is known (`x-ms-dop-hint`, 4 in Microsoft's samples)."""
BATCH_SECONDS = 8.0
"""How long one request with many parts should take: far below the two minutes that end an operation."""
MOST_PARTS = 50
"""Parts in one request, at most: what is repeated when its answer is lost."""
FIRST_PARTS = 10
"""Parts in a request until their cost is known: Microsoft's advice for a first try."""
LATENCY_TOLERANCE = 2.5
"""Answers this much slower than usual mean that more at once only makes them wait."""
FIRST_COST = 0.3
"""Seconds of execution that a part is taken to cost until one has been measured."""
ENOUGH = 3
"""Measurements of a kind before its cost decides how much a request carries."""
MOST_STRAYED = 12
"""So many requests in a row answered by another server than chosen: the cookie does not choose here."""
BLOCK = 100
"""Answers whose mean says how fast the service is: fewer say it too roughly where answers differ much."""
FIRST_BLOCK = 24
"""The same for the first, during which no more are let in: the sooner known, the sooner more can be tried."""
PERIODS = 30
"""Periods of a window; each keeps its fastest block."""
EXPLORE_EVERY = 25
"""One request in so many goes to whatever server the balancer picks, to find new ones."""


class Facet(StrEnum):
    """Which limit a refusal names."""

    COUNT = "count"
    TIME = "time"
    CONCURRENCY = "concurrency"
    OTHER = "other"


class Binding(StrEnum):
    """What holds the rate where it is."""

    COUNT = "count"
    TIME = "time"
    CONCURRENCY = "concurrency"
    LATENCY = "latency"
    WAITING = "waiting"
    """Stopped until a Retry-After has passed."""


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send one request now; `server` is the affinity to send along, empty for any server.

    `charged` are the servers it may run on: it is in flight on each of them, and each is pledged an equal share of
    `cost`, the execution time expected.
    """

    sent_at: float
    server: str
    charged: tuple[Server, ...]
    kind: str
    parts: int
    cost: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now: ask again at `until`, or as soon as an answer has come, whichever is first."""

    until: float
    why: Binding


@dataclass(frozen=True, slots=True)
class Feedback:
    """What the answer to one request told, in seconds and requests.

    `server` is the affinity value it set. `executed` is false for what never reached the service, `ok` for failures of
    the service (5xx) and lost answers. `facet` is given for a refusal, with `retry_after` and the `number` its text
    names; a 503 may carry `retry_after` too.
    """

    server: str = ""
    ok: bool = True
    executed: bool = True
    facet: Facet | None = None
    retry_after: float | None = None
    number: float | None = None
    requests_left: float | None = None
    seconds_left: float | None = None
    hint: int | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """What the governor is doing, for people: rates in requests per second, times in seconds.

    `waiting` is how long everything is still stopped, `ceiling` the rate that could go on for hours.
    """

    binding: Binding
    waiting: float
    ceiling: float
    in_flight: int
    most_in_flight: int
    servers: int
    seconds_per_part: float
    requests: int
    refused: int


class Average:
    """A running mean that follows changes: `weight` is that of the newest value."""

    __slots__ = ("_weight", "count", "value")

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self.value = 0.0
        self.count = 0

    def add(self, value: float) -> None:
        """Take a new value in; the first few count equally."""
        self.count += 1
        self.value += (value - self.value) * max(self._weight, 1 / self.count)


class Cost:
    """What one part of a kind of request costs, in seconds: as of late, and at best in the last two windows.

    Only blocks through which about as many were in flight count for the best: while more are let in, the quick answers
    come first.
    """

    __slots__ = ("_best", "_block", "_crowd", "_started", "_window", "recent")

    def __init__(self, window: float) -> None:
        self.recent = Average(0.04)
        self._window = window
        self._block = Average(0.0)
        self._crowd = 0
        self._started = float("-inf")
        self._best: deque[float] = deque(maxlen=2 * PERIODS)

    def add(self, now: float, seconds: float, in_flight: int) -> None:
        """Take one measurement in, made while so many requests were in flight."""
        self.recent.add(seconds)
        if not self._block.count:
            self._crowd = in_flight
        self._block.add(seconds)
        if self._block.count < (BLOCK + 2 * in_flight if self._best else FIRST_BLOCK):
            return
        if in_flight <= 1.5 * self._crowd + START_IN_FLIGHT:
            self._record(now, self._block.value)
        self._block = Average(0.0)

    def _record(self, now: float, block: float) -> None:
        if now - self._started > self._window / PERIODS:
            self._started = now
            self._best.append(block)
        else:
            self._best[-1] = min(self._best[-1], block)

    @property
    def known(self) -> bool:
        """Whether it is known how fast the service is when it is not crowded."""
        return bool(self._best)

    @property
    def slowed(self) -> bool:
        """Whether answers take much longer than they have been seen to."""
        return bool(self._best) and self.recent.value > LATENCY_TOLERANCE * min(self._best)


class Crowd:
    """How many requests may be in flight over all servers: climbs while answers keep coming as fast as usual."""

    __slots__ = ("_climbing", "_deep_at", "_hinted", "_since", "_window", "most")

    def __init__(self, window: float) -> None:
        self.most = float(START_IN_FLIGHT)
        self._window = window
        self._hinted = False
        self._climbing = True
        self._since = 0
        self._deep_at = float("-inf")

    def hint(self, number: int) -> None:
        """Start from what the service recommends; said once, it has no say in what was learnt since."""
        if not self._hinted:
            self._hinted, self.most = True, max(self.most, float(number))

    def answered(self, now: float, least: float, *, slowed: bool, full: bool) -> None:
        """Take in a good answer: whether answers are slower than they were, and whether all slots were taken.

        Once a window it goes down to `least`, to see again how fast the service is when it is not crowded.
        """
        self._since += 1
        if slowed and now - self._deep_at > self._window:
            self._deep_at = now
            self._shrink(least, 0.0)
        elif slowed:
            self._shrink(least, 0.7)
        elif full:
            self.most += 1.0 if self._climbing else 4 / self.most

    def failed(self, least: float) -> None:
        """Take in that the service failed, or refused for want of room."""
        self._since += 1
        self._shrink(least, 0.8)

    def _shrink(self, least: float, share: float) -> None:
        if self._since > self.most:
            self._climbing, self._since = False, -int(self.most)
            self.most = min(self.most, max(least, share * self.most))


class Governor:
    """The pace of one user of one organization. Not safe for threads: `gate.Gate` is.

    Times are seconds on one monotonic clock.
    """

    def __init__(self, now: float, budget: Budget = DOCUMENTED) -> None:
        self._budget = budget
        self._servers: dict[str, Server] = {"": Server("", budget, now)}
        self._crowd = Crowd(budget.window)
        self._costs: dict[str, Cost] = {}
        self._held_until = float("-inf")
        self._in_flight = 0
        self._since_explored = 0
        self._nothing_new = 0
        self._steering = True
        self._strayed = 0
        self._binding = Binding.LATENCY
        self._requests = 0
        self._refused = 0

    def ask(self, now: float, kind: str = "", parts: int = 1) -> Permit | Wait:
        """Return leave to send a request of `parts` parts now, or until when to wait.

        Every permit must be settled. `kind` groups requests that cost alike.
        """
        if now < self._held_until:
            return self._wait(self._held_until, Binding.WAITING)
        if self._in_flight >= int(self._crowd.most):
            return self._wait(float("inf"), Binding.LATENCY)
        cost = self._cost(kind) * parts
        if self._settled():
            return self._ask_best(now, kind, parts, cost)
        return self._ask_any(now, kind, parts, cost)

    def _settled(self) -> bool:
        """Return whether the servers are known well enough to choose among them."""
        known = len(self._servers)
        return self._steering and known > 1 and self._nothing_new >= 4 * known

    def _ask_best(self, now: float, kind: str, parts: int, cost: float) -> Permit | Wait:
        """Choose the server that is ready first; every so often go there without saying so, to find new ones."""
        ready = [(*self._ready(server, now, cost, 1), server.key) for server in self._servers.values()]
        at, why, key = min(ready)
        if at > now:
            return self._wait(min(at, now + self._budget.window / 300) if at < NEVER else at, why)
        self._servers[key].last_at = now
        self._since_explored += 1
        if self._since_explored < EXPLORE_EVERY:
            return self._permit(Permit(now, key, (self._servers[key],), kind, parts, cost))
        self._since_explored = 0
        return self._permit(Permit(now, "", tuple(self._servers.values()), kind, parts, cost))

    def _ask_any(self, now: float, kind: str, parts: int, cost: float) -> Permit | Wait:
        """Let the balancer choose: the server with the least room sets the pace, since it may be the one."""
        servers = tuple(self._servers.values())
        at, why = max(self._ready(server, now, cost, len(servers)) for server in servers)
        if at > now:
            return self._wait(min(at, now + self._budget.window / 300) if at < NEVER else at, why)
        for server in servers:
            server.last_at = now
        return self._permit(Permit(now, "", servers, kind, parts, cost))

    def _ready(self, server: Server, now: float, cost: float, sharing: int) -> tuple[float, Binding]:
        """Return when `server` may take a request, and what it is waiting for."""
        if server.slots() < 1:
            return NEVER, Binding.CONCURRENCY
        count, time = server.intervals(now, cost)
        interval, why = (count, Binding.COUNT) if count > time else (time, Binding.TIME)
        if interval == NEVER:
            return now + self._budget.window / 300, why
        return server.last_at + interval / sharing, why

    def _wait(self, until: float, why: Binding) -> Wait:
        self._binding = why
        return Wait(until, why)

    def _permit(self, permit: Permit) -> Permit:
        for server in permit.charged:
            server.take(permit.cost / len(permit.charged))
        self._in_flight += 1
        self._requests += 1
        return permit

    def _cost(self, kind: str) -> float:
        known = self._costs.get(kind)
        return known.recent.value if known and known.recent.value else FIRST_COST

    def settle(self, now: float, permit: Permit, feedback: Feedback) -> None:
        """Take in the answer to the request that `permit` allowed."""
        self._release(permit)
        server = self._answered_by(now, permit, feedback.server)
        if feedback.facet is not None:
            self._refusal(now, server, feedback)
        elif feedback.executed:
            self._execution(now, server, permit, feedback)
        server.grow(now)
        if not feedback.facet and feedback.requests_left is None:
            server.share(now, self._servers.values())

    def _release(self, permit: Permit) -> None:
        for server in permit.charged:
            server.give_back(permit.cost / len(permit.charged))
        self._in_flight -= 1

    def _execution(self, now: float, server: Server, permit: Permit, feedback: Feedback) -> None:
        seconds = now - permit.sent_at
        server.ran(now, seconds)
        server.hear(now, feedback.requests_left, feedback.seconds_left)
        if feedback.hint:
            self._crowd.hint(feedback.hint)
        least = 2.0 * START_IN_FLIGHT * len(self._servers)
        if feedback.ok:
            cost = self._costs.setdefault(permit.kind, Cost(self._budget.window))
            cost.add(now, seconds / permit.parts, self._in_flight)
            self._crowd.answered(
                now, least, slowed=cost.slowed, full=cost.known and self._in_flight + 1 >= int(self._crowd.most)
            )
            return
        self._crowd.failed(least)
        if feedback.retry_after is not None:
            self._held_until = max(self._held_until, now + feedback.retry_after)

    def _refusal(self, now: float, server: Server, feedback: Feedback) -> None:
        """Stop everything for as long as the service says, and learn what the limit is: once for each stop."""
        self._refused += 1
        server.sent.add(now, 1)
        stopped = feedback.retry_after if feedback.retry_after is not None else self._budget.window / 30
        self._held_until = max(self._held_until, now + stopped)
        if now < server.refused_until:
            return
        server.refused_until = now + stopped
        number = feedback.number
        match feedback.facet:
            case Facet.COUNT:
                server.sent.add_spread(now, server.count.refused(now, server.sent.used(now), stopped, number))
            case Facet.TIME:
                server.executed.add_spread(now, server.time.refused(now, server.executed.used(now), stopped, number))
            case Facet.CONCURRENCY:
                server.concurrency.refused(now, server.in_flight, stopped, number)
            case _:
                self._crowd.failed(float(START_IN_FLIGHT))
        if number is not None:
            self._spread(now, feedback.facet, number, stopped)

    def _spread(self, now: float, facet: Facet | None, number: float, stopped: float) -> None:
        """Let all servers know a limit that one of them named: servers of an organization are alike."""
        for server in self._servers.values():
            limit = {Facet.COUNT: server.count, Facet.TIME: server.time, Facet.CONCURRENCY: server.concurrency}.get(
                facet or Facet.OTHER
            )
            if limit is not None:
                limit.rumour(now, number, stopped)

    def _answered_by(self, now: float, permit: Permit, key: str) -> Server:
        """Return the server that answered, known from now on."""
        if not key or key in self._servers:
            self._nothing_new += not permit.server
            found = self._servers.get(key or permit.server)
            self._check_steering(permit, key)
            return found or max(self._servers.values(), key=lambda server: server.sent.used(now))
        self._nothing_new = 0
        anonymous = self._servers.pop("", None)
        if anonymous is not None:
            anonymous.key = key
            server = anonymous
        else:
            some = next(iter(self._servers.values()), None)
            server = Server(key, self._budget, now, some.learnt() if some else None)
        self._servers[key] = server
        self._check_steering(permit, key)
        return server

    def _check_steering(self, permit: Permit, key: str) -> None:
        """Forget a server that no longer answers to its cookie; stop choosing where the cookie means nothing."""
        chosen = self._servers.get(permit.server) if permit.server else None
        if chosen is None or not key:
            return
        if key == permit.server:
            chosen.strayed, self._strayed = 0, 0
            return
        chosen.strayed += 1
        self._strayed += 1
        if chosen.strayed > 1 and len(self._servers) > 1:
            del self._servers[permit.server]
            self._nothing_new = 0
        self._steering = self._strayed < MOST_STRAYED

    def parts(self, kind: str) -> int:
        """Return how many parts a request of `kind` should carry: a few seconds' worth."""
        known = self._costs.get(kind)
        if known is None or known.recent.count < ENOUGH:
            return FIRST_PARTS
        return max(1, min(MOST_PARTS, int(BATCH_SECONDS / max(known.recent.value, 1e-6))))

    def pace(self, now: float, kind: str = "", parts: int = 1) -> Pace:
        """Return what is going on at `now`, the ceiling being that of requests of `parts` parts of this kind."""
        cost = self._cost(kind)
        waiting = max(0.0, self._held_until - now)
        return Pace(
            binding=Binding.WAITING if waiting else self._binding,
            waiting=waiting,
            ceiling=sum(server.ceiling(cost * parts) for server in self._servers.values()),
            in_flight=self._in_flight,
            most_in_flight=int(self._crowd.most),
            servers=len(self._servers),
            seconds_per_part=cost,
            requests=self._requests,
            refused=self._refused,
        )
