"""The server of the endpoint: uvicorn with bounded heads and a quick stop.

A gateway in front may hold the same bounds; this is for where there is none, or where somebody is behind it.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import threading
from asyncio import TimerHandle
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import FrameType
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_REFUSALS: Mapping[int, bytes] = {
    HTTPStatus.REQUEST_TIMEOUT: b"Request Timeout",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: b"Request Header Fields Too Large",
}


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. `largest_head` is in bytes (the largest token of Entra is 16 KB), `head_seconds` for one head.

    `body_seconds` is for one body, read or not: whoever was answered before it ended keeps no connection with the rest.
    """

    largest_head: ClassVar[int] = 64 * 1024
    head_seconds: ClassVar[float] = 20.0
    body_seconds: ClassVar[float] = 45.0

    _head: int | None
    """Bytes of the head that is coming; None while a body is, or nothing."""
    _timer: TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what has come; a head that goes on and on is refused."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._await_head()  # empty lines, say, which begin no message and end the wait for one
        if self._head is None:
            return
        self._head += len(data)
        if self._head > self.largest_head:
            self._refuse(431)

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """End the head: the request begins, and its body."""
        self._head = None
        self._start_timer(self.body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the body."""
        self._stop_timer()
        super().on_message_complete()

    def _await_head(self) -> None:
        self._head = 0
        self._start_timer(self.head_seconds)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self._refuse, 408)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int) -> None:
        """Say why and hang up; whoever still has an answer to get on this connection gets it first."""
        self._stop_timer()
        if self._head is not None and (self.cycle is None or self.cycle.response_complete):
            line = b"HTTP/1.1 %d %s\r\n" % (status, _REFUSALS[status])
            self.transport.write(line + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()


_log = logging.getLogger("connector.service")


LONGEST_STOP = 17.0
"""Seconds after which the process ends though something still keeps it: everything accepted is in the store."""


def _give_up() -> None:
    _log.warning("Stopped while work was under way; it is taken up by another instance, or at the next start.")
    logging.shutdown()
    os._exit(0)


class EndpointServer(uvicorn.Server):
    """Answers those who wait before it stops: a poll of theirs reaches another instance, or the next start.

    `drain` tells them to ask again; `who` is a sentence on who may call, `public_url` where callers reach it if known.
    """

    def __init__(self, config: uvicorn.Config, drain: Callable[[], None], who: str, public_url: str = "") -> None:
        super().__init__(config)
        self._drain = drain
        self._who = who
        self._public_url = public_url

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as signals are handled
        """Let those who wait go, and stop: after `LONGEST_STOP` in any case, at once on a second Ctrl-C."""
        giving_up = threading.Timer(LONGEST_STOP, _give_up)
        giving_up.daemon = True
        giving_up.start()
        self._drain()
        self.force_exit = self.should_exit and sig != signal.SIGTERM  # which goes to the group too, and means one stop
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where: the port may have been left to the system."""
        await super().startup(sockets)
        gc.freeze()  # what was loaded stays
        gc.enable()
        for listening in (socket_ for server in self.servers for socket_ in server.sockets):
            address, port = listening.getsockname()[:2]
            shown = f"[{address}]" if ":" in address else address
            _log.info("Listening on http://%s:%d; %s", shown, port, self._who)
            base = self._public_url or f"http://{shown}:{port}"
            _log.info(
                "The operations page is %s/operations-page, the connector's definition "
                "%s/connector/apiDefinition.swagger.json, the tools for agents (MCP) %s/mcp, the state %s/readyz.",
                *[base] * 4,
            )
