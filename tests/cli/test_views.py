"""What people see of plans and reports."""

import io
from dataclasses import replace
from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest

from connector.cli.close_command import exit_code
from connector.cli.close_view import show_preview, show_report
from connector.closing.close import Preview
from connector.closing.model import (
    Intent,
    Opportunity,
    OpportunityState,
    OrganizationMetadata,
    Outcome,
    Plan,
    Quote,
    QuoteState,
    Refusal,
    Report,
    ReportStatus,
    Snapshot,
    StatusReason,
    StepResult,
    StepStatus,
)
from connector.closing.plan import plan_close
from connector.closing.step_words import step_rows
from connector.errors import Forbidden, InputError

OPPORTUNITY, DRAFT, ACTIVE = UUID(int=1), UUID(int=2), UUID(int=3)


def reason(value: int, state: int, label: str) -> StatusReason:
    return StatusReason(value, state, default=True, labels=(label,))


METADATA = OrganizationMetadata(
    (reason(1, 0, "In Progress"), reason(3, 1, "Won"), reason(4, 2, "Canceled")),
    (reason(1, 0, "In Progress"), reason(3, 1, "Open"), reason(4, 2, "Won"), reason(6, 3, "Canceled")),
)
SNAPSHOT = Snapshot(
    Opportunity(OPPORTUNITY, "Café [corporate]", OpportunityState.OPEN, 1, 'W/"1"'),
    (
        Quote(DRAFT, "Site", "QUO-1", QuoteState.DRAFT, 1, 'W/"2"'),
        Quote(ACTIVE, "Shop", "QUO-2", QuoteState.ACTIVE, 3, 'W/"3"'),
    ),
)


def plan() -> Plan:
    verdict = plan_close(SNAPSHOT, Intent(OPPORTUNITY, Outcome.WON), METADATA)
    assert isinstance(verdict, Plan)
    return verdict


def shown(verdict: Plan | Refusal) -> str:
    stream = io.StringIO()
    show_preview(Preview(SNAPSHOT, verdict), METADATA, stream)
    return stream.getvalue()


def reported(report: Report) -> str:
    stream = io.StringIO()
    show_report(report, METADATA, stream)
    return stream.getvalue()


def test_each_step_is_shown_with_its_record_by_name_and_the_states_it_leads_between() -> None:
    assert step_rows(plan().steps, SNAPSHOT, METADATA) == [
        ("activate quote", "QUO-1 Site", "Draft, In Progress", "Active, Open"),
        ("close quote", "QUO-1 Site", "Active, Open", "Closed, Canceled"),
        ("close quote", "QUO-2 Shop", "Active, Open", "Closed, Canceled"),
        ("close opportunity", "Café [corporate]", "Open, In Progress", "Won"),
    ]


def test_a_preview_ends_with_the_digest_of_the_plan() -> None:
    assert shown(plan()).splitlines()[-1] == f"Digest: {plan().digest}"


def test_a_preview_of_nothing_to_do_says_what_stands() -> None:
    assert shown(Plan(OPPORTUNITY, (), "")) == "Nothing to do: 'Café [corporate]' is Open, In Progress.\n"


def test_a_preview_of_a_refusal_says_why() -> None:
    assert shown(Refusal(OPPORTUNITY, "drafts_stand", "A draft stands.")) == "Refused: A draft stands.\n"


def test_a_report_ends_with_what_stands() -> None:
    closed = replace(
        SNAPSHOT.opportunity,
        state=OpportunityState.WON,
        status=3,
        actual_close_date=date(2026, 1, 31),
        actual_value=Decimal("12500.00"),
    )
    results = tuple(StepResult(step, StepStatus.DONE) for step in plan().steps)
    report = Report(OPPORTUNITY, ReportStatus.CLOSED, results, before=SNAPSHOT, after=Snapshot(closed, SNAPSHOT.quotes))
    lines = reported(report).splitlines()
    assert lines[-1] == "Closed: 'Café [corporate]' is Won; close date 2026-01-31; actual revenue 12,500.00."
    assert [line.split()[-1] for line in lines[2:-1]] == ["done"] * 4


def test_a_failure_is_a_sentence_a_remedy_and_the_ids_for_support(capsys: pytest.CaptureFixture[str]) -> None:
    error = Forbidden(
        "Not allowed.", status=403, code="0x80040220", detail="It\nsaid no.", request_id="abc", remedy="Give it a role."
    )
    assert reported(Report(OPPORTUNITY, ReportStatus.FAILED, error=error)) == "Failed; nothing was changed.\n"
    assert capsys.readouterr().err == (
        "Error: Not allowed.\nThe organization said: It said no.\nGive it a role.\n"
        "For support: HTTP 403, code 0x80040220, request id abc.\n"
    )


def test_a_partial_refusal_says_that_something_took_effect() -> None:
    report = Report(OPPORTUNITY, ReportStatus.REFUSED, reason="Somebody closed it as lost.", partial=True)
    assert reported(report) == "Refused, after some steps took effect: Somebody closed it as lost.\n"


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (Report(OPPORTUNITY, ReportStatus.CLOSED), 0),
        (Report(OPPORTUNITY, ReportStatus.ALREADY_CLOSED), 0),
        (Report(OPPORTUNITY, ReportStatus.REOPENED), 0),
        (Report(OPPORTUNITY, ReportStatus.ALREADY_OPEN), 0),
        (Report(OPPORTUNITY, ReportStatus.FAILED), 1),
        (Report(OPPORTUNITY, ReportStatus.FAILED, error=InputError("Wrong.")), 2),
        (Report(OPPORTUNITY, ReportStatus.REFUSED), 3),
        (Report(OPPORTUNITY, ReportStatus.FAILED, partial=True), 4),
        (Report(OPPORTUNITY, ReportStatus.REFUSED, partial=True), 4),
    ],
)
def test_the_exit_code_says_how_it_ended(report: Report, code: int) -> None:
    assert exit_code(report) == code
