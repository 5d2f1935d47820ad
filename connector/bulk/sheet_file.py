"""Files that a spreadsheet opens rightly: UTF-8 with its mark, whole or not there, and nothing in them runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from connector.errors import InputError

_RUNS = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet takes for a formula. Source: OWASP, CSV Injection."""


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
    """Give a path to write to; the file appears at `path` afterwards, whole or not at all. Raises InputError."""
    aside = path.with_name(f".{path.name}.part")
    try:
        yield aside
        aside.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> InputError:
    """Return what to tell who wants a file that cannot be written."""
    reason = error.strerror or error
    return InputError(f"The file {path} cannot be written: {reason}.", remedy="Name another place.")


class AtomicFile:
    """A text file that appears at `path` when it is closed without an exception; raises InputError."""

    def __init__(self, path: Path, *, mark: bool = True) -> None:
        self._path = path
        self._aside = path.with_name(f".{path.name}.part")
        self._encoding = "utf-8-sig" if mark else "utf-8"
        self._file: TextIO | None = None

    def __enter__(self) -> TextIO:
        """Return the file to write into."""
        try:
            self._file = self._aside.open("w", encoding=self._encoding, newline="")
        except OSError as error:
            raise cannot_write(self._path, error) from error
        return self._file

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Put the file in its place, or throw it away."""
        assert self._file is not None
        try:
            self._file.close()
            if error is None:
                self._aside.replace(self._path)
        except OSError as failure:
            raise cannot_write(self._path, failure) from failure
        finally:
            self._aside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(self._path, error) from error
