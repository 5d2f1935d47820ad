"""What commands print: tables and text that every terminal can show, in colors where wanted, and JSON for programs."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO, TypeVar
from uuid import UUID

import click

if TYPE_CHECKING:
    from rich.console import Console, Group

Item = TypeVar("Item")
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
    click.echo(broken(text, room(stream)), file=stream)


def tell(text: str) -> None:
    """Say something to the person who waits, beside the results: on stderr."""
    say(text, sys.stderr)


def broken(text: str, columns: int) -> str:
    """Return legible lines that break between words before so many columns; options and ids stay whole."""
    import textwrap

    lines = [legible(line) for line in text.split("\n")]
    return "\n".join(
        line
        if len(line) < columns
        else textwrap.fill(
            line,
            max(columns - 1, 20),
            subsequent_indent=" " * (len(line) - len(line.lstrip())),
            break_on_hyphens=False,
            break_long_words=False,
        )
        for line in lines
    )


def make_streams_safe() -> None:
    """Keep writing from failing where an encoding lacks a character or a stream is closed.

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
    """Return whether all that was said has been written; what has not is dropped: Python would fail on it in the end.

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
_LONG_ID = len(str(UUID(int=0)))


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
    lines = (table.columns, *table.rows) if any(table.columns) else table.rows
    widths = [max(len(line[index]) for line in lines) for index in range(len(table.columns))] if lines else []
    cells = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join([table.title, *(_GAP.join(line).rstrip() for line in cells)])


def _draw(table: TextTable, stream: TextIO) -> None:
    """Draw with rich; where there is not room for all, ids stand under their rows, and the widest columns are broken.

    Where even the longest words have no room, each row is a block of lines.
    """
    from rich.cells import cell_len

    say(table.title, stream)
    columns = [(name, *(row[index] for row in table.rows)) for index, name in enumerate(table.columns)]
    whole = [max(cell_len(cell) for cell in column) for column in columns]
    broken = [max(cell_len(word) for cell in column for word in cell.split() or [""]) for column in columns]
    target = console(stream)
    room = target.width - len(_GAP) * (len(columns) - 1)
    ids = next((index for index, width in enumerate(broken) if width == _LONG_ID and len(columns) > 2), None)
    if sum(whole) > room and ids is not None:
        shown = [index for index in range(len(columns)) if index != ids]
        widths = _fitted([whole[index] for index in shown], [broken[index] for index in shown], room + len(_GAP))
    else:
        shown, ids, widths = [*range(len(columns))], None, _fitted(whole, broken, room)
    if widths is None:
        say("\n\n".join(_block(table.columns, row) for row in table.rows), stream)
        return
    target.print(_rich_table(table, dict(zip(shown, widths, strict=True)), whole, ids))


def _block(columns: Sequence[str], row: Sequence[str]) -> str:
    return "\n".join(f"{name}: {cell}" if name else cell for name, cell in zip(columns, row, strict=True) if cell)


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


def _rich_table(table: TextTable, widths: Mapping[int, int], whole: Sequence[int], below: int | None) -> Group:
    """Return the table for rich, each column just so wide; those that are narrower than `whole` are broken.

    The column `below` stands under each row.
    """
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    def grid(rows: Sequence[Sequence[str]], style: str = "") -> RichTable:
        drawn = RichTable(box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), show_header=False, style=style)
        for index, width in widths.items():
            drawn.add_column(width=width, no_wrap=width == whole[index], overflow="fold")
        for row in rows:
            drawn.add_row(*(Text(row[index], style=style) for index in widths))  # Text: brackets are no markup
        return drawn

    head = [grid([table.columns], "bold")] if any(table.columns) else []
    if below is None:
        return Group(*head, grid(table.rows))
    under = [(grid([row]), Text(f"{_GAP}{row[below]}", style="dim")) for row in table.rows]
    return Group(*head, *(part for pair in under for part in pair))


COUNTED_EVERY = {True: 1.0, False: 10.0}  # seconds between counts: on a terminal, and elsewhere


class RowCounter:
    """Says on stderr now and then how far something long has come, by `text` with a count in it.

    A terminal shows one line, which goes in the end; elsewhere a line comes every so often.
    """

    def __init__(self, text: str, monotonic: Callable[[], float]) -> None:
        self._text, self._monotonic, self._written_at = text, monotonic, monotonic()
        self._terminal, self._shown = sys.stderr.isatty(), ""

    def show(self, count: int) -> None:
        """Show the count, if it is time to."""
        if self._monotonic() - self._written_at < COUNTED_EVERY[self._terminal]:
            return
        self._written_at, self._shown = self._monotonic(), self._text.format(f"{count:,}")
        click.echo(f"\r{self._shown}" if self._terminal else self._shown, nl=not self._terminal, err=True)

    def end(self) -> None:
        """Take the line away again."""
        if self._terminal and self._shown:
            click.echo(f"\r{' ' * len(self._shown)}\r", nl=False, err=True)

    def counted(self, items: Iterable[Item]) -> Iterator[Item]:
        """Return the items, and show how many were taken."""
        try:
            for number, item in enumerate(items):
                self.show(number)
                yield item
        finally:
            self.end()


def print_json(data: Mapping[str, object]) -> None:
    """Write `data` to stdout as the one JSON object of this run."""
    import json

    click.echo(json.dumps(data, ensure_ascii=in_ascii(sys.stdout), indent=2))


def in_ascii(stream: TextIO) -> bool:
    r"""Return whether JSON is written in ASCII there: \uXXXX says what an encoding of few characters cannot."""
    return not (stream.encoding or "").lower().startswith("utf")
