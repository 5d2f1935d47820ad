"""Plans and reports for people."""

from __future__ import annotations

from typing import TextIO

import click

from connector.cli.change_view import ChangeContext, change_table, remarks, rests_on
from connector.cli.failure_text import sentences
from connector.cli.screen import TextTable, say, show, tell
from connector.closing.close import Preview
from connector.closing.model import OrganizationMetadata, Plan, Refusal, Report, ReportStatus, Snapshot, StepStatus
from connector.closing.plan import CLOSE_PROJECT_QUOTE_AS_WON
from connector.closing.report import error_data
from connector.closing.step_words import COLUMNS, opportunity_words, step_rows


def show_preview(
    preview: Preview,
    metadata: OrganizationMetadata,
    stream: TextIO,
    around: ChangeContext | None = None,
    basis: str = "",
) -> None:
    """Write what would happen: what changes, a table of the steps and the plan's digest, or why nothing would."""
    name, verdict = _name(preview.snapshot), preview.verdict
    if isinstance(verdict, Refusal):
        say(f"Refused: {verdict.reason}", stream)
        return
    if not verdict.steps:
        say(f"Nothing to do: {_state_sentence(preview.snapshot, metadata, around)}", stream)
        return
    if around is not None:
        show(change_table(verdict, preview.snapshot, metadata, around), stream)
        click.echo(file=stream)
    rows = step_rows(verdict.steps, preview.snapshot, metadata, around.totals() if around else {})
    numbered = tuple((str(number), *row) for number, row in enumerate(rows, start=1))
    show(TextTable(f"Plan for {name}", ("#", *COLUMNS), numbered), stream)
    for remark in remarks(around) if around else ():
        say(f"Note: {remark}", stream)
    for note in verdict.notes:
        say(f"Note: {note}", stream)
    if siblings := _closed_by_the_service(verdict, preview.snapshot):
        say(f"Note: Project Operations itself closes the other project quotes as lost: {', '.join(siblings)}.", stream)
    if verdict.bypass:
        say(f"The organization's own logic: {verdict.bypass}.", stream)
    if verdict.as_user:
        say(f"It is done in the name of the user {verdict.as_user} (Entra object id).", stream)
    if basis:
        say(f"Based on: {basis}.", stream)
    say(f"Valid for: {rests_on(preview.snapshot)}.\nDigest: {verdict.digest}", stream)


def _closed_by_the_service(plan: Plan, snapshot: Snapshot) -> list[str]:
    """Return the open project quotes that winning one of them closes; the plan has no steps for these."""
    if all(step.message != CLOSE_PROJECT_QUOTE_AS_WON for step in plan.steps):
        return []
    ours = {step.record_id for step in plan.steps}
    others = [quote for quote in snapshot.quotes if quote.work_based and quote.is_open and quote.id not in ours]
    return [f"{quote.number} {quote.name}".strip() for quote in others]


def show_report(
    report: Report, metadata: OrganizationMetadata, stream: TextIO, around: ChangeContext | None = None
) -> None:
    """Write what was done to `stream`; why it failed, if it did, to stderr; then what stands."""
    snapshot = report.after or report.before
    if report.steps:
        rows = step_rows([result.step for result in report.steps], report.before, metadata)
        results = [result.status.value.replace("_", " ") for result in report.steps]
        cells = tuple((row[0], row[1], row[3], result) for row, result in zip(rows, results, strict=True))
        name = _name(snapshot) if snapshot else str(report.opportunity_id)
        show(TextTable(f"Steps for {name}", (COLUMNS[0], COLUMNS[1], COLUMNS[3], "result"), cells), stream)
    show_failure(report)
    say(_ending(report, metadata, around), stream)
    for note in (*(remarks(around) if around and report.steps else ()), *report.notes):
        say(f"Note: {note}", stream)
    for warning in report.warnings:
        tell(f"Warning: {warning}")


def show_failure(report: Report) -> None:
    """Write to stderr why it failed, if it did, with what the service said: that may be customer text, so no result."""
    if report.error is not None:
        tell(sentences(error_data(report.error)))


def _ending(report: Report, metadata: OrganizationMetadata, around: ChangeContext | None) -> str:
    """Return the sentence that says how it ended and what stands."""
    some = any(result.status is StepStatus.DONE for result in report.steps)
    unchanged = "" if some else ", nothing was changed"
    opening = {
        ReportStatus.CLOSED: "Closed:",
        ReportStatus.ALREADY_CLOSED: f"Already closed{unchanged}:",
        ReportStatus.REOPENED: "Reopened:",
        ReportStatus.ALREADY_OPEN: f"Already open{unchanged}:",
        ReportStatus.REFUSED: "Refused, after some steps took effect:" if report.partial else "Refused:",
        ReportStatus.FAILED: "Failed after some steps took effect." if report.partial else "Failed.",
    }[report.status]
    if report.status is ReportStatus.FAILED and not report.steps:
        return f"Failed; nothing was changed. {report.stands}".rstrip()
    if report.reason or report.stands:
        return f"{opening} {report.reason or report.stands}"
    if report.after is None or report.status in {ReportStatus.REFUSED, ReportStatus.FAILED}:
        return opening
    return f"{opening} {_state_sentence(report.after, metadata, around)}"


def _state_sentence(snapshot: Snapshot, metadata: OrganizationMetadata, around: ChangeContext | None) -> str:
    """Return a sentence with the state of the opportunity, its close date and its revenue."""
    opportunity = snapshot.opportunity
    customer = f" of {around.card.customer}" if around and around.card and around.card.customer else ""
    parts = [f"{_name(snapshot)}{customer} is {opportunity_words(opportunity.state, opportunity.status, metadata)}"]
    if opportunity.actual_close_date is not None:
        parts.append(f"close date {opportunity.actual_close_date}")
    if opportunity.actual_value is not None:
        value = opportunity.actual_value
        parts.append(f"actual revenue {around.money(value) if around else f'{value:,.2f}'}")
    if around:
        parts.append(f"in {around.organization}")
    return f"{'; '.join(parts)}."


def _name(snapshot: Snapshot) -> str:
    return f"'{snapshot.opportunity.name}'" if snapshot.opportunity.name else f"opportunity {snapshot.opportunity.id}"
