"""Workbooks of Excel and pages, for people; each appears whole or not at all.

A workbook is written row by row: typed cells, a frozen header, links to records, nothing in it runs. A page is one
file: nothing in it is fetched from elsewhere, and whatever is put into it is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import Any

from connector.bulk.sheet_file import whole_file
from connector.bulk.words import reason_words
from connector.errors import InputError

MOST_ROWS = 1_048_575
"""Rows of a sheet beneath its header; what is more goes on in another sheet."""
LONGEST_TEXT = 32_767
"""Characters in a cell. Source of both: Microsoft, "Excel specifications and limits"."""
LONGEST_LINK = 255
"""Characters of a text inside a formula."""

_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_MOMENT = "yyyy-mm-dd hh:mm:ss"

Cell = str | int | float | Decimal | datetime | None


@dataclass(frozen=True, slots=True)
class Link:
    """An address that a cell opens."""

    address: str


@contextmanager
def new_workbook(path: Path) -> Iterator[NewSheet]:
    """Give what makes the sheets of a workbook, which appears at `path` afterwards, whole or not at all.

    Memory stays flat. Raises InputError.
    """
    try:
        from openpyxl import Workbook
    except ImportError as error:
        raise _lacking("Workbooks") from error
    with whole_file(path) as aside, TemporaryFile() as made:
        book = Workbook(write_only=True)
        try:
            yield partial(SheetWriter, book)
            book.save(made)
        except OSError:
            for sheet in book.worksheets:  # each has a file of its own until then, which has no room either
                with suppress(OSError):
                    sheet.close()
            raise
        made.seek(0)
        with aside.open("wb") as file:  # by a plain write, which says once that a disk is full
            copyfileobj(made, file)


def _lacking(what: str) -> InputError:
    return InputError(
        f"{what} need a library that is not installed.",
        remedy="Install the connector with the extra report (`connector docs administrator`).",
    )


class SheetWriter:
    """A sheet of a workbook, which goes on in another one where it is full."""

    def __init__(self, book: Any, title: str, columns: Sequence[tuple[str, int]]) -> None:
        self._book = book
        self._title = title
        self._columns = columns
        self._parts = 0
        self._rows = 0
        self._begin()

    def add(self, cells: Sequence[Cell | Link]) -> None:
        """Add a row."""
        if self._rows == MOST_ROWS:
            self._begin()
        self._rows += 1
        self._sheet.append([None if cell == "" else self._cell(cell) for cell in cells])  # a blank cell takes no room

    def _begin(self) -> None:
        from openpyxl.cell import WriteOnlyCell
        from openpyxl.styles import Font
        from openpyxl.utils import get_column_letter

        self._parts, self._rows = self._parts + 1, 0
        title = self._title if self._parts == 1 else f"{self._title} {self._parts}"
        self._sheet = self._book.create_sheet(title)
        self._sheet.freeze_panes = "A2"
        self._new = WriteOnlyCell
        header = []
        for number, (name, width) in enumerate(self._columns, 1):
            self._sheet.column_dimensions[get_column_letter(number)].width = width
            header.append(self._text(name))
            header[-1].font = Font(bold=True)
        self._sheet.append(header)

    def _cell(self, value: Cell | Link) -> object:
        if isinstance(value, Link):
            address = value.address.replace('"', "%22")
            if len(address) > LONGEST_LINK:
                return self._text(address)
            cell = self._new(self._sheet, value=f'=HYPERLINK("{address}","open")')
            cell.style = "Hyperlink"
            return cell
        if isinstance(value, str):
            return (
                self._text(value)
                if value[:1] in "=#"
                else _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", value)[:LONGEST_TEXT]
            )
        if isinstance(value, datetime):
            value = value.astimezone(UTC).replace(tzinfo=None, microsecond=0)
        elif not isinstance(value, Decimal):
            return value
        cell = self._new(self._sheet, value=value)
        cell.number_format = f"#,##{abs(value * 0):f}" if isinstance(value, Decimal) else _MOMENT  # as many decimals
        return cell

    def _text(self, text: str) -> Any:
        """Return a cell that is a text, whatever it begins with."""
        cell = self._new(self._sheet, value=_UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)[:LONGEST_TEXT])
        cell.data_type = "s"
        return cell


NewSheet = Callable[[str, Sequence[tuple[str, int]]], SheetWriter]
"""Makes a sheet of this title, with these columns: names and widths in characters."""


def write_page(path: Path, template: str, values: Mapping[str, object]) -> None:
    """Write a page whole or not at all. Raises InputError."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise _lacking("Pages") from error
    templates = Environment(
        loader=PackageLoader("connector.bulk.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"amount": _amount, "count": _count, "moment": _moment, "reason": reason_words}
    with whole_file(path) as aside:
        templates.get_template(template).stream(values).dump(str(aside), encoding="utf-8")


def _amount(value: Decimal | None) -> str:
    return "" if value is None else f"{value:,f}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
