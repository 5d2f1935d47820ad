"""Asks for a sample of planned rows whether they would be refused, by whom, and how long they take; nothing is kept.

Each is the whole plan of a row as a change set that must fail (see `must_fail`), the organization's own logic included.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import mean, median, stdev
from uuid import UUID

from connector.closing.model import Plan, Snapshot
from connector.closing.organization import Organization
from connector.dataverse.webapi import Endpoint, operation_of
from connector.errors import ConnectorError, Unanswered
from connector.handler import Handler
from connector.organization.safe_requests import ask_set

EMPTY_SETS = 3
"""Change sets without a question that are sent to learn what the way there and back takes."""


@dataclass(frozen=True, slots=True)
class RowAnswer:
    """What the organization answered for one row of so many steps: refused, why and by which plug-in, in which time.

    `changed` is true when the row is not as it was, which no answer should bring about.
    """

    opportunity_id: UUID
    refused: bool
    seconds: float
    reason: str = ""
    plug_in: str = ""
    changed: bool = False
    steps: int = 1

    def data(self) -> dict[str, object]:
        """Return it as plain data."""
        return {
            "opportunity_id": str(self.opportunity_id),
            "refused": self.refused,
            "seconds": round(self.seconds, 3),
            "reason": self.reason,
            "plug_in": self.plug_in,
            "changed": self.changed,
        }


def asked_data(answers: Sequence[RowAnswer]) -> dict[str, object]:
    """Return what the answers come to: rows, how many are refused, mean steps and seconds of a row, the mean's error.

    That rows with more steps take longer is no error.
    """
    steps, seconds = mean(answer.steps for answer in answers), mean(answer.seconds for answer in answers)
    others = [answer.seconds - seconds * answer.steps / steps for answer in answers]
    error = stdev(others) / math.sqrt(len(others)) if len(others) > 1 else seconds
    refused = sum(answer.refused for answer in answers)
    times = {"steps": steps, "seconds": seconds, "error": error}
    return {"rows": len(answers), "refused": refused, **{name: round(value, 4) for name, value in times.items()}}


class RowSample:
    """Keeps a fair sample of `most` plans out of any number, and asks for them."""

    def __init__(self, most: int, seed: int = 1) -> None:
        self._most = most
        self._seen = 0
        self._chance = random.Random(seed)
        self.plans: list[Plan] = []

    def add(self, plan: Plan, snapshot: Snapshot) -> None:
        """Take a plan in; one that does nothing is not asked for."""
        del snapshot
        if not plan.steps or not self._most:
            return
        self._seen += 1
        if len(self.plans) < self._most:
            self.plans.append(plan)
        elif (place := self._chance.randrange(self._seen)) < self._most:
            self.plans[place] = plan

    def ask(
        self, handler: Handler, endpoint: Endpoint, organization: Organization, monotonic: Callable[[], float]
    ) -> Iterator[RowAnswer]:
        """Yield the answer for each; a failure of one is its answer. Each row is looked at before and after.

        From each time that is taken goes off what a set takes that asks nothing.
        """
        empty = median([_seconds_of(handler, endpoint, monotonic) for _ in range(EMPTY_SETS)]) if self.plans else 0.0
        for plan in self.plans:
            key = plan.opportunity_id
            before = organization.observe([key], activities=True)
            began = monotonic()
            try:
                reply = ask_set(handler, endpoint, [operation_of(step) for step in plan.steps], key)
            except ConnectorError as error:
                took, failure, refused = monotonic() - began, error, True
            else:
                took, failure, refused = monotonic() - began, reply.error, not reply.reached_end
            changed = organization.observe([key], activities=True) != before
            origin = getattr(failure, "origin", None)
            plug_in = origin.plug_in if refused and origin is not None else ""
            reason, steps = failure.message if refused else "", len(plan.steps)
            yield RowAnswer(key, refused, max(0.0, took - empty), reason, plug_in, changed, steps)


def _seconds_of(handler: Handler, endpoint: Endpoint, monotonic: Callable[[], float]) -> float:
    """Return how long a set takes that has only the write that cannot succeed."""
    began = monotonic()
    with suppress(Unanswered):  # it asks nothing, so nothing is lost with its answer
        ask_set(handler, endpoint, [])
    return monotonic() - began
