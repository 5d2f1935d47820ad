"""The options that say how an opportunity is to be closed, for every command that closes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import click

from connector.cli.record_id import competitor_id, quote_id
from connector.closing.model import Intent
from connector.closing.request import CloseRequest, parse_request
from connector.errors import InputError
from connector.settings.environment import Settings

_GIVEN = "connector.cli.intent_options"

Function = Callable[..., Any]


def _keep(context: click.Context, option: click.Parameter, value: Any) -> None:
    """Keep what was given under the option's name, so that no command has to list them all as arguments."""
    if value is not None:
        _given(context)[str(option.name)] = value


def _keep_outcome(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value and _given(context).setdefault("outcome", option.name) != option.name:
        raise click.UsageError("An opportunity is closed with --won or with --lost, not with both.")


def _keep_columns(context: click.Context, option: click.Parameter, value: tuple[str, ...]) -> None:
    for pair in value:
        name, equals, text = pair.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"'{pair}' is not of the form COLUMN=VALUE.", context, option)
        _given(context)[f"{option.name}.{name.strip()}"] = text


def _given(context: click.Context) -> dict[str, Any]:
    given: dict[str, Any] = context.meta.setdefault(_GIVEN, {})
    return given


_OPTIONS = (
    click.option("--won", is_flag=True, expose_value=False, callback=_keep_outcome, help="Close it as won."),
    click.option("--lost", is_flag=True, expose_value=False, callback=_keep_outcome, help="Close it as lost."),
    click.option(
        "--status",
        metavar="REASON",
        expose_value=False,
        callback=_keep,
        help="Status reason of the opportunity, by number or label. Default: the default of Won or Lost.",
    ),
    click.option(
        "--quote-status",
        metavar="REASON",
        expose_value=False,
        callback=_keep,
        help="Status reason of the closed quotes, by number or label. Default: Canceled when won, Lost when lost.",
    ),
    click.option(
        "--closed-on", metavar="YYYY-MM-DD", expose_value=False, callback=_keep, help="Close date; default today."
    ),
    click.option(
        "--actual-revenue",
        metavar="AMOUNT",
        expose_value=False,
        callback=_keep,
        help="Actual revenue, in the opportunity's currency.",
    ),
    click.option(
        "--subject", metavar="TEXT", expose_value=False, callback=_keep, help="Subject of the close activity."
    ),
    click.option("--description", metavar="TEXT", expose_value=False, callback=_keep, help="Description of the close."),
    click.option(
        "--competitor",
        metavar="ID",
        type=competitor_id,
        expose_value=False,
        callback=_keep,
        help="The competitor it was lost to: id, or the address of the record.",
    ),
    click.option(
        "--winning-quote",
        metavar="ID",
        type=quote_id,
        expose_value=False,
        callback=_keep,
        help="The quote that wins; the others are closed.",
    ),
    click.option(
        "--drafts",
        type=click.Choice(["activate", "delete", "direct", "leave"]),
        expose_value=False,
        callback=_keep,
        help="What becomes of draft quotes: activated and then closed (default), deleted, closed as they are, or left "
        "alone, which refuses the close while there are any.",
    ),
    click.option(
        "--opportunity-column",
        "opportunityclose",
        metavar="COLUMN=VALUE",
        multiple=True,
        expose_value=False,
        callback=_keep_columns,
        help="A further column of the opportunity's close activity; may be repeated. Values are text unless the column "
        "ends in :int, :decimal or :bool.",
    ),
    click.option(
        "--quote-column",
        "quoteclose",
        metavar="COLUMN=VALUE",
        multiple=True,
        expose_value=False,
        callback=_keep_columns,
        help="A further column of the quotes' close activities; may be repeated.",
    ),
)


def intent_options(command: Function) -> Function:
    """Give a command the options of an intent; `requested` returns what they say."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def requested(context: click.Context, opportunity_id: UUID) -> CloseRequest:
    """Return what the options of this command line ask for. Raises InputError and click.UsageError."""
    given = _given(context)
    if "outcome" not in given:
        raise click.UsageError("Say how it ends: --won or --lost.")
    try:
        return parse_request({**given, "opportunityid": opportunity_id})
    except InputError as error:
        raise InputError(_FIELD.sub(_as_option, error.message), remedy=error.remedy) from None


_FIELD = re.compile(r"(?:^|(?<=; ))[a-z_]+(?=: )")
"""A field that is wrong, where a sentence about it begins."""


def _as_option(field: re.Match[str]) -> str:
    return f"--{field[0].replace('_', '-')}"


def given_to_all(context: click.Context) -> dict[str, object]:
    """Return what the options of this command line say, by the names of columns: for rows that do not say it."""
    return dict(_given(context))


def refuse_given(context: click.Context, option: str) -> None:
    """Raise click.UsageError when an intent was given beside `option`, which goes without."""
    if _given(context):
        raise click.UsageError(f"{option} goes without any option that says how to close.")


def intent_of(request: CloseRequest, settings: Settings) -> Intent:
    """Return the intent of a request; what it leaves open is as the settings say."""
    intent = request.to_intent()
    return intent if "drafts" in request.model_fields_set else replace(intent, drafts=settings.drafts)
