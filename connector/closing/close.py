"""Closing and reopening opportunities, one or many: the job's front door, and the loop behind it.

The loop: observe, plan, perform; on doubt, observe again. The organization's state is the program counter. It may be
killed anywhere. Nothing is kept outside the organization, each look starts from what stands there, and each
plan holds only what is left; the ids of the close activities make a second activity for one close impossible.

What follows from a look (`Progress.look`), the first line that fits:

    seen                              since the last look               next
    cannot be read, may pass          -                                 wait, look again
    cannot be read, for good          every step was answered well      end: done, with a warning
    cannot be read, for good          else                              end: failed
    no such row                       -                                 end: failed
    a plan without steps              -                                 end: done, or so already
    a refusal                         an answer of ours is missing      wait, look again
    a refusal                         else                              end: refused
    a plan                            nothing failed, or it may pass    perform it
    the plan that was turned down     nobody moved                      end: failed
    another plan                      somebody moved                    perform it, the same at most twice

A wait grows from one second to sixty, and is as long as the service asked for. After `ROUNDS` looks the end is: failed.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from uuid import UUID

from connector.closing.goal import Goal, goal_of, missing
from connector.closing.intent import AnyIntent
from connector.closing.model import OrganizationMetadata, Plan, Refusal, Report, ReportStatus, Snapshot
from connector.closing.organization import LookupOrganization, Organization, all_needs
from connector.closing.progress import Progress
from connector.closing.record_keys import look_up_all
from connector.errors import ConnectorError, Forbidden, InputError, Throttled

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
    reports = iter(_converge(organization, goals, pause, chance, if_plans))
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

    For who advances each by itself: `look`, perform what it plans, `take` the results, look again.
    """
    return Progress(goal_of(intent), if_plan or None)


ROUNDS = 12
"""Looks before giving up. With the pauses below that is about six minutes, three at the least: the service may take two
to commit a write whose answer was lost."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0

Pause = Callable[[float], None]
Chance = Callable[[], float]


def _converge(
    organization: Organization, goals: Sequence[Goal], pause: Pause, chance: Chance, if_plans: Mapping[UUID, str | None]
) -> list[Report]:
    """Do the goals and return a report each, in order. Raises InputError when an opportunity is named twice."""
    _refuse_duplicates(goals)
    reports: dict[UUID, Report] = {}
    working = [Progress(goal, if_plans.get(goal.opportunity_id)) for goal in goals]
    doubtful_rounds = 0
    while working:
        planned: list[tuple[Progress, Plan]] = []
        looked_at, working = zip(working, look(organization, working), strict=True), []
        for progress, end in looked_at:
            if isinstance(end, Report):
                reports[progress.opportunity_id] = end
            elif progress.tries >= ROUNDS:
                reports[progress.opportunity_id] = progress.give_up()
            else:
                working.append(progress)
                if end is not None:
                    planned.append((progress, end))
        _act(organization, planned)
        if any(progress.is_doubtful for progress in working):
            failures = [failure for progress in working for failure in (progress.failure, progress.unread)]
            length = pause_length(doubtful_rounds, chance(), failures)
            pause(length)
            for progress in working:
                progress.waited += length
            doubtful_rounds += 1
    return [reports[goal.opportunity_id] for goal in goals]


def look(organization: Organization, group: Sequence[Progress]) -> list[Plan | Report | None]:
    """Look at a group of opportunities with one read; a failure to read is noted with each.

    Return for each, in order, the plan to perform now, the report of its end, or None: wait, then look again.
    """
    if not group:
        return []
    try:
        activities = any(progress.needs_activities for progress in group)
        orders = any(progress.goal.needs_orders for progress in group)
        ids = [progress.opportunity_id for progress in group]
        snapshots = organization.observe(ids, activities=activities, orders=orders)
        metadata = organization.metadata(all_needs(progress.goal.needs for progress in group))
    except ConnectorError as error:
        return [progress.could_not_look(error) for progress in group]
    return [progress.look(snapshots.get(progress.opportunity_id), metadata) for progress in group]


def pause_length(doubtful_rounds: int, chance: float, failures: Iterable[ConnectorError | None] = ()) -> float:
    """Return the seconds until the next look after so many doubtful ones: what the service asked for, at the least.

    Without such word they double from one to sixty, spread by half in both directions by `chance`, from 0 to 1.
    """
    pauses = [failure.retry_after for failure in failures if isinstance(failure, Throttled)]
    return max([min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**doubtful_rounds) * (0.5 + chance), *pauses])


def _act(organization: Organization, planned: Sequence[tuple[Progress, Plan]]) -> None:
    if planned:
        performed = organization.perform([plan for _, plan in planned])
        for (progress, plan), results in zip(planned, performed, strict=True):
            progress.take(plan, results)


def _refuse_duplicates(goals: Sequence[Goal]) -> None:
    for opportunity_id, times in Counter(goal.opportunity_id for goal in goals).items():
        if times > 1:
            message = f"The opportunity {opportunity_id} is named more than once."
            raise InputError(message, remedy="Give each opportunity once.")
