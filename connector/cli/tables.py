"""Tables for people: drawn with rich on a terminal, in aligned plain text elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

import click

from connector.cli.screen import console, legible, say

if TYPE_CHECKING:
    from rich.table import Table as RichTable


_GAP = "  "
"""What stands between two columns."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """A heading, the names of the columns, and rows of cells."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def show(table: TextTable, stream: TextIO) -> None:
    """Write the table to `stream`: as wide as there is room on a terminal, one row a line elsewhere."""
    cells = [tuple(legible(cell) for cell in row) for row in table.rows]
    clean = TextTable(legible(table.title), table.columns, tuple(cells))
    if stream.isatty():
        _draw(clean, stream)
    else:
        click.echo(plain(clean), file=stream)


def plain(table: TextTable) -> str:
    """Return the table as lines of plain text, one row a line, columns aligned and two spaces apart."""
    lines = (table.columns, *table.rows)
    widths = [max(len(line[index]) for line in lines) for index in range(len(table.columns))]
    cells = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join([table.title, *(_GAP.join(line).rstrip() for line in cells)])


def _draw(table: TextTable, stream: TextIO) -> None:
    """Draw with rich; where there is not room for all, the widest columns are broken into lines and the others not."""
    from rich.cells import cell_len

    target = console(stream)
    columns = [(name, *(row[index] for row in table.rows)) for index, name in enumerate(table.columns)]
    whole = [max(cell_len(cell) for cell in column) for column in columns]
    broken = [max(cell_len(word) for cell in column for word in cell.split() or [""]) for column in columns]
    widths = _fitted(whole, broken, target.width - len(_GAP) * (len(columns) - 1))
    if widths is None:
        click.echo(plain(table), file=stream)  # the terminal breaks the lines where it must, and nothing is lost
        return
    say(table.title, stream)
    target.print(_rich_table(table, widths, whole))


def _fitted(whole: Sequence[int], broken: Sequence[int], room: int) -> list[int] | None:
    """Return a width for each column, the widest broken before the others; None where there is not room even so."""
    widths, narrowed = list(whole), []
    for index in sorted(range(len(whole)), key=lambda index: -whole[index]):
        if sum(widths) <= room:
            break
        widths[index] = broken[index]
        narrowed.append(index)
    if sum(widths) > room:
        return None
    for left, index in enumerate(reversed(narrowed)):  # what is over is shared among them
        share = (room - sum(widths)) // (len(narrowed) - left)
        widths[index] += min(share, whole[index] - widths[index])
    return widths


def _rich_table(table: TextTable, widths: Sequence[int], whole: Sequence[int]) -> RichTable:
    """Return the table for rich, each column just so wide; those that are narrower than `whole` are broken."""
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), header_style="bold")
    for column, width, most in zip(table.columns, widths, whole, strict=True):
        drawn.add_column(Text(column), width=width, no_wrap=width == most, overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row))  # Text: brackets in a customer's words are no markup
    return drawn
