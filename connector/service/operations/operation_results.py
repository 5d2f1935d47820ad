"""From what the ledger has of an operation to what its caller is told: a status for the flow engine, a body for people.

A final failure is a 4xx: a 5xx would be sent again although nothing more will come of it. What was done in part is 200
with `partial`, so that a flow can branch on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

from connector.closing.model import Outcome
from connector.closing.report import failure_lines
from connector.ledger.jobs import AS_ASKED, DesiredState, ItemStatus, JobKind, JobState
from connector.ledger.operation_store import StoredOperation
from connector.service.problems import SIGN_IN_AGAIN, STATUS, Problem, about, challenge, labelled, with_labels
from connector.service.schemas.response_models import (
    CloseResult,
    ErrorDetail,
    OperationStatus,
    OperationView,
    QuoteResult,
    StepView,
)

GAVE_UP, SIGN_IN = "gave_up", "sign_in"
"""Reasons of failures that do not stand: the same request begins anew."""

_QUOTE_WORDS = {
    "activate_quote": "activated",
    "close_quote": "closed",
    "close_project_quote": "closed",
    "win_quote": "won",
    "delete_quote": "deleted",
    "reopen_quote": "reopened",
}
FINAL: Mapping[str, tuple[int, str]] = {
    "SignInAgain": (HTTPStatus.UNAUTHORIZED, "sign_in_again"),
    "SignInError": (HTTPStatus.FORBIDDEN, "organization_sign_in_failed"),
    **{kind.__name__: (status, code) for kind, status, code in STATUS if status < HTTPStatus.TOO_MANY_REQUESTS},
}
"""Status and code of each kind of failure that ends an operation, by its name in the store."""
CANCELED_SENTENCE = "The operation was canceled before it changed anything."
CANCELED_LATER = (
    "The operation was canceled between two attempts. Look at the opportunity: some of it may have been done."
)
_SENTENCES: Mapping[ItemStatus, str] = {
    ItemStatus.CLOSED: "The opportunity was closed{outcome}.",
    ItemStatus.UNDONE: "The opportunity was closed{outcome}.",
    ItemStatus.ALREADY_CLOSED: "The opportunity was closed as asked, but not by this call; nothing was left to do.",
    ItemStatus.REOPENED: "The opportunity was opened again.",
    ItemStatus.ALREADY_OPEN: "The opportunity is open already; nothing was left to do.",
}
_WAITS = " It waits until {:%Y-%m-%d %H:%M:%S} UTC, when the organization may be asked again, and goes on by itself."
_QUOTE_SENTENCES = {"not_run": "Nothing was done to this quote.", "unknown": "What became of this quote is not known."}
_CLOSED_BY_OTHERS = "The organization's own logic, or somebody else, had done it before."
_CHANGED = frozenset({"closed", "won", "deleted", "reopened"})
_VIEW = {
    ItemStatus.PENDING: OperationStatus.QUEUED,
    ItemStatus.CLAIMED: OperationStatus.RUNNING,
    ItemStatus.WAITING: OperationStatus.WAITING,
}


def final_answer(operation: StoredOperation) -> CloseResult | Problem:
    """Return what was reached by an operation that has its result, or why not; always the same for the same one."""
    report = operation.record.report or {}
    if operation.record.status in AS_ASKED or report.get("partial"):
        return _result(operation, report)
    return _failure(operation, report)


def is_finished(operation: StoredOperation) -> bool:
    """Return whether an operation has its result, or will have none."""
    return operation.job.state is JobState.FINISHED


def was_canceled(operation: StoredOperation) -> bool:
    """Return whether an operation was ended before anybody worked on it."""
    return (
        is_finished(operation)
        and operation.job.desired_state is DesiredState.CANCEL
        and not operation.record.status.final
    )


def stands(operation: StoredOperation) -> bool:
    """Return whether the answer of a finished operation is for good; else the same request begins again."""
    return operation.record.reason not in (GAVE_UP, SIGN_IN) and not was_canceled(operation)


def view(operation: StoredOperation, waiting_until: datetime | None = None) -> OperationView:
    """Return where an operation is; `waiting_until` is when it is tried again, where that is known."""
    status = OperationStatus.CANCELED if was_canceled(operation) else _VIEW.get(operation.record.status)
    if status is None:
        status = OperationStatus.DONE if operation.record.status in AS_ASKED else OperationStatus.FAILED
    return OperationView(
        operation_id=operation.job.name,
        kind="reopen" if operation.job.kind is JobKind.REOPEN else "close",
        opportunity_id=operation.record.opportunity_id,
        status=status,
        message=_message(operation) + (_WAITS.format(waiting_until) if waiting_until else ""),
        accepted_at=operation.job.created,
        finished_at=operation.job.finished,
        waiting_until=waiting_until,
        run_id=_text(operation.job.options, "run_id") or None,
    )


def step_results(steps: Iterable[Mapping[str, Any]]) -> list[StepView]:
    """Return the steps of a report."""
    return [
        StepView(
            kind=step["kind"],
            table=step["table"],
            record=UUID(step["record"]),
            label=step.get("label", ""),
            result=step["result"],
            activity_id=step.get("activity_id"),
            request_id=step.get("request_id"),
            message=_sentence(step.get("error")) or step.get("note"),
        )
        for step in steps
    ]


def quote_results(steps: Iterable[Mapping[str, Any]], not_run: str = "") -> list[QuoteResult]:
    """Return the result of each quote: its last step tells, unless one before it did not work.

    `not_run` says what it means that nothing was done to a quote.
    """
    by_quote: dict[str, list[Mapping[str, Any]]] = {}
    for step in steps:
        if step["table"] == "quote":
            by_quote.setdefault(step["record"], []).append(step)
    return [_quote(quote, own, not_run) for quote, own in by_quote.items()]


def _quote(quote: str, steps: Sequence[Mapping[str, Any]], not_run: str) -> QuoteResult:
    telling = next((step for step in steps if step["result"] in ("failed", "unknown")), steps[-1])
    word = telling["result"]
    return QuoteResult(
        quote_id=UUID(quote),
        result=_QUOTE_WORDS.get(telling["kind"], telling["kind"]) if word == "done" else word,
        status=telling.get("status_reason"),
        activity_id=telling.get("activity_id"),
        message=_sentence(telling.get("error")) or (not_run if word == "not_run" else "") or None,
    )


def _result(operation: StoredOperation, report: Mapping[str, Any]) -> CloseResult:
    steps, done = _steps(report), operation.record.status in AS_ASKED
    word = operation.record.status.value if done else "partial"
    return CloseResult(
        opportunity_id=operation.record.opportunity_id,
        result="closed" if word == "undone" else word,  # type: ignore[arg-type]  # the words of the statuses
        changed=any(step["result"] == "done" for step in steps) or operation.record.status is ItemStatus.CLOSED,
        message=_message(operation),
        quotes=quote_results(_lasting(report), _CLOSED_BY_OTHERS if done else _QUOTE_SENTENCES["not_run"]),
        warnings=list(report.get("warnings", ())),
        steps=step_results(steps),
        digest=_text(report, "digest"),
        operation_id=operation.job.name,
    )


def _failure(operation: StoredOperation, report: Mapping[str, Any]) -> Problem:
    if was_canceled(operation):
        return Problem(HTTPStatus.CONFLICT, "canceled", _message(operation), operation_id=operation.job.name)
    details = tuple(
        ErrorDetail(
            code=quote.result,
            message=quote.message or _QUOTE_SENTENCES.get(quote.result, f"The quote is {quote.result}."),
            target=str(quote.quote_id),
        )
        for quote in quote_results(_lasting(report))
    )
    error: Mapping[str, Any] = _for_caller(operation).get("error") or {}
    if error:
        status, code = FINAL.get(str(error.get("kind")), (HTTPStatus.CONFLICT, "not_finished"))
        ids = {name: " ".join(str(error.get(key) or "").split()) for name, key in _IDS.items()}
        details += (
            *about(_fields(error)),
            *(ErrorDetail(code=name, message=text, target=None) for name, text in ids.items() if text),
        )
    else:
        code = _text(report, "reason_code") or operation.record.reason or "refused"
        status = HTTPStatus.PRECONDITION_FAILED if code == "plan_changed" else HTTPStatus.CONFLICT
    message, asks = _message(operation), dict[str, str]()
    if code == "sign_in_again":
        message, asks = f"{message} {SIGN_IN_AGAIN}", challenge(_text(error, "claims"))
    return Problem(status, code, message, details, asks, operation_id=operation.job.name)


def _message(operation: StoredOperation) -> str:
    """Return one sentence that a maker can act on; the ids for support are told beside it."""
    report = _for_caller(operation)
    sentences = {name: text for name, text in (report.get("error") or {}).items() if name in _SENTENCES_OF}
    return _telling(operation, {**report, "error": sentences})


def message_for_operators(operation: StoredOperation) -> str:
    """Return it for the operator of the endpoint: with the ids for support, without the organization's words."""
    return _telling(operation, _to_others(operation.record.report or {}))


def _telling(operation: StoredOperation, report: Mapping[str, Any]) -> str:
    if was_canceled(operation):
        return CANCELED_LATER if operation.taken_up else CANCELED_SENTENCE
    if not operation.record.status.final:
        return operation.record.status.sentence
    sentence = _SENTENCES.get(operation.record.status)
    quotes = _counted(report)
    if sentence is not None:
        return f"{sentence.format(outcome=_outcome(report))}{quotes}"
    done = f"Some of it was done before that:{quotes}" if report.get("partial") and quotes else ""
    return " ".join(part for part in (_failure_text(report), done) if part) or "It could not be done."


def failure_for_operators(report: Mapping[str, Any]) -> str:
    """Return why a row of a job was refused or failed, and where it stands; empty when it was neither."""
    return _failure_text(_to_others(report))


def _failure_text(report: Mapping[str, Any]) -> str:
    error = report.get("error") or {}
    if error:
        error = {**error, "message": labelled(_text(error, "message"), _fields(error))}
    lines = (_text(report, "reason"), *failure_lines(error, report.get("stands")))
    return with_labels(" ".join(line for line in lines if line))


def _for_caller(operation: StoredOperation) -> Mapping[str, Any]:
    """Return the report of an operation as its caller may read it: whole, where it was asked in the caller's name."""
    report = operation.record.report or {}
    return report if "entrusted" in operation.job.options else _to_others(report)


def _to_others(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report without the organization's own words, which only callers with a sign-in of their own see."""
    error = {name: value for name, value in (report.get("error") or {}).items() if name not in _WORDS}
    return {**report, "error": error}


def _fields(error: Mapping[str, Any]) -> list[str]:
    return [str(name) for name in error.get("fields") or ()]


_WORDS = frozenset({"detail", "trace"})
_SENTENCES_OF = frozenset({"message", "remedy", "detail", "fields"})
"""What of an error is told in sentences; its ids are told beside them."""
_IDS = {
    "organization_said": "detail",
    "organization_code": "code",
    "organization_request": "request_id",
    "plug_in": "plug_in",
    "plug_in_step": "step_id",
}


def _counted(report: Mapping[str, Any]) -> str:
    count = sum(quote.result in _CHANGED for quote in quote_results(_lasting(report)))
    return f" {count} quote{'s were' if count != 1 else ' was'} changed with it." if count else ""


def _outcome(report: Mapping[str, Any]) -> str:
    closing = (step for step in _steps(report) if step["kind"] == "close_opportunity")
    message = next((str(step.get("message", "")) for step in closing), "")
    words = {"WinOpportunity": Outcome.WON, "LoseOpportunity": Outcome.LOST}
    return f" as {words[message]}" if message in words else ""


def _steps(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(report.get("steps", ()))


def _lasting(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the steps of a report, none where something undid them again: where the quotes stand is told beside it."""
    undone = (report.get("error") or {}).get("kind") == "RepeatedUndo"
    return [] if undone else _steps(report)


def _sentence(error: object) -> str:
    if not isinstance(error, dict):
        return ""
    return with_labels(f"{error.get('message', '')} {error.get('remedy', '')}".strip())


def _text(values: Mapping[str, object], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""
