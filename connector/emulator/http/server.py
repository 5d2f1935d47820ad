"""The socket face: one port with TLS, served in one thread on asyncio."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

from connector.emulator.http.exchange import Core
from connector.emulator.http.tls import ExtraMissing

if TYPE_CHECKING:
    from connector.emulator.http.connection import Connection

_PATIENCE = 10
"""Hundredths of a second a client has to close its side when the server stops."""
_SWEEP = 5.0
"""Seconds between two looks for clients that send too slowly."""


class Server:
    """Listens on a bound socket and serves one core."""

    def __init__(self, core: Core, origin: str, tls: ssl.SSLContext) -> None:
        self._core = core
        self._origin = origin
        self._tls = tls
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None

    async def start(self, sock: socket.socket) -> None:
        """Begin to accept connections on `sock`; raises OSError when it cannot, ExtraMissing without httptools."""
        try:
            from connector.emulator.http.connection import Connection
        except ModuleNotFoundError as error:
            raise ExtraMissing(error) from error

        def connection() -> Connection:
            return Connection(self._core, self._origin, self._connections, self._tasks)

        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(connection, sock=sock, ssl=self._tls, backlog=512)
        self._sweep = loop.call_later(_SWEEP, self._cut_slow)

    async def stop(self) -> None:
        """Accept nothing more, let answers under way go out for a second, and end every connection.

        Requests whose time has not come are left to the core, which executes them when it closes.
        """
        if self._server is not None:
            self._server.close()
        if self._sweep is not None:
            self._sweep.cancel()
        await self._end_connections()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _end_connections(self) -> None:
        for tick in range(100):
            for connection in [connection for connection in self._connections if connection.idle]:
                if tick < _PATIENCE:
                    connection.close()
                else:
                    connection.abort()
            await asyncio.sleep(0.01)  # also lets the loop dispose of connections that were reset
            if not self._connections:
                return
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0.01)

    def _cut_slow(self) -> None:
        loop = asyncio.get_running_loop()
        for connection in list(self._connections):
            connection.cut_slow(loop.time())
        self._sweep = loop.call_later(_SWEEP, self._cut_slow)


def listening(host: str, port: int) -> socket.socket:
    """Return a socket bound to `host` and `port` (0 picks a free one); raises OSError when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    # Windows has another meaning of SO_REUSEADDR: two programs may then listen on one port.
    alone = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR if alone is None else alone, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by accepted connections
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
