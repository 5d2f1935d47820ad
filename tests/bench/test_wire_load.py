from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from scripts.benchmarks.wire_load import play, request

Answers = Callable[[socket.socket], None]
Serve = Callable[[Answers], str]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
IN_PIECES = (b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", b"0\r\n\r\n")


@pytest.fixture
def serve() -> Iterator[Serve]:
    listeners: list[socket.socket] = []

    def start(answer: Answers) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=_accept, args=(listener, answer), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.close()


def _accept(listener: socket.socket, answer: Answers) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            answer(connection)


def _keeping(connection: socket.socket) -> None:
    while connection.recv(4096):
        connection.sendall(OK)


def _closing(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(CLOSING)


def _in_pieces(connection: socket.socket) -> None:
    while connection.recv(4096):
        for piece in IN_PIECES:
            connection.sendall(piece)


def _silent(connection: socket.socket) -> None:
    connection.recv(4096)


@pytest.mark.parametrize(("answer", "status"), [(_keeping, 200), (_closing, 200), (_in_pieces, 201)])
def test_every_request_is_answered_however_the_server_ends_its_answers(
    serve: Serve, answer: Answers, status: int
) -> None:
    origin = serve(answer)
    assert play(origin, None, [request("GET", f"{origin}/x", {})] * 20, connections=1) == {status: 20}


def test_a_server_that_closes_without_an_answer_is_an_error(serve: Serve) -> None:
    origin = serve(_silent)
    with pytest.raises(ConnectionError):
        play(origin, None, [request("GET", f"{origin}/x", {})], connections=1)
