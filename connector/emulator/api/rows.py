"""Which columns a read fetches, and how a row becomes JSON: properties, formatted values, annotations, ETag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from connector.emulator.api.preferences import FORMATTED, LOOKUP_NAME, LOOKUP_NAVIGATION, Preferences
from connector.emulator.odata.sql import AliasedTable, column_of, name_of
from connector.emulator.world.schema import Column, Kind, Lookup, Schema, Table
from connector.emulator.world.store import Value

Formatter = Callable[[object, int], str | None]
"""Takes a stored value that is not null and the user's offset from UTC in minutes."""


def _grouped(value: object, _offset: int) -> str:
    return f"{int(str(value)):,}"


def _fraction(value: object, _offset: int) -> str:
    return f"{float(str(value)):,.2f}"


def _day(value: object, _offset: int) -> str:
    year, month, day = str(value)[:10].split("-")
    return f"{int(month)}/{int(day)}/{int(year)}"


def _local(value: object, offset: int) -> datetime:
    return datetime.fromisoformat(str(value)) + timedelta(minutes=offset)


def _moment(value: object, offset: int) -> str:
    local = _local(value, offset)
    half = "AM" if local.hour < 12 else "PM"  # noon
    return f"{_day(local.isoformat(), 0)} {local.hour % 12 or 12}:{local.minute:02d} {half}"


def formatter(table: Table, column: Column) -> Formatter | None:
    """Return how values of the column are formatted; None for text, ids, lookups and money."""
    kind = column.kind
    if kind is Kind.DATETIME:
        day_only = column.date_format == "DateOnly"
        return (lambda value, offset: _day(_local(value, offset).isoformat(), 0)) if day_only else _moment
    simple: dict[Kind, Formatter] = {
        Kind.INTEGER: _grouped,
        Kind.BIGINT: _grouped,
        Kind.DECIMAL: _fraction,
        Kind.DOUBLE: _fraction,
        Kind.DATEONLY: _day,
    }
    return simple.get(kind) or _labels(table, column)


def _labels(table: Table, column: Column) -> Formatter | None:
    if column.kind is Kind.STATE:
        labels = {option.value: option.label for option in table.states}
    elif column.kind is Kind.STATUS:
        labels = {status.value: status.label for status in table.statuses}
    elif column.kind is Kind.BOOLEAN:
        labels = dict(column.options) or {0: "No", 1: "Yes"}
    elif column.kind is Kind.PICKLIST:
        labels = dict(column.options)
    elif column.kind is Kind.CHOICES:
        texts = {str(value): text for value, text in column.options}
        return lambda value, _offset: "; ".join([texts.get(part, part) for part in str(value).split(",")])
    else:
        return None
    return lambda value, _offset: labels.get(int(str(value)))


def money(value: object, symbol: object, decimals: object) -> str:
    """Return an amount with the symbol and the decimals of its currency."""
    amount = float(str(value))
    text = f"{symbol or ''}{abs(amount):,.{2 if decimals is None else decimals}f}"
    return f"-{text}" if amount < 0 else text


FetchedRow = Sequence[Value]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Annotations:
    """Which annotations of values a client asked for, and which columns, as (table, column), are closed to it."""

    formatted: bool = False
    lookup_name: bool = False
    lookup_navigation: bool = False
    closed: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def of(cls, preferences: Preferences, closed: frozenset[tuple[str, str]] = frozenset()) -> Annotations:
        """Return what the Prefer header asks for."""
        if not preferences.annotations:
            return cls(closed=closed)
        wants = preferences.wants
        return cls(wants(FORMATTED), wants(LOOKUP_NAME), wants(LOOKUP_NAVIGATION), closed)

    @property
    def any(self) -> bool:
        """Whether any was asked for."""
        return self.formatted or self.lookup_name or self.lookup_navigation


def wire_name(column: Column) -> str:
    """Return the property a column appears as: `_x_value` for a lookup."""
    return f"_{column.name}_value" if column.is_lookup else column.name


def navigation_of(table: Table, column: Column, target: str) -> Lookup | None:
    """Return the navigation property that a lookup column is set by when it points at `target`."""
    lookups = [lookup for lookup in table.lookups.values() if lookup.column == column.name and lookup.target == target]
    exact = [lookup for lookup in lookups if lookup.name == column.name]
    return (exact or lookups)[0] if lookups else None


def _shown(table: Table) -> list[Column]:
    return [column for column in table.columns.values() if column.readable and not column.hidden]


def wanted_columns(table: Table, select: tuple[str, ...] | None) -> list[Column]:
    """Return the columns of a read in the order of the answer: those selected, the key, the currency.

    The key always comes, of a user also that of the principal it is (join-tables.md), and money brings
    `_transactioncurrencyid_value` (select-columns.md). Raises ODataError.
    """
    if select is None or "*" in select:
        return [column for column in _shown(table) if column.name != "versionnumber"] + [table.columns["versionnumber"]]
    chosen = {column.name: column for column in (column_of(table, name) for name in select)}
    key = table.columns[table.primary_id]
    chosen.setdefault(key.name, key)
    if table.logical_name == "systemuser":
        chosen.setdefault("ownerid", table.columns["ownerid"])
    currency = table.columns.get("transactioncurrencyid")
    if currency is not None and any(column.kind is Kind.MONEY for column in chosen.values()):
        chosen.setdefault(currency.name, currency)
    return list(chosen.values())


Annotate = Callable[[FetchedRow, Json, int], None]


class Projection:
    """The columns of one table that a read fetches; `expressions` go into SELECT, `render` makes JSON of what comes.

    The first expression is the ETag. `fetch_also` adds expressions fetched besides, and `place_of` says where they are.
    """

    __slots__ = ("_booleans", "_keys", "_steps", "expressions", "table")

    def __init__(
        self, schema: Schema, table: Table, select: tuple[str, ...] | None, annotations: Annotations, alias: str = "t"
    ) -> None:
        self.table = table
        columns = wanted_columns(table, select)
        self._keys = ("@odata.etag", *(wire_name(column) for column in columns))
        self._booleans = tuple(column.name for column in columns if column.kind is Kind.BOOLEAN)
        version = f"'W/\"' || {alias}.versionnumber || '\"'"
        hidden = {column.name for column in columns if (table.logical_name, column.name) in annotations.closed}
        self.expressions = [
            version,
            *("NULL" if column.name in hidden else f'{alias}."{column.name}"' for column in columns),
        ]
        self._steps: list[Annotate] = []
        if annotations.any:
            place = AliasedTable(alias, table)
            for index, column in enumerate(columns, 1):
                shown = Annotations() if column.name in hidden else annotations
                self._steps.append(self._step(schema, place, column, index, shown))

    def fetch_also(self, expression: str) -> int:
        """Fetch one more expression; return where it stands in a fetched row."""
        self.expressions.append(expression)
        return len(self.expressions) - 1

    def render(self, row: FetchedRow, offset: int) -> Json:
        """Return the JSON of a fetched row; `offset` is the user's distance from UTC in minutes."""
        if self._steps:
            out: Json = {"@odata.etag": row[0]}
            for step in self._steps:
                step(row, out, offset)
            return out
        out = dict(zip(self._keys, row, strict=False))
        for name in self._booleans:
            if out[name] is not None:
                out[name] = bool(out[name])
        return out

    def _step(
        self, schema: Schema, place: AliasedTable, column: Column, index: int, annotations: Annotations
    ) -> Annotate:
        if column.is_lookup:
            return self._lookup_step(schema, place, column, index, annotations)
        key = column.name
        label = f"{key}@{FORMATTED}"
        boolean = column.kind is Kind.BOOLEAN
        show = formatter(place.table, column) if annotations.formatted else None
        if annotations.formatted and column.kind is Kind.MONEY:
            base = column.name.endswith("_base")
            symbol, decimals = (
                self.fetch_also(_of_currency(place, name, base=base))
                for name in ("currencysymbol", "currencyprecision")
            )

            def amount(row: FetchedRow, out: Json, _offset: int) -> None:
                if row[index] is not None:
                    out[label] = money(row[index], row[symbol], row[decimals])
                out[key] = row[index]

            return amount

        def step(row: FetchedRow, out: Json, offset: int) -> None:
            value = row[index]
            text = show(value, offset) if show is not None and value is not None else None
            if text is not None:
                out[label] = text
            out[key] = bool(value) if boolean and value is not None else value

        return step

    def _lookup_step(
        self, schema: Schema, place: AliasedTable, column: Column, index: int, annotations: Annotations
    ) -> Annotate:
        key = wire_name(column)
        name = self.fetch_also(name_of(schema, place, column)) if annotations.formatted else 0
        kind = self.fetch_also(f'{place.alias}."{column.name}_type"') if column.polymorphic else 0
        navigation = {target: navigation_of(place.table, column, target) for target in column.targets}

        def step(row: FetchedRow, out: Json, _offset: int) -> None:
            if row[index] is not None:
                target = str(row[kind]) if kind else (column.targets or ("",))[0]
                lookup = navigation.get(target)
                if annotations.lookup_navigation and lookup is not None:
                    out[f"{key}@{LOOKUP_NAVIGATION}"] = lookup.name
                if annotations.lookup_name:
                    out[f"{key}@{LOOKUP_NAME}"] = target
                if name and row[name] is not None:
                    out[f"{key}@{FORMATTED}"] = row[name]
            out[key] = row[index]

        return step


def _of_currency(place: AliasedTable, name: str, *, base: bool) -> str:
    own = "transactioncurrencyid" in place.table.columns and not base
    which = f"{place.alias}.transactioncurrencyid" if own else "(SELECT basecurrencyid FROM organization)"
    return f"(SELECT c.{name} FROM transactioncurrency c WHERE c.transactioncurrencyid = {which})"
