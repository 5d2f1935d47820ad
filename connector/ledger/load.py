"""Loading a job: whole, or not at all, without keeping anybody else from writing for long.

Rows land in pieces under a job that is `loading`, which nobody works on; the last transaction makes it `ready`. What a
dead process left half loaded is thrown away by the next load.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from connector.errors import InputError, LedgerError
from connector.ledger.intents import intent_text
from connector.ledger.jobs import MOST_ROWS, ItemStatus, JobKind, JobState, Row, add_to_tally, note
from connector.ledger.liveness import LivenessMonitor
from connector.ledger.schema import ROW_MASK, Database, Value, item_id

_PIECE = 5_000
_SPREAD_BITS = 20


@dataclass(frozen=True, slots=True)
class NewJob:
    """What is known of a job before its rows; `undoes` is the id of the job whose closes it takes back."""

    name: str
    kind: JobKind
    options: Mapping[str, object]
    organization: str
    undoes: int | None
    who: str


def load(liveness: LivenessMonitor, start: NewJob, rows: Iterable[Row]) -> None:
    """Load the rows as a new job; raises what reading them raises, LedgerError, or InputError on duplicates."""
    if not start.name.strip():
        raise LedgerError("A job needs a name.", remedy="Give one with --job.")
    sweep(liveness)
    database = liveness.database
    job, loader = _begin(liveness, start)
    try:
        items = _Items(job, rows)
        going = iter(items)
        while piece := list(islice(going, _PIECE)):
            with database.transaction() as transaction:
                transaction.append_items(piece)
                liveness.heartbeat(transaction, loader)
        _refuse_duplicates(database, job)
        _complete(liveness, job, items)
    except BaseException:
        with suppress(LedgerError):  # the first failure is the one to tell; the rest is thrown away by the next load
            discard(database, job)
        raise
    finally:
        with suppress(LedgerError):
            liveness.remove(loader)


def digest_of(rows: Iterable[Row]) -> str:
    """Return the name of these rows: the same rows in the same order have the same one, whatever file they came in."""
    items = _Items(0, rows)
    for _ in items:
        pass
    return items.digest()


def discard(database: Database, job: int) -> None:
    """Delete a job and all that belongs to it, in pieces, so that others can write in between."""
    with database.transaction() as transaction:
        transaction.run("UPDATE job SET state = 'loading', loader = NULL WHERE id = ?", (job,))
    last, end = item_id(job, 0), item_id(job, ROW_MASK)
    while last is not None:
        with database.transaction() as transaction:
            rows = transaction.rows(
                "SELECT MAX(id) FROM (SELECT id FROM item WHERE id > ? AND id <= ? ORDER BY id LIMIT ?) AS piece",
                (last, end, _PIECE),
            )
            start, last = last, rows[0][0]
            if last is not None:
                transaction.run("DELETE FROM item WHERE id > ? AND id <= ?", (start, last))
    with database.transaction() as transaction:
        for table in ("tally", "event"):
            transaction.run(f"DELETE FROM {table} WHERE job = ?", (job,))
        transaction.run("DELETE FROM job WHERE id = ?", (job,))


def sweep(liveness: LivenessMonitor) -> None:
    """Throw away what dead processes left half loaded or half deleted."""
    liveness.reap()
    left = liveness.database.rows(
        "SELECT id FROM job WHERE state = 'loading' AND (loader IS NULL OR loader NOT IN (SELECT id FROM worker))"
    )
    for (job,) in left:
        discard(liveness.database, job)


def being_loaded(name: str) -> LedgerError:
    """Return what to tell who wants a job that is not yet, or no longer, whole."""
    return LedgerError(
        f"The job {name!r} is being loaded or deleted by another process.",
        remedy="Wait until that is done, or choose another name.",
    )


class _Items:
    """The rows as items, one by one, and what they add up to; `rank` spreads the rows of an account over the job.

    The n-th row of an account has rank n. Accounts are counted in a table of fixed size: two that share a place only
    get ranks that are further apart than need be.
    """

    def __init__(self, job: int, rows: Iterable[Row]) -> None:
        self.count = 0
        self._job = job
        self._rows = rows
        self._digest = hashlib.sha256()
        self._ranks = array("L")

    def __iter__(self) -> Iterator[tuple[Value, ...]]:
        last = 0
        for row in self._rows:
            if not last < row.number <= MOST_ROWS:
                raise LedgerError(f"Row {row.number} follows row {last}; row numbers must rise, up to {MOST_ROWS:,}.")
            last = row.number
            self.count += 1
            yield self._item(row)

    def digest(self) -> str:
        """Return the name of the rows seen so far."""
        return self._digest.hexdigest()

    def _item(self, row: Row) -> tuple[Value, ...]:
        opportunity, intent = row.intent.opportunity_id.bytes, intent_text(row.intent)
        self._digest.update(b"%d %s %s %s\n" % (row.number, opportunity, row.plan.encode(), intent.encode()))
        account = row.account.bytes if row.account else None
        rank = self._rank(account) if account else 0
        key = item_id(self._job, row.number)
        kept = json.dumps(dict(row.kept), ensure_ascii=False) if row.kept else None
        pending = ItemStatus.PENDING.value
        return key, self._job, rank, opportunity, account, pending, 0, 0, row.plan or None, intent, kept

    def _rank(self, account: bytes) -> int:
        if not self._ranks:
            self._ranks = array("L", bytes(array("L").itemsize << _SPREAD_BITS))
        place = zlib.crc32(account) & ((1 << _SPREAD_BITS) - 1)
        self._ranks[place] += 1
        return self._ranks[place]


def _begin(liveness: LivenessMonitor, start: NewJob) -> tuple[int, int]:
    """Write down the job as loading, and this process as its loader."""
    with liveness.database.transaction() as transaction:
        states = transaction.rows("SELECT state FROM job WHERE name = ?", (start.name,))
        if states:
            raise _taken(start.name, JobState(states[0][0]))
        loader, now = liveness.add(transaction, start.who, None), liveness.clock.now().timestamp()
        values = (start.name, start.kind.value, json.dumps(dict(start.options)), start.organization, start.undoes)
        job = transaction.insert(
            "INSERT INTO job"
            " (name, kind, state, desired_state, total, digest, options, organization, undoes, created, loader)"
            " VALUES (?, ?, 'loading', 'run', 0, '', ?, ?, ?, ?, ?)",
            (*values, now, loader),
        )
        transaction.run("UPDATE worker SET job = ? WHERE id = ?", (job, loader))
    return job, loader


def _taken(name: str, state: JobState) -> LedgerError:
    if state is JobState.LOADING:
        return being_loaded(name)
    return LedgerError(
        f"There is a job {name!r} already.", remedy="Resume it, delete it, or choose another name with --job."
    )


def _refuse_duplicates(database: Database, job: int) -> None:
    """Raise InputError when an opportunity has two rows; sorted on disk, so that memory stays flat."""
    rows = database.rows(
        "SELECT opportunity, MIN(id), MAX(id) FROM item WHERE id > ? AND id <= ?"
        " GROUP BY opportunity HAVING COUNT(*) > 1 ORDER BY 2 LIMIT 1",
        (item_id(job, 0), item_id(job, ROW_MASK)),
    )
    for opportunity, first, second in rows:
        raise InputError(
            f"The opportunity {UUID(bytes=bytes(opportunity))} is in row {first & ROW_MASK} and again in row"
            f" {second & ROW_MASK}; nothing was loaded.",
            remedy="Keep one of them.",
        )


def _complete(liveness: LivenessMonitor, job: int, items: _Items) -> None:
    """Make the job ready."""
    now = liveness.clock.now().timestamp()
    state, finished = (JobState.READY, None) if items.count else (JobState.FINISHED, now)
    with liveness.database.transaction() as transaction:
        add_to_tally(transaction, job, {(ItemStatus.PENDING, ""): items.count})
        transaction.run(
            "UPDATE job SET state = ?, finished = ?, total = ?, digest = ?, loader = NULL WHERE id = ?",
            (state.value, finished, items.count, items.digest(), job),
        )
        note(transaction, job, now, "created", {"items": items.count})
