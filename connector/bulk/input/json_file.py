"""Rows of JSON: an object in every line, or one list of objects, however it is laid out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from connector.bulk.input.file_row import FileRow, TableFile
from connector.bulk.input.text_file import LONGEST_LINE, encoding_of, lines_of
from connector.errors import InputError


def open_json(path: Path, encoding: str) -> TableFile:
    """Open a file of JSON. Raises InputError."""
    notes: list[str] = []
    lines = lines_of(path, encoding_of(path, encoding, notes))
    return TableFile(None, _rows(path, lines), notes)


def _rows(path: Path, lines: Iterator[str]) -> Iterator[FileRow]:
    number = 0
    for line, text in enumerate(lines, 1):
        if not number and text.lstrip().startswith("["):
            yield from _list(path, lines, line, text.lstrip()[1:])
            return
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
        return FileRow(number, line, {}, 'this is not an object; every line holds one row, as {"opportunityid": ...}')
    return FileRow(number, line, value)


def _list(path: Path, lines: Iterator[str], line: int, text: str) -> Iterator[FileRow]:
    """Return the objects of a list whose `[` stood before `text`; no more than one is kept in memory."""
    number, more = 0, True
    while True:
        text, line = _skip(text, line)
        if text.startswith("]"):
            return
        try:
            value, end = _DECODER.raw_decode(text)
        except json.JSONDecodeError as error:
            following = next(lines, None)
            if following is None:
                more = False
            elif len(text) < LONGEST_LINE:
                text += following
                continue
            problem = _not_json(error) if more else "the list breaks off"
            raise InputError(f"{path}, line {line}: {problem}.", remedy="Write the file again.") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {line}: this cannot be used: {error}.", remedy="Correct it.") from None
        number += 1
        yield _object(number, line, value)
        line += text.count("\n", 0, end)
        text = text[end:]


def _skip(text: str, line: int) -> tuple[str, int]:
    """Return what follows blanks and commas, and its line."""
    rest = text.lstrip(" \t\r\n,")
    return rest, line + text.count("\n", 0, len(text) - len(rest))


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
