"""A rehearsal: the rows of a plan file go through the pipeline of a real run, on a virtual clock, against a model.

The model: limits as the capture told them (the emulator's refusals), seconds of work per write (the emulator's medians,
inferred, and what stands for the organization's own logic), refusals by stand-ins. Nothing of it is known of the
organization on the day. Rows that were asked (`bulk plan --ask`) tell the work per row, a pilot job besides how many
web servers there are (`RowCost`).

What a window of the limits leaves waits for the next one, so that a short job takes five minutes more or not by chance.
Where work is measured, the likely case is the middle of plays with other chances and with work within its error.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from operator import attrgetter
from statistics import harmonic_mean, linear_regression

from connector.bulk.run.decision import reason_of
from connector.bulk.run.progress_meter import ProgressSnapshot
from connector.bulk.run.row_in_hand import RowInHand
from connector.bulk.run.runner import Run, Simulation
from connector.closing.model import Outcome, Plan, Report
from connector.closing.plan import plan_close
from connector.dataverse.pacing.governor import Governor
from connector.emulator.limits.protection import Limits, Protection
from connector.emulator.stand_ins import LogicStub
from connector.errors import InputError
from connector.ledger.jobs import ItemResult, ItemStatus, Row
from connector.ledger.store import temporary_ledger
from connector.organization.capture_model import Capture
from connector.organization.side_effects import SideEffects
from connector.rehearsal.rehearsal_model import (
    SPREAD,
    CostModel,
    LogicModel,
    LogicRefusal,
    RehearsalOrganization,
    RehearsalWorld,
    RowCost,
    RowShape,
    metadata_of,
    snapshot_of,
)
from connector.rehearsal.virtual_client import VirtualClient, VirtualGate, VirtualNetwork, VirtualTime, VirtualWake

JOB = "rehearsal"
MOST_PLAYED = {"likely": 1_000_000, "fast": 40_000, "slow": 40_000, "pilot": 40_000}
"""Rows that are played of each case; more go on at the steady rate of the second half."""
OTHER_PLAYS, OF_ALL_PLAYS = (-1.0, -0.5, 0.5, 1.0), 100_000
"""By how many standard errors the other plays of the likely case take more work; rows of all of them, at most."""
UNKNOWN_WORK = {"likely": 1.0, "fast": 1 / 3, "slow": 3.0}
"""How many times the model's work per row each case takes, as nobody has measured it."""
LEAST_TOLD = {"requests": 100, "seconds": 10}
"""From where on what was left of a limit tells what the limit is."""
CURVE = 60
"""Points of the curve."""
PAUSE = 5.0
"""Seconds of the virtual clock between the moments at which results are recorded, at most."""
SHOWN = 1000
"""Refused rows that are listed."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What one case comes to; `curve` has (seconds, rows done), `binding` what held it for most of the time.

    `rate` is rows per second in the second half, `refused` how many rows stand-ins refuse. `besides` are seconds per
    row that the user's governor counts besides the work of writes: reads, and the ways there and back.
    """

    name: str
    seconds_per_row: float
    servers: int
    seconds: float
    requests: int
    throttled: int
    refused: int
    binding: str
    rate: float
    curve: tuple[tuple[float, int], ...]
    besides: float

    def data(self) -> dict[str, object]:
        """Return it as plain data."""
        plain, digits = asdict(self), {"seconds_per_row": 3, "rate": 3, "besides": 3, "seconds": None}
        rounded = {name: round(plain[name], digits[name]) for name in digits}
        return {"case": plain.pop("name"), **plain, **rounded, "curve": [[round(at), rows] for at, rows in self.curve]}


@dataclass(slots=True)
class RehearsalResult:
    """The cases, and of the likely one: refusals by cause, the first rows of them, what is set off.

    `unsure` is how often a stand-in's filter asks for what the plan does not know.
    """

    cases: list[CaseResult]
    causes: Counter[LogicRefusal]
    rows: list[tuple[int, str, LogicRefusal]]
    unsure: int
    effects: SideEffects

    @property
    def likely(self) -> CaseResult:
        """The likely case."""
        return next(case for case in self.cases if case.name == "likely")


@dataclass(frozen=True, slots=True)
class _Client:
    """One user's way to the model."""

    organization: RehearsalOrganization
    gate: VirtualGate
    name: str
    user: str


class _Gate(VirtualGate):
    """A gate that foretells nothing: nobody reads the forecasts of a rehearsal, and they take a third of its time."""

    def seconds_for(self, requests: float, seconds: float, fastest: float) -> float:
        """Return that it is not known."""
        del requests, seconds, fastest
        return math.inf


@dataclass(slots=True)
class Rehearsal:
    """How a plan is rehearsed against a capture: by so many users, with these stand-ins and this knowledge of work."""

    capture: Capture
    users: int = 1
    bypass: tuple[str, ...] = ()
    measured: RowCost | None = None
    stand_ins: Mapping[str, LogicStub] = field(default_factory=dict)
    seed: int = 1

    def play(self, rows: Sequence[RowShape], total: int | None = None) -> RehearsalResult:
        """Return what the job comes to: three cases, or the likely one alone where its work is known.

        `total` is how many rows it has, where `rows` are evenly chosen of more.

        Raises InputError for a plan without rows to close, or with a status reason that the capture does not have.
        """
        if not rows:
            raise InputError("The plan has no row that would be closed: there is nothing to rehearse.")
        if self.measured is not None and self.measured.rows:
            return replace(self, measured=self._cost_of_writes(rows, self.measured)).play(rows, total)
        if self.measured is None:
            scales = UNKNOWN_WORK
        else:
            error = self.measured.error
            scales = {"likely": 1.0} | ({"fast": 1 - error, "slow": 1 + error} if error else {})
        effects, total = SideEffects(self.capture, self.bypass), total or len(rows)
        counted = {"likely": effects}
        played = {name: self._play(name, scale, rows, total, counted.get(name)) for name, scale in scales.items()}
        world = played["likely"][1]
        share = total / len(world.rows)
        effects.scale(share)
        causes = Counter({cause: round(count * share) for cause, count in Counter(world.refused.values()).items()})
        plays = [played["likely"][0], *self._by_other_chances(rows, total)]
        cases = []
        for name, bound in (("fast", min), ("likely", None), ("slow", max)):
            if name in played:
                case = played[name][0]
                ends = bound([case, *plays], key=attrgetter("seconds")) if bound else _middle_of(plays)
                cases.append(replace(case, seconds=ends.seconds, curve=ends.curve))
        listed = [(world.rows[key].number, str(key), refusal) for key, refusal in list(world.refused.items())[:SHOWN]]
        return RehearsalResult(cases, causes, sorted(listed), world.logic.unsure, effects)

    def _by_other_chances(self, rows: Sequence[RowShape], total: int) -> Iterator[CaseResult]:
        """Yield the likely case of measured work again: less and more of it within its error, another chance each.

        Not of a job that is so large that its last window is a small part of it.
        """
        error = self.measured.error if self.measured else 0.0  # two standard errors
        if error and len(rows) * len(OTHER_PLAYS) <= OF_ALL_PLAYS:
            for number, errors in enumerate(OTHER_PLAYS, 1):
                yield self._play("likely", 1 + errors * error / 2, rows, total, None, number)[0]

    def _cost_of_writes(self, rows: Sequence[RowShape], cost: RowCost) -> RowCost:
        """Return what the writes of a row take: what a job measured, less what such a job measures besides."""
        pilot = rows[:: max(1, round(len(rows) / cost.rows))]
        besides = self._play("pilot", 1.0, pilot, len(pilot), None)[0].besides
        return replace(cost, rows=0, seconds_per_row=max(cost.seconds_per_row - besides, cost.seconds_per_row / 10))

    def _play(
        self, name: str, scale: float, rows: Sequence[RowShape], total: int, effects: SideEffects | None, nth: int = 0
    ) -> tuple[CaseResult, RehearsalWorld]:
        seed = self.seed + nth
        random.seed(seed)  # of the pauses of rows in doubt
        played = rows[:: max(1, math.ceil(len(rows) / MOST_PLAYED[name]))]
        logic = LogicModel(SideEffects(self.capture, self.bypass), self.stand_ins, seed)
        world = RehearsalWorld({row.opportunity_id: row for row in played}, metadata_of(self.capture), logic, effects)
        model = self._model(logic, scale, world, played)
        time, limits = VirtualTime(), self.limits()
        users, network = self._network(world, model, time, limits, seed)
        clients = [
            _Client(organization, _Gate(time, client.governor), client.user, client.user)
            for organization, client in users
        ]
        curve, binding = _run(clients, network, time, played)
        whole, rate = _extended(curve, total), _steady_rate(curve)
        share = total / len(played)
        virtual_clients = [client for _, client in users]
        return CaseResult(
            name=name,
            seconds_per_row=_usual_seconds(model, world, played) * math.exp(SPREAD**2 / 2),
            servers=limits.servers,
            seconds=whole[-1][0],
            requests=round(sum(client.requests for client in virtual_clients) * share),
            throttled=round(sum(client.refused for client in virtual_clients) * share),
            refused=round(len(world.refused) * share),
            binding=binding,
            rate=rate,
            curve=tuple(whole),
            besides=(sum(client.gate.pace().executed for client in clients) - model.drawn) / len(played),
        ), world

    def _model(self, logic: LogicModel, scale: float, world: RehearsalWorld, rows: Sequence[RowShape]) -> CostModel:
        """Return the work of rows: the model's, or so many times that as the mean row was measured to take."""
        model = CostModel(logic, scale)
        if self.measured is None:
            return model
        usual = _usual_seconds(CostModel(logic, 1.0), world, rows) * math.exp(SPREAD**2 / 2)
        steps = sum(row.steps for row in rows) / len(rows)
        return CostModel(logic, scale * self.measured.of(steps) / usual)

    def _network(
        self, world: RehearsalWorld, model: CostModel, time: VirtualTime, limits: Limits, seed: int
    ) -> tuple[list[tuple[RehearsalOrganization, VirtualClient]], VirtualNetwork]:
        """Return the way of each user to the model, and what carries their requests."""
        protection = Protection(limits, seed=seed)
        chance = random.Random(seed)
        users = []
        for user in (f"user {number}" for number in range(1, self.users + 1)):
            governor = Governor(time.monotonic(), chance=random.Random(f"{seed}:{user}"))
            users.append((RehearsalOrganization(world), VirtualClient(user, time, protection, governor)))

        def seconds_of(plan: Plan) -> float:
            return model.draw(plan, world.rows[plan.opportunity_id], chance)

        return users, VirtualNetwork({id(organization): client for organization, client in users}, seconds_of)

    def limits(self) -> Limits:
        """Return limits as the organization told them: the answer that told most had spent one request.

        Where next to nothing was left, that tells how busy the user was, not what the limit is.
        """
        rows = self.capture.limits.rows
        values = {row.name: row.value for row in rows if row.value >= LEAST_TOLD.get(row.name, 0)}
        usual = Limits()
        measured = self.measured.servers if self.measured else None
        return replace(
            usual,
            requests=int(values.get("requests", usual.requests - 1)) + 1,
            execution_seconds=float(math.ceil(values.get("seconds", usual.execution_seconds))),
            dop_hint=int(values.get("parallelism", usual.dop_hint)),
            servers=measured or int(values.get("servers", usual.servers)),
        )


def _run(
    clients: Sequence[_Client], network: VirtualNetwork, time: VirtualTime, rows: Sequence[RowShape]
) -> tuple[list[tuple[float, int]], str]:
    """Work the rows off; return when how many were done, and what held them for most of the time."""
    curve, bindings = [(0.0, 0)], Counter[str]()

    def watch(snapshot: ProgressSnapshot) -> None:
        done = snapshot.counts.total - snapshot.counts.open
        bindings[str(snapshot.binding)] += 1
        if done > curve[-1][1]:
            curve.append((time.monotonic(), done))

    with temporary_ledger(time) as ledger:
        ledger.create(JOB, (Row(number, row.intent) for number, row in enumerate(rows, 1)))
        run = Run(
            ledger, ledger.job(JOB), clients, watch, most_alike=math.inf,
            simulation=Simulation(network, VirtualWake(time, PAUSE), _bare_result),
        )  # fmt: skip
        result = run.work("the rehearsal")
        curve.append((time.monotonic(), result.counts.total - result.counts.open))
    return curve, bindings.most_common(1)[0][0] if bindings else ""


def _bare_result(row: RowInHand, report: Report, user: str) -> ItemResult:
    """Return the result of a row without its report, which nobody reads and which takes a sixth of the time."""
    reason = report.reason_code or (reason_of(report.error) if report.error else "")
    return ItemResult(row.item.row, row.item.epoch, ItemStatus(report.status.value), reason, user=user)


def _extended(curve: Sequence[tuple[float, int]], rows: int) -> list[tuple[float, int]]:
    """Return the curve of all rows: after those that were played it goes on at the rate of their second half."""
    thinned = list(curve[:: max(1, len(curve) // CURVE)])
    if thinned[-1] != curve[-1]:
        thinned.append(curve[-1])
    if (left := rows - curve[-1][1]) > 0:
        thinned.append((curve[-1][0] + left / _steady_rate(curve), rows))
    return thinned


def _middle_of(plays: Sequence[CaseResult]) -> CaseResult:
    """Return the first of some plays, made so long that it is off from the shortest and the longest by one share."""
    first, times = plays[0], [play.seconds for play in plays]
    seconds = harmonic_mean([min(times), max(times)])
    curve = tuple((at * seconds / first.seconds, done) for at, done in first.curve)
    return replace(first, seconds=seconds, curve=curve)


def _steady_rate(curve: Sequence[tuple[float, int]]) -> float:
    """Return the rows per second of the second half of the time: the slope of a line through evenly spaced moments.

    A user's budget comes back in bursts, so that two moments alone would tell a rate of their own.
    """
    end, moments = curve[-1][0], 200
    times = [end / 2 + end / 2 * number / (moments - 1) for number in range(moments)]
    done = [curve[bisect_right(curve, moment, key=lambda point: point[0]) - 1][1] for moment in times]
    return max(linear_regression(times, done).slope, curve[-1][1] / (2 * end))


def _usual_seconds(model: CostModel, world: RehearsalWorld, rows: Sequence[RowShape]) -> float:
    """Return the usual seconds of work of a row, over rows of all shapes."""
    shapes = Counter((row.request.outcome, row.drafts, row.actives) for row in rows)
    seconds_by_shape: dict[tuple[Outcome, int, int], float] = {}
    for row in rows:
        shape = row.request.outcome, row.drafts, row.actives
        if shape not in seconds_by_shape:
            plan = plan_close(snapshot_of(row), row.intent, world.metadata)
            seconds_by_shape[shape] = model.median(plan, row) if isinstance(plan, Plan) else 0.0
    return sum(seconds_by_shape[shape] * count for shape, count in shapes.items()) / len(rows)
