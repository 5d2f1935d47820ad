from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from connector.clock import VirtualClock
from connector.closing.model import DraftPolicy, Intent, Outcome, ReopenIntent
from connector.errors import InputError, LedgerError
from connector.ledger.claims import LONGEST_WAIT, Worker
from connector.ledger.jobs import (
    NOT_READ_AGAIN,
    DesiredState,
    InputChanged,
    ItemStatus,
    Job,
    JobKind,
    JobState,
    Row,
    WorkerLost,
)
from connector.ledger.ledger import Ledger
from connector.ledger.liveness import UNREAD_SINCE, worker_key
from connector.ledger.load import discard
from connector.ledger.shared_state import remember
from connector.ledger.store import open_ledger
from tests.ledger.rows import closed, opportunity, rows


class Broke(Exception):
    pass


def work_all(worker: Worker, job: Job, most: int = 100) -> list[int]:
    done = []
    while items := worker.claim(job, most):
        worker.record(job, closed(items))
        done += [item.row for item in items]
    return done


def test_a_job_is_loaded_worked_off_and_finished(ledger: Ledger) -> None:
    job = ledger.create("spring", rows(250), options={"file": "rows.csv"})
    assert (job.state, job.total, job.options) == (JobState.READY, 250, {"file": "rows.csv"})
    worker = ledger.enter("here", "spring")
    assert work_all(worker, job) == list(range(1, 251))
    assert worker.idle(job) is None
    worker.leave()
    job = ledger.job("spring")
    assert job.state is JobState.FINISHED
    assert job.finished is not None
    assert ledger.counts("spring").data() == dict.fromkeys((status.value for status in ItemStatus), 0) | {
        "total": 250,
        "closed": 250,
    }
    assert [event.kind for event in ledger.events("spring")] == ["created", "finished"]


def test_every_field_of_an_intent_comes_back_as_it_was(ledger: Ledger) -> None:
    full = Intent(
        opportunity(1), Outcome.LOST, key="mine", status="Out-Sold", quote_status=5, closed_on=date(2026, 1, 31),
        actual_revenue=Decimal("12500.00"), subject="Süden", description='a "b"\nc', competitor_id=opportunity(7),
        winning_quote_id=opportunity(8), drafts=DraftPolicy.DELETE,
        opportunity_columns={"new_a": Decimal("1.50"), "new_b": True, "new_c": None}, quote_columns={"new_d": 3},
    )  # fmt: skip
    plain = Intent(opportunity(2), Outcome.WON)
    job = ledger.create("j", [Row(1, full, opportunity(9), "digest"), Row(2, plain)])
    records = list(ledger.records("j"))
    assert records[0].intent == full
    assert (records[0].account, records[0].plan) == (opportunity(9), "digest")
    assert records[1].intent == Intent(opportunity(2), Outcome.WON, key="j")
    items = ledger.enter("here").claim(job, 5)
    assert {item.row: item.intent for item in items} == {record.row: record.intent for record in records}


def test_an_intent_to_reopen_comes_back_as_it_was(ledger: Ledger) -> None:
    wanted = [
        ReopenIntent(opportunity(1), "k", frozenset({opportunity(5), opportunity(6)}), "spring"),
        ReopenIntent(opportunity(2), "k"),
        ReopenIntent(opportunity(3), "k", frozenset()),
    ]
    ledger.create("back", [Row(n, one) for n, one in enumerate(wanted, 1)], kind=JobKind.REOPEN)
    assert [record.intent for record in ledger.records("back")] == wanted


def test_a_load_that_breaks_off_leaves_nothing(ledger: Ledger) -> None:
    def breaking() -> Iterator[Row]:
        yield from rows(12_000)
        raise Broke

    with pytest.raises(Broke):
        ledger.create("half", breaking())
    assert ledger.find("half") is None
    assert ledger.jobs() == []
    assert ledger.workers() == []
    assert ledger.database.rows("SELECT COUNT(*) FROM item")[0][0] == 0
    assert ledger.create("half", rows(3)).total == 3


def test_an_opportunity_with_two_rows_is_refused(ledger: Ledger) -> None:
    again = Row(9, Intent(opportunity(2), Outcome.LOST))
    with pytest.raises(InputError) as caught:
        ledger.create("twice", [*rows(3), again])
    assert str(caught.value) == (
        f"The opportunity {opportunity(2)} is in row 2 and again in row 9; nothing was loaded. Keep one of them."
    )
    assert ledger.find("twice") is None


def test_a_name_that_is_taken_is_refused(ledger: Ledger) -> None:
    ledger.create("spring", rows(1))
    with pytest.raises(LedgerError, match="There is a job 'spring' already"):
        ledger.create("spring", rows(2))
    assert ledger.job("spring").total == 1


def test_a_job_that_is_not_there_is_named_with_those_that_are(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="It has no job yet"):
        ledger.job("spring")
    ledger.create("spring", rows(1))
    with pytest.raises(LedgerError, match=r"There is no job 'sprung' in this store\. It has: spring\."):
        ledger.job("sprung")


def test_other_rows_are_refused_and_the_same_rows_are_known_whatever_file_they_came_in(ledger: Ledger) -> None:
    ledger.create("spring", rows(5))
    assert ledger.same_rows("spring", rows(5)).total == 5
    for other in (rows(4), rows(6), rows(5, outcome=Outcome.LOST), rows(5, first=2)):
        with pytest.raises(InputChanged, match="made of other rows"):
            ledger.same_rows("spring", other)


def test_a_job_of_no_rows_is_finished(ledger: Ledger) -> None:
    assert ledger.create("none", []).state is JobState.FINISHED


def test_one_opportunity_is_in_one_hand_even_across_jobs(ledger: Ledger) -> None:
    one, two = ledger.create("one", rows(10)), ledger.create("two", rows(10, first=6))
    first, second = ledger.enter("a"), ledger.enter("b")
    mine = first.claim(one, 100)
    theirs = second.claim(two, 100)
    assert len(mine) == 10
    assert [item.row for item in theirs] == [6, 7, 8, 9, 10]
    assert second.claim(two, 100) == []
    assert second.idle(two) == 1.0
    first.record(one, closed(mine))
    assert [item.row for item in second.claim(two, 100)] == [1, 2, 3, 4, 5]


def test_two_workers_never_get_the_same_item(store: str) -> None:
    with open_ledger(store, VirtualClock()) as main:
        job = main.create("j", rows(600))
    got: list[int] = []

    def work() -> None:
        with open_ledger(store, VirtualClock()) as own:
            got.extend(work_all(own.enter("w"), job, 7))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(1, 601))


def test_rows_of_one_account_are_claimed_apart(ledger: Ledger) -> None:
    accounts = [opportunity(900), opportunity(901), opportunity(902)]
    spread = [Row(n, Intent(opportunity(n), Outcome.WON), accounts[(n - 1) // 4]) for n in range(1, 13)]
    job = ledger.create("j", spread)
    claimed = ledger.enter("w").claim(job, 12)
    for start in range(0, 12, 3):
        assert {item.account for item in claimed[start : start + 3]} == set(accounts)


def test_a_result_recorded_twice_counts_once(ledger: Ledger) -> None:
    job = ledger.create("j", rows(3))
    worker = ledger.enter("w")
    results = closed(worker.claim(job, 2))
    for _ in range(2):
        assert worker.record(job, results).lost == ()
    assert (ledger.counts("j").of(ItemStatus.CLOSED), ledger.counts("j").total) == (2, 3)


def test_two_results_of_a_row_recorded_together_count_once_and_the_last_one_stays(ledger: Ledger) -> None:
    job = ledger.create("j", rows(1))
    worker = ledger.enter("w")
    (first,) = closed(worker.claim(job, 1))
    worker.record(job, [first, replace(first, status=ItemStatus.FAILED, reason="late")])
    counts = ledger.counts("j")
    assert (counts.of(ItemStatus.CLOSED), counts.of(ItemStatus.FAILED), counts.total) == (0, 1, 1)
    assert [record.status for record in ledger.records("j")] == [ItemStatus.FAILED]


def test_what_waits_is_claimed_when_it_is_due_and_first(ledger: Ledger, clock: VirtualClock) -> None:
    job = ledger.create("j", rows(4))
    worker = ledger.enter("w")
    worker.requeue(job, worker.claim(job, 2), 60)
    assert ledger.counts("j").data()["pending"] == 4
    assert ledger.counts("j").data()["waiting"] == 2
    rest = worker.claim(job, 1)
    worker.record(job, closed([*rest, *worker.claim(job, 1)]))
    assert worker.claim(job, 5) == []
    assert worker.idle(job) == 10.0
    clock.advance(59)
    assert worker.claim(job, 5) == []
    clock.advance(1)
    assert [(item.row, item.attempts) for item in worker.claim(job, 5)] == [(1, 2), (2, 2)]


@pytest.mark.parametrize("back", [timedelta(minutes=10), timedelta(days=30)])
def test_a_clock_set_back_makes_nothing_wait_longer(store: str, back: timedelta) -> None:
    late, early = VirtualClock(), VirtualClock(VirtualClock().now() - back)
    with open_ledger(store, late) as ledger:
        job = ledger.create("j", rows(2))
        worker = ledger.enter("w")
        worker.requeue(job, worker.claim(job, 2), LONGEST_WAIT)
        worker.leave()
    with open_ledger(store, early) as ledger:
        worker = ledger.enter("w")
        assert worker.idle(job) == 10.0
        assert len(worker.claim(job, 5)) == 2


def test_a_clock_that_jumps_takes_nothing_from_a_worker_that_lives(store: str) -> None:
    now, later = VirtualClock(), VirtualClock(VirtualClock().now() + timedelta(days=365))
    with open_ledger(store, now) as ledger, open_ledger(store, later) as other:
        job = ledger.create("j", rows(2))
        mine = ledger.enter("a").claim(job, 1)
        thief = other.enter("b")
        assert [item.row for item in thief.claim(job, 5)] == [2]
        assert mine[0].row == 1
        assert thief.claim(job, 5) == []


def test_an_item_given_back_untouched_has_not_used_an_attempt(ledger: Ledger) -> None:
    job = ledger.create("j", rows(1))
    worker = ledger.enter("w")
    first = worker.claim(job, 1)
    worker.release(job, first)
    again = worker.claim(job, 1)
    assert (again[0].attempts, again[0].epoch) == (1, 2)
    assert worker.record(job, closed(first)).lost == (1,)
    assert worker.record(job, closed(again)).lost == ()


@pytest.mark.parametrize("wish", [DesiredState.PAUSE, DesiredState.CANCEL])
def test_a_wish_is_told_with_every_commit_and_stops_claiming(ledger: Ledger, wish: DesiredState) -> None:
    job = ledger.create("j", rows(4))
    worker = ledger.enter("w")
    items = worker.claim(job, 2)
    ledger.set_desired_state("j", wish)
    assert worker.desired_state(job) is wish
    assert worker.claim(job, 2) == []
    assert worker.record(job, closed(items)).desired_state is wish
    ledger.set_desired_state("j", DesiredState.RUN)
    assert len(worker.claim(job, 5)) == 2


def test_failures_are_counted_by_reason_and_can_be_tried_again(ledger: Ledger) -> None:
    job = ledger.create("j", rows(6))
    worker = ledger.enter("w")
    items = worker.claim(job, 6)
    worker.record(job, closed(items[:3], ItemStatus.FAILED, "0x80040217"))
    worker.record(job, closed(items[3:5], ItemStatus.REFUSED, "other_outcome") + closed(items[5:]))
    assert ledger.counts("j").reasons == {
        (ItemStatus.FAILED, "0x80040217"): 3,
        (ItemStatus.REFUSED, "other_outcome"): 2,
    }
    assert ledger.job("j").state is JobState.FINISHED
    assert ledger.retry("j") == 3
    assert ledger.job("j").state is JobState.READY
    assert ledger.counts("j").reasons == {(ItemStatus.REFUSED, "other_outcome"): 2}
    again = worker.claim(job, 9)
    assert [(item.row, item.attempts, item.epoch) for item in again] == [(1, 1, 2), (2, 1, 2), (3, 1, 2)]
    assert worker.record(job, closed(items[:1])).lost == (1,)
    worker.record(job, closed(again))
    assert ledger.counts("j").by_status == {ItemStatus.CLOSED: 4, ItemStatus.REFUSED: 2}
    assert ledger.job("j").state is JobState.FINISHED


def test_records_stream_in_the_order_of_the_input_while_work_goes_on(ledger: Ledger) -> None:
    job = ledger.create("j", rows(20))
    worker = ledger.enter("w")
    worker.record(job, closed(worker.claim(job, 10)))
    records = ledger.records("j", after=4)
    assert next(records).row == 5
    worker.record(job, closed(worker.claim(job, 10)))
    assert [record.row for record in records] == list(range(6, 21))
    assert [record.row for record in ledger.records("j", (ItemStatus.CLOSED,))] == list(range(1, 21))
    assert next(ledger.records("j")).report == {"status": "closed"}


def test_undoing_marks_the_rows_of_the_job_it_undoes(ledger: Ledger) -> None:
    job = ledger.create("j", rows(3))
    worker = ledger.enter("w")
    worker.record(job, closed(worker.claim(job, 3)))
    back = [Row(n, ReopenIntent(opportunity(n))) for n in (1, 3)]
    undo = ledger.create("j-undo", back, kind=JobKind.REOPEN, undoes="j")
    assert undo.undoes == "j"
    worker.record(undo, closed(worker.claim(undo, 3), ItemStatus.REOPENED))
    assert [record.status.value for record in ledger.records("j")] == ["undone", "closed", "undone"]
    assert ledger.counts("j").by_status == {ItemStatus.UNDONE: 2, ItemStatus.CLOSED: 1}


def test_nothing_of_a_discarded_job_remains(ledger: Ledger) -> None:
    discard(ledger.database, ledger.create("j", rows(3)).id)
    assert ledger.jobs() == []
    for table in ("item", "tally", "event"):
        assert ledger.database.rows(f"SELECT COUNT(*) FROM {table}")[0][0] == 0


def test_leaving_gives_back_what_is_held(ledger: Ledger) -> None:
    job = ledger.create("j", rows(5))
    worker = ledger.enter("w", "j")
    worker.claim(job, 3)
    assert [present.name for present in ledger.workers("j")] == ["w"]
    worker.leave()
    assert ledger.workers("j") == []
    assert ledger.counts("j").by_status == {ItemStatus.PENDING: 5}


def test_a_worker_elsewhere_that_falls_silent_for_a_lease_loses_its_items(postgres_store: str) -> None:
    clocks = VirtualClock(), VirtualClock()
    with open_ledger(postgres_store, clocks[0]) as one, open_ledger(postgres_store, clocks[1]) as two:
        job = one.create("j", rows(4))
        silent, other = one.enter("silent", "j"), two.enter("other", "j")
        held = silent.claim(job, 4)
        assert other.claim(job, 4) == []
        for _ in range(5):
            clocks[1].advance(29)
            assert other.claim(job, 4) == []
            silent.renew()
        assert other.claim(job, 4) == []
        clocks[1].advance(30)
        taken = other.claim(job, 4)
        assert [item.row for item in taken] == [1, 2, 3, 4]
        with pytest.raises(WorkerLost, match="given to another") as lost:
            silent.record(job, closed(held))
        assert lost.value.transient, "a machine that was only cut off comes back as a new worker"
        with pytest.raises(WorkerLost):
            silent.renew()
        assert other.record(job, closed(taken)).lost == ()
        assert "taken_over" in [event.kind for event in two.events("j")]
        silent.leave()
        assert two.counts("j").by_status == {ItemStatus.CLOSED: 4}


def test_what_a_dead_worker_closed_and_had_not_read_again_is_left_to_be_read(postgres_store: str) -> None:
    clocks = VirtualClock(), VirtualClock()
    with open_ledger(postgres_store, clocks[0]) as one, open_ledger(postgres_store, clocks[1]) as two:
        job = one.create("j", rows(6))
        silent, other = one.enter("silent", "j"), two.enter("other", "j")
        held = silent.claim(job, 4)
        silent.record(job, closed(held[:2]))
        clocks[0].advance(60)
        since = one.now()
        silent.record(job, closed(held[2:]))
        other.record(job, closed(other.claim(job, 2)))
        remember(one, worker_key(silent.id), {UNREAD_SINCE: since})
        two.liveness.reap()
        clocks[1].advance(30)
        other.renew()
        two.liveness.reap()
        assert (two.counts("j").not_read_again, two.counts("j").of(ItemStatus.CLOSED)) == (2, 6)
        assert [record.row for record in two.records("j", reason=NOT_READ_AGAIN)] == [3, 4]
        assert two.retry("j", (ItemStatus.CLOSED,), reason=NOT_READ_AGAIN) == 2
        assert [item.attempts for item in other.claim(job, 9)] == [2, 2], "so it asks whose the close is"


def test_only_what_is_still_its_own_is_left_unread_by_a_worker(ledger: Ledger) -> None:
    job = ledger.create("j", rows(3))
    worker = ledger.enter("w", "j")
    items = worker.claim(job, 3)
    worker.record(job, closed(items[:2]))
    ledger.retry("j", (ItemStatus.CLOSED,))
    again = worker.claim(job, 1)
    worker.record(job, closed(again))
    worker.leave_unread(job, [*items, *again])
    assert [record.row for record in ledger.records("j", reason=NOT_READ_AGAIN)] == [again[0].row]
    worker.leave_unread(job, again)
    assert ledger.counts("j").not_read_again == 1, "also when it is said twice"


@pytest.mark.skipif(os.name == "nt", reason="Windows deletes no file that is open")
@pytest.mark.parametrize("replaced", [False, True])
def test_a_store_whose_file_was_deleted_while_in_use_says_so(tmp_path: Path, *, replaced: bool) -> None:
    file = tmp_path / "jobs.db"
    with open_ledger(str(file), VirtualClock()) as ledger:
        ledger.create("j", rows(1))
        file.rename(tmp_path / "elsewhere.db")
        if replaced:
            file.touch()
        with pytest.raises(LedgerError, match="run the same rows again to account for it"):
            ledger.create("k", rows(1))


def test_a_number_of_a_row_must_rise(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="Row 1 follows row 1"):
        ledger.create("j", [*rows(1), *rows(1, first=2)])


def test_ids_of_different_jobs_do_not_mix(ledger: Ledger) -> None:
    ledger.create("a", rows(3))
    ledger.create("b", rows(2, first=50))
    assert [record.opportunity_id for record in ledger.records("b")] == [opportunity(50), opportunity(51)]
    assert [record.row for record in ledger.records("a")] == [1, 2, 3]
    assert isinstance(next(ledger.records("a")).opportunity_id, UUID)
