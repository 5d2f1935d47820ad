"""Values as files and plug-ins write them: by logical name, a lookup as an id or as `table:id`, dates as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from connector.emulator.world.records import Ref, TypedValue
from connector.emulator.world.schema import FRACTION_KINDS, LOOKUP_KINDS, WHOLE_KINDS, Column, Kind, Schema, Table
from connector.emulator.world.store import Row

_ADDRESS = re.compile(r"(\w+)\(\{?([0-9A-Fa-f-]{36})\}?\)/?$")
_BIND = "@odata.bind"


def typed(column: Column, value: Any) -> TypedValue:
    """Return a value as the column takes it. Raises ValueError, TypeError or OverflowError when it does not fit."""
    kind = column.kind
    if value is None or isinstance(value, Ref | date):
        return value
    if kind in LOOKUP_KINDS:
        table, _, key = str(value).rpartition(":")
        if column.polymorphic and not table:
            raise ValueError(value)
        return Ref(table or column.targets[0], key.lower())
    if kind in WHOLE_KINDS:
        return int(value)
    if kind in FRACTION_KINDS:
        return float(value)
    if kind is Kind.BOOLEAN:
        return _boolean(str(value).lower())
    return _text_or_day(kind, str(value))


def typed_row(schema: Schema, table: Table, data: Mapping[str, Any]) -> dict[str, TypedValue]:
    """Return the columns of a row, also those written as the Web API does (`nav@odata.bind`).

    Unknown names are kept, for the rules to refuse. Raises ValueError or TypeError for a value that does not fit.
    """
    row: dict[str, TypedValue] = {}
    for name, value in data.items():
        if name.endswith(_BIND):
            bare = name.removesuffix(_BIND)
            lookup = table.lookups.get(bare)
            row[lookup.column if lookup else bare] = _address(schema, str(value)) if value is not None else None
        elif "@" not in name:
            row[name] = typed(table.columns[name], value) if name in table.columns else value
    return row


def stored_row(table: Table, row: Mapping[str, TypedValue]) -> Row:
    """Return typed columns as the store keeps them, nothing checked."""
    out: Row = {}
    for name, value in row.items():
        if isinstance(value, Ref):
            out[name] = value.id
            if table.columns[name].polymorphic:
                out[f"{name}_type"] = value.table
        elif isinstance(value, date):
            out[name] = value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value.isoformat()
        else:
            out[name] = int(value) if isinstance(value, bool) else value
    return out


def _address(schema: Schema, text: str) -> Ref:
    match = _ADDRESS.search(text)
    target = schema.by_entity_set.get(match.group(1)) if match else None
    if match is None or target is None:
        raise ValueError(f"{text!r} is not the address of a row")
    return Ref(target.logical_name, match.group(2).lower())


def _text_or_day(kind: Kind, text: str) -> TypedValue:
    if kind is Kind.DATEONLY:
        return date.fromisoformat(text)
    if kind is Kind.DATETIME:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo is not None else moment.date()
    return text.lower() if kind is Kind.UUID else text


def _boolean(text: str) -> bool:
    if text not in ("true", "1", "false", "0"):
        raise ValueError(text)
    return text in ("true", "1")
