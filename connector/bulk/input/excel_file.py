"""Excel workbooks: the first sheet with a table that a person sees, as it is seen. They need their extra."""

from __future__ import annotations

import math
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile, ZipFile

from connector.bulk.input.cell_values import LONG_NUMBER, CellError
from connector.bulk.input.file_row import (
    FIRST_LINES,
    FileRow,
    OurName,
    TableFile,
    above_header,
    is_header,
    missing_library,
)
from connector.bulk.input.text_tables import nameless
from connector.errors import InputError

_MOST_COLUMNS, _MOST_MERGED = 16_384, 100_000
_ROW = re.compile(rb"<(?:\w+:)?row\b[^>]*>")
_COLUMN = re.compile(rb"<(?:\w+:)?col\b[^>]*>")
_MERGE = re.compile(rb"""<(?:\w+:)?mergeCell\b[^>]*\bref=["']([A-Z]+\d+:[A-Z]+\d+)""")
_HIDDEN = re.compile(rb"""\b(?:hidden=["'](?:1|true)|(?:ht|width)=["']0(?:\.0*)?)["']""")
_NUMBER = re.compile(rb"""\br=["'](\d+)["']""")
_FROM_TO = re.compile(rb"""\bm(?:in|ax)=["'](\d+)["']""")
_DIGITS = re.compile(r"[0#?](?:\.([0#?]+))?(,*)[^0#?.,]*$")
_LARGEST_EXACT = 10**15
_DAYS_TO_1904 = 1462
"""Days between the beginnings of the two date systems of Excel."""


@dataclass(slots=True)
class SheetLook:
    """The numbers of the rows and columns that are hidden, and of the columns (from 1) in each row that are merged.

    The first cell of those that are merged has the value and is not among them.
    """

    hidden_rows: set[int] = field(default_factory=set)
    hidden_columns: set[int] = field(default_factory=set)
    merged: dict[int, set[int]] = field(default_factory=dict)


def look_of(path: Path, part: str) -> SheetLook:
    """Return how the sheet in this part of a workbook looks; raises InputError, and what reading a ZIP file raises."""
    look, place, rest = SheetLook(), 0, b""
    with ZipFile(path) as parts, parts.open(part) as sheet:
        while block := sheet.read(2**20):
            text = rest + block
            cut = text.rfind(b"<")
            text, rest = text[:cut], text[cut:]
            for tag in filter(_HIDDEN.search, _COLUMN.findall(text)):
                ends = [int(number) for number in _FROM_TO.findall(tag)]
                look.hidden_columns.update(range(min(ends, default=1), min(max(ends, default=0), _MOST_COLUMNS) + 1))
            for tag in _ROW.findall(text):
                number = _NUMBER.search(tag)
                place = int(number[1]) if number else place + 1
                if _HIDDEN.search(tag):
                    look.hidden_rows.add(place)
            for area in _MERGE.findall(text):
                _merge(path, look, area.decode())
    return look


def _merge(path: Path, look: SheetLook, area: str) -> None:
    from openpyxl.utils import range_boundaries

    left, top, right, bottom = range_boundaries(area)
    if (right - left + 1) * (bottom - top + 1) + sum(map(len, look.merged.values())) > _MOST_MERGED:
        raise InputError(f"{path} has more than {_MOST_MERGED:,} merged cells.", remedy="Undo the merge in Excel.")
    for line in range(top, bottom + 1):
        look.merged.setdefault(line, set()).update(range(left + (line == top), right + 1))


def counted_from_1900(value: object) -> object:
    """Return the number that stands for the same day where days are counted from 1900; anything else stays."""
    if type(value) in (int, float):
        return value + _DAYS_TO_1904  # type: ignore[operator]  # it is a number
    if isinstance(value, str) and re.fullmatch(r"\s*\d{5}(?:\.\d+)?\s*", value):
        return f"{float(value) + _DAYS_TO_1904:g}"
    return value


def shown(value: float, number_format: str) -> object:
    """Return a number as its number format shows it, or what is wrong with it."""
    if "%" in number_format:
        problem = f"{value:g} is shown as a percentage, which may mean two numbers; format the cells as Number"
        return CellError(str(value), problem)
    if re.fullmatch("0{2,}", number_format) and value == int(value):
        return f"{int(value):0{len(number_format)}d}"
    return CellError(str(value), f"{value!r} {LONG_NUMBER}") if abs(value) >= _LARGEST_EXACT else value


def is_rounded(value: float, number_format: str) -> bool:
    """Return whether Excel shows another number than the cell has."""
    digits = _DIGITS.search(number_format.split(";", maxsplit=1)[0])
    if not digits:
        return False
    return bool(digits[2]) or not math.isclose(round(value, len(digits[1] or "")), value, abs_tol=1e-9)


_OLD_OR_LOCKED = b"\xd0\xcf\x11\xe0"
_STRICT = b"purl.oclc.org/ooxml"
_BROKEN = (OSError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError, SyntaxError, EOFError)
"""What reading a damaged workbook may end with: the library checks little of what it reads."""
_DAMAGED = (*_BROKEN, BadZipFile, ParseError, zlib.error)
_MAC = 1904
"""The year with which workbooks of older Macs begin to count days."""
_MERGED = "the cell is merged with another; undo the merge in Excel and fill each cell"

_Rows = Iterator[tuple[tuple[Any, ...], tuple[object, ...]]]
"""Rows of cells, and beside each what is written in them: a formula instead of what it came to."""


def open_workbook(path: Path, our_name: OurName) -> TableFile:
    """Open a workbook. Raises InputError."""
    try:
        import openpyxl
    except ImportError:
        raise missing_library(path, "Excel", "excel") from None
    _refuse_other_forms(path)
    with ExitStack() as unless_open:
        file, again = (unless_open.enter_context(path.open("rb")) for _ in range(2))
        try:
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            formulas = openpyxl.load_workbook(again, read_only=True)
            place, line = _table_in(path, book.worksheets, our_name)
            sheet, written = (each.worksheets[place] for each in (book, formulas))
            look = look_of(path, sheet._worksheet_path)  # noqa: SLF001 - it has no other name
            rows: _Rows = zip(sheet.iter_rows(), written.iter_rows(values_only=True), strict=False)
            above = [list(map(_name, *row)) for row in islice(rows, line)]
        except _DAMAGED as error:
            raise _unreadable(path, error) from None
        files = unless_open.pop_all()
    columns = tuple(above[-1]) if above else ()
    titles = [" ".join(filter(None, row)) for row in above[:-1] if any(row)]
    notes = [*_notes(book.worksheets, place, look, columns), *above_header(line, titles)]
    days = {name for name in columns if our_name(name) == "closed_on"} if book.epoch.year == _MAC else set[str]()
    table = _Sheet(path, files, columns, look, notes, days)
    return TableFile(tuple(name for name in columns if name), table.rows(rows, line), notes)


def _refuse_other_forms(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(4) == _OLD_OR_LOCKED:
            raise InputError(
                f"{path} is protected by a password, or is of a form older than .xlsx.",
                remedy="Open it in Excel and save it as Excel Workbook (.xlsx) without a password.",
            )
    try:
        with ZipFile(path) as parts:
            strict = _STRICT in parts.read("xl/workbook.xml")
    except _DAMAGED as error:
        raise _unreadable(path, error) from None
    if strict:
        raise InputError(
            f"{path} is a workbook in the form Strict Open XML, which cannot be read.",
            remedy="Open it in Excel and save it as Excel Workbook (.xlsx).",
        )


def _table_in(path: Path, sheets: Sequence[Any], our_name: OurName) -> tuple[int, int]:
    """Return the place of the sheet to read and the number of the row with the names of its columns, 0 for none.

    It is the first sheet that has the column of opportunities, else the first that has names of columns side by side.
    """
    first: tuple[int, int] | None = None
    widest = 0
    for place, sheet in enumerate(sheets):
        if sheet.sheet_state != "visible":
            continue
        first = first or (place, 0)
        for line, row in enumerate(sheet.iter_rows(max_row=FIRST_LINES, values_only=True), 1):
            names = [str(cell).strip() for cell in row if cell is not None]
            if is_header(names, our_name):
                return place, line
            if min(len(names), 2) > widest:  # a title stands in one cell
                first, widest = (place, line), min(len(names), 2)
    if first is None:
        raise InputError(f"{path} has no sheet of cells that can be seen.", remedy="Show the sheet in Excel.")
    return first


def _notes(sheets: Sequence[Any], place: int, look: SheetLook, columns: Sequence[str]) -> Iterator[str]:
    others = [f"{sheet.title!r}" for number, sheet in enumerate(sheets) if number != place]
    if others:
        yield f"The sheet {sheets[place].title!r} is read; not read: {', '.join(others)}."
    if look.hidden_rows:
        yield f"Hidden rows are not read: {len(look.hidden_rows):,}. Show them in Excel to have them read."
    unseen = [columns[number - 1] for number in sorted(look.hidden_columns) if number <= len(columns)]
    unseen = [name for name in unseen if name and not name.startswith("(")]  # those of an export of Dynamics
    if unseen:
        yield f"Columns that are hidden in Excel are read too: {', '.join(unseen)}."


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A sheet that is open, and the names of its columns; what its numbers hide is added to `notes` in the end.

    In the columns `days` numbers count days from 1904.
    """

    path: Path
    files: ExitStack
    columns: Sequence[str]
    look: SheetLook
    notes: list[str]
    days: set[str]

    def rows(self, rows: _Rows, line: int) -> Iterator[FileRow]:
        """Return the rows below `line` that can be seen."""
        number, rounded = 0, dict[str, None]()
        with self.files:
            while True:
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # what it warns of is a cell with an error, which is told
                        cells, written = next(rows)
                except StopIteration:
                    break
                except _DAMAGED as error:
                    raise _unreadable(self.path, error, f", after line {line}") from None
                line += 1
                if line not in self.look.hidden_rows and not all(map(_is_blank, written)):
                    number += 1
                    yield self._row(number, line, cells, written, rounded)
        if rounded:
            self.notes.append(f"Numbers are read as they are, not as Excel rounds them: {', '.join(rounded)}.")

    def _row(
        self, number: int, line: int, cells: Sequence[Any], written: Sequence[object], rounded: dict[str, None]
    ) -> FileRow:
        values: dict[str, object] = {}
        problem = ""
        merged = self.look.merged.get(line, frozenset[int]())
        for place, (cell, formula) in enumerate(zip(cells, written, strict=False)):
            name = self.columns[place] if place < len(self.columns) else ""
            value: Any = counted_from_1900(cell.value) if name in self.days else cell.value
            if not name:
                problem = problem or ("" if _is_blank(value) else nameless(place))
            elif place + 1 in merged:
                values[name] = CellError("", _MERGED)
            elif value is None and str(formula or "").startswith("="):
                values[name] = CellError(
                    str(formula), f"the formula {formula} has no result; open the file in Excel, save it, and try again"
                )
            elif cell.data_type == "e":
                values[name] = CellError(value, f"the cell holds the error {value}")
            elif type(value) in (int, float):
                values[name] = shown(value, cell.number_format)
                if is_rounded(value, cell.number_format):
                    rounded[name] = None
            else:
                values[name] = value
        return FileRow(number, line, values, problem)


def _name(cell: Any, formula: object) -> str:
    """Return the name of a column: what stands in its cell, else the formula."""
    return str(formula if cell.value is None else cell.value).strip() if formula is not None else ""


def _is_blank(cell: object) -> bool:
    return cell is None or not str(cell).strip()


def _unreadable(path: Path, error: Exception, where: str = "") -> InputError:
    message = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return InputError(f"{path} cannot be read as an Excel file{where}: {message}.", remedy="Save it as .xlsx.")
