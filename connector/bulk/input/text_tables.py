"""Rows in text files: cells with something between them, and JSON.

Cells stand between commas, semicolons, tabs or bars, whichever names the most columns. JSON is an object in every line,
or one list of objects, however it is laid out.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from connector.bulk.input.file_row import FIRST_LINES, FileRow, OurName, TableFile, above_header, is_header
from connector.bulk.input.text_file import LONGEST_LINE, encoding_of, lines_of, pieces_of
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
    rows = _csv_rows(path, reader, columns, place + 1)
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


def _csv_rows(path: Path, reader: Any, columns: Sequence[str], header: int) -> Iterator[FileRow]:
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
            yield _csv_row(number, line, cells, columns, reader.dialect.delimiter)


def _csv_row(number: int, line: int, cells: Sequence[str], columns: Sequence[str], delimiter: str) -> FileRow:
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


_BLANKS = re.compile(r"[ \t\r\n,]*")


def open_json(path: Path, encoding: str) -> TableFile:
    """Open a file of JSON. Raises InputError."""
    notes: list[str] = []
    named = encoding_of(path, encoding, notes)
    begins = next((piece.lstrip() for piece in pieces_of(path, named) if piece.strip()), "")
    rows = (
        _json_list(path, pieces_of(path, named)) if begins.startswith("[") else _json_lines(path, lines_of(path, named))
    )
    return TableFile(None, rows, notes)


def _json_lines(path: Path, lines: Iterator[str]) -> Iterator[FileRow]:
    number = 0
    for line, text in enumerate(lines, 1):
        if (not number and text.strip() == "{") or text.lstrip().startswith(('{"@odata', '{"value"')):
            raise InputError(
                f"{path}, line {line}: this is one object, and no row.",
                remedy="Write a list of rows, or a row in every line; of an answer of the Web API, what is in value.",
            )
        if text.strip():
            number += 1
            yield _json_row(number, line, text)


def _json_row(number: int, line: int, text: str) -> FileRow:
    try:
        value = _DECODER.decode(text.strip())
    except json.JSONDecodeError as error:
        return FileRow(number, line, {}, f"{_not_json(error)}, column {error.colno}")
    except (ValueError, RecursionError) as error:
        return FileRow(number, line, {}, f"this cannot be used: {error}")
    return _object(number, line, value)


def _object(number: int, line: int, value: object) -> FileRow:
    if not isinstance(value, dict):
        return FileRow(number, line, {}, 'this is not an object; a row is one, as {"opportunityid": ...}')
    return FileRow(number, line, value)


def _json_list(path: Path, pieces: Iterator[str]) -> Iterator[FileRow]:
    """Return the objects of a list; no more than one and a piece of the text are kept in memory."""
    text, line, number = "", 1, 0
    while not text.strip():
        text += next(pieces)
    place = text.index("[") + 1
    line += text.count("\n", 0, place)
    while True:
        start, place = place, _BLANKS.match(text, place).end()  # type: ignore[union-attr]  # it matches nothing too
        line += text.count("\n", start, place)
        if text.startswith("]", place):
            break
        try:
            value, end = _DECODER.raw_decode(text, place)
        except json.JSONDecodeError as error:
            piece = next(pieces, None)
            if piece is not None and len(text) - place <= LONGEST_LINE:
                text, place = text[place:] + piece, 0
                continue
            breaks_off = error.msg.startswith("Unterminated") or error.pos >= len(text.rstrip())
            problem = "the list breaks off" if piece is None and breaks_off else _not_json(error)
            raise InputError(f"{path}, line {line}: {problem}.", remedy="Write the file again.") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {line}: this cannot be used: {error}.", remedy="Correct it.") from None
        number += 1
        yield _object(number, line, value)
        line += text.count("\n", place, end)
        place = end
    if text[place + 1 :].strip() or any(piece.strip() for piece in pieces):
        raise InputError(f"{path}, line {line}: text follows the end of the list.", remedy="Write one list.")


def _not_json(error: json.JSONDecodeError) -> str:
    return f"this is not JSON: {error.msg[0].lower()}{error.msg[1:]}"


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a name appears twice")
    return row


def _no_number(word: str) -> object:
    raise ValueError(f"{word} is not a number")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number)
