"""The keys of a file, each looked up once, however many rows and however often the file is read; memory stays flat."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from itertools import islice
from uuid import UUID

from connector.closing.record_keys import KeyLookup, RecordKey, one_of
from connector.errors import InputError

TOGETHER = 3_000
"""Keys that are looked up with one request."""


class KeyCache:
    """Ids by their keys, and why a key has none. Close it after use."""

    def __init__(self, organization: KeyLookup) -> None:
        self._organization = organization
        # SQLite's own temporary file: it is gone with the connection, whatever ends it.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(
            'CREATE TABLE known ("table" TEXT, "column" TEXT, value TEXT, id BLOB, message TEXT, remedy TEXT,'
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
        found: tuple[bytes | None, str, str] | None = self._database.execute(
            'SELECT id, message, remedy FROM known WHERE "table" = ? AND "column" = ? AND value = ?',
            (key.table, key.column, key.value),
        ).fetchone()
        return found
