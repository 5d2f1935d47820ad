"""What commands print: tables and text that every terminal can show, in colors where wanted, and JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from rich.table import Table as RichTable


import os
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what stands around them (Unicode Standard Annex 9)."""
_STAND_IN = "\ufffd"
_UNSEEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories of control characters, halves of characters, and separators of lines and paragraphs."""


def legible(text: str) -> str:
    """Return `text` on one line, with a stand-in for each character that could steer a terminal.

    Names come from other people: an escape sequence in one must not reach the terminal of who reads it.
    """
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\n\r\t":
        return " "
    if character in _OVERRIDES or unicodedata.category(character) in _UNSEEN:
        return _STAND_IN
    return character


def colored(stream: TextIO) -> bool:
    """Return whether escape codes may be written to `stream`: it is a terminal, and nobody asked for none."""
    from connector.settings.environment import wants_colors

    return stream.isatty() and wants_colors()


def console(stream: TextIO) -> Console:
    """Return what draws on `stream`; without colors it writes no escape code at all, where rich would still bolden."""
    from rich.console import Console

    return Console(file=stream, color_system="auto" if colored(stream) else None, highlight=False)


def room(stream: TextIO) -> int:
    """Return how many columns `stream` has; a stream that is no terminal has no end of them."""
    if not stream.isatty():
        return sys.maxsize
    import shutil

    return shutil.get_terminal_size().columns


def say(text: str, stream: TextIO | None = None) -> None:
    """Write lines of text to `stream` (None: stdout), legible; on a terminal they break between words."""
    stream = stream or sys.stdout
    for line in text.split("\n"):
        shown = legible(line)
        fits = len(shown) < room(stream)
        click.echo(shown if fits else click.wrap_text(shown, room(stream) - 1), file=stream)


def make_streams_safe() -> None:
    """See to it that writing never fails for want of a character, and that no stream is missing altogether.

    A narrow encoding (LANG=C, an old Windows console) gets `?` for what it lacks; a stream that was closed before the
    program began leads nowhere.
    """
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # other programs put streams of their own there
        if reconfigure is not None:
            reconfigure(errors="replace")


def written_out() -> bool:
    """Return whether all that was said has been written; what has not is dropped, lest Python fails on it in the end.

    The failure itself was told when it happened.
    """
    whole = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # a full disk, or nobody reads on
            whole = False
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    return whole


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


def print_json(data: Mapping[str, object]) -> None:
    """Write `data` to stdout as the one JSON object of this run."""
    import json

    click.echo(json.dumps(data, ensure_ascii=in_ascii(sys.stdout), indent=2))


def in_ascii(stream: TextIO) -> bool:
    r"""Return whether JSON is written in ASCII there: \uXXXX says what an encoding of few characters cannot."""
    return not (stream.encoding or "").lower().startswith("utf")
