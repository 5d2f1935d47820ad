"""Operations: jobs of one item, rows again by the key of the caller, with the answer they were given.

An operation is asked for once or many times under one key; it exists once. Its name is hard to guess and is what a
status address carries. It is worked off as any item is, and stays, answer and all, until it expires.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from connector.closing.intent import AnyIntent
from connector.errors import LedgerError
from connector.ledger.audit import AuditEntry, AuditSource, request_entry
from connector.ledger.claims import CLAIMABLE, FREE, SKEW, Worker, claimed, take
from connector.ledger.intents import intent_text
from connector.ledger.jobs import Item, ItemStatus, Job, JobKind, JobState, Record, add_to_tally, marks, note
from connector.ledger.ledger import JOB_COLUMNS, RECORD_COLUMNS, Ledger, job_from, record_from
from connector.ledger.operation_filter import EVERY_OPERATION, FAILED, STATUS_SQL, OperationCount, OperationFilter
from connector.ledger.schema import SqlRow, Transaction, item_id
from connector.ledger.shared_state import remember

MOST_COUNTED = 100_000
_ROW = 1
_JOB_WITH_ITEM = "FROM job JOIN item ON item.id = job.id * 4294967296 + 1"
_OPERATION = (
    f"SELECT {JOB_COLUMNS}, {RECORD_COLUMNS}, job.owner, job.tenant, job.key, job.content, job.expires,"
    f" item.epoch {_JOB_WITH_ITEM} WHERE job.key IS NOT NULL"
)
_SEPARATOR = "\n"
_ELSEWHERE = " AND COALESCE(job.tenant, '') <> ?"
MOST_SEARCHED = 10_000
"""Operations that are looked through for a text, the newest first."""


class KeyReused(LedgerError):
    """The key was used before, for something else: for which record, and by which operation."""


@dataclass(frozen=True, slots=True)
class NewOperation:
    """What is asked for: by whom, under which key, what, and until when the answer is kept.

    `content` names what is asked exactly; the same key with other content is refused. `options` are plain data.
    """

    owner: str
    tenant: str
    key: str
    content: str
    intent: AnyIntent
    kind: JobKind
    options: Mapping[str, object]
    expires: datetime
    organization: str = ""

    def entry(self, event: str, name: str) -> AuditEntry:
        """Return what the audit log keeps of a request for it: who sent it, also where another one made it."""
        return request_entry(event, self.intent.opportunity_id, name, self.options, self.organization)


@dataclass(frozen=True, slots=True)
class StoredOperation:
    """An operation as the ledger has it: its job, whose name is the operation's, and its single item.

    `taken_up` is how often somebody has begun to work on it; at 0 nothing can have been changed.
    """

    job: Job
    record: Record
    owner: str
    tenant: str
    key: str
    content: str
    expires: datetime
    taken_up: int


class OperationStore:
    """The operations of a ledger; all methods raise LedgerError."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._database = ledger.database

    def accept(
        self, name: str, new_operation: NewOperation, counts: Callable[[StoredOperation], bool] = lambda _: True
    ) -> tuple[StoredOperation, bool]:
        """Write down what is asked under `name`, or find what was asked before under this key; say whether it is new.

        Durable when this returns. A finished one that has expired, or does not count, is replaced. Raises KeyReused.
        """
        key = _key(new_operation.owner, new_operation.key)
        with self._database.transaction() as transaction:
            transaction.exclude_claims()
            earlier = next(map(_operation, transaction.rows(f"{_OPERATION} AND job.key = ?", (key,))), None)
            finished = earlier is not None and earlier.job.state is JobState.FINISHED
            if earlier and finished and earlier.expires.timestamp() < self._ledger.now():
                _remove(transaction, earlier.job.id)
                earlier = None
            if earlier and earlier.content != new_operation.content:
                raise KeyReused(f"{earlier.record.opportunity_id} by the operation {earlier.job.name}")
            if earlier and finished and not counts(earlier):
                transaction.run("UPDATE job SET key = key || ? WHERE id = ?", (f"#{earlier.job.name}", earlier.job.id))
                earlier = None
            operation = earlier or self._insert(transaction, name, key, new_operation)
            entry = new_operation.entry("repeated" if earlier else "accepted", operation.job.name)
            written = self._ledger.audit.add(transaction, [entry])
        self._ledger.audit.told(written)
        return operation, earlier is None

    def get(self, name: str) -> StoredOperation:
        """Return the operation of this name; raises LedgerError when there is none."""
        operation = self.find(name)
        if operation is None:
            raise LedgerError("There is no such operation, or it has expired.", remedy="Ask for it again.")
        return operation

    def find(self, name: str) -> StoredOperation | None:
        """Return the operation of this name, or None; anybody may ask with anything."""
        rows = self._database.rows(f"{_OPERATION} AND job.name = ?", (name,)) if name.isprintable() else []
        return _operation(rows[0]) if rows else None

    def ended(self, names: Sequence[str]) -> list[str]:
        """Return which of the first `MOST_SEARCHED` of these operations have ended."""
        query = f"SELECT name FROM job WHERE state = 'finished' AND name IN ({marks(names[:MOST_SEARCHED])})"
        return [name for (name,) in self._database.rows(query, names[:MOST_SEARCHED])]

    def newest(self, most: int, chosen: OperationFilter = EVERY_OPERATION, skip: int = 0) -> list[StoredOperation]:
        """Return up to `most` of the chosen operations, the newest first, after the first `skip` of them."""
        condition, values = chosen.condition
        query = f"{_OPERATION}{condition} ORDER BY job.id DESC LIMIT ?"
        if chosen.text and not chosen.id:
            return list(islice(self._searched(chosen), skip, skip + most))
        return [_operation(row) for row in self._database.rows(f"{query} OFFSET ?", (*values, most, skip))]

    def count(self, chosen: OperationFilter) -> list[OperationCount]:
        """Return how many of the chosen operations are at which status, and why they failed; the most come first."""
        if chosen.text and not chosen.id:
            counted = Counter((status_of(operation), operation.record.reason) for operation in self._searched(chosen))
            return [OperationCount(status, cause, number) for (status, cause), number in counted.most_common()]
        condition, values = chosen.condition
        rows = self._database.rows(
            f"SELECT {STATUS_SQL}, COALESCE(item.reason, ''), COUNT(*) {_JOB_WITH_ITEM}"
            f" WHERE job.key IS NOT NULL{condition} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2",
            values,
        )
        return [OperationCount(status, cause, int(number)) for status, cause, number in rows]

    def _searched(self, chosen: OperationFilter) -> Iterator[StoredOperation]:
        """Look for the text in what is kept as JSON or compressed, which SQL cannot read."""
        condition, values = chosen.condition
        query = f"{_OPERATION}{condition} ORDER BY job.id DESC LIMIT ?"
        text = chosen.text.casefold()
        for row in self._database.rows(query, (*values, MOST_SEARCHED)):
            operation = _operation(row)
            if any(text in part.casefold() for part in _texts(operation)):
                yield operation

    def probe(self) -> tuple[int, int] | None:
        """Write something, as a store that takes operations can; return what `Database.connections` says."""
        remember(self._ledger, "probe", {})
        return self._database.connections()

    def unfinished(self, tenant: str = "") -> int:
        """Return how many operations, or those of a tenant, have no result yet, counting to `MOST_COUNTED`."""
        # The order makes SQLite walk the index of those alone; it would walk every operation that is kept.
        rows = self._database.rows(
            f"SELECT COUNT(*) FROM (SELECT id FROM job WHERE key IS NOT NULL AND state = 'ready'"
            f"{' AND tenant = ?' if tenant else ''} ORDER BY id LIMIT ?) AS unfinished",
            (*([tenant] if tenant else []), MOST_COUNTED),
        )
        return int(rows[0][0])

    def cancel(self, name: str, source: AuditSource) -> bool:
        """End an operation that no worker has yet; return whether that was in time. `source` is who asked."""
        operation, written = self.get(name), list[AuditEntry]()
        with self._database.transaction() as transaction:
            transaction.exclude_claims()
            now = self._ledger.now()
            if waiting := transaction.run(
                "UPDATE job SET desired_state = 'cancel', state = 'finished', finished = ? WHERE id = ?"
                " AND state = 'ready' AND (SELECT status FROM item WHERE id = ?) IN ('pending', 'waiting')",
                (now, operation.job.id, item_id(operation.job.id, _ROW)),
            ):
                note(transaction, operation.job.id, now, "cancel")
                canceled = AuditEntry("canceled", operation.record.opportunity_id, source, name)
                written = self._ledger.audit.add(transaction, [canceled])
        self._ledger.audit.told(written)
        return bool(waiting)

    def delete_expired(self, most: int) -> int:
        """Delete up to `most` finished operations that have expired, the oldest first; return how many there were.

        Several processes may do it side by side; what is asked for again meanwhile begins anew.
        """
        with self._database.transaction() as transaction:
            transaction.exclude_claims()
            rows = transaction.rows(
                "SELECT id FROM job WHERE expires < ? AND key IS NOT NULL AND state = 'finished'"
                " ORDER BY expires LIMIT ?",
                (self._ledger.now(), most),
            )
            for (job,) in rows:
                _remove(transaction, job)
        return len(rows)

    def claim(self, worker: Worker, most: int, without: Sequence[str] = ()) -> list[tuple[Job, Item]]:
        """Take up to `most` operations, the oldest first, as `Worker.claim` takes items; record them one by one.

        Those of the tenants `without` are left.
        """
        self._ledger.liveness.reap()
        now = self._ledger.now()
        with self._database.transaction() as transaction:
            transaction.exclude_claims()
            rows = transaction.rows(
                f"SELECT {JOB_COLUMNS}, {_prefixed(CLAIMABLE)} {_JOB_WITH_ITEM}"
                " WHERE job.key IS NOT NULL AND job.state = 'ready' AND job.desired_state = 'run'"
                " AND (item.status = 'pending' OR item.status = 'waiting' AND (item.due <= ? OR item.ended > ?))"
                f" AND {FREE}{_ELSEWHERE * len(without)}"
                f" ORDER BY job.id LIMIT ?{self._database.skip_locked}",
                (now, now + SKEW, *without, most),
            )
            jobs = [(job_from(row[:_JOB_WIDTH]), row[_JOB_WIDTH:]) for row in rows]
            # Two operations on one opportunity: the second waits for the first.
            first = {bytes(item[2]): (job, item) for job, item in reversed(jobs)}
            chosen = [(job, item) for job, item in jobs if first[bytes(item[2])][1] is item]
            take(transaction, worker.id, [item for _, item in chosen])
            worker.heartbeat(transaction)
        return [(job, claimed(item, job.kind, job.name)) for job, item in chosen]

    def _insert(self, transaction: Transaction, name: str, key: str, new: NewOperation) -> StoredOperation:
        """Write the operation down and return it, as `_OPERATION` would read it."""
        now, expires, options = self._ledger.now(), new.expires.timestamp(), json.dumps(dict(new.options))
        kind, host = new.kind.value, new.organization
        job = transaction.insert(
            "INSERT INTO job"
            " (name, kind, state, desired_state, total, digest, options, created, owner, tenant, key, content, expires,"
            " organization) VALUES (?, ?, 'ready', 'run', 1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (name, kind, new.content, options, now, new.owner, new.tenant, key, new.content, expires, host),
        )
        intent, id_ = intent_text(new.intent), item_id(job, _ROW)
        opportunity, pending = new.intent.opportunity_id.bytes, ItemStatus.PENDING.value
        transaction.append_items([(id_, job, 0, opportunity, None, pending, 0, 0, None, intent, None)])
        add_to_tally(transaction, job, {(ItemStatus.PENDING, ""): 1})
        job_row = (job, name, kind, "ready", "run", 1, new.content, options, host, None, now, None, 0)
        item_row = (id_, opportunity, None, None, pending, None, 0, None, intent, None, None)
        return _operation((*job_row, *item_row, new.owner, new.tenant, key, new.content, expires, 0))


def status_of(operation: StoredOperation) -> str:
    """Return where an operation is, as the filter has it."""
    status = operation.record.status
    if status.final:
        return "failed" if status.value in FAILED else "done"
    if operation.job.state is JobState.FINISHED:
        return "canceled"
    return {ItemStatus.PENDING: "queued", ItemStatus.CLAIMED: "running"}.get(status, "waiting")


def _texts(operation: StoredOperation) -> list[str]:
    """Return what a person may know an operation by."""
    options = operation.job.options
    caller = options.get("caller")
    facts = list(caller.values()) if isinstance(caller, dict) else []
    report = operation.record.report or {}
    ids = [operation.job.name, str(operation.record.opportunity_id), operation.record.reason]
    return [*ids, *map(str, [*facts, *(options.get(n, "") for n in ("run_id", "correlation")), report.get("name", "")])]


_JOB_WIDTH = len(JOB_COLUMNS.split(","))
_RECORD_WIDTH = len(RECORD_COLUMNS.split(","))


def _prefixed(query: str) -> str:
    columns = query.removeprefix("SELECT ").removesuffix(" FROM item").split(", ")
    return ", ".join(f"item.{column}" for column in columns)


def _operation(row: SqlRow) -> StoredOperation:
    job = job_from(row[:_JOB_WIDTH])
    owner, tenant, key, content, expires, epoch = row[_JOB_WIDTH + _RECORD_WIDTH :]
    record, until = record_from(row[_JOB_WIDTH : _JOB_WIDTH + _RECORD_WIDTH], job), datetime.fromtimestamp(expires, UTC)
    return StoredOperation(job, record, owner, tenant, key.partition(_SEPARATOR)[2], content, until, taken_up=epoch)


def _key(owner: str, key: str) -> str:
    return f"{owner.replace(_SEPARATOR, ' ')}{_SEPARATOR}{key}"


def _remove(transaction: Transaction, job: int) -> None:
    transaction.run("DELETE FROM item WHERE id = ?", (item_id(job, _ROW),))
    for table, column in (("tally", "job"), ("event", "job"), ("job", "id")):
        transaction.run(f"DELETE FROM {table} WHERE {column} = ?", (job,))
