"""Filling the organization from a file of rows: JSON by table, or CSV of one table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from typing import Any

from connector.emulator.rules.rule import Refused
from connector.emulator.seeding.organization import BUSINESS_UNIT_ID, SALES_USER_ID
from connector.emulator.world.callers import Caller
from connector.emulator.world.plain_values import typed
from connector.emulator.world.records import TypedValue
from connector.emulator.world.schema import Table
from connector.emulator.world.store import Row
from connector.emulator.world.world import World

_SEEDER = Caller(SALES_USER_ID, "", "", frozenset(), business_unit_id=BUSINESS_UNIT_ID)


class SeedRefused(ValueError):
    """A seed file cannot be used; the text names the row and what is wrong with it. Nothing was added."""


def seed_csv(world: World, table: str, lines: Iterable[str]) -> int:
    """Add the rows of one table from CSV with column names in the first line; an empty field is no value.

    Returns how many rows were added. Raises SeedRefused.
    """
    try:
        reader = csv.DictReader(lines, strict=True)
        columns, raws = reader.fieldnames or [], list(reader)
    except csv.Error as error:
        raise SeedRefused(f"The file is not CSV: {error}.") from error
    known = world.schema.tables.get(table) or world.schema.by_entity_set.get(table)
    unknown = [name for name in columns if known is not None and name not in known.columns]
    if not columns or unknown:
        names = ", ".join(map(repr, unknown)) or "no column at all"
        raise SeedRefused(f"The first line of the file names {names}, which {table} does not have.")
    for number, raw in enumerate(raws, 1):
        if None in raw or None in raw.values():
            raise SeedRefused(f"{table} row {number} has not {len(columns)} fields, as the first line has.")
    return seed_json(world, {table: [{name: value for name, value in raw.items() if value} for raw in raws]})


def seed_json(world: World, document: Mapping[str, Any]) -> int:
    """Add rows from `{table: [row, ...]}`, tables in the order that lookups need.

    Columns go by their logical names. A lookup is an id, or `table:id` where it can point at several tables. States are
    taken as they stand: seeding describes a situation, it does not act. Raises SeedRefused.
    """
    if not isinstance(document, Mapping) or not all(isinstance(rows, list) for rows in document.values()):
        raise SeedRefused("Seed data is an object with a list of rows for each table.")
    added = 0
    with world.store.transaction():
        for name, rows in document.items():
            table = world.schema.tables.get(name) or world.schema.by_entity_set.get(name)
            if table is None or table.derived_from:
                raise SeedRefused(f"The emulator has no table {name} to seed.")
            for number, raw in enumerate(rows, 1):
                _add(world, table, raw, number)
                added += 1
    return added


def _add(world: World, table: Table, raw: Mapping[str, Any], number: int) -> None:
    place = f"{table.logical_name} row {number}"
    if not isinstance(raw, Mapping):
        raise SeedRefused(f"{place} is no object of columns and values.")
    values = {name: _value(table, name, value, place) for name, value in raw.items()}
    try:
        row: Row = world.records.convert(_SEEDER, table, values)
        world.records.create(_SEEDER, table, {}, row)
    except Refused as refusal:
        raise SeedRefused(f"{place}: {refusal.message}") from refusal


def _value(table: Table, name: str, value: Any, place: str) -> TypedValue:
    column = table.columns.get(name)
    if column is None:
        raise SeedRefused(f"{place}: there is no column {name}.")
    if value is None:
        return None
    try:
        return typed(column, value)
    except (ValueError, TypeError, OverflowError) as error:
        raise SeedRefused(f"{place}: {value!r:.80} is no value for {name} ({column.kind}).") from error
