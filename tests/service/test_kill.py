"""The process is killed in the middle, as by kill -9, and started again: what was accepted is finished, once.

The organization holds its answers back from the fifth close on, after it has committed them. So at the kill some
operations have ended, some were done without the endpoint knowing, and the others are still to be done, whatever the
machine's speed.
"""

from __future__ import annotations

import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from connector.clock import SystemClock
from connector.emulator.background import ServedEmulator, served
from connector.emulator.identity.keys import Keys
from connector.emulator.limits.faults import Fault, FaultPlan, Faults
from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.service.process import Told, polled, serving, until
from tests.service.test_process import KEY, keyed

OPERATIONS, ENDED, WORKERS = 30, 4, 3
HELD = Fault("slow", message="WinOpportunity", when="after", seconds=900.0, nth=ENDED + 1, times=1000)
OPEN = """SELECT o.opportunityid FROM opportunity o WHERE o.statecode = 0 AND EXISTS (SELECT 1 FROM quote q WHERE
    q.opportunityid = o.opportunityid AND q.statecode IN (0, 1)) ORDER BY 1"""
CLOSES = "SELECT opportunityid FROM opportunityclose"
QUOTE_CLOSES = "SELECT quoteid FROM quoteclose"
OPEN_QUOTES = "SELECT opportunityid FROM quote WHERE statecode IN (0, 1)"


def found(emulated: ServedEmulator, query: str) -> list[str]:
    with emulated.emulator.lock:
        return [str(row[0]) for row in emulated.emulator.organization.store.rows(query)]


def address(answer: Told) -> str:
    return urlsplit(answer.headers["location"]).path


def test_what_was_accepted_is_finished_exactly_once_after_kill_9(tmp_path: Path, emulator_keys: Keys) -> None:
    options = EmulatorOptions(seeded=300, faults=FaultPlan((HELD,)))
    accepted: dict[str, Told] = {}
    with served(options, SystemClock(), tmp_path, emulator_keys) as emulated:
        opportunities = found(emulated, OPEN)[:OPERATIONS]
        assert len(opportunities) == OPERATIONS
        before, quotes_before = Counter(found(emulated, CLOSES)), Counter(found(emulated, QUOTE_CLOSES))
        settings = keyed(emulated) | {"CONNECTOR_SERVICE_WORKERS": str(WORKERS)}
        with serving(tmp_path, **settings) as process:
            for opportunity in opportunities:
                headers, body = {"x-api-key": KEY, "idempotency-key": opportunity}, {"outcome": "won", "mode": "accept"}
                accepted[opportunity] = process.ask("POST", f"/opportunities/{opportunity}/close", body, headers)
            assert {told.status for told in accepted.values()} <= {200, 202}
            until(lambda: len(found(emulated, CLOSES)) - before.total() == ENDED + WORKERS)
            process.popen.send_signal(signal.SIGKILL)
            process.popen.wait()
        with closing(sqlite3.connect(tmp_path / "jobs.db")) as store:
            ((left,),) = store.execute("SELECT COUNT(*) FROM job WHERE state = 'ready'")
        assert left == OPERATIONS - ENDED

        emulated.emulator.set_faults(Faults(FaultPlan()))
        with serving(tmp_path, **settings) as process:
            for opportunity, answer in accepted.items():
                told = answer if answer.status == 200 else polled(process, process.ask("GET", address(answer)))
                assert told.status == 200, (opportunity, told.body)
                assert (told.json()["result"], told.json()["changed"]) == ("closed", True), told.body
        made = Counter(found(emulated, CLOSES)) - before
        assert made == Counter(opportunities)
        assert set((Counter(found(emulated, QUOTE_CLOSES)) - quotes_before).values()) == {1}
        assert not set(found(emulated, OPEN_QUOTES)) & set(opportunities)

    log = "".join(path.read_text() for path in tmp_path.glob("log-*"))
    assert "/opportunities/{id}/close" in log
    signatures = [told.headers["location"].rpartition(".")[2] for told in accepted.values() if told.status == 202]
    assert signatures
    assert not [secret for secret in (*signatures, KEY, emulated.client_secret, "QUO-") if secret in log]
