"""The process: it drains when it is asked to stop, and takes in nothing that it cannot keep."""

from __future__ import annotations

import hashlib
import resource
import signal
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from connector.clock import SystemClock
from connector.emulator.background import ServedEmulator, served
from connector.emulator.identity.keys import Keys
from connector.emulator.limits.faults import Fault, FaultPlan
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.ledger.jobs import ItemStatus
from tests.service.process import Told, polled, serving, until

WON = {"outcome": "won"}
KEY = "a-key-of-some-length"


def opportunities(file: Path, count: int) -> list[str]:
    query = "SELECT opportunityid FROM opportunity WHERE statecode = 0 ORDER BY opportunityid LIMIT ?"
    with closing(sqlite3.connect(file)) as connection:
        return [str(id_) for (id_,) in connection.execute(query, (count,))]


def found(emulated: ServedEmulator, query: str) -> list[str]:
    with emulated.emulator.lock:
        return [str(row[0]) for row in emulated.emulator.organization.store.rows(query)]


def keyed(emulated: ServedEmulator) -> dict[str, str]:
    """Return the settings of an endpoint on the served organization, for callers with `KEY`."""
    return {
        "DATAVERSE_URL": emulated.url,
        "DATAVERSE_CA_FILE": str(emulated.ca_file),
        "DATAVERSE_CLIENT_ID": emulated.client_id,
        "DATAVERSE_CLIENT_SECRET": emulated.client_secret,
        "CONNECTOR_SERVICE_ACCESS": "by_caller",
        "CONNECTOR_SERVICE_TENANTS": emulated.tenant_id,
        "CONNECTOR_SERVICE_AUDIENCES": "api://close.contoso.com",
        "CONNECTOR_SERVICE_CLIENTS": emulated.client_id,
        "CONNECTOR_SERVICE_PUBLIC_URL": "https://close.contoso.com",
        "CONNECTOR_SERVICE_API_KEYS": f"trial:{hashlib.sha256(KEY.encode()).hexdigest()}",
    }


def closes(file: Path, opportunity: str) -> int:
    query = "SELECT COUNT(*) FROM opportunityclose WHERE opportunityid = ?"
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute(query, (opportunity,)).fetchone()[0])


def test_it_says_where_it_listens_and_who_may_call(tmp_path: Path) -> None:
    with serving(tmp_path) as process:
        assert f"http://127.0.0.1:{process.port}/connector/apiDefinition.swagger.json" in process.log.read_text()
        told = f"Listening on http://127.0.0.1:{process.port}; no sign-in; only this machine can reach it."
        assert told in process.log.read_text()


# -- stopping ---------------------------------------------------------------------------------------------------------


def test_asked_to_stop_it_tells_who_waits_where_to_ask_and_the_next_one_answers(tmp_path: Path) -> None:
    """No worker takes the operation up, so that its caller waits for certain."""
    answers: list[Told] = []
    with serving(tmp_path, CONNECTOR_SERVICE_WORKERS="0") as process:
        (opportunity,) = opportunities(tmp_path / "organization.db", 1)

        def close() -> None:
            answers.append(process.ask("POST", f"/opportunities/{opportunity}/close", WON))

        waiting = threading.Thread(target=close)
        waiting.start()
        until(lambda: process.ask("GET", "/operations").json()["value"])
        process.popen.send_signal(signal.SIGTERM)
        waiting.join(180)
        assert process.popen.wait(180) == 0
    (answer,) = answers
    assert answer.status == 202
    with serving(tmp_path) as process:
        told = polled(process, answer)
        assert (told.status, told.json()["result"], told.json()["changed"]) == (200, "closed", True)
    assert closes(tmp_path / "organization.db", opportunity) == 1


def test_what_is_being_sent_is_finished_before_it_stops(tmp_path: Path, emulator_keys: Keys) -> None:
    slow = FaultPlan((Fault("slow", message="WinOpportunity", when="after", seconds=3.0),))
    with served(EmulatorOptions(seeded=3, faults=slow), SystemClock(), tmp_path, emulator_keys) as emulated:
        (opportunity,) = found(emulated, "SELECT opportunityid FROM opportunity WHERE statecode = 0 LIMIT 1")
        with serving(tmp_path, **keyed(emulated)) as process:
            path, body = f"/opportunities/{opportunity}/close", WON | {"mode": "accept"}
            assert process.ask("POST", path, body, {"x-api-key": KEY}).status == 202
            state = f"SELECT statecode FROM opportunity WHERE opportunityid = '{opportunity}'"
            until(lambda: found(emulated, state) == ["1"])  # it is done, and its answer is on the way
            process.popen.send_signal(signal.SIGTERM)
            assert process.popen.wait(180) == 0
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as store:
        assert store.execute("SELECT status, attempts FROM item").fetchall() == [(ItemStatus.CLOSED, 1)]


# -- a full disk ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are Linux's")
def test_on_a_full_disk_nothing_is_accepted_and_nothing_is_lost(tmp_path: Path) -> None:
    """No file of the process may grow any more, and then they may again."""
    with serving(tmp_path) as process:
        first, second, third = opportunities(tmp_path / "organization.db", 3)
        assert process.ask("POST", f"/opportunities/{first}/close", WON).status == 200
        limit = resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, (1, limit[1]))
        for _ in range(3):
            answer = process.ask("POST", f"/opportunities/{second}/close", WON)
            assert answer.status == 503, answer.body
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["retryable"]
        assert process.ask("GET", "/healthz").status == 200
        assert closes(tmp_path / "organization.db", second) == 0
        resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, limit)
        for opportunity in (second, third):
            until(lambda: process.ask("POST", f"/opportunities/{opportunity}/close", WON).status == 200)  # noqa: B023 - called at once
            assert closes(tmp_path / "organization.db", opportunity) == 1
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(180) == 0
