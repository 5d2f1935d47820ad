"""Closing and reopening opportunities, one or many: the job's front door."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from uuid import UUID

from connector.closing.close_columns import rows_of_intent
from connector.closing.converge import Chance, Pause, converge
from connector.closing.goal import Goal, missing
from connector.closing.model import (
    Intent,
    OrganizationMetadata,
    Plan,
    Refusal,
    ReopenIntent,
    Report,
    ReportStatus,
    Snapshot,
    StepKind,
    StepResult,
    StepStatus,
)
from connector.closing.orders import needs_orders
from connector.closing.organization import ONLY_REASONS, LookupOrganization, MetadataRequest, Organization, all_needs
from connector.closing.plan import plan_close
from connector.closing.progress import Progress
from connector.closing.record_keys import look_up_all
from connector.closing.reopening import plan_reopen
from connector.closing.verify import closing_warnings, left_closed, status_warnings
from connector.errors import ConnectorError, Forbidden, InputError

_UNBOUND: Mapping[UUID, str] = MappingProxyType({})


def close_opportunity(
    organization: LookupOrganization,
    intent: Intent,
    *,
    pause: Pause = time.sleep,
    chance: Chance = random.random,
    if_plan: str | None = None,
) -> Report:
    """Close one opportunity with its quotes and report what came of it; a failure is a report too.

    `pause` waits for some seconds, `chance` gives numbers from 0 to 1. With `if_plan`, the digest of a plan, it acts on
    exactly that plan or is refused.
    """
    bound = {} if if_plan is None else {intent.opportunity_id: if_plan}
    return close_many(organization, [intent], pause=pause, chance=chance, if_plans=bound)[0]


def close_many(
    organization: LookupOrganization,
    intents: Sequence[Intent],
    *,
    pause: Pause = time.sleep,
    chance: Chance = random.random,
    if_plans: Mapping[UUID, str] = _UNBOUND,
) -> list[Report]:
    """Close opportunities side by side and return a report each, in order; one's failure does not stop another.

    `if_plans` has the digest of the approved plan by opportunity, where there is one. Raises InputError when an
    opportunity is named twice, before anything is read.
    """
    try:
        resolved = look_up_all(organization, intents)
    except ConnectorError as error:
        return [Report(intent.opportunity_id, ReportStatus.FAILED, error=error) for intent in intents]
    goals = [_CloseGoal(intent) for intent in resolved if isinstance(intent, Intent)]
    reports = iter(converge(organization, goals, pause=pause, chance=chance, if_plans=if_plans))
    return [
        Report(intent.opportunity_id, ReportStatus.FAILED, error=goal)
        if isinstance(goal, InputError)
        else next(reports)
        for intent, goal in zip(intents, resolved, strict=True)
    ]


def reopen_opportunity(
    organization: Organization,
    intent: ReopenIntent,
    *,
    pause: Pause = time.sleep,
    chance: Chance = random.random,
    if_plan: str | None = None,
) -> Report:
    """Open one opportunity and put the quotes this connector closed back to draft; as `close_opportunity`."""
    bound = {} if if_plan is None else {intent.opportunity_id: if_plan}
    return reopen_many(organization, [intent], pause=pause, chance=chance, if_plans=bound)[0]


def reopen_many(
    organization: Organization,
    intents: Sequence[ReopenIntent],
    *,
    pause: Pause = time.sleep,
    chance: Chance = random.random,
    if_plans: Mapping[UUID, str] = _UNBOUND,
) -> list[Report]:
    """Reopen opportunities side by side; as `close_many`."""
    goals = [_ReopenGoal(intent) for intent in intents]
    return converge(organization, goals, pause=pause, chance=chance, if_plans=if_plans)


@dataclass(frozen=True, slots=True)
class Preview:
    """What was seen of one opportunity and what would be done to it; nothing was changed."""

    snapshot: Snapshot
    verdict: Plan | Refusal


def preview(organization: LookupOrganization, intent: Intent | ReopenIntent) -> Preview:
    """Return what closing or reopening would do now; raises NotFound, InputError, or what reading raises."""
    looked_at = preview_many(organization, [intent])[0]
    if isinstance(looked_at, ConnectorError):
        raise looked_at
    return looked_at


def preview_many(
    organization: LookupOrganization, intents: Sequence[Intent | ReopenIntent]
) -> list[Preview | ConnectorError]:
    """Return a preview each, in order, or why there is none: NotFound, InputError or Forbidden, for that intent alone.

    Raises what reading raises.
    """
    goals = [
        resolved if isinstance(resolved, InputError) else _goal(resolved)
        for resolved in look_up_all(organization, intents)
    ]
    known = [goal for goal in goals if not isinstance(goal, InputError)]
    metadata = organization.metadata(all_needs(goal.needs for goal in known))
    ids = tuple(dict.fromkeys(intent.opportunity_id for intent in intents))
    activities, orders = any(goal.needs_activities for goal in known), any(goal.needs_orders for goal in known)
    seen = organization.observe(ids, activities=activities, orders=orders)
    return [
        _preview(goal, seen.get(resolved.opportunity_id), metadata)
        for resolved, goal in zip(intents, goals, strict=True)
    ]


def _preview(
    goal: Goal | InputError, snapshot: Snapshot | None, metadata: OrganizationMetadata
) -> Preview | ConnectorError:
    if isinstance(goal, InputError):
        return goal
    if snapshot is None:
        return missing(goal.opportunity_id)
    try:
        return Preview(snapshot, goal.plan(snapshot, metadata))
    except (InputError, Forbidden) as error:
        return error


def progress_of(intent: Intent | ReopenIntent, if_plan: str = "") -> Progress:
    """Return an opportunity at the beginning of its way; with `if_plan`, a digest, it is bound to that plan.

    For who advances each by itself: `converge.look`, perform what it plans, `take` the results, look again.
    """
    return Progress(_goal(intent), if_plan or None)


def _goal(intent: Intent | ReopenIntent) -> Goal:
    return _CloseGoal(intent) if isinstance(intent, Intent) else _ReopenGoal(intent)


@dataclass(frozen=True, slots=True)
class _CloseGoal:
    """Closing, as a goal of the loop."""

    intent: Intent
    needs_activities: bool = False
    deciding: frozenset[StepKind] = frozenset({StepKind.CLOSE_OPPORTUNITY})
    done: ReportStatus = ReportStatus.CLOSED
    already: ReportStatus = ReportStatus.ALREADY_CLOSED

    @property
    def opportunity_id(self) -> UUID:
        return self.intent.opportunity_id

    @property
    def needs(self) -> MetadataRequest:
        rows = frozenset(rows_of_intent(self.intent))
        columns = bool(self.intent.opportunity_columns or self.intent.quote_columns)
        revenue = self.intent.actual_revenue  # one without decimals is not rounded
        amounts = isinstance(revenue, Decimal) and revenue != revenue.to_integral_value()
        return MetadataRequest(columns, rows, amounts) if columns or rows or amounts else ONLY_REASONS

    @property
    def needs_orders(self) -> bool:
        return needs_orders(self.intent)

    def plan(self, snapshot: Snapshot, metadata: OrganizationMetadata) -> Plan | Refusal:
        return plan_close(snapshot, self.intent, metadata)

    def warnings(
        self, results: Sequence[StepResult], after: Snapshot, metadata: OrganizationMetadata
    ) -> tuple[str, ...]:
        sentences = (
            *status_warnings(results, after, metadata),
            *closing_warnings(self.intent, after, metadata),
            *_late(results),
        )
        return tuple(dict.fromkeys(sentences))


def _late(results: Sequence[StepResult]) -> Iterator[str]:
    """Yield a sentence where nothing was done but to make the order of an opportunity that was closed before."""
    done = [result.step for result in results if result.status is StepStatus.DONE]
    if [step.kind for step in done] == [StepKind.CREATE_ORDER]:
        yield f"The opportunity was closed before; the order of quote {done[0].label} was made now."


@dataclass(frozen=True, slots=True)
class _ReopenGoal:
    """Reopening, as a goal of the loop."""

    intent: ReopenIntent
    needs: MetadataRequest = ONLY_REASONS
    needs_activities: bool = True
    needs_orders: bool = False
    deciding: frozenset[StepKind] = frozenset({StepKind.REOPEN_OPPORTUNITY, StepKind.REOPEN_QUOTE})
    done: ReportStatus = ReportStatus.REOPENED
    already: ReportStatus = ReportStatus.ALREADY_OPEN

    @property
    def opportunity_id(self) -> UUID:
        return self.intent.opportunity_id

    def plan(self, snapshot: Snapshot, metadata: OrganizationMetadata) -> Plan | Refusal:
        return plan_reopen(snapshot, self.intent, metadata)

    def warnings(
        self,
        results: Sequence[StepResult],
        after: Snapshot,
        metadata: OrganizationMetadata,
    ) -> tuple[str, ...]:
        return (*status_warnings(results, after, metadata), *left_closed(after, metadata))
