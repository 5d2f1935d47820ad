"""What the ledger needs of a database: one kind of transaction, reading, and a way to prove that a worker is dead.

Statements are written once for both databases, with `?` for values. Which differences remain is all in here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Value = str | int | float | bytes | None
SqlRow = tuple[Any, ...]
"""A row of an answer; the query next to it says what its columns are."""


class Transaction(Protocol):
    """Reads and writes that take effect together or not at all."""

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[SqlRow]:
        """Return all rows of a query."""

    def run(self, statement: str, values: Sequence[Value] = ()) -> int:
        """Execute a statement and return how many rows it changed."""

    def run_for_each(self, statement: str, rows: Sequence[Sequence[Value]]) -> None:
        """Execute a statement once with each row of values."""

    def insert(self, statement: str, values: Sequence[Value]) -> int:
        """Insert one row and return the id that the database gave it."""

    def append_items(self, items: Iterable[Sequence[Value]]) -> None:
        """Add items; each has the columns of `ITEM_COLUMNS`, in their order."""

    def update_items(self, results: Sequence[Sequence[Value]]) -> None:
        """Give items their result; each has the columns of `RESULT_COLUMNS` and then the item's id."""

    def exclude_claims(self) -> None:
        """Let no other transaction claim items until this one has ended."""


ITEM_COLUMNS = ("id", "job", "rank", "opportunity", "account", "status", "epoch", "attempts", "plan", "intent", "kept")
RESULT_COLUMNS = ("status", "reason", "report", "due", "ended")


class Database(Protocol):
    """A database that holds the ledger. Methods may be called from any thread; failures are LedgerError."""

    skip_locked: str
    """What makes a query lock the items it finds and pass over those that another transaction has locked."""

    lock: str
    """What makes a query lock the items it finds, waiting for another transaction that has one locked."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Return a context manager: it commits durably on a clean exit and undoes everything on an exception."""

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[SqlRow]:
        """Return all rows of a query."""

    def stream(self, statement: str, values: Sequence[Value] = ()) -> Iterator[SqlRow]:
        """Return the rows of a query, a few at a time, as they were when it began; others may write meanwhile."""

    def hold(self, worker: int) -> None:
        """Show that this process lives, as long as it does, to processes that ask whether `worker` is dead."""

    def let_go(self, worker: int) -> None:
        """End what `hold` began."""

    def is_dead(self, worker: int) -> bool | None:
        """Return whether the process that held `worker` is gone; None where that is not certain."""

    def connections(self) -> tuple[int, int] | None:
        """Return how many connections its server has for users and how many are open; None where it has no server."""

    def close(self) -> None:
        """Close the connection and end what was held."""
