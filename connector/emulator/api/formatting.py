"""The formatted values of columns: what people would read, for an English user (language 1033) with US formats."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from connector.emulator.world.schema import Column, Kind, Table

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


def _local_day(value: object, offset: int) -> str:
    return _day(_local(value, offset).isoformat(), 0)


def _moment(value: object, offset: int) -> str:
    there = _local(value, offset)
    half = "AM" if there.hour < 12 else "PM"  # noon
    return f"{_day(there.isoformat(), 0)} {there.hour % 12 or 12}:{there.minute:02d} {half}"


def formatter(table: Table, column: Column) -> Formatter | None:
    """Return how values of the column are formatted; None for text, ids, lookups and money."""
    kind = column.kind
    if kind is Kind.DATETIME:
        return _local_day if column.date_format == "DateOnly" else _moment
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
    else:
        return None
    return lambda value, _offset: labels.get(int(str(value)))


def money(value: object, symbol: object) -> str:
    """Return an amount with the symbol of its currency."""
    amount = float(str(value))
    text = f"{symbol or ''}{abs(amount):,.2f}"
    return f"-{text}" if amount < 0 else text
