"""Files of cells with something between them: commas, semicolons, tabs or bars, whichever names the most columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from connector.bulk.input.file_row import FIRST_LINES, FileRow, OurName, TableFile, above_header, is_header
from connector.bulk.input.text_file import encoding_of, lines_of
from connector.errors import InputError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_AS_TEXT = re.compile(r'="((?:[^"]|"")*)"')
"""A cell `="007"`: how programs keep Excel from taking a text for a number."""


def open_csv(path: Path, encoding: str, our_name: OurName) -> TableFile:
    """Open a file of commas; a first line `sep=;` names the delimiter, as Excel has it. Raises InputError.

    The names of the columns may stand below a title.
    """
    notes: list[str] = []
    lines = lines_of(path, encoding_of(path, encoding, notes))
    first = list(islice(lines, FIRST_LINES))
    named, start = "", 0
    if first and first[0].lower().startswith("sep=") and len(first[0].strip("\r\n")) == len("sep=;"):
        named, start = first[0][4], 1
    texts = [place for place in range(start, len(first)) if first[place].strip()]
    if not texts:
        raise InputError(f"{path} has no text.", remedy="It needs a line with the names of the columns, then rows.")
    delimiters = named or "".join(DELIMITERS)
    place = next(
        (place for place in texts if any(is_header(_split(first[place], each), our_name) for each in delimiters)),
        texts[0],
    )
    notes += above_header(place + 1, [first[above].strip() for above in texts if above < place])
    delimiter = named or _delimiter(path, first[place], our_name)
    columns = tuple(name.strip() for name in _cells(path, first[place], delimiter))
    spaced = 0 < first[place].count(delimiter) == len(re.findall(rf"{re.escape(delimiter)} +", first[place]))
    text = chain(first[place + 1 :], lines)
    reader = csv.reader(text, delimiter=delimiter, strict=True, skipinitialspace=spaced)
    rows = _rows(path, reader, columns, place + 1)
    return TableFile(tuple(name for name in columns if name), rows, notes)


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:  # longer than a cell may be
        return []


def _cells(path: Path, line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration):
        raise InputError(
            f"{path}: a quote in the first line is not closed.", remedy="The first line names the columns; correct it."
        ) from None


def _delimiter(path: Path, header: str, our_name: OurName) -> str:
    """Return what separates the columns: that which makes the most known names of the first line."""
    counts = {
        delimiter: sum(our_name(name) is not None for name in _split(header, delimiter))
        for delimiter in DELIMITERS
        if delimiter in header
    }
    best = [delimiter for delimiter, count in counts.items() if count == max(counts.values())]
    if len(best) > 1:
        raise InputError(
            f"{path}: the first line may be separated by {' or by '.join(DELIMITERS[each] for each in best)}.",
            remedy="Let the first line name the columns, all separated by the same character.",
        )
    return best[0] if best else ","


def _rows(path: Path, reader: Any, columns: Sequence[str], header: int) -> Iterator[FileRow]:
    number, start = 0, header + 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{path}, line {start}: {_problem(error)}.", remedy='Quote cells as "...", with "" for a quote.'
            ) from None
        line, start = start, reader.line_num + header + 1
        if any(cell.strip() for cell in cells):
            number += 1
            yield _row(number, line, cells, columns, reader.dialect.delimiter)


def _row(number: int, line: int, cells: Sequence[str], columns: Sequence[str], delimiter: str) -> FileRow:
    texts = ((match[1].replace('""', '"') if (match := _AS_TEXT.fullmatch(cell)) else cell) for cell in cells)
    values = {name: text for name, text in zip(columns, texts, strict=False) if name}
    beyond = [cell for cell in cells[len(columns) :] if cell.strip()]
    if len(cells) < len(columns) or beyond:
        other = next((each for each in DELIMITERS if each != delimiter and each in "".join(cells)), None)
        hint = f" (is it separated by {DELIMITERS[other]} instead of {DELIMITERS[delimiter]}?)" if other else ""
        hint = hint or "; Excel leaves out empty cells at the end of lines: save it as .xlsx" * (not beyond)
        count = f"{len(cells)} cells" if len(cells) > 1 else "one cell"
        return FileRow(number, line, values, f"it has {count} where the first line names {len(columns)}{hint}")
    stray = [place for place, name in enumerate(columns) if not name and cells[place].strip()]
    if stray:
        return FileRow(number, line, values, nameless(stray[0]))
    return FileRow(number, line, values)


def nameless(place: int) -> str:
    """Say that a cell has a value which belongs to no column; `place` is from 0."""
    return f"cell {place + 1} is not empty, but its column has no name"


def _problem(error: csv.Error) -> str:
    message = str(error)
    if "unexpected end" in message:
        return "a quote that begins here is never closed"
    if "field larger" in message:
        return (
            f"a cell is longer than {csv.field_size_limit():,} characters, or a quote that begins here is never closed"
        )
    if "expected after" in message:
        return "a quote ends before the cell does"
    return f"this is no table of commas ({message})"
