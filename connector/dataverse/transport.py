"""A Handler made of requests: pooled connections, no cookies, no redirects, timeouts and trust stated explicitly.

Requests go to the pooled adapter directly, which halves the cost of a `requests.Session` and keeps environment
variables out of it: `REQUESTS_CA_BUNDLE` silently beats a session's own `verify`, so what to trust and which proxy to
use are arguments here, taken from the settings.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import format_datetime
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import (
    ConnectTimeoutError,
    EmptyPoolError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
)

from connector.clock import Clock, SystemClock
from connector.dataverse.pooled_adapter import PooledAdapter, Unconnected
from connector.errors import NotSent, TransportError, Unanswered
from connector.handler import Request, Response

MOST_BYTES = 128 << 20
"""Bytes of an answer, decompressed: the largest that is asked for, a page of 5,000 whole rows, has a tenth of it."""
_PIECE = 1 << 20
_NO_ADAPTERS: Mapping[str, BaseAdapter] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Network:
    """How to get out: whom to trust, through which proxy, how long to wait, how many connections to keep.

    `ca_file` replaces the public certificate authorities. `proxy` is a URL, `no_proxy` the usual comma-separated list
    of hosts that need none. The timeouts are in seconds: the read timeout bounds each wait for bytes and exceeds the
    two minutes after which the service ends an operation; a whole answer may take twice as long. `connections` is how
    many are open to one host at most.
    """

    ca_file: Path | None = None
    proxy: str = ""
    no_proxy: str = ""
    connect_timeout: float = 10.0
    read_timeout: float = 150.0
    connections: int = 416
    user_agent: str = "dataverse-close-connector"


class Transport:
    """Sends requests over the network; `adapters` answer for the URL prefixes they are mounted on instead.

    Raises NotSent when no connection was made, Unanswered when the request may have arrived and no complete answer
    came, or one of more than `most_bytes`.
    """

    def __init__(
        self,
        network: Network,
        adapters: Mapping[str, BaseAdapter] = _NO_ADAPTERS,
        clock: Clock | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._most_bytes = most_bytes
        self._network = network
        self._clock = clock or SystemClock()
        self._adapters = dict(sorted(adapters.items(), key=lambda mounted: -len(mounted[0])))
        self._pooled = PooledAdapter(network.ca_file, network.connections)

    def __call__(self, request: Request) -> Response:
        """Return the response to `request`, read to its end; a redirect is returned, never followed."""
        prepared = self._prepare(request)
        host = urlsplit(request.url).hostname or ""
        reading = request.timeout or self._network.read_timeout
        timeout = (min(self._network.connect_timeout, reading), reading)
        try:
            answer = self._adapter(request.url).send(prepared, timeout=timeout, proxies=self._proxies(request.url))
        except (OSError, HTTPError) as error:  # every requests.RequestException is an OSError
            raise _failure(error, host) from error
        try:
            body = _body_of(answer, host, self._most_bytes)
        except (OSError, HTTPError, ValueError) as error:  # ValueError: a piece of a length below nothing
            raise Unanswered(
                f"The answer of {host} broke off before its end.", remedy="It may have been carried out: look again."
            ) from error
        finally:
            answer.close()
        headers = tuple(_headers(answer))
        if not any(name.lower() == "date" for name, _ in headers):  # RFC 9110, 6.6.1: then the recipient's clock counts
            headers = (*headers, ("Date", format_datetime(self._clock.now(), usegmt=True)))
        return Response(answer.status_code, headers, body)

    def close(self) -> None:
        """Close all connections and the mounted adapters."""
        self._pooled.close()
        for adapter in self._adapters.values():
            adapter.close()

    def _prepare(self, request: Request) -> requests.PreparedRequest:
        headers = {"user-agent": self._network.user_agent, "accept-encoding": "gzip, deflate", **request.headers}
        if request.body:
            headers["content-length"] = str(len(request.body))
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url = request.method, request.url
        prepared.headers = CaseInsensitiveDict(headers)
        prepared.body = request.body or None
        return prepared

    def _adapter(self, url: str) -> BaseAdapter:
        mounted = (adapter for prefix, adapter in self._adapters.items() if url.startswith(prefix))
        return next(mounted, self._pooled)

    def _proxies(self, url: str) -> dict[str, str]:
        parts = urlsplit(url)
        if not self._network.proxy or bypasses_proxy(parts.hostname or "", parts.port, self._network.no_proxy):
            return {}
        return {parts.scheme: self._network.proxy}


def bypasses_proxy(host: str, port: int | None, no_proxy: str) -> bool:
    """Return whether `host` is reached directly: this machine, link-local addresses, and what `no_proxy` lists.

    An entry is `*`, a host or domain (with or without a leading dot, subdomains included), an address or network, each
    with an optional port.
    """
    address = _address(host)
    if host == "localhost" or (address and (address.is_loopback or address.is_link_local)):
        return True
    for entry in filter(None, (part.strip().lower() for part in no_proxy.split(","))):
        if entry == "*":
            return True
        if address and _in_network(str(address), entry):
            return True
        name, _, wanted_port = entry.partition(":")
        domain = name.removeprefix("*").lstrip(".")
        fits = bool(domain) and (host == domain or host.endswith(f".{domain}"))
        if fits and wanted_port in ("", str(port or 443)):
            return True
    return False


def _address(host: str) -> Any:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _in_network(address: str, entry: str) -> bool:
    try:
        return ip_address(address) in ip_network(entry, strict=False)
    except ValueError:
        return False


def _body_of(answer: requests.Response, host: str, most: int) -> bytes:
    """Return the body, decompressed. Raises Unanswered when it is too large to be an answer."""
    pieces, size = [], 0
    while piece := answer.raw.read(_PIECE, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise Unanswered(
                f"The answer of {host} is larger than {most >> 20} MiB and was not read to its end.",
                remedy="It may have been carried out: look again. Check the network and proxies between this machine "
                "and the organization.",
            )
    return b"".join(pieces)


def _headers(answer: requests.Response) -> Iterator[tuple[str, str]]:
    """Yield headers as received; `requests` would join repeated ones into one."""
    received = getattr(answer.raw, "headers", None) or answer.headers
    yield from received.items()


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


def _failure(error: BaseException, host: str) -> TransportError:
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
