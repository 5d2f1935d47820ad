"""Asks and changes nothing: a handler for reads alone, and change sets that must fail, the question first.

A change set is rolled back whole when one part fails, and the Content-ID of the one error part says how far it came
(execute-batch-operations-using-web-api). The last part changes a row that does not exist, with `If-Match: *`, which
forbids to create it. Synchronous logic of the organization runs before the rollback, and may call out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from uuid import UUID

from connector.dataverse.answers import error_from
from connector.dataverse.batch import Applied, ChangeSet, Missing, match_change_sets, read_batch, write_batch
from connector.dataverse.diagnosis import remaining_limits
from connector.dataverse.pacing.gate import feedback_of
from connector.dataverse.reading import WebApi
from connector.dataverse.webapi import Endpoint, Operation
from connector.errors import Effect, Forbidden, InputError, ServiceError, Unanswered, Unauthorized
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
