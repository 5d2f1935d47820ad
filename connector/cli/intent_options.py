"""The options that say how an opportunity is to be closed, for every command that closes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

import click

from connector.cli.lazy import Decorator, keep_under, options_under, with_options
from connector.cli.record_id import looked_up, record_name
from connector.closing.field import CloseField, FieldKind
from connector.closing.intent import CLOSE_FIELDS, OPPORTUNITY_ID, DraftPolicy, Intent, Outcome
from connector.closing.record_keys import RecordKey, names_user
from connector.closing.request import parse_request
from connector.errors import InputError
from connector.settings.settings import Settings

_GIVEN = "connector.cli.intent_options"


def _keep_outcome(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value and _given(context).setdefault("outcome", option.name) != option.name:
        raise click.UsageError("An opportunity is closed with --won or with --lost, not with both.")


def _keep_columns(context: click.Context, option: click.Parameter, value: tuple[str, ...]) -> None:
    for pair in value:
        name, equals, text = pair.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"'{pair}' is not of the form COLUMN=VALUE.", context, option)
        if _given(context).setdefault(f"{option.name}.{name.strip()}", text) != text:
            raise click.BadParameter(f"{name.strip()} is given two values.", context, option)


def _given(context: click.Context) -> dict[str, Any]:
    options: dict[str, Any] = context.meta.setdefault(_GIVEN, {})
    return options


_kept_option = partial(click.option, expose_value=False, callback=keep_under(_GIVEN, None))
_METAVARS = {
    FieldKind.RECORD_NAME: "NAME",
    FieldKind.REASON: "REASON",
    FieldKind.DAY: "YYYY-MM-DD",
    FieldKind.AMOUNT: "AMOUNT|quote|order",
    FieldKind.TEXT: "TEXT",
}


def _options() -> Iterator[Decorator]:
    for field in CLOSE_FIELDS:
        if field.kind is FieldKind.OUTCOME:
            for outcome in Outcome:
                yield _kept_option(f"--{outcome}", is_flag=True, callback=_keep_outcome, help=f"Close it as {outcome}.")
        else:
            yield _option(field)


def _option(field: CloseField) -> Decorator:
    """Return the option of a field; one of columns is given as often as there are columns."""
    if field.kind is FieldKind.COLUMNS:
        return _kept_option(
            field.option,
            field.table,
            metavar="COLUMN=VALUE",
            multiple=True,
            callback=_keep_columns,
            help=f"{field.sentence} May be repeated. Text, unless the column ends in :int, :decimal or :bool.",
        )
    if field.kind is FieldKind.FLAG:
        return _kept_option(field.option, field.name, is_flag=True, default=None, help=field.text)
    if field.kind is FieldKind.DRAFTS:
        kind: Any = click.Choice([policy.value for policy in DraftPolicy])
    else:
        kind = (lambda text: record_name(field, text)) if field.kind is FieldKind.RECORD_NAME else None
    metavar = _METAVARS.get(field.kind)
    return _kept_option(field.option, field.name, metavar=metavar, type=kind, help=field.text)


intent_options = with_options(*_options())
"""The options of an intent; `requested` returns what they say."""


def requested(opportunity: UUID | RecordKey) -> Intent:
    """Return what the options of this command line ask for. Raises InputError and click.UsageError.

    For a key there is no id yet: `with_defaults` gives it one.
    """
    opportunity_id = UUID(int=0) if isinstance(opportunity, RecordKey) else opportunity
    options = options_under(_GIVEN)
    if "outcome" not in options:
        raise click.UsageError("Say how it ends: --won or --lost.")
    try:
        return names_user(parse_request({**options, OPPORTUNITY_ID.name: opportunity_id}))
    except InputError as error:
        raise InputError(_FIELD.sub(_as_option, error.message), remedy=error.remedy) from None


_FIELD = re.compile(r"(?:^|(?<=; ))[a-z_]+(?=: )")
"""A field that is wrong, where a sentence about it begins."""


def _as_option(field: re.Match[str]) -> str:
    return f"--{field[0].replace('_', '-')}"


def given_to_all() -> dict[str, object]:
    """Return what the options of this command line say, by the names of columns: for rows that do not say it."""
    return options_under(_GIVEN)


def refuse_given(option: str) -> None:
    """Raise click.UsageError when an intent was given beside `option`, which goes without."""
    if options_under(_GIVEN):
        raise click.UsageError(f"{option} goes without any option that says how to close.")


def with_defaults(intent: Intent, settings: Settings, opportunity: UUID | RecordKey) -> Intent:
    """Return the intent for this opportunity; what the command line leaves open is as the settings say.

    Raises InputError for a key that has not one record.
    """
    intent = replace(intent, opportunity_id=looked_up(settings, opportunity))
    return intent if "drafts" in options_under(_GIVEN) else replace(intent, drafts=settings.drafts)
