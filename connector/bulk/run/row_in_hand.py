"""Rows in the hands of a run: how far each is, and the queues in which they wait for their next stage."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from connector.closing.close import progress_of
from connector.closing.model import Plan, StepStatus
from connector.closing.progress import Progress
from connector.ledger.jobs import Item


@dataclass(frozen=True, slots=True)
class PipelineState:
    """How many rows wait to be read or sent, are in flight or in doubt, and were answered so far.

    `largest` is how many of them the largest request carries, at most; `unchecked` are recorded and to be read again;
    `behind` are those of the waiting that wait for a row of their account; `out` is whether nothing can be reached.
    """

    waiting: int
    in_flight: int
    in_doubt: int
    answered: int
    largest: int
    unchecked: int = 0
    behind: int = 0
    out: bool = False


@dataclass(slots=True, eq=False)
class RowInHand:
    """An item that this run has claimed. Times are seconds on the run's clock.

    `since` is when it came to its present stage, `sends` how often it was sent, `setbacks` how often without success
    since something of it succeeded, `waits` how often it had to wait.
    `recorded_at` is when it was written down as done: then it is only to be checked. `sent` is its number in the order
    of sending.
    """

    item: Item
    progress: Progress
    since: float
    plan: Plan | None = None
    sends: int = 0
    setbacks: int = 0
    waits: int = 0
    recorded_at: float | None = None
    sent: int = 0

    @property
    def account(self) -> UUID:
        """Return the account it belongs to, else what stands for itself."""
        snapshot = self.progress.now
        return (snapshot.opportunity.customer_id if snapshot else None) or self.progress.opportunity_id

    @property
    def as_user(self) -> UUID | None:
        """Return the user in whose name it is done, if it is another than who signs in."""
        return self.plan.as_user if self.plan else None

    @property
    def touched(self) -> bool:
        """Return whether something was done for it, or may have been."""
        return any(result.status in {StepStatus.DONE, StepStatus.UNKNOWN} for result in self.progress.results.values())


def taken_in_hand(item: Item, now: float) -> RowInHand:
    """Return a claimed item at the beginning of its way.

    What was claimed before may have been closed by a run that died: the close activities tell by whom it was.
    """
    progress = progress_of(item.intent, item.plan)
    progress.unsure = item.attempts > 1
    return RowInHand(item, progress, now)


class LookQueue:
    """Rows to be looked at, many with one read: when `enough` are there, or one has waited `patience` seconds."""

    def __init__(self, *, enough: int, patience: float) -> None:
        self._enough = enough
        self._patience = patience
        self._rows: deque[RowInHand] = deque()

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._rows)

    def add(self, rows: Iterable[RowInHand], now: float) -> None:
        """Put rows at the end."""
        for row in rows:
            row.since = now
            self._rows.append(row)

    def __iter__(self) -> Iterator[RowInHand]:
        """Yield all, the first to be taken first."""
        return iter(self._rows)

    def is_due(self, now: float) -> bool:
        """Return whether it is time to look."""
        return len(self._rows) >= self._enough or bool(self._rows and now - self._rows[0].since >= self._patience)

    def has_fresh(self) -> bool:
        """Return whether the first that waits was never looked at."""
        return bool(self._rows) and not self._rows[0].progress.rounds

    def take(self, most: int) -> list[RowInHand]:
        """Return the rows of the next read."""
        return [self._rows.popleft() for _ in range(min(most, len(self._rows)))]

    def clear(self) -> list[RowInHand]:
        """Return all rows; none wait any more."""
        return self.take(len(self._rows))


class SendQueue:
    """Rows with a plan. Rows of one account are never in two requests at the same time.

    They lock the same rows in the service's database; in one request they are executed one after the other. A row that
    failed before is sent alone: whatever is wrong with it costs nobody else anything.
    """

    def __init__(self) -> None:
        self._rows: deque[RowInHand] = deque()
        self._busy: set[UUID] = set()

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._rows)

    def behind(self) -> int:
        """Return how many wait for one of their account that was sent."""
        return sum(row.account in self._busy for row in self._rows)

    def add(self, row: RowInHand) -> None:
        """Put a row at the end."""
        self._rows.append(row)

    def take(self, size: int) -> list[RowInHand]:
        """Return up to `size` rows for one request; none where all that wait must wait for their account."""
        batch: list[RowInHand] = []
        passed: list[RowInHand] = []
        while self._rows and len(batch) < size:
            row = self._rows.popleft()
            other = bool(batch) and (row.sends or row.as_user != batch[0].as_user)  # a request acts as one user
            if row.account in self._busy or other:
                passed.append(row)
                continue
            batch.append(row)
            if row.sends:
                break
        self._rows.extendleft(reversed(passed))
        self._busy |= {row.account for row in batch}
        return batch

    def answered(self, batch: Iterable[RowInHand]) -> None:
        """Let rows of the same accounts go."""
        self._busy -= {row.account for row in batch}

    def clear(self) -> list[RowInHand]:
        """Return all rows; none wait any more."""
        return [self._rows.popleft() for _ in range(len(self._rows))]


class WaitingRoom:
    """Rows that come back later, each at a time of its own."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, RowInHand]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._heap)

    @property
    def next_at(self) -> float:
        """Return when the next one comes back."""
        return self._heap[0][0] if self._heap else float("inf")

    def add(self, row: RowInHand, now: float, seconds: float) -> None:
        """Let a row wait for so long."""
        row.since = now
        heapq.heappush(self._heap, (now + seconds, next(self._numbers), row))

    def take(self, now: float) -> list[RowInHand]:
        """Return the rows whose time has come; each knows how long it has waited."""
        rows = []
        while self.next_at <= now:
            row = heapq.heappop(self._heap)[2]
            row.progress.waited += now - row.since
            rows.append(row)
        return rows

    def clear(self) -> list[RowInHand]:
        """Return all rows; none wait any more."""
        return [heapq.heappop(self._heap)[2] for _ in range(len(self._heap))]
