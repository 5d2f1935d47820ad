"""The address of a record, as it is copied out of a browser, a flow or an answer of the Web API."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

_GUID = r"\{?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\}?"
_ROW = re.compile(rf"(?:^|.*/)([a-z_]\w*)\((?:\w+=)?({_GUID})\)/?", re.IGNORECASE)
_QUERY = re.compile(rf".*[?&#](?:id|recordid)={_GUID}(?:&.*)?", re.IGNORECASE)
_TYPE_CODES = {"3": "opportunity", "1084": "quote", "123": "competitor", "8": "systemuser"}
"""`etc` of older addresses (ObjectTypeCode of the table references)."""


@dataclass(frozen=True, slots=True)
class RecordAddress:
    """An address: the organization's host (empty where it is relative), the table or set it names, if any, and the id.

    The host of the Web API counts as that of its organization, which lacks the `.api` in it.
    """

    host: str
    table: str
    id: str


def address_in(text: str) -> RecordAddress | None:
    """Return the address of a record that `text` is, or None: a page of an app, or a row of the Web API.

    >>> address_in("https://o.crm.dynamics.com/main.aspx?etn=quote&id=%7b6f2c0000-0000-4000-8000-00000000abcd%7d")
    RecordAddress(host='o.crm.dynamics.com', table='quote', id='{6f2c0000-0000-4000-8000-00000000abcd}')
    """
    plain = text.strip().strip("<>").replace("&amp;", "&")
    whole = plain.lower().startswith(("https://", "http://"))
    try:
        parts = urlsplit(plain)
    except ValueError:  # a part of it is no host
        return None
    host = re.sub(r"^([^.]+)\.api\.", r"\1.", parts.hostname or "") if whole else ""
    if row := _ROW.fullmatch(unquote(parts.path if whole else plain)):
        return RecordAddress(host, row[1].lower(), row[2])
    if not whole and not _QUERY.fullmatch(unquote(plain)):
        return None
    fields = _fields(parts.query or parts.fragment or parts.path)
    fields = _fields(fields.get("extraqs", "")) | fields  # where the classic page of a record opened from a list has it
    code = fields.get("etc", "")
    table = fields.get("etn") or fields.get("typename") or _TYPE_CODES.get(code, code)
    return RecordAddress(host, table.lower(), unquote(fields.get("id") or fields.get("recordid") or "").strip())


def _fields(query: str) -> dict[str, str]:
    return {name.lower(): value[0] for name, value in parse_qs(query.lstrip("?")).items()}


def is_of(address: RecordAddress, table: str) -> bool:
    """Return whether an address names no other table than this one, or its set."""
    return address.table in ("", table, f"{table}s", f"{table.removesuffix('y')}ies")
