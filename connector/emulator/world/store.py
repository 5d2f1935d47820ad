"""The records, in SQLite: real columns, one transaction per request, whole-database snapshots."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from connector.emulator.world.schema import Schema
from connector.emulator.world.tables import additions, columns_in, tables_of

STORE_VERSION = 2
"""Kept in `PRAGMA user_version`; a file of another version is refused."""

_ATTEMPTS = 50
"""How often to try to switch a file to a write-ahead log while other processes open it."""

Value = str | int | float | None
Row = dict[str, Value]


class StoreError(sqlite3.DatabaseError):
    """The file cannot be used as the emulator's store, or not now; the text says why."""


class DuplicateKey(Exception):
    """A row with this primary key, or these values in `columns`, exists already; `table` and `key` name the row."""

    def __init__(self, table: str, key: str, columns: tuple[str, ...] = ()) -> None:
        super().__init__(f"{table} {key} exists already")
        self.table = table
        self.key = key
        self.columns = columns


class StoreSnapshot:
    """A whole copy of the database at one moment."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        weakref.finalize(self, connection.close)


class Transaction:
    """A context manager: commits on a clean exit, undoes everything inside on an exception; nests by savepoint."""

    __slots__ = ("_store",)

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> Self:
        """Begin, or set a savepoint inside a transaction that is under way."""
        self._store._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit or roll back."""
        if kind is None:
            self._store._commit()
        else:
            self._store._rollback()


class Store:
    """The rows of one emulated organization.

    `path` is a file (write-ahead log, synchronous NORMAL: what was committed survives the death of the process, and
    another process can read while this one serves) or `:memory:`. Guids are lower-case text, moments
    `YYYY-MM-DDTHH:MM:SSZ` in UTC, dates `YYYY-MM-DD`, choices and booleans integers, money a real number. Every write
    of a row gives it the next number of one global counter in `versionnumber`. Methods may be called from any thread,
    one at a time.
    """

    def __init__(self, path: str | Path, schema: Schema) -> None:
        self.path = str(path)
        self.writes: Counter[str] = Counter()
        self.undone = 0
        self.depth = 0
        self.lock = threading.RLock()
        self._statements: dict[tuple[str, str, tuple[str, ...]], str] = {}
        self._keys: dict[str, str] = {}
        self.db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, cached_statements=512)
        weakref.finalize(self, self.db.close)  # a store that nobody closed; __del__ may run after the connection's own
        self._transaction = Transaction(self)
        self._on_commit: list[list[Callable[[], None]]] = []
        self._seen = 0
        self._prepare(schema)
        self.version = self._highest_version()

    def close(self) -> None:
        """Close the database; a memory store is gone then."""
        self.db.close()

    # --- transactions -------------------------------------------------------------------------------------------

    def transaction(self) -> Transaction:
        """Return a context manager around one unit of work; inside another one it is a savepoint."""
        return self._transaction

    def _begin(self) -> None:
        self.lock.acquire()
        try:
            self.db.execute(f"SAVEPOINT s{self.depth}" if self.depth else "BEGIN IMMEDIATE")
            if not self.depth:
                self._catch_up()
        except BaseException:
            self.lock.release()
            raise
        self.depth += 1
        self._on_commit.append([])

    def on_commit(self, act: Callable[[], None]) -> None:
        """Call `act` once the outermost transaction is committed; never when what is around this call is undone."""
        self._on_commit[-1].append(act)

    def _catch_up(self) -> None:
        """Notice what another process wrote into the file, so that no version number is given twice."""
        data_version = self.db.execute("PRAGMA data_version").fetchone()[0]
        if data_version != self._seen:
            self._seen = data_version
            self.version = self._highest_version()
            self.undone += 1

    def _commit(self) -> None:
        try:
            self.db.execute(f"RELEASE s{self.depth - 1}" if self.depth > 1 else "COMMIT")
        except BaseException:
            self._rollback()  # a full disk, say: what cannot be kept must not stay half done
            raise
        self.depth -= 1
        acts = self._on_commit.pop()
        self.lock.release()
        if self.depth:
            self._on_commit[-1] += acts
        else:
            for act in acts:
                act()

    def _rollback(self) -> None:
        try:
            if self.depth > 1:
                self.db.execute(f"ROLLBACK TO s{self.depth - 1}")
                self.db.execute(f"RELEASE s{self.depth - 1}")
            elif self.db.in_transaction:
                self.db.execute("ROLLBACK")
        finally:
            self.undone += 1
            self.depth -= 1
            self._on_commit.pop()
            self.lock.release()

    # --- rows ---------------------------------------------------------------------------------------------------

    def get(self, table: str, key: str, columns: Sequence[str] | None = None) -> Row | None:
        """Return the row with this id as a dict of the named columns (all when None), or None."""
        cursor = self.db.execute(self._select(table, columns), (key,))
        values = cursor.fetchone()
        if values is None:
            return None
        names = columns if columns is not None else [column[0] for column in cursor.description]
        return dict(zip(names, values, strict=True))

    def exists(self, table: str, key: str) -> bool:
        """Return whether a row with this id exists."""
        return (
            self.db.execute(f'SELECT 1 FROM "{table}" WHERE "{self._keys[table]}" = ?', (key,)).fetchone() is not None
        )

    def insert(self, table: str, values: Mapping[str, Value]) -> int:
        """Add a row and return its version number; raises DuplicateKey when the id is taken."""
        names = tuple(values)
        sql = self._statements.get(("insert", table, names))
        if sql is None:
            quoted = ", ".join(f'"{name}"' for name in names)
            sql = f'INSERT INTO "{table}" ({quoted}, versionnumber) VALUES ({"?, " * len(names)}?)'
            self._statements["insert", table, names] = sql
        self.version += 1
        try:
            self.db.execute(sql, (*values.values(), self.version))
        except sqlite3.IntegrityError as error:
            raise DuplicateKey(table, str(values.get(self._keys[table])), columns_in(error)) from error
        self.writes[table] += 1
        return self.version

    def insert_many(self, table: str, names: Sequence[str], rows: Iterable[Sequence[Value]]) -> int:
        """Add rows in bulk, `names` giving the order of the values; returns how many."""
        quoted = ", ".join(f'"{name}"' for name in names)
        sql = f'INSERT INTO "{table}" ({quoted}, versionnumber) VALUES ({"?, " * len(names)}?)'
        before = self.version
        self.db.executemany(sql, self._numbered(rows))
        self.writes[table] += self.version - before
        return self.version - before

    def _numbered(self, rows: Iterable[Sequence[Value]]) -> Iterator[tuple[Value, ...]]:
        for row in rows:
            self.version += 1
            yield (*row, self.version)

    def update(self, table: str, key: str, values: Mapping[str, Value]) -> int:
        """Set columns of one row and return its new version number, or 0 when there is no such row.

        Raises DuplicateKey when another row has these values of an alternate key.
        """
        names = tuple(values)
        sql = self._statements.get(("update", table, names))
        if sql is None:
            setting = "".join(f'"{name}" = ?, ' for name in names)
            sql = f'UPDATE "{table}" SET {setting}versionnumber = ? WHERE "{self._keys[table]}" = ?'
            self._statements["update", table, names] = sql
        self.version += 1
        try:
            changed = self.db.execute(sql, (*values.values(), self.version, key)).rowcount
        except sqlite3.IntegrityError as error:
            raise DuplicateKey(table, key, columns_in(error)) from error
        if not changed:
            return 0
        self.writes[table] += 1
        return self.version

    def delete(self, table: str, key: str, moment: str) -> bool:
        """Remove one row, note the deletion in the change log, and return whether it was there."""
        if self.db.execute(f'DELETE FROM "{table}" WHERE "{self._keys[table]}" = ?', (key,)).rowcount == 0:
            return False
        self.version += 1
        self.db.execute("INSERT INTO _deleted VALUES (?, ?, ?, ?)", (self.version, table, key, moment))
        self.writes[table] += 1
        return True

    def rows(self, sql: str, parameters: Sequence[Value] | Mapping[str, Value] = ()) -> list[tuple[Value, ...]]:
        """Return what a SELECT finds, as tuples."""
        return self.db.execute(sql, parameters).fetchall()

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement that is not a read of rows, and return how many rows it touched."""
        return self.db.execute(sql, parameters).rowcount

    def associate(self, intersect: str, pairs: Mapping[str, str]) -> bool:
        """Add a row to an intersect table; False when it was there already."""
        first, second = pairs
        self.version += 1
        added = self.db.execute(
            f'INSERT OR IGNORE INTO "{intersect}" ("{first}", "{second}", versionnumber) VALUES (?, ?, ?)',
            (pairs[first], pairs[second], self.version),
        ).rowcount
        self.writes[intersect] += added
        return bool(added)

    def disassociate(self, intersect: str, pairs: Mapping[str, str]) -> bool:
        """Remove a row from an intersect table; False when it was not there."""
        first, second = pairs
        gone = self.db.execute(
            f'DELETE FROM "{intersect}" WHERE "{first}" = ? AND "{second}" = ?', (pairs[first], pairs[second])
        ).rowcount
        self.writes[intersect] += gone
        return bool(gone)

    def deleted_since(self, table: str, version: int) -> list[tuple[str, int]]:
        """Return (id, version number) of the rows of `table` deleted after `version`, oldest first."""
        cursor = self.db.execute(
            "SELECT id, versionnumber FROM _deleted WHERE tablename = ? AND versionnumber > ? ORDER BY versionnumber",
            (table, version),
        )
        return cursor.fetchall()

    def clear(self) -> None:
        """Remove every row and note, without a trace in the change log."""
        with self.transaction():
            for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'"):
                self.db.execute(f'DELETE FROM "{name}"')
            self.undone += 1

    # --- customizations ---------------------------------------------------------------------------------------------

    def shape(self, schema: Schema) -> None:
        """Add the columns and unique keys of `schema` that the tables lack; what they have besides stays."""
        for statement in additions(schema, self.db):
            self.db.execute(statement)
        self._statements.clear()

    # --- notes of the emulator itself ------------------------------------------------------------------------------

    def note(self, name: str) -> str | None:
        """Return a note kept with the data (customizations, say), or None."""
        row = self.db.execute("SELECT value FROM _notes WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def keep_note(self, name: str, value: str) -> None:
        """Keep a note with the data, replacing an older one."""
        self.db.execute("INSERT OR REPLACE INTO _notes VALUES (?, ?)", (name, value))

    # --- whole-database copies ----------------------------------------------------------------------------------------

    def snapshot(self) -> StoreSnapshot:
        """Return a copy of everything, held in memory."""
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        with self.lock:
            self.db.backup(copy)
        return StoreSnapshot(copy)

    def restore(self, snapshot: StoreSnapshot) -> None:
        """Make the store what it was when `snapshot` was taken, version counter included; not inside a transaction."""
        with self.lock:
            if self.depth:
                raise StoreError("A snapshot cannot be restored inside a transaction.")
            snapshot.connection.backup(self.db)
            self.version = self._highest_version()
            self.undone += 1

    # --- setting up ---------------------------------------------------------------------------------------------------

    def _select(self, table: str, columns: Sequence[str] | None) -> str:
        names_key = ("*",) if columns is None else tuple(columns)
        sql = self._statements.get(("select", table, names_key))
        if sql is None:
            names = "*" if columns is None else ", ".join(f'"{name}"' for name in columns)
            sql = f'SELECT {names} FROM "{table}" WHERE "{self._keys[table]}" = ?'
            self._statements["select", table, names_key] = sql
        return sql

    def _prepare(self, schema: Schema) -> None:
        self.db.execute("BEGIN")  # both questions of one moment: another process may be making the tables
        version = self.db.execute("PRAGMA user_version").fetchone()[0]
        tables = self.db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        self.db.execute("COMMIT")
        if version not in (0, STORE_VERSION):
            self.db.close()
            versions = f"store version {version}, wanted {STORE_VERSION}"
            raise StoreError(f"another version of the emulator wrote it ({versions})")
        if version == 0 and tables:
            self.db.close()
            raise StoreError("it holds the tables of another program")
        if self.path != ":memory:":
            self.db.execute("PRAGMA busy_timeout = 5000")
            self._write_ahead()
            self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute("PRAGMA temp_store = MEMORY")
        for table in schema.tables.values():
            self._keys[table.logical_name] = table.primary_id
        if version == 0:
            self._create(schema)

    def _write_ahead(self) -> None:
        """Switch to a write-ahead log. SQLite does not wait its turn for that, so turns are taken by a transaction."""
        for _ in range(_ATTEMPTS):
            try:
                self.db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                self.db.execute("BEGIN IMMEDIATE")
                self.db.execute("COMMIT")
            else:
                return
        raise StoreError("other processes keep it locked")

    def _create(self, schema: Schema) -> None:
        """Make the tables, unless another process that opened the file at the same time was faster."""
        with self.transaction():
            if self.db.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in tables_of(schema):
                    self.db.execute(statement)
                self.db.execute(f"PRAGMA user_version = {STORE_VERSION}")

    def _highest_version(self) -> int:
        names = [
            str(name)
            for (name,) in self.db.execute(
                "SELECT m.name FROM sqlite_master m WHERE m.type = 'table' AND EXISTS "
                "(SELECT 1 FROM pragma_table_info(m.name) c WHERE c.name = 'versionnumber')"
            )
        ]
        highest = [self.db.execute(f'SELECT max(versionnumber) FROM "{name}"').fetchone()[0] or 0 for name in names]
        return int(max(highest, default=0))
