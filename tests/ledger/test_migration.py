"""A store that an older version made is opened as it is: nothing in it is lost."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connector.clock import VirtualClock
from connector.errors import LedgerError
from connector.ledger import postgres, sqlite
from connector.ledger.jobs import DesiredState, ItemStatus
from connector.ledger.schema import MIGRATIONS
from connector.ledger.store import open_ledger
from tests.ledger.rows import closed, opportunity, rows

JOB = (
    "INSERT INTO job (name, kind, state, wish, total, digest, options, created)"
    " VALUES ('june', 'close', 'ready', 'pause', 10, 'd', '{\"organization\": \"https://a.crm.dynamics.com\"}', 1.0)"
)
ITEM = (
    "INSERT INTO item (id, job, turn, opportunity, status, epoch, attempts, holder, due, wanted, reason)"
    ' VALUES ({mark}, 1, 0, {mark}, {mark}, 1, 1, {mark}, 0.0, \'{{"outcome":"won"}}\', {mark})'
)
TALLY = "INSERT INTO tally (job, status, reason, n) VALUES (1, {mark}, {mark}, 1)"
WORKER = "INSERT INTO worker (job, name, beat, started, seen) VALUES (1, 'gone:1', 7, 1.0, 1.0)"
PACE = "INSERT INTO pace (identity, learnt, at) VALUES ('user a', '{}', 1.0)"
REFUSED, CLAIMED = 5, 1


def write_version_2(store: str, folder: Path) -> None:
    """Make a store as version 2 of the tables had it, with an item of every status."""
    if store.startswith("postgresql"):
        with psycopg.connect(store) as connection:
            connection.execute("CREATE SCHEMA connector")
            connection.execute("SET search_path TO connector")
            connection.execute("CREATE TABLE version (number INTEGER NOT NULL)")
            connection.execute("INSERT INTO version VALUES (2)")
            fill(connection, postgres.SPELLING, "%s")
    else:
        with sqlite3.connect(folder / "jobs.db") as database:
            database.execute("PRAGMA user_version = 2")
            fill(database, sqlite.SPELLING, "?")
        database.close()


def fill(connection: Any, spelling: dict[str, str], mark: str) -> None:
    for statement in (statement for step in MIGRATIONS[:2] for statement in step):
        connection.execute(statement.format_map(spelling))
    for statement in (JOB, WORKER, PACE):
        connection.execute(statement)
    for number in range(10):
        reason = "closed_already" if number == REFUSED else None
        values = ((1 << 32) + number + 1, opportunity(number).bytes, number, 1 if number == CLAIMED else None, reason)
        connection.execute(ITEM.format(mark=mark), values)
        connection.execute(TALLY.format(mark=mark), (number, reason or ""))


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_store_of_version_2_goes_on_where_it_was(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    store = str(tmp_path / "jobs.db") if kind == "sqlite" else request.getfixturevalue("postgres_store")
    write_version_2(store, tmp_path)
    clock = VirtualClock()
    with open_ledger(store, clock, lease=1.0) as ledger:
        job = ledger.job("june")
        assert (job.desired_state, job.organization) == (DesiredState.PAUSE, "https://a.crm.dynamics.com")
        assert [record.status for record in ledger.records("june")] == list(ItemStatus)
        assert ledger.counts("june").by_status == dict.fromkeys(ItemStatus, 1)
        assert ledger.counts("june").reasons == {(ItemStatus.REFUSED, "closed_already"): 1}
        ledger.workers()
        clock.sleep(2.0)
        assert ledger.workers() == [], "who worked with the older version is gone"
        ledger.set_desired_state("june", DesiredState.RUN)
        worker = ledger.enter("new:1", "june")
        items = worker.claim(job, 10)
        assert sorted(item.row for item in items) == [1, 2, 3]
        worker.record(job, closed(items))
        assert ledger.counts("june").open == 0
        worker.leave()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_store_with_other_columns_is_told_as_that_of_another_version(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = str(tmp_path / "jobs.db") if kind == "sqlite" else request.getfixturevalue("postgres_store")
    with open_ledger(store, VirtualClock()) as ledger:
        with ledger.database.transaction() as transaction:
            transaction.run("ALTER TABLE item DROP COLUMN kept")
        with pytest.raises(LedgerError, match=r"by another version of the connector: .*kept") as caught:
            ledger.create("june", rows(1))
    assert "CONNECTOR_STORE" in caught.value.remedy
