"""The in-process face: an adapter for requests' sessions that calls the emulator with no socket.

    session.mount("https://org.emulator.invalid", EmulatorAdapter(emulator))

Cuts become the exceptions that requests itself raises for them, and a timeout is a timeout of the emulator's clock.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.client import HTTPMessage, RemoteDisconnected

import requests
from requests.adapters import BaseAdapter
from requests.cookies import extract_cookies_to_jar
from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.exceptions import IncompleteRead, ProtocolError

from connector.emulator.http.exchange import Core, Exchange, PendingRequest
from connector.handler import Request, Response


class EmulatorAdapter(BaseAdapter):
    """Sends prepared requests to a core. `sleep` waits as the emulator's clock does. Safe from several threads."""

    def __init__(self, core: Core, sleep: Callable[[float], None]) -> None:
        super().__init__()
        self._core = core
        self._sleep = sleep

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Answer `request`; raises ConnectionError, ReadTimeout or ChunkedEncodingError as on a network."""
        del stream, verify, cert, proxies
        limit = timeout[1] if isinstance(timeout, tuple) else timeout
        begun = self._core.begin(_plain(request))
        exchange = self._wait(begun, limit, request)
        if exchange.cut == "reset":
            reset = ConnectionResetError(104, "Connection reset by peer")
            raise requests.ConnectionError(ProtocolError("Connection aborted.", reset), request=request)
        return _response(exchange, request)

    def close(self) -> None:
        """Do nothing: there is no connection to close."""

    def _wait(self, begun: PendingRequest, limit: float | None, request: requests.PreparedRequest) -> Exchange:
        """Let the emulator's time pass and execute; what a client gave up on is executed when its time comes."""
        if limit is not None and begun.delay > limit:
            self._core.abandon(begun)
            self._sleep(limit)
            raise requests.ReadTimeout(f"Read timed out. (read timeout={limit})", request=request)
        self._sleep(begun.delay)
        exchange = self._core.finish(begun)
        if limit is not None and begun.delay + exchange.hold > limit:
            self._sleep(limit - begun.delay)
            raise requests.ReadTimeout(f"Read timed out. (read timeout={limit})", request=request)
        self._sleep(exchange.hold)
        return exchange


def _plain(request: requests.PreparedRequest) -> Request:
    body = request.body or b""
    if isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes):
        body = b"".join(body) if not hasattr(body, "read") else body.read()
    headers = {
        name.lower(): value if isinstance(value, str) else value.decode("latin-1")
        for name, value in request.headers.items()
    }
    return Request(request.method or "GET", request.url or "", headers, body)


def _response(exchange: Exchange, request: requests.PreparedRequest) -> requests.Response:
    answer, body = exchange.response, exchange.response.body
    if request.method == "HEAD" or answer.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        body = b""
    if exchange.cut == "truncate":
        if not body:
            gone = RemoteDisconnected("Remote end closed connection without response")
            raise requests.ConnectionError(ProtocolError("Connection aborted.", gone), request=request)
        arrived = len(body) // 2
        broken = ProtocolError(
            f"Connection broken: IncompleteRead({arrived} bytes read)", IncompleteRead(arrived, len(body) - arrived)
        )
        raise requests.exceptions.ChunkedEncodingError(broken, request=request)
    response = requests.Response()
    response.status_code = int(answer.status)
    response.headers = requests.structures.CaseInsensitiveDict(_joined(answer))
    response.request = request
    response.url = request.url or ""
    response.encoding = requests.utils.get_encoding_from_headers(response.headers)
    response.raw = _raw(answer, body)
    response._content = body
    if any(name == "Set-Cookie" for name, _ in answer.headers):
        extract_cookies_to_jar(response.cookies, request, response.raw)  # type: ignore[no-untyped-call]  # no stubs
    return response


def _joined(answer: Response) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in answer.headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _raw(answer: Response, body: bytes) -> HTTPResponse:
    """Return what requests takes cookies from, with the headers as they came."""
    message = HTTPMessage()
    for name, value in answer.headers:
        if name == "Set-Cookie":
            message[name] = value
    raw = HTTPResponse(
        io.BytesIO(body), headers=HTTPHeaderDict(answer.headers), status=answer.status, preload_content=False
    )
    raw._original_response = _Original(message)  # type: ignore[assignment]
    return raw


class _Original:
    """As much of http.client's response as the cookie jar reads."""

    def __init__(self, message: HTTPMessage) -> None:
        self.msg = message

    def isclosed(self) -> bool:
        """Return True: everything has been read."""
        return True

    def close(self) -> None:
        """Do nothing."""
