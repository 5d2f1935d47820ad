"""Service protection: what one organization lets each user do, as arithmetic on a time that is passed in.

Nothing here waits, reads a clock or starts a thread, so a discrete-event simulation can run hours of traffic in
seconds. The life of one request, `now` being seconds on any clock that does not go back:

    protection = Protection(Limits(servers=3), seed=7)
    server = protection.route(cookie)                    # a cookie pins; none is a seeded choice
    verdict = protection.arrive(user, server, now, seconds=0.4, locks=("account:...",))
    if isinstance(verdict, Throttle):                    # 429; nothing happened, nothing to leave
        retry at now + verdict.retry_after
    else:                                                # Admission: it runs from verdict.starts to verdict.ends
        ...                                              # at verdict.ends:
        protection.leave(verdict, verdict.ends)

Sources: the numbers, codes and messages are documented ("Service protection API limits"). How Retry-After comes about
is not published; the model here is stated at `Protection._refuse`. Requests that are refused count like others, which
is why a client that pokes early waits longer.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

_TIME_MESSAGE = (
    "Combined execution time of incoming requests exceeded limit of {limit} milliseconds over time window of {window} "
    "seconds. Decrease number of concurrent requests or reduce the duration of requests and try again later."
)
FACETS = {
    "count": ("0x80072322", "Number of requests exceeded the limit of {limit} over time window of {window} seconds."),
    "time": ("0x80072321", _TIME_MESSAGE),
    "concurrency": ("0x80072326", "Number of concurrent requests exceeded the limit of {limit}."),
}
"""The facets with the documented code and wording of each (Microsoft Learn, "Service protection API limits")."""


_TINY = 1e-6
"""Seconds by which sums of moments may be off."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is limited, per user and web server, and how refusals behave. Times are in seconds."""

    servers: int = 1
    """Web servers; a trial environment has one, more licences bring more (documented)."""
    workers: int = 64
    """Requests one server works on at a time; the others queue (inferred: no number is published)."""
    requests: int = 6000
    """Requests per window (documented; a live header of 2024 shows 8,000)."""
    execution_seconds: float = 1200.0
    """Combined execution time per window (documented)."""
    window_seconds: float = 300.0
    """Length of the sliding window (documented)."""
    concurrency: int = 52
    """Requests in flight (documented; 40 and 100 were measured)."""
    concurrency_retry_after: tuple[float, float] = (363.0, 427.0)
    """Least and most Retry-After of a concurrency refusal: the measured range, though the gauge clears at once."""
    poke_seconds: float = 5.0
    """What each early request adds to a penalty (documented that it grows, amount inferred)."""
    longest_penalty: float = 900.0
    """No Retry-After is longer than this (inferred)."""
    dop_hint: int = 4
    """Recommended degree of parallelism, told in every answer (4 in the samples)."""
    enforced: bool = True
    """False counts and reports, but refuses nothing."""


POSSIBLE: Mapping[str, tuple[int, int]] = {
    "servers": (1, 1000),
    "workers": (1, 1_000_000),
    "window_seconds": (1, 1_000_000),
}
"""Where the arithmetic has an end: a window needs a length, a request a worker, an affinity cookie a server."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A request let in: it works from `starts` to `ends`; `charged` seconds of execution time were counted."""

    user: str
    server: int
    arrived: float
    starts: float
    ends: float
    charged: float


@dataclass(frozen=True, slots=True)
class Throttle:
    """A request refused with HTTP 429; `retry_after` is in whole seconds."""

    user: str
    server: int
    facet: str
    code: str
    message: str
    retry_after: int
    early: bool
    """The client came before an earlier Retry-After was over."""


@dataclass(frozen=True, slots=True)
class ReservedQuota:
    """What a user has left on one server: requests and seconds of execution time in the window."""

    requests: int
    seconds: float


class SlidingWindow:
    """Counts and seconds of the last `length` seconds, in steps of one three-hundredth of it; memory is bounded."""

    __slots__ = ("_length", "_slots", "_step", "count", "seconds")

    def __init__(self, length: float) -> None:
        self._length = length
        self._step = length / 300
        self._slots: deque[list[float]] = deque()
        self.count = 0
        self.seconds = 0.0

    def slide(self, now: float) -> None:
        """Forget what is older than the window at `now`."""
        edge = now - self._length + _TINY
        slots = self._slots
        while slots and slots[0][0] <= edge:
            _, count, seconds = slots.popleft()
            self.count -= int(count)
            self.seconds -= seconds
        if not slots:
            self.seconds = 0.0  # no drift of floating point survives an empty window

    def add(self, now: float, count: int, seconds: float) -> None:
        """Count `count` requests and `seconds` of execution at `now`."""
        start = now - now % self._step
        if not self._slots or self._slots[-1][0] < start:
            self._slots.append([start, 0, 0.0])
        slot = self._slots[-1]
        slot[1] += count
        slot[2] += seconds
        self.count += count
        self.seconds += seconds

    def until(self, now: float, count: float, seconds: float) -> float:
        """Return how long after `now` the window holds at most `count` requests and `seconds` of execution."""
        counted, executed, wait = self.count, self.seconds, 0.0
        for start, slot_count, slot_seconds in self._slots:
            if counted <= count and executed <= seconds:
                break
            counted -= int(slot_count)
            executed -= slot_seconds
            wait = max(0.0, start + self._length - now)
        return wait


@dataclass(slots=True)
class UsageAccount:
    """What one user has done on one server: the window, the requests in flight, the penalty."""

    window: SlidingWindow
    in_flight: int = 0
    penalty_until: float = -math.inf
    first_told_until: float = -math.inf  # the end of the penalty's first Retry-After
    facet: str = "count"


class Protection:
    """The limits of one organization and what every user has used of them."""

    def __init__(self, limits: Limits | None = None, seed: int = 0) -> None:
        self.limits = limits if limits is not None else Limits()
        self._seed = seed
        self._random = random.Random(seed)
        self._accounts: dict[tuple[str, int], UsageAccount] = {}
        self._workers: dict[int, list[float]] = {}
        self._locks: dict[str, float] = {}
        self._cookies: dict[int, str] = {}
        self.entitlement: dict[str, int] = {}
        """Operations per user that count towards Power Platform request limits, one per operation of a batch."""

    def configure(self, limits: Limits) -> None:
        """Replace the limits; what was counted stays (windows of another length start anew)."""
        if limits.window_seconds != self.limits.window_seconds:
            self._accounts.clear()
        self.limits = limits
        self._workers = {server: free for server, free in self._workers.items() if server < limits.servers}

    def change(self, values: Mapping[str, float | bool | tuple[float, float]]) -> Limits:
        """Change limits by name (`{"requests": 100}`) and return them.

        Raises TypeError for an unknown name, ValueError for a value the arithmetic cannot do with.
        """
        changed = replace(self.limits, **values)  # type: ignore[arg-type]  # replace() checks the names
        for name, (least, most) in POSSIBLE.items():
            if not least <= getattr(changed, name) <= most:
                raise ValueError(f"The limit {name} is from {least} to {most}, not {values[name]!r}.")
        self.configure(changed)
        return self.limits

    def forget(self) -> None:
        """Drop everything counted: windows, penalties, queues and entitlement."""
        self._accounts.clear()
        self._workers.clear()
        self._locks.clear()
        self.entitlement.clear()
        self._random.seed(self._seed)

    def cookie(self, server: int) -> str:
        """Return the affinity cookie's value for `server`: long and hexadecimal, stable for a seed."""
        cookie = self._cookies.get(server)
        if cookie is None:
            cookie = self._cookies[server] = hashlib.sha256(f"{self._seed}:{server}".encode()).hexdigest()
        return cookie

    def route(self, cookie: str | None) -> int:
        """Return the server for a request: the one its affinity cookie names, else a seeded choice."""
        servers = self.limits.servers
        if cookie is not None:
            for server in range(servers):
                if self.cookie(server) == cookie:
                    return server
        return self._random.randrange(servers) if servers > 1 else 0

    def arrive(
        self, user: str, server: int, now: float, *, seconds: float = 0.0, locks: Sequence[str] = ()
    ) -> Admission | Throttle:
        """Admit or refuse one HTTP request (a batch is one) that needs `seconds` of work.

        `locks` are names of rows it must hold while it works; holders of one name work one after the other and a
        worker that waits for a lock stays taken. Execution time is charged on admission, lock waits included, queueing
        for a worker not (inferred).
        """
        account = self._account(user, server, now)
        facet = self._exceeded(account, now) if self.limits.enforced else None
        account.window.add(now, 1, 0.0)
        if facet is not None:
            return self._refuse(account, user, server, now, facet)
        starts, ends = self._schedule(server, now, seconds, locks)
        account.window.add(now, 0, ends - starts)
        account.in_flight += 1
        return Admission(user, server, now, starts, ends, ends - starts)

    def leave(self, admission: Admission, now: float, *, executed: float | None = None) -> None:
        """Close the accounting of an admitted request; `executed` seconds replace what was charged on admission."""
        account = self._account(admission.user, admission.server, now)
        account.in_flight = max(0, account.in_flight - 1)
        if executed is not None and executed > admission.charged:
            account.window.add(now, 0, executed - admission.charged)

    def operations(self, user: str, count: int) -> None:
        """Count `count` operations towards the user's entitlement; each operation of a batch is one (documented)."""
        self.entitlement[user] = self.entitlement.get(user, 0) + count

    def remaining(self, user: str, server: int, now: float) -> ReservedQuota:
        """Return what `user` has left on `server`, never negative."""
        window = self._account(user, server, now).window
        limits = self.limits
        return ReservedQuota(
            max(0, limits.requests - window.count), max(0.0, limits.execution_seconds - window.seconds)
        )

    def in_flight(self, user: str, server: int) -> int:
        """Return how many requests of `user` are being worked on by `server`."""
        account = self._accounts.get((user, server))
        return account.in_flight if account else 0

    def _account(self, user: str, server: int, now: float) -> UsageAccount:
        account = self._accounts.get((user, server))
        if account is None:
            account = self._accounts[user, server] = UsageAccount(SlidingWindow(self.limits.window_seconds))
        account.window.slide(now)
        return account

    def _exceeded(self, account: UsageAccount, now: float) -> str | None:
        """Return the facet that refuses a request arriving at `now`, None when it is let in."""
        limits, window = self.limits, account.window
        if window.count >= limits.requests:
            return "count"
        if window.seconds >= limits.execution_seconds:
            return "time"
        if now < account.penalty_until:
            return account.facet
        return "concurrency" if account.in_flight >= limits.concurrency else None

    def _refuse(self, account: UsageAccount, user: str, server: int, now: float, facet: str) -> Throttle:
        """Return the refusal of a request that its window has counted already.

        Window facets: refused from the moment the window holds more than the limit until the penalty is over. The
        penalty lasts until the window, with every refused request in it, has room for one more: who waits as told is
        let in. It is longer "if the application continues to send such demanding requests": by `poke_seconds` for each
        that comes before its first Retry-After is over. All count in the window. Concurrency has no penalty.
        """
        limits, window = self.limits, account.window
        if facet == "concurrency":
            wait = self._random.uniform(*limits.concurrency_retry_after)
            return self._throttle(user, server, facet, wait, early=False)
        early, first = now < account.first_told_until, now >= account.penalty_until
        account.facet = facet
        room = window.until(now, limits.requests - 1, math.nextafter(limits.execution_seconds, 0))
        owed = max(room, account.penalty_until - now) + (limits.poke_seconds if early else 0.0)
        account.penalty_until = now + min(max(owed, 1.0 if first else 0.0), limits.longest_penalty)
        if first:
            account.first_told_until = account.penalty_until
        return self._throttle(user, server, facet, account.penalty_until - now, early=early)

    def throttle(self, user: str, server: int, facet: str, retry_after: float) -> Throttle:
        """Return a refusal of `facet` in the documented wording without touching any account (planned faults)."""
        return self._throttle(user, server, facet, retry_after, early=False)

    def _throttle(self, user: str, server: int, facet: str, wait: float, *, early: bool) -> Throttle:
        limits = self.limits
        limit = {
            "count": str(limits.requests),
            "time": f"{limits.execution_seconds * 1000:,.0f}",
            "concurrency": str(limits.concurrency),
        }[facet]
        code, wording = FACETS[facet]
        message = wording.format(limit=limit, window=f"{limits.window_seconds:.0f}")
        return Throttle(user, server, facet, code, message, max(1, math.ceil(wait)), early)

    def _schedule(self, server: int, now: float, seconds: float, locks: Sequence[str]) -> tuple[float, float]:
        """Return when a worker takes the request and when it is done: first come, first served."""
        if seconds <= 0 and not locks:
            return now, now
        free = self._workers.setdefault(server, [])
        while free and free[0] <= now:
            heapq.heappop(free)
        starts = now
        while len(free) >= self.limits.workers:
            starts = heapq.heappop(free)
        held = [self._locks.get(name, now) for name in locks]
        ends = max([starts, *held]) + seconds
        heapq.heappush(free, ends)
        self._hold(locks, now, ends)
        return starts, ends

    def _hold(self, locks: Sequence[str], now: float, until: float) -> None:
        if len(self._locks) > 10_000:  # only bounds memory: free locks need no entry
            self._locks = {name: end for name, end in self._locks.items() if end > now}
        for name in locks:
            self._locks[name] = until
