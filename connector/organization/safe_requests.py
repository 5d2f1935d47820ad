"""Asks and changes nothing: a handler for reads alone, and change sets that must fail, the question first.

A change set is rolled back whole when one part fails, and the Content-ID of the one error part says how far it came
(execute-batch-operations-using-web-api). The last part changes a row that does not exist, with `If-Match: *`, which
forbids to create it. Synchronous logic of the organization runs before the rollback, and may call out.

Of a sample of planned rows it asks so whether they would be refused, by whom, and how long they take: each is the whole
plan of a row, the organization's own logic included.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from statistics import mean, stdev
from uuid import UUID

from connector.closing.model import Opportunity, Plan, Quote, Snapshot
from connector.closing.organization import Organization
from connector.dataverse.answers import error_from
from connector.dataverse.batch import Applied, ChangeSet, Missing, match_change_sets, read_batch, write_batch
from connector.dataverse.diagnosis import remaining_limits
from connector.dataverse.pacing.gate import feedback_of
from connector.dataverse.reading import WebApi
from connector.dataverse.webapi import Endpoint, Operation, operation_of
from connector.errors import (
    ConnectorError,
    Effect,
    Forbidden,
    InputError,
    NotFound,
    ServiceError,
    Unanswered,
    Unauthorized,
)
from connector.handler import Handler, Request, Response
from connector.organization.capture_model import LimitFact

_SUBJECT = "Asking by a change set that must fail"
CHANGED = {False: "CHANGED", True: "Changed by others meanwhile"}
"""What is said of a row that is not as it was, by whether another user wrote it."""


@dataclass(frozen=True, slots=True)
class FailedSet:
    """How far a change set of `size` parts came before the part that cannot succeed; `error` is what stopped it.

    `index` is the part that failed, None where the answer does not say; `reached_end` tells that all questions passed.
    """

    size: int
    index: int | None
    error: ServiceError

    @property
    def reached_end(self) -> bool:
        """Whether nothing but the impossible write failed."""
        return self.index == self.size


class NotFailed(Unanswered):
    """A change set that cannot succeed was answered with a success: what it asked may have been done."""


def impossible(endpoint: Endpoint) -> Operation:
    """Return the write that cannot succeed."""
    return Operation("PATCH", f"opportunities({endpoint.new_id()})", '{"description":"a probe"}', "*")


def ask_set(api: WebApi, operations: Sequence[Operation], correlation: UUID | None = None) -> FailedSet:
    """Return how far `operations` come in one change set whose last part fails.

    Raises NotFailed when nothing failed, Forbidden for a caller who may not write these records at all, and
    what the service answers instead of the batch.
    """
    boundary = f"batch_{api.endpoint.new_id()}"
    parts = (*operations, impossible(api.endpoint))
    body = write_batch([ChangeSet(parts)], boundary, api.endpoint.write_headers())
    response = api.handler(api.endpoint.batch(body, boundary, correlation))
    answers = read_batch(response)
    if answers is None:
        raise (
            error_from(response, _SUBJECT)
            if response.status >= HTTPStatus.BAD_REQUEST
            else Unanswered(f"{_SUBJECT}: no answer came.")
        )
    (fate,) = match_change_sets(answers, [len(parts)])
    if isinstance(fate, Applied):
        raise NotFailed(f"{_SUBJECT}: nothing failed, so what it asked may have been done.")
    if isinstance(fate, Missing):
        raise Unanswered(f"{_SUBJECT}: its answer is not there, or is not one to it.")
    error = error_from(fate.response, _SUBJECT)
    if isinstance(error, Forbidden | Unauthorized) or error.transient or error.effect is not Effect.NONE:
        raise error  # what passes is no answer
    return FailedSet(len(operations), fate.index, error)


@dataclass(frozen=True, slots=True)
class RowState:
    """A row as it was read, in words, and the user who wrote it last, None where that was not told."""

    text: str
    modified_by: UUID | None = None


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row that is not as it was before something was asked, as a sentence; `by_others`: another user wrote it."""

    text: str
    by_others: bool


def changes(before: Mapping[str, RowState], after: Mapping[str, RowState], user: UUID) -> list[RowChange]:
    """Return what is not as it was, by the names of the rows. What this user did not write last, it did not ask for."""
    listed = []
    for row in sorted(before.keys() | after.keys()):
        was, is_now = before.get(row), after.get(row)
        if was == is_now:
            continue
        writer = is_now.modified_by if is_now else None
        whose = (
            "who wrote it last is not known"
            if writer is None
            else f"user {writer} wrote it last, not this one"
            if writer != user
            else "this user wrote it last: what was asked here, or another program that works as this user"
        )
        texts = [version.text if version else "not there" for version in (was, is_now)]
        listed.append(RowChange(f"{row} was {texts[0]} and is {texts[1]}; {whose}.", writer not in (None, user)))
    return listed


class ReadingOnly:
    """Stands before a handler: whatever is no GET is refused before it is sent.

    `seen` has the highest limits that were told, and how many web servers answered.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._servers: set[str] = set()
        self.seen: dict[str, float] = {}

    def __call__(self, request: Request) -> Response:
        """Send a read. Raises InputError for anything else, and what the handler raises."""
        if request.method != "GET" or request.body:
            raise InputError(f"A capture only reads: a {request.method} was not sent.")
        response = self._handler(request)
        self._servers.add(feedback_of(response).server)
        self.seen["servers"] = float(len(self._servers - {""}) or 1)
        remaining = remaining_limits(response)
        for name, value in (
            ("parallelism", remaining.parallelism), ("requests", remaining.requests), ("seconds", remaining.seconds)
        ):  # fmt: skip
            if value is not None:
                self.seen[name] = max(float(value), self.seen.get(name, 0.0))
        return response

    def seen_with(self, rows: Iterable[LimitFact]) -> dict[str, float]:
        """Return the highest limits that were told, now or at an earlier time."""
        before = {row.name: row.value for row in rows}
        return {name: max(before.get(name, 0.0), self.seen.get(name, 0.0)) for name in before | self.seen}


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
    answered = [answer for answer in answers if answer.refused is not None]
    refused = sum(answer.refused is True for answer in answered)
    data: dict[str, object] = {"rows": len(answers), "refused": refused, "not_known": len(answers) - len(answered)}
    if not answered:
        return data
    steps, seconds = mean(answer.steps for answer in answered), mean(answer.seconds for answer in answered)
    others = [answer.seconds - seconds * answer.steps / steps for answer in answered]
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
