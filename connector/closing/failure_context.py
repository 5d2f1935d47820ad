"""What a failure means here beyond its code: whose user it is about, and which ways out there are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from connector.closing.model import Step, StepKind, StepResult
from connector.closing.step_words import phrase
from connector.errors import Broken, ConnectorError, Forbidden, Rejected, RepeatedUndo, ServiceError, StateConflict

_WAYS_OUT = (
    "A draft that cannot be activated can be deleted instead (--drafts delete), or closed by hand first (--drafts "
    "leave refuses the close until then)."
)
_MAY_NOT_ACT_FOR = "0x8004a110"
_ID = r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_SUBJECTS = (
    re.compile(rf"calling ?user\W{{1,5}}{_ID}", re.IGNORECASE),
    re.compile(rf"\b(?:user|principal|systemuserid|caller)\b[^0-9]{{0,40}}?{_ID}", re.IGNORECASE),
)
_LACK = re.compile(r"is missing prv|disabled|no roles|not been assigned|not a member|privilege|access", re.IGNORECASE)


def in_context(results: Sequence[StepResult], users: frozenset[UUID], as_user: UUID | None = None) -> list[StepResult]:
    """Return the results, each failure with its context; `users` are who signed in and who acts, none: unknown.

    `as_user` is the Entra object id of the user in whose name it was done, if it was. One error is one object in all
    its steps, so it is changed once.
    """
    changed: dict[int, ConnectorError] = {}
    for result in results:
        if result.error is not None and id(result.error) not in changed:
            error = _in_the_name_of(result.error, as_user) if as_user else _about_another(result.error, users)
            if result.step.kind is StepKind.ACTIVATE_QUOTE:
                _offer_ways_out(error)
            changed[id(result.error)] = error
    return [replace(result, error=changed[id(result.error)]) if result.error else result for result in results]


_ASK = "Ask who maintains that logic (`connector doctor` lists what runs on a close) before it is run again."


def added(label: str) -> RepeatedUndo:
    """Return the failure of a close after whose steps other quotes turn up each time; `label` is the last of them."""
    return RepeatedUndo(
        f"Each time quotes were closed, others turned up, at last {label}: the organization's own logic (a plug-in, a "
        "workflow, a flow) makes them, or another user.",
        remedy=_ASK,
    )


def undone(step: Step) -> RepeatedUndo:
    """Return the failure of a step that was done more than once and stands to be done again."""
    return RepeatedUndo(
        f"{phrase(step.kind).capitalize()} {step.label} was done more than once, and each time something undid it: "
        "the organization's own logic (a plug-in, a workflow, a flow), or another user.",
        remedy=_ASK,
    )


def _offer_ways_out(error: ConnectorError) -> None:
    lasting = isinstance(error, Rejected | Broken) and not isinstance(error, StateConflict)
    if lasting and "--drafts" not in error.remedy:
        error.remedy = f"{error.remedy} {_WAYS_OUT}".strip()


def _in_the_name_of(error: ConnectorError, as_user: UUID) -> ConnectorError:
    if isinstance(error, Forbidden) and error.code != _MAY_NOT_ACT_FOR:
        error.message = f"{error.message} It was tried in the name of the user {as_user}."
        error.remedy = "Give that user what it lacks, or close it in the name of another, or of nobody (no as_user)."
    return error


def _about_another(error: ConnectorError, users: frozenset[UUID]) -> ConnectorError:
    """Return the failure; one that is about a user who neither signed in nor acts is no longer the caller's.

    A plug-in or workflow runs as its owner, and some checks are those of the record's owner.
    """
    if not users or not isinstance(error, ServiceError) or not _LACK.search(error.detail):
        return error
    if not isinstance(error, Forbidden | Rejected):
        return error
    match = next(filter(None, (subject.search(error.detail) for subject in _SUBJECTS)), None)
    if match is None or UUID(match[1]) in users:
        return error
    other = Rejected(
        f"{error.message} It is about the user {match[1]}, who is not the one that signed in: the organization's own "
        "logic (a plug-in step, a workflow) runs as that user, or the record belongs to it.",
        status=error.status,
        code=error.code,
        detail=error.detail,
        request_id=error.request_id,
        remedy="Enable that user or give it what it lacks; or let the step or workflow run as another user, or assign "
        "the record to one who may.",
        origin=error.origin,
    )
    other.effect, other.transient = error.effect, error.transient
    return other
