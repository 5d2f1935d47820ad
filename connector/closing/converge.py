"""The loop: observe, plan, perform; on doubt, observe again. The organization's state is the program counter.

It may be killed anywhere. Nothing is kept outside the organization, each look starts from what stands there, and each
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

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import UUID

from connector.closing.goal import Goal
from connector.closing.model import Plan, Report
from connector.closing.organization import Organization, all_needs
from connector.closing.progress import Progress
from connector.errors import ConnectorError, InputError, Throttled

ROUNDS = 12
"""Looks before giving up. With the pauses below that is about six minutes, three at the least: the service may take two
to commit a write whose answer was lost."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0

Pause = Callable[[float], None]
Chance = Callable[[], float]


def converge(
    organization: Organization,
    goals: Sequence[Goal],
    *,
    pause: Pause,
    chance: Chance,
    if_plans: Mapping[UUID, str | None],
) -> list[Report]:
    """Do the goals and return a report each, in order; failures are reports too.

    `pause` waits for some seconds, `chance` gives numbers from 0 to 1 for the jitter. `if_plans` binds an opportunity
    to the digest of the plan that was approved. Raises InputError when an opportunity is named twice.
    """
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
