from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from connector.bulk.job_rules import may_begin, undo_rows
from connector.bulk.machine import Machine
from connector.bulk.results import write_results
from connector.bulk.run import pipeline
from connector.bulk.run.paced_client import Pacer
from connector.bulk.run.progress_meter import ProgressSnapshot
from connector.bulk.run.runner import Run
from connector.bulk.status import status_data, together
from connector.bulk.time_slices import TimeSlice
from connector.clock import VirtualClock
from connector.closing.close import fulfil_many
from connector.closing.model import (
    Intent,
    OrganizationMetadata,
    Outcome,
    Plan,
    ReportStatus,
    Snapshot,
    StepResult,
)
from connector.closing.organization import ONLY_REASONS, MetadataRequest, Organization
from connector.errors import ConnectorError, LedgerError, NotSent, SignInError
from connector.ledger.audit import AuditFilter
from connector.ledger.jobs import DesiredState, ItemStatus, JobKind
from connector.ledger.shared_state import SavedState
from tests.bulk.dam import PATIENCE
from tests.bulk.office import Office, leave_unread, on_clock


def test_every_row_is_closed_once_with_few_requests(office: Office) -> None:
    ids = office.open_ids()
    ending = office.run(office.job("june", ids))
    assert ending.well
    assert ending.counts.data()["closed"] == len(ids) == 300
    assert office.open_ids() == []
    assert all(office.closes()[str(id_)] == 1 for id_ in ids)
    assert office.requests() / len(ids) <= 1.1


def test_rows_that_cannot_be_closed_are_accounted_for_and_do_not_stop_the_others(office: Office) -> None:
    ids = office.open_ids()[:20]
    office.run(office.job("lost", ids[:5], Outcome.LOST))
    ending = office.run(office.job("won", [*ids, uuid4()]))
    data = ending.counts.data()
    assert (data["closed"], data["refused"], data["failed"]) == (15, 5, 1)
    assert ending.counts.reasons == {
        (ItemStatus.REFUSED, "closed_with_other_outcome"): 5,
        (ItemStatus.FAILED, "NotFound"): 1,
    }
    assert not ending.well
    assert not ending.stopped


def test_a_second_run_of_a_job_changes_nothing(office: Office) -> None:
    job = office.job("june", office.open_ids()[:30])
    office.run(job)
    before = office.requests()
    assert office.run(office.ledger.job("june")).well
    assert office.requests() == before


def test_another_job_finds_what_is_closed_already(office: Office) -> None:
    ids = office.open_ids()[:10]
    office.run(office.job("june", ids))
    ending = office.run(office.job("july", ids))
    assert ending.well
    assert ending.counts.of(ItemStatus.ALREADY_CLOSED) == 10


def test_stopping_finishes_what_is_in_flight_and_leaves_the_rest_to_the_next_run(office: Office) -> None:
    ids = office.open_ids()
    job = office.job("june", ids)
    runs: list[Run] = []

    def stop(moment: ProgressSnapshot) -> None:
        if moment.in_hand:
            runs[0].stop()
            office.door.set()

    runs.append(Run(office.ledger, job, _interrupted(office), stop))
    ending = runs[0].work("here")
    closed = ending.counts.of(ItemStatus.CLOSED)
    assert ending.stopped
    assert closed == len(ids) - len(office.open_ids()) < len(ids)
    assert ending.counts.data()["pending"] == len(ids) - closed
    alone = fulfil_many(office.connection.organization, [Intent(office.open_ids()[0], Outcome.WON)])
    assert [report.status for report in alone] == [ReportStatus.CLOSED], "who shares the way with a run that has ended"
    assert office.run(office.ledger.job("june")).well
    assert set(office.closes().values()) == {1}


def test_a_stop_waits_for_nothing_that_a_retry_after_holds(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "CHECK_WITHIN", 1e9)
    ids, runs, office.most_writes[0] = office.open_ids(), list[Run](), 20
    client = _Client(office.connection.organization, _OneByOne(office.connection.clients[0].gate))
    held: list[ProgressSnapshot] = []

    def stop(moment: ProgressSnapshot) -> None:
        if moment.waiting and moment.counts.of(ItemStatus.CLOSED) == 20:
            held.append(moment)
            runs[0].stop()

    runs.append(Run(office.ledger, office.job("june", ids), [client], stop))
    ending = runs[0].work("here")
    assert held[0].waiting > 0
    assert held[-1].in_hand == 0, "what waits in front of the gate is not in flight"
    assert (ending.counts.of(ItemStatus.CLOSED), ending.counts.of(ItemStatus.PENDING)) == (20, 280)
    assert len(office.open_ids()) == 280
    assert ending.counts.not_read_again == 20
    assert not ending.well


def test_what_others_leave_unread_meanwhile_is_read_by_who_goes_on(office: Office) -> None:
    left: list[int] = []

    def watch(snapshot: ProgressSnapshot) -> None:
        if not left and snapshot.counts.of(ItemStatus.CLOSED) >= 20:
            left.append(leave_unread(office.ledger, "june"))  # another worker closed these, and was stopped

    job = office.job("june", office.open_ids())
    ending = Run(office.ledger, job, office.connection.clients, watch).work("here")
    assert left[0] >= 20
    assert ending.counts.not_read_again == 0
    assert ending.counts.of(ItemStatus.CLOSED) == 300
    assert set(office.closes().values()) == {1}


def test_where_the_store_fails_nothing_is_waited_for_either(office: Office) -> None:
    gate = _OneByOne(office.connection.clients[0].gate)
    client = _Client(office.connection.organization, gate)

    def full(_snapshot: ProgressSnapshot) -> None:
        raise LedgerError("The disk is full.")

    with pytest.raises(LedgerError, match="disk is full"):
        Run(office.ledger, office.job("june", office.open_ids()), [client], full).work("here")
    assert "close" in gate.calls, "so that what waits in front of it ends, and with it the threads"


def test_rows_that_a_killed_run_had_closed_and_not_checked_are_looked_at_again(office: Office) -> None:
    ids = office.open_ids()[:20]
    office.run(office.job("june", ids))
    leave_unread(office.ledger, "june")
    told: list[str] = []
    assert may_begin(office.ledger, "june", told.append, join=False) == 20
    assert told == ["To be read again, since an earlier run ended just after it did them: 20 rows."]
    assert office.ledger.counts("june").of(ItemStatus.CLOSED) == 20, "until somebody agrees nothing is changed"
    closed = [record.ended for record in office.ledger.records("june")]
    job, stopped = office.ledger.job("june"), office.ledger.enter("stopped", "june")
    stopped.release(job, stopped.claim(job, 5))  # before it had read them, so the next one has to
    stopped.leave()
    requests = office.requests()
    ending = office.run(job)
    assert ending.counts.of(ItemStatus.CLOSED) == 20, "by the run that was killed, as their close activities tell"
    reports: list[Any] = [record.report for record in office.ledger.records("june")]
    assert {(report["before"]["state"], bool(report["steps"])) for report in reports} == {(0, True)}, "as undo needs it"
    assert len([*office.ledger.audit.entries(AuditFilter())]) == 20, "each was closed once"
    assert [record.ended for record in office.ledger.records("june")] == closed, "and not when it was read again"
    assert office.requests() - requests == 3, "one look at all of them, two at their close activities, and no write"
    assert may_begin(office.ledger, "june", told.append, join=False) == 0


def test_undo_says_what_it_cannot_bring_back_of_a_row_that_a_killed_run_closed_and_did_not_record(
    office: Office, tmp_path: Path
) -> None:
    (id_,) = office.open_ids()[:1]
    office.sql("UPDATE opportunity SET actualvalue = 5 WHERE opportunityid = ?", str(id_))
    job = office.job("june", [id_])
    dead = office.ledger.enter("dead:1", "june")
    (item,) = dead.claim(job, 1)
    fulfil_many(office.connection.organization, [item.intent])
    dead.leave()
    assert office.run(job).counts.of(ItemStatus.CLOSED) == 1
    undoing = office.ledger.create("june.undo", undo_rows(office.ledger, job), kind=JobKind.REOPEN, undoes="june")
    assert office.run(undoing).counts.of(ItemStatus.REOPENED) == 1
    write_results(tmp_path / "undo.csv", office.ledger, "june.undo")
    assert "what it was before the close is not known" in (tmp_path / "undo.csv").read_text(encoding="utf-8-sig")


def test_rows_that_a_killed_undo_had_opened_and_not_checked_are_looked_at_again(office: Office) -> None:
    office.run(office.job("june", office.open_ids()[:20]))
    rows = undo_rows(office.ledger, office.ledger.job("june"))
    undoing = office.ledger.create("june.undo", rows, kind=JobKind.REOPEN, undoes="june")
    assert office.run(undoing).counts.of(ItemStatus.REOPENED) == 20
    assert leave_unread(office.ledger, "june.undo") == 20
    assert may_begin(office.ledger, "june.undo", lambda _sentence: None, join=False) == 20
    ending = office.run(office.ledger.job("june.undo"))
    assert (ending.counts.of(ItemStatus.REOPENED), ending.counts.not_read_again) == (20, 0), "it was this job still"
    assert office.ledger.counts("june").of(ItemStatus.UNDONE) == 20


def test_a_paused_job_stops_by_itself_and_goes_on_when_resumed(office: Office) -> None:
    job = office.job("june", office.open_ids())

    def pause(moment: ProgressSnapshot) -> None:
        if moment.in_hand:
            office.ledger.set_desired_state("june", DesiredState.PAUSE)
        if moment.desired_state is DesiredState.PAUSE:
            office.door.set()

    ending = Run(office.ledger, job, _interrupted(office), pause).work("here")
    assert ending.desired_state is DesiredState.PAUSE
    assert ending.stopped
    office.ledger.set_desired_state("june", DesiredState.RUN)
    assert office.run(office.ledger.job("june")).well


def test_what_a_killed_run_had_closed_is_told_as_closed_by_this_job(office: Office) -> None:
    ids = office.open_ids()[:12]
    job = office.job("june", ids)
    killed = office.ledger.enter("killed", "june")
    items = killed.claim(job, 100)
    intents = [item.intent for item in items if isinstance(item.intent, Intent)][:5]
    fulfil_many(office.connection.organization, intents, pause=office.clock.sleep)
    killed.leave()
    ending = office.run(job)
    assert ending.counts.of(ItemStatus.CLOSED) == 12
    assert {office.closes()[str(id_)] for id_ in ids} == {1}


def test_a_run_that_nothing_gets_through_waits_and_then_finishes(office: Office) -> None:
    client = _Client(
        _Trouble(office.connection.organization, NotSent("No connection."), 10), office.connection.clients[0].gate
    )
    job = office.job("june", office.open_ids()[:40])
    clock = VirtualClock()
    ending = Run(on_clock(office.ledger, clock), job, [client], lambda _moment: None).work("here")
    assert ending.well
    assert clock.monotonic() > 20


def test_a_sign_in_that_needs_a_person_stops_the_run_and_fails_no_row(office: Office) -> None:
    trouble = _Trouble(office.connection.organization, SignInError("The secret has expired."), 10**9)
    job = office.job("june", office.open_ids()[:40])
    client = _Client(trouble, office.connection.clients[0].gate)
    ending = Run(on_clock(office.ledger, VirtualClock()), job, [client], lambda _moment: None).work("here")
    assert isinstance(ending.blocked, SignInError)
    assert ending.counts.data()["pending"] == 40
    assert ending.counts.of(ItemStatus.FAILED) == 0
    last = status_data(office.ledger, office.ledger.job("june"))["last_run"]
    assert isinstance(last, dict)
    assert (last["why"], last["message"]) == ("blocked", "The secret has expired.")


def test_no_end_is_told_while_one_of_several_workers_waits_and_does_not_know_its_own() -> None:
    def state(left: float | None, waiting: float) -> SavedState:
        pace: dict[str, object] = {"binding": "time", "rate": 1.0, "ceiling": 1.0, "users": [{"requests": 1}]}
        return SavedState(pace | {"left": left, "waiting": waiting}, datetime.fromtimestamp(0, UTC))

    ends = [together([state(20.0, 0.0), state(*other)], 0.0) for other in ((20.0, 0.0), (None, 0.0), (None, 200.0))]
    assert [end["left"] if end else "" for end in ends] == [10.0, 20.0, None]


def test_what_holds_those_that_have_rows_is_told_and_not_that_others_have_none_left() -> None:
    states = [
        SavedState(
            {
                "binding": name,
                "rate": 0.0,
                "ceiling": 1.0,
                "left": None,
                "waiting": seconds,
                "users": [{"requests": n}],
            },
            datetime.fromtimestamp(0, UTC),
        )
        for name, seconds, n in (("rows", 0.0, 900), ("waiting", 200.0, 300))
    ]
    pace = together(states, 0.0)
    assert pace is not None
    assert (pace["binding"], pace["waiting"]) == ("waiting", 200.0)


def test_a_turn_that_comes_after_the_stop_touches_nothing(office: Office, postgres_store: str) -> None:
    client = _Client(office.connection.organization, office.connection.clients[0].gate)
    office.run(office.job("june", office.open_ids()[:5]))
    leave_unread(office.ledger, "june")
    told: list[str] = []
    machine = Machine(postgres_store, office.ledger, "", {"client": client}, tell=told.append)
    machine._held["client"] = None  # type: ignore[assignment]
    machine.stop()
    assert not machine._carry_out(TimeSlice("june", "client"))
    assert office.ledger.counts("june").not_read_again == 5


def test_two_runs_of_one_job_share_its_rows(office: Office) -> None:
    job = office.job("june", office.open_ids())
    endings = []
    threads = [
        threading.Thread(
            target=lambda: endings.append(Run(office.ledger, job, office.connection.clients, lambda _m: None).work("x"))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(endings) == 2
    assert office.ledger.counts("june").of(ItemStatus.CLOSED) == 300
    assert set(office.closes().values()) == {1}


def test_it_tells_how_it_goes(office: Office) -> None:
    moments: list[ProgressSnapshot] = []
    office.run(office.job("june", office.open_ids()), moments)
    assert moments[-1].counts.of(ItemStatus.CLOSED) == 300
    assert moments[-1].ceiling
    assert all(moment.counts.total == 300 for moment in moments)


@dataclass
class _Client:
    organization: Organization
    gate: Pacer
    name: str = "client"
    user: str = "somebody"


class _OneByOne:
    """A governor that lets one opportunity through at a time."""

    def __init__(self, gate: object) -> None:
        self._gate = gate
        self.calls: list[str] = []

    def parts(self) -> int:
        return 1

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self._gate, name)


def _interrupted(office: Office) -> list[_Client]:
    """Return a client whose writes are not answered before the door is opened: it is surely stopped in the middle."""
    office.door.clear()
    return [_Client(office.connection.organization, _OneByOne(office.connection.clients[0].gate))]


@dataclass
class _Trouble:
    """An organization that cannot be reached for so many looks."""

    organization: Organization
    error: ConnectorError
    times: int

    def metadata(self, needs: MetadataRequest = ONLY_REASONS) -> OrganizationMetadata:
        return self.organization.metadata(needs)

    def observe(
        self, ids: Sequence[UUID], *, activities: bool = False, orders: bool = False
    ) -> Mapping[UUID, Snapshot]:
        self.times -= 1
        if self.times >= 0:
            raise self.error
        return self.organization.observe(ids, activities=activities)

    def perform(self, plans: Sequence[Plan]) -> Sequence[tuple[StepResult, ...]]:
        return self.organization.perform(plans)


@pytest.mark.parametrize("size", [1, 7, 50])
def test_any_batch_size_gives_the_same_result(office: Office, size: int) -> None:
    gate = _OneByOne(office.connection.clients[0].gate)
    gate.parts = lambda: size  # type: ignore[method-assign]
    job = office.job("june", office.open_ids()[:60])
    client = _Client(office.connection.organization, gate)
    assert Run(office.ledger, job, [client], lambda _moment: None).work("here").well
