"""The words of the ledger: jobs, items, what came of them, and how many there are of each, kept with every change."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Self
from uuid import UUID

from connector.closing.intent import AnyIntent
from connector.errors import LedgerError
from connector.ledger.schema import ROW_MASK, SqlRow, Transaction, Value, item_id

MOST_ROWS = 2**32 - 1
"""A job's rows have numbers from 1 to this."""
PACE = "pace"
"""The kind of event with which a run notes now and then what holds it."""


class InputChanged(LedgerError):
    """The job was made of other rows than the input has now; nothing was changed."""


class WorkerLost(LedgerError):
    """The worker was taken for dead and its items went to another: its results no longer count.

    It may begin again as a new one.
    """

    transient = True


class JobKind(StrEnum):
    """What a job does to its opportunities."""

    CLOSE = "close"
    REOPEN = "reopen"


class _StatusText(StrEnum):
    """A word of the ledger: `sentence` says it to a person, `seen` that a worker has seen it, if that is said."""

    _value_: str
    sentence: str
    seen: str

    def __new__(cls, word: str, sentence: str = "", seen: str = "") -> Self:
        status = str.__new__(cls, word)
        status._value_, status.sentence, status.seen = word, sentence, seen
        return status


class JobState(_StatusText):
    """How far a job is."""

    LOADING = "loading", "Its rows are being read in; if that was interrupted, the next run starts again."
    READY = "ready", "It has rows that are still to be done."
    FINISHED = "finished", "Every row has its result."


class DesiredState(_StatusText):
    """What a person asks of a job; its workers read it at every commit."""

    RUN = "run", "It may be worked on."
    PAUSE = (
        "pause",
        "It is paused: what was in flight is finished, the rest waits until it is resumed.",
        "The job is being paused: what is in flight is finished.",
    )
    CANCEL = (
        "cancel",
        "It is cancelled: what was in flight is finished, the rest is left as it is unless it is resumed.",
        "The job is being cancelled: what is in flight is finished.",
    )


class ItemStatus(_StatusText):
    """The state of an item, by its name in the tables, in files and in JSON.

    Those of a finished item are also the `ReportStatus` values.
    """

    PENDING = "pending", "Still to do."
    CLAIMED = "claimed", "In progress."
    WAITING = "waiting", "Waits and is tried again: the reason passes."
    CLOSED = "closed", "This job closed it."
    ALREADY_CLOSED = "already_closed", "It was closed as wanted, but not by this job."
    REFUSED = "refused", "Not changed; the reason says why and what to do."
    FAILED = "failed", "Not done; the error says why and what to do."
    REOPENED = "reopened", "This job opened it again."
    ALREADY_OPEN = "already_open", "It was open already: somebody opened it, or a run that was cut off."
    UNDONE = "undone", "This job closed it; undo opened it again."

    @property
    def final(self) -> bool:
        """Return whether it is a result."""
        return self not in (ItemStatus.PENDING, ItemStatus.CLAIMED, ItemStatus.WAITING)


NOT_DONE = (ItemStatus.REFUSED, ItemStatus.FAILED)
AS_ASKED = tuple(status for status in ItemStatus if status.final and status not in NOT_DONE)
"""The results of rows that are not as they were asked for, and of those that are."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row to load: its number in the input and its intent; the account and the digest of an approved plan if known.

    `kept` are columns of the input that reports carry along. Numbers rise from row to row. Rows of one account are
    claimed as far apart as the others allow.
    """

    number: int
    intent: AnyIntent
    account: UUID | None = None
    plan: str = ""
    kept: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the ledger has it. `digest` names its rows; `options` are plain data of those who run it.

    `organization` is the `https://` address of the organization whose opportunities these are, `operations` how many
    requests it has used that count towards the entitlement.
    """

    id: int
    name: str
    kind: JobKind
    state: JobState
    desired_state: DesiredState
    total: int
    digest: str
    options: Mapping[str, object]
    organization: str
    undoes: str
    created: datetime
    finished: datetime | None
    operations: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """An item in the hands of a worker; `epoch` proves that it is, `attempts` counts this one too.

    `recorded` is the report of what this job has done already, where it only reads it again.
    """

    row: int
    epoch: int
    attempts: int
    intent: AnyIntent
    account: UUID | None = None
    plan: str = ""
    recorded: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What came of an item: a final status, its stable reason code (empty when well) and the report as plain data.

    `user` is as whom it was done, `audit` what the audit log keeps of it (see `closing.report.audit_data`), or None.
    """

    row: int
    epoch: int
    status: ItemStatus
    reason: str = ""
    report: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    user: str = ""
    audit: Mapping[str, object] | None = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a commit: the rows that were no longer this worker's, and the state the job shall be in."""

    lost: tuple[int, ...]
    desired_state: DesiredState


@dataclass(frozen=True, slots=True)
class Record:
    """An item as it stands in the ledger; `report` is None until it has a result or has failed once."""

    row: int
    opportunity_id: UUID
    intent: AnyIntent
    account: UUID | None
    plan: str
    status: ItemStatus
    reason: str
    attempts: int
    ended: datetime | None
    report: Mapping[str, object] | None
    kept: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many items a job has of each status, and of each reason among the refused and failed ones."""

    by_status: Mapping[ItemStatus, int]
    reasons: Mapping[tuple[ItemStatus, str], int]

    def of(self, status: ItemStatus) -> int:
        """Return how many items have this status."""
        return self.by_status.get(status, 0)

    @property
    def total(self) -> int:
        """Return how many items there are."""
        return sum(self.by_status.values())

    @property
    def open(self) -> int:
        """Return how many have no result yet: pending, waiting to be tried again, or claimed."""
        return sum(count for status, count in self.by_status.items() if not status.final)

    @property
    def not_read_again(self) -> int:
        """Return how many a worker closed or reopened that stopped or died before it read them again."""
        return sum(self.reasons.get((status, NOT_READ_AGAIN), 0) for status in DONE_HERE)

    def data(self) -> dict[str, int]:
        """Return total and every status by its word, ready for JSON; `pending` includes those that wait."""
        data = {"total": self.total} | {status.value: self.of(status) for status in ItemStatus}
        data["pending"] += self.of(ItemStatus.WAITING)
        return data


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job; events are only ever added."""

    at: datetime
    kind: str
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker that has not left: `name` says where it runs, `last_heard` the time of its last heartbeat."""

    id: int
    name: str
    job: str
    started: datetime
    last_heard: datetime


NOT_READ_AGAIN = "not_read_again"
"""The reason of items that were done and not read again since: the next run of their job does that."""
DONE_HERE = (ItemStatus.CLOSED, ItemStatus.REOPENED)

Changes = Mapping[tuple[ItemStatus, str], int]
"""By how much the number of items with this status and reason rises."""

TALLY = "SELECT status, reason, n FROM tally WHERE n <> 0 AND job ="
"""What `counts_from` reads; the job's id follows."""


def counts_from(rows: Iterable[SqlRow]) -> Counts:
    """Return the numbers of a job."""
    by_status: dict[ItemStatus, int] = {}
    reasons: dict[tuple[ItemStatus, str], int] = {}
    for name, reason, count in rows:
        status = ItemStatus(name)
        by_status[status] = by_status.get(status, 0) + count
        if reason:
            reasons[status, reason] = count
    return Counts(by_status, reasons)


def change_items(transaction: Transaction, change: str, values: Sequence[Value], ids: Collection[int]) -> None:
    """Change the items with these ids, if any; `change` is what stands behind SET, `values` are its own."""
    if ids:
        transaction.run(f"UPDATE item SET {change} WHERE id IN ({marks(ids)})", (*values, *ids))


def mark_not_read_again(transaction: Transaction, job: int, worker: int, which: str, values: Sequence[Value]) -> None:
    """Mark as not read again what a worker closed or reopened of a job, where the condition `which` holds."""
    mine = "UPDATE item SET reason = ? WHERE id > ? AND id <= ? AND holder = ? AND status = ? AND reason IS NULL"
    chosen = (NOT_READ_AGAIN, item_id(job, 0), item_id(job, ROW_MASK), worker)
    for status in DONE_HERE:
        count = transaction.run(f"{mine} AND {which}", (*chosen, status.value, *values))
        add_to_tally(transaction, job, {(status, ""): -count, (status, NOT_READ_AGAIN): count})


def marks(values: Collection[object]) -> str:
    """Return a mark for each value of a list in a statement."""
    return ", ".join("?" * len(values))


def add_to_tally(transaction: Transaction, job: int, changes: Changes) -> None:
    """Change the numbers; always in the same order, so that two transactions never wait for each other."""
    for (status, reason), count in sorted(changes.items()):
        if count:
            transaction.run(
                "INSERT INTO tally (job, status, reason, n) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (job, status, reason) DO UPDATE SET n = tally.n + excluded.n",
                (job, status.value, reason, count),
            )


def note(transaction: Transaction, job: int, at: float, kind: str, data: Mapping[str, object] | None = None) -> None:
    """Add an event to the job."""
    transaction.run(
        "INSERT INTO event (job, at, kind, data) VALUES (?, ?, ?, ?)",
        (job, at, kind, json.dumps(dict(data)) if data else None),
    )
