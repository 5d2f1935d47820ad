"""Reads the schema that is shipped with the emulator."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from connector.emulator.world.schema import (
    ASSOCIATION_KEYS,
    Association,
    Collection,
    Column,
    Kind,
    Lookup,
    Message,
    Parameter,
    Required,
    Schema,
    StateOption,
    StatusOption,
    Table,
)

_KINDS = {kind.value: kind for kind in Kind}
_REQUIRED = (Required.NONE, Required.RECOMMENDED, Required.APPLICATION, Required.SYSTEM)


def _column(raw: list[Any]) -> Column:
    name, kind, max_length, required, flags, label, schema_name, targets, options, date_format, *limits = raw
    return Column(
        name,
        _KINDS[kind],
        max_length,
        _REQUIRED[required],
        bool(flags & 1),
        bool(flags & 2),
        True,  # noqa: FBT003 - the record's field order; every column of the slice can be read
        label or name,
        schema_name or name,
        tuple(targets),
        tuple((value, text) for value, text in options),
        date_format,
        declared=tuple(limits[0].items()) if limits else (),
    )


def _collection(table: str, raw: list[str]) -> Collection:
    name, target, column, partner, *intersect = raw
    if not intersect:
        return Collection(name, target, column, partner)
    keys = ASSOCIATION_KEYS[intersect[0]]
    return Collection(name, target, "", partner, Association(intersect[0], keys[table], keys[target]))


def _table(name: str, raw: dict[str, Any]) -> Table:
    states = raw["states"] or {"state": [], "status": []}
    return Table(
        logical_name=name,
        entity_set=raw["set"],
        schema_name=raw["schema"],
        type_code=raw["code"],
        primary_id=raw["id"],
        primary_name=raw["name"],
        label=raw["label"],
        plural_label=raw["plural"],
        ownership=raw["owned"],
        privilege_name=raw["privilege"],
        change_tracking=raw["tracked"],
        columns={raw_item[0]: _column(raw_item) for raw_item in raw["columns"]},
        lookups={raw_item[0]: Lookup(*raw_item) for raw_item in raw["lookups"]},
        collections={raw_item[0]: _collection(name, raw_item) for raw_item in raw["collections"]},
        states=tuple(StateOption(*raw_item) for raw_item in states["state"]),
        statuses=tuple(StatusOption(*raw_item) for raw_item in states["status"]),
        derived_from=("opportunityclose", "quoteclose") if name == "activitypointer" else (),
    )


def _message(raw: list[Any]) -> Message:
    name, kind, bound_to, parameters, returns, table, pack = raw
    return Message(
        name,
        kind == "function",
        bound_to,
        tuple(Parameter(*parameter) for parameter in parameters),
        returns,
        table,
        pack,
    )


@cache
def load_schema() -> Schema:
    """Return the schema shipped with the emulator: the closing slice of a sales organization, nothing customized.

    It is read once: a process that opens many organizations shares the value.
    """
    folder = resources.files("connector.emulator") / "data"
    raw = json.loads((folder / "schema.json").read_text("utf-8"))
    messages = json.loads((folder / "messages.json").read_text("utf-8"))
    return Schema(
        {name: _table(name, raw_table) for name, raw_table in raw["tables"].items()},
        {raw_table[0]: _message(raw_table) for raw_table in messages["messages"]},
    )
