"""Closing and reopening opportunities, one or many: the job's front door."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from uuid import UUID

from connector.closing.converge import Chance, Pause, converge
from connector.closing.goal import Goal, goal_of, missing
from connector.closing.intent import AnyIntent
from connector.closing.model import (
    OrganizationMetadata,
    Plan,
    Refusal,
    Report,
    ReportStatus,
    Snapshot,
)
from connector.closing.organization import LookupOrganization, all_needs
from connector.closing.progress import Progress
from connector.closing.record_keys import look_up_all
from connector.errors import ConnectorError, Forbidden, InputError

_UNBOUND: Mapping[UUID, None] = MappingProxyType({})


def fulfil(
    organization: LookupOrganization,
    intent: AnyIntent,
    *,
    pause: Pause = time.sleep,
    chance: Chance = random.random,
    if_plan: str | None = None,
) -> Report:
    """Close or reopen one opportunity with its quotes and report what came of it; a failure is a report too.

    `pause` waits for some seconds, `chance` gives numbers from 0 to 1. With `if_plan`, the digest of a plan, it acts on
    exactly that plan or is refused.
    """
    plans = {intent.opportunity_id: if_plan}
    return fulfil_many(organization, [intent], pause=pause, chance=chance, if_plans=plans)[0]


def fulfil_many(
    organization: LookupOrganization,
    intents: Sequence[AnyIntent],
    *,
    pause: Pause = time.sleep,
    chance: Chance = random.random,
    if_plans: Mapping[UUID, str | None] = _UNBOUND,
) -> list[Report]:
    """Close or reopen opportunities side by side; return a report each, in order. One failure stops no other.

    `if_plans` has the digest of the approved plan by opportunity, where there is one. Raises InputError when an
    opportunity is named twice, before anything is read.
    """
    try:
        resolved = look_up_all(organization, intents)
    except ConnectorError as error:
        return [Report(intent.opportunity_id, ReportStatus.FAILED, error=error) for intent in intents]
    goals = [goal_of(intent) for intent in resolved if not isinstance(intent, InputError)]
    reports = iter(converge(organization, goals, pause=pause, chance=chance, if_plans=if_plans))
    return [
        Report(intent.opportunity_id, ReportStatus.FAILED, error=result)
        if isinstance(result, InputError)
        else next(reports)
        for intent, result in zip(intents, resolved, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Preview:
    """What was seen of one opportunity and what would be done to it; nothing was changed."""

    snapshot: Snapshot
    verdict: Plan | Refusal


def preview(organization: LookupOrganization, intent: AnyIntent) -> Preview:
    """Return what closing or reopening would do now; raises NotFound, InputError, or what reading raises."""
    result = preview_many(organization, [intent])[0]
    if isinstance(result, ConnectorError):
        raise result
    return result


def preview_many(organization: LookupOrganization, intents: Sequence[AnyIntent]) -> list[Preview | ConnectorError]:
    """Return a preview each, in order, or why there is none: NotFound, InputError or Forbidden, for that intent alone.

    Raises what reading raises.
    """
    goals = [
        resolved if isinstance(resolved, InputError) else goal_of(resolved)
        for resolved in look_up_all(organization, intents)
    ]
    planned = [goal for goal in goals if isinstance(goal, Goal)]
    metadata = organization.metadata(all_needs(goal.needs for goal in planned))
    snapshots = organization.observe(
        tuple(dict.fromkeys(intent.opportunity_id for intent in intents)),
        activities=any(goal.needs_activities for goal in planned),
        orders=any(goal.needs_orders for goal in planned),
    )
    return [goal if isinstance(goal, InputError) else _preview(goal, snapshots, metadata) for goal in goals]


def _preview(
    goal: Goal, snapshots: Mapping[UUID, Snapshot], metadata: OrganizationMetadata
) -> Preview | ConnectorError:
    snapshot = snapshots.get(goal.opportunity_id)
    if snapshot is None:
        return missing(goal.opportunity_id)
    try:
        return Preview(snapshot, goal.plan(snapshot, metadata))
    except (InputError, Forbidden) as error:
        return error


def progress_of(intent: AnyIntent, if_plan: str = "") -> Progress:
    """Return an opportunity at the beginning of its way; with `if_plan`, a digest, it is bound to that plan.

    For who advances each by itself: `converge.look`, perform what it plans, `take` the results, look again.
    """
    return Progress(goal_of(intent), if_plan or None)
