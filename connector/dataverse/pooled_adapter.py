"""The pooled adapter of requests, with bounds: how many connections, how long an answer may take, what comes before it.

An answer may take twice the read timeout in all, whatever comes in drips, its header fields included. Interim answers
(1xx) are passed over, as RFC 9110 section 15.2 asks of every client; the standard library does so for 100 only.
"""

from __future__ import annotations

import http.client
import io
import ssl
import threading
import time
from http import HTTPStatus
from pathlib import Path
from socket import socket
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util.ssl_ import create_urllib3_context

_MOST_INTERIM = 100
"""Interim answers before the final one: more are a loop."""
_QUEUE_SECONDS = 600.0
"""How long a request waits for a connection when all are in use."""


class Unconnected(OSError):
    """Connecting failed (the cause says how), so not one byte of a request has left."""


class BoundedReader(io.RawIOBase):
    """Reads from a socket until a moment; then it times out, however many bytes still come."""

    def __init__(self, raw: io.RawIOBase, connected: socket, seconds: float) -> None:
        self._raw = raw
        self._socket = connected
        self._ends = time.monotonic() + seconds

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what there is into `buffer`. Raises TimeoutError when the time is over."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long in all")
        timeout = self._socket.gettimeout()
        if timeout is None or timeout > left:
            self._socket.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Close what it reads from."""
        self._raw.close()
        super().close()


class _FinalResponse(http.client.HTTPResponse):
    """An answer that is read within twice the read timeout; interim ones before it are passed over."""

    def __init__(self, sock: socket, debuglevel: int = 0, method: str | None = None, url: str | None = None) -> None:
        super().__init__(sock, debuglevel, method, url)
        timeout = sock.gettimeout()
        if timeout is not None:
            reader = BoundedReader(self.fp.detach(), sock, 2 * timeout)
            self.fp = io.BufferedReader(reader)

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MOST_INTERIM):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # private, as begin() is not to be copied
            if not HTTPStatus.CONTINUE <= status < HTTPStatus.OK or status == http.client.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.BadStatusLine("interim answers without end")


class _TransportConnection:
    """Tells a failure while connecting from one in the middle: those of TLS are the same exception in urllib3."""

    response_class = _FinalResponse

    def connect(self) -> None:
        try:
            super().connect()  # type: ignore[misc]  # of the connection beside it
        except (OSError, HTTPError) as error:
            raise Unconnected(str(error)) from error


class _Http(_TransportConnection, HTTPConnection):  # type: ignore[misc]  # the answer class is ours
    pass


class _Https(_TransportConnection, HTTPSConnection):  # type: ignore[misc]  # the same
    pass


class _Bounded:
    """A pool in which a request waits for a connection, and not for ever. Raises EmptyPoolError."""

    def _get_conn(self, timeout: float | None = None) -> Any:
        return super()._get_conn(timeout or _QUEUE_SECONDS)  # type: ignore[misc]  # of the pool beside it


class _HttpPool(_Bounded, HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(_Bounded, HTTPSConnectionPool):
    ConnectionCls = _Https


_POOLS = {"http": _HttpPool, "https": _HttpsPool}


class PooledAdapter(HTTPAdapter):
    """The adapter of requests, with connections that tell when they could not be made. It re-sends nothing.

    No more than `connections` are open to one host; a request that finds all in use waits for one. The certificate
    authorities are read once: left to requests they are read for each connection, which takes longer than all the rest.
    """

    def __init__(self, ca_file: Path | None, connections: int) -> None:
        self._ca_file = ca_file
        self._trust: ssl.SSLContext | None = None
        self._reading = threading.Lock()
        super().__init__(pool_connections=8, pool_maxsize=connections, pool_block=True)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: bool | str, cert: tuple[str, str] | str | None = None
    ) -> tuple[Any, Any]:
        """Return what tells pools apart, with the one TLS context among it."""
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https":
            pool["ssl_context"] = self._context()
        return host, pool

    def cert_verify(self, conn: object, url: str, verify: object, cert: object) -> None:
        """Leave the connection as it is: its TLS context says what it trusts."""

    def _context(self) -> ssl.SSLContext:
        with self._reading:
            if self._trust is None:
                context = create_urllib3_context()
                try:
                    context.load_verify_locations(self._ca_file or requests.utils.DEFAULT_CA_BUNDLE_PATH)
                except ssl.SSLError as error:  # the file is there and holds no certificate
                    raise Unconnected(str(error)) from error
                self._trust = context
            return self._trust

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False) -> None:  # type: ignore[override]
        super().init_poolmanager(connections, maxsize, block)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str) -> PoolManager:  # type: ignore[override] # the same
        trust = {"proxy_ssl_context": self._context()} if proxy.lower().startswith("https:") else {}
        manager: PoolManager = super().proxy_manager_for(proxy, **trust)
        manager.pool_classes_by_scheme = _POOLS
        return manager
