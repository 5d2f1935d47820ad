"""The socket itself: HTTP in every legal shape, bytes that are no HTTP, and answers to clients that have gone."""

from __future__ import annotations

import gc
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from connector.clock import SystemClock
from connector.emulator.background import ServedEmulator, served
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions

HEALTH = b"GET /_emulator/health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[ServedEmulator]:
    folder: Path = tmp_path_factory.mktemp("emulator")
    with served(EmulatorOptions(seeded=2), SystemClock(), folder, keys) as one:
        yield one


@contextmanager
def connected(server: ServedEmulator) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=str(server.ca_file))
    port = int(server.url.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=120) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        yield wrapped


def answers(wire: ssl.SSLSocket, number: int) -> list[tuple[int, bytes]]:
    """Read this many answers; each is status and body."""
    data = b""
    found: list[tuple[int, bytes]] = []
    while len(found) < number:
        head, blank, rest = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0) if blank else 0
        if blank and len(rest) >= length:
            found.append((int(head[9:12]), rest[:length]))
            data = rest[length:]
            continue
        piece = wire.recv(65536)
        assert piece, f"the connection ended after {found} and {data!r}"
        data += piece
    return found


def test_one_connection_serves_many_requests_and_answers_in_order(server: ServedEmulator) -> None:
    with connected(server) as wire:
        wire.sendall(HEALTH + b"GET /_emulator/clock HTTP/1.1\r\nHost: x\r\n\r\n" + HEALTH)
        first, second, third = answers(wire, 3)
    assert b"status" in first[1]
    assert b"virtual" in second[1]
    assert b"status" in third[1]


def test_a_request_may_come_byte_by_byte(server: ServedEmulator) -> None:
    with connected(server) as wire:
        for byte in HEALTH:
            wire.sendall(bytes([byte]))
        assert answers(wire, 1)[0][0] == 200


def test_a_chunked_body_is_put_together(server: ServedEmulator) -> None:
    with connected(server) as wire:
        wire.sendall(
            b"PATCH /_emulator/limits HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b'8\r\n{"dop_hi\r\n7\r\nnt": 9}\r\n0\r\n\r\n'
        )
        status, body = answers(wire, 1)[0]
    assert (status, json.loads(body)["dop_hint"]) == (200, 9)


def test_a_client_that_asks_first_is_told_to_go_on(server: ServedEmulator) -> None:
    with connected(server) as wire:
        wire.sendall(b"POST /_emulator/clock HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert wire.recv(100).startswith(b"HTTP/1.1 100 ")
        wire.sendall(b"{}")
        assert answers(wire, 1)[0][0] == 200


def test_the_connection_ends_when_the_client_says_so(server: ServedEmulator) -> None:
    with connected(server) as wire:
        wire.sendall(HEALTH.replace(b"Host:", b"Connection: close\r\nHost:"))
        assert answers(wire, 1)[0][0] == 200
        assert wire.recv(1) == b""


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nLong: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_ended(
    server: ServedEmulator, sent: bytes, status: int
) -> None:
    with connected(server) as wire:
        wire.sendall(sent)
        assert answers(wire, 1)[0][0] == status
        assert wire.recv(1) == b""
    with connected(server) as wire:
        wire.sendall(HEALTH)
        assert answers(wire, 1)[0][0] == 200


def test_a_head_request_has_no_body(server: ServedEmulator) -> None:
    with connected(server) as wire:
        wire.sendall(b"HEAD /api/data/v9.2/WhoAmI HTTP/1.1\r\nHost: x\r\n\r\n" + HEALTH)
        head = wire.recv(65536)
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"\r\n\r\nHTTP/1.1 200" in head or head.endswith(b"\r\n\r\n")


def test_a_slow_request_is_done_although_its_client_has_gone(server: ServedEmulator) -> None:
    server.emulator.control.set_faults([{"do": "slow", "seconds": 0.2, "message": "token", "nth": 1}])
    before = server.emulator.journal.number
    with connected(server) as wire:
        wire.sendall(f"GET /{server.tenant_id}/discovery/keys HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        deadline = time.monotonic() + 120
        while server.emulator.journal.number == before and time.monotonic() < deadline:
            time.sleep(0.01)
    while not server.emulator.journal.entries(after=before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [entry.fault for entry in server.emulator.journal.entries(after=before)] == ["slow before"]


def test_stopping_waits_for_nothing_and_leaves_nothing_undone(
    tmp_path: Path, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    with served(EmulatorOptions(seeded=0), SystemClock(), tmp_path / "emulator", keys) as one:
        one.emulator.control.set_faults([{"do": "slow", "seconds": 3600, "message": "token"}])
        asks = f"GET /{one.tenant_id}/discovery/keys HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        with connected(one) as patient:
            patient.sendall(asks)
            with connected(one) as gone:
                gone.sendall(asks)
                deadline = time.monotonic() + 60
                while one.emulator.journal.number < 2 and time.monotonic() < deadline:
                    time.sleep(0.01)
            begun = one.emulator.journal.number, len(one.emulator.journal.entries())
    assert begun == (2, 0)
    assert [entry.status for entry in one.emulator.journal.entries()] == [200, 200]
    gc.collect()  # a task that was dropped while it waited would complain now
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
