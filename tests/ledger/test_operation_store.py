from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from connector.clock import VirtualClock
from connector.closing.model import Intent, Outcome, ReopenIntent
from connector.errors import LedgerError
from connector.ledger.audit import AuditFilter, AuditSource
from connector.ledger.jobs import ItemStatus, JobKind, JobState
from connector.ledger.ledger import Ledger
from connector.ledger.operation_filter import OperationFilter
from connector.ledger.operation_store import KeyReused, NewOperation, OperationStore
from connector.ledger.shared_state import give_back_user, recall, remember, take_user
from connector.ledger.store import open_ledger
from tests.ledger.rows import closed, opportunity, rows


@pytest.fixture
def operations(ledger: Ledger) -> OperationStore:
    return OperationStore(ledger)


SOMEBODY = AuditSource("endpoint", "user:4711")


def asked(clock: VirtualClock, key: str = "k", number: int = 1, content: str = "c", owner: str = "ann") -> NewOperation:
    wanted = Intent(opportunity(number), Outcome.WON, key=f"{owner} {key}")
    return NewOperation(owner, "", key, content, wanted, JobKind.CLOSE, {"run": "r"}, clock.now() + timedelta(hours=24))


def test_an_operation_exists_once_however_often_it_is_asked_for(
    operations: OperationStore, clock: VirtualClock
) -> None:
    first, new = operations.accept("op1", asked(clock))
    assert (new, first.job.name, first.owner, first.key) == (True, "op1", "ann", "k")
    assert first.record.intent == asked(clock).intent
    again, new = operations.accept("op2", asked(clock))
    assert (new, again.job.name) == (False, "op1")
    other, new = operations.accept("op3", asked(clock, owner="bob"))
    assert (new, other.job.name) == (True, "op3")
    assert [one.job.name for one in operations.newest(10)] == ["op3", "op1"]
    assert [one.job.name for one in operations.newest(10, OperationFilter(owner="ann"))] == ["op1"]
    for text, names in ((str(opportunity(1)).upper(), ["op3", "op1"]), (UUID(int=5).hex, []), ("nobody", [])):
        assert [one.job.name for one in operations.newest(10, OperationFilter(text=text))] == names
        assert sum(tally.count for tally in operations.count(OperationFilter(text=text))) == len(names)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (JobKind.CLOSE, Intent(UUID(int=7), Outcome.LOST)),
        (JobKind.CLOSE, Intent(UUID(int=7), Outcome.WON, key="own", status="3", closed_on=date(2026, 1, 31),
                               actual_revenue=Decimal("10.50"), winning_quote_id=UUID(int=9),
                               opportunity_columns={"new_price": Decimal("1.10")})),
        (JobKind.REOPEN, ReopenIntent(UUID(int=7), key="", closed_under="that")),
    ],
    ids=["bare", "full", "reopening"],
)  # fmt: skip
def test_what_is_returned_at_once_is_what_is_read_later(
    operations: OperationStore, clock: VirtualClock, kind: JobKind, wanted: Intent | ReopenIntent
) -> None:
    wish = replace(asked(clock), kind=kind, intent=wanted, options={"plan": "", "caller": {"tenant": "t"}})
    made, new = operations.accept("op", wish)
    assert new
    assert made == operations.get("op")


@pytest.mark.parametrize("name", ["", "\0", "a\0b", "\ud83d", "x" * 100_000])
def test_under_a_name_that_none_can_have_there_is_nothing(operations: OperationStore, name: str) -> None:
    assert operations.find(name) is None


def test_what_does_not_count_stays_and_gives_its_key_to_the_next_with_one_entry_each(
    ledger: Ledger, operations: OperationStore, clock: VirtualClock
) -> None:
    worker = ledger.enter("endpoint")
    names = [f"op{number}" for number in range(5)]
    for name in names:
        assert operations.accept(name, asked(clock), lambda _: False)[1]
        assert operations.accept("again", asked(clock), lambda _: False)[0].job.name == name, "it is not finished"
        ((job, item),) = operations.claim(worker, 1)
        worker.record(job, closed([item]))
    assert operations.accept("last", asked(clock))[0].job.name == "op4"
    assert [one.job.name for one in operations.newest(9)] == names[::-1]
    events = [(entry.job, entry.event) for entry in ledger.audit.entries(AuditFilter()) if entry.event != "closed"]
    assert sorted(events) == sorted([(n, e) for n in names for e in ("accepted", "repeated")] + [("op4", "repeated")])


def test_a_key_used_for_something_else_is_refused(operations: OperationStore, clock: VirtualClock) -> None:
    operations.accept("op1", asked(clock))
    with pytest.raises(KeyReused, match=" by the operation "):
        operations.accept("op2", asked(clock, content="other"))
    assert operations.find("op2") is None


def test_many_who_ask_at_once_get_one_operation(store: str, clock: VirtualClock) -> None:
    got: list[tuple[str, bool]] = []
    open_ledger(store, clock).close()

    def ask(name: str) -> None:
        with open_ledger(store, clock) as ledger:
            operation, new = OperationStore(ledger).accept(name, asked(clock))
            got.append((operation.job.name, new))

    threads = [threading.Thread(target=ask, args=(f"op{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({name for name, _ in got}) == 1
    assert sum(new for _, new in got) == 1


def test_operations_are_worked_off_oldest_first_one_hand_to_an_opportunity(
    ledger: Ledger, operations: OperationStore, clock: VirtualClock
) -> None:
    ledger.create("bulk", rows(1, first=9))
    worker = ledger.enter("endpoint")
    for number, target in enumerate((1, 2, 1), 1):
        operations.accept(f"op{number}", asked(clock, key=str(number), number=target))
    claimed = operations.claim(worker, 10)
    assert [job.name for job, _ in claimed] == ["op1", "op2"]
    assert operations.claim(worker, 10) == []
    for job, item in claimed:
        worker.record(job, closed([item]))
    assert [job.name for job, _ in operations.claim(worker, 10)] == ["op3"]
    done = operations.get("op1")
    assert (done.job.state, done.record.status) == (JobState.FINISHED, ItemStatus.CLOSED)
    assert [job.name for job in ledger.jobs()] == ["bulk"]


def test_only_an_operation_that_nobody_works_on_is_cancelled(
    ledger: Ledger, operations: OperationStore, clock: VirtualClock
) -> None:
    worker = ledger.enter("endpoint")
    operations.accept("op1", asked(clock))
    assert operations.cancel("op1", SOMEBODY)
    assert not operations.cancel("op1", SOMEBODY)
    assert operations.claim(worker, 5) == []
    operations.accept("op2", asked(clock, key="2", number=2))
    assert len(operations.claim(worker, 5)) == 1
    assert not operations.cancel("op2", SOMEBODY)
    with pytest.raises(LedgerError, match="There is no such operation"):
        operations.cancel("op9", SOMEBODY)


def test_what_has_expired_is_replaced_and_deleted_but_never_while_it_goes_on(
    ledger: Ledger, operations: OperationStore, clock: VirtualClock
) -> None:
    worker = ledger.enter("endpoint")
    operations.accept("op1", asked(clock))
    operations.accept("slow", asked(clock, key="slow", number=2))
    (job, item), _ = operations.claim(worker, 2)
    worker.record(job, closed([item]))
    clock.advance(25 * 3600)
    assert operations.accept("op2", asked(clock, content="anything"))[1]
    assert operations.find("op1") is None
    assert not operations.accept("slow2", asked(clock, key="slow", number=2))[1]
    assert operations.delete_expired(9) == 0
    ((job, item),) = operations.claim(worker, 2)
    worker.record(job, closed([item]))
    clock.advance(25 * 3600)
    assert operations.delete_expired(9) == 1
    assert operations.find("op2") is None


def test_counting_what_is_unfinished_takes_no_longer_for_what_is_finished(tmp_path: Path, clock: VirtualClock) -> None:
    """Counted in steps of the database, of which there are as many on every machine."""
    with open_ledger(str(tmp_path / "jobs.db"), clock) as ledger:
        operations, worker, steps = OperationStore(ledger), ledger.enter("endpoint"), list[int]()
        for number in range(1, 401):
            operations.accept(f"op{number}", asked(clock, key=f"k{number}", number=number))
            if number in (100, 400):
                for job, item in operations.claim(worker, 500)[5 if number == 100 else 0 :]:
                    worker.record(job, closed([item]))
                steps.append(_steps(ledger, operations.unfinished))
        assert operations.unfinished() == 5
    assert steps[1] == steps[0]


def _steps(ledger: Ledger, act: Callable[[], object]) -> int:
    """Return how many steps the database takes for `act`."""
    taken = list[int]()
    connection = ledger.database._connection  # type: ignore[attr-defined]
    connection.set_progress_handler(lambda: taken.append(1), 1)
    act()
    connection.set_progress_handler(None, 0)
    return len(taken)


def test_several_delete_what_has_expired_side_by_side(store: str, ledger: Ledger, clock: VirtualClock) -> None:
    operations, worker = OperationStore(ledger), ledger.enter("endpoint")
    for number in range(1, 31):
        operations.accept(f"op{number}", asked(clock, key=f"k{number}", number=number))
    for job, item in operations.claim(worker, 29):
        worker.record(job, closed([item]))
    assert operations.delete_expired(100) == 0
    clock.advance(25 * 3600)
    deleted: list[int] = []

    def delete() -> None:
        with open_ledger(store, clock) as own:
            while count := OperationStore(own).delete_expired(3):
                deleted.append(count)

    threads = [threading.Thread(target=delete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(deleted) == 29
    assert [one.job.name for one in operations.newest(100)] == ["op30"], "what has no result yet stays"
    assert ledger.database.rows("SELECT count(*) FROM item") == [(1,)]
    assert {row[0] for row in ledger.database.rows("SELECT job FROM event UNION SELECT job FROM tally")} == {
        operations.get("op30").job.id
    }


def test_a_user_is_one_workers_until_it_gives_it_back_or_leaves(ledger: Ledger) -> None:
    one, two = ledger.enter("one"), ledger.enter("two")
    assert take_user(ledger, one, "ann")
    assert not take_user(ledger, two, "ann")
    assert take_user(ledger, two, "bob")
    give_back_user(ledger, two, "ann")
    assert not take_user(ledger, two, "ann"), "it is not two's to give back"
    give_back_user(ledger, one, "ann")
    assert take_user(ledger, two, "ann")
    two.leave()
    assert take_user(ledger, one, "bob")


def test_what_was_learnt_is_remembered(ledger: Ledger, clock: VirtualClock) -> None:
    assert recall(ledger, "ann") is None
    for rate in (10, 20):
        clock.advance(5)
        remember(ledger, "ann", {"rate": rate})
    learnt = recall(ledger, "ann")
    assert learnt is not None
    assert (learnt.data, learnt.at) == ({"rate": 20}, clock.now())
