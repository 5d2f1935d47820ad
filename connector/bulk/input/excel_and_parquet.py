"""Excel workbooks (the first sheet that a person sees, without hidden rows) and Parquet files. Each needs its extra."""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile, ZipFile

from connector.bulk.input.cell_values import CellError
from connector.bulk.input.csv_file import nameless
from connector.bulk.input.file_row import FileRow, TableFile
from connector.errors import InputError

_OLD_OR_LOCKED = b"\xd0\xcf\x11\xe0"
_STRICT = b"purl.oclc.org/ooxml"
_ERRORS = frozenset({"#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"})
_BROKEN = (OSError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError, SyntaxError, EOFError)
"""What reading a damaged workbook may end with: the library checks little of what it reads."""
_MOST_COLUMNS = 16_384
_ROW_TAG = re.compile(rb"<(?:\w+:)?row\b[^>]*>")
_HIDDEN = re.compile(rb"""\bhidden=["'](?:1|true)["']""")
_NUMBER = re.compile(rb"""\br=["'](\d+)["']""")
_COLUMN_TAG = re.compile(rb"<(?:\w+:)?col\b[^>]*>")
_FROM_TO = re.compile(rb"""\bm(?:in|ax)=["'](\d+)["']""")


def open_workbook(path: Path) -> TableFile:
    """Open a workbook. Raises InputError."""
    try:
        import openpyxl
    except ImportError:
        raise missing(path, "Excel", "excel") from None
    _refuse_other_forms(path)
    with ExitStack() as unless_open:
        file, again = (unless_open.enter_context(path.open("rb")) for _ in range(2))
        try:
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            formulas = openpyxl.load_workbook(again, read_only=True)  # with formulas beside what they came to
            place = _first_seen(path, book.worksheets)
            notes = _notes(book.worksheets, place)
            hidden, columns_hidden = _hidden(path, book.worksheets[place])
            values, written = (each.worksheets[place].iter_rows(values_only=True) for each in (book, formulas))
            header, line = _header(zip(values, written, strict=False))
        except (*_BROKEN, BadZipFile, ParseError, zlib.error) as error:
            raise _unreadable(path, error) from None
        files = unless_open.pop_all()
    columns = tuple("" if name is None else str(name).strip() for name in header)
    if hidden:
        notes.append(f"{len(hidden):,} hidden rows are not read; show them in Excel to have them read.")
    unseen = [columns[place - 1] for place in sorted(columns_hidden) if place <= len(columns)]
    unseen = [name for name in unseen if name and not name.lower().startswith("(do not modify)")]
    if unseen:
        notes.append(f"Columns that are hidden in Excel are there all the same: {', '.join(unseen)}.")
    rows = _rows(path, files, zip(values, written, strict=False), columns, hidden, line)
    return TableFile(tuple(name for name in columns if name), rows, notes)


def missing(path: Path, what: str, extra: str) -> InputError:
    """Return what to tell who lacks the library of a format."""
    return InputError(
        f"{path}: reading {what} files needs a library that is not installed.",
        remedy=f"Install it: pip install 'dataverse-close-connector[{extra}]'; or save the file as CSV.",
    )


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
    except (*_BROKEN, BadZipFile, zlib.error) as error:
        raise _unreadable(path, error) from None
    if strict:
        raise InputError(
            f"{path} is a workbook in the form Strict Open XML, which cannot be read.",
            remedy="Open it in Excel and save it as Excel Workbook (.xlsx).",
        )


def _first_seen(path: Path, sheets: Sequence[Any]) -> int:
    place = next((place for place, sheet in enumerate(sheets) if sheet.sheet_state == "visible"), None)
    if place is None:
        raise InputError(f"{path} has no sheet of cells that can be seen.", remedy="Show the sheet in Excel.")
    return place


def _notes(sheets: Sequence[Any], place: int) -> list[str]:
    others = [f"{sheet.title!r}" for number, sheet in enumerate(sheets) if number != place]
    if not others:
        return []
    return [f"The sheet {sheets[place].title!r} is read; not read: {', '.join(others)}."]


def _header(rows: Iterator[tuple[tuple[object, ...], tuple[object, ...]]]) -> tuple[tuple[object, ...], int]:
    """Return the first row that has anything in it, and its number."""
    for line, (values, _) in enumerate(rows, 1):
        if any(cell is not None and str(cell).strip() for cell in values):
            return values, line
    return (), 1


def _hidden(path: Path, sheet: Any) -> tuple[frozenset[int], frozenset[int]]:
    """Return the numbers of the hidden rows and columns, which the library leaves out when it reads as a stream."""
    numbers, columns, place, rest = set[int](), set[int](), 0, b""
    with ZipFile(path) as parts, parts.open(sheet._worksheet_path) as part:  # noqa: SLF001 - it has no other name
        while block := part.read(2**20):
            text = rest + block
            cut = text.rfind(b"<")
            text, rest = text[:cut], text[cut:]
            for tag in filter(_HIDDEN.search, _COLUMN_TAG.findall(text)):
                ends = [int(number) for number in _FROM_TO.findall(tag)]
                columns |= set(range(min(ends, default=1), min(max(ends, default=0), _MOST_COLUMNS) + 1))
            for tag in _ROW_TAG.findall(text):
                number = _NUMBER.search(tag)
                place = int(number[1]) if number else place + 1
                if _HIDDEN.search(tag):
                    numbers.add(place)
    return frozenset(numbers), frozenset(columns)


def _rows(
    path: Path,
    files: ExitStack,
    rows: Iterator[tuple[tuple[object, ...], tuple[object, ...]]],
    columns: Sequence[str],
    hidden: frozenset[int],
    line: int,
) -> Iterator[FileRow]:
    with files:
        number = 0
        while True:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # what it warns of is a cell with an error, which is told
                    values, written = next(rows)
            except StopIteration:
                return
            except (*_BROKEN, BadZipFile, ParseError, zlib.error) as error:
                raise _unreadable(path, error, f", after line {line}") from None
            line += 1
            if line not in hidden and any(cell is not None and str(cell).strip() for cell in written):
                number += 1
                yield _row(number, line, values, written, columns)


def _row(
    number: int, line: int, values: Sequence[object], written: Sequence[object], columns: Sequence[str]
) -> FileRow:
    cells: dict[str, object] = {}
    problem = ""
    for place, (value, formula) in enumerate(zip(values, written, strict=False)):
        name = columns[place] if place < len(columns) else ""
        if name:
            cells[name] = _settled(value, formula)
        elif value is not None and str(value).strip() and not problem:
            problem = nameless(place)
    return FileRow(number, line, cells, problem)


def _settled(value: object, formula: object) -> object:
    if isinstance(value, str) and value in _ERRORS:
        return CellError(value)
    return CellError(str(formula)) if value is None and str(formula or "").startswith("=") else value


def _unreadable(path: Path, error: Exception, where: str = "") -> InputError:
    message = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return InputError(f"{path} cannot be read as an Excel file{where}: {message}.", remedy="Save it as .xlsx.")


def open_parquet(path: Path) -> TableFile:
    """Open a Parquet file. Raises InputError."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise missing(path, "Parquet", "parquet") from None
    try:
        file = parquet.ParquetFile(path)
    except (ArrowException, OSError, ValueError) as error:
        raise _parquet_unreadable(path, error) from None
    return TableFile(tuple(file.schema_arrow.names), _parquet_rows(path, file))


def _parquet_rows(path: Path, file: Any) -> Iterator[FileRow]:
    """Return the rows; pages that are damaged and moments that no calendar has are told when they are reached."""
    from pyarrow import ArrowException

    with closing(file):
        number, batches = 0, file.iter_batches(batch_size=2000)
        while True:
            try:
                rows = next(batches).to_pylist()
            except StopIteration:
                return
            except (ArrowException, OSError, ValueError, OverflowError) as error:
                raise _parquet_unreadable(path, error, f", after row {number}") from None
            for row in rows:
                number += 1
                yield FileRow(number, number, row)


def _parquet_unreadable(path: Path, error: Exception, where: str = "") -> InputError:
    message = (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".")
    return InputError(f"{path} cannot be read as a Parquet file{where}: {message}.", remedy="Write it again.")
