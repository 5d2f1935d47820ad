"""Parquet files. They need their extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from connector.bulk.input.file_row import FileRow, TableFile, missing_library
from connector.errors import InputError


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
