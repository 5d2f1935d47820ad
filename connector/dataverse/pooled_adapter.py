"""The pooled adapter of requests, with bounds, and what its failures mean: the sentence, and whether a request arrived.

The bounds are how many connections there are, how long an answer may take, and what comes before it.

An answer may take twice the read timeout in all, whatever comes in drips, its header fields included. Interim answers
(1xx) are passed over, as RFC 9110 section 15.2 asks of every client; the standard library does so for 100 only.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    EmptyPoolError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
)
from urllib3.util.ssl_ import create_urllib3_context

from connector.errors import NotSent, TransportError, Unanswered

_MOST_INTERIM = 100
"""Interim answers before the final one: more are a loop."""
_QUEUE_SECONDS = 600.0
"""How long a request waits for a connection when all are in use."""


class Unconnected(OSError):
    """Connecting failed (the cause says how), so not one byte of a request has left."""


class BoundedReader(io.RawIOBase):
    """Reads from a socket until a moment; then it times out, however many bytes still come."""

    def __init__(self, raw: io.RawIOBase, connected: socket.socket, seconds: float) -> None:
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

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
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


_NEVER_CONNECTED = (
    Unconnected,
    EmptyPoolError,
    NewConnectionError,
    ConnectTimeoutError,
    requests.exceptions.ConnectTimeout,
)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and what it was made of.

    `__context__` is left out on purpose: inside a retry it leads to the failure of an earlier attempt.
    """
    queue, seen = [error], set[int]()
    while queue:
        current = queue.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        parts = (*current.args, getattr(current, "reason", None), current.__cause__)
        queue.extend(part for part in parts if isinstance(part, BaseException))


def transport_failure(error: BaseException, host: str) -> TransportError:
    """Return the failure of sending to `host` as one of ours."""
    causes = list(_causes(error))
    if any(isinstance(cause, _NEVER_CONNECTED) for cause in causes):
        return _not_sent(causes, host)
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        # Raised by requests before connecting: the CA file cannot be read.
        return _lasting(NotSent(f"No request was sent to {host}: {error}.", remedy="Check DATAVERSE_CA_FILE."))
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidProxyURL):
        return _lasting(NotSent(f"No request was sent: {error}.", remedy="Check DATAVERSE_URL and DATAVERSE_PROXY."))
    if isinstance(error, requests.exceptions.ReadTimeout):
        return Unanswered(
            f"{host} did not answer in time.",
            remedy="It may have been carried out: look again; DATAVERSE_READ_TIMEOUT sets how long to wait.",
        )
    return Unanswered(
        f"The connection to {host} was lost before an answer came.", remedy="It may have been carried out: look again."
    )


_UNCONNECTED_BECAUSE: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str, str], ...] = (
    (
        ssl.SSLError,
        "no TLS connection could be made with {host}.",
        "Check that DATAVERSE_URL names a host and port that speak https, and DATAVERSE_PROXY.",
    ),
    (
        (NameResolutionError, socket.gaierror),
        "the host {host} is not known.",
        "Check DATAVERSE_URL for a typing error (and DATAVERSE_AUTHORITY, if it is set), and your network.",
    ),
    (
        ConnectionRefusedError,
        "{host} refused the connection.",
        "Check host and port in DATAVERSE_URL (and DATAVERSE_AUTHORITY, if it is set), and whether it is running.",
    ),
    (
        (TimeoutError, ConnectTimeoutError),
        "{host} could not be reached in time.",
        "Check your network, firewall and DATAVERSE_PROXY.",
    ),
)
"""What kept a connection from being made, what to say of it, and what to do; the first that fits.

In urllib3 every failure to connect is also a ConnectTimeoutError, so that comes last.
"""


def _not_sent(causes: list[BaseException], host: str) -> NotSent:
    """Return the sentence for a connection that was never made, from the most telling of its causes."""
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _distrusted(cause, host)
        if isinstance(cause, ssl.SSLError) and cause.library in ("X509", "PEM"):
            return _lasting(
                NotSent(
                    "Nothing was sent: the file of certificate authorities holds no certificate that can be read.",
                    remedy="Check DATAVERSE_CA_FILE (or REQUESTS_CA_BUNDLE): it must be PEM text, with BEGIN "
                    "CERTIFICATE in it.",
                )
            )
    if any(isinstance(cause, ProxyError) for cause in causes):
        return _no_way(causes, host)
    for kinds, why, remedy in _UNCONNECTED_BECAUSE:
        if any(isinstance(cause, kinds) for cause in causes):
            return NotSent(f"Nothing was sent: {why.format(host=host)}", remedy=remedy)
    return NotSent(f"Nothing was sent: no connection to {host} could be made.", remedy="Check DATAVERSE_URL.")


_OUT_OF_DATE = frozenset({9, 10})
_OTHER_NAME = frozenset({62, 64})
"""OpenSSL's verification results: not yet valid, expired; another host name, another address (x509_vfy.h)."""


def _distrusted(error: ssl.SSLCertVerificationError, host: str) -> NotSent:
    remedy = (
        "Name the PEM file of its certificate authority in DATAVERSE_CA_FILE; behind a proxy that looks into TLS that "
        "is the proxy's authority."
    )
    if error.verify_code in _OUT_OF_DATE:
        remedy = "Check this machine's clock; if it is right, the owner of the host must renew the certificate."
    elif error.verify_code in _OTHER_NAME:
        remedy = "Check that DATAVERSE_URL has the host's own name, and that no proxy stands in for it."
    why = f"Nothing was sent: the certificate of {host} is not trusted ({error.verify_message.rstrip('.')})."
    return _lasting(NotSent(why, remedy=remedy))


_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")  # the words of the standard library's http.client


def _no_way(causes: list[BaseException], host: str) -> NotSent:
    """Return the sentence for a proxy that was not reached, wants something, or does not let us through."""
    refusals = (_TUNNEL.search(str(cause)) for cause in causes)
    status = next((int(refusal[1]) for refusal in refusals if refusal), 0)
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        remedy = (
            "Put them into DATAVERSE_PROXY, as in http://user:password@proxy.example.com:8080, or have the proxy let "
            "this machine through without."
        )
        return _lasting(NotSent("Nothing was sent: the proxy needs a user name and a password.", remedy=remedy))
    if status:
        failure = NotSent(
            f"Nothing was sent: the proxy gave no way to {host} (it answered {status}).",
            remedy="Have the proxy let this host through, or list it in NO_PROXY if it can be reached directly.",
        )
        return failure if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _lasting(failure)
    return NotSent(
        f"Nothing was sent: the proxy on the way to {host} could not be reached.",
        remedy="Check DATAVERSE_PROXY (or HTTPS_PROXY and NO_PROXY).",
    )


def _lasting(failure: NotSent) -> NotSent:
    """Return `failure`, marked as one that trying again cannot mend."""
    failure.transient = False
    return failure
