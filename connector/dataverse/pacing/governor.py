"""The governor: how fast one user of one organization may be asked, as arithmetic on times that are passed in.

The service limits each user on each web server (Microsoft Learn, "Service protection API limits"): by requests and by
seconds of execution in a sliding window, and by requests at one moment. The rules are in README.md.
"""

from __future__ import annotations

import math
import random

from connector.dataverse.pacing.carried_over import CarriedOverLimits, begin_with, left_by
from connector.dataverse.pacing.concurrency import (
    FEWEST,
    LONGEST_WORK,
    MOST_PARTS,
    UNLIKE,
    ConcurrencyLimiter,
    PermitsInFlight,
    ServiceTime,
)
from connector.dataverse.pacing.forecast import Workload, seconds_for
from connector.dataverse.pacing.permits import Binding, Facet, Feedback, Permit, Wait
from connector.dataverse.pacing.service_limits import DOCUMENTED, Budget
from connector.dataverse.pacing.throttled_server import further_back
from connector.dataverse.pacing.web_servers import LARGER, NEVER, InFlight, WebServer, fewest_parts, fits, last_parts
from connector.handler import PacingStatus

MOST_STRAYED = 12
"""So many requests answered by another server than chosen, less half of those by the chosen: no cookie chooses here."""
UNPROVEN = 1.0
"""From so many less half of those on it is not known whether a cookie chooses; it is half more at first."""
SHARE_BY_CHANCE = 0.6
"""The share of what all servers take at once that goes until it is known: of 90 chance hardly ever sends 52 to one."""
EXPLORE_EVERY = 25
"""One request in so many goes to whatever server the balancer picks, to find new ones."""
EXPLORING_AT_FIRST = 12
"""So many of them at once until hardly a server can be missing, every second request; later one at a time."""
EXPLORED = 3
"""Answers to such requests for each server that is known, after which hardly one is missing."""


class Governor:
    """The pace of one user of one organization. Not safe for threads: `gate.Gate` is.

    Times are seconds on one monotonic clock. No more than `connections` requests are in flight.
    """

    def __init__(
        self,
        now: float,
        budget: Budget = DOCUMENTED,
        connections: float = float("inf"),
        chance: random.Random | None = None,
    ) -> None:
        self._budget = budget
        self._chance = chance or random.Random()
        self._connections = connections
        self._unaddressed = InFlight()
        self._servers: dict[str, WebServer] = {"": WebServer("", budget, now, self._unaddressed)}
        self._concurrency = ConcurrencyLimiter()
        self._costs: dict[str, ServiceTime] = {}
        self._held_until = float("-inf")
        self._expecting = self._ending = self._last = False
        self._since_explored = self._explored = 0
        self._strayed = UNPROVEN + 0.5
        self._steering = True
        self._binding = Binding.LATENCY
        self._requests = self._refused = 0
        self._executed = 0.0
        self._last_at: dict[str, float] = {}
        self._under_way = PermitsInFlight()

    def ask(self, now: float, kind: str = "", parts: int = 1) -> Permit | Wait:
        """Return leave to send a request of `parts` parts now, or until when to wait.

        Every permit must be settled. `kind` groups requests that cost alike.
        """
        if now < self._held_until:
            return self._wait(self._held_until, Binding.WAITING)
        cost = self._cost(kind) * parts
        if self._under_way.requests >= min(self._concurrency.most, self._connections):
            return self._wait(float("inf"), Binding.LATENCY)
        if self._strayed >= UNPROVEN and self._under_way.requests >= self._by_chance(now):
            return self._wait(float("inf"), Binding.CONCURRENCY)
        if self._steering and len(self._servers) > 1:
            return self._ask_best(now, kind, parts, cost)
        return self._ask_any(now, kind, parts, cost)

    def _by_chance(self, now: float) -> float:
        """Return how many requests may be under way where chance may choose their servers."""
        slots = [server.at_once(now) for server in self._servers.values()]
        return SHARE_BY_CHANCE * sum(slots) if self._steering and len(slots) > 1 else min(slots)

    def _complete(self) -> bool:
        """Return whether so many answers came from any server that of those there are hardly one can be missing."""
        return self._explored >= EXPLORED * len(self._servers)

    def _ask_best(self, now: float, kind: str, parts: int, cost: float) -> Permit | Wait:
        """Choose the server that is ready first; every so often let the balancer choose, to find new ones."""
        ready = [(*self._ready(server, now, cost, 1), server.key) for server in self._servers.values()]
        at, why, key = min(ready)
        all_ready = max(ready)[0] < now + self._budget.window / 300
        if at > now:
            return self._wait_for(at, now, why)
        self._since_explored += 1
        seldom = self._since_explored < (EXPLORE_EVERY if self._complete() else 2)
        if seldom or not all_ready or self._unaddressed.requests >= (1 if self._complete() else EXPLORING_AT_FIRST):
            return self._permit(Permit(now, key, kind, parts, cost))
        self._since_explored = 0
        return self._permit(Permit(now, "", kind, parts, cost))

    def _ask_any(self, now: float, kind: str, parts: int, cost: float) -> Permit | Wait:
        """Let the balancer choose: the server with the least room sets the pace, since it may be the one."""
        servers = tuple(self._servers.values())
        at, why = max(self._ready(server, now, cost, len(servers)) for server in servers)
        if at > now:
            return self._wait_for(at, now, why)
        return self._permit(Permit(now, "", kind, parts, cost))

    def _ready(self, server: WebServer, now: float, cost: float, sharing: int) -> tuple[float, Binding]:
        """Return when `server` may take a request, and what it is waiting for."""
        held = server.hold.open_at(now)
        if held is not None:
            return held, Binding.WAITING
        if server.in_flight >= server.at_once(now):
            return float("inf"), Binding.CONCURRENCY
        count, time = server.intervals(now, cost, len(self._servers), ending=self._ending, last=self._last)
        interval, why = (count, Binding.COUNT) if count > time else (time, Binding.TIME)
        if interval == float("inf"):
            return now + self._budget.window / 300, why
        return server.last_at + interval / sharing, why

    def expect(self, now: float, kind: str, parts: float, size: int, ready: int = 0) -> int | None:
        """Take in how many `parts` of a kind are still to be sent, `size` in a request; `ready` are made ready for it.

        Returns how many the next request must carry where it is the last (`last_parts`), 0 where it is not, None where
        that shows soon. Where all of them fit into a few windows, what comes back is used at once.
        """
        known = self._costs.get(kind) or ServiceTime()
        self._expecting = True
        self._ending = fits(self._servers.values(), parts / size, parts * self._cost(kind))
        carried = last_parts(self._servers.values(), now, parts, known.usual.value or known.cost, known.spread)
        self._last = carried is not None
        if not carried or parts - carried > LARGER * ready:
            return 0
        return None if ready or any(server.lately for server in self._servers.values()) else math.ceil(carried)

    def _wait_for(self, at: float, now: float, why: Binding) -> Wait:
        """Wait until a server is ready, which is foreseen for a step of its windows at most."""
        known = why is Binding.WAITING or at == float("inf")
        return self._wait(at if known else min(at, now + self._budget.window / 300), why)

    def _wait(self, until: float, why: Binding) -> Wait:
        self._binding = why
        return Wait(until, why)

    def _permit(self, permit: Permit) -> Permit:
        if permit.server:
            self._servers[permit.server].addressed.add(permit.cost)
            self._servers[permit.server].goes(permit)
        else:
            self._unaddressed.add(permit.cost)
            for server in self._servers.values():
                server.goes(permit)
        self._under_way.add(permit)
        self._last_at[permit.kind] = permit.sent_at
        self._requests += 1
        return permit

    def _cost(self, kind: str) -> float:
        return (self._costs.get(kind) or ServiceTime()).cost

    def settle(self, now: float, permit: Permit, feedback: Feedback) -> None:
        """Take in the answer to the request that `permit` allowed."""
        self._release(permit)
        came_back = [server for server in self._servers.values() if server.hold.first is permit]
        server = self._answered_by(now, permit, feedback.server)
        if feedback.facet is not None:
            server.hold.again += bool(came_back)
            self._refusal(now, server, feedback)
        elif feedback.executed:
            self._execution(now, server, permit, feedback)
        for known in came_back if feedback.facet is None else ():
            known.hold.answered()
        server.grow(now)

    def _release(self, permit: Permit) -> None:
        if not permit.server:
            self._unaddressed.remove(permit.cost)
        elif permit.server in self._servers:  # it may be forgotten by now
            self._servers[permit.server].addressed.remove(permit.cost)
        self._under_way.remove(permit)
        for server in self._servers.values():
            server.lately.pop(id(permit), None)

    def _execution(self, now: float, server: WebServer, permit: Permit, feedback: Feedback) -> None:
        seconds = now - permit.sent_at
        server.ran(now, seconds)
        self._executed += seconds
        server.hear(now, feedback.requests_left, feedback.seconds_left)
        if feedback.ok:
            self._costs.setdefault(permit.kind, ServiceTime()).add(seconds / permit.parts)
            self._concurrency.answered()
            return
        known = self._costs.get(permit.kind) or ServiceTime()
        server.lost(now, permit.sent_at + permit.parts * known.longest(seconds / permit.parts))
        self._concurrency.failed(float(FEWEST * len(self._servers)), self._under_way.requests + 1)
        if feedback.retry_after is not None:
            self._held_until = max(self._held_until, now + feedback.retry_after)

    def _refusal(self, now: float, server: WebServer, feedback: Feedback) -> None:
        """Send nothing for as long as it says, to any server, and learn what the limit is: once for each stop."""
        self._refused += 1
        server.sent.add(now, 1)
        stopped = feedback.retry_after if feedback.retry_after is not None else self._budget.window / 30
        stopped += further_back(server.hold.again, self._budget.window, self._chance.uniform(0.5, 1.0))
        held = now < server.hold.until
        server.hold.refused(now + stopped)
        self._held_until = max(self._held_until, now + stopped)
        if held:
            return
        if feedback.facet is Facet.OTHER:
            self._concurrency.failed(float(FEWEST), self._under_way.requests + 1)
            return
        hanging = sum(self._under_way.hanging(now, kind, known.usual.value) for kind, known in self._costs.items())
        server.refused(now, feedback, stopped, again=server.hold.again > 0, hanging=LONGEST_WORK * hanging)
        for known in self._servers.values():
            known.told_elsewhere(now, feedback, stopped)

    def _answered_by(self, now: float, permit: Permit, key: str) -> WebServer:
        """Return the server that answered, known from now on."""
        if not key or key in self._servers:
            self._explored += not permit.server
            known = self._servers.get(key or permit.server)
            self._check_steering(permit, key)
            return known or max(self._servers.values(), key=lambda server: server.sent.used(now))
        self._explored = 0 if self._complete() else self._explored + (not permit.server)
        anonymous = self._servers.pop("", None)
        if anonymous is not None:
            anonymous.key = key
            server = anonymous
        else:
            some = next(iter(self._servers.values()), None)
            server = WebServer(key, self._budget, now, self._unaddressed, some.learnt() if some else None)
        self._servers[key] = server
        self._check_steering(permit, key)
        return server

    def _check_steering(self, permit: Permit, key: str) -> None:
        """Forget a server that no longer answers to its cookie; stop choosing where the cookie means nothing."""
        chosen = self._servers.get(permit.server) if permit.server else None
        if chosen is None or not key:
            return
        if key == permit.server:
            chosen.strayed, self._strayed = 0, max(0.0, self._strayed - 0.5)
            return
        chosen.strayed += 1
        self._strayed += 1
        if chosen.strayed > 1 and len(self._servers) > 1:
            del self._servers[permit.server]
            self._explored = 0
        self._steering = self._strayed < MOST_STRAYED

    def parts(self, kind: str) -> int:
        """Return how many parts a request of `kind` should carry at most: two seconds' worth."""
        return int((self._costs.get(kind) or ServiceTime()).parts)

    def fewest_parts(self, now: float, kind: str, waiting: float) -> int:
        """Return how many parts a request of `kind` must carry so that not the number of requests holds the rate."""
        return fewest_parts(self._servers.values(), now, waiting, self._cost(kind))

    def pace(self, now: float, kind: str = "", parts: int = 1) -> PacingStatus:
        """Return what is going on at `now`, the ceiling being that of requests of `parts` parts of this kind."""
        cost, known = self._cost(kind), self._costs.get(kind) or ServiceTime()
        waiting = max(0.0, self._held_until - now)
        late = min(UNLIKE, max(3.0, math.exp(4 * known.spread)))  # hardly one in 30,000 takes so many times as long
        return PacingStatus(
            binding=Binding.WAITING if waiting else self._binding,
            waiting=waiting,
            ceiling=sum(server.ceiling(cost * parts) for server in self._servers.values()),
            in_flight=self._under_way.requests,
            most_in_flight=self.most_in_flight(now),
            servers=len(self._servers),
            seconds_per_part=cost,
            requests=self._requests,
            executed=self._executed + self._under_way.seconds(now),
            refused=self._refused,
            spread=known.spread,
            since_sent=now - self._last_at.get(kind, now),
            usual_seconds=known.usual.value or cost,
            unlike=known.unlike,
            hanging=LONGEST_WORK * self._under_way.hanging(now, kind, known.usual.value or NEVER, late),
        )

    def most_in_flight(self, now: float) -> int:
        """Return how many requests may be under way at once."""
        slots = sum(server.at_once(now) for server in self._servers.values())
        return int(min(self._concurrency.most, self._connections, slots))

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

        Infinite where a limit fell. `fastest` is how many requests a second the client or the service's latency allow.
        """
        servers, budget = len(self._servers), self._budget
        if any(server.count.fell or server.time.fell for server in self._servers.values()):
            return float("inf")
        left = [server.remaining(now, servers) for server in self._servers.values()]
        if seconds > 0:
            fastest = min(fastest, self.most_in_flight(now) * requests / seconds)
        held = max(0.0, self._held_until - now)
        work = Workload(requests / servers, seconds / servers, fastest / servers)
        crosses = servers == 1 and all(server.left(now, 0.0) > 0 for server in self._servers.values())
        most = min(budget.window / 5, MOST_PARTS * seconds / max(requests, 1.0)) if crosses else 0.0
        last = most if self._expecting else -1.0
        return seconds_for(work, left, window=budget.window, spread=budget.spread, waiting=held, last=last)
