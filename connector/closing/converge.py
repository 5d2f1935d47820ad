"""The loop: observe, plan, perform; on doubt, observe again. The organization's state is the program counter.

It may be killed anywhere. Nothing is kept outside the organization, each look starts from what stands there, and each
plan holds only what is left; the ids of the close activities make a second activity for one close impossible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import UUID

from connector.closing.model import Plan, Report
from connector.closing.organization import Organization
from connector.closing.progress import Errand, Progress
from connector.errors import ConnectorError, InputError, Throttled

ROUNDS = 12
"""Looks before giving up. With the pauses below that is about six minutes, three at the least: the service may take two
to commit a write whose answer was lost."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0

Pause = Callable[[float], None]
Chance = Callable[[], float]


def converge(
    organization: Organization,
    errands: Sequence[Errand],
    *,
    pause: Pause,
    chance: Chance,
    rounds: int = ROUNDS,
    if_plans: Mapping[UUID, str],
) -> list[Report]:
    """Do the errands and return a report each, in order; failures are reports too.

    `pause` waits for some seconds, `chance` gives numbers from 0 to 1 for the jitter. `if_plans` binds an opportunity
    to the digest of the plan that was approved. Raises InputError when an opportunity is named twice.
    """
    _refuse_duplicates(errand.opportunity_id for errand in errands)
    working = {e.opportunity_id: Progress(e, if_plans.get(e.opportunity_id)) for e in errands}
    reports: dict[UUID, Report] = {}
    doubtful_rounds = 0
    for turn in range(rounds):
        plans = _look(organization, working, reports)
        if not working or turn == rounds - 1:
            break
        _act(organization, working, plans)
        if any(progress.is_doubtful for progress in working.values()):
            _wait(working.values(), _pause_length(doubtful_rounds, chance()), pause)
            doubtful_rounds += 1
    reports |= {key: progress.give_up() for key, progress in working.items()}
    return [reports[errand.opportunity_id] for errand in errands]


def _look(organization: Organization, working: dict[UUID, Progress], reports: dict[UUID, Report]) -> dict[UUID, Plan]:
    """Look at all that is being worked on; move what has ended to the reports and return the plans of the others."""
    ends: dict[UUID, Plan | Report | None]
    try:
        metadata = organization.metadata()
        activities = any(progress.needs_activities for progress in working.values())
        seen = organization.observe(tuple(working), activities=activities)
    except ConnectorError as error:
        ends = {key: progress.could_not_look(error) for key, progress in working.items()}
    else:
        ends = {key: progress.look(seen.get(key), metadata) for key, progress in working.items()}
    for key, end in ends.items():
        if isinstance(end, Report):
            reports[key] = end
            del working[key]
    return {key: end for key, end in ends.items() if isinstance(end, Plan)}


def _act(organization: Organization, working: Mapping[UUID, Progress], plans: Mapping[UUID, Plan]) -> None:
    if not plans:
        return
    for (key, plan), results in zip(plans.items(), organization.perform(tuple(plans.values())), strict=True):
        working[key].take(plan, results)


def _wait(working: Iterable[Progress], seconds: float, pause: Pause) -> None:
    """Wait at least as long as the service asked for."""
    progresses = tuple(working)
    asked = (failure for progress in progresses for failure in (progress.failure, progress.unread))
    length = max(seconds, *(failure.retry_after for failure in asked if isinstance(failure, Throttled)), 0.0)
    pause(length)
    for progress in progresses:
        progress.wait(length)


def _pause_length(doubtful_rounds: int, chance: float) -> float:
    """Return the seconds to wait: doubling from one to sixty, spread by half in both directions."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**doubtful_rounds) * (0.5 + chance)


def _refuse_duplicates(ids: Iterable[UUID]) -> None:
    seen: set[UUID] = set()
    for opportunity_id in ids:
        if opportunity_id in seen:
            raise InputError(
                f"The opportunity {opportunity_id} is named more than once.", remedy="Give each opportunity once."
            )
        seen.add(opportunity_id)
