"""`connector plan`, `close` and `reopen`: one opportunity. Show the plan, ask, do it, say the result."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import click

from connector.assembly import connect
from connector.assembly.asked_answers import fresh_answers
from connector.assembly.audited_calls import audited
from connector.cli.capture_option import capture_option, side_effects, steps_of, with_effects
from connector.cli.close_view import ChangeContext, local_day, read_context, show_failure, show_preview, show_report
from connector.cli.failure_text import ExitCode, sentences
from connector.cli.intent_options import intent_options, looked_up, record_argument, requested, with_defaults
from connector.cli.lazy import examples, with_options
from connector.cli.run_options import (
    agree,
    bypass_options,
    dry_run_option,
    if_plan_option,
    read_settings,
    require_terminal,
    run_options,
    wants_json,
    yes_option,
)
from connector.cli.screen import print_json, say, tell
from connector.clock import SystemClock
from connector.closing.close import fulfil, preview
from connector.closing.intent import AnyIntent
from connector.closing.model import Intent, OrganizationMetadata, Plan, Refusal, ReopenIntent, Report, ReportStatus
from connector.closing.organization import LookupOrganization
from connector.closing.record_keys import RecordKey
from connector.closing.report import preview_data, report_data
from connector.closing.verify import standing
from connector.errors import ConnectorError, InputError
from connector.organization.kept_answers import basis_data, basis_text
from connector.settings.settings import Settings

change_options = with_options(yes_option, dry_run_option, if_plan_option, bypass_options, run_options)
"""The options of what changes one record."""


@click.command(
    epilog=examples(
        "close ID --won", 'close ID --lost --status Out-Sold --description "Too dear"', "close ID --won --dry-run"
    )
)
@record_argument
@intent_options
@change_options
def close(*, opportunity: UUID | RecordKey, yes: bool, dry_run: bool, if_plan: str | None) -> int:
    """Close an opportunity as won or lost, with its quotes.

    ID is the opportunity's GUID, or the address of its record, copied from the browser. Running it again is safe: it
    looks first and does only what is left.
    """
    request = requested(opportunity)
    agreed = _agreed(yes, dry_run, if_plan)
    settings = read_settings()
    intent = with_defaults(request, settings, opportunity)
    if dry_run:
        return show_only(settings, intent)
    return carry_out(settings, intent, f"Close it as {intent.outcome}", agreed=agreed, if_plan=if_plan)


@click.command(epilog=examples("plan ID --won --actual-revenue 12500", "plan ID --lost --json"))
@record_argument
@intent_options
@capture_option
@bypass_options
@run_options
def plan(*, opportunity: UUID | RecordKey, capture_file: Path | None) -> int:
    """Show what closing an opportunity would do, and a digest that names it.

    ID is the opportunity's GUID, or the address of its record, copied from the browser. Nothing is changed.
    """
    closing = requested(opportunity)
    settings = read_settings()
    return show_only(settings, with_defaults(closing, settings, opportunity), capture_file)


def show_only(settings: Settings, intent: AnyIntent, capture_file: Path | None = None) -> int:
    """Show what would be done, do nothing, and return the exit code."""
    already = ReportStatus.ALREADY_CLOSED if isinstance(intent, Intent) else ReportStatus.ALREADY_OPEN
    with connect(settings) as connection:
        planned = preview(connection.organization, intent)
        around = read_context(connection, intent, local_day(SystemClock()))
        kept_answers = fresh_answers(settings, SystemClock().now())
        effects = side_effects(connection, capture_file)
        if effects is not None:
            planned = with_effects(planned, effects)
        if wants_json():
            more: dict[str, object] = {"basis": basis_data(kept_answers)}
            more |= {"side_effects": effects.data()} if effects is not None else {}
            print_json(preview_data(planned, already) | around.data() | more)
        else:
            for line in effects.lines() if effects is not None else ():
                say(f"Sets off: {line}")
            show_preview(planned, connection.organization.metadata(), sys.stdout, around, basis_text(kept_answers))
            if isinstance(planned.verdict, Plan) and planned.verdict.steps:
                verb = "close" if isinstance(intent, Intent) else "reopen"
                options = f"the same options and --if-plan {planned.verdict.digest}"
                tell(f"Nothing was changed. To do exactly this: `connector {verb}` with {options}.")
    return ExitCode.DONE if isinstance(planned.verdict, Plan) else ExitCode.REFUSED


@click.command(epilog=examples("reopen ID", "reopen ID --dry-run"))
@record_argument
@change_options
def reopen(*, opportunity: UUID | RecordKey, yes: bool, dry_run: bool, if_plan: str | None) -> int:
    """Open a closed opportunity again, and the quotes that were closed with it.

    ID is the opportunity's GUID, or the address of its record, copied from the browser. Quotes that this connector
    closed go back to draft; those that somebody else closed stay as they are.
    """
    agreed = _agreed(yes, dry_run, if_plan)
    settings = read_settings()
    intent = ReopenIntent(looked_up(settings, opportunity))
    if dry_run:
        return show_only(settings, intent)
    return carry_out(settings, intent, "Reopen it", agreed=agreed, if_plan=if_plan)


LONG_WAIT = 5.0
"""Seconds of waiting from which on somebody who watches is told."""


def _agreed(yes: bool, dry_run: bool, if_plan: str | None) -> bool:
    """Return whether nobody needs to be asked. Raises click.UsageError where there is no terminal to ask on."""
    agreed = yes or if_plan is not None
    if not agreed and not dry_run:
        require_terminal(ways="--yes, or with --if-plan and the digest that `connector plan` prints")
    return agreed


def _wait_and_tell(seconds: float) -> None:
    """Wait before looking again, and say so when that takes so long that a person may wonder."""
    if seconds >= LONG_WAIT:
        tell(f"The end is not known yet; looking again in {seconds:.0f} s. Ctrl-C stops; run it again later.")
    SystemClock().sleep(seconds)


def carry_out(settings: Settings, intent: AnyIntent, question: str, *, agreed: bool, if_plan: str | None) -> int:
    """Do what is asked in the organization of the settings, print the result and return the exit code.

    `question` is asked unless somebody `agreed` already; `if_plan` is the digest of the one plan to act on, if any.
    """
    with connect(settings) as connection:
        organization = connection.organization
        metadata = organization.metadata()  # what keeps us out altogether is said now, not after rounds of looking
        around = read_context(connection, intent, local_day(SystemClock()))
        digest, refusal = if_plan, None
        if digest is not None:
            digest, refusal = steps_of(digest, connection, lambda: preview(organization, intent))
        if not agreed:
            plan = _shown(organization, metadata, around)
            if plan is not None:
                whole_question = f"{question}{_dated(plan)} in {urlsplit(connection.base_url).hostname}?"
                agree(whole_question, about={"opportunity_id": str(intent.opportunity_id), "steps": []})
            digest = plan.digest if plan else None
        try:
            fulfilment = partial(fulfil, organization, intent, pause=_wait_and_tell, if_plan=digest)
            act = fulfilment if refusal is None else partial(_refused, refusal)
            (report,) = audited(connection, [intent], lambda: [act()], tell)
            if report.steps and (wants_json() or _is_renamed(report)):  # the record is told as it stands
                around = read_context(connection, intent, around.today)
        except KeyboardInterrupt:
            return _say_interrupted(intent.opportunity_id, organization)
    if wants_json():
        print_json(report_data(report) | around.data())
        show_failure(report)
    else:
        show_report(report, metadata, sys.stdout, around)
    return exit_code(report)


def exit_code(report: Report) -> ExitCode:
    """Return what the process ends with after a close or the way back."""
    if report.status not in {ReportStatus.FAILED, ReportStatus.REFUSED}:
        return ExitCode.DONE
    if report.partial:
        return ExitCode.PARTLY_DONE
    if report.status is ReportStatus.REFUSED:
        return ExitCode.REFUSED
    return ExitCode.USAGE if isinstance(report.error, InputError) else ExitCode.FAILED


def _refused(refusal: Refusal) -> Report:
    return Report(refusal.opportunity_id, ReportStatus.REFUSED, reason=refusal.reason, reason_code=refusal.code)


def _is_renamed(report: Report) -> bool:
    """Return whether logic of the organization changed meanwhile what amounts and the customer are called."""
    names = [(at.opportunity.currency_id, at.opportunity.customer_id) for at in (report.before, report.after) if at]
    return len(set(names)) > 1


def _shown(organization: LookupOrganization, metadata: OrganizationMetadata, around: ChangeContext) -> Plan | None:
    """Show the plan and return it, if there is anything to do and to agree to."""
    planned = preview(organization, around.intent)
    if not isinstance(planned.verdict, Plan) or not planned.verdict.steps:
        return None
    show_preview(planned, metadata, sys.stderr if wants_json() else sys.stdout, around)
    return planned.verdict


def _dated(plan: Plan) -> str:
    """Return the day that a close writes, for a question."""
    day = str(plan.steps[-1].activity.get("actualend") or "")[:10]
    return f" on {day}" if day else ""


def _say_interrupted(opportunity_id: UUID, organization: LookupOrganization) -> ExitCode:
    """Look once more and say what stands; a write that was under way may still take effect."""
    error = {
        "kind": "Interrupted",
        "message": f"Stopped from the keyboard. {_standing(organization, opportunity_id)}",
        "remedy": "A write that was under way may still take effect. Run the same command again to finish: it looks "
        "first and does only what is left.",
        "effect": "unknown",
    }
    if wants_json():
        print_json({"status": "failed", "opportunity_id": str(opportunity_id), "steps": [], "error": error})
    tell(sentences(error))
    return ExitCode.INTERRUPTED


def _standing(organization: LookupOrganization, opportunity_id: UUID) -> str:
    try:
        snapshot = organization.observe([opportunity_id]).get(opportunity_id)
    except (ConnectorError, KeyboardInterrupt):
        return "The present state could not be read."
    return f"Now {standing(snapshot)}" if snapshot else "The opportunity is not there."
