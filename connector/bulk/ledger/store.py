"""From the setting CONNECTOR_STORE to a ledger."""

from __future__ import annotations

from pathlib import Path

from connector.bulk.ledger.ledger import LEASE, Ledger
from connector.clock import Clock

POSTGRES = ("postgresql://", "postgres://")


def open_ledger(store: str, clock: Clock, *, lease: float = LEASE) -> Ledger:
    """Return the ledger in the SQLite file or the PostgreSQL database that `store` names; raises LedgerError."""
    if store.startswith(POSTGRES):
        from connector.bulk.ledger.postgres import PostgresDatabase  # noqa: PLC0415 - an optional library

        return Ledger(PostgresDatabase(store), clock, lease=lease)
    from connector.bulk.ledger.sqlite import SqliteDatabase  # noqa: PLC0415 - sqlite3 is slow to import

    return Ledger(SqliteDatabase(Path(store).expanduser()), clock, lease=lease)
