"""A load for one server: prepared requests over a few connections, kept open where the server keeps them."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit


class _Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last is complete, until there is none or the server closes."""

    def __init__(self, work: deque[bytes], statuses: dict[int, int], done: asyncio.Future[None]) -> None:
        self._work = work
        self._statuses = statuses
        self._done = done
        self._had = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._had += data
        head, found, body = self._had.partition(b"\r\n\r\n")
        fields = head.lower()
        if not found or not _whole(fields, body):
            return
        self._had = b""
        status = int(head[9:12])
        self._statuses[status] = self._statuses.get(status, 0) + 1
        if b"\r\nconnection: close" in fields:
            self._end()
        else:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("The server closed the connection before it answered."))

    def _next(self) -> None:
        if self._work:
            self._transport.write(self._work.popleft())
        else:
            self._end()

    def _end(self) -> None:
        if not self._done.done():
            self._done.set_result(None)
        self._transport.close()


def _whole(fields: bytes, body: bytes) -> bool:
    """Return whether a body is complete; `fields` is the head of the answer in lower case."""
    if b"\r\ntransfer-encoding: chunked" in fields:
        return body.endswith(b"0\r\n\r\n")
    at = fields.find(b"content-length:")
    return at < 0 or len(body) >= int(fields[at + 15 :].split(b"\r\n", 1)[0])


def request(method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """Return a request as it goes on the wire."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}", *(f"{k}: {v}" for k, v in headers.items())]
    if body or method != "GET":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def play(origin: str, ca_file: Path | None, requests: Sequence[bytes], connections: int = 8) -> Mapping[int, int]:
    """Send the requests and return how often each status was answered; raises OSError when a connection breaks.

    A server that closes after each answer is connected to again, as its clients have to.
    """
    return asyncio.run(_play(origin, ca_file, deque(requests), connections))


async def _play(origin: str, ca_file: Path | None, work: deque[bytes], connections: int) -> Mapping[int, int]:
    parts = urlsplit(origin)
    context = ssl.create_default_context(cafile=str(ca_file)) if ca_file else None
    loop = asyncio.get_running_loop()
    statuses: dict[int, int] = {}

    async def one_after_another() -> None:
        while work:
            end = loop.create_future()
            await loop.create_connection(
                functools.partial(_Connection, work, statuses, end), parts.hostname or "", parts.port or 0, ssl=context
            )
            await end

    await asyncio.gather(*[one_after_another() for _ in range(connections)])
    return statuses
