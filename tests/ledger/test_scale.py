"""That what a row costs does not grow with the job: by the plans of the queries and by size, never by time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.clock import VirtualClock
from connector.ledger.claims import PENDING, WAITING
from connector.ledger.intents import report_bytes, report_from
from connector.ledger.ledger import Ledger
from connector.ledger.sqlite import SqliteDatabase
from tests.ledger.rows import closed, rows


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "jobs.db")
    yield database
    database.close()


@pytest.mark.parametrize(("query", "index"), [(PENDING, "item_pending (job=?)"), (WAITING, "item_waiting (job=?)")])
def test_claiming_looks_at_nothing_but_what_can_be_claimed(database: SqliteDatabase, query: str, index: str) -> None:
    values = [1] * query.count("?")
    steps = [str(found[3]) for found in database.rows(f"EXPLAIN QUERY PLAN {query}", values)]
    assert steps[0] == f"SEARCH item USING INDEX {index}"
    assert any("item_claimed (opportunity=?)" in step for step in steps)
    assert not any("SCAN" in step or "TEMP B-TREE" in step for step in steps)


def test_a_row_takes_little_room(database: SqliteDatabase) -> None:
    ledger = Ledger(database, VirtualClock())
    chance = random.Random(5)
    job = ledger.create("j", rows(5000))
    worker = ledger.enter("w")
    while items := worker.claim(job, 500):
        worker.record(job, [replace(result, report=report(chance)) for result in closed(items)])
    database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    assert database.path.stat().st_size / 5000 < 520


def report(chance: random.Random) -> dict[str, object]:
    """Return what is kept of a close with two quotes; all ids are as random as real ones."""

    def new() -> str:
        return str(UUID(int=chance.getrandbits(128)))

    def step(kind: str, table: str, message: str) -> dict[str, object]:
        return {
            "kind": kind, "record": new(), "table": table, "label": "Close quote Frame contract 2026",
            "message": message, "state": 3, "status_reason": 6, "activity_id": new(),
            "activity": {"subject": "Quote closed"}, "result": "done", "request_id": new(),
        }  # fmt: skip

    steps = [step("close_quote", "quote", "CloseQuote") for _ in range(2)]
    steps.append(step("close_opportunity", "opportunity", "WinOpportunity"))
    return {"status": "closed", "opportunity_id": new(), "digest": new()[:16], "steps": steps, "rounds": 1}


PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=50)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=9), inner, max_size=4)),
)


@given(st.dictionaries(st.text(max_size=12), PLAIN, max_size=8))
def test_a_report_is_kept_as_it_is(data: dict[str, object]) -> None:
    assert report_from(report_bytes(data)) == data


def test_a_report_written_by_the_first_version_can_be_read() -> None:
    kept = "01232a899aa519251b00812e16020a0c9193b181a191b189a999b985656252724a6a1a79e50100"
    assert report_from(bytes.fromhex(kept)) == {
        "status": "closed",
        "opportunity_id": "6f2c0000-0000-0000-0000-000000000001",
        "digest": "0123456789abcdef",
        "steps": [],
        "partial": False,
        "warnings": [],
        "rounds": 1,
    }
