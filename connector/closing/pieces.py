"""How much of a plan is sent at once: all of it in one transaction, or pieces where that cannot be.

It cannot be where the organization's own logic gets in the way of the plan: a plug-in that closes the other quotes when
one is closed makes a later step impossible, and what it did is rolled back with the set. Nor where it is too much for
the service: opportunities with hundreds of quotes, or slow plug-ins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from connector.closing.failure_context import added, undone
from connector.closing.model import Plan, Step, StepKind, StepResult, StepStatus
from connector.closing.plan import PROJECT_STEPS
from connector.errors import (
    ConnectorError,
    NotFound,
    RepeatedUndo,
    ServiceError,
    Stale,
    StateConflict,
    TooLarge,
    Unanswered,
)

TOO_MUCH_TRIES = 2
"""How often a plan may be left without an answer, or take too long, before less is asked at once."""

MOST_PLANS = 12
"""Plans that may be sent whole for one opportunity before the call gives up."""

MOST_NEW = 3
"""How often other quotes may turn up after some were closed: people add one or two, logic adds them each time."""

StepKey = tuple[StepKind, UUID]

_OWN_LOGIC = "what the organization's own logic does after one step stands in the way of the next"
_TOO_MUCH = "it was too much for the service at once"


@dataclass(slots=True)
class PlanParts:
    """`size` is how many steps are sent at once, 0 for all; `left` how many pieces may still be sent.

    `times` counts how often a step was done, `quotes` are those planned so far, `news` how often others turned up,
    `done` counts the pieces that were, `held_back` tells whether steps of the last
    plan were not sent yet, and `note` says for the report why it goes in pieces.
    """

    size: int = 0
    left: int = 0
    done: int = 0
    held_back: bool = False
    note: str = ""
    times: Counter[StepKey] = field(default_factory=Counter)
    quotes: set[UUID] = field(default_factory=set)
    news: int = 0

    @property
    def used_up(self) -> bool:
        """Whether there were more pieces than a plan can need: something adds to it as fast as it is done."""
        return bool(self.size) and self.left <= 0

    def part(self, plan: Plan) -> Plan:
        """Return the plan, or its next piece: the opportunity is closed only after a look at all else."""
        if len(plan.steps) > 1 and plan.steps[-1].kind is StepKind.CREATE_ORDER:
            plan = replace(plan, steps=plan.steps[:-1])  # it comes after the close, by itself
        if not self.size or len(plan.steps) == 1:
            return plan
        last = plan.steps[-1].kind is StepKind.CLOSE_OPPORTUNITY
        return replace(plan, steps=plan.steps[: min(self.size, len(plan.steps) - last)])

    def sent(self, results: Sequence[StepResult]) -> None:
        """Note the results of a plan, or of a piece of one."""
        self.times.update(key_of(result.step) for result in results if result.status is StepStatus.DONE)
        if self.size:
            self.left -= 1
            self.done += all(result.status is StepStatus.DONE for result in results)

    def in_vain(self, plan: Plan, part: Plan) -> RepeatedUndo | None:
        """Return why it is of no use to go on: a step was done more than once, or other quotes turn up each time.

        What Project Operations takes may still run.
        """
        labels = {step.record_id: step.label for step in plan.steps if step.table == "quote"}
        others = labels.keys() - self.quotes
        self.news += bool(self.quotes and others)
        self.quotes |= others
        if self.news >= MOST_NEW:
            return added(labels[min(others or labels)])
        steps = [step for step in part.steps if step.kind not in PROJECT_STEPS]
        return next((undone(step) for step in steps if self.times[key_of(step)] > 1), None)

    def begin(self, plan: Plan, tried: Sequence[Step], stopped_at: int, failure: ConnectorError, rebuffs: int) -> bool:
        """Go on in smaller pieces where that can help, and tell whether it can; of `tried` steps one was turned down.

        It can where a step after the first was turned down for the state of its record: what the steps before it set
        off was rolled back with them. And where it was too much at once.
        """
        too_long = rebuffs >= TOO_MUCH_TRIES and is_slow(failure)
        if stopped_at > 0 and _is_about(tried[stopped_at], failure):
            self.size, why = 1, _OWN_LOGIC
        elif len(tried) > 1 and (isinstance(failure, TooLarge) or (failure.transient and too_long)):
            self.size, why = max(1, len(tried) // 2), _TOO_MUCH
        else:
            return False
        self.left = 2 * len(plan.steps) + MOST_PLANS
        self.note = (
            f"This could not be done as one transaction: {why}. So it was done in pieces, the opportunity last, with a "
            "look after each."
        )
        return True


def _is_about(step: Step, failure: ConnectorError) -> bool:
    """Return whether the state of the step's own record is in the way; what a plug-in misses or finds taken stays."""
    if isinstance(failure, NotFound):
        return str(step.record_id) in failure.detail.lower()
    return isinstance(failure, StateConflict) or (isinstance(failure, Stale) and not failure.origin.plug_in)


def is_slow(failure: ConnectorError) -> bool:
    """Return whether there was no answer in time, or the service's database took too long: less at once may do."""
    return isinstance(failure, Unanswered) or (isinstance(failure, ServiceError) and failure.timed_out)


def is_too_much(part: Plan, tried: Sequence[Step], failure: ConnectorError, rebuffs: int) -> bool:
    """Tell whether less at once may do: it has no answer, or takes too long, and nothing of it was done."""
    several_times = len(part.steps) > 1 and rebuffs >= TOO_MUCH_TRIES
    return several_times and is_slow(failure) and same_steps(part.steps, tried, failure)


def key_of(step: Step) -> StepKey:
    """Return what tells a step from every other step for its opportunity."""
    return step.kind, step.record_id


def same_steps(some: Sequence[Step], others: Sequence[Step], failure: ConnectorError) -> bool:
    """Compare steps by what they do; the row versions count only where a version was what was turned down."""
    versions = isinstance(failure, Stale)

    def meant(step: Step) -> tuple[object, ...]:
        return (*key_of(step), step.message, step.status, step.version if versions else "")

    return [meant(step) for step in some] == [meant(step) for step in others]
