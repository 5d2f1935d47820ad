"""The options that say which opportunity is meant and how it is to be closed, for every command that closes.

A record is named by a GUID in any form, by its address (copied from the browser, or one of the Web API), or by a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

import click

from connector.assembly import connect
from connector.cli.lazy import Decorator, keep_under, options_under, with_options
from connector.closing.field import CloseField, FieldKind
from connector.closing.intent import CLOSE_FIELDS, OPPORTUNITY_ID, DraftPolicy, Intent, Outcome
from connector.closing.record_keys import (
    OPPORTUNITY,
    RecordKey,
    address_in,
    is_of,
    names_user,
    one_of,
    organization_host,
)
from connector.closing.request import parse_request, read_value
from connector.errors import InputError
from connector.settings.settings import Settings

_GIVEN = "connector.cli.intent_options"
_HOSTS, _KEY = f"{_GIVEN}.hosts", f"{_GIVEN}.key"


def _keep_key(context: click.Context, _option: click.Parameter, value: str) -> None:
    context.meta[_KEY] = value.strip()


key_option = click.option(
    "--key",
    metavar="COLUMN",
    default="",
    is_eager=True,
    expose_value=False,
    callback=_keep_key,
    help="ID is a value of this column of opportunities, such as an alternate key. Of two: --key A,B and ID X,Y.",
)


def opportunity_id(text: str) -> UUID | RecordKey:
    """Return the id of an opportunity that `text` holds, or the key beside `--key`.

    Raises click.BadParameter with a sentence.
    """
    context = click.get_current_context(silent=True)
    column = context.meta.get(_KEY, "") if context else ""
    if column and address_in(text) is None:
        return RecordKey(OPPORTUNITY, column, text.strip())
    id_ = record_name(OPPORTUNITY_ID, text)
    assert isinstance(id_, UUID)
    return id_


record_argument = with_options(click.argument("opportunity", metavar="ID", type=opportunity_id), key_option)
"""One opportunity, by its id, its address or a key; `looked_up` returns its id."""


def record_name(field: CloseField, text: str) -> UUID | str:
    """Return the id or the name of a record that `text` holds; raises click.BadParameter with a sentence."""
    address = address_in(text)
    context = click.get_current_context(silent=True)
    if address and address.host and context:
        context.meta.setdefault(_HOSTS, []).append(address.host)
    if address and not is_of(address, field.table):
        raise click.BadParameter(
            f"This is the address of a record of the table '{address.table}'; it must be '{field.table}'."
        )
    try:
        name: UUID | str = read_value(field, text)
    except ValueError:
        keyed = context is not None and any(option.name == "key" for option in context.command.params)
        raise click.BadParameter(
            f"'{text}' does not name one {field.table}. Give its GUID (with or without braces) or the address of the "
            f"record, copied from the browser{', or say what it is by --key, as --key name' * keyed}."
        ) from None
    return name


def looked_up(settings: Settings, opportunity: UUID | RecordKey) -> UUID:
    """Return the id of an opportunity; a key is looked up. Raises InputError where it has not one record."""
    if isinstance(opportunity, UUID):
        return opportunity
    with connect(settings) as connection:
        return one_of(opportunity, connection.organization.look_up([opportunity]).get(opportunity, ()))


def check_addresses(url: str) -> None:
    """Raise click.UsageError when an address on this command line is of another organization than that at `url`.

    A copy of an organization has the ids of the original: the record would be there, and be the wrong one.
    """
    context = click.get_current_context(silent=True)
    ours = organization_host(url)
    for host in context.meta.get(_HOSTS, ()) if context else ():
        if ours and host != ours:
            raise click.UsageError(
                f"The record's address is of {host}, but DATAVERSE_URL names {ours}; nothing was done. A copy of an "
                "organization has the same ids: see which one is meant, or give the id alone."
            )


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
