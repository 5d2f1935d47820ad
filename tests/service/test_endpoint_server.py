"""Over a real connection: what never ends is ended, and what is no HTTP does no harm."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, ClassVar, cast

import pytest
import uvicorn
from fastapi import FastAPI

from connector.service.endpoint_server import BoundedHttpProtocol
from tests.service.process import PATIENCE, until
from tests.service.stage import Stage


async def greeting(scope: Any, receive: Any, send: Any) -> None:
    """Read the body and say how long it was; at `/early` do not read it."""
    assert scope["type"] == "http"
    length, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = str(length).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Hasty(BoundedHttpProtocol):
    """A connection that waits for no head for long."""

    head_seconds: ClassVar[float] = 0.3


class HastyWithBodies(Hasty):
    """A connection that waits for no body for long either."""

    body_seconds: ClassVar[float] = 0.3


@pytest.fixture(params=[BoundedHttpProtocol])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Return the port of a server with the protocol that is asked for."""
    config = uvicorn.Config(greeting, port=0, http=request.param, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        until(lambda: server.started)
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(60)


def talk(port: int, *pieces: bytes) -> bytes:
    """Send the pieces and return everything that comes until the other side hangs up."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as connection:
        received = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
            while piece := connection.recv(65536):
                received += piece
        except (ConnectionResetError, BrokenPipeError):
            pass  # it hung up while more was on the way
        return received


@contextmanager
def answered(port: int, sent: bytes) -> Iterator[socket.socket]:
    """Send a request and give the connection when it has been answered.

    Again and again, where this machine is too busy to send it in the short time that there is for a head.
    """
    ends, answer = time.monotonic() + PATIENCE, b""
    while not answer.startswith(b"HTTP/1.1 200"):
        assert time.monotonic() < ends, answer
        with closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as connection:
            with suppress(ConnectionResetError, BrokenPipeError):
                connection.sendall(sent)
                answer = connection.recv(65536)
            if answer.startswith(b"HTTP/1.1 200"):
                yield connection


HEAD = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"


def test_a_request_comes_through(port: int) -> None:
    answer = talk(port, HEAD + b"content-length: 5\r\n\r\n", b"he", b"llo")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n5")


def test_a_token_of_the_largest_size_comes_through(port: int) -> None:
    answer = talk(port, HEAD + b"authorization: Bearer " + b"x" * 16_384 + b"\r\ncontent-length: 0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "endless", [b"a: " + b"x" * 1024, b"x" * 1024, b"a: b\r\n" * 128], ids=["one value", "one name", "many headers"]
)
def test_a_head_that_never_ends_is_refused(port: int, endless: bytes) -> None:
    answer = talk(port, HEAD, *[endless] * 512)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))


def test_an_address_that_never_ends_is_refused(port: int) -> None:
    answer = talk(port, b"GET /", *[b"x" * 1024] * 512)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("port", [Hasty], indirect=True)
@pytest.mark.parametrize("sent", [b"", b"GET / HT", HEAD])
def test_a_head_that_does_not_come_is_not_waited_for(port: int, sent: bytes) -> None:
    assert talk(port, sent).startswith(b"HTTP/1.1 408")


EARLY = b"POST /early HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize("port", [HastyWithBodies], indirect=True)
@pytest.mark.parametrize(
    ("sent", "more"),
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\r\n"),
        (EARLY + b"content-length: 60000\r\n\r\n", b"x"),
        (EARLY + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (EARLY + b"transfer-encoding: chunked\r\n\r\n1;", b"x"),
    ],
    ids=["empty lines", "a body", "chunks", "an extension of a chunk"],
)
def test_who_was_answered_keeps_no_connection_by_sending_on(port: int, sent: bytes, more: bytes) -> None:
    with answered(port, sent) as connection:
        connection.settimeout(0.05)
        for _ in range(1000):
            try:
                connection.sendall(more)
                if not connection.recv(65536):
                    return
            except TimeoutError:
                continue
            except OSError:
                return
    pytest.fail("it is kept")


@pytest.mark.parametrize("port", [Hasty], indirect=True)
def test_a_body_may_take_longer_than_a_head(port: int) -> None:
    for _ in range(100):  # a machine may be too busy to send the head itself in that time: once is enough
        with (
            closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as connection,
            suppress(ConnectionError),
        ):
            connection.sendall(HEAD + b"content-length: 1\r\n\r\n")
            if select.select([connection], [], [], 1.0)[0]:
                continue  # it was not waited for
            connection.sendall(b"x")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            return
    pytest.fail("it is waited for no longer")


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost : x\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_and_the_next_one_is_answered(port: int, noise: bytes) -> None:
    assert talk(port, noise).startswith(b"HTTP/1.1 400")
    assert talk(port, HEAD + b"content-length: 0\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_a_body_that_does_not_come_is_not_waited_for(stage: Stage) -> None:
    """And nothing of it is kept: what came of it is no request."""
    opportunity = stage.opportunity(1)
    with stage.client(body_seconds=0.05) as client:
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": f"/opportunities/{opportunity}/close", "raw_path": b"", "query_string": b"", "root_path": "",
            "headers": [(b"host", b"localhost:8080"), (b"content-length", b"30")],
            "client": ("127.0.0.1", 50000), "server": ("localhost", 8080), "state": {},
        }  # fmt: skip
        told: list[Any] = []
        pieces = [{"type": "http.request", "body": b'{"outcome', "more_body": True}]

        async def receive() -> Any:
            return pieces.pop() if pieces else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            told.append(message)

        asyncio.run(cast("FastAPI", client.app)(scope, receive, send))
    assert told[0]["status"] == 408
    assert (b"connection", b"close") in told[0]["headers"]
    assert stage.ledger.database.rows("SELECT COUNT(*) FROM job") == [(0,)]
