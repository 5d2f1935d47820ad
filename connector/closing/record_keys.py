"""Records by what people have at hand: a legacy number, a competitor's name, a user's mail address, an address to copy.

A key is looked up before anything is planned, and must have exactly one record. A quote's number needs no lookup: it
is looked for among the quotes of the opportunity (see `closing.plan`). An address is copied out of a browser, a flow or
an answer of the Web API, and holds the id.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeGuard
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

from connector.closing.intent import AnyIntent, Intent
from connector.errors import InputError

COMPETITOR, USER, OPPORTUNITY = "competitor", "systemuser", "opportunity"
"""The tables whose records may be named by a key."""

_CANDIDATES = 5
"""Records of an ambiguous key that a message names."""
_WHAT = {COMPETITOR: "competitor", USER: "user", OPPORTUNITY: "opportunity"}
_ASK = {
    COMPETITOR: "Check the name, or give the competitor's id.",
    USER: "Give the mail address, the domain name, the Entra object id or the user id of a user who can be seen.",
    OPPORTUNITY: "Check the value, or give the opportunity's id.",
}


@dataclass(frozen=True, slots=True)
class RecordKey:
    """The value of a column of a table, which is to name one record.

    A competitor has the column `name`. A user has none: the value is an id, a domain name or a mail address. A key of
    several columns has commas between them, and between its values, quoted as in a file of commas.

    >>> str(RecordKey("opportunity", "new_company,new_number", "A,7"))
    "the opportunity with new_company 'A' and new_number '7'"
    """

    table: str
    column: str
    value: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of its columns."""
        return tuple(name.strip() for name in self.column.split(","))

    @property
    def values(self) -> tuple[str, ...]:
        """Return a value for each column; too few or too many where there are not as many."""
        return (self.value,) if len(self.columns) == 1 else tuple(next(csv.reader([self.value]), ()))

    def __str__(self) -> str:
        """Return it for people."""
        parts = list(itertools.zip_longest(self.columns, self.values, fillvalue="nothing"))
        named = " and ".join(f"{column} {value!r}" for column, value in parts)
        return f"the {_WHAT[self.table]} {repr(self.value) if self.table != OPPORTUNITY else f'with {named}'}"


def joined(values: Sequence[str]) -> str:
    """Return the value of a key of several columns."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


@dataclass(frozen=True, slots=True)
class RecordMatch:
    """A record that has a key: its id (of a user the Entra object id), its name, and why it cannot be used, if so."""

    id: UUID
    name: str
    problem: str = ""


class KeyLookup(Protocol):
    """An organization in which records can be looked up by their keys."""

    def look_up(self, keys: Sequence[RecordKey]) -> Mapping[RecordKey, Sequence[RecordMatch]]:
        """Return the records that have each key, few requests for many keys.

        Raises InputError for a column that is not there or cannot be a key, else ConnectorError.
        """


def one_of(key: RecordKey, matches: Sequence[RecordMatch]) -> UUID:
    """Return the id of the one record that has a key; raises InputError, with the candidates where there are more."""
    if len(matches) == 1 and not matches[0].problem:
        return matches[0].id
    if not matches:
        raise InputError(f"There is no {str(key).removeprefix('the ')} that this user can see.", remedy=_ASK[key.table])
    if len(matches) == 1:
        problem = f"{str(key).capitalize()} ({matches[0].name}) {matches[0].problem}."
        raise InputError(problem, remedy="Let an administrator change that, or name another, or none.")
    listed = ", ".join(f"{match.id} ({match.name})" for match in matches[:_CANDIDATES])
    more = f" and {len(matches) - _CANDIDATES:,} more" if len(matches) > _CANDIDATES else ""
    raise InputError(
        f"{len(matches)} records can be {key}: {listed}{more}.", remedy=f"Give the {_WHAT[key.table]}'s id."
    )


def keys_in(intent: Intent) -> Iterator[RecordKey]:
    """Yield the keys in an intent: a name in the place of an id, and any user, whose id may be of two kinds."""
    if isinstance(intent.competitor_id, str):
        yield RecordKey(COMPETITOR, "name", intent.competitor_id)
    if intent.as_user is not None:
        yield RecordKey(USER, "", str(intent.as_user))


def with_ids(intent: Intent, id_of: Callable[[RecordKey], UUID]) -> Intent:
    """Return an intent with ids in the place of its keys; raises what `id_of` raises."""
    attributes = {COMPETITOR: "competitor_id", USER: "as_user"}
    ids = {attributes[key.table]: id_of(key) for key in keys_in(intent)}
    return replace(intent, **ids) if ids else intent  # type: ignore[arg-type]  # ids for attributes that hold ids


def names_user(intent: Intent) -> Intent:
    """Return an intent whose user, if it has one, is text: it is looked up even where it is an id."""
    return intent if intent.as_user is None else replace(intent, as_user=str(intent.as_user))


def look_up_all(organization: KeyLookup, intents: Sequence[AnyIntent]) -> list[AnyIntent | InputError]:
    """Return the intents with ids in the place of text, or why one has none; raises what looking up raises."""
    keys = tuple(dict.fromkeys(key for intent in intents if _has_text(intent) for key in keys_in(intent)))
    matches = organization.look_up(keys) if keys else {}

    def resolved(intent: AnyIntent) -> AnyIntent | InputError:
        if not _has_text(intent):
            return intent
        try:
            return with_ids(intent, lambda key: one_of(key, matches.get(key, ())))
        except InputError as error:
            return error

    return [resolved(intent) for intent in intents]


def _has_text(intent: AnyIntent) -> TypeGuard[Intent]:
    return isinstance(intent, Intent) and (isinstance(intent.competitor_id, str) or isinstance(intent.as_user, str))


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
    host = organization_host(plain) if whole else ""
    if row := _ROW.fullmatch(unquote(parts.path if whole else plain)):
        return RecordAddress(host, row[1].lower(), row[2])
    if not whole and not _QUERY.fullmatch(unquote(plain)):
        return None
    fields = _fields(parts.query or parts.fragment or parts.path)
    fields = _fields(fields.get("extraqs", "")) | fields  # where the classic page of a record opened from a list has it
    code = fields.get("etc", "")
    table = fields.get("etn") or fields.get("typename") or _TYPE_CODES.get(code, code)
    return RecordAddress(host, table.lower(), unquote(fields.get("id") or fields.get("recordid") or "").strip())


def organization_host(address: str) -> str:
    """Return the organization's host of an address; that of its Web API may have `.api` in it."""
    return re.sub(r"^([^.]+)\.api\.", r"\1.", urlsplit(address).hostname or "")


def _fields(query: str) -> dict[str, str]:
    return {name.lower(): value[0] for name, value in parse_qs(query.lstrip("?")).items()}


def is_of(address: RecordAddress, table: str) -> bool:
    """Return whether an address names no other table than this one, or its set."""
    return address.table in ("", table, f"{table}s", f"{table.removesuffix('y')}ies")
