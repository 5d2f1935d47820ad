"""The id of a record as people have it at hand: a GUID in any dress, the address of the record, or a key.

The address is one copied from the browser, or one of the Web API.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import click

from connector.assembly import connect
from connector.closing.field import CloseField
from connector.closing.intent import OPPORTUNITY_ID
from connector.closing.record_keys import OPPORTUNITY, RecordKey, address_in, is_of, one_of
from connector.closing.request import read_value
from connector.settings.settings import Settings

_HOSTS = "connector.cli.record_id"
_KEY = "connector.cli.record_id.key"

Function = Callable[..., Any]


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
    ours = _host(url)
    for host in context.meta.get(_HOSTS, ()) if context else ():
        if ours and host != ours:
            raise click.UsageError(
                f"The record's address is of {host}, but DATAVERSE_URL names {ours}; nothing was done. A copy of an "
                "organization has the same ids: see which one is meant, or give the id alone."
            )


def _host(address: str) -> str:
    """Return the organization's host of an address; that of its Web API may have `.api` in it."""
    return re.sub(r"^([^.]+)\.api\.", r"\1.", urlsplit(address).hostname or "")
