"""What a query finds, as rows: looked for once, each opportunity once, in the order of the ids; memory stays flat."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from uuid import UUID

from connector.closing.model import Intent
from connector.closing.organization import Finder, Query
from connector.errors import Rejected
from connector.ledger.jobs import Row

_PIECE = 5_000


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
        database = sqlite3.connect("", isolation_level=None)  # a temporary file that is gone with the connection
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
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("CREATE TABLE found (id BLOB PRIMARY KEY) WITHOUT ROWID")
        ids = ((id_.bytes,) for id_ in self._finder.find(self._query))
        while piece := list(islice(ids, _PIECE)):
            database.execute("BEGIN")
            database.executemany("INSERT OR IGNORE INTO found VALUES (?)", piece)
            database.execute("COMMIT")
