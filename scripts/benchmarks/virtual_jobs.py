"""Bulk jobs of any size on a virtual clock: the run, the pipeline, the governor and the ledger of a real one.

Only the network and the organization are simulated: every opportunity has two active quotes, requests wait for the
governor in order, the limits, workers and refusals are the emulator's own. Client and emulator take no time.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from connector.bulk.run.progress_meter import ProgressSnapshot
from connector.bulk.run.runner import Run, Simulation
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
from connector.emulator.limits.protection import Limits, Protection
from connector.handler import Response
from connector.ledger.jobs import ItemStatus, Row
from connector.ledger.store import open_ledger
from connector.rehearsal.virtual_client import VirtualClient, VirtualGate, VirtualNetwork, VirtualTime, VirtualWake
from scripts.benchmarks.governor_jobs import least_seconds
from scripts.benchmarks.jobs import JOB, OURS, Cell, JobRun, Watched
from scripts.benchmarks.records import scratch
from scripts.benchmarks.scenarios import drawn
from scripts.benchmarks.served import opportunity_key, quote_key
from scripts.benchmarks.virtual_service import RetryAfters

USER = "user"
TRANSPORT = 0.02
"""Seconds there and back."""
READ, SPREAD = 0.15, 0.35
"""Seconds of work of a batch of reads, and the spread of all work, as the emulator's model has them."""
STARTING_READS, STARTING_READ = 6, 0.1
"""What the command reads of the organization before the first row, side by side; time counts from the row on."""
LOOKS = 4000
"""Looks at what is told in the least time of a job, but not more than fifty a second and not fewer than four."""
SHORTEST_LOOK, LONGEST_LOOK = 0.02, 0.25
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


class WatchedGovernor(Governor):
    """The governor of a run, which also notes the first write, and what is sent before a Retry-After is over."""

    def __init__(self, now: float, *, chance: random.Random) -> None:
        super().__init__(now, chance=chance)
        self.first_write = float("inf")
        self.early = 0
        self._told = RetryAfters()

    def ask(self, now: float, kind: str = "", parts: int = 1) -> Permit | Wait:
        """Return leave to send a request, or until when to wait."""
        leave = super().ask(now, kind, parts)
        if isinstance(leave, Permit):
            self.early += self._told.too_early(now)
            self.first_write = min(self.first_write, now) if kind == WRITES else self.first_write
        return leave

    def settle(self, now: float, permit: Permit, feedback: Feedback) -> None:
        """Take in an answer."""
        self._told.answered(now, feedback)
        super().settle(now, permit, feedback)


class DrawnWork:
    """The seconds of work of a job's plans and reads, drawn at random; `times` are those of its good rows."""

    def __init__(self, cell: Cell, bad: set[UUID], seed: int) -> None:
        self._bad = bad
        self._seconds, self._reads = drawn((cell.seconds,), SPREAD), drawn((READ,), SPREAD)
        self._chance = random.Random(seed)
        self.times = [self._seconds(self._chance, 0.0) for _ in range(cell.good_rows)]
        self._left = iter(self.times)

    def of_plan(self, plan: Plan) -> float:
        """Return the seconds of a plan; a bad row's last until its plug-in is cut off."""
        if plan.opportunity_id in self._bad:
            return PLUGIN_LIMIT
        return next(self._left, self._seconds(self._chance, 0.0))

    def of_read(self) -> float:
        """Return the seconds of a batch of reads."""
        return self._reads(self._chance, 0.0)


def _start(client: VirtualClient, time: VirtualTime) -> None:
    """Let the reads before the first row be answered."""
    reads = [client.send(bool, "read", 1, STARTING_READ) for _ in range(STARTING_READS)]
    while not all(read.done() for read in reads):
        time.sleep(TRANSPORT)


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
    governor = WatchedGovernor(0.0, chance=random.Random(seed))
    protection = Protection(Limits(servers=cell.servers), seed=seed)
    sender = VirtualClient(USER, time, protection, governor, TRANSPORT)
    work = DrawnWork(cell, organization.bad, seed)
    _start(sender, time)
    began = time.monotonic()
    watched = Watched(cell)
    told: list[tuple[int, float | None]] = [(0, None)]
    """Rows, and the moment at which a person sees that the job will end."""
    every = min(LONGEST_LOOK, max(SHORTEST_LOOK, cell.least / LOOKS))

    def look() -> None:
        now, (rows, end) = time.monotonic(), told[-1]
        left = None if end is None else max(0.0, end - now)
        watched.looks.append((now - began, len(organization.closed), rows, left))
        time.at(time.monotonic() + every, look)

    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=scratch()) as name,
        open_ledger(str(Path(name) / "jobs.db"), time) as ledger,
    ):
        rows = range(1, cell.rows + 1)
        ledger.create(JOB, (Row(number, Intent(opportunity_key(number), Outcome.LOST)) for number in rows))

        def watch(snapshot: ProgressSnapshot) -> None:
            left = _foreseen(status_data(ledger, ledger.job(JOB)))
            end = None if left is None else time.monotonic() + left
            told[-1] = (snapshot.counts.of(ItemStatus.CLOSED), end)

        client = _Client(organization, VirtualGate(time, governor))
        run = Run(
            ledger, ledger.job(JOB), [client], watch,
            simulation=Simulation(
                VirtualNetwork({id(organization): sender}, work.of_plan, work.of_read), VirtualWake(time)
            ),
        )  # fmt: skip
        look()
        run.work("here")
        look()
    took = organization.last_at - began
    least = least_seconds(protection.limits, work.times, cell.bad_seconds)
    return JobRun(
        cell=cell.name,
        client=OURS,
        closed=len(organization.closed),
        twice=organization.twice,
        least=round(least, 2),
        start=round(governor.first_write - began, 2),
        took=round(took, 2),
        ratio=round(least / (took - governor.first_write + began), 3),
        requests=sender.requests,
        refused=sender.refused,
        behind=watched.behind(),
        forecast_error=watched.forecast_error(),
        early=governor.early,
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
