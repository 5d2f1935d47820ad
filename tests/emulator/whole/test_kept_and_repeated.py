"""The same traffic leaves the same journal; the file can be read by others meanwhile; pytest finds the fixtures."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import requests

from connector.clock import VirtualClock
from connector.emulator.background import served
from connector.emulator.embedded import open_embedded
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.emulator.whole.face import Face, MakeFace, embedded_face, session_for

ROOT = Path(__file__).parents[3]
QUOTE_PLAN = [{"do": "plugin_reverts_quote", "message": "CloseQuote", "nth": 1, "text": "Not this quote."}]
PLAN = {
    "seed": 5,
    "faults": [
        {"do": "deadlock", "message": "LoseOpportunity", "probability": 0.3},
        {"do": "reset", "when": "after", "message": "LoseOpportunity", "probability": 0.3},
        {"do": "slow", "seconds": 90, "message": "Retrieve", "probability": 0.5},
    ],
}
OnFile = Callable[[str], AbstractContextManager[Face]]


@pytest.fixture
def on_file(tmp_path: Path, keys: Keys) -> OnFile:
    """A function that serves an emulator on a socket and a file of this name, on a virtual clock."""

    @contextmanager
    def serve(name: str) -> Iterator[Face]:
        options = EmulatorOptions(path=tmp_path / name, seeded=60)
        with (
            served(options, VirtualClock(), tmp_path / "emulator", keys) as one,
            session_for(str(one.ca_file)) as session,
        ):
            yield Face(session, one.emulator, one.url, one.authority, one.client_id, one.client_secret)

    return serve


def lose(face: Face, number: int) -> int:
    """Lose the nth opportunity; 0 when the connection broke."""
    address = f"/opportunities(00000003-0000-4000-8000-{number:012d})"
    try:
        return face.post(
            "LoseOpportunity", {"OpportunityClose": {"opportunityid@odata.bind": address}, "Status": 4}
        ).status_code
    except requests.ConnectionError:
        return 0


def told(face: Face) -> str:
    """Have trouble with one client after another request; return the journal, the port left out."""
    face.sign_in()
    face.control("PUT", "faults", PLAN)
    statuses = {lose(face, number) for number in range(1, 41)}
    assert {0, 204, 400, 500} <= statuses
    for number in range(1, 11):
        face.get(f"opportunities(00000003-0000-4000-8000-{number:012d})?$select=name")
    entries = face.control("GET", "journal").json()
    return re.sub(r"localhost(?::|%3A)\d+", "localhost", json.dumps(entries))


def test_the_same_plan_seed_and_requests_over_a_socket_leave_the_same_journal(on_file: OnFile) -> None:
    with on_file("first.db") as face:
        first = told(face)
    with on_file("second.db") as face:
        assert told(face) == first
    with on_file("third.db") as face:
        face.control("POST", "reset")
        assert told(face) == first


def test_another_process_reads_the_file_while_it_is_served(on_file: OnFile, tmp_path: Path) -> None:
    code = (
        "import sqlite3, sys; db = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True); "
        "print(db.execute('SELECT count(*) FROM opportunityclose WHERE subject IS NULL').fetchone()[0])"
    )
    with on_file("shared.db") as face:
        face.sign_in()
        for number in range(1, 30):
            closed = lose(face, number) == 204
            if closed and number % 4 == 0:
                done = subprocess.run(
                    [sys.executable, "-c", code, str(tmp_path / "shared.db")],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                counted = sum(
                    row["closes"] for row in face.control("GET", "closes").json() if row["table"] == "opportunity"
                )
                assert 0 < int(done.stdout) <= counted


def quote_of(face: Face) -> str:
    rows = face.get("quotes?$select=quoteid&$filter=statecode eq 1&$top=1").json()["value"]
    return str(rows[0]["quoteid"])


def close_quote(quote: str) -> dict[str, object]:
    return {"QuoteClose": {"quoteid@odata.bind": f"/quotes({quote})", "subject": "x"}, "Status": 5}


def test_a_plug_in_before_the_transaction_leaves_the_quote_a_draft(make_face: MakeFace) -> None:
    face = make_face(VirtualClock(), EmulatorOptions())
    face.sign_in()
    quote = quote_of(face)
    face.control("PUT", "faults", QUOTE_PLAN)
    answer = face.post("CloseQuote", close_quote(quote))
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "Not this quote.")
    assert face.get(f"quotes({quote})?$select=statecode").json()["statecode"] == 0


def test_the_same_plug_in_inside_a_change_set_is_undone_with_it(make_face: MakeFace) -> None:
    face = make_face(VirtualClock(), EmulatorOptions())
    face.sign_in()
    quote = quote_of(face)
    face.control("PUT", "faults", QUOTE_PLAN)
    body = (
        "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Type: application/http\r\n"
        "Content-Transfer-Encoding: binary\r\nContent-ID: 1\r\n\r\nPOST CloseQuote HTTP/1.1\r\n"
        f"Content-Type: application/json\r\n\r\n{json.dumps(close_quote(quote))}\r\n--c--\r\n--b--\r\n"
    )
    headers = {"Content-Type": "multipart/mixed; boundary=b"}
    answer = face.session.post(f"{face.api}$batch", data=body, headers=headers, timeout=120)
    assert answer.status_code == 400
    assert "Not this quote." in answer.text
    assert face.get(f"quotes({quote})?$select=statecode").json()["statecode"] == 1


def test_a_test_of_somebody_else_gets_the_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "import requests\n\n\n"
        "def test_in_process(dataverse_emulator):\n"
        "    with requests.Session() as session:\n"
        "        session.mount(dataverse_emulator.url, dataverse_emulator.adapter())\n"
        "        assert session.get(dataverse_emulator.url + '/api/data/v9.2/WhoAmI').status_code == 401\n\n\n"
        "def test_over_a_socket(dataverse_emulator_server):\n"
        "    one = dataverse_emulator_server\n"
        "    assert requests.get(one.url + '/_emulator/health', verify=one.ca_file, timeout=120).status_code == 200\n",
        encoding="utf-8",
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    plugin = project["entry-points"]["pytest11"]["dataverse_emulator"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", plugin, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_rows_made_after_a_restart_have_ids_of_their_own(tmp_path: Path, keys: Keys) -> None:
    made = []
    for _ in range(4):
        embedded = open_embedded(tmp_path / "rows.db", VirtualClock(), EmulatorOptions(seeded=5), keys)
        face = embedded_face(embedded)
        face.sign_in()
        for _ in range(3):
            answer = face.post("opportunities", {"name": "New"})
            assert answer.status_code == 204, answer.text
            made.append(answer.headers["OData-EntityId"])
        face.control("POST", "scenarios", {"name": "first-cases"})
        answer = face.post("opportunities", {"name": "New"})
        assert answer.status_code == 204, answer.text
        made.append(answer.headers["OData-EntityId"])
        face.session.close()
        embedded.close()
    assert len(set(made)) == len(made)


def test_the_first_opening_of_a_file_is_repeatable_whatever_its_place(tmp_path: Path, keys: Keys) -> None:
    ids = set()
    for path in (":memory:", tmp_path / "one.db", tmp_path / "two.db"):
        embedded = open_embedded(path, VirtualClock(), EmulatorOptions(seeded=5), keys)
        face = embedded_face(embedded)
        face.sign_in()
        ids.add(face.post("opportunities", {"name": "New"}).headers["OData-EntityId"])
        face.session.close()
        embedded.close()
    assert len(ids) == 1


def test_nothing_is_written_into_the_folder_of_an_organization_that_is_closed(tmp_path: Path) -> None:
    open_embedded(tmp_path / "organization.db", VirtualClock()).close()
    assert [path.name for path in (tmp_path / "organization.db-keys").iterdir()] == ["signing.pem"]


def test_those_who_open_a_new_file_at_once_find_it_filled_once(tmp_path: Path, keys: Keys) -> None:
    together, opened = threading.Barrier(4), []

    def open_it(path: Path) -> None:
        together.wait(60)
        opened.append(open_embedded(path, VirtualClock(), EmulatorOptions(seeded=5), keys))

    for number in range(5):
        threads = [threading.Thread(target=open_it, args=(tmp_path / f"{number}.db",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    counts = [one.emulator.organization.row_counts()["opportunity"] for one in opened]
    for one in opened:
        one.close()
    assert len(opened) == 20
    assert set(counts) == {5}
