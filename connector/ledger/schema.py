"""What the ledger needs of a database, and its tables, as statements that lead from each version to the next.

Needed are one kind of transaction, reading, and a way to prove that a worker is dead. Statements are written once for
both databases, with `?` for values. Which differences remain is all in here.

The same text serves both databases; words in braces stand for what they spell differently. An item's id is its job's id
times 2^32 plus its row number, so that one index serves as key, as order of the input and as border of the job. The
conditions of the partial indices must stand literally in the queries that shall use them.
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


_NAMES = [
    "pending",
    "claimed",
    "waiting",
    "closed",
    "already_closed",
    "refused",
    "failed",
    "reopened",
    "already_open",
    "undone",
]
_STATUS_NAME = f"CASE status {' '.join(f'WHEN {number} THEN {name!r}' for number, name in enumerate(_NAMES))} END"
"""The statuses by name, from the numbers that stood for them before version 3."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE job (
            id {serial}, name TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, state TEXT NOT NULL, wish TEXT NOT NULL,
            total {integer} NOT NULL, digest TEXT NOT NULL, options TEXT NOT NULL, undoes {integer},
            created {real} NOT NULL, finished {real}, loader {integer},
            owner TEXT NOT NULL DEFAULT '', key TEXT UNIQUE, content TEXT, answer TEXT, expires {real}
        )""",
        "CREATE INDEX job_by_owner ON job (owner, id) WHERE key IS NOT NULL",
        "CREATE INDEX job_operations ON job (id) WHERE key IS NOT NULL AND state = 'ready'",
        "CREATE INDEX job_by_expiry ON job (expires) WHERE expires IS NOT NULL",
        """CREATE TABLE item (
            id {key}, job {integer} NOT NULL, turn {integer} NOT NULL, opportunity {bytes} NOT NULL, account {bytes},
            status {small} NOT NULL, epoch {integer} NOT NULL, attempts {integer} NOT NULL, holder {integer},
            due {real}, plan TEXT, wanted TEXT NOT NULL, reason TEXT, report {bytes}, ended {real}
        ){upkeep}""",
        "CREATE INDEX item_pending ON item (job, turn, id) WHERE status = 0",
        "CREATE UNIQUE INDEX item_claimed ON item (opportunity) WHERE status = 1",
        "CREATE INDEX item_waiting ON item (job, due) WHERE status = 2",
        """CREATE TABLE tally (
            job {integer} NOT NULL, status {small} NOT NULL, reason TEXT NOT NULL, n {integer} NOT NULL,
            PRIMARY KEY (job, status, reason)
        )""",
        "CREATE TABLE event (id {serial}, job {integer} NOT NULL, at {real} NOT NULL, kind TEXT NOT NULL, data TEXT)",
        "CREATE INDEX event_by_job ON event (job, id)",
        """CREATE TABLE worker (
            id {serial}, job {integer}, name TEXT NOT NULL, beat {integer} NOT NULL,
            started {real} NOT NULL, seen {real} NOT NULL
        )""",
        "CREATE TABLE pace (identity TEXT PRIMARY KEY, learnt TEXT NOT NULL, at {real} NOT NULL)",
        """CREATE TABLE slot (
            identity TEXT NOT NULL, number {integer} NOT NULL, worker {integer} NOT NULL,
            PRIMARY KEY (identity, number)
        )""",
    ),
    (
        """CREATE TABLE subscription (
            id TEXT PRIMARY KEY, twin TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, tenant TEXT NOT NULL,
            callback TEXT NOT NULL, outcome TEXT NOT NULL, minimum TEXT, created {real} NOT NULL,
            expires {real} NOT NULL, failing {real}
        )""",
        "CREATE INDEX subscription_by_tenant ON subscription (tenant)",
        """CREATE TABLE delivery (
            id {serial}, subscription TEXT NOT NULL, event TEXT NOT NULL, body TEXT, due {real},
            attempts {integer} NOT NULL, made {real} NOT NULL, UNIQUE (subscription, event)
        )""",
        "CREATE INDEX delivery_due ON delivery (due) WHERE due IS NOT NULL",
        "CREATE TABLE tracking (tenant TEXT PRIMARY KEY, token TEXT NOT NULL)",
    ),
    (  # statuses and columns by the names that the code uses; a job names its organization
        "ALTER TABLE job RENAME COLUMN wish TO desired_state",
        "ALTER TABLE job ADD COLUMN organization TEXT NOT NULL DEFAULT ''",
        "UPDATE job SET organization = COALESCE({organization}, '')",
        """CREATE TABLE item_named (
            id {key}, job {integer} NOT NULL, rank {integer} NOT NULL, opportunity {bytes} NOT NULL, account {bytes},
            status TEXT NOT NULL, epoch {integer} NOT NULL, attempts {integer} NOT NULL, holder {integer},
            due {real}, plan TEXT, intent TEXT NOT NULL, reason TEXT, report {bytes}, ended {real}, kept TEXT
        ){upkeep}""",
        f"""INSERT INTO item_named SELECT id, job, turn, opportunity, account, {_STATUS_NAME}, epoch, attempts, holder,
            due, plan, wanted, reason, report, ended, NULL FROM item""",
        "DROP TABLE item",
        "ALTER TABLE item_named RENAME TO item",
        "CREATE INDEX item_pending ON item (job, rank, id) WHERE status = 'pending'",
        "CREATE UNIQUE INDEX item_claimed ON item (opportunity) WHERE status = 'claimed'",
        "CREATE INDEX item_waiting ON item (job, due) WHERE status = 'waiting'",
        """CREATE TABLE tally_named (
            job {integer} NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, n {integer} NOT NULL,
            PRIMARY KEY (job, status, reason)
        )""",
        f"INSERT INTO tally_named SELECT job, {_STATUS_NAME}, reason, n FROM tally",
        "DROP TABLE tally",
        "ALTER TABLE tally_named RENAME TO tally",
        "ALTER TABLE worker RENAME COLUMN beat TO heartbeat",
        "CREATE TABLE saved_state (name TEXT PRIMARY KEY, data TEXT NOT NULL, at {real} NOT NULL)",
        "INSERT INTO saved_state SELECT identity, learnt, at FROM pace",
        "DROP TABLE pace",
    ),
    (  # an operation names its tenant; owners are KIND:TENANT:OBJECT, and tenants have 36 characters
        "ALTER TABLE job ADD COLUMN tenant TEXT NOT NULL DEFAULT ''",
        "UPDATE job SET tenant = substr(owner, 6, 36) WHERE owner LIKE 'user:%'",
        "UPDATE job SET tenant = substr(owner, 13, 36) WHERE owner LIKE 'application:%'",
        "UPDATE job SET tenant = 'development' WHERE owner LIKE 'developer:%'",
        "CREATE INDEX job_by_tenant ON job (tenant, id) WHERE key IS NOT NULL",
    ),
    (  # what a job has used of its limits: operations, and rows that its rate allows now, saved up to a moment
        "ALTER TABLE job ADD COLUMN operations {integer} NOT NULL DEFAULT 0",
        "ALTER TABLE job ADD COLUMN allowance {real}",
        "ALTER TABLE job ADD COLUMN allowed_at {real}",
    ),
    (  # the audit log; what many entries have in common stands in a row of its own
        "CREATE TABLE audit_source (id {serial}, facts TEXT NOT NULL UNIQUE)",
        """CREATE TABLE audit (
            id {serial}, at {real} NOT NULL, source {integer} NOT NULL, job TEXT, opportunity {bytes},
            event TEXT NOT NULL, details {bytes}
        )""",
        "CREATE INDEX audit_by_opportunity ON audit (opportunity) WHERE opportunity IS NOT NULL",
    ),
)
"""MIGRATIONS[n] leads from version n to n + 1."""

VERSION = len(MIGRATIONS)
OTHER_VERSION = "Finish its jobs with that version, or set CONNECTOR_STORE to another place."
"""What to do where the tables are not those that the migrations make: versions that were never released had others."""

ROW_BITS = 32
ROW_MASK = 2**ROW_BITS - 1


def item_id(job: int, row: int) -> int:
    """Return the id of the item that is row `row` of the job."""
    return (job << ROW_BITS) | row
