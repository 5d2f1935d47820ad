"""Rows pass by themselves: none waits for another, a bad one costs its own work, and trouble with all of them stops."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.bulk.run.allowance import RunAllowance
from connector.bulk.run.decision import ALIKE, MOST_ATTEMPTS, Breaker, RowVerdict, SendOrder, reason_of
from connector.bulk.run.pipeline import Pipeline
from connector.bulk.run.progress_meter import ProgressMeter, ProgressSnapshot, RunResult
from connector.bulk.run.row_in_hand import PipelineState
from connector.bulk.run.runner import Run
from connector.clock import SystemClock, VirtualClock
from connector.closing.model import (
    Intent,
    Opportunity,
    OpportunityState,
    OrganizationMetadata,
    Outcome,
    Plan,
    Snapshot,
    StepResult,
    StepStatus,
)
from connector.closing.organization import ONLY_REASONS, MetadataRequest, Organization
from connector.errors import Broken, ConnectorError, Forbidden, NotSent, Origin, Rejected, Unanswered
from connector.ledger.jobs import DesiredState, Item, ItemResult, ItemStatus, Job, Row
from connector.ledger.liveness import UNREAD_SINCE, worker_key
from connector.ledger.shared_state import recall
from connector.ledger.store import open_ledger
from tests.bulk.dam import wait_for
from tests.bulk.office import Office, on_clock
from tests.closing.small_organization import METADATA

Failing = Callable[[Plan], ConnectorError | None]


@dataclass
class Trouble:
    """An organization in which some plans fail, as `failing` says, without anything being done."""

    organization: Organization
    failing: Failing
    sent: Counter[UUID] = field(default_factory=Counter)
    batches: list[list[UUID]] = field(default_factory=list)

    def metadata(self, needs: MetadataRequest = ONLY_REASONS) -> OrganizationMetadata:
        return self.organization.metadata(needs)

    def observe(
        self, ids: Sequence[UUID], *, activities: bool = False, orders: bool = False
    ) -> Mapping[UUID, Snapshot]:
        return self.organization.observe(ids, activities=activities)

    def perform(self, plans: Sequence[Plan]) -> Sequence[tuple[StepResult, ...]]:
        self.sent.update(plan.opportunity_id for plan in plans)
        self.batches.append([plan.opportunity_id for plan in plans])
        failures = {plan.opportunity_id: self.failing(plan) for plan in plans}
        well = [plan for plan in plans if failures[plan.opportunity_id] is None]
        done = dict(zip([plan.opportunity_id for plan in well], self.organization.perform(well), strict=True))
        return [_results(plan, failures[plan.opportunity_id]) or done[plan.opportunity_id] for plan in plans]


def _results(plan: Plan, failure: ConnectorError | None) -> tuple[StepResult, ...]:
    if failure is None:
        return ()
    status = StepStatus.UNKNOWN if failure.effect.value == "unknown" else StepStatus.FAILED
    return tuple(StepResult(step, status, failure) for step in plan.steps)


@dataclass
class Client:
    organization: Organization
    gate: object
    name: str = "user"
    user: str = "user"


@dataclass
class Virtual:
    """A job on a ledger whose clock is the run's, so that its pauses take no time."""

    office: Office
    organization: Organization
    clock: VirtualClock = field(default_factory=VirtualClock)
    seen: list[ProgressSnapshot] = field(default_factory=list)
    told: list[tuple[str, int, float]] = field(default_factory=list)
    unread_since: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = open_ledger(str(self.office.file.with_name("jobs.db")), self.clock)

    def job(self, ids: list[UUID]) -> RunResult:
        self.ledger.create("june", [Row(number, Intent(id_, Outcome.WON)) for number, id_ in enumerate(ids, 1)])
        return self.run()

    def run(self, most_alike: float = ALIKE) -> RunResult:
        client = Client(self.organization, self.office.connection.clients[0].gate)
        run = Run(
            self.ledger,
            self.ledger.job("june"),
            [client],  # type: ignore[list-item]
            self.watch,
            most_alike=most_alike,
        )
        return run.work("here")

    def watch(self, snapshot: ProgressSnapshot) -> None:
        self.seen.append(snapshot)
        self.told += self.ledger.tried_later("june")
        for worker in self.ledger.workers("june"):
            kept = recall(self.ledger, worker_key(worker.id))
            if kept and isinstance(since := kept.data[UNREAD_SINCE], float):
                self.unread_since.append((self.ledger.now(), since))


def test_rows_are_recorded_while_a_neighbour_is_in_doubt(office: Office) -> None:
    ids = office.open_ids()[:40]
    trouble = Trouble(
        office.connection.organization, lambda plan: Unanswered("lost") if plan.opportunity_id == ids[7] else None
    )
    virtual = Virtual(office, trouble)
    ended = virtual.job(ids)
    assert any(one.in_doubt == 1 and one.counts.of(ItemStatus.CLOSED) == 39 for one in virtual.seen)
    assert ended.counts.of(ItemStatus.FAILED) == 1


@pytest.mark.parametrize("failure", [Broken("crashed", status=500, code="0x8004418d"), Unanswered("lost")])
def test_a_row_that_keeps_failing_costs_a_few_tries_of_its_own_and_nothing_else(
    office: Office, failure: ConnectorError
) -> None:
    ids = office.open_ids()[:40]
    bad = ids[3]
    trouble = Trouble(office.connection.organization, lambda plan: failure if plan.opportunity_id == bad else None)
    virtual = Virtual(office, trouble)
    ended = virtual.job(ids)
    assert ended.counts.of(ItemStatus.CLOSED) == 39
    assert MOST_ATTEMPTS <= trouble.sent.pop(bad) <= 3 * MOST_ATTEMPTS
    assert set(trouble.sent.values()) == {1}
    assert virtual.clock.monotonic() > 60
    again = [batch for batch in trouble.batches if bad in batch][1:]
    assert all(batch == [bad] for batch in again)


def test_what_is_tried_later_is_told_with_its_reason_and_when(office: Office) -> None:
    ids = office.open_ids()[:30]
    failure = Broken("crashed", status=500, code="0x8004418d")
    trouble = Trouble(office.connection.organization, lambda plan: failure if plan.opportunity_id == ids[0] else None)
    virtual = Virtual(office, trouble)
    virtual.job(ids)
    assert {(reason, count) for reason, count, _ in virtual.told} == {("0x8004418d", 1)}
    assert max(seconds for _, _, seconds in virtual.told) > 0
    assert virtual.ledger.tried_later("june") == []


def test_trouble_with_the_user_stops_the_job_and_fails_no_row(office: Office) -> None:
    ids = office.open_ids()[:80]
    lost = Forbidden("The user lacks a privilege.", status=403, code="0x80040220", detail="prvWriteQuote is missing")
    sent: list[UUID] = []

    def failing(plan: Plan) -> ConnectorError | None:
        sent.append(plan.opportunity_id)
        return lost if len(sent) > 20 else None

    ended = Virtual(office, Trouble(office.connection.organization, failing)).job(ids)
    assert ended.blocked is not None
    assert "prvWriteQuote" in str(ended.blocked)
    assert "bulk resume" in str(ended.blocked)
    assert ended.counts.of(ItemStatus.FAILED) == 0
    assert ended.counts.data()["pending"] == 80 - ended.counts.of(ItemStatus.CLOSED) >= 60
    assert office.run(office.ledger.job("june")).well


def test_what_no_list_knows_stops_the_job_too_unless_it_shall_go_on(office: Office) -> None:
    ids = office.open_ids()[:60]
    odd = Rejected("Something odd.", status=400, code="0x80048d0a")
    trouble = Trouble(office.connection.organization, lambda _plan: odd)
    virtual = Virtual(office, trouble)
    ended = virtual.job(ids)
    assert "--keep-going" in str(ended.blocked)
    assert ended.counts.data()["pending"] == 60
    assert virtual.run(most_alike=float("inf")).counts.of(ItemStatus.FAILED) == 60


@pytest.mark.parametrize(
    ("failure", "some"),
    [
        (Rejected("Something odd.", status=400, code="0x80048d0a"), slice(0, 100, 3)),
        (Forbidden("X: the user lacks WriteAccess.", status=403, code="0x80048306"), slice(0, 10)),  # rows of others
    ],
)
def test_single_rows_that_fail_alike_do_not_stop_the_job(office: Office, failure: ConnectorError, some: slice) -> None:
    ids = office.open_ids()[:100]
    bad = set(ids[some])
    trouble = Trouble(office.connection.organization, lambda plan: failure if plan.opportunity_id in bad else None)
    ended = Virtual(office, trouble).job(ids)
    assert ended.blocked is None
    assert (ended.counts.of(ItemStatus.FAILED), ended.counts.of(ItemStatus.CLOSED)) == (len(bad), 100 - len(bad))


def test_a_row_that_something_opens_again_each_time_is_told_as_not_done(office: Office) -> None:
    ids = office.open_ids()[:5]
    office.sql(
        "CREATE TRIGGER again AFTER UPDATE ON opportunity WHEN NEW.statecode = 1 AND "
        f"NEW.opportunityid = '{ids[2]}' BEGIN UPDATE opportunity SET statecode = 0, statuscode = 1 "
        "WHERE opportunityid = NEW.opportunityid; END"
    )
    ended = Virtual(office, office.connection.organization).job(ids)
    assert (ended.counts.of(ItemStatus.FAILED), ended.counts.of(ItemStatus.CLOSED)) == (1, 4)


def test_a_breaker_loses_no_verdict() -> None:
    odd = Rejected("Something odd.", status=400)

    def verdicts(count: int) -> list[RowVerdict]:
        return [RowVerdict(ItemResult(row, 1, ItemStatus.FAILED, "odd"), odd, sent=row + 1) for row in range(count)]

    breaker = Breaker(SendOrder())
    decision = breaker.sift(verdicts(ALIKE - 1))
    assert (decision.record, decision.give_back) == ([], [])
    assert [result.row for result in breaker.end().record] == list(range(ALIKE - 1))
    decision = breaker.sift(verdicts(ALIKE + 5))
    assert [result.row for result in decision.give_back] == list(range(ALIKE + 5))
    assert breaker.open is not None


def test_a_row_that_was_sent_before_the_trouble_and_is_done_proves_nothing() -> None:
    odd = Rejected("Something odd.", status=400)
    order = SendOrder()
    breaker = Breaker(order)
    failed = [RowVerdict(ItemResult(row, 1, ItemStatus.FAILED, "odd"), odd, sent=10 + row) for row in range(3)]
    order.done = 10
    assert breaker.sift(failed).record == []
    order.done = 12
    assert [result.row for result in breaker.sift([]).record] == [0, 1]


def test_what_is_refused_to_the_user_is_left_to_be_done_also_beside_the_last_row_that_is_done() -> None:
    lost = Forbidden("The user lacks a privilege.", status=403, code="0x80040220")
    order = SendOrder()
    for _ in range(6):
        order.next()
    breaker = Breaker(order)
    order.done = 6  # sent after the row that is refused, and carried out before it
    failed = [RowVerdict(ItemResult(4, 1, ItemStatus.FAILED, "lost"), lost, sent=4)]
    assert breaker.sift(failed).record == []
    assert [result.row for result in breaker.end().give_back] == [4]
    breaker = Breaker(order)
    assert breaker.sift(failed).record == []
    order.done = order.next()
    assert [result.row for result in breaker.sift([]).record] == [4]


class Recorder:
    """An organization that keeps who was sent with whom, and which accounts at the same time."""

    def __init__(self, accounts: Mapping[UUID, UUID], hold: threading.Event | None = None) -> None:
        self.accounts = accounts
        self.batches: list[list[UUID]] = []
        self.closed: set[UUID] = set()
        self.looks = self.collisions = 0
        self._hold = hold
        self._busy: Counter[UUID] = Counter()
        self._lock = threading.Lock()

    def metadata(self, needs: MetadataRequest = ONLY_REASONS) -> OrganizationMetadata:
        return METADATA

    def observe(
        self, ids: Sequence[UUID], *, activities: bool = False, orders: bool = False
    ) -> Mapping[UUID, Snapshot]:
        del activities
        self.looks += 1
        return {id_: Snapshot(self._opportunity(id_), ()) for id_ in ids}

    def _opportunity(self, id_: UUID) -> Opportunity:
        state, status = (OpportunityState.WON, 3) if id_ in self.closed else (OpportunityState.OPEN, 1)
        return Opportunity(id_, "", state, status, "", customer_id=self.accounts[id_])

    def perform(self, plans: Sequence[Plan]) -> Sequence[tuple[StepResult, ...]]:
        accounts = {self.accounts[plan.opportunity_id] for plan in plans}
        with self._lock:
            self.batches.append([plan.opportunity_id for plan in plans])
            self.collisions += sum(self._busy[account] for account in accounts)
            self._busy.update(accounts)
        if self._hold is not None:
            self._hold.wait()
        results = [tuple(StepResult(step, StepStatus.DONE) for step in plan.steps) for plan in plans]
        with self._lock:
            self._busy.subtract(accounts)
            self.closed |= {plan.opportunity_id for plan in plans}
        return results


@dataclass(frozen=True)
class Gate:
    """A pacer that lets through so many at once, of at most so many parts; it stands still."""

    most_in_flight: int
    most_parts: int
    binding: str = "latency"
    waiting: float = 0.0
    ceiling: float = 10.0
    in_flight: int = 0
    servers: int = 1
    seconds_per_part: float = 0.01
    requests: int = 0
    executed: float = 0.0
    refused: int = 0
    spread: float = 0.0
    since_sent: float = 0.0
    usual_seconds: float = 0.01
    unlike: int = 0
    hanging: float = 0.0
    carried: int = 0

    def close(self) -> None: ...

    def open(self) -> None: ...

    def width(self) -> int:
        return self.most_in_flight

    def pace(self) -> Gate:
        return self

    def expect(self, parts: float, ready: int = 0) -> int | None:
        if parts - ready > self.carried:
            return 0
        return None if ready else self.carried

    def parts(self) -> int:
        return self.most_parts

    def fewest_parts(self, waiting: float) -> int:
        return 1


def through(recorder: Recorder, gate: Gate, threads: Executor) -> Pipeline:
    client = Client(recorder, gate)
    pipeline = Pipeline(client, threads, SystemClock(), lambda: 0.5, lambda: None, SendOrder())  # type: ignore[arg-type]
    pipeline.add([Item(row, 1, 1, Intent(id_, Outcome.WON)) for row, id_ in enumerate(recorder.accounts, 1)])
    return pipeline


def finish(pipeline: Pipeline) -> None:
    def idle() -> bool:
        pipeline.go_on(0)
        return pipeline.idle

    wait_for(idle)


@given(accounts=st.lists(st.integers(0, 12), min_size=1, max_size=80), size=st.integers(1, 20), width=st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_every_row_is_sent_once_and_no_account_twice_at_a_time(accounts: list[int], size: int, width: int) -> None:
    recorder = Recorder({UUID(int=number): UUID(int=1000 + account) for number, account in enumerate(accounts)})
    with ThreadPoolExecutor(12) as threads:
        pipeline = through(recorder, Gate(width, size), threads)
        finish(pipeline)
        decisions = pipeline.take_decisions()
    assert sorted(id_ for batch in recorder.batches for id_ in batch) == sorted(recorder.accounts)
    assert max(len(batch) for batch in recorder.batches) <= size
    assert recorder.collisions == 0
    assert len(decisions.verdicts) == len(accounts)
    assert {verdict.result.status for verdict in decisions.verdicts} == {ItemStatus.CLOSED}


def test_a_small_job_is_spread_over_all_that_may_be_in_flight() -> None:
    door = threading.Event()
    recorder = Recorder({UUID(int=number): UUID(int=1000 + number) for number in range(60)}, door)
    with ThreadPoolExecutor(40) as threads:
        pipeline = through(recorder, Gate(30, 50), threads)
        wait_for(lambda: len(recorder.batches) >= 30)
        door.set()
        finish(pipeline)
    assert max(len(batch) for batch in recorder.batches) <= 2


class Kept(Executor):
    """Keeps what it is given until somebody lets it go."""

    def __init__(self) -> None:
        self.kept: list[tuple[Callable[[], Any], Future[Any]]] = []

    def submit(self, work: Callable[..., Any], /, *_arguments: Any, **_named: Any) -> Future[Any]:
        self.kept.append((work, Future()))
        return self.kept[-1][1]

    def let_go(self, number: int) -> None:
        work, future = self.kept[number]
        future.set_result(work())


def test_after_an_outage_it_goes_on_as_soon_as_anything_gets_through() -> None:
    recorder, threads = Recorder({UUID(int=number): UUID(int=1000 + number) for number in (1, 2)}), Kept()
    client = Client(Unreachable(recorder, UUID(int=1)), Gate(4, 1))
    pipeline = Pipeline(client, threads, VirtualClock(), lambda: 0.5, lambda: None, SendOrder())  # type: ignore[arg-type]
    for row in (1, 2):
        pipeline.add([Item(row, 1, 1, Intent(UUID(int=row), Outcome.WON))])
    threads.let_go(0)
    assert pipeline.state().out
    assert pipeline.wants() == 0
    threads.let_go(1)
    assert not pipeline.state().out
    assert len(threads.kept) == 3, "what could be read is sent"


@dataclass
class Unreachable:
    """An organization that cannot be reached when one row is asked for."""

    recorder: Recorder
    row: UUID

    def metadata(self, needs: MetadataRequest = ONLY_REASONS) -> OrganizationMetadata:
        return self.recorder.metadata(needs)

    def observe(
        self, ids: Sequence[UUID], *, activities: bool = False, orders: bool = False
    ) -> Mapping[UUID, Snapshot]:
        if self.row in ids:
            raise NotSent("There is no way.")
        return self.recorder.observe(ids, activities=activities, orders=orders)

    def perform(self, plans: Sequence[Plan]) -> Sequence[tuple[StepResult, ...]]:
        return self.recorder.perform(plans)


class Held(Executor):
    """Carries reads at once, and keeps writes."""

    def __init__(self) -> None:
        self.kept: list[Future[Any]] = []

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future = Future[Any]()
        if getattr(getattr(work, "func", None), "__name__", "") == "perform":
            self.kept.append(future)
        else:
            future.set_result(work(*arguments, **named))
        return future


@pytest.mark.parametrize(("binding", "ready"), [("latency", 53), ("time", 6 + 4), ("waiting", 6 + 4)])
def test_few_requests_are_made_ready_while_they_must_wait_for_their_time(binding: str, ready: int) -> None:
    """They could not go with the last one any more; and what waits is not in flight."""
    recorder, threads = Recorder({UUID(int=number): UUID(int=1000 + number) for number in range(60)}), Held()
    pipeline = through(recorder, Gate(51, 1, binding=binding, in_flight=4), threads)
    state = pipeline.state()
    assert (len(threads.kept), state.in_flight, state.waiting) == (ready, 4, 56)


def test_the_last_rows_are_sent_together_where_the_pacer_says_so() -> None:
    recorder = Recorder({UUID(int=number): UUID(int=1000 + number) for number in range(40)})
    with ThreadPoolExecutor(12) as threads:
        pipeline = through(recorder, Gate(4, 1, in_flight=8, carried=17), threads)
        finish(pipeline)
    assert sorted(len(batch) for batch in recorder.batches)[-2:] == [1, 17]
    assert pipeline.state().largest == 17


class SlowToCheck(Recorder):
    """An organization in which rows that are closed cannot be read before the door is open."""

    checks = 0

    def observe(
        self, ids: Sequence[UUID], *, activities: bool = False, orders: bool = False
    ) -> Mapping[UUID, Snapshot]:
        if self._hold is not None and not self.closed.isdisjoint(ids):
            self.checks += 1
            self._hold.wait()
        return super().observe(ids, activities=activities, orders=orders)

    def perform(self, plans: Sequence[Plan]) -> Sequence[tuple[StepResult, ...]]:
        self.closed |= {plan.opportunity_id for plan in plans}
        return [tuple(StepResult(step, StepStatus.DONE) for step in plan.steps) for plan in plans]


def test_checks_that_take_long_hold_up_no_row_and_are_the_more_at_once_the_more_rows_wait() -> None:
    door = threading.Event()
    recorder = SlowToCheck({UUID(int=number): UUID(int=10_000 + number) for number in range(2_000)}, door)
    with ThreadPoolExecutor(30) as threads:
        pipeline = through(recorder, Gate(8, 10), threads)
        try:
            wait_for(lambda: len(recorder.closed) == len(recorder.accounts) and recorder.checks > 2)
        finally:
            door.set()
        finish(pipeline)
    assert len(pipeline.take_decisions().verdicts) == len(recorder.accounts)


def test_when_it_stops_nothing_more_is_sent_and_what_was_not_sent_is_given_back() -> None:
    door = threading.Event()
    recorder = Recorder({UUID(int=number): UUID(int=1000 + number) for number in range(60)}, door)
    with ThreadPoolExecutor(12) as threads:
        pipeline = through(recorder, Gate(4, 1), threads)
        wait_for(lambda: len(recorder.batches) == 6)
        pipeline.stop()
        door.set()
        finish(pipeline)
        decisions = pipeline.take_decisions()
    assert len(recorder.batches) == len(decisions.verdicts) == 6
    assert len(decisions.untouched) == 54


@pytest.mark.parametrize(
    ("detail", "plug_in", "reason"),
    [
        ("Approval 7 is missing.", "Contoso.Approval", "0x80040265 Approval # is missing."),
        ("", "Contoso.Approval", "0x80040265 Contoso.Approval, which gives no reason"),
        ("", "", "0x80040265"),
    ],
)
def test_rows_are_counted_by_what_the_organization_said_else_by_who_refused(
    detail: str, plug_in: str, reason: str
) -> None:
    assert reason_of(Rejected("x", status=400, code="0x80040265", detail=detail, origin=Origin(plug_in))) == reason


def test_rows_behind_one_that_hangs_keep_out_no_rows_of_other_accounts(office: Office) -> None:
    door = threading.Event()
    recorder = Recorder({UUID(int=number): UUID(int=1000) for number in range(200)}, door)
    with ThreadPoolExecutor(12) as threads:
        pipeline = through(recorder, Gate(4, 1, in_flight=1), threads)
        wait_for(lambda: pipeline.state().behind == 199)
        assert pipeline.wants() >= 100, "as many as if they were not there, up to a bound"
        job = office.job("june", [UUID(int=number) for number in range(200)])
        snapshot = forecast(office, job, pipeline.state(), 0.0)
        assert snapshot.binding == "account"
        door.set()
        finish(pipeline)


@pytest.mark.parametrize(("seconds", "binding", "known"), [(10.0, "at_most", True), (60.0, "latency", False)])
def test_no_end_is_told_while_nothing_comes_back(office: Office, seconds: float, binding: str, known: bool) -> None:
    limits = {"limits": {"at_most": "5/s"}}
    rows = [Row(number, Intent(UUID(int=number), Outcome.WON)) for number in range(1, 201)]
    job = office.ledger.create("june", rows, options=limits)
    state = PipelineState(waiting=0, in_flight=5, in_doubt=0, answered=30, largest=1)
    snapshot = forecast(office, job, state, seconds)
    assert (snapshot.binding, snapshot.left is not None) == (binding, known)


@pytest.mark.parametrize(("fails", "unread"), [(5, 0), (10**6, 20)])
def test_checks_that_fail_back_off_and_keep_their_age_and_none_is_forgotten(
    office: Office, fails: int, unread: int
) -> None:
    trouble = UnreadAfter(office.connection.organization, lambda _plan: None, fails=fails)
    virtual = Virtual(office, trouble, trouble.clock)
    ended = virtual.job(office.open_ids()[:20])
    assert (ended.counts.of(ItemStatus.CLOSED), ended.counts.not_read_again, ended.well) == (20, unread, not unread)
    gaps = [later - at for at, later in itertools.pairwise(trouble.at)]
    assert all(gap >= 2 for gap in gaps[:4])
    assert {since <= trouble.at[0] for now, since in virtual.unread_since if trouble.at[0] < now <= trouble.at[-1]} == {
        True
    }
    assert any(snapshot.binding == "outage" for snapshot in virtual.seen)


@dataclass
class UnreadAfter(Trouble):
    """An organization in which the first `fails` reads after a write fail, at the times `at` of its clock."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    fails: int = 0
    at: list[float] = field(default_factory=list)

    def observe(
        self, ids: Sequence[UUID], *, activities: bool = False, orders: bool = False
    ) -> Mapping[UUID, Snapshot]:
        if self.sent and len(self.at) < self.fails:
            self.at.append(self.clock.now().timestamp())
            raise Unanswered("lost")
        return super().observe(ids, activities=activities)


def test_an_outage_is_told_as_what_holds_the_job(office: Office) -> None:
    job = office.job("june", [UUID(int=number) for number in range(1, 201)])
    state = PipelineState(waiting=100, in_flight=0, in_doubt=0, answered=30, largest=1, out=True)
    snapshot = forecast(office, job, state, 5.0)
    assert (snapshot.binding, snapshot.left) == ("outage", None)


def forecast(office: Office, job: Job, state: PipelineState, seconds: float) -> ProgressSnapshot:
    """What is told of a job of which 30 rows were recorded so many seconds ago, and none since."""
    clock, counts = VirtualClock(), office.ledger.counts(job.name)
    meter = ProgressMeter(job, [Client(METADATA, Gate(104, 1))], counts, clock)  # type: ignore[arg-type, list-item]
    meter.recorded(30)
    clock.sleep(1.0)
    allowance = RunAllowance(on_clock(office.ledger, clock), job)
    meter.snapshot(counts, [state], DesiredState.RUN, allowance, short=True)
    clock.sleep(seconds)
    return meter.snapshot(counts, [state], DesiredState.RUN, allowance, short=True)
