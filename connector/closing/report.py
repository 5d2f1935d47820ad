"""A report as plain data for programs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from connector.closing.close import Preview
from connector.closing.digest import step_data
from connector.closing.intent import AnyIntent, Intent
from connector.closing.model import (
    Opportunity,
    Quote,
    Refusal,
    Report,
    ReportStatus,
    Snapshot,
    Step,
    StepKind,
    StepResult,
    StepStatus,
)
from connector.closing.reopening import changed_columns
from connector.closing.request import plain_value
from connector.errors import ConnectorError, InputError, ServiceError, SignInAgain, cause_of

LONGEST_ALIKE = 120
"""Characters of a text by which failures are counted."""

_DIFFERING = re.compile(
    r"(?P<name>'[^']*'|\"[^\"]*\"|“[^”]*”|„[^“]*“)|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d[\d.,:/-]*\d|\d",
    re.IGNORECASE,
)


def report_data(report: Report) -> dict[str, object]:
    """Return the report ready for JSON.

    Always there: `status`, `opportunity_id`, `steps` (each with `kind`, `record`, `result`), `digest`, `partial`,
    `warnings`. Of a refusal: `reason` (a sentence) and `reason_code`. Of a failure: `error` (see `error_data`) and
    `stands`, which says where the record stands. `before` is what the opportunity was.
    """
    data: dict[str, object] = {
        "status": report.status.value,
        "opportunity_id": str(report.opportunity_id),
        "digest": report.digest,
        "steps": [result_data(result) for result in report.steps],
        "partial": report.partial,
        "warnings": list(report.warnings),
        "rounds": report.rounds,
    }
    return data | _filled(
        {
            "notes": list(report.notes),
            "before": _before(report.before.opportunity) if report.before else None,
            "reason": report.reason,
            "reason_code": report.reason_code,
            "error": error_data(report.error) if report.error else None,
            "stands": report.stands,
        }
    )


def _filled(values: Mapping[str, object]) -> dict[str, object]:
    """Return those that hold something."""
    return {name: value for name, value in values.items() if value}


def record_data(opportunity: Opportunity) -> dict[str, str]:
    """Return what people know an opportunity by: name, estimated value and revenue, ids of its currency and owner."""
    values = {
        "name": opportunity.name,
        "value": opportunity.estimated_value,
        "revenue": opportunity.actual_value,
        "currency": opportunity.currency_id,
        "owner": opportunity.owner_id,
    }
    return {name: str(value) for name, value in values.items() if value not in (None, "")}


def _before(opportunity: Opportunity) -> dict[str, object]:
    """Return what an opportunity was, so that the way back can restore it; what was empty is null."""
    values = {name: plain_value(value) for name, value in changed_columns(opportunity).items()}
    return {**_stand(opportunity.state, opportunity.status), **values}


def preview_data(preview: Preview, already: ReportStatus = ReportStatus.ALREADY_CLOSED) -> dict[str, object]:
    """Return a preview in the shape of a report: `planned`, `already` when nothing is to do, or `refused`."""
    data: dict[str, object] = {"opportunity_id": str(preview.snapshot.opportunity.id)}
    verdict = preview.verdict
    if isinstance(verdict, Refusal):
        return data | {
            "status": ReportStatus.REFUSED.value,
            "steps": [],
            "reason": verdict.reason,
            "reason_code": verdict.code,
        }
    return data | {
        "status": "planned" if verdict.steps else already.value,
        "digest": verdict.digest,
        **_filled({"bypass": verdict.bypass, "as_user": plain_value(verdict.as_user), "notes": list(verdict.notes)}),
        "steps": [result_data(StepResult(step, StepStatus.PLANNED)) for step in verdict.steps],
    }


def result_data(result: StepResult) -> dict[str, object]:
    """Return a step and what came of it, ready for JSON."""
    data = step_data(result.step) | {"result": result.status.value}
    if result.status in {StepStatus.NOT_RUN, StepStatus.FAILED}:
        data.pop("activity_id", None)  # there is none
    error = error_data(result.error) if result.error else None
    return data | _filled({"request_id": result.request_id, "note": result.note, "error": error})


def error_data(error: ConnectorError) -> dict[str, object]:
    """Return an error ready for JSON: `kind`, `message`, `effect`, and where known `remedy`, `code`, `request_id`.

    `effect` is `none` or `unknown`: whether the write may have happened. `detail` is what the organization said,
    `plug_in`, `step_id` and `solution` which part of its own logic it was, `trace` that part's own text: these may
    hold customer text, so they are for who asked, and never for a log. `claims` is what a new sign-in must have.
    """
    data: dict[str, object] = {
        "kind": type(error).__name__,
        "message": error.message,
        "remedy": error.remedy,
        "effect": error.effect.value,
    }
    service = cause_of(error)
    if isinstance(service, ServiceError):
        origin = service.origin
        data |= {"code": service.code, "request_id": service.request_id, "http_status": service.status}
        data |= {"detail": service.detail, "plug_in": origin.plug_in, "step_id": origin.step_id}
        data |= {"solution": origin.solution, "trace": origin.trace}
    if isinstance(error, InputError) and error.fields:
        data["fields"] = list(error.fields)
    if isinstance(error, SignInAgain):
        data["claims"] = error.claims
    return {name: value for name, value in data.items() if value != ""}


_SUPPORT = (
    ("plug-in", "plug_in"),
    ("step", "step_id"),
    ("solution", "solution"),
    ("HTTP", "http_status"),
    ("code", "code"),
    ("request id", "request_id"),
)


_ENDS = tuple(".!?:…")


def failure_lines(error: Mapping[str, object], stands: object = "") -> list[str]:
    """Return for people, in the one order of every channel, what `error` (as `error_data` has it) tells.

    What failed; what the organization said, on one line; what to do; the plug-in and the ids that support asks for;
    where the record `stands`. What may not be told to somebody is left out of `error`.

    >>> failure_lines({"message": "It was stopped.", "detail": "No approval.", "code": "0x80040265"}, "It is open.")
    ['It was stopped.', 'The organization said: No approval.', 'For support: code 0x80040265.', 'It is open.']
    """
    detail = " ".join(str(error.get("detail", "")).split())
    ends = "" if detail[-1:] in _ENDS else "."  # what follows may stand on the same line
    ids = ", ".join(f"{word} {error[name]}" for word, name in _SUPPORT if error.get(name))
    lines = (
        error.get("message"),
        f"The organization said: {detail}{ends}" if detail else "",
        error.get("remedy"),
        f"For support: {ids}." if error.get("code") or error.get("request_id") else "",
        stands,
    )
    return [str(line) for line in lines if line]


_AUDITED = ("kind", "effect", "plug_in", "step_id", "solution", "code", "request_id", "http_status")


def audit_data(report: Report, intent: AnyIntent) -> dict[str, object]:
    """Return what an audit log keeps of a report: ids, states and status reasons, never text of anybody.

    `outcome` is won or lost, `reason` the code of a refusal, `error` the kind, effect and ids of a failure, `changes`
    each row whose state changed, with state and status reason before and after, `activities` the ids of what closed.
    """
    error = error_data(report.error) if report.error else {}
    done = [result.step for result in report.steps if result.status is StepStatus.DONE]
    return _filled(
        {
            "outcome": intent.outcome.value if isinstance(intent, Intent) else None,
            "reason": report.reason_code,
            "error": {name: error[name] for name in _AUDITED if name in error},
            "changes": _changes(report, done),
            "activities": [str(step.activity_id) for step in done if step.activity_id],
        }
    )


def _changes(report: Report, done: Sequence[Step]) -> list[dict[str, object]]:
    """Return each row that changed, before and after.

    A row that was last seen in the version for which its step was made stands as that step has made it.
    """
    before, after = _rows(report.before), _rows(report.after or report.before)
    versions = {row.id: row.version for row in after.values()}
    states = {key: _stand(row.state, row.status) for key, row in after.items()}
    for step in done:
        if versions.get(step.record_id) == step.version and step.kind is not StepKind.CLOSE_ALL_QUOTES:
            if step.state is None:
                del states[step.table, step.record_id]
            else:
                states[step.table, step.record_id] = _stand(step.state, step.status)
    was = {key: _stand(row.state, row.status) for key, row in before.items()}
    return [
        {"table": table, "record": str(id_), "before": old, "after": states.get((table, id_))}
        for (table, id_), old in was.items()
        if old != states.get((table, id_))
    ]


def _rows(snapshot: Snapshot | None) -> dict[tuple[str, UUID], Opportunity | Quote]:
    """Return an opportunity and its quotes, by table and id."""
    if snapshot is None:
        return {}
    quotes = {("quote", quote.id): quote for quote in snapshot.quotes}
    return {("opportunity", snapshot.opportunity.id): snapshot.opportunity, **quotes}


def _stand(state: int, status: int | None) -> dict[str, int | None]:
    return {"state": int(state), "status": status}


def alike(detail: str, names: Iterable[str] = ()) -> str:
    """Return what the organization said without what differs from row to row: ids, numbers, names (quoted, or given).

    >>> alike("Approval 4711 of 'Contoso' is missing for Fleet.", ["Fleet"])
    "Approval # of '…' is missing for …."
    """
    for name in sorted(filter(None, names), key=len, reverse=True):
        detail = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", detail)
    return " ".join(_DIFFERING.sub(lambda match: "'…'" if match["name"] else "#", detail).split())[:LONGEST_ALIKE]
