"""`connector reopen`: the way back from a close."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import click

from connector.cli.confirmed_action import ConfirmedAction, carry_out, require_a_way_to_agree
from connector.cli.lazy import examples
from connector.cli.plan_command import show_only
from connector.cli.record_id import key_option, looked_up, opportunity_id
from connector.cli.run_options import (
    bypass_options,
    dry_run_option,
    if_plan_option,
    read_settings,
    run_options,
    yes_option,
)
from connector.closing.model import ReopenIntent
from connector.closing.record_keys import RecordKey


@click.command(epilog=examples("reopen ID", "reopen ID --dry-run"))
@click.argument("opportunity", metavar="ID", type=opportunity_id)
@key_option
@yes_option
@dry_run_option
@if_plan_option
@bypass_options
@run_options
def reopen(
    *,
    opportunity: UUID | RecordKey,
    yes: bool,
    dry_run: bool,
    if_plan: str | None,
    as_json: bool,
    env_file: Path | None,
) -> int:
    """Open a closed opportunity again, and the quotes that were closed with it.

    ID is the opportunity's GUID, or the address of its record, copied from the browser. Quotes that this connector
    closed go back to draft; those that somebody else closed stay as they are.
    """
    agreed = yes or if_plan is not None
    require_a_way_to_agree(agreed or dry_run)
    settings = read_settings(env_file)
    intent = ReopenIntent(looked_up(settings, opportunity))
    if dry_run:
        return show_only(settings, intent, as_json=as_json)
    return carry_out(ConfirmedAction(intent, "Reopen it", agreed, if_plan, as_json), settings)
