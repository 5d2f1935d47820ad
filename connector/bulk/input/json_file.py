"""Rows of JSON: an object in every line, or one list of objects, however it is laid out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from connector.bulk.input.file_row import FileRow, TableFile
from connector.bulk.input.text_file import LONGEST_LINE, encoding_of, lines_of, pieces_of
from connector.errors import InputError

_BLANKS = re.compile(r"[ \t\r\n,]*")


def open_json(path: Path, encoding: str) -> TableFile:
    """Open a file of JSON. Raises InputError."""
    notes: list[str] = []
    named = encoding_of(path, encoding, notes)
    begins = next((piece.lstrip() for piece in pieces_of(path, named) if piece.strip()), "")
    rows = _list(path, pieces_of(path, named)) if begins.startswith("[") else _lines(path, lines_of(path, named))
    return TableFile(None, rows, notes)


def _lines(path: Path, lines: Iterator[str]) -> Iterator[FileRow]:
    number = 0
    for line, text in enumerate(lines, 1):
        if (not number and text.strip() == "{") or text.lstrip().startswith(('{"@odata', '{"value"')):
            raise InputError(
                f"{path}, line {line}: this is one object, and no row.",
                remedy="Write a list of rows, or a row in every line; of an answer of the Web API, what is in value.",
            )
        if text.strip():
            number += 1
            yield _row(number, line, text)


def _row(number: int, line: int, text: str) -> FileRow:
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


def _list(path: Path, pieces: Iterator[str]) -> Iterator[FileRow]:
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
