"""The ledger in one SQLite file: nothing to install, nothing to start, true after any crash of this machine.

Write-ahead log with `synchronous=FULL`: what is committed has reached the disk. One connection writes, and every
transaction takes the right to write when it begins, so that it never has to give up half-way.
Source: https://www.sqlite.org/wal.html, https://www.sqlite.org/lang_transaction.html.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from connector.errors import LedgerError
from connector.ledger.lock_files import LockFiles
from connector.ledger.schema import ITEM_COLUMNS, MIGRATIONS, OTHER_VERSION, RESULT_COLUMNS, VERSION, SqlRow, Value

_OLDEST = (3, 33, 0)  # UPDATE ... FROM
_PATIENCE = 30.0
SPELLING = {
    "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "key": "INTEGER PRIMARY KEY",
    "integer": "INTEGER",
    "small": "INTEGER",
    "real": "REAL",
    "bytes": "BLOB",
    "upkeep": "",
    "organization": "json_extract(options, '$.organization')",
}
"""How this database spells the words in braces of `MIGRATIONS`."""

_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "fuse.sshfs", "fuse.glusterfs", "glusterfs"}
_APPEND = f"INSERT INTO item ({', '.join(ITEM_COLUMNS)}) VALUES ({', '.join('?' * len(ITEM_COLUMNS))})"
_UPDATE = f"UPDATE item SET {', '.join(f'{name} = ?' for name in RESULT_COLUMNS)} WHERE id = ?"


class SqliteTransaction:
    """A `Transaction` on the one connection that writes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[SqlRow]:
        """Return all rows of a query."""
        return self._connection.execute(statement, values).fetchall()

    def run(self, statement: str, values: Sequence[Value] = ()) -> int:
        """Execute a statement and return how many rows it changed."""
        return self._connection.execute(statement, values).rowcount

    def run_for_each(self, statement: str, rows: Sequence[Sequence[Value]]) -> None:
        """Execute a statement once with each row of values."""
        self._connection.executemany(statement, rows)

    def insert(self, statement: str, values: Sequence[Value]) -> int:
        """Insert one row and return its id."""
        return self._connection.execute(statement, values).lastrowid or 0

    def append_items(self, items: Iterable[Sequence[Value]]) -> None:
        """Add items."""
        self._connection.executemany(_APPEND, items)

    def update_items(self, results: Sequence[Sequence[Value]]) -> None:
        """Give items their result."""
        self._connection.executemany(_UPDATE, results)

    def exclude_claims(self) -> None:
        """Do nothing: one transaction writes at a time here."""


class SqliteDatabase:
    """The `Database` in the file at `path`, which is made if need be, readable by its owner only.

    Up to `cache` kilobytes of it are kept in memory. Where it cannot be written, on a full disk say, it can be read as
    long as nobody else writes, and transactions raise why.
    """

    skip_locked = ""
    lock = ""

    def __init__(self, path: Path, cache: int = 16_000) -> None:
        self.path = path
        self._cache = cache
        if sqlite3.sqlite_version_info < _OLDEST:
            raise LedgerError(
                f"The SQLite of this Python is {sqlite3.sqlite_version}; the job store needs 3.33 or newer.",
                remedy="Use a newer Python, or set CONNECTOR_STORE to a postgresql:// address.",
            )
        self._lock = threading.RLock()
        self._lock_files = LockFiles(path)
        self._file = 0
        self._unwritable: LedgerError | None = None
        try:
            self._open()
        except LedgerError as error:
            if not _may_be_read(path, error):
                raise
            self._unwritable = error
            self._open()

    def _open(self) -> None:
        self._file = self._create_file()
        with self._sentences():
            self._connection = self._connect()
            try:
                self._migrate()
            except BaseException:
                self._connection.close()
                raise

    @contextmanager
    def transaction(self) -> Iterator[SqliteTransaction]:
        """Return a context manager around one transaction."""
        with self._lock, self._sentences():
            if self._unwritable is not None:
                raise self._unwritable
            if self._file and self.path.stat().st_ino != self._file:
                raise FileNotFoundError(errno.ENOENT, "Another file is in its place")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield SqliteTransaction(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[SqlRow]:
        """Return all rows of a query."""
        with self._lock, self._sentences():
            return self._connection.execute(statement, values).fetchall()

    def stream(self, statement: str, values: Sequence[Value] = ()) -> Iterator[SqlRow]:
        """Return the rows of a query, read over a connection of its own."""
        with self._sentences(), closing(self._connect()) as connection:
            yield from connection.execute(statement, values)

    def hold(self, worker: int) -> None:
        """Lock the file of the worker."""
        with self._sentences():
            self._lock_files.hold(worker)

    def let_go(self, worker: int) -> None:
        """Unlock and remove the file of the worker."""
        self._lock_files.let_go(worker)

    def is_dead(self, worker: int) -> bool | None:
        """Return whether no process holds the file of the worker."""
        return self._lock_files.is_dead(worker)

    def connections(self) -> tuple[int, int] | None:
        """Return None: there is no server."""
        return None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._lock_files.close()
            self._connection.close()

    def _create_file(self) -> int:
        """Make the file where there is none, and return its number."""
        _refuse_network_drive(self.path)
        with self._sentences():
            if not self.path.parent.exists():
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._unwritable is None:
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            return self.path.stat().st_ino

    def _connect(self) -> sqlite3.Connection:
        address = self.path.absolute().as_uri() + ("" if self._unwritable is None else "?immutable=1")
        connection = sqlite3.connect(
            address, timeout=_PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=256, uri=True
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{self._cache}")
        return connection

    def _migrate(self) -> None:
        """Bring the tables to our version; only ever one process at a time."""
        self._refuse_another_program()
        if self._version() == VERSION:
            return
        with self.transaction() as transaction:
            version = self._version()
            if version > VERSION:
                raise LedgerError(
                    f"The job store {self.path} was written by a newer version of the connector.",
                    remedy="Use that version, or set CONNECTOR_STORE to another file.",
                )
            for statement in (statement for step in MIGRATIONS[version:] for statement in step):
                transaction.run(statement.format_map(SPELLING))
            transaction.run(f"PRAGMA user_version = {VERSION}")

    def _refuse_another_program(self) -> None:
        """Raise LedgerError when there are tables and ours are not among them."""
        tables = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and "job" not in tables:
            raise LedgerError(f"The job store {self.path} holds the tables of another program.", remedy=_ANOTHER)

    def _version(self) -> int:
        version: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
        return version

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Say what went wrong with the file to the person who must act."""
        try:
            yield
        except sqlite3.Error as error:
            raise _failure(self.path, error) from error
        except OSError as error:
            remedy = _ELSEWHERE if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else _ANOTHER
            remedy = _GONE if error.errno == errno.ENOENT and self._file else remedy
            reason = error.strerror or error
            raise LedgerError(f"The job store {self.path} cannot be used: {reason}.", remedy=remedy) from error


class TemporaryDatabase(SqliteDatabase):
    """A `Database` of one connection, for as long as it is open: SQLite's own temporary file, which goes with it.

    However the process ends, nothing is left of it. Source: https://www.sqlite.org/inmemorydb.html, section 3.
    """

    def __init__(self) -> None:
        super().__init__(Path("the temporary store"))

    def hold(self, worker: int) -> None:
        """Do nothing: no other process sees its workers."""

    def is_dead(self, worker: int) -> bool | None:
        """Return False: its workers live as long as it does."""
        del worker
        return False

    def _create_file(self) -> int:
        """Return 0: SQLite makes it."""
        return 0

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect("", isolation_level=None, check_same_thread=False, cached_statements=256)


_ANOTHER = "Set CONNECTOR_STORE to another file."
_ELSEWHERE = "Make the folder writable, or set CONNECTOR_STORE to another file."
_GONE = "It was deleted or moved while in use. What is closed stays closed: run the same rows again to account for it."
_FAILURES = {
    sqlite3.SQLITE_FULL: (
        "cannot be written: the disk is full",
        "Nothing that was recorded is lost: make room, then give the same command again.",
    ),
    sqlite3.SQLITE_BUSY: (
        f"has been locked by another program for {_PATIENCE:.0f} seconds",
        "Close whatever has the file open (a database browser, a backup), then try again.",
    ),
    sqlite3.SQLITE_READONLY: ("cannot be written: it is read-only", _ELSEWHERE),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", _ELSEWHERE),
    sqlite3.SQLITE_IOERR: (
        "cannot be written or read: the disk reports an error or is full",
        "Nothing that was recorded is lost: check the disk, then give the same command again.",
    ),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "Restore it from a backup, or set CONNECTOR_STORE to another file."),
    sqlite3.SQLITE_NOTADB: ("is a file of another kind", _ANOTHER),
}


_UNWRITABLE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}


def _may_be_read(path: Path, error: LedgerError) -> bool:
    """Return whether a file that could not be opened to write holds all there is: no log of another process beside it.

    Source: https://www.sqlite.org/wal.html, section 4, and https://www.sqlite.org/uri.html (immutable).
    """
    log, cause = path.with_name(f"{path.name}-wal"), error.__cause__
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    unwritable = code in _UNWRITABLE if isinstance(cause, sqlite3.Error) else isinstance(cause, OSError)
    return unwritable and path.is_file() and os.access(path, os.R_OK) and not (log.exists() and log.stat().st_size)


def _failure(path: Path, error: sqlite3.Error) -> LedgerError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    other = (f"failed: {error}", "If it happens again, report it.")
    if "no such" in str(error) or "no column" in str(error):
        other = (f"was written by another version of the connector: {error}", OTHER_VERSION)
    sentence, remedy = _FAILURES.get(code, other)
    return LedgerError(f"The job store {path} {sentence}.", remedy=remedy)


def _refuse_network_drive(path: Path) -> None:
    """Raise LedgerError for a file on another machine: the write-ahead log needs memory shared by all who open it."""
    kind = network_filesystem(path, _mounts())
    if kind:
        raise LedgerError(
            f"The job store {path} is on a network drive ({kind}), where SQLite may lose or damage it.",
            remedy="Set CONNECTOR_STORE to a file on a disk of this machine, or to a postgresql:// address.",
        )


def _mounts() -> str:
    try:
        return Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def network_filesystem(path: Path, mounts: str) -> str:
    """Return the kind of network file system `path` is on, by Linux's list of mounts or a Windows share, or ""."""
    if sys.platform == "win32" and os.path.realpath(path).startswith("\\\\"):  # a drive letter may stand for a share
        return "a share"
    place = path.absolute()
    best, system = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        mount = Path(fields[1].replace("\\040", " "))
        if place.is_relative_to(mount) and len(mount.parts) >= best:
            best, system = len(mount.parts), fields[2]
    return system if system in _REMOTE else ""
