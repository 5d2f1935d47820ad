from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.bulk.run.spread import Crew, HeldBack, Spread
from connector.closing.digest import make_plan
from connector.closing.model import (
    Opportunity,
    OpportunityState,
    OrganizationMetadata,
    Plan,
    Snapshot,
    Step,
    StepKind,
    StepResult,
    StepStatus,
)


class Recorder:
    """An organization that keeps who was performed with whom, and which accounts at the same time."""

    def __init__(self, accounts: Mapping[UUID, UUID]) -> None:
        self.accounts = accounts
        self.batches: list[list[UUID]] = []
        self.looks: list[UUID] = []
        self.collisions = 0
        self._busy: Counter[UUID] = Counter()
        self._lock = threading.Lock()

    def metadata(self) -> OrganizationMetadata:
        return OrganizationMetadata((), ())

    def observe(self, ids: Sequence[UUID], *, activities: bool = False) -> Mapping[UUID, Snapshot]:
        del activities
        self.looks += ids
        return {id_: Snapshot(self._opportunity(id_), ()) for id_ in ids}

    def _opportunity(self, id_: UUID) -> Opportunity:
        return Opportunity(id_, "", OpportunityState.OPEN, 1, "", customer_id=self.accounts[id_])

    def perform(self, plans: Sequence[Plan]) -> Sequence[tuple[StepResult, ...]]:
        accounts = {self.accounts[plan.opportunity_id] for plan in plans}
        with self._lock:
            self.batches.append([plan.opportunity_id for plan in plans])
            self.collisions += sum(self._busy[account] for account in accounts)
            self._busy.update(accounts)
        results = [tuple(StepResult(step, StepStatus.DONE) for step in plan.steps) for plan in plans]
        with self._lock:
            self._busy.subtract(accounts)
        return results


def plan(id_: UUID) -> Plan:
    return make_plan(id_, [Step(StepKind.CLOSE_OPPORTUNITY, "opportunity", id_, "", "", "WinOpportunity")])


@given(accounts=st.lists(st.integers(0, 12), min_size=1, max_size=80), size=st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_every_plan_is_performed_once_and_no_account_twice_at_a_time(accounts: list[int], size: int) -> None:
    by_id = {UUID(int=number): UUID(int=1000 + account) for number, account in enumerate(accounts)}
    recorder, under_way = Recorder(by_id), list[int]()
    with ThreadPoolExecutor(8) as pool:
        spread = Spread(recorder, Crew(pool, lambda: size, lambda: 8, threading.Event(), under_way.append))
        spread.observe(list(by_id))
        results = spread.perform([plan(id_) for id_ in by_id])
    assert [result[0].step.record_id for result in results] == list(by_id)
    assert sorted(id_ for batch in recorder.batches for id_ in batch) == sorted(by_id)
    assert max(len(batch) for batch in recorder.batches) <= size
    assert recorder.collisions == 0
    assert sum(under_way) == 0


def test_batches_are_filled() -> None:
    by_id = {UUID(int=number): UUID(int=1000 + number // 3) for number in range(300)}
    recorder = Recorder(by_id)
    with ThreadPoolExecutor(8) as pool:
        spread = Spread(recorder, Crew(pool, lambda: 10, lambda: 8, threading.Event(), lambda _change: None))
        spread.observe(list(by_id))
        spread.perform([plan(id_) for id_ in by_id])
    assert len(recorder.batches) <= 34


def test_when_stopping_nothing_more_is_sent_nor_read() -> None:
    ids = [UUID(int=number) for number in range(30)]
    recorder, stopping = Recorder(dict.fromkeys(ids, UUID(int=1))), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        spread = Spread(recorder, Crew(pool, lambda: 10, lambda: 8, stopping, lambda _change: None))
        seen = spread.observe(ids)
        stopping.set()
        results = spread.perform([plan(id_) for id_ in ids])
        assert spread.observe(ids) == seen
    assert recorder.batches == []
    assert recorder.looks == ids
    assert all(isinstance(result[0].error, HeldBack) for result in results)


def test_a_batch_is_as_large_as_is_known_when_its_turn_comes() -> None:
    by_id = {UUID(int=number): UUID(int=1000 + number) for number in range(300)}
    recorder = Recorder(by_id)
    with ThreadPoolExecutor(8) as pool:
        crew = Crew(pool, lambda: 50 if recorder.batches else 10, lambda: 1, threading.Event(), lambda _change: None)
        spread = Spread(recorder, crew)
        spread.observe(list(by_id))
        spread.perform([plan(id_) for id_ in by_id])
    assert len(recorder.batches) <= 3 + 6  # at first one in flight and two made ready, of 10 plans each


@given(width=st.integers(1, 4), batches=st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_no_more_batches_are_made_than_may_be_in_flight_and_two_more(width: int, batches: int) -> None:
    by_id = {UUID(int=number): UUID(int=1000 + number) for number in range(batches)}
    recorder, made, most = Recorder(by_id), 0, 0
    lock = threading.Lock()

    class Counting(Recorder):
        def perform(self, plans: Sequence[Plan]) -> Sequence[tuple[StepResult, ...]]:
            nonlocal made, most
            with lock:
                made, most = made + 1, max(most, made + 1)
            results = recorder.perform(plans)
            with lock:
                made -= 1
            return results

    with ThreadPoolExecutor(8) as pool:
        spread = Spread(Counting(by_id), Crew(pool, lambda: 1, lambda: width, threading.Event(), lambda _change: None))
        spread.observe(list(by_id))
        spread.perform([plan(id_) for id_ in by_id])
    assert len(recorder.batches) == batches
    assert most <= width + 2
