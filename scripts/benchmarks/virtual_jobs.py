"""Bulk jobs of any size on a virtual clock: the run, the pipeline, the governor and the ledger of a real one.

Only the network and the organization are simulated: every opportunity has two active quotes, requests wait for the
governor in order, the limits, workers and refusals are the emulator's own. Client and emulator take no time.
"""

from __future__ import annotations

import random
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from connector.bulk.run.progress_meter import ProgressSnapshot
from connector.bulk.run.runner import Run
from connector.bulk.status import status_data
from connector.closing.model import (
    Intent,
    Opportunity,
    OpportunityState,
    OrganizationMetadata,
    Outcome,
    Plan,
    Quote,
    QuoteState,
    Snapshot,
    StatusReason,
    StepResult,
    StepStatus,
)
from connector.closing.organization import ONLY_REASONS, MetadataRequest
from connector.dataverse.answers import error_from
from connector.dataverse.pacing.gate import WRITES
from connector.dataverse.pacing.governor import Governor
from connector.dataverse.pacing.permits import Feedback, Permit, Wait
from connector.emulator.limits.faults import PLUGIN_LIMIT
from connector.emulator.limits.protection import Admission, Limits, Protection, Throttle
from connector.handler import Response
from connector.ledger.jobs import ItemStatus, Row
from connector.ledger.store import open_ledger
from connector.rehearsal.virtual_lane import VirtualGate
from connector.rehearsal.virtual_time import VirtualTime, VirtualWake
from scripts.benchmarks.governor_jobs import least_seconds
from scripts.benchmarks.jobs import JOB, OURS, Cell, JobRun, Watched
from scripts.benchmarks.scenarios import drawn
from scripts.benchmarks.served import opportunity_key, quote_key
from scripts.benchmarks.virtual_service import refusal

USER = "user"
TRANSPORT = 0.02
"""Seconds there and back."""
READ, SPREAD = 0.15, 0.35
"""Seconds of work of a batch of reads, and the spread of all work, as the emulator's model has them."""
STARTING_READS, STARTING_READ = 6, 0.1
"""What the command reads of the organization before the first row, side by side; time counts from the row on."""
LOOKS = 4000
"""Looks at what is told in the least time of a job, but not more than fifty a second."""
SHORTEST_LOOK = 0.02
MEMORY = "/dev/shm"  # noqa: S108 - a folder of its own is made there
_TIMED_OUT = Response(400, (), b'{"error": {"code": "0x80044172", "message": "The operation has timed-out."}}')
"""What the emulator answers for a plug-in that is cut off."""
_REASONS = OrganizationMetadata(
    tuple(StatusReason(value, state, default=True, labels=()) for value, state in ((1, 0), (3, 1), (4, 2))),
    tuple(StatusReason(value, state, default=True, labels=()) for value, state in ((1, 0), (2, 1), (4, 2), (5, 3))),
)


class SimulatedOrganization:
    """Open opportunities with two active quotes each; those in `bad` end in a plug-in's timeout each time."""

    def __init__(self, bad: Sequence[int], time: VirtualTime) -> None:
        self._time = time
        self.last_at = 0.0
        self.bad = {opportunity_key(number) for number in bad}
        self.closed: set[int] = set()
        self.twice = 0

    def metadata(self, needs: MetadataRequest = ONLY_REASONS) -> OrganizationMetadata:
        """Return the default status reasons."""
        del needs
        return _REASONS

    def observe(
        self, ids: Sequence[UUID], *, activities: bool = False, orders: bool = False
    ) -> Mapping[UUID, Snapshot]:
        """Return what stands; nobody asks for the activities of an open opportunity in vain."""
        del activities, orders
        return {key: _snapshot(key, closed=_number(key) in self.closed) for key in ids}

    def perform(self, plans: Sequence[Plan]) -> Sequence[tuple[StepResult, ...]]:
        """Close what can be closed."""
        return [self._perform(plan) for plan in plans]

    def _perform(self, plan: Plan) -> tuple[StepResult, ...]:
        if plan.opportunity_id in self.bad:
            failed = StepResult(plan.steps[0], StepStatus.FAILED, error_from(_TIMED_OUT, "Closing"))
            return failed, *[StepResult(step, StepStatus.NOT_RUN) for step in plan.steps[1:]]
        self.twice += _number(plan.opportunity_id) in self.closed
        self.closed.add(_number(plan.opportunity_id))
        self.last_at = self._time.monotonic()
        return tuple([StepResult(step, StepStatus.DONE) for step in plan.steps])


def _number(key: UUID) -> int:
    return key.int >> 16 & 0xFFFFFFFF


def _snapshot(key: UUID, *, closed: bool) -> Snapshot:
    state, status = (OpportunityState.LOST, 4) if closed else (OpportunityState.OPEN, 1)
    of_quotes = (QuoteState.CLOSED, 5) if closed else (QuoteState.ACTIVE, 2)
    quotes = [
        Quote(quote_key(_number(key), which), "Quote", f"QUO-{which}", *of_quotes, version=f"W/{closed:d}")
        for which in (1, 2)
    ]
    return Snapshot(Opportunity(key, "Opportunity", state, status, f"W/{closed:d}"), tuple(quotes))


@dataclass(slots=True)
class _Request:
    """Work of the pipeline on its way: what it does in the end, and the seconds of work drawn for it."""

    work: Callable[[], object]
    kind: str
    parts: int
    seconds: float
    future: Future[Any] = field(default_factory=Future)


class VirtualNetwork(Executor):
    """Carries the pipeline's requests to the organization and back, each when the governor lets it go."""

    def __init__(self, cell: Cell, time: VirtualTime, organization: SimulatedOrganization, seed: int) -> None:
        self.governor = Governor(0.0, connections=float("inf"), chance=random.Random(seed))
        self.protection = Protection(Limits(servers=cell.servers), seed=seed)
        self.requests = self.refused = self.early = 0
        self.first_write = float("inf")
        self._time = time
        self._organization = organization
        self._seconds = drawn((cell.seconds,), SPREAD)
        self._reads = drawn((READ,), SPREAD)
        self._chance = random.Random(seed)
        self.times = [self._seconds(self._chance, 0.0) for _ in range(cell.good_rows)]
        self._drawn = iter(self.times)
        self._waiting: deque[_Request] = deque()
        self._asking_at = float("inf")
        self._told_until = float("-inf")

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Take work of the pipeline: a look at a group of rows, or the plans of a batch."""
        assert isinstance(work, partial)
        assert not arguments
        assert not named
        if work.func == self._organization.perform:
            (plans,) = work.args
            seconds = sum(self._work_of(plan) for plan in plans)
            request = _Request(work, WRITES, len(plans), seconds)
        else:
            request = _Request(work, "batch of reads", 2, self._reads(self._chance, 0.0))
        return self._send(request)

    def start(self) -> None:
        """Let the reads before the first row be answered."""
        reads = [self._send(_Request(bool, "read", 1, STARTING_READ)) for _ in range(STARTING_READS)]
        while not all(read.done() for read in reads):
            self._time.sleep(TRANSPORT)

    def _send(self, request: _Request) -> Future[Any]:
        self._waiting.append(request)
        self._time.at(self._time.monotonic(), self._ask)
        return request.future

    def _work_of(self, plan: Plan) -> float:
        if plan.opportunity_id in self._organization.bad:
            return PLUGIN_LIMIT
        return next(self._drawn, self._seconds(self._chance, 0.0))

    def _ask(self) -> None:
        """Send as many requests as the governor lets through, and ask again when it says."""
        now = self._time.monotonic()
        while self._waiting:
            leave = self.governor.ask(now, self._waiting[0].kind, self._waiting[0].parts)
            if isinstance(leave, Wait):
                if leave.until < self._asking_at or self._asking_at <= now:
                    self._asking_at = leave.until
                    if leave.until < float("inf"):
                        self._time.at(leave.until, self._ask)
                return
            request = self._waiting.popleft()
            self.requests += 1
            if request.kind == WRITES:
                self.first_write = min(self.first_write, now)
            self.early += now < self._told_until
            self._time.at(now + TRANSPORT / 2, partial(self._arrive, request, leave))

    def _arrive(self, request: _Request, permit: Permit) -> None:
        now, protection = self._time.monotonic(), self.protection
        server = protection.route(permit.server or None)
        verdict = protection.arrive(USER, server, now, seconds=request.seconds)
        if isinstance(verdict, Throttle):
            self._time.at(now, partial(self._refused, request, permit, verdict))
        else:
            self._time.at(verdict.ends, partial(self._leave, request, permit, verdict))

    def _refused(self, request: _Request, permit: Permit, throttle: Throttle) -> None:
        self.refused += 1
        self._told_until = max(self._told_until, self._time.monotonic() + throttle.retry_after)
        self._waiting.appendleft(request)
        self._settle(permit, refusal(throttle, self.protection.cookie(throttle.server)))

    def _leave(self, request: _Request, permit: Permit, admission: Admission) -> None:
        now = self._time.monotonic()
        self.protection.leave(admission, now)
        left = self.protection.remaining(USER, admission.server, now)
        cookie = self.protection.cookie(admission.server)
        feedback = Feedback(server=cookie, requests_left=left.requests, seconds_left=left.seconds)
        result = request.work()
        self._time.at(now + TRANSPORT / 2, partial(self._answered, request, permit, feedback, result))

    def _answered(self, request: _Request, permit: Permit, feedback: Feedback, result: object) -> None:
        self._settle(permit, feedback)
        request.future.set_result(result)
        self._ask()

    def _settle(self, permit: Permit, feedback: Feedback) -> None:
        self.governor.settle(self._time.monotonic(), permit, feedback)
        self._ask()


@dataclass(frozen=True, slots=True)
class _Client:
    """The one user's way to the organization."""

    organization: SimulatedOrganization
    gate: VirtualGate
    name: str = USER
    user: str = USER


def play_virtually(cell: Cell, *, seed: int = 1) -> JobRun:
    """Work a job off on the virtual clock and tell what came of it."""
    random.seed(seed)  # of the pauses of rows in doubt
    time = VirtualTime()
    organization = SimulatedOrganization(cell.bad_rows, time)
    network = VirtualNetwork(cell, time, organization, seed)
    network.start()
    began = time.monotonic()
    watched = Watched(cell)
    told: list[tuple[int, float | None]] = [(0, None)]
    """Rows, and the moment at which a person sees that the job will end."""
    every = max(SHORTEST_LOOK, cell.least / LOOKS)

    def look() -> None:
        now, (rows, end) = time.monotonic(), told[-1]
        left = None if end is None else max(0.0, end - now)
        watched.looks.append((now - began, len(organization.closed), rows, left))
        time.at(time.monotonic() + every, look)

    memory = MEMORY if Path(MEMORY).is_dir() else None  # the disk's time is not part of it
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=memory) as name,
        open_ledger(str(Path(name) / "jobs.db"), time) as ledger,
    ):
        rows = range(1, cell.rows + 1)
        ledger.create(JOB, (Row(number, Intent(opportunity_key(number), Outcome.LOST)) for number in rows))

        def watch(snapshot: ProgressSnapshot) -> None:
            left = _foreseen(status_data(ledger, ledger.job(JOB)))
            end = None if left is None else time.monotonic() + left
            told[-1] = (snapshot.counts.of(ItemStatus.CLOSED), end)

        client = _Client(organization, VirtualGate(time, network.governor))
        run = Run(
            ledger, ledger.job(JOB), [client], time, watch,
            threads=network, wake=VirtualWake(time),
        )  # fmt: skip
        look()
        run.work("here")
        look()
    took = organization.last_at - began
    least = least_seconds(network.protection.limits, network.times, cell.bad_seconds)
    return JobRun(
        cell=cell.name,
        client=OURS,
        closed=len(organization.closed),
        twice=organization.twice,
        least=round(least, 2),
        start=round(network.first_write - began, 2),
        took=round(took, 2),
        ratio=round(least / (took - network.first_write + began), 3),
        requests=network.requests,
        refused=network.refused,
        behind=watched.behind(),
        forecast_error=watched.forecast_error(),
        early=network.early,
        clock="virtual",
    )


def _foreseen(status: Mapping[str, Any]) -> float | None:
    governor = status["governor"]
    return None if governor is None else governor["left"]


def virtual_cells(*, quick: bool) -> Iterator[Cell]:
    """Yield the cells that are played on the virtual clock, those of long jobs last."""
    for bad in (False,) if quick else (False, True):
        for seconds in (0.2, 1.2):
            for servers in (1, 8) if quick else (1, 4, 8):
                for rows in (100, 300, 1000, 3000) if quick else (100, 300, 1000, 3000, 10_000):
                    yield Cell(rows, servers, bad, seconds)
    if not quick:
        yield from (Cell(100_000, servers, bad=bad) for servers in (1, 8) for bad in (False, True))
        yield Cell(800_000, 8)
