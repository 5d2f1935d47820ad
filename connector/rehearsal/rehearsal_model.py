"""What is rehearsed and against what: planned rows, seconds of work, opportunities that are closed in memory.

What stands for the organization's logic takes seconds too, and refuses rows.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from uuid import UUID

from connector.bulk.status import done_of, status_data
from connector.closing.model import (
    Intent,
    Opportunity,
    OpportunityState,
    OrganizationMetadata,
    Plan,
    Quote,
    QuoteState,
    Snapshot,
    StatusReason,
    StepKind,
    StepResult,
    StepStatus,
)
from connector.closing.organization import ONLY_REASONS, MetadataRequest
from connector.closing.request import parse_request
from connector.emulator.limits.calls import MEDIANS
from connector.emulator.stand_ins import LogicStub
from connector.errors import InputError, Origin, Rejected
from connector.ledger.ledger import Ledger
from connector.organization.capture_model import Capture
from connector.organization.filter_expression import holds
from connector.organization.side_effects import SideEffects, events, shape_of

_PRE = 40
"""The stage from which on a step comes after the operation."""


@dataclass(frozen=True, slots=True)
class LogicRefusal:
    """A row that a stand-in refuses: by which step or process, and with which text."""

    by: str
    reason: str


_Listener = tuple[LogicStub, int, bool]
"""A stand-in, the place of its event among those of the plan, and whether it comes before the operation."""


class LogicModel:
    """Plays stand-ins by their ids; `effects` says which logic a plan sets off. `unsure` counts what cannot be said."""

    def __init__(self, effects: SideEffects, stand_ins: Mapping[str, LogicStub], seed: int) -> None:
        self._effects = effects
        self._stand_ins = stand_ins
        self._chance = random.Random(f"{seed}:stand-ins")
        self._known: dict[tuple[str, ...], list[_Listener]] = {}
        self.unsure = 0

    def delay(self, plan: Plan, snapshot: Snapshot) -> float:
        """Return the seconds that logic adds to such a plan."""
        return sum(stand_in.delay for stand_in, _, _ in self._listeners(plan, snapshot))

    def refusal(self, plan: Plan, snapshot: Snapshot) -> LogicRefusal | None:
        """Return who refuses this plan, None where nobody does or that cannot be told."""
        listeners = [each for each in self._listeners(plan, snapshot) if each[0].percent or each[0].condition]
        if not listeners:
            return None
        everything = list(events(plan, snapshot))
        for stand_in, number, before in listeners:
            if stand_in.condition:
                event = everything[number]
                refuses = holds(stand_in.condition, event.before if before else event.row)
                self.unsure += refuses is None
            else:
                refuses = self._chance.random() * 100 < stand_in.percent
            if refuses:
                return LogicRefusal(stand_in.name, stand_in.text)
        return None

    def _listeners(self, plan: Plan, snapshot: Snapshot) -> list[_Listener]:
        shape = shape_of(plan)
        if shape not in self._known:
            listeners = self._known[shape] = []
            for event, logic in enumerate(self._effects.set_off(plan, snapshot)):
                steps = [step for step in logic.steps if not step.asynchronous and step.id in self._stand_ins]
                listeners += [(self._stand_ins[step.id], event, step.stage < _PRE) for step in steps]
                workflows = [process for process in logic.workflows if process.id in self._stand_ins]
                listeners += [(self._stand_ins[process.id], event, False) for process in workflows]
        return self._known[shape]


SPREAD = 0.35
"""Spread of the work of a row (log-normal), as the emulator's model has it."""
OTHER_SECONDS = 0.1
"""Seconds of a write whose median the emulator's model does not have."""
Ends = tuple[tuple[int, int], ...]
"""State and status reason of an opportunity that is closed, and of each of its quotes."""


@dataclass(frozen=True, slots=True)
class RowShape:
    """What the model knows of a planned row: its close, its draft and active quotes, its value and currency.

    Rows that differ in their opportunity alone share the `request`, the intent for one of them: a job has many rows.
    """

    opportunity_id: UUID
    request: Intent
    drafts: int
    actives: int
    number: int = 0
    value: Decimal | None = None
    currency: UUID | None = None
    customer: UUID | None = None
    """Whose rows are never in two requests at the same time."""

    @property
    def intent(self) -> Intent:
        """The close of its opportunity."""
        return replace(self.request, opportunity_id=self.opportunity_id)

    @property
    def steps(self) -> int:
        """The writes of its plan."""
        return 2 * self.drafts + self.actives + 1


def planned_shapes(path: Path, every: int = 1) -> Iterator[RowShape]:
    """Yield each n-th (`every`) row of a plan that is to be closed. Raises InputError for a file that is no plan."""
    with path.open(encoding="utf-8") as file:
        planned, requests, ids = 0, dict[str, Intent](), dict[str, UUID]()
        for number, line in enumerate(file, 1):
            try:
                data = json.loads(line)
                if data.get("status") != "planned":
                    continue
                planned += 1
                if (planned - 1) % every:
                    continue
                kinds = Counter(str(step).partition(" ")[0] for step in data["steps"])
                drafts, record = kinds[StepKind.ACTIVATE_QUOTE], data.get("record", {})
                value, currency, customer = (record.get(name) for name in ("value", "currency", "customer"))
                request = data["request"]
                shared = json.dumps({name: request[name] for name in request if name != "opportunityid"})
                if shared not in requests:
                    requests[shared] = parse_request(request)
                yield RowShape(
                    UUID(request["opportunityid"]),
                    requests[shared],
                    drafts,
                    max(0, kinds[StepKind.CLOSE_QUOTE] - drafts),
                    int(data["row"]),
                    None if value is None else Decimal(value),
                    *(None if key is None else ids.setdefault(key, UUID(key)) for key in (currency, customer)),
                )
            except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
                raise InputError(f"{path}, line {number}: this is no line of a plan.", remedy="Plan again.") from error


class CostModel:
    """Seconds of work of a plan: medians of its writes, and what stands for the own steps that run with it.

    `drawn` sums up what was drawn around them.
    """

    def __init__(self, logic: LogicModel, scale: float) -> None:
        self.drawn = 0.0
        self._logic = logic
        self._scale = scale
        self._known: dict[tuple[str, ...], float] = {}

    def median(self, plan: Plan, row: RowShape) -> float:
        """Return the seconds that such a plan usually takes."""
        shape = tuple([step.message for step in plan.steps])
        if shape not in self._known:
            own = self._logic.delay(plan, snapshot_of(row))
            self._known[shape] = sum(MEDIANS.get(message, OTHER_SECONDS) for message in shape) + own
        return self._scale * self._known[shape]

    def draw(self, plan: Plan, row: RowShape, chance: random.Random) -> float:
        """Return the seconds that such a plan takes this time."""
        seconds = self.median(plan, row) * math.exp(chance.gauss(0.0, SPREAD))
        self.drawn += seconds
        return seconds


@dataclass(slots=True)
class RehearsalWorld:
    """What all users of a rehearsal share: the rows, how they ended, which were refused, what was set off."""

    rows: Mapping[UUID, RowShape]
    metadata: OrganizationMetadata
    logic: LogicModel
    effects: SideEffects | None
    closed: dict[UUID, Ends] = field(default_factory=dict)
    refused: dict[UUID, LogicRefusal] = field(default_factory=dict)
    seen: dict[UUID, Snapshot] = field(default_factory=dict)
    _ends: dict[Ends, Ends] = field(default_factory=dict)

    def look(self, key: UUID) -> Snapshot:
        """Return what stands; what is open is kept for `close`."""
        ends = self.closed.get(key)
        snapshot = snapshot_of(self.rows[key], ends)
        if ends is None:
            self.seen[key] = snapshot
        return snapshot

    def close(self, plan: Plan) -> tuple[StepResult, ...]:
        """Close an opportunity, unless a stand-in refuses."""
        before = self.seen.pop(plan.opportunity_id, None) or self.look(plan.opportunity_id)
        refusal = self.logic.refusal(plan, before)
        if refusal is not None:
            self.refused[plan.opportunity_id] = refusal
            return _failed(plan, refusal)
        after = {step.record_id: (int(step.state or 0), step.status or 0) for step in plan.steps}
        records: list[Opportunity | Quote] = [before.opportunity, *before.quotes]
        ends = tuple([after.get(each.id, (each.state, each.status)) for each in records])
        self.closed[plan.opportunity_id] = self._ends.setdefault(ends, ends)
        if self.effects is not None:
            self.effects.add(plan, before)
        return tuple([StepResult(step, StepStatus.DONE) for step in plan.steps])


def _failed(plan: Plan, refusal: LogicRefusal) -> tuple[StepResult, ...]:
    """Return the results of a change set that logic refused: nothing of it was done."""
    message = f"A rule of this organization stopped it: {refusal.reason}"
    status, code = HTTPStatus.BAD_REQUEST, "0x80040265"
    error = Rejected(message, status=status, code=code, detail=refusal.reason, origin=Origin(plug_in=refusal.by))
    first = StepResult(plan.steps[0], StepStatus.FAILED, error)
    return first, *[StepResult(step, StepStatus.NOT_RUN) for step in plan.steps[1:]]


class RehearsalOrganization:
    """Opportunities as a plan file has them, closed in memory: one user's view of the world."""

    def __init__(self, world: RehearsalWorld) -> None:
        self._world = world

    def metadata(self, needs: MetadataRequest = ONLY_REASONS) -> OrganizationMetadata:
        """Return the reasons of the capture."""
        del needs
        return self._world.metadata

    def observe(
        self, ids: Sequence[UUID], *, activities: bool = False, orders: bool = False
    ) -> Mapping[UUID, Snapshot]:
        """Return what stands."""
        del activities, orders
        return {key: self._world.look(key) for key in ids}

    def perform(self, plans: Sequence[Plan]) -> Sequence[tuple[StepResult, ...]]:
        """Close the opportunities of the plans."""
        return [self._world.close(plan) for plan in plans]


def snapshot_of(row: RowShape, ends: Ends | None = None) -> Snapshot:
    """Return the opportunity of a row with its quotes: open, or as a close left them."""
    key = row.opportunity_id
    version = f'W/"{0 if ends is None else 1}"'
    states = [(int(QuoteState.DRAFT), 0)] * row.drafts + [(int(QuoteState.ACTIVE), 0)] * row.actives
    (state, status), *of_quotes = ends or ((int(OpportunityState.OPEN), 0), *states)
    quotes = [
        Quote(UUID(int=(key.int + number) % 2**128), "", "", QuoteState(of_quote), reason, version)
        for number, (of_quote, reason) in enumerate(of_quotes, 1)
    ]
    opportunity = Opportunity(
        key, "", OpportunityState(state), status, version, estimated_value=row.value, currency_id=row.currency,
        customer_id=row.customer,
    )  # fmt: skip
    return Snapshot(opportunity, tuple(quotes))


def metadata_of(capture: Capture) -> OrganizationMetadata:
    """Return the status reasons of a capture. Raises InputError where it could not read them."""
    defaults = {(row.table, row.value): row.default_reason for row in capture.states.rows}

    def reasons(table: str) -> tuple[StatusReason, ...]:
        rows = [row for row in capture.reasons.rows if row.table == table]
        if not rows:
            raise InputError(f"The capture has no status reasons of {table}. {capture.reasons.why}".rstrip())
        return tuple(
            StatusReason(
                row.value, row.state, defaults.get((table, row.state)) == row.value, tuple(row.labels.values())
            )
            for row in rows
        )

    return OrganizationMetadata(reasons("opportunity"), reasons("quote"))


LEAST_ERROR, MOST_ERROR = 0.25, 0.9
"""By which share the mean time of rows that were asked is off under load, at least and at most."""
LEAST_OF_JOB, OF_ONE_ROW = 0.05, 1.2
"""By which share the mean of a pilot's rows is off: at least, and twice that of one row (over the root of the rows)."""


@dataclass(frozen=True, slots=True)
class RowCost:
    """Seconds of work per row on average, give or take a share of it, and web servers, None where not told.

    `steps` are the writes that such a row had on average, 0 where not told: rows with more of them take longer.
    `rows` is the size of the job that was measured, its reads and the ways there and back included; 0: writes alone.
    """

    seconds_per_row: float
    servers: int | None = None
    error: float = 0.0
    steps: float = 0.0
    rows: int = 0

    def of(self, steps: float) -> float:
        """Return the seconds of work of a row with so many writes."""
        return self.seconds_per_row * (steps / self.steps if self.steps else 1.0)


def cost_as_answered(summary: Mapping[str, object]) -> RowCost | None:
    """Return what the rows told that were asked for a plan, by its summary; None where none was."""
    answers = summary.get("asked")
    if not isinstance(answers, Mapping) or not answers.get("seconds"):
        return None
    seconds = float(answers["seconds"])
    error = min(MOST_ERROR, max(LEAST_ERROR, 2 * float(answers["error"]) / seconds))
    return RowCost(seconds, error=error, steps=float(answers["steps"]))


def cost_of_job(ledger: Ledger, name: str) -> RowCost:
    """Return what the last run of a job told. Raises InputError where it did not."""
    status = status_data(ledger, ledger.job(name))
    governor = status.get("governor")
    seconds = governor.get("executed_per_row") if isinstance(governor, Mapping) else None
    done = done_of(status)
    if not isinstance(governor, Mapping) or not seconds or not done:
        raise InputError(
            f"The job {name} did not tell what a row takes: it closed no rows, or is of another version.",
            remedy="Run a pilot of a thousand rows, then rehearse with --learn.",
        )
    servers = max(int(user["servers"]) for user in governor["users"])
    error = min(MOST_ERROR, max(LEAST_OF_JOB, OF_ONE_ROW / math.sqrt(done)))
    return RowCost(float(seconds), servers, error, int(str(status["operations"])) / done, done)
