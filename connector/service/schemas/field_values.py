"""Values as flows and agents send them: empty means not given, ids and days come in several forms.

What a value may be is declared in `closing`; in here are the forms that only designers and expressions give it, and the
sentences that name the label a maker sees, what is accepted, and an expression that makes it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from fastapi.exceptions import RequestValidationError
from pydantic import Field
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from connector.closing.field import CloseField, FieldKind
from connector.closing.intent import HOSTED_FIELDS, OPPORTUNITY_ID
from connector.closing.record_keys import OPPORTUNITY, RecordKey, address_in
from connector.closing.request import read_value

_RECORDS = [field for field in HOSTED_FIELDS if field.kind is FieldKind.RECORD_NAME]
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_.@]{0,149}")
_UNSEEN = re.compile("^[{0}]+|[{0}]+$".format(r"\s\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"))
"""Marks that come along with what is copied out of mails, chats and spreadsheets."""
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T([01]\d|2[0-3])(:[0-5]\d){1,2}(\.\d+)?(Z|[+-][01]\d:?[0-5]\d)?", re.ASCII)
_NUMBER = re.compile(r"\d{5}(?:\.\d*)?")
"""A day as Excel counts them."""

EXAMPLES: Mapping[FieldKind, str] = {
    FieldKind.OUTCOME: "An expression that makes it: if(equals(variables('won'), true), 'won', 'lost')",
    FieldKind.RECORD_ID: "An expression that gives an id: triggerOutputs()?['body/TABLEid']",
    FieldKind.RECORD_NAME: "An expression that gives an id: triggerOutputs()?['body/TABLEid']",
    FieldKind.DAY: "An expression that makes a day: formatDateTime(utcNow(), 'yyyy-MM-dd')",
    FieldKind.AMOUNT: "An expression that makes a number: float('12500.50')",
    FieldKind.REASON: "An expression that gives a number: outputs('Get_a_row')?['body/statuscode']",
    FieldKind.DRAFTS: "Leave it empty to activate and close them",
    FieldKind.TEXT: "An expression that makes text: string(variables('note'))",
    FieldKind.COLUMNS: "An expression that makes one: json('{\"new_reason\": 5}')",
}


def trimmed(text: str) -> str:
    """Return a text without what nobody sees at its ends: blanks, and marks of direction or without a width."""
    return _UNSEEN.sub("", text)


def is_empty(value: object) -> bool:
    """Return whether a value is none: what a designer sends for a field that was left empty."""
    return value is None or value == {} or (isinstance(value, str) and not trimmed(value))


class _RepeatedName(Exception):
    """An object has two members of one name, which is the exception's text."""


def repeated_name(body: bytes) -> str:
    """Return a name that stands twice in an object of a JSON document, or nothing: readers disagree on which counts."""
    try:
        json.loads(body, object_pairs_hook=_named_once)
    except _RepeatedName as repeated:
        return str(repeated)
    except (ValueError, RecursionError):
        return ""  # what is no JSON is told by who reads it
    return ""


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise _RepeatedName(next(name for name, count in counts.items() if count > 1)[:100])
    return members


def is_text(value: str) -> bool:
    """Return whether there are no halves of surrogate pairs in it, which JSON allows and no store takes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_field(field: CloseField, value: object) -> object:
    """Return what a value says for a field. Raises PydanticCustomError with a sentence for the maker."""
    if isinstance(value, str) and not is_text(value):
        raise _wrong(field, "it is no Unicode text")
    example = "" if field.kind is FieldKind.TEXT and isinstance(value, str) else EXAMPLES.get(field.kind, "")
    example = example.replace("TABLE", field.table)
    if isinstance(value, list | dict):
        raise _wrong(field, f"it is {'a list' if isinstance(value, list) else 'an object'}; give one value", example)
    if isinstance(value, str) and field.kind is not FieldKind.TEXT:
        value = trimmed(value)
    if field.kind is FieldKind.DAY and _NUMBER.fullmatch(str(value)):
        example += ". Of a table in Excel: set DateTime Format of the action that reads it to ISO 8601"
    try:
        if field.kind is FieldKind.DAY and (moment := _MOMENT.fullmatch(str(value))):
            value = moment[1]
        return read_value(field, value)
    except ValueError as error:
        raise _wrong(field, str(error), example) from None


def read_columns(field: CloseField, columns: object) -> object:
    """Return extra columns with their values. Raises PydanticCustomError with a sentence for the maker."""
    if not isinstance(columns, dict):
        raise _wrong(field, "it is no object of columns and their values", EXAMPLES[field.kind])
    for name, value in columns.items():
        if not _COLUMN.fullmatch(name):
            raise _wrong(field, f"no column can have the name {name[:100]!r}")
        if value is not None and not isinstance(value, str | int | float):
            raise _wrong(field, f"the value of {name} is neither text, a number, true nor false")
        if isinstance(value, str) and not is_text(value):
            raise _wrong(field, f"the value of {name} is no Unicode text")
    return columns


def _wrong(field: CloseField, text: str, example: str = "") -> PydanticCustomError:
    """Return the error for a maker; agents are told its `text` alone, since they send no expressions of a flow."""
    return PydanticCustomError("wrong_value", "{text}", {"label": field.label, "text": text, "example": example})


def read_opportunity(text: str, column: str | None) -> UUID | RecordKey:
    """Return the opportunity that a path names: its id, in any form that a maker has it in, or a key of this column.

    Raises RequestValidationError.
    """
    if column and address_in(text) is None:
        return RecordKey(OPPORTUNITY, trimmed(column), text)
    try:
        id_ = read_field(OPPORTUNITY_ID, text)
    except PydanticCustomError as error:
        raise _malformed(error, ("path", "id"), text) from None
    assert isinstance(id_, UUID)
    return id_


def refuse_elsewhere(ours: str, opportunity: str, body: object) -> None:
    """Raise RequestValidationError for an address that is not of the host `ours`: a copy has the ids of the original.

    `opportunity` is what the path names it by, `body` the request's JSON.
    """
    values = body if isinstance(body, dict) else {}
    named = [(field, ("body", name)) for field in _RECORDS for name in (field.wire_name, field.name)]
    for field, place in [(OPPORTUNITY_ID, ("path", "id")), *named]:
        text = opportunity if place[0] == "path" else values.get(place[1])
        address = address_in(text) if isinstance(text, str) else None
        if address and address.host not in ("", ours):
            problem = (
                f"the address is of {address.host[:100]}, and this connection is to {ours}. A copy of an organization "
                "has the same ids: see which one is meant, or give the id alone"
            )
            raise _malformed(_wrong(field, problem), place, text)


def _malformed(error: PydanticCustomError, place: tuple[str, str], text: object) -> RequestValidationError:
    problem = {"type": error.type, "loc": place, "msg": error.message(), "input": text, "ctx": error.context}
    return RequestValidationError([problem])


def lowered(value: object) -> object:
    """Return a choice without blanks around it and in lower case; None for none."""
    return None if is_empty(value) else trimmed(value).lower() if isinstance(value, str) else value


IMPORTANT: JsonDict = {"x-ms-visibility": "important"}
ADVANCED: JsonDict = {"x-ms-visibility": "advanced"}
INTERNAL: JsonDict = {"x-ms-visibility": "internal"}


def described(title: str, description: str, default: Any = ..., *, shown: JsonDict | None = None) -> Any:
    """Return a field of pydantic with this label and sentence; `shown` has the designer's `x-ms-*` keys."""
    return Field(default, title=title, description=description, json_schema_extra=shown)
