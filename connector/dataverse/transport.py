"""A Handler made of requests: pooled connections, no cookies, no redirects, timeouts and trust stated explicitly.

Requests go to the pooled adapter directly, which halves the cost of a `requests.Session` and keeps environment
variables out of it: `REQUESTS_CA_BUNDLE` silently beats a session's own `verify`, so what to trust and which proxy to
use are arguments here, taken from the settings.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import format_datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from connector.clock import Clock, SystemClock
from connector.errors import Unanswered
from connector.handler import Request, Response

if TYPE_CHECKING:
    import requests
    from requests.adapters import BaseAdapter

    from connector.dataverse.pooled_adapter import PooledAdapter

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
        self._pooled: PooledAdapter | None = None
        self._making = threading.Lock()

    def __call__(self, request: Request) -> Response:
        """Return the response to `request`, read to its end; a redirect is returned, never followed."""
        from urllib3.exceptions import HTTPError  # with the first request: an endpoint is ready before that

        prepared = self._prepare(request)
        host = urlsplit(request.url).hostname or ""
        reading = request.timeout or self._network.read_timeout
        timeout = (min(self._network.connect_timeout, reading), reading)
        try:
            answer = self._adapter(request.url).send(prepared, timeout=timeout, proxies=self._proxies(request.url))
        except (OSError, HTTPError) as error:  # every requests.RequestException is an OSError
            from connector.dataverse.pooled_adapter import transport_failure

            raise transport_failure(error, host) from error
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
        if self._pooled is not None:
            self._pooled.close()
        for adapter in self._adapters.values():
            adapter.close()

    def _prepare(self, request: Request) -> requests.PreparedRequest:
        from requests import PreparedRequest
        from requests.structures import CaseInsensitiveDict

        headers = {"user-agent": self._network.user_agent, "accept-encoding": "gzip, deflate", **request.headers}
        if request.body:
            headers["content-length"] = str(len(request.body))
        prepared = PreparedRequest()
        prepared.method, prepared.url = request.method, request.url
        prepared.headers = CaseInsensitiveDict(headers)
        prepared.body = request.body or None
        return prepared

    def _adapter(self, url: str) -> BaseAdapter:
        mounted = (adapter for prefix, adapter in self._adapters.items() if url.startswith(prefix))
        return next(mounted, None) or self._own_adapter()

    def _own_adapter(self) -> PooledAdapter:
        from connector.dataverse.pooled_adapter import PooledAdapter

        with self._making:
            if self._pooled is None:
                self._pooled = PooledAdapter(self._network.ca_file, self._network.connections)
            return self._pooled

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
