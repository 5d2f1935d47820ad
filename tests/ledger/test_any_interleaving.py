"""Claims, results, deaths and clocks in any order, against a model that fits on a page."""

from __future__ import annotations

import tempfile
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from connector.clock import VirtualClock
from connector.closing.model import Intent, Outcome
from connector.ledger.claims import Worker
from connector.ledger.jobs import Item, ItemResult, ItemStatus, Row, WorkerLost
from connector.ledger.ledger import Ledger
from connector.ledger.sqlite import SqliteDatabase
from tests.ledger.rows import opportunity

LEASE = 30.0
SHARED = 6


class Elsewhere(SqliteDatabase):
    """A store whose workers may be on other machines, so that only their beat tells whether they live."""

    def is_dead(self, worker: int) -> bool | None:
        return None


class SettableClock(VirtualClock):
    """A clock whose wall time can be set; what has passed is not changed by that."""

    shift = timedelta()

    def now(self) -> datetime:
        return super().now() + self.shift


class LedgerMachine(RuleBasedStateMachine):
    """Two jobs share some opportunities; workers of two machines claim, record, fall silent and come back."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = SettableClock()
        path = Path(self.folder.name) / "jobs.db"
        self.ledgers = [Ledger(Elsewhere(path), self.clock, lease=LEASE) for _ in range(2)]

    @initialize()
    def load(self) -> None:
        self.jobs = []
        for name, first in (("a", 1), ("b", SHARED)):
            wanted = (Intent(opportunity(first + n), Outcome.WON) for n in range(10))
            self.jobs.append(self.ledgers[0].create(name, [Row(n, one) for n, one in enumerate(wanted, 1)]))
        self.workers: list[Worker] = []
        self.held: dict[int, list[tuple[int, Item]]] = {}
        self.silent: dict[int, float] = {}
        self.done: dict[tuple[int, int], ItemStatus] = {}

    @rule(machine=st.integers(0, 1))
    def enter(self, machine: int) -> None:
        if len(self.workers) < 4:
            worker = self.ledgers[machine].enter("w")
            self.workers.append(worker)
            self.held[worker.id] = []
            self.silent[worker.id] = self.clock.monotonic()

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), job=st.integers(0, 1), most=st.integers(1, 4))
    def claim(self, data: st.DataObject, job: int, most: int) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        try:
            items = worker.claim(self.jobs[job], most)
        except WorkerLost:
            self._lost(worker)
            return
        self._alive(worker)
        for item in items:
            for other, theirs in self.held.items():
                same = [held for _, held in theirs if held.intent.opportunity_id == item.intent.opportunity_id]
                if same:
                    assert other != worker.id
                    assert self.clock.monotonic() - self.silent[other] >= LEASE
            assert (job, item.row) not in self.done
            self.held[worker.id].append((job, item))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), status=st.sampled_from([ItemStatus.CLOSED, ItemStatus.FAILED, None]))
    def record(self, data: st.DataObject, status: ItemStatus | None) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        held = self.held[worker.id]
        if not held:
            return
        job, item = held.pop(data.draw(st.integers(0, len(held) - 1)))
        try:
            if status is None:
                receipt = worker.requeue(self.jobs[job], [item], data.draw(st.sampled_from([0.0, 40.0])))
            else:
                receipt = worker.record(self.jobs[job], [ItemResult(item.row, item.epoch, status, "", {})])
        except WorkerLost:
            self._lost(worker)
            return
        self._alive(worker)
        assert receipt.lost == ()
        if status is not None:
            assert (job, item.row) not in self.done
            self.done[job, item.row] = status

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        worker.leave()
        self._forget(worker)

    @rule(seconds=st.sampled_from([1.0, 20.0, 31.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(hours=st.integers(-48, 48))
    def set_the_clock(self, hours: int) -> None:
        self.clock.shift = timedelta(hours=hours)

    @invariant()
    def counts_add_up(self) -> None:
        for place, job in enumerate(getattr(self, "jobs", [])):
            counts = self.ledgers[0].counts(job.name)
            real = Counter(record.status for record in self.ledgers[1].records(job.name))
            assert {status: count for status, count in counts.by_status.items() if count} == dict(real)
            done = Counter(status for (owner, _), status in self.done.items() if owner == place)
            assert {status: count for status, count in real.items() if status.final} == dict(done)
            assert counts.total == 10

    def teardown(self) -> None:
        """Whatever happened, everything can be done in the end."""
        worker = self.ledgers[1].enter("last")
        for _ in range(40):
            self.clock.advance(31)
            for place, job in enumerate(self.jobs):
                items = worker.claim(job, 10)
                worker.record(job, [ItemResult(item.row, item.epoch, ItemStatus.CLOSED, "", {}) for item in items])
                self.done |= {(place, item.row): ItemStatus.CLOSED for item in items}
        assert len(self.done) == 20
        for job in self.jobs:
            assert worker.idle(job) is None
        for ledger in self.ledgers:
            ledger.close()
        self.folder.cleanup()

    def _alive(self, worker: Worker) -> None:
        self.silent[worker.id] = self.clock.monotonic()

    def _lost(self, worker: Worker) -> None:
        assert self.clock.monotonic() - self.silent[worker.id] >= LEASE
        self._forget(worker)

    def _forget(self, worker: Worker) -> None:
        self.workers.remove(worker)
        del self.held[worker.id]


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
