"""What is rehearsed and against what: planned rows, seconds of work, opportunities that are closed in memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid5

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
from connector.errors import InputError
from connector.organization.capture_model import Capture
from connector.organization.side_effects import SideEffects

_IDS = UUID("3a5d0f5e-7f0a-5d0c-8c55-6f2f0c1f3a90")


@dataclass(frozen=True, slots=True)
class RowShape:
    """What the model knows of a planned row: its close, and how many draft and active quotes go with it."""

    intent: Intent
    drafts: int
    actives: int


def planned_shapes(path: Path) -> Iterator[RowShape]:
    """Yield the rows of a plan file that are to be closed. Raises InputError for a file that is no plan."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                data = json.loads(line)
                if data.get("status") != "planned":
                    continue
                kinds = Counter(str(step).partition(" ")[0] for step in data["steps"])
                drafts = kinds[StepKind.ACTIVATE_QUOTE]
                yield RowShape(parse_request(data["request"]), drafts, max(0, kinds[StepKind.CLOSE_QUOTE] - drafts))
            except (ValueError, KeyError, AttributeError) as error:
                raise InputError(f"{path}, line {number}: this is no line of a plan.", remedy="Plan again.") from error


def plan_summary(path: Path) -> Mapping[str, object]:
    """Return what a plan file comes to, from its last line. Raises InputError for one that breaks off."""
    last = "{}"
    with path.open(encoding="utf-8") as file:
        for line in file:
            last = line
    try:
        summary = json.loads(last)["summary"]
        assert isinstance(summary, Mapping)
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise InputError(f"{path} breaks off, or it is no plan.", remedy="Plan again.") from error
    return summary


class CostModel:
    """Seconds of work of a plan: medians of its writes, and the mean time of the own steps that run with it."""

    def __init__(self, capture: Capture, bypass: tuple[str, ...], scale: float, seconds_per_row: float | None) -> None:
        self._capture = capture
        self._bypass = bypass
        self._scale = scale
        self._fixed = seconds_per_row
        self._known: dict[tuple[str, ...], float] = {}

    def median(self, plan: Plan, snapshot: Snapshot) -> float:
        """Return the seconds that such a plan usually takes."""
        if self._fixed is not None:
            return self._fixed
        shape = tuple(step.message for step in plan.steps)
        if shape not in self._known:
            effects = SideEffects(self._capture, self._bypass)
            effects.add(plan, snapshot)
            own = sum(runs * mean for step, runs, mean in effects.own_steps() if not step.asynchronous)
            self._known[shape] = self._scale * (sum(MEDIANS.get(message, 0.1) for message in shape) + own)
        return self._known[shape]


class RehearsalOrganization:
    """Opportunities as a plan file has them, closed in memory; one for each user, with the same rows."""

    def __init__(self, rows: Mapping[UUID, RowShape], closed: dict[UUID, Plan], metadata: OrganizationMetadata) -> None:
        self._rows = rows
        self._closed = closed
        self._metadata = metadata

    def metadata(self, needs: MetadataRequest = ONLY_REASONS) -> OrganizationMetadata:
        """Return the reasons of the capture."""
        del needs
        return self._metadata

    def observe(
        self, ids: Sequence[UUID], *, activities: bool = False, orders: bool = False
    ) -> Mapping[UUID, Snapshot]:
        """Return what stands."""
        del activities, orders
        return {key: self.snapshot(key) for key in ids}

    def perform(self, plans: Sequence[Plan]) -> Sequence[tuple[StepResult, ...]]:
        """Close the opportunities of the plans."""
        self._closed.update({plan.opportunity_id: plan for plan in plans})
        return [tuple([StepResult(step, StepStatus.DONE) for step in plan.steps]) for plan in plans]

    def snapshot(self, key: UUID) -> Snapshot:
        """Return an opportunity with its quotes as it stands."""
        return snapshot_of(self._rows[key], self._closed.get(key))


def snapshot_of(row: RowShape, done: Plan | None = None) -> Snapshot:
    """Return the opportunity of a row with its quotes: open, or as a plan that was carried out left them."""
    key, ends = row.intent.opportunity_id, {step.record_id: step for step in done.steps} if done else {}
    version = f'W/"{len(ends)}"'
    quotes = []
    for number, state in enumerate([QuoteState.DRAFT] * row.drafts + [QuoteState.ACTIVE] * row.actives):
        quote_id = uuid5(_IDS, f"{key}{number}")
        step = ends.get(quote_id)
        after = (QuoteState(step.state or 0), step.status or 0) if step else (state, 0)
        quotes.append(Quote(quote_id, "", f"Q{number}", *after, version))
    close = ends.get(key)
    opened = OpportunityState.OPEN if close is None else OpportunityState(close.state or 0)
    status = 0 if close is None else close.status or 0
    return Snapshot(Opportunity(key, "", opened, status, version), tuple(quotes))


def metadata_of(capture: Capture) -> OrganizationMetadata:
    """Return the status reasons of a capture. Raises InputError where it could not read them."""
    defaults = {(row.table, row.value): row.default_reason for row in capture.states.rows}

    def reasons(table: str) -> tuple[StatusReason, ...]:
        rows = [row for row in capture.reasons.rows if row.table == table]
        if not rows:
            raise InputError(f"The capture has no status reasons of {table}: {capture.reasons.why}")
        return tuple(
            StatusReason(
                row.value, row.state, defaults.get((table, row.state)) == row.value, tuple(row.labels.values())
            )
            for row in rows
        )

    return OrganizationMetadata(reasons("opportunity"), reasons("quote"))
