"""Asks for a sample of planned rows whether they would be refused, by whom, and how long they take; nothing is kept.

Each is the whole plan of a row as a change set that must fail (see `must_fail`), the organization's own logic included.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import mean, stdev
from uuid import UUID

from connector.closing.model import Opportunity, Plan, Quote, Snapshot
from connector.closing.organization import Organization
from connector.dataverse.reading import WebApi
from connector.dataverse.webapi import operation_of
from connector.errors import ConnectorError, Forbidden, NotFound, Unanswered
from connector.organization.safe_requests import RowChange, RowState, ask_set, changes

EMPTY_SETS = 10
"""Change sets without a question that are sent to learn what one takes; the fastest and the slowest do not count."""


@dataclass(frozen=True, slots=True)
class RowAnswer:
    """What the organization answered for one row of so many steps: refused, why and by which plug-in, in which time.

    `refused` is None where that is not known, `reason` then says why. `changes` are rows that are not as they were.
    """

    opportunity_id: UUID
    refused: bool | None
    seconds: float
    reason: str = ""
    plug_in: str = ""
    changes: tuple[RowChange, ...] = ()
    steps: int = 1

    def data(self) -> dict[str, object]:
        """Return it as plain data."""
        return {
            "opportunity_id": str(self.opportunity_id),
            "refused": self.refused,
            "seconds": round(self.seconds, 3),
            "reason": self.reason,
            "plug_in": self.plug_in,
            "changed": bool(self.changes),
            "changes": [change.text for change in self.changes],
        }


def asked_data(answers: Sequence[RowAnswer]) -> dict[str, object]:
    """Return what the answers come to: rows, how many are refused, mean steps and seconds of a row, the mean's error.

    That rows with more steps take longer is no error. Times are those of rows that were answered.
    """
    known = [answer for answer in answers if answer.refused is not None]
    refused = sum(answer.refused is True for answer in known)
    data: dict[str, object] = {"rows": len(answers), "refused": refused, "not_known": len(answers) - len(known)}
    if not known:
        return data
    steps, seconds = mean(answer.steps for answer in known), mean(answer.seconds for answer in known)
    others = [answer.seconds - seconds * answer.steps / steps for answer in known]
    error = stdev(others) / math.sqrt(len(others)) if len(others) > 1 else seconds
    return data | {"steps": round(steps, 4), "seconds": round(seconds, 4), "error": round(error, 4)}


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
        self, api: WebApi, organization: Organization, monotonic: Callable[[], float], user: UUID
    ) -> Iterator[RowAnswer]:
        """Yield the answer for each, asked as `user`. Each row is looked at before and after.

        From each time that is taken goes off what a set takes that asks nothing.
        """
        empties = sorted(_seconds_of(api, monotonic) for _ in range(EMPTY_SETS if self.plans else 0))
        empty = mean(empties[1:-1] or [0.0])
        for plan in self.plans:
            key = plan.opportunity_id
            before = _versions(organization, key)
            began = monotonic()
            refused, failure = _would_refuse(api, plan)
            took = max(0.0, monotonic() - began - empty)
            changed = tuple(changes(before, _versions(organization, key), user))
            origin = getattr(failure, "origin", None)
            plug_in = origin.plug_in if refused and origin is not None else ""
            own_words = " ".join(str(getattr(failure, "detail", "")).split())[:300]
            cause = f"{failure.message} The organization said: " if refused is None and own_words else ""
            reason = "" if refused is False else f"{cause}{own_words or failure.message}"
            yield RowAnswer(key, refused, took, reason, plug_in, changed, len(plan.steps))


def _would_refuse(api: WebApi, plan: Plan) -> tuple[bool | None, ConnectorError]:
    """Return whether a plan would be refused, None where that is not known, and what its change set ended with.

    A lost answer, a limit and trouble that passes say nothing of the row; nor does a failure of no part by name.
    """
    try:
        reply = ask_set(api, [operation_of(step) for step in plan.steps], plan.opportunity_id)
    except Forbidden as error:
        return True, error
    except ConnectorError as error:
        return None, error
    unnamed = reply.index is None and isinstance(reply.error, NotFound)
    return None if unnamed else not reply.reached_end, reply.error


def _versions(organization: Organization, key: UUID) -> dict[str, RowState]:
    """Return the rows that a close of an opportunity could touch, as they are now."""
    versions = {}
    for snapshot in organization.observe([key], activities=True).values():
        records: list[Opportunity | Quote] = [snapshot.opportunity, *snapshot.quotes]
        for row in records:
            text = f"version {row.version}, state {int(row.state)}, status reason {row.status}"
            versions[f"{type(row).__name__.lower()} {row.id}"] = RowState(text, row.modified_by)
        for activity in snapshot.activities:
            done = "completed" if activity.completed else "not completed"
            versions[f"close activity {activity.id}"] = RowState(done)
    return versions


def _seconds_of(api: WebApi, monotonic: Callable[[], float]) -> float:
    """Return how long a set takes that has only the write that cannot succeed."""
    began = monotonic()
    with suppress(Unanswered):  # it asks nothing, so nothing is lost with its answer
        ask_set(api, [])
    return monotonic() - began
