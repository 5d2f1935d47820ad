"""A rehearsal: the rows of a plan file go through the pipeline of a real run, on a virtual clock, against a model.

The model: limits as the capture told them (the emulator's refusals), seconds of work per write (the emulator's medians,
inferred, plus the mean time of the organization's own synchronous steps), refusals by stand-ins. Nothing of it is
known of the organization on the day; a pilot job tells work per row and web servers (`Learned`).
"""

from __future__ import annotations

import math
import random
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from connector.bulk.run.progress_meter import ProgressSnapshot
from connector.bulk.run.runner import Run
from connector.closing.model import OrganizationMetadata, Outcome, Plan
from connector.closing.plan import plan_close
from connector.dataverse.pacing.governor import Governor
from connector.emulator.limits.protection import Limits, Protection
from connector.errors import InputError
from connector.ledger.jobs import ItemStatus, Row
from connector.ledger.store import open_ledger
from connector.organization.capture_model import Capture
from connector.rehearsal.rehearsal_model import CostModel, RehearsalOrganization, RowShape, metadata_of, snapshot_of
from connector.rehearsal.virtual_lane import VirtualGate, VirtualLane, VirtualNetwork
from connector.rehearsal.virtual_time import VirtualTime, VirtualWake

JOB = "rehearsal"
SPREAD = 0.35
"""Spread of the work of a row (log-normal), as the emulator's model has it."""
MOST_PLAYED = 20_000
"""Rows that are played; more go on at the steady rate of the last half."""
CASES: Mapping[str, float] = {"fast": 0.5, "likely": 1.0, "slow": 2.0}
"""How many times the model's work per row is taken: the range, as nobody has measured it."""
CURVE = 40
"""Points of the curve."""
NOT_KNOWN = (
    "How fast the organization works on the day: work per write is inferred, not measured.",
    "How many web servers it has: each has limits of its own.",
    "What plug-ins and workflows decide: which rows they would refuse, and how long they take for these rows.",
    "What other programs use of the same user's limits.",
)
"""What a rehearsal does not know, told first."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What a pilot job showed: seconds of work per row, and web servers."""

    seconds_per_row: float
    servers: int


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What one case comes to; `curve` has (seconds, rows done), `binding` what held it for most of the time."""

    name: str
    seconds_per_row: float
    servers: int
    seconds: float
    requests: int
    throttled: int
    binding: str
    curve: tuple[tuple[float, int], ...]

    def data(self) -> dict[str, object]:
        """Return it as plain data."""
        return {
            "case": self.name,
            "seconds_per_row": round(self.seconds_per_row, 3),
            "servers": self.servers,
            "seconds": round(self.seconds),
            "requests": self.requests,
            "throttled": self.throttled,
            "binding": self.binding,
            "curve": [[round(at), rows] for at, rows in self.curve],
        }


@dataclass(frozen=True, slots=True)
class _Client:
    """One user's way to the model."""

    organization: RehearsalOrganization
    gate: VirtualGate
    name: str
    user: str


def rehearse(
    rows: Sequence[RowShape],
    capture: Capture,
    *,
    users: int = 1,
    bypass: tuple[str, ...] = (),
    learned: Learned | None = None,
    seed: int = 1,
) -> list[CaseResult]:
    """Return what the job comes to: three cases, or with what a pilot showed the likely one alone.

    Raises InputError for a plan without rows to close, or with a status reason that the capture does not have.
    """
    if not rows:
        raise InputError("The plan has no row that would be closed: there is nothing to rehearse.")
    cases = CASES if learned is None else {"likely": 1.0}
    return [_played(name, scale, rows, capture, users, bypass, learned, seed) for name, scale in cases.items()]


def _played(
    name: str,
    scale: float,
    rows: Sequence[RowShape],
    capture: Capture,
    users: int,
    bypass: tuple[str, ...],
    learned: Learned | None,
    seed: int,
) -> CaseResult:
    random.seed(seed)  # of the pauses of rows in doubt
    played = rows[:: max(1, math.ceil(len(rows) / MOST_PLAYED))][:MOST_PLAYED]
    shapes = {row.intent.opportunity_id: row for row in played}
    time, closed = VirtualTime(), dict[UUID, Plan]()
    servers = learned.servers if learned else 1
    protection = Protection(replace(_limits(capture), servers=servers), seed=seed)
    model = CostModel(capture, bypass, scale, learned.seconds_per_row if learned else None)
    chance = random.Random(seed)
    metadata = metadata_of(capture)
    clients, lanes = [], {}
    for number in range(1, users + 1):
        organization = RehearsalOrganization(shapes, closed, metadata)
        governor = Governor(time.monotonic(), chance=random.Random(f"{seed}:user {number}"))
        lane = lanes[id(organization)] = VirtualLane(f"user {number}", time, protection, governor)
        clients.append(_Client(organization, VirtualGate(time, lane.governor), lane.user, lane.user))

    def seconds_of(plan: Plan) -> float:
        usual = model.median(plan, clients[0].organization.snapshot(plan.opportunity_id))
        return usual * math.exp(chance.gauss(0.0, SPREAD)) / (math.exp(SPREAD**2 / 2) if learned else 1.0)

    curve, binding = _run(clients, VirtualNetwork(lanes, seconds_of), time, played)
    whole = _extended(curve, len(played), len(rows))
    share = len(rows) / len(played)
    sent = round(sum(lane.requests for lane in lanes.values()) * share)
    throttled = round(sum(lane.refused for lane in lanes.values()) * share)
    mean = _usual_seconds(model, played, metadata)
    return CaseResult(name, mean, servers, whole[-1][0], sent, throttled, binding, tuple(whole))


def _run(
    clients: Sequence[_Client], network: VirtualNetwork, time: VirtualTime, rows: Sequence[RowShape]
) -> tuple[list[tuple[float, int]], str]:
    """Work the rows off; return when how many were done, and what held them for most of the time."""
    curve, bindings = [(0.0, 0)], Counter[str]()

    def watch(snapshot: ProgressSnapshot) -> None:
        done = snapshot.counts.of(ItemStatus.CLOSED)
        bindings[str(snapshot.binding)] += 1
        if done > curve[-1][1]:
            curve.append((time.monotonic(), done))

    with (
        tempfile.TemporaryDirectory(prefix="rehearsal-") as folder,
        open_ledger(str(Path(folder) / "jobs.db"), time) as ledger,
    ):
        ledger.create(JOB, (Row(number, row.intent) for number, row in enumerate(rows, 1)))
        run = Run(ledger, ledger.job(JOB), clients, time, watch, threads=network, wake=VirtualWake(time))
        result = run.work("the rehearsal")
        curve.append((time.monotonic(), result.counts.of(ItemStatus.CLOSED)))
    return curve, bindings.most_common(1)[0][0] if bindings else ""


def _extended(curve: Sequence[tuple[float, int]], played: int, rows: int) -> list[tuple[float, int]]:
    """Return the curve of all rows: after those that were played it goes on at the rate of their second half."""
    thinned = list(curve[:: max(1, len(curve) // CURVE)])
    if thinned[-1] != curve[-1]:
        thinned.append(curve[-1])
    if rows > played:
        thinned.append((curve[-1][0] + (rows - played) / _steady_rate(curve), rows))
    return thinned


def _steady_rate(curve: Sequence[tuple[float, int]]) -> float:
    """Return the rows per second of the second half of the time: the slope of a line through evenly spaced moments.

    A user's budget comes back in bursts, so that two moments alone would tell a rate of their own.
    """
    end, moments = curve[-1][0], 200
    times = [end / 2 + end / 2 * number / (moments - 1) for number in range(moments)]
    done = [next(rows for at, rows in reversed(curve) if at <= moment) for moment in times]
    middle, mean = sum(times) / moments, sum(done) / moments
    slope = sum((at - middle) * (rows - mean) for at, rows in zip(times, done, strict=True))
    return max(slope / sum((at - middle) ** 2 for at in times), curve[-1][1] / (2 * end))


def _usual_seconds(model: CostModel, rows: Sequence[RowShape], metadata: OrganizationMetadata) -> float:
    """Return the usual seconds of work of a row, over rows of all shapes."""
    total = 0.0
    known: dict[tuple[Outcome, int, int], float] = {}
    for row in rows:
        shape = row.intent.outcome, row.drafts, row.actives
        if shape not in known:
            snapshot = snapshot_of(row)
            plan = plan_close(snapshot, row.intent, metadata)
            known[shape] = model.median(plan, snapshot) if isinstance(plan, Plan) else 0.0
        total += known[shape]
    return total / len(rows)


def _limits(capture: Capture) -> Limits:
    """Return limits as the organization told them: the answer that told most had spent one request."""
    values = {row.name: row.value for row in capture.limits.rows}
    usual = Limits()
    return replace(
        usual,
        requests=int(values.get("requests", usual.requests - 1)) + 1,
        execution_seconds=float(math.ceil(values.get("seconds", usual.execution_seconds))),
        dop_hint=int(values.get("parallelism", usual.dop_hint)),
    )
