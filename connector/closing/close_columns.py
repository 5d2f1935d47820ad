"""The extra columns of close activities against the organization's definitions: right names and values, or a sentence.

A lookup may be named by its logical name or by its navigation property; the service takes the latter alone. A text is
read as the column's own kind, and a choice may be given by its label.
Sources: learn.microsoft.com /power-apps/developer/data-platform/webapi/associate-disassociate-entities-using-web-api,
.../multi-select-picklist and .../reference/attributetypecode; ranges: the references of the attribute types.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from connector.closing.intent import COLUMN_FIELDS, ColumnValue, Intent
from connector.closing.model import ColumnDefinition, LookupDefinition, OrganizationMetadata, RowRef, TableDefinition
from connector.closing.request import read_row, shown, text_length, typed_text
from connector.errors import InputError

BIND = "@odata.bind"
_LOOKUPS = frozenset({"Lookup", "Customer", "Owner"})
_LARGEST = {"Integer": 2**31 - 1, "BigInt": 2**63 - 1, "Decimal": 10**11, "Double": 10**11, "Money": 922337203685477}
_WHOLE = frozenset({"Integer", "BigInt"})
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,7})?)?(Z|[+-]\d{2}:\d{2})")


class _Problem(ValueError):
    """A sentence about one column, to follow its name."""


def resolve_columns(intent: Intent, metadata: OrganizationMetadata) -> Intent:
    """Return the intent with its extra columns as the service takes them.

    Raises InputError, one sentence naming every column that the organization does not have, that cannot be set, whose
    value does not fit, or that points at a row which is not to be seen. Columns of a table whose definitions were not
    read stay as they are.
    """
    problems: list[tuple[str, str]] = []
    changed: dict[str, Mapping[str, ColumnValue]] = {}
    for field in COLUMN_FIELDS:
        columns: Mapping[str, ColumnValue] = getattr(intent, field.key)
        definition = metadata.tables.get(field.table)
        resolved: dict[str, ColumnValue] = {}
        for name, value in columns.items():
            try:
                right_name, right_value = _resolved(definition, name, value) if definition else (name, value)
                _check_access(field.table, definition, right_name, right_value, metadata)
            except _Problem as problem:
                problems.append((field.name, f"{field.table}.{name}: {problem}"))
            else:
                resolved[right_name] = right_value
        changed[field.key] = resolved
    if isinstance(intent.competitor_id, UUID) and ("competitors", intent.competitor_id) in metadata.absent:
        problems.append(("competitor", f"competitor: {_unseen('competitor', intent.competitor_id)}"))
    if intent.competitor_id is not None and "opportunityclose.competitorid" in metadata.unwritable:
        problems.append(("competitor", "competitor: it is secured, and the user may not set it"))
    if problems:
        raise InputError(
            f"{'; '.join(sentence for _, sentence in problems)}. Nothing was changed.",
            remedy="Correct that, or leave it out.",
            fields=tuple(dict.fromkeys(name for name, _ in problems)),
        )
    if not (intent.opportunity_columns or intent.quote_columns):
        return intent
    opportunity, quote = (changed[field.key] for field in COLUMN_FIELDS)
    return replace(intent, opportunity_columns=opportunity, quote_columns=quote)


def columns_left_empty(intent: Intent, metadata: OrganizationMetadata, tables: Collection[str]) -> list[str]:
    """Return the columns of close activities of `tables` that only forms require and an intent leaves out.

    Raises InputError for those that the service itself requires.
    """
    set_here: set[str] = set()
    for field in COLUMN_FIELDS:
        definition = metadata.tables.get(field.table)
        ways = {way.navigation: way.column for way in definition.lookups} if definition else {}
        names = [name.removesuffix(BIND) for name in getattr(intent, field.key)]
        set_here |= {f"{field.table}.{ways.get(name, name)}" for name in names}
    left_out = [name for name in metadata.required if name not in set_here and name.partition(".")[0] in tables]
    needed = [name for name in left_out if metadata.required[name]]
    if needed:
        raise InputError(
            f"The organization requires a value of {', '.join(needed)}. Nothing was changed.",
            remedy=f"Give it with --opportunity-column or --quote-column; in a file as a column {needed[0]}.",
            fields=tuple(field.name for field in COLUMN_FIELDS if any(name.startswith(field.table) for name in needed)),
        )
    return left_out


def rows_of_intent(intent: Intent) -> Iterator[RowRef]:
    """Yield the rows that a close would point at: its competitor, and those of the lookups among its columns."""
    if isinstance(intent.competitor_id, UUID):
        yield "competitors", intent.competitor_id
    for columns in (intent.opportunity_columns, intent.quote_columns):
        for value in columns.values():
            row = read_row(value)
            if row is not None:
                yield row


def _resolved(table: TableDefinition, name: str, value: ColumnValue) -> tuple[str, ColumnValue]:
    plain = name.removesuffix(BIND)
    column = table.columns.get(plain)
    if name != plain or column is None or column.kind in _LOOKUPS:
        return _lookup(table, plain, value)
    if not column.creatable:
        raise _Problem("it cannot be set")
    if value is None:
        return name, None
    if column.kind not in _VALUES:
        raise _Problem(f"a close sets no column of the kind {column.kind}")
    return name, _VALUES[column.kind](column, value)


def _lookup(table: TableDefinition, name: str, value: ColumnValue) -> tuple[str, ColumnValue]:
    """Return the lookup by the navigation property that leads to the row's table."""
    ways = [way for way in table.lookups if way.navigation == name]
    ways = ways or [way for way in table.lookups if name.lower() in (way.column, way.navigation.lower())]
    if not ways:
        raise _Problem(_unknown(table, name))
    column = table.columns.get(ways[0].column)
    if column is not None and not column.creatable:
        raise _Problem("it cannot be set")
    row = read_row(value)
    if row is None:
        raise _Problem(f"{shown(value)} is no row; write table(id), as {ways[0].entity_set or 'accounts'}(0f3c…)")
    way = _way(ways, [way for way in table.lookups if way.column == ways[0].column], row[0])
    return f"{way.navigation}{BIND}", f"/{row[0]}({row[1]})"


def _way(named: list[LookupDefinition], all_ways: list[LookupDefinition], entity_set: str) -> LookupDefinition:
    for ways in (named, all_ways):
        for way in ways:
            if not way.entity_set or way.entity_set == entity_set:
                return way
    raise _Problem(f"it points at {', '.join(sorted({way.entity_set for way in all_ways}))}, not at {entity_set}")


def _unknown(table: TableDefinition, name: str) -> str:
    names = {*table.columns, *(way.navigation for way in table.lookups)}
    close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.7)
    return f"there is no such column; like it are {', '.join(close)}" if close else "there is no such column"


def _text(column: ColumnDefinition, value: ColumnValue) -> ColumnValue:
    if not isinstance(value, str):
        raise _Problem(f"{shown(value)} is not a text")
    if column.length is not None and text_length(value) > column.length:
        raise _Problem(f"it has {text_length(value):,} characters; at most {column.length:,} fit")
    return value


def _number(column: ColumnDefinition, value: ColumnValue) -> ColumnValue:
    whole = column.kind in _WHOLE
    number = _integral(_typed("int", value)) if whole else _typed("decimal", value)
    if isinstance(number, bool) or not isinstance(number, int if whole else int | float | Decimal):
        raise _Problem(f"{shown(value)} is not a {'whole number' if whole else 'number'}")
    least, most = column.limits or (Decimal(-_LARGEST[column.kind]), Decimal(_LARGEST[column.kind]))
    if not least <= Decimal(str(number)) <= most:
        raise _Problem(f"{value} is not between {least:,f} and {most:,f}")
    return number


def _truth(_column: ColumnDefinition, value: ColumnValue) -> ColumnValue:
    truth = _typed("bool", value)
    if not isinstance(truth, bool):
        raise _Problem(f"{shown(value)} is neither true nor false")
    return truth


def _fitting(column: ColumnDefinition, value: ColumnValue) -> list[int]:
    text = str(_integral(value)).strip().casefold()
    return [
        number
        for number, labels in column.options.items()
        if text in (str(number), *(label.strip().casefold() for label in labels))
    ]


def _choices(column: ColumnDefinition, value: ColumnValue) -> ColumnValue:
    """Return several choices as the service takes them; labels are parted by semicolons, as it shows them itself."""
    text = str(_integral(value))
    parts = [text] if _fitting(column, text) else text.split(";" if ";" in text else ",")
    return ",".join(dict.fromkeys([str(_choice(column, part)) for part in parts]))


def _choice(column: ColumnDefinition, value: ColumnValue) -> ColumnValue:
    fitting = _fitting(column, value)
    if len(fitting) == 1 and not isinstance(value, bool):
        return fitting[0]
    listed = ", ".join(" ".join((str(number), *labels[:1])) for number, labels in column.options.items())
    raise _Problem(f"{shown(value)} is {'ambiguous' if fitting else 'not one'} of its choices: {listed or 'none'}")


def _time(column: ColumnDefinition, value: ColumnValue) -> ColumnValue:
    text = value.strip() if isinstance(value, str) else ""
    try:
        if _DAY.fullmatch(text):
            date.fromisoformat(text)
            return text
        if not column.date_only and _MOMENT.fullmatch(text):
            datetime.fromisoformat(text)
            return text
    except ValueError:
        pass
    form = "a date, as 2026-01-31" if column.date_only else "a date or a moment, as 2026-01-31T12:00:00Z"
    raise _Problem(f"{shown(value)} is not {form}")


def _id(_column: ColumnDefinition, value: ColumnValue) -> ColumnValue:
    try:
        return str(UUID(str(value)))
    except ValueError:
        raise _Problem(f"{shown(value)} is not an id") from None


_VALUES: Mapping[str, Callable[[ColumnDefinition, ColumnValue], ColumnValue]] = {
    **dict.fromkeys(("String", "Memo"), _text),
    **dict.fromkeys(_LARGEST, _number),
    "Boolean": _truth,
    "Picklist": _choice,
    "MultiSelectPicklist": _choices,
    "DateTime": _time,
    "Uniqueidentifier": _id,
    **dict.fromkeys(("State", "Status"), lambda _column, value: value),
}
"""By AttributeType; the others cannot be set by a close: files and images are uploaded, parties are rows themselves."""


def _typed(kind: str, value: ColumnValue) -> ColumnValue:
    try:
        return typed_text(kind, value) if isinstance(value, str) else value
    except ValueError:
        return value


def _integral(value: ColumnValue) -> ColumnValue:
    """Return a whole number that a spreadsheet has as 3.0 as what it is."""
    return int(value) if isinstance(value, float | Decimal) and value == int(value) else value


def _check_access(
    table: str, definition: TableDefinition | None, name: str, value: ColumnValue, metadata: OrganizationMetadata
) -> None:
    plain = name.removesuffix(BIND)
    ways = definition.lookups if definition else ()
    column = next((way.column for way in ways if way.navigation == plain), plain)
    if f"{table}.{column}" in metadata.unwritable:
        raise _Problem("it is secured, and the user may not set it")
    row = read_row(value)
    if row is not None and row in metadata.absent:
        raise _Problem(_unseen(next((way.table for way in ways if way.entity_set == row[0]), row[0]), row[1]))


def _unseen(table: str, row_id: UUID) -> str:
    return f"there is no {table} {row_id} that the application user can see"
