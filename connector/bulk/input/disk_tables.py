"""What is known of all rows of a file or query, in tables on disk: memory stays flat however many there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from uuid import UUID

from connector.closing.model import Intent
from connector.closing.organization import Finder, Query
from connector.closing.record_keys import KeyLookup, RecordKey, one_of
from connector.errors import InputError, Rejected
from connector.ledger.jobs import Row

_PIECE = 5_000


def _scratch(table: str) -> sqlite3.Connection:
    """Return a database with this table in a temporary file of SQLite's own: it is gone with the connection."""
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode = OFF")
    database.execute(f"CREATE TABLE {table}")
    return database


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
        columns = "opportunity BLOB, number INTEGER, line INTEGER, content BLOB"
        self._database = _scratch(f"seen ({columns}, PRIMARY KEY (opportunity, content, number)) WITHOUT ROWID")
        self._waiting: list[tuple[bytes, int, int, bytes]] = []

    def add(self, opportunity_id: UUID, number: int, line: int, content: bytes) -> None:
        """Take in a row; `content` is equal where two rows say the same."""
        self._waiting.append((opportunity_id.bytes, number, line, content))
        if len(self._waiting) >= _PIECE:
            self._flush()

    def rows(self) -> Iterator[DuplicateRow]:
        """Return the rows that are too many, in order: each copy but the first, and all that contradict each other."""
        self._flush()
        for number, line, opportunity, same, other in self._database.execute(  # `alike`: the first that says the same
            "SELECT number, line, opportunity, contents = 1,"
            " CASE WHEN alike > first THEN first ELSE MAX(alike) OVER (PARTITION BY opportunity) END FROM"
            " (SELECT seen.*, first, contents, MIN(number) OVER (PARTITION BY seen.opportunity, content) AS alike"
            " FROM seen JOIN (SELECT opportunity, MIN(number) AS first, COUNT(DISTINCT content) AS contents"
            " FROM seen GROUP BY opportunity HAVING COUNT(*) > 1) AS twice ON twice.opportunity = seen.opportunity)"
            " WHERE contents > 1 OR number > first ORDER BY number"
        ):
            yield DuplicateRow(number, line, UUID(bytes=opportunity), other, bool(same))

    def close(self) -> None:
        """Throw the file away."""
        self._database.close()

    def _flush(self) -> None:
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO seen VALUES (?, ?, ?, ?)", self._waiting)
        self._database.execute("COMMIT")
        self._waiting.clear()


TOGETHER = 3_000
"""Keys that are looked up with one request."""


class KeyCache:
    """Ids by their keys, and why a key has none. Close it after use."""

    def __init__(self, organization: KeyLookup) -> None:
        self._organization = organization
        self._database = _scratch(
            'known ("table" TEXT, "column" TEXT, value TEXT, id BLOB, message TEXT, remedy TEXT,'
            ' PRIMARY KEY ("table", "column", value)) WITHOUT ROWID'
        )

    def learn(self, keys: Iterable[RecordKey]) -> None:
        """Look up the keys that are not known yet. Raises ConnectorError."""
        unknown = (key for key in dict.fromkeys(keys) if self._known(key) is None)
        while some := list(islice(unknown, TOGETHER)):
            matches = self._organization.look_up(some)
            self._database.execute("BEGIN")
            for key in some:
                id_, message, remedy = None, "", ""
                try:
                    id_ = one_of(key, matches.get(key, ())).bytes
                except InputError as error:
                    message, remedy = error.message, error.remedy
                row = (key.table, key.column, key.value, id_, message, remedy)
                self._database.execute("INSERT INTO known VALUES (?, ?, ?, ?, ?, ?)", row)
            self._database.execute("COMMIT")

    def id_of(self, key: RecordKey) -> UUID:
        """Return the id of the one record that has a key that was learnt; raises InputError where there is none."""
        known = self._known(key)
        assert known is not None
        id_, message, remedy = known
        if id_ is None:
            raise InputError(message, remedy=remedy)
        return UUID(bytes=id_)

    def close(self) -> None:
        """Throw the file away."""
        self._database.close()

    def _known(self, key: RecordKey) -> tuple[bytes | None, str, str] | None:
        row: tuple[bytes | None, str, str] | None = self._database.execute(
            'SELECT id, message, remedy FROM known WHERE "table" = ? AND "column" = ? AND value = ?',
            (key.table, key.column, key.value),
        ).fetchone()
        return row


class QueryRows:
    """The opportunities that a query finds, when they are first asked for. Close it after use."""

    def __init__(self, finder: Finder, query: Query) -> None:
        self._finder = finder
        self._query = query
        self._database: sqlite3.Connection | None = None

    def rows(self, intent: Intent) -> Iterator[Row]:
        """Return a row for each opportunity, asking `intent` of it; the same ones at every call."""
        if self._database is None:
            self._database = self._looked_for()
        ordered = self._database.execute("SELECT id FROM found ORDER BY id")
        for number, (id_,) in enumerate(ordered, 1):
            yield Row(number, replace(intent, opportunity_id=UUID(bytes=id_)))

    def close(self) -> None:
        """Forget what was found."""
        if self._database is not None:
            self._database.close()

    def _looked_for(self) -> sqlite3.Connection:
        database = _scratch("found (id BLOB PRIMARY KEY) WITHOUT ROWID")
        with ExitStack() as unless_found:
            unless_found.callback(database.close)
            try:
                self._fill(database)
            except Rejected as error:
                if self._query.where and not error.remedy:
                    error.remedy = "Nothing was changed. Correct the filter: it is put to opportunities as OData."
                elif self._query.fetchxml and not error.remedy:
                    error.remedy = "Nothing was changed. Correct the FetchXML."
                raise
            unless_found.pop_all()
        return database

    def _fill(self, database: sqlite3.Connection) -> None:
        ids = ((id_.bytes,) for id_ in self._finder.find(self._query))
        while piece := list(islice(ids, _PIECE)):
            database.execute("BEGIN")
            database.executemany("INSERT OR IGNORE INTO found VALUES (?)", piece)
            database.execute("COMMIT")
