"""Carrying out a close or the way back, as a person sees it: show the plan, ask, do it, say what came of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit
from uuid import UUID

import click

from connector.assembly import connect
from connector.assembly.audited_calls import audited
from connector.cli.capture_option import steps_of
from connector.cli.change_view import ChangeContext, local_day, read_context
from connector.cli.close_view import show_failure, show_preview, show_report
from connector.cli.failure_text import ExitCode, sentences
from connector.cli.screen import print_json, tell
from connector.clock import SystemClock
from connector.closing.close import fulfil, preview
from connector.closing.intent import AnyIntent
from connector.closing.model import OrganizationMetadata, Plan, Refusal, Report, ReportStatus
from connector.closing.organization import LookupOrganization
from connector.closing.report import exit_code, report_data
from connector.closing.verify import standing
from connector.errors import ConnectorError
from connector.settings.settings import Settings

LONG_WAIT = 5.0
"""Seconds of waiting from which on somebody who watches is told."""


@dataclass(frozen=True, slots=True)
class ConfirmedAction:
    """What is wanted; `question` is asked unless somebody `agreed` already.

    `if_plan` is the digest of the one plan to act on, if there is one.
    """

    intent: AnyIntent
    question: str
    agreed: bool
    if_plan: str | None
    as_json: bool


def require_a_way_to_agree(agreed: bool) -> None:
    """Raise click.UsageError when nobody agreed and there is no terminal to ask on."""
    if not agreed and not sys.stdin.isatty():
        raise click.UsageError(
            "There is no terminal to ask on, so nothing was changed. Agree with --yes, or with --if-plan and the "
            "digest that `connector plan` prints."
        )


def _wait_and_tell(seconds: float) -> None:
    """Wait before looking again, and tell whoever watches when that takes long enough to wonder."""
    if seconds >= LONG_WAIT:
        tell(f"The end is not known yet; looking again in {seconds:.0f} s. Ctrl-C stops; run it again later.")
    SystemClock().sleep(seconds)


def carry_out(action: ConfirmedAction, settings: Settings) -> int:
    """Do the action in the organization of the settings, print what came of it and return the exit code."""
    with connect(settings) as connection:
        organization = connection.organization
        metadata = organization.metadata()  # what keeps us out altogether is said now, not after rounds of looking
        around = read_context(connection, action.intent, local_day(SystemClock()))
        digest, refusal = action.if_plan, None
        if digest is not None:
            digest, refusal = steps_of(digest, settings, connection, lambda: preview(organization, action.intent))
        if not action.agreed:
            plan = _shown(action, organization, metadata, around)
            try:
                dated = _dated(plan)
                question = f"{action.question}{dated} in {urlsplit(connection.base_url).hostname}?"
                if plan is not None and not click.confirm(question, default=False, err=True):
                    return _say_declined(action, ExitCode.REFUSED)
            except click.Abort:  # Ctrl-C or the end of what is typed, in the middle of a line
                click.echo(err=True)
                return _say_declined(action, ExitCode.INTERRUPTED)
            digest = plan.digest if plan else None
        try:
            fulfilment = partial(fulfil, organization, action.intent, pause=_wait_and_tell, if_plan=digest)
            act = fulfilment if refusal is None else partial(_refused, refusal)
            (report,) = audited(connection, settings, [action.intent], lambda: [act()], tell)
            if action.as_json and report.steps:  # the record is told as it stands
                around = read_context(connection, action.intent, around.today)
        except KeyboardInterrupt:
            return _say_interrupted(action, organization)
    if action.as_json:
        print_json(report_data(report) | around.data())
        show_failure(report)
    else:
        show_report(report, metadata, sys.stdout, around)
    return exit_code(report)


def _refused(refusal: Refusal) -> Report:
    return Report(refusal.opportunity_id, ReportStatus.REFUSED, reason=refusal.reason, reason_code=refusal.code)


def _shown(
    action: ConfirmedAction, organization: LookupOrganization, metadata: OrganizationMetadata, around: ChangeContext
) -> Plan | None:
    """Show the plan and return it, if there is anything to do and to agree to."""
    planned = preview(organization, action.intent)
    if not isinstance(planned.verdict, Plan) or not planned.verdict.steps:
        return None
    show_preview(planned, metadata, sys.stderr if action.as_json else sys.stdout, around)
    return planned.verdict


def _dated(plan: Plan | None) -> str:
    """Return the day that a close writes, for a question."""
    day = str(plan.steps[-1].activity.get("actualend") or "")[:10] if plan and plan.steps else ""
    return f" on {day}" if day else ""


def _say_declined(action: ConfirmedAction, code: ExitCode) -> ExitCode:
    reason = "Not confirmed; nothing was changed."
    if action.as_json:
        identity = str(action.intent.opportunity_id)
        print_json({"status": "refused", "opportunity_id": identity, "steps": [], "reason": reason})
    else:
        click.echo(reason)
    return code


def _say_interrupted(action: ConfirmedAction, organization: LookupOrganization) -> ExitCode:
    """Look once more and say what stands; a write that was under way may still take effect."""
    opportunity_id = action.intent.opportunity_id
    error = {
        "kind": "Interrupted",
        "message": f"Stopped from the keyboard. {_standing(organization, opportunity_id)}",
        "remedy": "A write that was under way may still take effect. Run the same command again to finish: it looks "
        "first and does only what is left.",
        "effect": "unknown",
    }
    if action.as_json:
        print_json({"status": "failed", "opportunity_id": str(opportunity_id), "steps": [], "error": error})
    tell(sentences(error))
    return ExitCode.INTERRUPTED


def _standing(organization: LookupOrganization, opportunity_id: UUID) -> str:
    try:
        snapshot = organization.observe([opportunity_id]).get(opportunity_id)
    except (ConnectorError, KeyboardInterrupt):
        return "The present state could not be read."
    return f"Now {standing(snapshot)}" if snapshot else "The opportunity is not there."
