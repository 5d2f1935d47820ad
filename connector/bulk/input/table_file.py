"""A file of rows, opened as a stream whatever it is: commas, JSON, Excel, Parquet, packed or piped.

Each reader gives the names of the columns, then cell by name for every row. What cannot be read is an InputError that
names the file and the line. What was guessed or left out is added to `notes`, for a person to see.
"""

from __future__ import annotations

import gzip
import re
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from connector.bulk.input.excel_file import open_workbook
from connector.bulk.input.file_row import FileRow, OurName, TableFile, missing_library
from connector.bulk.input.text_tables import open_csv, open_json
from connector.errors import InputError

STANDARD_INPUT = Path("-")
LARGEST_COPY = 16 * 2**30
"""Bytes that a packed or piped file may have once it is unpacked."""


def open_table(path: Path, kind: str, encoding: str, our_name: OurName) -> TableFile:
    """Open a file of this format (empty: by its name and first bytes) and encoding; raises InputError."""
    try:
        kind = kind or _kind(path)
        _refuse_disguised(path, kind)
        match kind:
            case "csv":
                return open_csv(path, encoding, our_name)
            case "json" | "jsonl":
                return open_json(path, encoding)
            case "excel":
                return open_workbook(path, our_name)
            case "parquet":
                return open_parquet(path)
    except PermissionError:
        raise InputError(f"{path} may not be read by this user.", remedy="Change its permissions.") from None
    raise InputError(
        f"{path}: the name does not show what kind of file it is.",
        remedy=_OTHERS.get(path.suffix.lower(), f"Say it with --format: {', '.join(FORMATS)}."),
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
_BEGINNINGS = (
    (rb"PK\x03\x04", ".xlsx", "a workbook or a ZIP file does, and not as text"),
    (rb"PAR1", ".parquet", "a Parquet file does, and not as text"),
    (rb"\[\s*[\]{]", ".json", "a list of JSON does"),
    (rb'\{\s*["}]', ".jsonl", "JSON Lines do"),
    (rb"<[!?a-zA-Z]", ".html", "a web page or XML does"),
)
_TO_EXCEL = "Open it in Excel and save it as Excel Workbook (.xlsx)."
_OTHERS = {
    **dict.fromkeys((".xls", ".xlsb", ".ods", ".numbers", ".html", ".xml"), _TO_EXCEL),
    **dict.fromkeys((".zip", ".7z", ".bz2", ".xz", ".zst"), "Unpack it, or pack it with gzip."),
}


def _kind(path: Path) -> str:
    """Return the format by the end of the name, or, where it has none, by the first bytes; empty when it is unknown."""
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    return _ENDINGS.get(suffix or _begins_as(path)[0], "")


def _refuse_disguised(path: Path, kind: str) -> None:
    """Raise InputError for a file of another kind under the name of a text file."""
    ending, what = _begins_as(path)
    if ending != ".csv" and (kind == "csv" or (kind in ("json", "jsonl") and ending in (".xlsx", ".parquet", ".html"))):
        remedy = f"Say --format {_ENDINGS[ending]}, or unpack it." if ending in _ENDINGS else _TO_EXCEL
        raise InputError(f"{path} begins as {what}.", remedy=remedy)


def _begins_as(path: Path) -> tuple[str, str]:
    """Return how the name of a file ends that begins so, and what it is."""
    with path.open("rb") as file:
        begins = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    kinds = ((ending, what) for beginning, ending, what in _BEGINNINGS if re.match(beginning, begins))
    return next(kinds, (".csv", ""))


# -- packed and piped files -------------------------------------------------------------------------------------------

_GZIP = b"\x1f\x8b"
_MOST_PACKED = 3
"""How often a file may be packed into itself."""


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
        for number in range(_MOST_PACKED):
            if _begins_packed(copy):
                packed, copy = copy, Path(folder) / f"unpacked-{number}"
                _unpack(path, packed, copy)
                packed.unlink()
        _refuse_empty(path, copy)
        copy = copy.rename(copy.with_suffix(_begins_as(copy)[0]))
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


def open_parquet(path: Path) -> TableFile:
    """Open a Parquet file. Raises InputError."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise missing_library(path, "Parquet", "parquet") from None
    try:
        file = parquet.ParquetFile(path)
    except (ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    return TableFile(tuple(file.schema_arrow.names), _rows(path, file))


def _rows(path: Path, file: Any) -> Iterator[FileRow]:
    """Return the rows; pages that are damaged and moments that no calendar has are told when they are reached."""
    from pyarrow import ArrowException

    number = 0
    with closing(file):
        try:
            for batch in file.iter_batches(batch_size=2000):
                for row in batch.to_pylist():
                    number += 1
                    yield FileRow(number, number, row)
        except (ArrowException, OSError, ValueError, OverflowError) as error:
            raise _unreadable(path, error, f", after row {number}") from None


def _unreadable(path: Path, error: Exception, where: str = "") -> InputError:
    message = (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".")
    return InputError(f"{path} cannot be read as a Parquet file{where}: {message}.", remedy="Write it again.")
