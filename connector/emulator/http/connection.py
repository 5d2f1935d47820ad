"""One connection of the socket face: HTTP/1.1 on asyncio, parsed by httptools.

It is a protocol of its own because the emulator must reset connections, break answers off and control every byte.
Requests of one connection are answered in order (pipelining); those of different connections interleave. A request
whose client has gone is finished all the same: it is the case that clients must be able to survive.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import TypeVar, cast

import httptools

from connector.emulator.http.exchange import Core, Exchange, PendingRequest
from connector.handler import Request, Response

Argument = TypeVar("Argument")
Result = TypeVar("Result")

BODY_LIMIT = 128 * 1024 * 1024
HEADERS_LIMIT = 64 * 1024
_SPLIT_STATUS = 9
"""Where an answer without a body is broken off: after `HTTP/1.1 `: the rest is no answer to any client."""
_PIPELINE = 64
"""Requests of one connection that may wait behind the one being answered before nothing more is read."""
_SLOWEST = 60.0
"""Seconds a client may take to send one request: who holds connections open with half a request is cut off."""
_LOG = logging.getLogger(__name__)
_FAILED = Exchange(
    Response(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        (("Content-Type", "application/json; odata.metadata=minimal"), ("OData-Version", "4.0")),
        b'{"error":{"code":"0x80040216","message":"An unexpected error occurred."}}',
    )
)
"""The answer when the emulator itself is at fault; what went wrong is in its log."""
_REASONS: Mapping[int, bytes] = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(
        self, core: Core, origin: str, open_connections: set[Connection], tasks: set[asyncio.Task[None]]
    ) -> None:
        self._core = core
        self._origin = origin
        self._open = open_connections
        self._tasks = tasks
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._paused: asyncio.Event = asyncio.Event()
        self._paused.set()
        self._start()

    def _start(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._header_size = 0
        self._since: float | None = None

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with a client."""
        self._transport = cast(asyncio.Transport, transport)  # asyncio's promise for streams; uvloop keeps it by shape
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client; what it has asked for is still done."""
        del exc
        self._transport = None
        self._paused.set()
        self._open.discard(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes in; bytes that are no HTTP are answered 400 and end the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(HTTPStatus.NOT_IMPLEMENTED, "This server does not change protocols.")
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _TooLarge):
                raise
            self._refuse(*error.__context__.args)
        except httptools.HttpParserError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, f"The request is not HTTP: {error}.")

    def pause_writing(self) -> None:
        """Stop writing until the client has read some."""
        self._paused.clear()

    def resume_writing(self) -> None:
        """Write again."""
        self._paused.set()

    @property
    def idle(self) -> bool:
        """Whether no answer is under way."""
        return self._task is None

    def cut_slow(self, now: float) -> None:
        """Cut off a client that has been sending one request for longer than anybody needs."""
        if self._task is None and self._since is not None and now - self._since > _SLOWEST:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive in time.")

    def close(self) -> None:
        """End the connection politely: the client is told, and has to answer."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()  # twice would make asyncio forget the connection

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # the parser's side

    def on_message_begin(self) -> None:
        """Note when a request begins to arrive."""
        self._since = asyncio.get_running_loop().time()

    def on_url(self, url: bytes) -> None:
        """Collect the request's target."""
        self._target += url
        self._measure(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; repeated ones are joined as HTTP says."""
        self._measure(len(name) + len(value))
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key in self._headers:
            text = self._headers[key] + ("; " if key == "cookie" else ", ") + text
        self._headers[key] = text

    def on_headers_complete(self) -> None:
        """Let a client that asked whether to send its body do so."""
        if int(self._headers.get("content-length") or 0) > BODY_LIMIT:
            raise _TooLarge(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {BODY_LIMIT} bytes.")
        if self._headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect a piece of the body."""
        self._size += len(body)
        if self._size > BODY_LIMIT:
            raise _TooLarge(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {BODY_LIMIT} bytes.")
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Answer the request, or queue it behind the one being answered."""
        method = self._parser.get_method().decode("ascii")
        url = self._target.decode("latin-1")
        request = Request(
            method, self._origin + url if url.startswith("/") else url, self._headers, b"".join(self._body)
        )
        keep = self._parser.should_keep_alive()
        self._start()
        if self._task is not None:
            self._waiting.append((request, keep))
            if len(self._waiting) == _PIPELINE and self._transport is not None:
                self._transport.pause_reading()
            return
        self._begin(request, keep=keep)

    def _measure(self, size: int) -> None:
        self._header_size += size
        if self._header_size > HEADERS_LIMIT:
            raise _TooLarge(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The request line and headers are too large.")

    # answering

    def _begin(self, request: Request, *, keep: bool) -> None:
        """Answer at once where nothing is to be waited for; else in a task."""
        begun = self._core_answer(self._core.begin, request)
        delay = self._core.waits(begun.delay) if begun is not None else 0.0
        if delay <= 0:
            exchange = (self._core_answer(self._core.finish, begun) if begun is not None else None) or _FAILED
            if exchange.hold <= 0 and self._paused.is_set():
                self._send(exchange, request.method, keep=keep)
                return
            self._task = self._spawned(self._rest(exchange, request, keep=keep))
            return
        assert begun is not None
        self._task = self._spawned(self._later(begun, delay, request, keep=keep))

    def _spawned(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Return `work` under way, known to the server: it outlives the connection, but not the serving."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _later(self, begun: PendingRequest, delay: float, request: Request, *, keep: bool) -> None:
        try:
            await asyncio.sleep(delay)
            while self._core.holds(begun):  # noqa: ASYNC110 - the core is in no event loop and sets no asyncio.Event
                await asyncio.sleep(delay)
        except asyncio.CancelledError:
            self._core.abandon(begun)  # what has arrived is executed, as for a client that has gone
            raise
        await self._rest(self._core_answer(self._core.finish, begun) or _FAILED, request, keep=keep)

    @staticmethod
    def _core_answer(ask: Callable[[Argument], Result], what: Argument) -> Result | None:
        """Return what the core says, None when it fails: one request must never end the serving of the others."""
        try:
            return ask(what)
        except Exception:  # noqa: BLE001 - whatever it is, it is logged, and the answer is 500
            _LOG.exception("The emulator failed at a request.")
            return None

    async def _rest(self, exchange: Exchange, request: Request, *, keep: bool) -> None:
        if exchange.hold > 0:
            await asyncio.sleep(self._core.waits(exchange.hold))
        await self._paused.wait()
        self._task = None
        self._send(exchange, request.method, keep=keep)
        while self._waiting and self._task is None:
            following, keep_following = self._waiting.popleft()
            self._begin(following, keep=keep_following)
        if self._transport is not None and len(self._waiting) < _PIPELINE:
            self._transport.resume_reading()

    def _send(self, exchange: Exchange, method: str, *, keep: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if exchange.cut == "reset":
            transport.abort()
            return
        head, body = encode(exchange.response, method, keep=keep)
        if exchange.cut == "truncate":
            transport.write(head + body[: len(body) // 2] if body else head[:_SPLIT_STATUS])
            transport.close()
            return
        transport.write(head + body)
        if not keep:
            transport.close()

    def _refuse(self, status: int, text: str) -> None:
        response = Response(status, (("Content-Type", "text/plain; charset=utf-8"),), f"{text}\n".encode())
        self._send(Exchange(response), "GET", keep=False)


class _TooLarge(Exception):
    """A part of the request is larger than allowed: status and sentence."""


def encode(response: Response, method: str, *, keep: bool) -> tuple[bytes, bytes]:
    """Return head and body of a response as they go on the wire; HEAD, 204 and 304 have no body."""
    status = response.status
    lines = [b"HTTP/1.1 %d %s" % (status, _REASONS.get(status, b"Unknown"))]
    lines += [f"{name}: {value}".encode("latin-1", "replace") for name, value in response.headers]
    body = response.body
    if status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        body = b""
    else:
        lines.append(b"Content-Length: %d" % len(body))
    lines.append(b"Connection: keep-alive" if keep else b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n", b"" if method == "HEAD" else body
