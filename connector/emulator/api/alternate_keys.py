"""Rows named by an alternate key: `opportunities(new_code='A-1')`."""

from __future__ import annotations

from connector.emulator.odata.path import text_of
from connector.emulator.odata.values import GUID
from connector.emulator.rules.rule import refuse
from connector.emulator.world.schema import FRACTION_KINDS, LOOKUP_KINDS, WHOLE_KINDS, Table
from connector.emulator.world.store import Store, Value


def row_by_key(store: Store, table: Table, pairs: tuple[tuple[str, str], ...]) -> str:
    """Return the id of the row with these values of an alternate key of `table`, as written in a path.

    Raises Refused: the columns are no key (0x80060888), or no row has the values (0x80060891).
    """
    written = {_column(table, name): value for name, value in pairs}
    if not any(set(key.columns) == set(written) for key in table.keys):
        raise refuse("row.no_such_key", table.logical_name)
    values = [_value(table, name, value) for name, value in written.items()]
    where = " AND ".join(f'"{name}" = ?' for name in written)
    rows = store.rows(f'SELECT "{table.primary_id}" FROM "{table.logical_name}" WHERE {where}', values)
    if not rows:
        raise refuse("row.no_such_values", table.logical_name)
    return str(rows[0][0])


def _column(table: Table, name: str) -> str:
    """Return the column that a property of a key means; a lookup is written `_x_value` (use-alternate-key)."""
    inner = name.removeprefix("_").removesuffix("_value")
    return inner if name == f"_{inner}_value" and inner in table.columns else name


def _value(table: Table, name: str, written: str) -> Value:
    kind = table.columns[name].kind
    text = text_of(written)
    try:
        if kind in WHOLE_KINDS:
            return int(written)
        if kind in FRACTION_KINDS:
            return float(written)
    except ValueError:
        raise refuse("column.type", table.logical_name, name, kind) from None
    if kind in LOOKUP_KINDS and GUID.match(written):
        return written.lower()
    if text is None:
        raise refuse("column.type", table.logical_name, name, kind)
    return text
