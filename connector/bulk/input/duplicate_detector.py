"""Opportunities that have two rows, however many rows there are: sorted on disk, memory flat."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

_PIECE = 5_000


@dataclass(frozen=True, slots=True)
class DuplicateRow:
    """A row that is not read: it repeats the row `other`, which is, or contradicts it, and then neither is."""

    number: int
    line: int
    opportunity_id: UUID
    other: int
    same: bool


class DuplicateDetector:
    """Takes in the rows as they come, and tells in the end which of them are too many. Close it after use."""

    def __init__(self) -> None:
        # SQLite's own temporary file: it is gone with the connection, whatever ends it.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (opportunity BLOB, number INTEGER, line INTEGER, content BLOB)")
        self._waiting: list[tuple[bytes, int, int, bytes]] = []

    def add(self, opportunity_id: UUID, number: int, line: int, content: bytes) -> None:
        """Take in a row; `content` is equal where two rows say the same."""
        self._waiting.append((opportunity_id.bytes, number, line, content))
        if len(self._waiting) >= _PIECE:
            self._flush()

    def rows(self) -> Iterator[DuplicateRow]:
        """Return the rows that are too many, in order: each copy but the first, and all that contradict each other."""
        self._flush()
        duplicates = self._database.execute(
            "SELECT seen.number, line, seen.opportunity, first, last, contents = 1 FROM seen JOIN"
            " (SELECT opportunity, MIN(number) AS first, MAX(number) AS last, COUNT(DISTINCT content) AS contents"
            " FROM seen GROUP BY opportunity HAVING COUNT(*) > 1) AS twice ON twice.opportunity = seen.opportunity"
            " WHERE contents > 1 OR seen.number > first ORDER BY seen.number"
        )
        for number, line, opportunity, first, last, same in duplicates:
            yield DuplicateRow(number, line, UUID(bytes=opportunity), last if number == first else first, bool(same))

    def close(self) -> None:
        """Throw the file away."""
        self._database.close()

    def _flush(self) -> None:
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO seen VALUES (?, ?, ?, ?)", self._waiting)
        self._database.execute("COMMIT")
        self._waiting.clear()
