"""Tables for people: drawn with rich on a terminal, in aligned plain text elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TextIO

import click


@dataclass(frozen=True, slots=True)
class Table:
    """A heading, the names of the columns, and rows of cells."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def show(table: Table, stream: TextIO) -> None:
    """Write the table to `stream`."""
    if stream.isatty():
        _draw(table, stream)
    else:
        click.echo(plain(table), file=stream)


def plain(table: Table) -> str:
    """Return the table as lines of plain text, one row a line, columns aligned and two spaces apart."""
    lines = (table.columns, *table.rows)
    widths = [max(len(line[index]) for line in lines) for index in range(len(table.columns))]
    cells = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join([table.title, *("  ".join(line).rstrip() for line in cells)])


def _draw(table: Table, stream: TextIO) -> None:
    from rich.console import Console  # noqa: PLC0415 (only a terminal pays for it)
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = RichTable(title=Text(table.title), title_justify="left", header_style="bold")
    for column in table.columns:
        drawn.add_column(Text(column))
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row))  # Text: brackets in a customer's words are no markup
    Console(file=stream).print(drawn)
