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

from collections.abc import Sequence

from connector.dataverse.pacing.carried_over import CarriedOverLimits, begin_with, left_by
from connector.dataverse.pacing.concurrency import START_IN_FLIGHT, ConcurrencyLimiter, ServiceTime
from connector.dataverse.pacing.forecast import RemainingBudget, Workload, seconds_for
from connector.dataverse.pacing.permits import Binding, Facet, Feedback, PacingStatus, Permit, Wait
from connector.dataverse.pacing.service_limits import DOCUMENTED, Budget
from connector.dataverse.pacing.web_servers import NEVER, WebServer

BATCH_SECONDS = 8.0
"""How long one request with many parts should take: far below the two minutes that end an operation."""
MOST_PARTS = 50
"""Parts in one request, at most: what is repeated when its answer is lost."""
FIRST_PARTS = 10
"""Parts in a request until their cost is known: Microsoft's advice for a first try."""
FIRST_COST = 0.3
"""Seconds of execution that a part is taken to cost until one has been measured."""
ENOUGH = 3
"""Measurements of a kind before its cost decides how much a request carries."""
MOST_STRAYED = 12
"""So many requests in a row answered by another server than chosen: the cookie does not choose here."""
EXPLORE_EVERY = 25
"""One request in so many goes to whatever server the balancer picks, to find new ones."""


class Governor:
    """The pace of one user of one organization. Not safe for threads: `gate.Gate` is.

    Times are seconds on one monotonic clock.
    """

    def __init__(self, now: float, budget: Budget = DOCUMENTED) -> None:
        self._budget = budget
        self._servers: dict[str, WebServer] = {"": WebServer("", budget, now)}
        self._concurrency = ConcurrencyLimiter(budget.window)
        self._costs: dict[str, ServiceTime] = {}
        self._held_until = float("-inf")
        self._promised: WebServer | None = None
        self._in_flight = 0
        self._exploring = 0
        self._since_explored = 0
        self._nothing_new = 0
        self._steering = True
        self._strayed = 0
        self._binding = Binding.LATENCY
        self._requests = 0
        self._executed = 0.0
        self._sent_at = 0.0  # the moments when what is in flight was sent, added up
        self._refused = 0

    def ask(self, now: float, kind: str = "", parts: int = 1) -> Permit | Wait:
        """Return leave to send a request of `parts` parts now, or until when to wait.

        Every permit must be settled. `kind` groups requests that cost alike.
        """
        if now < self._held_until:
            return self._wait(self._held_until, Binding.WAITING)
        if self._in_flight >= int(self._concurrency.most):
            return self._wait(float("inf"), Binding.LATENCY)
        cost = self._cost(kind) * parts
        if self._promised is not None and not self._in_flight:
            return self._take_at_its_word(now, self._promised, kind, parts, cost)
        if self._settled():
            return self._ask_best(now, kind, parts, cost)
        return self._ask_any(now, kind, parts, cost)

    def _take_at_its_word(self, now: float, server: WebServer, kind: str, parts: int, cost: float) -> Permit:
        """Send one request, whatever we think is left: the service said when it would take it, and that is now."""
        self._promised = None
        known = self._settled() and server.key in self._servers
        charged = (server,) if known else tuple(self._servers.values())
        for one in charged:
            one.last_at = now
        return self._permit(Permit(now, server.key if known else "", charged, kind, parts, cost))

    def _settled(self) -> bool:
        """Return whether the servers are known well enough to choose among them."""
        known = len(self._servers)
        return self._steering and known > 1 and self._nothing_new >= 4 * known

    def _ask_best(self, now: float, kind: str, parts: int, cost: float) -> Permit | Wait:
        """Choose the server that is ready first; every so often let the balancer choose, to find new ones."""
        ready = [(*self._ready(server, now, cost, 1), server.key) for server in self._servers.values()]
        at, why, key = min(ready)
        if at > now:
            return self._wait(min(at, now + self._budget.window / 300) if at < NEVER else at, why)
        self._servers[key].last_at = now
        self._since_explored += 1
        if self._since_explored < EXPLORE_EVERY or not self._may_explore():
            return self._permit(Permit(now, key, (self._servers[key],), kind, parts, cost))
        self._since_explored = 0
        return self._permit(Permit(now, "", tuple(self._servers.values()), kind, parts, cost))

    def _may_explore(self) -> bool:
        """Return whether a request may go to any server: one at a time, since it takes a slot on all of them.

        Whichever gets it must have room: a refusal for concurrency stops everything for minutes.
        """
        return not self._exploring and all(server.slots() > 0 for server in self._servers.values())

    def _ask_any(self, now: float, kind: str, parts: int, cost: float) -> Permit | Wait:
        """Let the balancer choose: the server with the least room sets the pace, since it may be the one."""
        servers = tuple(self._servers.values())
        at, why = max(self._ready(server, now, cost, len(servers)) for server in servers)
        if at > now:
            return self._wait(min(at, now + self._budget.window / 300) if at < NEVER else at, why)
        for server in servers:
            server.last_at = now
        return self._permit(Permit(now, "", servers, kind, parts, cost))

    def _ready(self, server: WebServer, now: float, cost: float, sharing: int) -> tuple[float, Binding]:
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
        self._sent_at += permit.sent_at
        self._exploring += not permit.server
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
        self._sent_at -= permit.sent_at
        self._exploring -= not permit.server

    def _execution(self, now: float, server: WebServer, permit: Permit, feedback: Feedback) -> None:
        seconds = now - permit.sent_at
        server.ran(now, seconds)
        self._executed += seconds
        server.hear(now, feedback.requests_left, feedback.seconds_left)
        if feedback.hint:
            self._concurrency.hint(feedback.hint)
        least = 2.0 * START_IN_FLIGHT * len(self._servers)
        if feedback.ok:
            cost = self._costs.setdefault(permit.kind, ServiceTime(self._budget.window))
            cost.add(now, seconds / permit.parts, self._in_flight)
            self._concurrency.answered(
                now, least, slowed=cost.slowed, full=cost.known and self._in_flight + 1 >= int(self._concurrency.most)
            )
            return
        self._concurrency.failed(least)
        if feedback.retry_after is not None:
            self._held_until = max(self._held_until, now + feedback.retry_after)

    def _refusal(self, now: float, server: WebServer, feedback: Feedback) -> None:
        """Stop everything for as long as the service says, and learn what the limit is: once for each stop."""
        self._refused += 1
        server.sent.add(now, 1)
        stopped = feedback.retry_after if feedback.retry_after is not None else self._budget.window / 30
        self._held_until = max(self._held_until, now + stopped)
        self._promised = server if feedback.retry_after is not None else None
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
                self._concurrency.failed(float(START_IN_FLIGHT))
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

    def _answered_by(self, now: float, permit: Permit, key: str) -> WebServer:
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
            server = WebServer(key, self._budget, now, some.learnt() if some else None)
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

    def pace(self, now: float, kind: str = "", parts: int = 1) -> PacingStatus:
        """Return what is going on at `now`, the ceiling being that of requests of `parts` parts of this kind."""
        cost = self._cost(kind)
        waiting = max(0.0, self._held_until - now)
        return PacingStatus(
            binding=Binding.WAITING if waiting else self._binding,
            waiting=waiting,
            ceiling=sum(server.ceiling(cost * parts) for server in self._servers.values()),
            in_flight=self._in_flight,
            most_in_flight=int(self._concurrency.most),
            servers=len(self._servers),
            seconds_per_part=cost,
            requests=self._requests,
            executed=self._likely_executed(now),
            refused=self._refused,
        )

    def _likely_executed(self, now: float) -> float:
        """Return the seconds that requests took, as many as have been answered.

        Quick ones are answered first, so those in flight count with the time they have had, and as half a request each.
        """
        answered = self._requests - self._in_flight
        elapsed = self._in_flight * now - self._sent_at
        return (self._executed + elapsed) * answered / (answered + self._in_flight / 2) if answered else 0.0

    def carried_over(self, now: float) -> CarriedOverLimits:
        """Return what the next governor of this user should begin with."""
        return left_by(self._servers.values(), now, self._held_until - now)

    def begin_with(self, now: float, carried_over: CarriedOverLimits, age: float) -> None:
        """Begin with what another governor of this user left `age` seconds ago."""
        self._held_until = max(self._held_until, now + carried_over.waiting - age)
        for server in self._servers.values():
            begin_with(server, carried_over, now, age)

    def seconds_for(self, now: float, requests: float, seconds: float, fastest: float) -> float:
        """Return how long so many requests, with so many seconds of execution in all, will take from `now` on.

        `fastest` is how many requests a second the client or the latency of the service allow.
        """
        servers, window = len(self._servers), self._budget.window
        stocks = [server.stocks(now) for server in self._servers.values()]
        count, time = (_average([pair[which] for pair in stocks]) for which in (0, 1))
        work = Workload(requests / servers, seconds / servers, fastest / servers)
        waiting = max(0.0, self._held_until - now)
        return waiting + seconds_for(work, count, time, window=window, horizon=self._budget.horizon)


def _average(stocks: Sequence[RemainingBudget]) -> RemainingBudget:
    """Return the stock of an average server."""
    steps = zip(*(stock.returning for stock in stocks), strict=True)
    room = sum(stock.room for stock in stocks) / len(stocks)
    return RemainingBudget(room, [sum(step) / len(stocks) for step in steps])
