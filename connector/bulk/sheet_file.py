"""Files that a spreadsheet opens rightly: UTF-8 with its mark, whole or not there, and nothing in them runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from connector.bulk.words import WINDOWS
from connector.errors import InputError

_RUNS = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet takes for a formula. Source: OWASP, CSV Injection."""


_ELSEWHERE = "Name another place."
_LONGEST_PATH = 248  # 260, less what the name of a file beside it needs ("Maximum Path Length Limitation", Microsoft)


def harmless(text: str) -> str:
    """Return text that a spreadsheet shows and does not run: with an apostrophe before it where it must be."""
    return f"'{text}" if text.startswith((*_RUNS, "'")) and not _is_number(text) else text


def as_written(text: str) -> str:
    """Return the text that `harmless` was given."""
    return text.removeprefix("'")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to; the file appears at `path` afterwards, whole or not at all. Raises InputError.

    What is there and is no file, as /dev/stdout, is written as it is, and never replaced.
    """
    device = path.exists() and not path.is_file()
    aside = path if device else path.with_name(f".{path.name}.part")
    try:
        yield aside
        if not device:
            aside.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if not device:
            with suppress(OSError):
                aside.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> InputError:
    """Return what to tell who wants a file that cannot be written."""
    reason, length = error.strerror or error, len(str(path.absolute()))
    remedy = _ELSEWHERE
    if isinstance(error, PermissionError) and path.exists():  # as Excel keeps a file on Windows
        remedy = "If it is open in another program, close it there, or name another file."
    elif WINDOWS and length >= _LONGEST_PATH:
        remedy = f"Its path has {length} characters, which is more than Windows takes: name a shorter one."
    return InputError(f"The file {path} cannot be written: {reason}.", remedy=remedy)


@contextmanager
def whole_text(path: Path, encoding: str = "utf-8-sig") -> Iterator[TextIO]:
    """Give a text file to write into, which appears at `path` afterwards as `whole_file` does. Raises InputError."""
    with whole_file(path) as aside, aside.open("w", encoding=encoding, newline="") as file:
        yield file
