from __future__ import annotations

import json
from dataclasses import replace

import pytest

from connector.closing.close import close_opportunity, preview
from connector.closing.model import Intent, OpportunityState, Outcome, Report, ReportStatus, Step, StepKind
from connector.closing.report import exit_code, preview_data, report_data
from connector.errors import InputError, Rejected
from tests.closing.small_organization import OPPORTUNITY_ID, Fault, SmallOrganization, organization, quote_id

WON = Intent(OPPORTUNITY_ID, Outcome.WON)


def close(small: SmallOrganization, intent: Intent = WON) -> Report:
    return close_opportunity(small, intent, pause=small.pause, chance=lambda: 0.5)


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
    assert exit_code(report) == 1


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


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (Report(OPPORTUNITY_ID, ReportStatus.CLOSED), 0),
        (Report(OPPORTUNITY_ID, ReportStatus.ALREADY_CLOSED), 0),
        (Report(OPPORTUNITY_ID, ReportStatus.REOPENED), 0),
        (Report(OPPORTUNITY_ID, ReportStatus.ALREADY_OPEN), 0),
        (Report(OPPORTUNITY_ID, ReportStatus.FAILED), 1),
        (Report(OPPORTUNITY_ID, ReportStatus.FAILED, error=InputError("Wrong.")), 2),
        (Report(OPPORTUNITY_ID, ReportStatus.REFUSED), 3),
        (Report(OPPORTUNITY_ID, ReportStatus.FAILED, partial=True), 4),
        (Report(OPPORTUNITY_ID, ReportStatus.REFUSED, partial=True), 4),
    ],
)
def test_the_exit_code_says_how_it_ended(report: Report, code: int) -> None:
    assert exit_code(report) == code


def test_another_outcome_is_a_refusal_with_its_reason() -> None:
    small = organization()
    small.set_opportunity(OpportunityState.LOST, 4)
    data = report_data(close(small))
    assert (data["status"], data["reason_code"]) == ("refused", "closed_with_other_outcome")
    assert "already closed as lost" in str(data["reason"])
