"""The middleware around the app: ids, who calls, how much, how large, and an answer whatever happens behind it.

Everything that is not listed as open needs a caller, so that a route added later is closed until somebody opens it.
What is logged of a request is its route, never its path (which may hold an address that proves itself), its headers
or its body.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from opentelemetry.trace import SpanKind

from connector.clock import Clock
from connector.service.auth.caller import Caller
from connector.service.problems import MALFORMED, Problem, RequestRefused, busy, frames_of
from connector.service.schemas.field_values import repeated_name
from connector.service.telemetry import REQUEST_SECONDS, Fact, Telemetry, mark_failed, traceparent
from connector.service.templates.page_view import failure_response

MOST_CONNECTIONS = 10_000
"""Connections that are remembered; the one that was quiet longest is forgotten first, with a full bucket by then."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a connection has left. `reset` is in seconds until the bucket is full, `wait` until there is one again."""

    limit: int
    remaining: int
    reset: int
    wait: int

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that tell it (draft-ietf-httpapi-ratelimit-headers-06 and older)."""
        values = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }
        return values | ({"Retry-After": str(self.wait)} if self.wait else {})


@dataclass(slots=True)
class RateLimit:
    """Counts requests of connections; safe from several threads."""

    per_minute: int
    clock: Clock
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, connection: str) -> Allowance:
        """Take one request of `connection`; refused when `wait` is not 0."""
        now, rate = self.clock.monotonic(), self.per_minute / 60.0
        with self._lock:
            left, since = self._left.pop(connection, (float(self.per_minute), now))
            left = min(float(self.per_minute), left + (now - since) * rate)
            granted = left >= 1.0
            left -= granted
            self._left[connection] = (left, now)
            if len(self._left) > MOST_CONNECTIONS:
                self._left.popitem(last=False)
        reset = math.ceil((self.per_minute - left) / rate)
        wait = 0 if granted else max(1, math.ceil((1.0 - left) / rate))
        return Allowance(self.per_minute, int(left), reset, wait)


_log = logging.getLogger("connector.service.requests")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Identify = Callable[[Mapping[str, str], str, str], Awaitable[Caller]]
"""Takes the headers, the address of the peer and the path; raises RequestRefused."""

OPEN = re.compile(
    r"(GET|HEAD) /(healthz|readyz|version|connector/.*|\.well-known/oauth-protected-resource(/mcp)?)"
    r"|(GET|HEAD) /operations/[^/]*\.[^/]*|POST /webhooks/.*|DELETE /subscriptions/.+"
    r"|(GET|HEAD) /(operations-page/(sign-in|signed-out|script|htmx))?|POST /operations-page/signed-in"
)
"""What needs no sign-in: nothing secret, or an address that proves itself."""

_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_ECHOED = ("x-ms-client-request-id", "traceparent")
_SAFETY = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


_BROKEN, _DIGITS = 500, 18
ANSWER_SECONDS = 96.0
"""Seconds after which a request is answered whatever it waits for; the flow engine gives up at 120."""
WEBHOOK_LIMIT = 512 * 1024
"""Bytes of a message of Dataverse's webhooks, which leaves its parameters out above 256 KB; the rest is encoding."""


@dataclass(slots=True)
class _Exchange:
    """One request on its way through."""

    method: str
    path: str
    headers: dict[str, str]
    peer: str
    correlation_id: str
    began: float
    added: list[tuple[bytes, bytes]]
    hosts: int
    status: int = 0
    caller: Caller | None = None


@dataclass(slots=True)
class RequestMiddleware:
    """Wraps an ASGI app; `identify` says who calls or raises RequestRefused."""

    app: App
    identify: Identify
    limit: RateLimit
    body_limit: int
    body_seconds: float
    metadata: str
    clock: Clock
    telemetry: Telemetry

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _exchange_of(scope, self.clock.monotonic())
        parent = exchange.headers.get("traceparent", "")
        with self.telemetry.span(exchange.method, SpanKind.SERVER, parent if _TRACE.fullmatch(parent) else "") as span:
            scope.setdefault("state", {})["trace"] = traceparent()
            await self._pass(scope, receive, send, exchange)
            facts = _facts(scope, exchange)
            span.update_name(f"{exchange.method} {facts['http.route']}")
            ids = {"connector.correlation_id": exchange.correlation_id, "connector.run_id": _run(exchange)}
            span.set_attributes({**facts, **ids})
            if exchange.status >= _BROKEN:
                mark_failed(span, str(exchange.status))
        seconds = self.clock.monotonic() - exchange.began
        self.telemetry.measure(REQUEST_SECONDS, seconds, facts)
        _log_request(scope, exchange, seconds)

    async def _pass(self, scope: MutableMapping[str, Any], receive: Receive, send: Send, exchange: _Exchange) -> None:
        """Have it answered, whatever happens."""

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                if exchange.status == HTTPStatus.UNAUTHORIZED and self.metadata:  # where to sign in: RFC 9728
                    message["headers"] = [(n, self._with_metadata(n, v)) for n, v in message["headers"]]
                message["headers"] = [*message["headers"], *exchange.added]
            await send(message)

        try:
            await self._admit(exchange)
            state = scope.setdefault("state", {})
            state["caller"], state["correlation_id"] = exchange.caller, exchange.correlation_id
            state["began"] = exchange.began
            async with asyncio.timeout(ANSWER_SECONDS):
                await self.app(scope, await self._whole(receive, exchange), told)
        except RequestRefused as error:
            await _answer(told, exchange, error.failure)
        except (TimeoutError, asyncio.CancelledError):  # the latter at the end of the process
            if not exchange.status:
                await _answer(told, exchange, _LATE)
        except Exception as error:  # noqa: BLE001 - the last resort: the caller gets an answer, the log gets the frames
            _log.error("%s broke off: %s\n%s", exchange.correlation_id, type(error).__name__, frames_of(error))
            if not exchange.status:
                await _answer(told, exchange, UNFORESEEN)

    def _with_metadata(self, name: bytes, value: bytes) -> bytes:
        if name.lower() != b"www-authenticate":
            return value
        return value + (b", " if b"=" in value else b" ") + b'resource_metadata="%s"' % self.metadata.encode()

    async def _admit(self, exchange: _Exchange) -> None:
        if exchange.hosts > 1:  # RFC 9112, 3.2
            raise RequestRefused(_HOSTS)
        if OPEN.fullmatch(f"{exchange.method} {exchange.path}"):
            counted = "" if "." not in exchange.path else exchange.path
        else:
            exchange.caller = await self.identify(exchange.headers, exchange.peer, exchange.path)
            counted = exchange.caller.connection
        if not counted:
            return
        allowance = self.limit.take(counted)
        exchange.added += [(name.lower().encode(), value.encode()) for name, value in allowance.headers.items()]
        if allowance.wait:
            raise RequestRefused(
                Problem(
                    HTTPStatus.TOO_MANY_REQUESTS,
                    "too_many_requests",
                    "This connection has sent too many requests in a minute. Nothing was changed: send it again later.",
                )
            )

    async def _whole(self, receive: Receive, exchange: _Exchange) -> Receive:
        """Read the body whole, in bounded time, and return a `receive` that gives it."""
        try:
            async with asyncio.timeout(self.body_seconds):
                body = await self._read(receive, exchange)
        except TimeoutError:
            raise RequestRefused(_SLOW) from None
        if body and (name := repeated_name(body)):
            sentence = f"{MALFORMED} body: it says {name} twice; say it once."
            raise RequestRefused(Problem(HTTPStatus.BAD_REQUEST, "invalid_request", sentence))
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return whole.pop() if whole else await receive()

        return again

    async def _read(self, receive: Receive, exchange: _Exchange) -> bytes:
        """Return the body; what announces itself as too large is not read."""
        most = WEBHOOK_LIMIT if exchange.path.startswith("/webhooks/") else self.body_limit
        announced = exchange.headers.get("content-length", "0")
        if not announced.isdecimal() or len(announced) > _DIGITS or int(announced) > most:
            raise RequestRefused(_too_large(most))
        if exchange.headers.get("content-encoding", "identity").lower() != "identity":
            raise RequestRefused(_PACKED)
        pieces: list[bytes] = []
        more, length = True, 0
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestRefused(_SLOW)  # a part of a body is no request: one without a body reopens
            pieces.append(message.get("body", b""))
            length += len(pieces[-1])
            if length > most:
                raise RequestRefused(_too_large(most))
            more = message.get("more_body", False)
        return b"".join(pieces)


UNFORESEEN = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "unforeseen",
    "The endpoint failed in a way it did not foresee. Send the request again: nothing is done twice. If it happens "
    "again, give support the correlation id.",
)


_LATE = busy(
    "too_slow", "The endpoint could not answer in time. Send the same request again: nothing is done twice.", 10
)
_HANG_UP = {"Connection": "close"}
"""What is left of a body that was not read to its end is no next request."""
_SLOW = Problem(
    HTTPStatus.REQUEST_TIMEOUT, "body_slow", "The request's body did not come in time. Send it again.", headers=_HANG_UP
)
_HOSTS = Problem(HTTPStatus.BAD_REQUEST, "invalid_request", f"{MALFORMED} It names several hosts.", headers=_HANG_UP)
_PACKED = Problem(
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "body_packed", "Send the body without Content-Encoding.", headers=_HANG_UP
)


def _too_large(limit: int) -> Problem:
    sentence = f"The request has more than the {limit:,} bytes that are accepted; nothing was changed. Send less text."
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", sentence, headers=_HANG_UP)


def _exchange_of(scope: MutableMapping[str, Any], now: float) -> _Exchange:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    sent_id = headers.get("x-ms-client-request-id", "")
    trace = headers.get("traceparent", "")
    correlation = sent_id if _ID.fullmatch(sent_id) else (trace[3:35] if _TRACE.fullmatch(trace) else str(uuid4()))
    added = [(b"x-ms-request-id", correlation.encode()), *_SAFETY]
    for name, right in zip(_ECHOED, (_ID, _TRACE), strict=True):
        if right.fullmatch(headers.get(name, "")):
            added.append((name.encode(), headers[name].encode()))
    peer = (scope.get("client") or ("",))[0]
    hosts = [name.lower() for name, _ in scope["headers"]].count(b"host")
    return _Exchange(scope["method"], scope["path"], headers, peer, correlation, now, added, hosts)


async def _answer(send: Send, exchange: _Exchange, failure: Problem) -> None:
    response = failure_response(failure, exchange.path, exchange.headers.get("accept", ""), "", exchange.correlation_id)
    await send({"type": "http.response.start", "status": failure.status, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body})


def _log_request(scope: MutableMapping[str, Any], exchange: _Exchange, seconds: float) -> None:
    who = exchange.caller.connection if exchange.caller else "-"
    ids = exchange.correlation_id, who, _run(exchange)
    text = "%s %s %d %.0f ms, correlation %s, connection %s, run %s"
    _log.info(text, exchange.method, _route(scope), exchange.status, seconds * 1000, *ids)


def _route(scope: Mapping[str, Any]) -> str:
    """Return the route that was taken; a path that has no route may hold any text."""
    route = scope.get("route")
    return str(getattr(route, "path_format", getattr(route, "path", "?")))


def _run(exchange: _Exchange) -> str:
    run = exchange.headers.get("x-ms-workflow-run-id", "")
    return run if _ID.fullmatch(run) else "-"


def _facts(scope: Mapping[str, Any], exchange: _Exchange) -> dict[str, Fact]:
    return {
        "http.request.method": exchange.method,
        "http.route": _route(scope),
        "http.response.status_code": exchange.status,
    }
