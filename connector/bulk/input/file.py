"""Files of rows, read as a stream: commas, JSON Lines, Excel, Parquet. Memory stays flat whatever the file holds.

Each reader gives the names of the columns, then cell by name for every row. What cannot be read is an InputError that
names the file and the line.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from zipfile import BadZipFile

from connector.errors import InputError

LONGEST_LINE = 1_000_000
"""Characters in a line; no row of ours comes near, but a file that is no text does."""

Cells = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a file: its number from 1, the line it stands on, and its cells, or what is wrong with it."""

    number: int
    line: int
    cells: Cells
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A file that has been opened: the names of its columns (none where every row has its own), and its rows."""

    columns: tuple[str, ...] | None
    lines: Iterator[Line]


Known = Callable[[str], bool]
"""Whether a column is one that may be in a file."""


def open_table(path: Path, kind: str, known: Known) -> Table:
    """Open a file as `kind`, or, when that is empty, as what its name ends with; raises InputError."""
    if not path.exists():
        raise InputError(f"The file {path} does not exist.", remedy="Check its name and folder.")
    if not path.is_file():
        raise InputError(f"{path} is not a file.", remedy="Name a file of rows.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty.", remedy="It needs a line with the names of the columns, then rows.")
    chosen = kind or _ENDINGS.get(path.suffix.lower(), "")
    if chosen not in FORMATS:
        raise InputError(
            f"{path}: what kind of file this is cannot be told from its name.",
            remedy=f"Say it with --format: {', '.join(FORMATS)}.",
        )
    try:
        return _READERS[chosen](path, known)
    except PermissionError:
        raise InputError(f"{path} may not be read by this user.", remedy="Change its permissions.") from None


_ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".parquet": "parquet",
}

# -- lines of text ----------------------------------------------------------------------------------------------------

_UNDECODED = re.compile("[\udc80-\udcff]")


def _lines(path: Path) -> Iterator[str]:
    """Return the lines of a text file with their ends, whatever these are; bounded, and surely text."""
    with _open_text(path) as text:
        number = 0
        while line := _line(path, text, number + 1):
            number += 1
            if not line.isascii() and (wrong := _UNDECODED.search(line)):
                raise InputError(
                    f"{path}, line {number}: the byte 0x{ord(wrong[0]) - 0xDC00:02x} is not UTF-8.",
                    remedy="Save the file as UTF-8 (in Excel: CSV UTF-8).",
                )
            if "\0" in line:
                raise InputError(
                    f"{path}, line {number}: there is a zero byte, so this is no text in UTF-8.",
                    remedy="Save the file as UTF-8 (in Excel: CSV UTF-8), or say its --format.",
                )
            yield line


def _line(path: Path, text: TextIO, number: int) -> str:
    try:
        line = text.readline(LONGEST_LINE + 1)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, near line {number}: this is not {error.encoding}, which the file begins as.",
            remedy="Save the file as UTF-8 (in Excel: CSV UTF-8).",
        ) from None
    if len(line) > LONGEST_LINE:
        raise InputError(
            f"{path}, line {number}: the line is longer than {LONGEST_LINE:,} characters.",
            remedy="Check that this is the right file and that its lines end.",
        )
    return line


def _open_text(path: Path) -> TextIO:
    """Open a text file: UTF-8 with or without its mark, or UTF-16 with it."""
    with path.open("rb") as file:
        wide = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
    if wide:
        return path.open(encoding="utf-16", newline="")
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


# -- commas -----------------------------------------------------------------------------------------------------------

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


def _open_csv(path: Path, known: Known) -> Table:
    lines = _lines(path)
    header = next((line for line in lines if line.strip()), "")
    if not header:
        raise InputError(f"{path} has no text.", remedy="It needs a line with the names of the columns, then rows.")
    delimiter = _delimiter(path, header, known)
    columns = _cells(path, header, delimiter)
    named = tuple(name.strip() for name in columns)
    return Table(tuple(name for name in named if name), _csv_lines(path, lines, delimiter, named))


def _cells(path: Path, line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration):
        raise InputError(
            f"{path}: a quote in the first line is not closed.", remedy="The first line names the columns; correct it."
        ) from None


def _delimiter(path: Path, header: str, known: Known) -> str:
    """Return what separates the columns: that which makes the most known names of the first line."""
    found = {}
    for delimiter in DELIMITERS:
        if delimiter in header:
            names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
            found[delimiter] = sum(known(name) for name in names)
    best = [delimiter for delimiter, count in found.items() if count == max(found.values())]
    if len(best) > 1:
        raise InputError(
            f"{path}: the first line may be separated by {' or by '.join(DELIMITERS[one] for one in best)}.",
            remedy="Let the first line name the columns, all separated by the same character.",
        )
    return best[0] if best else ","


def _csv_lines(path: Path, lines: Iterator[str], delimiter: str, columns: Sequence[str]) -> Iterator[Line]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    number, start = 0, 2
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{path}, line {start}: {_csv_problem(error)}.", remedy='Quote cells as "...", with "" for a quote.'
            ) from None
        line, start = start, reader.line_num + 2
        if any(cell.strip() for cell in cells):
            number += 1
            yield _csv_line(number, line, cells, columns, delimiter)


def _csv_line(number: int, line: int, cells: Sequence[str], columns: Sequence[str], delimiter: str) -> Line:
    beyond = [cell for cell in cells[len(columns) :] if cell.strip()]
    if len(cells) < len(columns) or beyond:
        other = next((one for one in DELIMITERS if one != delimiter and one in "".join(cells)), None)
        hint = f" (is it separated by {DELIMITERS[other]} instead of {DELIMITERS[delimiter]}?)" if other else ""
        count = f"{len(cells)} cells" if len(cells) > 1 else "one cell"
        return Line(number, line, {}, f"it has {count} where the first line names {len(columns)}{hint}")
    stray = [place for place, name in enumerate(columns) if not name and cells[place].strip()]
    if stray:
        return Line(number, line, {}, f"cell {stray[0] + 1} is not empty, but its column has no name")
    return Line(number, line, {name: cell for name, cell in zip(columns, cells, strict=False) if name})


def _csv_problem(error: csv.Error) -> str:
    said = str(error)
    if "unexpected end" in said:
        return "a quote that begins here is never closed"
    if "field larger" in said:
        return (
            f"a cell is longer than {csv.field_size_limit():,} characters, or a quote that begins here is never closed"
        )
    if "expected after" in said:
        return "a quote ends before the cell does"
    return f"this is no table of commas ({said})"


# -- JSON Lines -------------------------------------------------------------------------------------------------------


def _open_jsonl(path: Path, known: Known) -> Table:
    return Table(None, _json_lines(path))


def _json_lines(path: Path) -> Iterator[Line]:
    number = 0
    for line, text in enumerate(_lines(path), 1):
        if text.strip():
            number += 1
            yield _json_line(number, line, text)


def _json_line(number: int, line: int, text: str) -> Line:
    try:
        row = json.loads(text.strip(), object_pairs_hook=_once, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        return Line(number, line, {}, f"this is not JSON: {error.msg[0].lower()}{error.msg[1:]}, column {error.colno}")
    except (ValueError, RecursionError) as error:
        return Line(number, line, {}, f"this cannot be used: {error}")
    if not isinstance(row, dict):
        return Line(number, line, {}, 'this is not an object; every line holds one row, as {"opportunityid": ...}')
    return Line(number, line, row)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a name appears twice")
    return row


def _no_number(word: str) -> object:
    raise ValueError(f"{word} is not a number")


# -- spreadsheets and Parquet -----------------------------------------------------------------------------------------


_SHEET_ERRORS = frozenset({"#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"})


def _open_excel(path: Path, known: Known) -> Table:
    try:
        import openpyxl
    except ImportError:
        raise _missing(path, "Excel", "excel") from None
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        written = openpyxl.load_workbook(path, read_only=True)  # with formulas where the other has what they came to
    except (OSError, ValueError, KeyError, BadZipFile, openpyxl.utils.exceptions.InvalidFileException) as error:
        raise InputError(f"{path} cannot be read as an Excel file: {error}.", remedy="Save it as .xlsx.") from None
    rows, formulas = (each.worksheets[0].iter_rows(values_only=True) for each in (book, written))
    header, _ = next(rows, ()), next(formulas, ())
    columns = tuple("" if name is None else str(name).strip() for name in header)
    return Table(
        tuple(name for name in columns if name),
        _sheet_lines((book, written), zip(rows, formulas, strict=False), columns),
    )


def _sheet_lines(
    books: tuple[Any, Any], rows: Iterator[tuple[tuple[object, ...], tuple[object, ...]]], columns: Sequence[str]
) -> Iterator[Line]:
    with closing(books[0]), closing(books[1]):
        number = 0
        for line, (cells, written) in enumerate(rows, 2):
            if any(cell is not None and str(cell).strip() for cell in written):
                number += 1
                values = {name: cell for name, cell in zip(columns, cells, strict=False) if name}
                formulas = {name: cell for name, cell in zip(columns, written, strict=False) if name}
                yield Line(number, line, values, _unsettled(values, formulas))


def _unsettled(values: Mapping[str, object], written: Mapping[str, object]) -> str:
    """Return what is wrong with cells that hold a formula without a result, or an error; nothing may pass for blank."""
    for name, value in values.items():
        formula = str(written.get(name) or "")
        if value is None and formula.startswith("="):
            return f"{name}: the formula {formula} has no result; open the file in Excel, save it, and try again"
        if value in _SHEET_ERRORS:
            return f"{name}: the cell holds the error {value}"
    return ""


def _open_parquet(path: Path, known: Known) -> Table:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise _missing(path, "Parquet", "parquet") from None
    try:
        file = parquet.ParquetFile(path)
    except ArrowException as error:
        raise InputError(f"{path} cannot be read as a Parquet file: {error}.", remedy="Write it again.") from None
    return Table(tuple(file.schema_arrow.names), _parquet_lines(file))


def _parquet_lines(file: Any) -> Iterator[Line]:
    with closing(file):
        number = 0
        for batch in file.iter_batches(batch_size=2000):
            for row in batch.to_pylist():
                number += 1
                yield Line(number, number, row)


def _missing(path: Path, what: str, extra: str) -> InputError:
    return InputError(
        f"{path}: reading {what} files needs a library that is not installed.",
        remedy=f"Install it: pip install 'dataverse-close-connector[{extra}]'; or save the file as CSV.",
    )


_READERS: dict[str, Callable[[Path, Known], Table]] = {
    "csv": _open_csv,
    "jsonl": _open_jsonl,
    "excel": _open_excel,
    "parquet": _open_parquet,
}
FORMATS = tuple(_READERS)
