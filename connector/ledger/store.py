"""From the setting CONNECTOR_STORE to a ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from connector.clock import Clock
from connector.ledger.ledger import LEASE, Ledger

POSTGRES = ("postgresql://", "postgres://")
CACHE, SMALL_CACHE = 16_000, 1_000
"""Kilobytes that SQLite keeps of its file in memory: for jobs of millions of rows, and for one row at a time."""


def open_ledger(
    store: str,
    clock: Clock,
    *,
    lease: float = LEASE,
    cache: int = CACHE,
    patience: float = 0.0,
    password: Callable[[], str] | None = None,
    create: bool = True,
) -> Ledger:
    """Return the ledger in the SQLite file or the PostgreSQL database that `store` names; raises LedgerError.

    `cache` is how many kilobytes of the file are kept in memory; PostgreSQL keeps its own. `patience` is for how many
    seconds one answer of PostgreSQL is waited for, 0 for its default; `password` is asked for each of its connections.
    Where there is no such file, an empty ledger stands for it unless it is to `create` one.
    """
    if store.startswith(POSTGRES):
        from connector.ledger.postgres import PATIENCE, PostgresDatabase

        return Ledger(PostgresDatabase(store, patience or PATIENCE, password), clock, lease=lease)
    from connector.ledger.sqlite import SqliteDatabase

    path = Path(store).expanduser()
    if not create and not path.exists():
        return temporary_ledger(clock)
    return Ledger(SqliteDatabase(path, cache), clock, lease=lease)


def temporary_ledger(clock: Clock) -> Ledger:
    """Return a ledger that nobody else sees and that is gone once it is closed, however the process ends."""
    from connector.ledger.sqlite import TemporaryDatabase

    return Ledger(TemporaryDatabase(), clock)
