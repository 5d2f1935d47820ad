"""The flow engine as it treats an HTTP action: at-least-once delivery, retries on schedule, the cut, polling.

Sources: *Handle errors and exceptions in Azure Logic Apps* (what is retried, default policy), *Limits of automated,
scheduled and instant flows* (profiles, 120 seconds), *Create custom APIs* (the asynchronous pattern); that polls may
come without Authorization and POSTs twice: Azure/logicapps 611 and 1483.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fastapi import FastAPI

from connector.ledger.claims import Worker
from connector.ledger.operation_store import OperationStore
from connector.service.operations.operation_runner import OperationRunner
from connector.service.operations.waiting import Listener, Waiter, WaitKind
from tests.service.timeline import Timeline

CUT = 120.0
"""Seconds after which the engine gives an outbound request up."""
LONGEST = 100.0
"""Seconds within which the endpoint promises an answer."""
RETRIED = {408, 429, 500, 502, 503, 504}
FIRST_POLL = 20.0
"""Seconds until a poll when nobody said: the older Logic Apps text."""

T = TypeVar("T")
Schedule = Callable[[int, random.Random], float | None]
"""Returns the seconds before the n-th retry (from 1), or None when there is no more."""


def low_profile(number: int, chance: random.Random) -> float | None:
    """Two retries, scaled by five minutes, up to about ten."""
    return chance.uniform(300, 300 * 2 ** (number - 1)) if number <= 2 else None


def high_profile(number: int, chance: random.Random) -> float | None:
    """Eight retries, scaled by seven seconds, up to about fifteen minutes."""
    return chance.uniform(7, min(900.0, 7.0 * 2**number)) if number <= 8 else None


def logic_apps(number: int, chance: random.Random) -> float | None:
    """Four retries, scaled by 7.5 seconds, between 5 and 45."""
    return min(45.0, max(5.0, chance.uniform(0, 7.5 * 2**number))) if number <= 4 else None


def every_minute(number: int, _chance: random.Random) -> float | None:
    """The most that a maker can set: ninety retries, here a minute apart."""
    return 60.0 if number <= 90 else None


SCHEDULES = (low_profile, high_profile, logic_apps, every_minute)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class TimelineWaiting(Waiter):
    """How requests wait on a timeline: each has a thread, so waiting there holds nobody up."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self._timeline = timeline

    async def apart(self, call: Callable[[], T]) -> T:
        return call()

    async def within(self, seconds: float, kind: WaitKind, call: Callable[[], T], tenant: str = "") -> T:
        del seconds, kind, tenant
        return call()

    @contextmanager
    def listen(self, operation_id: str) -> Iterator[_Listener]:
        yield _Listener(self._timeline, operation_id)

    def tell(self, operation_id: str) -> None:
        self._timeline.tell(("ended", operation_id))

    def drain(self) -> None:
        """Let nobody wait any longer; here nothing stops."""


class _Listener(Listener):
    def __init__(self, timeline: Timeline, operation_id: str) -> None:
        super().__init__(asyncio.get_running_loop())
        self.timeline = timeline
        self.operation_id = operation_id

    async def wait(self, seconds: float) -> None:
        self.timeline.wait(("ended", self.operation_id), seconds)


@dataclass
class FlowEngine:
    """Runs actions against an app.

    `answers` counts the final answers (status and body) of each action's deliveries, `ended` all of them, `slowest` is
    the longest request, `cuts` how many the engine gave up.
    """

    app: FastAPI
    timeline: Timeline
    chance: random.Random
    answers: dict[str, Counter[tuple[int, bytes]]] = field(default_factory=dict)
    ended: int = 0
    requests: int = 0
    slowest: float = 0.0
    cuts: int = 0
    loops: list[asyncio.AbstractEventLoop] = field(default_factory=list)

    def deliver(
        self, name: str, path: str, body: Mapping[str, object], headers: Mapping[str, str], schedule: Schedule
    ) -> None:
        """Carry out one delivery of an action to its end."""
        for attempt in range(1, 100):
            answer = self._asked("POST", path, headers, body)
            if answer is not None and answer.status == 202:
                answer = self._polled(answer)
            final = answer is not None and answer.status not in RETRIED
            pause = None if final else schedule(attempt, self.chance)
            if pause is None:
                self.ended += 1
                self.answers.setdefault(name, Counter())[(answer.status, answer.body) if answer else (0, b"")] += 1
                return
            told = float(answer.headers.get("retry-after", 0)) if answer else 0.0
            self.timeline.sleep(max(pause, told))

    def _polled(self, answer: Answer) -> Answer | None:
        """Follow the status address, without signing in, until it is no 202."""
        while answer.status == 202:
            self.timeline.sleep(float(answer.headers.get("retry-after", FIRST_POLL)))
            location = urlsplit(answer.headers["location"])
            assert location.scheme == "https"
            again = self._asked("GET", location.path, {}, None)
            if again is None or again.status in RETRIED:
                continue
            answer = again
        return answer

    def _asked(
        self, method: str, path: str, headers: Mapping[str, str], body: Mapping[str, object] | None
    ) -> Answer | None:
        """Send a request; None when the engine has given it up, though it may go on at the endpoint."""
        self.requests += 1
        number = self.requests
        got: list[Answer] = []

        def request() -> None:
            began = self.timeline.monotonic()
            got.append(self._answered(call(self.app, method, path, headers, body)))
            self.slowest = max(self.slowest, self.timeline.monotonic() - began)
            self.timeline.tell(("answered", number))

        self.timeline.spawn(request)
        self.timeline.wait(("answered", number), CUT)
        self.cuts += not got
        return got[0] if got else None

    def _answered(self, asked: Coroutine[object, None, Answer]) -> Answer:
        """Return an answer; each request that is under way has an event loop, which the next one takes over."""
        loop = self.loops.pop() if self.loops else asyncio.new_event_loop()
        answer = loop.run_until_complete(asked)
        self.loops.append(loop)
        return answer

    def close(self) -> None:
        """Close the event loops."""
        for loop in self.loops:
            loop.close()


def hands(timeline: Timeline, operations: OperationStore, worker: Worker, work: OperationRunner) -> Callable[[], None]:
    """Return an actor that works operations off for ever."""

    def act() -> None:
        while True:
            claimed = operations.claim(worker, 1) if operations.unfinished() else []
            for job, item in claimed:
                work.do(worker, job, item)
            if not claimed:
                timeline.wait("work", 5.0)

    return act


async def call(
    app: FastAPI,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: Mapping[str, object] | Sequence[dict[str, object]] | None,
) -> Answer:
    """Call an ASGI app as a server would; a sequence is the messages by which the body comes."""
    content = json.dumps(body).encode() if isinstance(body, Mapping) else b""
    parts = iter(body if isinstance(body, Sequence) else ())
    sent = {
        "host": "localhost:8080",
        "content-type": "application/json",
        "content-length": str(len(content)),
        **headers,
    }
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "root_path": "", "scheme": "http", "query_string": b"", "state": {},
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 50000), "server": ("localhost", 8080),
    }  # fmt: skip
    told: list[Any] = []

    async def receive() -> dict[str, object]:
        return next(parts, {"type": "http.request", "body": content, "more_body": False})

    async def send(message: Any) -> None:
        told.append(message)

    await app(scope, receive, send)
    received = {name.decode(): value.decode() for name, value in told[0]["headers"]}
    return Answer(told[0]["status"], received, b"".join(message.get("body", b"") for message in told[1:]))
