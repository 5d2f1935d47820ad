"""The audit log of a store: an entry for each result, durable with it, found again by what is asked, and bounded."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from connector.clock import VirtualClock
from connector.errors import LedgerError
from connector.ledger.audit import STARTED, AuditEntry, AuditFilter, AuditSource
from connector.ledger.jobs import ItemStatus, JobKind
from connector.ledger.ledger import Ledger
from connector.ledger.load import discard
from tests.ledger.rows import closed, opportunity, rows

ANNA = AuditSource("command", "anna on pc7", "pc7", "user-a", "https://a.crm.dynamics.com")
BEN = AuditSource("endpoint", "user:ben", "host", "ben", "https://b.crm.dynamics.com", "tenant-b", "flow")
DAY = 86400.0


def events(ledger: Ledger, **wanted: object) -> list[str]:
    return [entry.event for entry in ledger.audit.entries(AuditFilter(**wanted))]  # type: ignore[arg-type]


def test_each_result_of_a_job_has_one_entry_with_who_where_and_as_whom(ledger: Ledger) -> None:
    address = "https://a.crm.dynamics.com"
    job = ledger.create("june", rows(3), options={"started_by": "anna on pc7"}, organization=address)
    worker = ledger.enter("pc9:4711", "june")
    items = worker.claim(job, 3)
    results = [replace(one, user="app-1", audit={"outcome": "won"}) for one in closed(items)]
    worker.record(job, results)
    worker.record(job, results)
    entries = list(ledger.audit.entries(AuditFilter()))
    assert [entry.opportunity_id for entry in entries] == [opportunity(number) for number in (1, 2, 3)]
    assert {(entry.event, entry.job) for entry in entries} == {("closed", "june")}
    assert {entry.source for entry in entries} == {AuditSource("job", "anna on pc7", "pc9", "app-1", address)}
    assert all(entry.details == {"outcome": "won"} and entry.at for entry in entries)


def test_a_result_of_a_worker_that_lost_its_rows_has_no_entry(ledger: Ledger) -> None:
    job = ledger.create("june", rows(2))
    first = ledger.enter("here:1", "june")
    items = first.claim(job, 2)
    first.leave()
    second = ledger.enter("here:2", "june")
    second.record(job, closed(second.claim(job, 2)))
    third = ledger.enter("here:3", "june")
    third.record(job, closed(items, ItemStatus.FAILED, "late"))
    assert events(ledger) == ["closed", "closed"]


def test_the_way_back_is_an_entry_of_the_job_that_goes_it(ledger: Ledger) -> None:
    job = ledger.create("june", rows(1))
    worker = ledger.enter("here:1", "june")
    worker.record(job, closed(worker.claim(job, 1)))
    undo = ledger.create("june.undo", rows(1), kind=JobKind.REOPEN, undoes="june")
    worker = ledger.enter("here:1", "june.undo")
    worker.record(undo, closed(worker.claim(undo, 1), ItemStatus.REOPENED))
    assert [(entry.event, entry.job) for entry in ledger.audit.entries(AuditFilter())] == [
        ("closed", "june"),
        ("reopened", "june.undo"),
    ]


def test_entries_outlive_their_job(ledger: Ledger) -> None:
    job = ledger.create("june", rows(2))
    worker = ledger.enter("here:1", "june")
    worker.record(job, closed(worker.claim(job, 2)))
    worker.leave()
    discard(ledger.database, job.id)
    assert events(ledger, job="june") == ["closed", "closed"]


def test_what_was_begun_and_never_ended_is_left_as_started(ledger: Ledger) -> None:
    entry = AuditEntry("", opportunity(1), ANNA)
    ledger.audit.begin(entry)
    number = ledger.audit.begin(replace(entry, opportunity_id=opportunity(2)))
    ledger.audit.end(number, replace(entry, event="closed", details={"outcome": "lost"}))
    told = [(entry.opportunity_id, entry.event, dict(entry.details)) for entry in ledger.audit.entries(AuditFilter())]
    assert told == [(opportunity(1), STARTED, {}), (opportunity(2), "closed", {"outcome": "lost"})]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["one", "two", "three"]),
        ({"opportunity_id": opportunity(1)}, ["one", "three"]),
        ({"job": "june"}, ["two"]),
        ({"by": "ANNA"}, ["one"]),
        ({"by": "ben"}, ["two", "three"]),
        ({"organization": "b.crm.dynamics.com"}, ["two", "three"]),
        ({"organization": "https://a.crm.dynamics.com/"}, ["one"]),
        ({"tenant": "tenant-b"}, ["two", "three"]),
        ({"by": "nobody"}, []),
    ],
)
def test_entries_are_found_by_what_is_asked(ledger: Ledger, wanted: dict[str, object], found: list[str]) -> None:
    ledger.audit.write(AuditEntry("one", opportunity(1), ANNA))
    ledger.audit.write(AuditEntry("two", None, BEN, "june"))
    ledger.audit.write(AuditEntry("three", opportunity(1), BEN))
    assert events(ledger, **wanted) == found


def test_the_last_entries_come_in_the_order_in_which_they_were_written(ledger: Ledger, clock: VirtualClock) -> None:
    for number in range(5):
        ledger.audit.write(AuditEntry(str(number), None, ANNA))
        clock.sleep(1.0)
    assert [entry.event for entry in ledger.audit.entries(AuditFilter(), 2)] == ["3", "4"]
    since = clock.now() - timedelta(seconds=2.5)
    assert events(ledger, since=since) == ["3", "4"]


def test_entries_older_than_they_shall_be_kept_are_forgotten(ledger: Ledger, clock: VirtualClock) -> None:
    ledger.audit.write(AuditEntry("old", None, ANNA))
    clock.sleep(10 * DAY)
    ledger.audit.write(AuditEntry("new", None, ANNA))
    assert ledger.audit.forget(0) == 0, "0 days keeps all"
    assert ledger.audit.forget(5) == 1
    assert events(ledger) == ["new"]


def test_the_export_has_the_same_names_for_every_door_and_nothing_empty() -> None:
    entry = AuditEntry("closed", UUID(int=1), ANNA, "", {"outcome": "won", "changes": []})
    assert entry.data() == {
        "event": "closed", "opportunity": str(UUID(int=1)), "door": "command", "by": "anna on pc7", "host": "pc7",
        "user": "user-a", "organization": "https://a.crm.dynamics.com", "outcome": "won",
    }  # fmt: skip


def test_an_entry_that_cannot_be_written_takes_the_result_with_it(ledger: Ledger) -> None:
    job = ledger.create("june", rows(1))
    worker = ledger.enter("here:1", "june")
    items = worker.claim(job, 1)
    with ledger.database.transaction() as transaction:
        transaction.run("ALTER TABLE audit RENAME TO gone")
    with pytest.raises(LedgerError):
        worker.record(job, closed(items))
    assert ledger.counts("june").open == 1
