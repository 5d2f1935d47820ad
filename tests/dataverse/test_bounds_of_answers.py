"""Answers that never end, grow without measure or come after others: a real socket, and what is read from it."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import repeat

import pytest

from connector.clock import VirtualClock
from connector.dataverse.answers import retry_after
from connector.dataverse.transport import MOST_BYTES, Network, Transport
from connector.errors import NotSent, Unanswered
from connector.handler import Request

Script = Callable[[socket.socket], None]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def listening(script: Script) -> Iterator[str]:
    """Let `script` answer each request on a port of this machine; gives the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, args=(server, script), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def accept(server: socket.socket, script: Script) -> None:
    with suppress(OSError):
        while True:
            connection, _ = server.accept()
            threading.Thread(target=answer, args=(connection, script), daemon=True).start()


def answer(connection: socket.socket, script: Script) -> None:
    with suppress(OSError), connection:
        while request(connection):
            script(connection)


def request(connection: socket.socket) -> bool:
    """Read one request without a body; returns whether there was one."""
    read = b""
    while b"\r\n\r\n" not in read:
        piece = connection.recv(65536)
        if not piece:
            return False
        read += piece
    return True


def sending(*pieces: bytes) -> Script:
    return lambda connection: connection.sendall(b"".join(pieces))


def dripping(head: bytes, drop: bytes) -> Script:
    """Send `head`, then a drop ever so often: no wait for bytes is long."""
    ended = threading.Event()

    def script(connection: socket.socket) -> None:
        connection.sendall(head)
        for _ in repeat(None):
            connection.sendall(drop)
            ended.wait(0.05)

    return script


HEAD = b"HTTP/1.1 200 OK\r\n"
DRIPS = {
    "a body": dripping(HEAD + b"Content-Length: 100000\r\n\r\n", b"x"),
    "chunks": dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "header fields": dripping(HEAD + b"X-Long: ", b"x"),
}


@pytest.mark.parametrize("script", DRIPS.values(), ids=DRIPS)
def test_an_answer_in_drips_ends_and_its_connection_is_free_again(script: Script) -> None:
    transport = Transport(Network(read_timeout=0.3, connections=1))
    with listening(script) as url:
        for _ in range(2):
            with pytest.raises(Unanswered):
                transport(Request("GET", url))
    transport.close()


def test_a_body_that_unpacks_without_measure_is_not_kept() -> None:
    packed = gzip.compress(b"0" * (MOST_BYTES + 1), 1)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with listening(sending(head, packed)) as url, pytest.raises(Unanswered, match="larger than 128 MiB"):
        Transport(Network())(Request("GET", url))


def test_an_answer_larger_than_its_kind_may_be_is_not_kept() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 << 20)
    with listening(sending(head, b"0" * (2 << 20))) as url, pytest.raises(Unanswered, match="larger than 1 MiB"):
        Transport(Network(), most_bytes=1 << 20)(Request("GET", url))


def test_interim_answers_are_passed_over() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    with listening(sending(hints, b"HTTP/1.1 100 Continue\r\n\r\n", hints, OK)) as url:
        transport = Transport(Network())
        for _ in range(2):
            response = transport(Request("GET", url))
            assert (response.status, response.body, response.header("link")) == (200, b"ok", None)
    transport.close()


def test_interim_answers_without_end_are_no_answer() -> None:
    with listening(sending(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)) as url, pytest.raises(Unanswered):
        Transport(Network(read_timeout=1))(Request("GET", url))


def test_one_connection_means_one() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def script(connection: socket.socket) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        connection.sendall(OK[:-1])
        with lock:
            now -= 1
        connection.sendall(OK[-1:])

    transport = Transport(Network(connections=1))
    with listening(script) as url:
        senders = [threading.Thread(target=transport, args=(Request("GET", url),)) for _ in range(8)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    assert most == 1
    transport.close()


def test_nothing_was_sent_when_no_connection_became_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.dataverse.pooled_adapter._QUEUE_SECONDS", 0.05)
    inside, done = threading.Event(), threading.Event()

    def script(connection: socket.socket) -> None:
        inside.set()
        done.wait(120)
        connection.sendall(OK)

    transport = Transport(Network(connections=1))
    with listening(script) as url:
        first = threading.Thread(target=transport, args=(Request("GET", url),))
        first.start()
        inside.wait(120)
        with pytest.raises(NotSent):
            transport(Request("GET", url))
        done.set()
        first.join()
    transport.close()


def test_a_date_as_retry_after_counts_from_now_where_the_answer_has_no_date() -> None:
    clock = VirtualClock()
    until = f"{clock.now().replace(microsecond=0):%a, %d %b %Y 23:59:59 GMT}"
    head = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nRetry-After: " + until.encode() + b"\r\n\r\n"
    with listening(sending(head)) as url:
        transport = Transport(Network(), clock=clock)
        wait = retry_after(transport(Request("GET", url)))
    assert wait is not None
    assert 0 < wait <= 86_400
    transport.close()
