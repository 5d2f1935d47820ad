from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest

from connector.closing.bypass import Bypass
from connector.closing.close import fulfil, preview
from connector.closing.model import (
    DraftPolicy,
    Intent,
    OpportunityState,
    Outcome,
    ReopenIntent,
    Report,
    ReportStatus,
    Snapshot,
    Step,
    StepKind,
    StepResult,
    StepStatus,
)
from connector.closing.record_keys import RecordMatch
from connector.closing.report import (
    audit_data,
    error_data,
    failure_lines,
    preview_data,
    record_data,
    report_data,
)
from connector.errors import InputError, NotConverged, Origin, Rejected, SignInAgain
from tests.closing.small_organization import OPPORTUNITY_ID, Fault, SmallOrganization, organization, quote_id

WON = Intent(OPPORTUNITY_ID, Outcome.WON)


def close(small: SmallOrganization, intent: Intent = WON) -> Report:
    return fulfil(small, intent, pause=small.pause, chance=lambda: 0.5)


def change(table: str, record: UUID, before: tuple[int, int], after: tuple[int, int] | None) -> dict[str, object]:
    """Return a change as the audit log keeps it."""
    was, then = ({"state": pair[0], "status": pair[1]} if pair else None for pair in (before, after))
    return {"table": table, "record": str(record), "before": was, "after": then}


def rows_of(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value


def test_a_close_as_json() -> None:
    data = json.loads(json.dumps(report_data(close(organization((2,))))))
    assert (data["status"], data["opportunity_id"]) == ("closed", str(OPPORTUNITY_ID))
    assert [(step["kind"], step["record"], step["result"]) for step in data["steps"]] == [
        ("close_quote", str(quote_id(1)), "done"),
        ("close_opportunity", str(OPPORTUNITY_ID), "done"),
    ]
    assert len(data["digest"]) == 16
    assert "error" not in data
    assert "reason" not in data


def test_a_failure_as_json_says_what_the_service_said_and_whether_it_may_have_happened() -> None:
    def says_no(_small: SmallOrganization, step: Step) -> None:
        if step.kind is StepKind.CLOSE_OPPORTUNITY:
            raise Rejected("No.", status=400, code="0x80040265", request_id="r-1", remedy="Ask the owner.")

    small = organization((2,))
    small.plug_in = says_no
    report = close(small)
    assert report_data(report)["error"] == {
        "kind": "Rejected",
        "message": "No.",
        "remedy": "Ask the owner.",
        "effect": "none",
        "code": "0x80040265",
        "request_id": "r-1",
        "http_status": 400,
    }


def test_a_failure_in_doubt_says_unknown() -> None:
    small = organization()
    small.faults = [Fault.BROKEN_BEFORE] * 50
    error = report_data(close(small))["error"]
    assert isinstance(error, dict)
    assert (error["kind"], error["effect"], error["http_status"]) == ("NotConverged", "unknown", 503)


def test_a_preview_has_the_shape_of_a_report() -> None:
    small = organization((1,))
    data = preview_data(preview(small, WON))
    assert (data["status"], data["digest"]) == ("planned", report_data(close(small))["digest"])
    assert preview_data(preview(small, WON))["status"] == "already_closed"
    refused = preview_data(preview(small, replace(WON, outcome=Outcome.LOST)))
    assert (refused["status"], refused["reason_code"]) == ("refused", "closed_with_other_outcome")


def test_another_outcome_is_a_refusal_with_its_reason() -> None:
    small = organization()
    small.set_opportunity(OpportunityState.LOST, 4)
    data = report_data(close(small))
    assert (data["status"], data["reason_code"]) == ("refused", "closed_with_other_outcome")
    assert "already closed as lost" in str(data["reason"])


def test_a_report_tells_where_it_stands_what_was_before_and_what_else_there_is() -> None:
    small = organization()
    small.rows.opportunity = replace(
        small.rows.opportunity, actual_value=Decimal("7.50"), actual_close_date=date(2026, 1, 31), close_probability=80
    )
    before = Snapshot(small.rows.opportunity, ())
    stands = "When last seen, the opportunity was open."
    report = Report(
        OPPORTUNITY_ID, ReportStatus.FAILED, stands=stands, rounds=3, notes=("A note.",), warnings=("A warning.",), before=before
    )  # fmt: skip
    data = report_data(report)
    assert (data["stands"], data["rounds"], data["notes"], data["warnings"]) == (stands, 3, ["A note."], ["A warning."])
    assert data["before"] == {
        "state": 0, "status": 1, "actualvalue": "7.50", "actualclosedate": "2026-01-31", "closeprobability": 80
    }  # fmt: skip
    empty = report_data(replace(report, before=Snapshot(organization().rows.opportunity, ()), stands="", notes=()))
    assert empty["before"] == {
        "state": 0, "status": 1, "actualvalue": None, "actualclosedate": None, "closeprobability": None
    }  # fmt: skip
    assert not {"stands", "notes", "reason", "reason_code", "error"} & empty.keys()


def test_a_preview_tells_as_whom_and_without_what_it_would_be_done() -> None:
    small, user = organization((2,)), UUID(int=7)
    small.known = replace(small.known, bypass=Bypass(("sync",)), users=frozenset({user}))
    small.named = {str(user): (RecordMatch(user, "Anna"),)}
    data = preview_data(preview(small, replace(WON, as_user=user)))
    assert (data["opportunity_id"], data["bypass"], data["as_user"]) == (
        str(OPPORTUNITY_ID),
        "leaves out sync",
        str(user),
    )
    assert [step["result"] for step in rows_of(data["steps"])] == ["planned", "planned"]
    small.known = replace(small.known, bypass=Bypass())
    plain = preview_data(preview(small, WON))
    assert not {"bypass", "as_user", "notes", "reason"} & plain.keys()
    small.set_opportunity(OpportunityState.LOST, 4)
    refused = preview_data(preview(small, WON))
    assert refused["steps"] == []
    assert "already closed as lost" in str(refused["reason"])


def test_an_error_tells_what_logic_it_came_from_and_what_the_caller_must_do() -> None:
    origin = Origin("Contoso.Approval", "step-1", "ContosoCore", "at Approval")
    data = error_data(Rejected("No.", status=400, detail="Ask Anna.", origin=origin))
    assert (data["plug_in"], data["step_id"], data["solution"]) == ("Contoso.Approval", "step-1", "ContosoCore")
    assert (data["trace"], data["detail"]) == ("at Approval", "Ask Anna.")
    assert error_data(InputError("Wrong.", fields=("status", "competitor")))["fields"] == ["status", "competitor"]
    assert error_data(SignInAgain("Sign in.", claims="{}"))["claims"] == "{}"
    last = error_data(NotConverged("It did not end.", last=NotConverged("Nor this.", last=Rejected("No.", status=400))))
    assert (last["kind"], last["http_status"]) == ("NotConverged", 400)
    assert "http_status" not in error_data(NotConverged("It did not end."))


def test_people_know_an_opportunity_by_its_name_its_value_and_the_currency() -> None:
    opportunity = organization().rows.opportunity
    assert record_data(opportunity) == {"name": "Fleet", "value": "900"}
    assert record_data(replace(opportunity, name="", estimated_value=Decimal(0), currency_id=UUID(int=3))) == {
        "value": "0",
        "currency": str(UUID(int=3)),
    }


def test_the_audit_log_keeps_what_changed_and_the_activities_that_changed_it() -> None:
    report = close(organization((2, 5)))
    data = audit_data(report, WON)
    assert data == {
        "outcome": "won",
        "changes": [
            change("opportunity", OPPORTUNITY_ID, (0, 1), (1, 3)),
            change("quote", quote_id(1), (1, 2), (3, 6)),
        ],
        "activities": [str(result.step.activity_id) for result in report.steps],
    }
    assert audit_data(close(organization((2,))), ReopenIntent(OPPORTUNITY_ID)).keys() == {"changes", "activities"}


def test_what_others_changed_since_is_kept_as_it_stands_and_a_deleted_quote_stands_nowhere() -> None:
    small = organization((1, 2))
    report = close(small, replace(WON, drafts=DraftPolicy.DELETE))
    kept = audit_data(report, WON)["changes"]
    assert change("quote", quote_id(1), (0, 1), None) in rows_of(kept)
    small.set_opportunity(OpportunityState.OPEN, 2)
    seen = small.observe([OPPORTUNITY_ID])[OPPORTUNITY_ID]
    kept = audit_data(replace(report, after=seen), WON)["changes"]
    assert rows_of(kept)[0] == change("opportunity", OPPORTUNITY_ID, (0, 1), (0, 2))


def test_a_refusal_and_a_failure_are_kept_without_anybodys_text() -> None:
    small = organization()
    small.set_opportunity(OpportunityState.LOST, 4)
    assert audit_data(close(small), WON) == {"outcome": "won", "reason": "closed_with_other_outcome"}
    error = Rejected("Ask Anna.", status=400, code="0x80040265", request_id="r-1", detail="Anna said no.")
    assert audit_data(Report(OPPORTUNITY_ID, ReportStatus.FAILED, error=error), WON) == {
        "outcome": "won",
        "error": {
            "kind": "Rejected", "effect": "none", "code": "0x80040265", "request_id": "r-1", "http_status": 400
        },
    }  # fmt: skip


def test_a_quote_that_was_deleted_and_not_looked_at_since_stands_nowhere() -> None:
    seen = organization((1, 2)).observe([OPPORTUNITY_ID])[OPPORTUNITY_ID]
    delete = Step(StepKind.DELETE_QUOTE, "quote", quote_id(1), "QUO-1", seen.quotes[0].version, "Delete")
    stale = replace(delete, record_id=quote_id(2), version="older")
    close_it = Step(
        StepKind.CLOSE_OPPORTUNITY, "opportunity", OPPORTUNITY_ID, "", seen.opportunity.version, "Any", 1, 3
    )  # fmt: skip
    done = tuple(StepResult(step, StepStatus.DONE) for step in (delete, stale, close_it))
    report = Report(OPPORTUNITY_ID, ReportStatus.FAILED, steps=done, before=seen)
    assert audit_data(report, WON)["changes"] == [
        change("opportunity", OPPORTUNITY_ID, (0, 1), (1, 3)),
        change("quote", quote_id(1), (0, 1), None),
    ]


@pytest.mark.parametrize("known", ["code", "request_id"])
def test_support_is_told_the_ids_once_one_of_the_service_is_known(known: str) -> None:
    error = {"message": "It was stopped.", "detail": "No \n approval.", "remedy": "Ask for it.", known: "0x1"}
    *lines, support, stands = failure_lines(error, "It is open.")
    assert lines == ["It was stopped.", "The organization said: No approval.", "Ask for it."]
    assert (support.startswith("For support: "), support.endswith(" 0x1."), stands) == (True, True, "It is open.")
    assert failure_lines({"message": "It was stopped."}) == ["It was stopped."]


@pytest.mark.parametrize(("detail", "line"), [("Not now", "Not now."), ("Who?", "Who?"), ("See\n  (2) ", "See (2).")])
def test_what_the_organization_said_ends_before_what_follows_on_the_same_line(detail: str, line: str) -> None:
    assert failure_lines({"message": "No.", "detail": detail})[1] == f"The organization said: {line}"
