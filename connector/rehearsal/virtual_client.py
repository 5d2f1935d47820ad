"""The way of one user to a modelled organization: the governor of a real run, the emulator's limits, no network.

Time passes only while somebody waits.
"""

from __future__ import annotations

import heapq
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from connector.closing.model import Plan
from connector.dataverse.pacing.carried_over import CarriedOverLimits
from connector.dataverse.pacing.gate import WRITES
from connector.dataverse.pacing.governor import Governor
from connector.dataverse.pacing.permits import Facet, Feedback, Permit, Wait
from connector.emulator.limits.protection import Admission, Protection, Throttle
from connector.handler import PacingStatus

_START = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualTime:
    """A clock on which what is to happen later happens while somebody waits. For one thread."""

    def __init__(self, start: datetime = _START) -> None:
        self._start = start
        self._now = 0.0
        self._order = 0
        self._events: list[tuple[float, int, Callable[[], object]]] = []

    def now(self) -> datetime:
        """Return the time of day."""
        return self._start + timedelta(seconds=self._now)

    def monotonic(self) -> float:
        """Return the seconds since the start."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass, with all that happens in them."""
        self.pass_until(self._now + seconds, threading.Event())

    def at(self, when: float, event: Callable[[], object]) -> None:
        """Let something happen later."""
        self._order += 1
        heapq.heappush(self._events, (when, self._order, event))

    def pass_until(self, end: float, stop: threading.Event) -> None:
        """Let time pass until `end`, or until `stop` is set by what happens."""
        events, is_set = self._events, stop.is_set
        while events and events[0][0] <= end and not is_set():
            self._now, _, event = heapq.heappop(events)
            event()
        if not stop.is_set():
            self._now = max(self._now, end)


class VirtualWake(threading.Event):
    """An event whose waiting lets virtual time pass: `least` seconds, where nothing sets it meanwhile."""

    def __init__(self, time: VirtualTime, least: float = 0.0) -> None:
        super().__init__()
        self._time = time
        self._least = least

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for it, `timeout` seconds at most if no more are the least."""
        assert timeout is not None
        self._time.pass_until(self._time.monotonic() + max(timeout, self._least), self)
        return self.is_set()


TRANSPORT = 0.04
"""Seconds there and back."""
READ_SECONDS = 0.15
"""Seconds of work of a batch of reads."""
_NUMBER = re.compile(r"limit of ([\d,]+)")


class VirtualGate:
    """The governor of one user, as a run sees it."""

    def __init__(self, time: VirtualTime, governor: Governor) -> None:
        self._time = time
        self._governor = governor

    def parts(self) -> int:
        """Return how many opportunities one batch should carry."""
        return self._governor.parts(WRITES)

    def fewest_parts(self, waiting: float) -> int:
        """Return how many it must carry for the number of requests not to bind."""
        return self._governor.fewest_parts(self._time.monotonic(), WRITES, waiting)

    def width(self) -> int:
        """Return how many requests may be under way at once."""
        return self._governor.most_in_flight(self._time.monotonic())

    def pace(self) -> PacingStatus:
        """Return what it is doing."""
        return self._governor.pace(self._time.monotonic(), WRITES, self._governor.parts(WRITES))

    def expect(self, parts: float, ready: int = 0) -> int | None:
        """Take in how many opportunities are still to be sent; return how many the next batch must carry."""
        return self._governor.expect(self._time.monotonic(), WRITES, parts, self._governor.parts(WRITES), ready)

    def close(self) -> None:
        """Go on with what waits: nobody is impatient."""

    open = close

    def carried_over(self) -> Mapping[str, object]:
        """Return what is known of the limits."""
        return self._governor.carried_over(self._time.monotonic()).data()

    def begin_with(self, carried_over: Mapping[str, object], age: float) -> None:
        """Begin with what another has left."""
        limits = CarriedOverLimits.read(carried_over)
        assert limits is not None
        self._governor.begin_with(self._time.monotonic(), limits, age)

    def seconds_for(self, requests: float, seconds: float, fastest: float) -> float:
        """Return how long so much work takes."""
        return self._governor.seconds_for(self._time.monotonic(), requests, seconds, fastest)


@dataclass(slots=True)
class _Request:
    """Work of the pipeline on its way: what it does in the end, and the seconds of work it takes there."""

    work: Callable[[], object]
    kind: str
    parts: int
    seconds: float
    future: Future[Any] = field(default_factory=Future)


class VirtualClient:
    """Carries one user's requests to the organization and back, each when the governor lets it go."""

    def __init__(
        self, user: str, time: VirtualTime, protection: Protection, governor: Governor, transport: float = TRANSPORT
    ) -> None:
        self.user = user
        self.governor = governor
        self.requests = self.refused = 0
        self._time = time
        self._protection = protection
        self._half_way = transport / 2
        self._waiting: deque[_Request] = deque()
        self._asking_at = float("inf")

    def send(self, work: Callable[[], object], kind: str, parts: int, seconds: float) -> Future[Any]:
        """Take work that the organization does in so many seconds."""
        request = _Request(work, kind, parts, seconds)
        if not self._waiting:  # else the first of them is already told when to ask again
            self._time.at(self._time.monotonic(), self._ask)
        self._waiting.append(request)
        return request.future

    def _ask(self) -> None:
        """Send as many requests as the governor lets through, and ask again when it says."""
        now = self._time.monotonic()
        while self._waiting:
            leave = self.governor.ask(now, self._waiting[0].kind, self._waiting[0].parts)
            if isinstance(leave, Wait):
                if leave.until < self._asking_at or self._asking_at <= now:
                    self._asking_at = leave.until
                    if leave.until < float("inf"):
                        self._time.at(leave.until, self._ask)
                return
            self.requests += 1
            self._time.at(now + self._half_way, partial(self._arrive, self._waiting.popleft(), leave))

    def _arrive(self, request: _Request, permit: Permit) -> None:
        now = self._time.monotonic()
        server = self._protection.route(permit.server or None)
        verdict = self._protection.arrive(self.user, server, now, seconds=request.seconds)
        if isinstance(verdict, Throttle):
            self._time.at(now + self._half_way, partial(self._throttled, request, permit, verdict))
        else:
            self._time.at(verdict.ends, partial(self._leave, request, permit, verdict))

    def _throttled(self, request: _Request, permit: Permit, throttle: Throttle) -> None:
        self.refused += 1
        self._waiting.appendleft(request)
        self._settle(permit, refusal(throttle, self._protection.cookie(throttle.server)))

    def _leave(self, request: _Request, permit: Permit, admission: Admission) -> None:
        now = self._time.monotonic()
        self._protection.leave(admission, now)
        left = self._protection.remaining(self.user, admission.server, now)
        cookie = self._protection.cookie(admission.server)
        feedback = Feedback(server=cookie, requests_left=left.requests, seconds_left=left.seconds)
        self._time.at(now + self._half_way, partial(self._answered, request, permit, feedback, request.work()))

    def _answered(self, request: _Request, permit: Permit, feedback: Feedback, result: object) -> None:
        self._settle(permit, feedback)
        request.future.set_result(result)

    def _settle(self, permit: Permit, feedback: Feedback) -> None:
        self.governor.settle(self._time.monotonic(), permit, feedback)
        self._ask()


def refusal(throttle: Throttle, server: str) -> Feedback:
    """Return what a refusal tells the governor, `server` being the affinity cookie of who refused."""
    match = _NUMBER.search(throttle.message)
    number = float(match[1].replace(",", "")) if match else None
    if number is not None and throttle.facet == "time":
        number /= 1000
    return Feedback(server=server, facet=Facet(throttle.facet), retry_after=throttle.retry_after, number=number)


class VirtualNetwork(Executor):
    """Gives the pipeline's work to the client of the user that it is done as: `clients` by their organizations' ids.

    `seconds_of` is the work that a plan takes, `read_seconds` that of a batch of reads.
    """

    def __init__(
        self,
        clients: Mapping[int, VirtualClient],
        seconds_of: Callable[[Plan], float],
        read_seconds: Callable[[], float] = lambda: READ_SECONDS,
    ) -> None:
        self._clients = clients
        self._seconds_of = seconds_of
        self._read_seconds = read_seconds

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Take work of the pipeline: a look at a group of rows, or the plans of a batch."""
        assert isinstance(work, partial)
        assert not arguments
        assert not named
        performer = getattr(work.func, "__self__", None)
        if getattr(work.func, "__name__", "") == "perform" and id(performer) in self._clients:
            (plans,) = work.args
            seconds = sum(self._seconds_of(plan) for plan in plans)
            return self._clients[id(performer)].send(work, WRITES, len(plans), seconds)
        organization = next((value for value in work.args if id(value) in self._clients), None)
        client = self._clients[id(organization)] if organization is not None else next(iter(self._clients.values()))
        return client.send(work, "batch of reads", 2, self._read_seconds())
