"""The ledger in a PostgreSQL database, for workers on many machines.

The tables are in the schema `connector`, apart from all others. Needs the extra `postgres`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from connector.errors import LedgerError
from connector.ledger.schema import ITEM_COLUMNS, MIGRATIONS, OTHER_VERSION, RESULT_COLUMNS, VERSION, SqlRow, Value

try:
    import psycopg
    from psycopg.abc import RV, PQGen
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
except ImportError as error:
    raise LedgerError(
        "A job store in PostgreSQL needs a library that is not installed.",
        remedy="Install the connector with the extra postgres (`connector docs administrator`).",
    ) from error

SPELLING = {
    "serial": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "key": "BIGINT PRIMARY KEY",
    "integer": "BIGINT",
    "small": "SMALLINT",
    "real": "DOUBLE PRECISION",
    "bytes": "BYTEA",
    # Every item is written twice; what the first version leaves behind is cleared away as a job goes on.
    "upkeep": " WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)",
    "organization": "options::json->>'organization'",
}
"""How this database spells the words in braces of `MIGRATIONS`."""

# Unless the address says otherwise, a server that vanishes without a word is noticed within half a minute.
_DEADLINES = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
_DEADLINES["tcp_user_timeout"] = 30_000  # milliseconds; https://www.postgresql.org/docs/current/libpq-connect.html
_OURS = 0x636C6F73  # the first number of our advisory locks
_MIGRATING, _CLAIMING = 1, 2
_TYPES = {"status": "text", "reason": "text", "report": "bytea", "due": "float8", "ended": "float8", "id": "bigint"}
_GIVEN = (*RESULT_COLUMNS, "id")
_APPEND = f"COPY item ({', '.join(ITEM_COLUMNS)}) FROM STDIN"
_UPDATE = (
    f"UPDATE item SET {', '.join(f'{name} = new.{name}' for name in RESULT_COLUMNS)}"
    f" FROM unnest({', '.join(f'%s::{_TYPES[name]}[]' for name in _GIVEN)}) AS new ({', '.join(_GIVEN)})"
    " WHERE item.id = new.id"
)

_CONNECTIONS = (
    "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    " - COALESCE(current_setting('reserved_connections', true)::int, 0),"
    " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
)

Connection = psycopg.Connection[Any]


PATIENCE = 300.0
"""Seconds for which one answer of the server is waited for; the largest statements of a job take some of them."""


class _WaitLimitConnection(psycopg.Connection[Any]):
    """A connection that is given up when an answer takes longer than `patience` seconds.

    A server that is silent, or a relay that swallows what it sends, breaks no connection: only a clock notices.
    """

    patience = PATIENCE

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Return what `gen` returns, driven as psycopg drives it. Raises OperationalError when it takes too long."""
        return super().wait(self._within(gen, time.monotonic() + self.patience), interval, timeout)

    def _within(self, gen: PQGen[RV], end: float) -> PQGen[RV]:
        try:
            state = next(gen)
            while True:
                ready = yield state
                if not ready and time.monotonic() > end:
                    self.pgconn.finish()  # what comes later would answer another question
                    raise psycopg.OperationalError(f"it has not answered for {self.patience:.0f} seconds")
                state = gen.send(ready)
        except StopIteration as stop:
            result: RV = stop.value
            return result


class PostgresTransaction:
    """A `Transaction` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[SqlRow]:
        """Return all rows of a query."""
        return self._execute(statement, values).fetchall()

    def run(self, statement: str, values: Sequence[Value] = ()) -> int:
        """Execute a statement and return how many rows it changed."""
        return self._execute(statement, values).rowcount

    def run_for_each(self, statement: str, rows: Sequence[Sequence[Value]]) -> None:
        """Execute a statement once with each row of values."""
        with self._connection.cursor() as cursor:
            cursor.executemany(_marks(statement), rows)

    def insert(self, statement: str, values: Sequence[Value]) -> int:
        """Insert one row and return its id."""
        rows = self._execute(f"{statement} RETURNING id", values).fetchone()
        return int(rows[0]) if rows else 0

    def append_items(self, items: Iterable[Sequence[Value]]) -> None:
        """Add items by COPY."""
        with self._connection.cursor() as cursor, cursor.copy(_APPEND) as copy:
            for item in items:
                copy.write_row(item)

    def update_items(self, results: Sequence[Sequence[Value]]) -> None:
        """Give items their result, all in one statement."""
        if results:
            self._connection.execute(_UPDATE, [list(column) for column in zip(*results, strict=True)])

    def exclude_claims(self) -> None:
        """Take the lock of claiming; the end of the transaction gives it back."""
        self._execute("SELECT pg_advisory_xact_lock(?, ?)", (_OURS, _CLAIMING))

    def _execute(self, statement: str, values: Sequence[Value]) -> psycopg.Cursor[Any]:
        return self._connection.execute(_marks(statement), values)


class PostgresDatabase:
    """The `Database` at a `postgresql://` address; its tables are made if need be.

    A connection that was lost is made anew by the next call; the call during which it is lost fails, and may be
    repeated: nothing the ledger writes counts twice. `password` is asked for every new connection, since it may be a
    token that ends.
    """

    skip_locked = " FOR UPDATE OF item SKIP LOCKED"
    lock = " FOR UPDATE OF item"

    def __init__(self, address: str, patience: float = PATIENCE, password: Callable[[], str] | None = None) -> None:
        self._patience = patience
        self._password = password
        self._address = make_conninfo("", **{**_DEADLINES, **conninfo_to_dict(address)})
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        with self._sentences():
            self._migrate()

    @contextmanager
    def transaction(self) -> Iterator[PostgresTransaction]:
        """Return a context manager around one transaction."""
        with self._lock, self._sentences():
            connection = self._connected()
            with connection.transaction():
                yield PostgresTransaction(connection)

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[SqlRow]:
        """Return all rows of a query."""
        with self._lock, self._sentences():
            return self._connected().execute(_marks(statement), values).fetchall()

    def stream(self, statement: str, values: Sequence[Value] = ()) -> Iterator[SqlRow]:
        """Return the rows of a query through a cursor of the server, over a connection of its own."""
        with (
            self._sentences(),
            self._connect() as connection,
            connection.transaction(),
            connection.cursor(name="records") as cursor,
        ):
            cursor.itersize = 2000
            cursor.execute(_marks(statement), values)
            yield from cursor

    def hold(self, worker: int) -> None:
        """Do nothing: between machines only the heartbeat shows who lives."""

    def let_go(self, worker: int) -> None:
        """Do nothing."""

    def is_dead(self, worker: int) -> bool | None:  # noqa: ARG002 - as the protocol has it
        """Return None: the machine may be another one."""
        return None

    def connections(self) -> tuple[int, int] | None:
        """Return how many connections the server has for users, and how many are open."""
        return self.rows(_CONNECTIONS)[0]

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> Connection:
        address = make_conninfo(self._address, password=self._password()) if self._password else self._address
        connection = _WaitLimitConnection.connect(address, autocommit=True, application_name="connector")
        connection.patience = self._patience
        connection.execute("SET search_path TO connector")
        return connection

    def _migrate(self) -> None:
        """Bring the tables to our version; only ever one process at a time."""
        connection = self._connected()
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (_OURS, _MIGRATING))
            connection.execute("CREATE SCHEMA IF NOT EXISTS connector")
            connection.execute("CREATE TABLE IF NOT EXISTS version (number INTEGER NOT NULL)")
            rows = connection.execute("SELECT number FROM version").fetchone()
            version = rows[0] if rows else 0
            if version > VERSION:
                raise LedgerError(
                    "The job store was written by a newer version of the connector.",
                    remedy="Use that version on every machine, or set CONNECTOR_STORE to another database.",
                )
            if version < VERSION:
                for statement in (statement for step in MIGRATIONS[version:] for statement in step):
                    connection.execute(statement.format_map(SPELLING))
                connection.execute("DELETE FROM version")
                connection.execute("INSERT INTO version VALUES (%s)", (VERSION,))

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Say what went wrong to the person who must act; never the address, which may hold a password."""
        try:
            yield
        except psycopg.errors.DiskFull as error:
            raise LedgerError(
                "The job store cannot be written: the disk of its PostgreSQL server is full.",
                remedy="Nothing that was recorded is lost: make room, then give the same command again.",
            ) from error
        except psycopg.errors.ReadOnlySqlTransaction as error:
            self.close()  # by its name another server may be reached by now: after a failover this one is the standby
            failure = LedgerError(
                "The job store's PostgreSQL server can only be read now: it is a standby, or its storage is full.",
                remedy="Nothing that was recorded is lost: make room or end the failover, then give the command again.",
            )
            failure.transient = True
            raise failure from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise LedgerError(
                "The job store's PostgreSQL user may not do this.",
                remedy="Give it the right to create the schema connector, or to use it and its tables.",
            ) from error
        except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable) as error:
            text = f"The job store was written by another version of the connector: {_first_line(error)}."
            raise LedgerError(text, remedy=OTHER_VERSION) from error
        except psycopg.OperationalError as error:
            failure = LedgerError(
                f"The job store's PostgreSQL server cannot be reached or broke off: {_first_line(error)}.",
                remedy="Run fewer instances, or a larger server: its connections are all taken."
                if "connection slots" in str(error) or "too many clients" in str(error)
                else "Check that it runs and that CONNECTOR_STORE is right, then give the same command again.",
            )
            failure.transient = True
            raise failure from error
        except psycopg.Error as error:
            raise LedgerError(
                f"The job store in PostgreSQL failed: {_first_line(error)}.", remedy="If it happens again, report it."
            ) from error


def _marks(statement: str) -> str:
    return statement.replace("?", "%s")


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".")
