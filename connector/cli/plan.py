"""`connector plan`: what closing would do; nothing is changed."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import UUID

import click

from connector.cli.connection import connected, read_settings
from connector.cli.failures import ExitCode
from connector.cli.intent_options import intent_of, intent_options, requested
from connector.cli.options import run_options
from connector.cli.record_id import opportunity_id
from connector.cli.results import print_json
from connector.cli.views import show_preview
from connector.closing.close import preview
from connector.closing.model import Plan
from connector.closing.report import preview_data


@click.command()
@click.argument("opportunity", metavar="ID", type=opportunity_id)
@intent_options
@run_options
@click.pass_context
def plan(context: click.Context, /, *, opportunity: UUID, as_json: bool, env_file: Path | None) -> int:
    """Show what closing an opportunity would do, and a digest that names it.

    ID is the opportunity's GUID, or the address of its record, copied from the browser. Nothing is changed.
    """
    request = requested(context, opportunity)
    settings = read_settings(env_file)
    intent = intent_of(request, settings)
    with connected(settings) as connection:
        seen = preview(connection.organization, intent)
        if as_json:
            print_json(preview_data(seen))
        else:
            show_preview(seen, connection.organization.metadata(), sys.stdout)
    return ExitCode.DONE if isinstance(seen.verdict, Plan) else ExitCode.REFUSED
