"""The id of a record as people have it at hand: a GUID in any dress, or the address of the record in the browser."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import click

_GUID = re.compile(
    r"(?:(\{)|(\())?(?P<id>[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12})(?(1)\})(?(2)\))",
    re.IGNORECASE,
)
_HOSTS = "connector.cli.record_id"
_ROW_PATH = re.compile(r"/api/data/v[\d.]+/(\w+)\(([0-9a-f-]{36})\)$", re.IGNORECASE)


def opportunity_id(text: str) -> UUID:
    """Return the id of an opportunity that `text` holds; raises click.BadParameter with a sentence."""
    return _record_id(text, "opportunity", "opportunities")


def quote_id(text: str) -> UUID:
    """Return the id of a quote that `text` holds; raises click.BadParameter with a sentence."""
    return _record_id(text, "quote", "quotes")


def competitor_id(text: str) -> UUID:
    """Return the id of a competitor that `text` holds; raises click.BadParameter with a sentence."""
    return _record_id(text, "competitor", "competitors")


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


def _record_id(text: str, table: str, entity_set: str) -> UUID:
    found = text.strip()
    if found.lower().startswith(("https://", "http://")):
        found = _in_address(found, table, entity_set)
    match = _GUID.fullmatch(found)
    if match is None:
        raise click.BadParameter(
            f"'{text}' does not name one {table}. Give its GUID (with or without braces) or the address of the record, "
            "copied from the browser."
        )
    return UUID(match["id"])


def _in_address(address: str, table: str, entity_set: str) -> str:
    """Return what stands for the id in the address of a record: of a model-driven app, or of the Web API."""
    parts = urlsplit(address)
    if context := click.get_current_context(silent=True):
        context.meta.setdefault(_HOSTS, []).append(_host(address))
    row = _ROW_PATH.search(parts.path)
    fields = parse_qs(parts.query) or parse_qs(parts.fragment)
    named = row[1] if row else fields.get("etn", [table])[0]
    if named.lower() not in {table, entity_set}:
        raise click.BadParameter(f"This is the address of a record of the table '{named}'; it must be '{table}'.")
    return row[2] if row else fields.get("id", [""])[0]
