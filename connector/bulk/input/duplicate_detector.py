"""Finding opportunities that have two rows, however many rows there are: sorted on disk, memory flat."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

_PIECE = 5_000


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Two rows of one opportunity: numbers and lines of the first and the second, and whether they say the same."""

    opportunity_id: UUID
    first: tuple[int, int]
    second: tuple[int, int]
    same: bool


class DuplicateDetector:
    """Takes in the rows as they come, and tells in the end which opportunities came twice. Close it after use."""

    def __init__(self) -> None:
        # SQLite's own temporary file: it is gone with the connection, whatever ends it.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (opportunity BLOB, number INTEGER, line INTEGER, content BLOB)")
        self._waiting: list[tuple[bytes, int, int, bytes]] = []

    def add(self, opportunity_id: UUID, number: int, line: int, content: bytes) -> None:
        """Take in a row; `content` is equal where two rows say the same."""
        self._waiting.append((opportunity_id.bytes, number, line, content))
        if len(self._waiting) >= _PIECE:
            self._flush()

    def duplicates(self) -> Iterator[Duplicate]:
        """Return the opportunities that have more than one row, each with its first row and the next one."""
        self._flush()
        found = self._database.execute(
            "SELECT opportunity, MIN(number), MIN(line), MAX(number), MAX(line), COUNT(DISTINCT content) FROM seen"
            " GROUP BY opportunity HAVING COUNT(*) > 1 ORDER BY 4"
        )
        for opportunity, first, first_line, second, second_line, contents in found:
            yield Duplicate(UUID(bytes=opportunity), (first, first_line), (second, second_line), contents == 1)

    def close(self) -> None:
        """Throw the file away."""
        self._database.close()

    def _flush(self) -> None:
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO seen VALUES (?, ?, ?, ?)", self._waiting)
        self._database.execute("COMMIT")
        self._waiting.clear()
