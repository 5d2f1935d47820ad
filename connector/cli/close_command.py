"""`connector close`: closes one opportunity with its quotes."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import click

from connector.cli.confirmed_action import ConfirmedAction, carry_out, require_a_way_to_agree
from connector.cli.intent_options import intent_options, requested, with_defaults
from connector.cli.lazy import examples
from connector.cli.plan_command import show_only
from connector.cli.record_id import key_option, opportunity_id
from connector.cli.run_options import (
    bypass_options,
    dry_run_option,
    if_plan_option,
    read_settings,
    run_options,
    yes_option,
)
from connector.closing.record_keys import RecordKey


@click.command(
    epilog=examples(
        "close ID --won", 'close ID --lost --status Out-Sold --description "Too dear"', "close ID --won --dry-run"
    )
)
@click.argument("opportunity", metavar="ID", type=opportunity_id)
@key_option
@intent_options
@yes_option
@dry_run_option
@if_plan_option
@bypass_options
@run_options
@click.pass_context
def close(
    context: click.Context,
    /,
    *,
    opportunity: UUID | RecordKey,
    yes: bool,
    dry_run: bool,
    if_plan: str | None,
    as_json: bool,
    env_file: Path | None,
) -> int:
    """Close an opportunity as won or lost, with its quotes.

    ID is the opportunity's GUID, or the address of its record, copied from the browser. Running it again is safe: it
    looks first and does only what is left.
    """
    request = requested(context, opportunity)
    agreed = yes or if_plan is not None
    require_a_way_to_agree(agreed or dry_run)
    settings = read_settings(env_file)
    intent = with_defaults(context, request, settings, opportunity)
    if dry_run:
        return show_only(settings, intent, as_json=as_json)
    question = f"Close it as {intent.outcome}"
    return carry_out(ConfirmedAction(intent, question, agreed, if_plan, as_json), settings)
