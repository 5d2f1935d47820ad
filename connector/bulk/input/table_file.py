"""A file of rows, opened as a stream whatever it is: commas, JSON, Excel, Parquet, packed or piped.

Each reader gives the names of the columns, then cell by name for every row. What cannot be read is an InputError that
names the file and the line. What was guessed or left out is added to `notes`, for a person to see.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from connector.bulk.input.csv_file import open_csv
from connector.bulk.input.excel_and_parquet import open_parquet, open_workbook
from connector.bulk.input.file_row import Known, TableFile
from connector.bulk.input.json_file import open_json
from connector.errors import InputError

STANDARD_INPUT = Path("-")
LARGEST_COPY = 16 * 2**30
"""Bytes that a packed or piped file may have once it is unpacked."""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How a file is written: its format, empty to go by its name and first bytes, and the encoding of its text."""

    kind: str = ""
    encoding: str = ""


def open_table(path: Path, form: FileFormat, known: Known) -> TableFile:
    """Open a file as `form` says; raises InputError."""
    try:
        kind = form.kind or _kind(path)
        _refuse_disguised(path, kind)
        match kind:
            case "csv":
                return open_csv(path, form.encoding, known)
            case "json" | "jsonl":
                return open_json(path, form.encoding)
            case "excel":
                return open_workbook(path)
            case "parquet":
                return open_parquet(path)
    except PermissionError:
        raise InputError(f"{path} may not be read by this user.", remedy="Change its permissions.") from None
    raise InputError(
        f"{path}: the name does not show what kind of file it is.",
        remedy=f"Say it with --format: {', '.join(FORMATS)}.",
    )


FORMATS = ("csv", "json", "jsonl", "excel", "parquet")
_ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".parquet": "parquet",
}
_BEGINNINGS = ((b"PK\x03\x04", ".xlsx"), (b"PAR1", ".parquet"), (b"[", ".json"), (b"{", ".jsonl"))


def _kind(path: Path) -> str:
    """Return the format by the end of the name, or, where it has none, by the first bytes; empty when it is unknown."""
    return _ENDINGS.get((path.suffix or _ending(path)).lower(), "")


def _refuse_disguised(path: Path, kind: str) -> None:
    """Raise InputError for a workbook or Parquet file under the name of a text file."""
    ending = _ending(path)
    if kind in ("csv", "json", "jsonl") and ending in (".xlsx", ".parquet"):
        what = "a workbook or a ZIP file" if ending == ".xlsx" else "a Parquet file"
        raise InputError(
            f"{path} begins as {what} does, and not as text.", remedy=f"Say --format {_ENDINGS[ending]}, or unpack it."
        )


def _ending(path: Path) -> str:
    """Return how the name of a file ends that begins so."""
    with path.open("rb") as file:
        begins = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((ending for beginning, ending in _BEGINNINGS if begins.startswith(beginning)), ".csv")


# -- packed and piped files -------------------------------------------------------------------------------------------

_GZIP = b"\x1f\x8b"


@contextmanager
def readable(path: Path) -> Iterator[Path]:
    """Give a file that can be read again and again: `path`, or a copy of what is packed or comes through a pipe.

    `-` is standard input. The copy is gone at the end. Raises InputError.
    """
    piped = path == STANDARD_INPUT or path.is_fifo()
    if not piped and not path.exists():
        raise InputError(f"The file {path} does not exist.", remedy="Check its name and folder.")
    if not piped and not path.is_file():
        raise InputError(f"{path} is not a file.", remedy="Name a file of rows.")
    if not piped and not _begins_packed(path):
        _refuse_empty(path, path)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="connector-rows-") as folder:
        copy = Path(folder) / "copy"
        _copy(path, copy)
        if _begins_packed(copy):
            packed, copy = copy, Path(folder) / "unpacked"
            _unpack(path, packed, copy)
        _refuse_empty(path, copy)
        copy = copy.rename(copy.with_suffix(_ending(copy)))
        try:
            yield copy
        except InputError as error:
            error.message = error.message.replace(str(copy), "standard input" if path == STANDARD_INPUT else str(path))
            raise


def _begins_packed(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == _GZIP
    except PermissionError:
        raise InputError(f"{path} may not be read by this user.", remedy="Change its permissions.") from None


def _copy(path: Path, copy: Path) -> None:
    with copy.open("wb") as target:
        if path == STANDARD_INPUT:
            _pour(path, sys.stdin.buffer, target)
        else:
            with path.open("rb") as source:
                _pour(path, source, target)


def _unpack(path: Path, packed: Path, copy: Path) -> None:
    try:
        with gzip.open(packed) as source, copy.open("wb") as target:
            _pour(path, source, target)  # type: ignore[arg-type]
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged: it cannot be unpacked ({error}).", remedy="Pack it again.") from None


def _pour(path: Path, source: BinaryIO, target: BinaryIO) -> None:
    """Copy one into the other, up to a bound."""
    left = LARGEST_COPY
    while block := source.read(2**20):
        left -= len(block)
        if left < 0:
            raise InputError(
                f"{path} has more than {LARGEST_COPY // 2**30} GiB once it is unpacked.", remedy="Split it."
            )
        target.write(block)


def _refuse_empty(path: Path, copy: Path) -> None:
    if copy.stat().st_size == 0:
        raise InputError(f"{path} is empty.", remedy="It needs a line with the names of the columns, then rows.")
