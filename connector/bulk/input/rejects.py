"""The rows of a file that cannot be used, as a file of their own: corrected, it is input for the next run."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from connector.bulk.input.column_map import RESULT_PREFIX
from connector.bulk.input.file_row import FileRow
from connector.bulk.sheet_file import AtomicFile, harmless
from connector.errors import InputError

REASON = f"{RESULT_PREFIX}reason"
_PLACE = (f"{RESULT_PREFIX}row", f"{RESULT_PREFIX}line", REASON)


class RejectsFile:
    """Takes rows with their reasons; the file at `path` appears when it is closed, whole or not at all."""

    def __init__(self, path: Path, source: Path, columns: Iterable[str]) -> None:
        if path.exists() and path.samefile(source):
            raise InputError(f"--rejects {path} is the file of rows itself.", remedy="Name another file.")
        self._file = AtomicFile(path)
        self._columns = [name for name in columns if not name.lower().startswith(RESULT_PREFIX)]
        self._writer: csv.DictWriter[str] | None = None

    def __enter__(self) -> Self:
        """Begin the file."""
        self._writer = csv.DictWriter(self._file.__enter__(), [*self._columns, *_PLACE], "", "ignore")
        self._writer.writeheader()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Put the file in its place, unless it ends by an exception."""
        self._file.__exit__(kind, error, at)

    def add(self, row: FileRow, reason: str) -> None:
        """Take in a row."""
        cells = {name: harmless("" if cell is None else str(cell)) for name, cell in row.cells.items()}
        place = (str(row.number), str(row.line), harmless(reason))
        assert self._writer is not None
        self._writer.writerow(cells | dict(zip(_PLACE, place, strict=True)))
