"""A discrete-event simulation of clients under the emulator's service protection: hours pass in seconds.

Whatever decides when the next request may go (the connector's governor, or another client's rule) is a `Rule`. There is
always another request to send. The limits, the balancer, the workers and the refusals are the emulator's own.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Protocol

from connector.dataverse.pacing.governor import Governor
from connector.dataverse.pacing.permits import Feedback, Permit, Wait
from connector.emulator.limits.protection import Admission, Limits, Protection, Throttle
from connector.rehearsal.virtual_client import refusal

Seconds = Callable[[random.Random, float], float]
_OWN_PROCESSES = 400  # workers of the client: never what holds it back


class Rule(Protocol):
    """Decides when one user's next request may go."""

    def ask(self, now: float, kind: str, parts: int) -> Permit | Wait:
        """Return leave to send a request now, or until when to wait."""

    def settle(self, now: float, permit: Permit, feedback: Feedback) -> None:
        """Take in the answer to a request."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another program under the same application user, which works from one moment to another."""

    rule: Callable[[], Rule]
    starts: float
    ends: float


@dataclass(frozen=True, slots=True)
class Service:
    """A service: its limits and how they change, what a request takes, the way there and back, what it tells.

    `means` are the mean seconds of work of a request from a moment on, `seconds` draws them; times are in seconds.
    With `affinity` answers have a cookie, which `steers` the next requests unless something on the way takes it off.
    Of all answers the share `lost` never comes: a connection ends while the service is still at work on the request.
    """

    limits: Limits
    means: Sequence[tuple[float, float]]
    seconds: Seconds
    changes: Sequence[tuple[float, Mapping[str, float]]] = ()
    identities: int = 1
    transport: float = 0.02
    headers: bool = True
    affinity: bool = True
    steers: bool = True
    lost: float = 0.0
    neighbours: Sequence[Neighbour] = ()

    def ceiling(self, at: float) -> float:
        """Return the requests per second that the modelled budgets allow for ever, as they are at a moment."""
        limits = self.limits_at(at)
        mean = next(seconds for start, seconds in reversed(self.means) if start <= at)
        per_user = min(
            limits.requests / limits.window_seconds,
            limits.execution_seconds / limits.window_seconds / mean,
            limits.concurrency / mean,
        )
        return limits.servers * min(self.identities * per_user, limits.workers / mean)

    def allowed(self, start: float, end: float) -> float:
        """Return how many requests the ceiling allows between two moments."""
        turns = {at for at, _ in (*self.changes, *self.means) if start < at < end}
        return sum((b - a) * self.ceiling(a) for a, b in pairwise(sorted({start, end, *turns})))

    def limits_at(self, at: float) -> Limits:
        """Return the limits that hold at a moment."""
        protection = Protection(self.limits)
        for start, values in self.changes:
            if start <= at:
                protection.change(values)
        return protection.limits


class RetryAfters:
    """Until when a client was told to wait, by any server."""

    def __init__(self) -> None:
        self._until = -math.inf

    def too_early(self, now: float) -> bool:
        """Return whether what is sent now is sent before that."""
        return now < self._until

    def answered(self, now: float, feedback: Feedback) -> None:
        """Take in an answer."""
        if feedback.facet is not None:
            self._until = max(self._until, now + (feedback.retry_after or 0.0))


@dataclass(slots=True)
class Outcome:
    """What came of it: the moments when rows were done and requests refused.

    `early` are the requests that a client sent before the end of a Retry-After that it had been told; `first` is when
    the first of them was sent, `requests` how many were answered.
    """

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    early: int = 0
    requests: int = 0
    first: float = float("inf")

    def count(self, start: float, end: float) -> int:
        """Return how many requests were answered between two moments."""
        return sum(1 for at in self.answered if start <= at < end)

    @property
    def share_refused(self) -> float:
        """Return the share of requests answered 429."""
        return len(self.refused) / max(1, len(self.refused) + self.requests)


class Load:
    """Clients, one per identity, each let through by a rule of its own; `others` are the neighbours of the first.

    They share `rows` of work; without a number there is always another row.
    """

    def __init__(self, service: Service, rules: Sequence[Rule], *, rows: float = math.inf, seed: int = 1) -> None:
        self.service = service
        self.protection = Protection(service.limits, seed=seed)
        self.outcome = Outcome()
        self.others = Outcome()
        self.rows = rows
        self.kind = "write"
        self.now = 0.0
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = 0
        for at, values in service.changes:
            self.at(at, partial(self.protection.change, values))
        self._again: list[float] = []
        self._clients = [_Client(self, rule, f"user{number}", self.outcome) for number, rule in enumerate(rules)]
        for client in self._clients:
            self.at(0.0, client.ask)
        for neighbour in service.neighbours:
            client = _Client(self, neighbour.rule(), "user0", self.others, ends=neighbour.ends)
            self.at(neighbour.starts, client.ask)

    def run(self, seconds: float) -> Outcome:
        """Let it run until so many virtual seconds have passed."""
        while self._events and self._events[0][0] <= seconds:
            self.step()
        return self.outcome

    def finish(self, rows: int) -> Outcome:
        """Bring so many rows and let it run until they are done."""
        self.rows = rows
        done = len(self.outcome.answered) + rows
        for client in self._clients:
            client.ask()
        while len(self.outcome.answered) < done:
            self.step()
        return self.outcome

    def step(self) -> None:
        """Let the next thing happen."""
        self.now, _, event = heapq.heappop(self._events)
        event()

    def at(self, when: float, event: Callable[[], object]) -> None:
        """Let something happen later."""
        self._order += 1
        heapq.heappush(self._events, (when, self._order, event))

    def take_back(self, rows: Sequence[float]) -> None:
        """Take back rows that were refused, by their seconds of work."""
        self.rows += len(rows)
        self._again.extend(rows)

    def chance(self) -> float:
        """Return a number from 0 to 1 by chance."""
        return self._random.random()

    def draw(self) -> float:
        """Return the seconds of work that a row takes now."""
        return self._again.pop() if self._again else self.service.seconds(self._random, self.now)


class _Client:
    """One user's client: asks its rule for leave, sends, waits for the answer, tells the rule."""

    def __init__(self, load: Load, rule: Rule, user: str, outcome: Outcome, *, ends: float = math.inf) -> None:
        self._load = load
        self._rule = rule
        self._user = user
        self._outcome = outcome
        self._ends = ends
        self._idle = _OWN_PROCESSES
        self._asking_at = float("inf")
        self._told = RetryAfters()

    def ask(self) -> None:
        """Send as many requests as the rule lets through, and ask again when it says."""
        load, own = self._load, self._outcome is self._load.outcome
        while self._idle and load.now < self._ends and (load.rows or not own):
            parts = _parts(self._rule, load) if own else 1
            leave = self._rule.ask(load.now, load.kind, parts)
            if isinstance(leave, Wait):
                if leave.until < self._asking_at or self._asking_at <= load.now:
                    self._asking_at = leave.until
                    if leave.until < float("inf"):
                        load.at(leave.until, self.ask)
                return
            if own:
                load.rows -= parts
            self._idle -= 1
            self._outcome.first = min(self._outcome.first, load.now)
            self._outcome.early += self._told.too_early(load.now)
            rows = [load.draw() for _ in range(parts)]
            load.at(load.now + load.service.transport / 2, partial(self._arrive, leave, rows))

    def _arrive(self, permit: Permit, rows: Sequence[float]) -> None:
        load, service = self._load, self._load.service
        server = load.protection.route(permit.server if service.steers and permit.server else None)
        verdict = load.protection.arrive(self._user, server, load.now, seconds=sum(rows))
        key = load.protection.cookie(server) if service.affinity else ""
        if isinstance(verdict, Throttle):
            load.at(load.now + service.transport / 2, lambda: self._refused(permit, rows, verdict, key))
        elif service.lost and load.chance() < service.lost:
            load.at(verdict.ends, lambda: load.protection.leave(verdict, load.now))
            load.at(load.now + load.chance() * (verdict.ends - load.now), lambda: self._lost(permit, rows))
        else:
            load.at(verdict.ends, lambda: self._leave(permit, verdict, key))

    def _refused(self, permit: Permit, rows: Sequence[float], throttle: Throttle, key: str) -> None:
        load = self._load
        self._outcome.refused.append(load.now)
        if self._outcome is load.outcome:
            load.take_back(rows)
        self._settle(permit, refusal(throttle, key))

    def _lost(self, permit: Permit, rows: Sequence[float]) -> None:
        self._load.take_back(rows)
        self._settle(permit, Feedback(ok=False))

    def _leave(self, permit: Permit, admission: Admission, key: str) -> None:
        load = self._load
        load.protection.leave(admission, load.now)
        left = load.protection.remaining(self._user, admission.server, load.now) if load.service.headers else None
        feedback = Feedback(
            server=key, requests_left=left.requests if left else None, seconds_left=left.seconds if left else None
        )
        load.at(load.now + load.service.transport / 2, lambda: self._answered(permit, feedback))

    def _answered(self, permit: Permit, feedback: Feedback) -> None:
        self._outcome.requests += 1
        self._outcome.answered.extend([self._load.now] * permit.parts)
        self._settle(permit, feedback)

    def _settle(self, permit: Permit, feedback: Feedback) -> None:
        self._told.answered(self._load.now, feedback)
        self._rule.settle(self._load.now, permit, feedback)
        self._idle += 1
        self.ask()


def _parts(rule: Rule, load: Load) -> int:
    """Return how many rows the next request carries: one, or what it must where requests are scarce."""
    if math.isinf(load.rows) or not isinstance(rule, Governor):
        return 1
    return int(min(load.rows, rule.parts(load.kind), rule.fewest_parts(load.now, load.kind, load.rows)))
