"""Intents as plain data: a row of a file, the options of a command or a body of JSON become an intent, and back.

The fields are those of `CLOSE_FIELDS`. Absent, null and blank mean the same. Extra columns of the close activities have
the table as prefix and, where the value is text but the column is not, a type as suffix:
`opportunityclose.new_reason:int`. Types are `text` (as it is), `int`, `decimal` and `bool`. A caller may give text, as
a file of commas has it, or typed values, as JSON and spreadsheets have them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import partial
from typing import Any
from uuid import UUID

from connector.closing.activity_columns import refuse_reserved
from connector.closing.field import CloseField, FieldKind
from connector.closing.intent import (
    COLUMN_FIELDS,
    FILE_COLUMNS,
    ColumnValue,
    DraftPolicy,
    Intent,
    Outcome,
    RevenueSource,
)
from connector.closing.record_keys import address_in, is_of
from connector.errors import InputError

LARGEST_AMOUNT = Decimal(10) ** 12
"""The range of `opportunity.actualvalue`, in both directions."""

EARLIEST_DAY = date(1753, 1, 1)
"""The first day that a column of a moment holds (`DateTime is less than minimum value supported`)."""

_GUID = re.compile(
    r"(?i)(?:urn:uuid:|(\{)|(\()|(?:guid)?(['\"]))?(?P<id>[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12})"
    r"(?(1)\})(?(2)\))(?(3)\3)"
)
_LONGEST_SHOWN = 100
_MOST_DIGITS = 28
"""Places before or behind the point of a number; a `decimal` of the service has no more."""
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_ROW = re.compile(
    r"/?(?P<set>[a-z_]\w*)\((?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\)", re.ASCII | re.IGNORECASE
)
_WRITTEN_AS_TEXT = (UUID, date, Decimal)
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_value(field: CloseField, value: object) -> Any:
    """Return what `value` says for this field; raises ValueError with a sentence."""
    read = _READ[field.kind](_id_in(field, value) if field.table else value)
    if field.limit is not None and isinstance(read, str) and text_length(read) > field.limit:
        raise ValueError(f"it has {text_length(read):,} characters; at most {field.limit:,} are allowed")
    return read


def text_length(text: str) -> int:
    """Return how many characters the service counts: two for one beyond the basic plane (SQL Server: nvarchar)."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def shown(value: object) -> str:
    """Return a value for a sentence about it: a text in quotes, anything else as JSON has it; cut where it is long."""
    text = repr(str(value)) if isinstance(value, str | date | Decimal | UUID) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def plain_value(value: object) -> Any:
    """Return a field's value as JSON has it, amounts as text; `read_value` reads it again."""
    if isinstance(value, frozenset):
        return sorted(str(part) for part in value)
    return str(value) if isinstance(value, _WRITTEN_AS_TEXT) else value


def column_value(full_name: str, name: str, kind: str, value: object) -> ColumnValue:
    """Return the value of an extra column; text is read as `kind`, what JSON has typed stays as it is."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{full_name}: {shown(value)} is not a number")
    if isinstance(value, bool | int | float | Decimal):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{full_name}: {shown(value)} is no text, number, true or false")
    if name.endswith("@odata.bind") and read_row(value) is None:
        raise ValueError(f"{full_name}: {shown(value)} is no row; write table(id), as competitors(0f3c…)")
    try:
        return typed_text(kind, value)
    except ValueError:
        raise ValueError(f"{full_name}: {shown(value)} is not of type {kind}") from None


def typed_text(kind: str, text: str) -> ColumnValue:
    """Return what a text says as an `int`, a `decimal` or a `bool`, or the text itself; raises ValueError."""
    match kind:
        case "int":
            return int(text)
        case "decimal":
            return _number(text)
        case "bool":
            return _flag(text)
        case _:
            return text


def read_row(value: object) -> tuple[str, UUID] | None:
    """Return the entity set and the id in `table(id)`, or None for anything else."""
    match = _ROW.fullmatch(value.strip()) if isinstance(value, str) else None
    return None if match is None else (match["set"], UUID(match["id"]))


def _id_in(field: CloseField, value: object) -> object:
    """Return the id in the address of a record, where a field of records has one; what is no address stays."""
    records = field.kind in (FieldKind.RECORD_ID, FieldKind.RECORD_NAME)
    address = address_in(value) if records and isinstance(value, str) else None
    if address is None:
        return value
    if not is_of(address, field.table):
        raise ValueError(f"the address is one of {address.table}, not of {field.table}")
    return _record_id(address.id) if _GUID.fullmatch(address.id) else _no_record_id(value)


def _record_name(value: object) -> UUID | str:
    """Take an id, or what people call the record."""
    if isinstance(value, UUID):
        return value
    text = " ".join(_text(str(value) if type(value) is int else value).split())
    return _record_id(text) if _GUID.fullmatch(text) else text


def _record_id(value: object) -> UUID:
    if isinstance(value, UUID):
        return value
    match = _GUID.fullmatch(str(value).strip())
    return _no_record_id(value) if match is None else UUID(match["id"])


def _no_record_id(value: object) -> UUID:
    raise ValueError(f"{shown(value)} is not the id of a record; give a GUID, with or without braces")


def _day(value: object) -> date:
    day = _calendar_day(value)
    if day < EARLIEST_DAY:
        raise ValueError(f"{shown(value)} is before {EARLIEST_DAY}, the first day that the column holds")
    return day


def _calendar_day(value: object) -> date:
    """Take a date; a spreadsheet has it as a moment at midnight."""
    if isinstance(value, datetime) and value.time() == time():
        return value.date()
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    text = str(value).strip()
    with suppress(ValueError):
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    raise ValueError(f"{shown(value)} is not a date; write year-month-day, as 2026-01-31")


def _revenue(value: object) -> Decimal | RevenueSource:
    """Take an amount, or where it comes from."""
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in list(RevenueSource):
        return RevenueSource(word)
    amount = _number(value)
    if abs(amount) > LARGEST_AMOUNT:
        raise ValueError(f"{shown(value)} is larger than the 1,000,000,000,000 that the column holds")
    return amount


def _flag(value: object) -> bool:
    word = str(value).strip().lower()
    if word not in _TRUTH:
        raise ValueError(f"{shown(value)} is neither yes nor no")
    return _TRUTH[word]


def _number(value: object) -> Decimal:
    """Take a number with a point; separators of thousands and decimal commas are ambiguous and refused."""
    text = "" if isinstance(value, bool) else str(value).strip()
    amount = Decimal("NaN")
    with suppress(InvalidOperation):
        amount = Decimal(text if text.isascii() and "_" not in text else "NaN")  # Python reads more
    if not amount.is_finite() or abs(amount.adjusted()) > _MOST_DIGITS:
        raise ValueError(f"{shown(value)} is not an amount; write it with a point and no separators, as 12500.00")
    return amount


def _reason(value: object) -> int | str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str) and (type(value) is not int or not 0 < value < 2**31):
        raise ValueError(f"{shown(value)} is not a status reason; give its number or its label")
    return value.strip() if isinstance(value, str) else value


def _word(words: type[StrEnum], problem: str, value: object) -> StrEnum:
    try:
        return words(str(value).strip().lower())
    except ValueError:
        raise ValueError(f"{shown(value)} {problem}") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not text")
    return value


def _record_ids(value: object) -> frozenset[UUID]:
    if not isinstance(value, list | tuple | frozenset):
        raise ValueError(f"{shown(value)} is not a list of ids")
    return frozenset(_record_id(part) for part in value)


_READ: Mapping[FieldKind, Callable[[object], object]] = {
    FieldKind.RECORD_ID: _record_id,
    FieldKind.RECORD_NAME: _record_name,
    FieldKind.RECORD_IDS: _record_ids,
    FieldKind.OUTCOME: partial(_word, Outcome, "is not an outcome; say won or lost"),
    FieldKind.REASON: _reason,
    FieldKind.DAY: _day,
    FieldKind.AMOUNT: _revenue,
    FieldKind.FLAG: _flag,
    FieldKind.TEXT: _text,
    FieldKind.DRAFTS: partial(_word, DraftPolicy, f"is no policy for drafts; say one of {', '.join(DraftPolicy)}"),
}


OPPORTUNITY_PREFIX, QUOTE_PREFIX = PREFIXES = tuple(field.prefix for field in COLUMN_FIELDS)
"""What the names of extra columns begin with."""

_NAMES = frozenset(field.name for field in FILE_COLUMNS)
_COLUMN = re.compile(r"([A-Za-z_]\w*(?:@odata\.bind)?)(?::(text|int|decimal|bool))?", re.ASCII)


def parse_request(values: Mapping[str, object], key: str = "") -> Intent:
    """Return the intent in `values`, by the names of file columns, under the caller's idempotency key.

    Without a key the natural one stands in. Raises InputError, one sentence naming every field that is wrong.
    """
    request = {name.strip(): value for name, value in values.items() if value is not None and str(value).strip()}
    problems: list[str] = []
    attributes: dict[str, Any] = {"key": key}
    for field in FILE_COLUMNS:
        value = request.get(field.name)
        if value is None:
            problems += [f"{field.name} is missing"] if field.required else []
            continue
        try:
            attributes[field.key] = read_value(field, value)
        except ValueError as error:
            problems.append(f"{field.name}: {error}")
    for field in COLUMN_FIELDS:
        columns = {name: value for name, value in request.items() if name.startswith(field.prefix)}
        if columns:
            attributes[field.key] = _read_columns(field, columns, problems)
    unknown = [name for name in request if name not in _NAMES and not name.startswith(PREFIXES)]
    if unknown:
        problems.append(
            f"unknown: {', '.join(unknown)}; the fields are {', '.join(field.name for field in FILE_COLUMNS)}, and "
            f"extra columns begin with {' or '.join(PREFIXES)}"
        )
    if problems:
        raise InputError(f"{'; '.join(dict.fromkeys(problems))}.")
    return Intent(**attributes)


def request_values(intent: Intent) -> dict[str, ColumnValue]:
    """Return an intent as the columns of an input file, without what is not said: `parse_request` reads them again."""
    values: dict[str, ColumnValue] = {}
    for field in FILE_COLUMNS:
        value = getattr(intent, field.key)
        if value is not None and value is not False:
            values[field.name] = value if isinstance(value, Decimal) else plain_value(value)
    for field in COLUMN_FIELDS:
        columns: Mapping[str, ColumnValue] = getattr(intent, field.key)
        values |= {_with_type(field.prefix + name, value): value for name, value in columns.items()}
    return values


def _read_columns(field: CloseField, values: Mapping[str, object], problems: list[str]) -> dict[str, ColumnValue]:
    columns: dict[str, ColumnValue] = {}
    for full_name, value in values.items():
        match = _COLUMN.fullmatch(full_name.removeprefix(field.prefix))
        if match is None:
            problems.append(f"{full_name} is not the name of a column")
            continue
        try:
            columns[match[1]] = column_value(full_name, match[1], match[2] or "text", value)
        except ValueError as error:
            problems.append(str(error))
    try:
        refuse_reserved(field.table, columns)
    except InputError as error:
        problems.append(str(error).rstrip("."))
    return columns


def _with_type(name: str, value: ColumnValue) -> str:
    """Return the name of an extra column with the type of its value, which text alone would lose."""
    match value:
        case bool():
            return f"{name}:bool"
        case int():
            return f"{name}:int"
        case float() | Decimal():
            return f"{name}:decimal"
        case _:
            return name
