"""Plans and reports for people."""

from __future__ import annotations

from typing import TextIO

import click

from connector.cli.failure_text import said_by_service, sentences
from connector.cli.screen import legible
from connector.cli.steps_view import COLUMNS, opportunity_words, step_rows
from connector.cli.tables import TextTable, show
from connector.closing.close import Preview
from connector.closing.model import OrganizationMetadata, Refusal, Report, ReportStatus, Snapshot
from connector.closing.report import error_data


def show_preview(preview: Preview, metadata: OrganizationMetadata, stream: TextIO) -> None:
    """Write what would happen: a table of the steps and the plan's digest, or why nothing would."""
    name, verdict = _name(preview.snapshot), preview.verdict
    if isinstance(verdict, Refusal):
        click.echo(legible(f"Refused: {verdict.reason}"), file=stream)
        return
    if not verdict.steps:
        click.echo(legible(f"Nothing to do: {_stands(preview.snapshot, metadata)}"), file=stream)
        return
    rows = step_rows(verdict.steps, preview.snapshot, metadata)
    numbered = tuple((str(number), *row) for number, row in enumerate(rows, start=1))
    show(TextTable(f"Plan for {name}", ("#", *COLUMNS), numbered), stream)
    click.echo(f"Digest: {verdict.digest}", file=stream)


def show_report(report: Report, metadata: OrganizationMetadata, stream: TextIO) -> None:
    """Write what was done and what stands to `stream`; why it failed, if it did, to stderr."""
    seen = report.after or report.before
    if report.steps:
        rows = step_rows([result.step for result in report.steps], report.before, metadata)
        results = [result.status.value.replace("_", " ") for result in report.steps]
        cells = tuple((*row, result) for row, result in zip(rows, results, strict=True))
        name = _name(seen) if seen else str(report.opportunity_id)
        show(TextTable(f"Steps for {name}", (*COLUMNS, "result"), cells), stream)
    click.echo(legible(_ending(report, metadata)), file=stream)
    for warning in report.warnings:
        click.echo(legible(f"Warning: {warning}"), err=True)
    show_failure(report)


def show_failure(report: Report) -> None:
    """Write to stderr why it failed, if it did, with what the service said: that may be customer text, so no result."""
    if report.error is not None:
        click.echo(sentences(error_data(report.error), said_by_service(report.error)), err=True)


def _ending(report: Report, metadata: OrganizationMetadata) -> str:
    """Return the sentence that says how it ended and what stands."""
    opening = {
        ReportStatus.CLOSED: "Closed:",
        ReportStatus.ALREADY_CLOSED: "Already closed, nothing was changed:",
        ReportStatus.REOPENED: "Reopened:",
        ReportStatus.ALREADY_OPEN: "Already open, nothing was changed:",
        ReportStatus.REFUSED: "Refused, after some steps took effect:" if report.partial else "Refused:",
        ReportStatus.FAILED: "Failed after some steps took effect." if report.partial else "Failed.",
    }[report.status]
    if report.status is ReportStatus.FAILED and not report.steps:
        return "Failed; nothing was changed."
    if report.reason:
        return f"{opening} {report.reason}"
    if report.after is None or report.status in {ReportStatus.REFUSED, ReportStatus.FAILED}:
        return opening
    return f"{opening} {_stands(report.after, metadata)}"


def _stands(snapshot: Snapshot, metadata: OrganizationMetadata) -> str:
    """Return a sentence with the state of the opportunity, its close date and its revenue."""
    opportunity = snapshot.opportunity
    parts = [f"{_name(snapshot)} is {opportunity_words(opportunity.state, opportunity.status, metadata)}"]
    if opportunity.actual_close_date is not None:
        parts.append(f"close date {opportunity.actual_close_date}")
    if opportunity.actual_value is not None:
        parts.append(f"actual revenue {opportunity.actual_value:,.2f}")
    return f"{'; '.join(parts)}."


def _name(snapshot: Snapshot) -> str:
    return f"'{snapshot.opportunity.name}'" if snapshot.opportunity.name else f"opportunity {snapshot.opportunity.id}"
