"""The tables that hold the records in SQLite, made from the schema: real columns, their indices, views over tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from connector.emulator.world.schema import ASSOCIATION_KEYS, FRACTION_KINDS, WHOLE_KINDS, Column, Kind, Schema, Table

_INDICES = (
    ("quote", "opportunityid, statecode"),
    ("opportunityclose", "opportunityid"),
    ("opportunityclose", "regardingobjectid"),
    ("quoteclose", "quoteid"),
    ("quoteclose", "regardingobjectid"),
    ("opportunity", "customerid"),
    ("quotedetail", "quoteid"),
    ("opportunityproduct", "opportunityid"),
    ("salesorder", "opportunityid"),
    ("salesorder", "quoteid"),
    ("systemuser", "applicationid"),
    ("systemuser", "azureactivedirectoryobjectid"),
)


def tables_of(schema: Schema) -> Iterator[str]:
    """Yield the statements that make the tables, views and indices of a schema, and the store's own."""
    for table in schema.tables.values():
        if table.derived_from:
            yield _union_view(schema, table)
            continue
        yield from _table_of(table)
    for intersect, keys in ASSOCIATION_KEYS.items():
        near, far = keys.values()
        yield (
            f'CREATE TABLE "{intersect}" ("{near}" TEXT, "{far}" TEXT, versionnumber INTEGER, '
            f'PRIMARY KEY ("{near}", "{far}")) WITHOUT ROWID'
        )
        yield f'CREATE INDEX "{intersect}_back" ON "{intersect}" ("{far}")'
    for number, (name, indexed) in enumerate(_INDICES):
        yield f'CREATE INDEX "{name}_{number}" ON "{name}" ({indexed})'
    yield "CREATE TABLE _deleted (versionnumber INTEGER PRIMARY KEY, tablename TEXT, id TEXT, moment TEXT)"
    yield "CREATE TABLE _notes (name TEXT PRIMARY KEY, value TEXT)"
    yield "CREATE TABLE _roleprivileges (roleid TEXT, privilege TEXT, PRIMARY KEY (roleid, privilege)) WITHOUT ROWID"


def _table_of(table: Table) -> Iterator[str]:
    columns = ", ".join(
        f'"{name}" {kind}' + (" NOT NULL PRIMARY KEY" if name == table.primary_id else "")
        for column in table.columns.values()
        for name, kind in sql_columns(column)
    )
    yield f'CREATE TABLE "{table.logical_name}" ({columns}) WITHOUT ROWID'
    yield f'CREATE INDEX "{table.logical_name}_version" ON "{table.logical_name}" (versionnumber)'


def sql_columns(column: Column) -> Iterator[tuple[str, str]]:
    """Yield name and SQL type of what holds a column: a lookup to several tables has two."""
    whole = column.kind in WHOLE_KINDS or column.kind is Kind.BOOLEAN
    yield column.name, "INTEGER" if whole else "REAL" if column.kind in FRACTION_KINDS else "TEXT"
    if column.polymorphic:
        yield f"{column.name}_type", "TEXT"


def additions(schema: Schema, db: sqlite3.Connection) -> Iterator[str]:
    """Yield the statements that add the tables and columns of a schema that a file lacks.

    `_depths` holds the depth of the privileges of a role that are less than the whole organization, `_shares` what is
    shared with a user, as a mask of rights.
    """
    yield (
        "CREATE TABLE IF NOT EXISTS _shares (tablename TEXT, record TEXT, principal TEXT, rights INTEGER, "
        "PRIMARY KEY (principal, tablename, record)) WITHOUT ROWID"
    )
    yield (
        "CREATE TABLE IF NOT EXISTS _depths (roleid TEXT, privilege TEXT, depth TEXT, PRIMARY KEY (roleid, privilege)) "
        "WITHOUT ROWID"
    )
    for table in schema.tables.values():
        present = {row[1] for row in db.execute(f'PRAGMA table_info("{table.logical_name}")')}
        if not present:
            yield from _table_of(table)
        for column in table.columns.values() if present and not table.derived_from else ():
            for name, kind in sql_columns(column):
                if name not in present:
                    yield f'ALTER TABLE "{table.logical_name}" ADD COLUMN "{name}" {kind}'
        for key in table.keys:
            names = ", ".join(f'"{name}"' for name in key.columns)
            yield f'CREATE UNIQUE INDEX IF NOT EXISTS "key_{key.name}" ON "{key.table}" ({names})'


def columns_in(error: sqlite3.IntegrityError) -> tuple[str, ...]:
    """Return the columns that SQLite names: `UNIQUE constraint failed: table.a, table.b`."""
    _, _, names = str(error).partition("failed: ")
    return tuple(name.rpartition(".")[2] for name in names.split(", "))


def _union_view(schema: Schema, table: Table) -> str:
    pairs = [pair for column in table.columns.values() for pair in sql_columns(column)]
    parts = []
    for source in table.derived_from:
        present = {name for column in schema.tables[source].columns.values() for name, _ in sql_columns(column)}
        names = ", ".join(f'"{name}"' if name in present else f'NULL AS "{name}"' for name, _ in pairs)
        parts.append(f'SELECT {names} FROM "{source}"')
    return f'CREATE VIEW "{table.logical_name}" AS ' + " UNION ALL ".join(parts)
