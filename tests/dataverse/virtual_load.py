"""A discrete-event simulation: a governor with endless work against the protection model, hours in seconds."""

from __future__ import annotations

import heapq
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from connector.dataverse.pacing.governor import Governor
from connector.dataverse.pacing.permits import Facet, Feedback, Permit, Wait
from connector.dataverse.pacing.service_limits import Budget
from connector.emulator.limits.protection import Admission, Limits, Protection, Throttle
from scripts.benchmarks.virtual_service import RetryAfters

USER = "user"


@dataclass(frozen=True)
class Service:
    """The service simulated: its limits, what a request takes (seconds, by time), the way there, what it tells."""

    limits: Limits
    seconds: Callable[[random.Random, float], float]
    transport: float = 0.02
    headers: bool = True
    affinity: bool = True
    steers: bool = True
    changes: Sequence[tuple[float, dict[str, float]]] = ()


@dataclass
class Outcome:
    """What came of it: the moments of answers and of refusals, and how many requests were sent too early."""

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    early: int = 0
    holds: list[tuple[float, float, str]] = field(default_factory=list)

    def rate(self, start: float, end: float) -> float:
        """Return the requests per second answered between two moments."""
        return sum(1 for at in self.answered if start <= at < end) / (end - start)

    @property
    def share_refused(self) -> float:
        """Return the share of requests that were refused."""
        return len(self.refused) / max(1, len(self.refused) + len(self.answered))


class Load:
    """Workers that always have another request, let through by a governor."""

    def __init__(self, service: Service, *, workers: int = 400, seed: int = 1, budget: Budget | None = None) -> None:
        self.service = service
        self.protection = Protection(service.limits, seed=seed)
        self.governor = Governor(0.0, budget or Budget(window=service.limits.window_seconds))
        self.outcome = Outcome()
        self._told = RetryAfters()
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self.now = 0.0
        self._idle = workers
        self._asking_at = float("inf")
        self._at(0.0, self._ask)
        for at, values in service.changes:
            self._at(at, partial(self._change, values))

    def _change(self, limits: dict[str, float]) -> None:
        self.protection.change(limits)

    def run(self, seconds: float) -> Outcome:
        """Let it run for so many virtual seconds."""
        while self._events[0][0] <= seconds:
            self.step()
        return self.outcome

    def step(self) -> None:
        """Let the next thing happen."""
        self.now, _, event = heapq.heappop(self._events)
        event()

    def _at(self, when: float, event: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (when, self._order, event))

    def _ask(self) -> None:
        while self._idle:
            leave = self.governor.ask(self.now, "write", 1)
            if isinstance(leave, Wait):
                if leave.until < self._asking_at or self._asking_at <= self.now:
                    self._asking_at = leave.until
                    if leave.until < float("inf"):
                        self._at(leave.until, self._ask)
                return
            self._idle -= 1
            self.outcome.early += self._told.too_early(self.now)
            self._at(self.now + self.service.transport / 2, partial(self._arrive, leave))

    def _arrive(self, permit: Permit) -> None:
        cookie = permit.server if self.service.steers and permit.server else None
        server = self.protection.route(cookie)
        seconds = self.service.seconds(self._random, self.now)
        verdict = self.protection.arrive(USER, server, self.now, seconds=seconds)
        key = self.protection.cookie(server) if self.service.affinity else ""
        if isinstance(verdict, Throttle):
            self._refuse(permit, verdict, key)
        else:
            self._at(verdict.ends, lambda: self._leave(permit, verdict, key))

    def _refuse(self, permit: Permit, throttle: Throttle, key: str) -> None:
        number = float(re.findall(r"limit of ([\d,]+)", throttle.message)[0].replace(",", ""))
        feedback = Feedback(
            server=key,
            facet=Facet(throttle.facet),
            retry_after=throttle.retry_after,
            number=number / 1000 if throttle.facet == "time" else number,
        )
        self.outcome.refused.append(self.now)
        self.outcome.holds.append((self.now, throttle.retry_after, throttle.facet))
        self._at(self.now + self.service.transport / 2, lambda: self._settle(permit, feedback))

    def _leave(self, permit: Permit, admission: Admission, key: str) -> None:
        self.protection.leave(admission, self.now)
        left = self.protection.remaining(USER, admission.server, self.now)
        told = self.service.headers
        feedback = Feedback(
            server=key, requests_left=left.requests if told else None, seconds_left=left.seconds if told else None
        )
        self.outcome.answered.append(self.now + self.service.transport / 2)
        self._at(self.now + self.service.transport / 2, lambda: self._settle(permit, feedback))

    def _settle(self, permit: Permit, feedback: Feedback) -> None:
        self._told.answered(self.now, feedback)
        self.governor.settle(self.now, permit, feedback)
        self._idle += 1
        self._ask()


def ceiling(limits: Limits, seconds: float) -> float:
    """Return the requests per second that the modelled budgets allow for ever, at `seconds` of work each."""
    window = limits.window_seconds
    per_server = min(
        limits.requests / window,
        limits.execution_seconds / window / seconds,
        min(limits.concurrency, limits.workers) / seconds,
    )
    return limits.servers * per_server
