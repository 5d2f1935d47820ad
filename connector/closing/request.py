"""Intents as plain data: a row of a file, the options of a command or a body of JSON become an intent, and back.

The fields are those of `CLOSE_FIELDS`. Absent, null and blank mean the same. Extra columns of the close activities have
the table as prefix and, where the value is text but the column is not, a type as suffix:
`opportunityclose.new_reason:int`. Types are `text` (as it is), `int`, `decimal` and `bool`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from connector.closing.activity_columns import refuse_reserved
from connector.closing.field import CloseField
from connector.closing.intent import COLUMN_FIELDS, FILE_COLUMNS, ColumnValue, Intent
from connector.closing.values import column_value, plain_value, read_value
from connector.errors import InputError

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
