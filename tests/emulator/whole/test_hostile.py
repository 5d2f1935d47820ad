"""What must not bring the emulator down, nor make it acknowledge what it did not keep."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.clock import SystemClock, VirtualClock
from connector.emulator.background import ServedEmulator, served
from connector.emulator.http import connection as connection_module
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.emulator.world.schema_file import load_schema
from connector.emulator.world.store import Store, StoreError
from connector.emulator.world.world import Invocation
from tests.emulator.whole.face import Face, session_for
from tests.emulator.whole.test_wire import HEALTH, answers, connected

OPPORTUNITY = "00000003-0000-4000-8000-000000000004"
BOUNDARY = {"Content-Type": "multipart/mixed; boundary=b"}


@pytest.fixture
def on_file(tmp_path: Path, keys: Keys) -> Iterator[Face]:
    """An emulator on a socket whose rows are in a file."""
    options = EmulatorOptions(path=tmp_path / "rows.db", seeded=20)
    with served(options, SystemClock(), tmp_path / "emulator", keys) as one:
        session = session_for(str(one.ca_file))
        made = Face(session, one.emulator, one.url, one.authority, one.client_id, one.client_secret)
        made.sign_in()
        yield made
        session.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Iterator[ServedEmulator]:
    folder: Path = tmp_path_factory.mktemp("emulator")
    with served(EmulatorOptions(seeded=2), VirtualClock(), folder, keys) as one:
        yield one


def lose(face: Face, opportunity: str = OPPORTUNITY) -> int:
    body = {"OpportunityClose": {"opportunityid@odata.bind": f"/opportunities({opportunity})"}, "Status": 4}
    return face.post("LoseOpportunity", body).status_code


def test_a_full_disk_is_a_failure_that_leaves_nothing_behind(on_file: Face) -> None:
    face = on_file
    db = face.emulator.organization.store.db
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")
    acknowledged = 0
    for number in range(200):
        answer = face.post("opportunities", {"name": f"Filling {number}", "description": "x" * 1900})
        if answer.status_code != 204:
            break
        acknowledged += 1
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "0x80044150")
    found = face.get("opportunities?$count=true&$top=1&$select=name&$filter=startswith(name,'Filling')").json()
    assert found["@odata.count"] == acknowledged
    db.execute("PRAGMA max_page_count = 1000000")
    assert lose(face) == 204
    assert face.control("GET", "closes").json()[-1]["closes"] == 1


def test_a_disk_that_fills_up_at_the_commit_undoes_the_whole_transaction(tmp_path: Path) -> None:
    store = Store(tmp_path / "rows.db", load_schema())
    store.db.execute("PRAGMA cache_size = 10")
    with store.transaction():
        store.insert("account", {"accountid": "a", "name": "Before"})
    store.db.execute(f"PRAGMA max_page_count = {store.db.execute('PRAGMA page_count').fetchone()[0]}")

    def fill() -> None:
        with store.transaction():
            for number in range(500):
                store.insert("account", {"accountid": f"b{number}", "name": "x" * 150})

    with pytest.raises(Exception, match="full"):
        fill()
    store.db.execute("PRAGMA max_page_count = 1000000")
    with store.transaction():
        store.insert("account", {"accountid": "c", "name": "After"})
    assert store.rows("SELECT accountid FROM account ORDER BY 1") == [("a",), ("c",)]
    store.close()


def test_two_processes_on_one_file_never_give_the_same_version_number(tmp_path: Path) -> None:
    one, other = (Store(tmp_path / "rows.db", load_schema()) for _ in range(2))
    versions = []
    for number in range(6):
        store = (one, other)[number % 2]
        with store.transaction():
            versions.append(store.insert("account", {"accountid": f"a{number}", "name": "x"}))
    assert versions == sorted(set(versions))
    one.close()
    other.close()


def test_a_file_of_another_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    store = Store(tmp_path / "rows.db", load_schema())
    store.db.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(StoreError, match="store version 99, wanted 2"):
        Store(tmp_path / "rows.db", load_schema())


def test_a_defect_is_answered_500_without_a_traceback_and_serving_goes_on(
    on_file: Face, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_invocation: Invocation) -> None:
        raise ZeroDivisionError("a secret of the inside")

    on_file.emulator.organization.world.hooks.append(broken)
    with caplog.at_level(logging.ERROR):
        answer = on_file.post("opportunities", {"name": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "0x80040216")
    assert "secret" not in answer.text
    assert "ZeroDivisionError" in caplog.text
    on_file.emulator.organization.world.hooks.remove(broken)
    assert lose(on_file) == 204


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"--b--\r\n", b"--b\r\n--b--\r\n", b"--c\r\n\r\n", b"--b\r\n" * 3000, b"\xff" * 99]
)
@pytest.mark.parametrize("headers", [{}, BOUNDARY, {"Content-Type": "multipart/mixed"}, {"Content-Type": "text/plain"}])
def test_a_batch_that_is_none_is_refused_as_json(face: Face, body: bytes, headers: dict[str, str]) -> None:
    face.sign_in()
    answer = face.session.post(f"{face.api}$batch", data=body, headers=headers, timeout=120)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"].startswith("0x8")


def test_one_operation_too_many_is_refused_whole(on_file: Face) -> None:
    part = (
        "--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        'POST opportunities HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{"name":"x"}\r\n'
    )
    body = (part * 1001 + "--b--\r\n").encode()
    answer = on_file.session.post(f"{on_file.api}$batch", data=body, headers=BOUNDARY, timeout=120)
    assert answer.status_code == 400
    assert "'1000' operations" in answer.json()["error"]["message"]
    assert on_file.control("GET", "health").json()["rows"]["opportunity"] == 20


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("estimatedvalue", 10**400, "0x80044330"),
        ("estimatedvalue", 1e15, "0x80044330"),
        ("estimatedclosedate", "1752-12-31", "0x80040239"),
    ],
)
def test_a_value_out_of_range_is_refused(face: Face, column: str, value: object, code: str) -> None:
    face.sign_in()
    answer = face.post("opportunities", {"name": "x", column: value})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


def test_many_clients_closing_one_opportunity_at_once_close_it_once(on_file: Face) -> None:
    statuses: list[int] = []

    def close() -> None:
        with session_for(str(on_file.session.verify)) as session:
            session.headers.update(on_file.session.headers)
            mine = Face(session, on_file.emulator, on_file.url, "", "", "")
            statuses.append(lose(mine))

    threads = [threading.Thread(target=close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [204] + [400] * 7
    assert on_file.control("GET", "closes?more_than=1").json() == []


def test_half_a_request_does_not_hold_a_connection_for_ever(
    server: ServedEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_SLOWEST", 0.0)
    with connected(server) as wire, connected(server) as other:
        wire.sendall(HEALTH[:-2])
        status, _ = answers(wire, 1)[0]
        assert status == 408
        assert wire.recv(1) == b""
        monkeypatch.setattr(connection_module, "_SLOWEST", 60.0)
        other.sendall(HEALTH)
        assert answers(other, 1)[0][0] == 200


def test_hundreds_of_requests_sent_at_once_on_one_connection_are_all_answered(server: ServedEmulator) -> None:
    with connected(server) as wire:
        wire.sendall(HEALTH * 200)
        found = answers(wire, 200)
    assert {status for status, _ in found} == {200}
