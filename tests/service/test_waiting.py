"""Requests that wait for an operation: told at its end, wherever that was, without asking the store one by one."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Sequence

import pytest

from connector.clock import SystemClock
from connector.errors import LedgerError
from connector.ledger.audit import AuditSource
from connector.ledger.operation_store import OperationStore, StoredOperation
from connector.service.operations import waiting
from connector.service.operations.operation_results import is_finished
from connector.service.operations.waiting import DaemonExecutor, Waiter, ended
from tests.service.process import until
from tests.service.stage import Stage

ACCEPT = {"outcome": "won", "mode": "accept"}
ELSEWHERE = AuditSource("endpoint", "user:somebody")
LONG = 600.0


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK_AGAIN", 0.01)


def accepted(stage: Stage, number: int) -> list[StoredOperation]:
    store = OperationStore(stage.ledger)
    with stage.client(workers=0) as client:
        answers = [client.post(f"/opportunities/{stage.opportunity()}/close", json=ACCEPT) for _ in range(number)]
    return [store.get(answer.json()["operationId"]) for answer in answers]


async def wait_for(waiter: Waiter, operation: StoredOperation, find: Callable[[], StoredOperation]) -> bool:
    clock = SystemClock()
    return is_finished(await ended(waiter, operation, find, clock.monotonic() + LONG, clock))


def test_one_look_for_all_who_wait_finds_what_other_instances_have_ended(stage: Stage) -> None:
    store, operations = OperationStore(stage.ledger), accepted(stage, 3)
    names, looks, finds = [operation.job.name for operation in operations], list[Sequence[str]](), list[str]()

    def look(asked: Sequence[str]) -> Sequence[str]:
        looks.append(asked)
        if len(looks) == 1:
            raise LedgerError("The store is away for a moment.")
        if len(looks) == 2:
            for name in names[:2]:
                store.cancel(name, ELSEWHERE)
        if asked == names[2:]:
            store.cancel(names[2], ELSEWHERE)
        return store.ended(asked)

    def finding(name: str) -> Callable[[], StoredOperation]:
        return lambda: finds.append(name) or store.get(name)

    async def all_of_them() -> list[bool]:
        waiter = Waiter()
        waiter.look = look
        return await asyncio.gather(*(wait_for(waiter, one, finding(one.job.name)) for one in operations))

    assert asyncio.run(all_of_them()) == [True, True, True]
    assert looks[0] == looks[1] == names
    assert looks[-1] == names[2:]
    assert sorted(finds) == sorted(names), "each is asked for once, when it has ended"


def test_what_ends_just_before_somebody_listens_is_heard(stage: Stage) -> None:
    (operation,) = accepted(stage, 1)
    store, waiter = OperationStore(stage.ledger), Waiter()
    store.cancel(operation.job.name, ELSEWHERE)
    waiter.tell(operation.job.name)
    assert asyncio.run(wait_for(waiter, operation, lambda: store.get(operation.job.name)))


def test_what_has_ended_and_is_tried_again_is_waited_for_anew(stage: Stage) -> None:
    (operation,) = accepted(stage, 1)
    store, waiter, finds = OperationStore(stage.ledger), Waiter(), list[str]()
    name = operation.job.name

    def find() -> StoredOperation:
        finds.append(name)
        return store.get(name)

    def look(names: Sequence[str]) -> Sequence[str]:
        if len(finds) == 1:
            store.cancel(name, ELSEWHERE)
        return store.ended(names)

    waiter.tell(name)  # it had ended, and was put back
    waiter.look = look
    assert asyncio.run(wait_for(waiter, operation, find))
    assert len(finds) == 2


def test_only_what_has_ended_is_told_and_a_very_long_list_is_not_looked_through(stage: Stage) -> None:
    first, second = accepted(stage, 2)
    store = OperationStore(stage.ledger)
    store.cancel(first.job.name, ELSEWHERE)
    assert store.ended([first.job.name, second.job.name, "no such operation"]) == [first.job.name]
    assert store.ended([]) == []
    assert store.ended([*["other"] * 10_000, first.job.name]) == []


def test_a_request_is_answered_when_another_instance_has_ended_its_operation(stage: Stage) -> None:
    store, opportunity = OperationStore(stage.ledger), stage.opportunity()
    answers = []
    with stage.client(workers=0) as client:
        asking = threading.Thread(
            target=lambda: answers.append(client.post(f"/opportunities/{opportunity}/close", json={"outcome": "won"}))
        )
        asking.start()
        until(lambda: store.newest(1))
        store.cancel(store.newest(1)[0].job.name, ELSEWHERE)
        asking.join()
    assert (answers[0].status_code, answers[0].json()["error"]["code"]) == (409, "canceled")


def test_whoever_is_woken_finds_the_thread_free_and_nothing_kept_by_it() -> None:
    executor, results = DaemonExecutor(8, "one after the other"), list[weakref.ref[set[int]]]()
    for number in range(50):
        result = executor.submit(lambda made=number: {made}).result()  # type: ignore[misc]
        results.append(weakref.ref(result))
    del result
    executor.submit(int).result()
    assert [thread.name for thread in threading.enumerate() if "one after" in thread.name] == ["one after the other 1"]
    assert [number for number in results if number() is not None] == []
