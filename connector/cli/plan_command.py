"""`connector plan`: what closing would do; nothing is changed."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import UUID

import click

from connector.assembly import connect
from connector.assembly.asked_answers import fresh_answers
from connector.cli.capture_option import capture_option, side_effects, with_effects
from connector.cli.change_view import local_day, read_context
from connector.cli.close_view import show_preview
from connector.cli.failure_text import ExitCode
from connector.cli.intent_options import intent_options, refuse_given, requested, with_defaults
from connector.cli.lazy import examples
from connector.cli.record_id import key_option, looked_up, opportunity_id
from connector.cli.run_options import bypass_options, read_settings, run_options
from connector.cli.screen import print_json, say, tell
from connector.clock import SystemClock
from connector.closing.close import preview
from connector.closing.intent import AnyIntent
from connector.closing.model import Intent, Plan, ReopenIntent, ReportStatus
from connector.closing.record_keys import RecordKey
from connector.closing.report import preview_data
from connector.organization.kept_answers import basis_of, basis_text
from connector.settings.settings import Settings


@click.command(epilog=examples("plan ID --won --actual-revenue 12500", "plan ID --lost --json", "plan ID --reopen"))
@click.argument("opportunity", metavar="ID", type=opportunity_id)
@key_option
@intent_options
@click.option("--reopen", "reopens", is_flag=True, help="Plan the way back instead: `connector reopen`.")
@capture_option
@bypass_options
@run_options
@click.pass_context
def plan(
    context: click.Context,
    /,
    *,
    opportunity: UUID | RecordKey,
    reopens: bool,
    capture_file: Path | None,
    as_json: bool,
    env_file: Path | None,
) -> int:
    """Show what closing an opportunity would do, and a digest that names it.

    ID is the opportunity's GUID, or the address of its record, copied from the browser. Nothing is changed.
    """
    if reopens:
        refuse_given(context, "--reopen")
        settings = read_settings(env_file)
        return show_only(settings, ReopenIntent(looked_up(settings, opportunity)), capture_file, as_json=as_json)
    closing = requested(context, opportunity)
    settings = read_settings(env_file)
    return show_only(settings, with_defaults(context, closing, settings, opportunity), capture_file, as_json=as_json)


def show_only(settings: Settings, intent: AnyIntent, capture_file: Path | None = None, *, as_json: bool) -> int:
    """Show what would be done, do nothing, and return the exit code."""
    already = ReportStatus.ALREADY_CLOSED if isinstance(intent, Intent) else ReportStatus.ALREADY_OPEN
    with connect(settings) as connection:
        planned = preview(connection.organization, intent)
        around = read_context(connection, intent, local_day(SystemClock()))
        kept = fresh_answers(settings, SystemClock().now())
        effects = side_effects(settings, connection, capture_file)
        if effects is not None:
            planned = with_effects(planned, effects)
        if as_json:
            more: dict[str, object] = {"basis": [each.data() for each in basis_of(kept)]}
            more |= {"side_effects": effects.data()} if effects is not None else {}
            print_json(preview_data(planned, already) | around.data() | more)
        else:
            for line in effects.lines() if effects is not None else ():
                say(f"Sets off: {line}")
            show_preview(planned, connection.organization.metadata(), sys.stdout, around, basis_text(kept))
            if isinstance(planned.verdict, Plan) and planned.verdict.steps:
                verb = "close" if isinstance(intent, Intent) else "reopen"
                options = f"the same options and --if-plan {planned.verdict.digest}"
                tell(f"Nothing was changed. To do exactly this: `connector {verb}` with {options}.")
    return ExitCode.DONE if isinstance(planned.verdict, Plan) else ExitCode.REFUSED
