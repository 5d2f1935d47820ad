"""The pipeline of one user's rows: read, plan, send, record, check. No row waits for another.

Rows are read many at a time and sent few at a time, in as many requests as the pacer allows. A row whose every step was
answered as done is decided at once; that it stands as asked is checked later, many at a time. A row in doubt waits by
itself and is looked at again. What keeps failing is given back, to be tried again at the end of the job.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from itertools import chain, islice
from typing import TypeVar

from connector.bulk.run.decision import Decisions, Outage, SendOrder, is_outage, looks_temporary, result_of
from connector.bulk.run.paced_client import PacedClient, is_full, rows_per_request, width_of
from connector.bulk.run.row_in_hand import LookQueue, PipelineState, RowInHand, SendQueue, WaitingRoom, taken_in_hand
from connector.clock import Clock
from connector.closing.close import look, pause_length
from connector.closing.model import Plan, Report, StepResult
from connector.errors import ConnectorError, RepeatedUndo, cause_of
from connector.ledger.jobs import Item, ItemResult

MOST_LOOKS = 2
"""Reads for plans under way at once. Checks have reads of their own, the more the more rows wait: none piles up."""
LOOK_AT = 300
"""Rows looked at with one read: two of them for a row make 0.007 requests."""
ENOUGH_TO_LOOK, LOOK_WITHIN = 150, 0.5
"""Rows, and seconds of the oldest, after which those that wait for a plan are read."""
ENOUGH_TO_CHECK, CHECK_WITHIN = 200, 30.0
"""The same for those that are recorded and only to be checked."""
TRIES = 3
"""How often a row fails, one time after the other, before it is left to the end, where its failure looks temporary."""
MOST_WAITS = 9
"""How often a row in doubt is looked at without an answer before it is left to the end: about three minutes."""

T = TypeVar("T")


class Pipeline:
    """The rows that one user works on. Safe for threads; `wake` is called when it has nothing to do any more.

    `threads` carries what waits, `chance` gives numbers from 0 to 1 for the jitter, `order` numbers what is sent by all
    users, `results` makes what is recorded. `spend` counts operations of the entitlement, and says if they may be used.
    """

    def __init__(
        self,
        client: PacedClient,
        threads: Executor,
        clock: Clock,
        chance: Callable[[], float],
        wake: Callable[[], None],
        order: SendOrder,
        spend: Callable[[int], bool] = lambda _operations: True,
        results: Callable[[RowInHand, Report, str], ItemResult] = result_of,
    ) -> None:
        self._client = client
        self._spend = spend
        self._threads = threads
        self._clock = clock
        self._chance = chance
        self._wake = wake
        self._order = order
        self._lock = threading.RLock()
        self._to_look = LookQueue(enough=ENOUGH_TO_LOOK, patience=LOOK_WITHIN)
        self._to_check = LookQueue(enough=ENOUGH_TO_CHECK, patience=CHECK_WITHIN)
        self._to_send = SendQueue()
        self._later = WaitingRoom()
        self._decisions = Decisions(client.user, results)
        self._looks, self._checks = list[list[RowInHand]](), list[list[RowInHand]]()
        self._under_way: dict[int, int] = {}
        """How many rows each request sends that was made ready and is not answered, the oldest first; 0 for reads."""
        self.unread: list[RowInHand] = []
        """Those recorded whose check was turned away at a stop, or failed too often: others read them."""
        self._batches = self._sending = self._answered = 0
        self._largest = 1
        self._outage = Outage()
        self._to_come: float = 0
        self._most = math.inf
        self._stopping = False
        self._giving_out = False
        self._defect: BaseException | None = None

    # -- what the run asks --------------------------------------------------------------------------------------------

    def add(self, items: Sequence[Item]) -> None:
        """Take rows in hand."""
        with self._lock:
            now = self._clock.monotonic()
            self._to_look.add([taken_in_hand(item, now) for item in items], now)
            self._give_out()

    def wants(self) -> int:
        """Return how many more rows it could use now."""
        with self._lock:
            if self._stopping or self._outage.lasts(self._clock.monotonic()):
                return 0
            enough, waiting = self._enough(), len(self._to_look) + len(self._to_send)
            return max(0, min(enough - waiting + self._to_send.behind(), 2 * enough - waiting))

    def _enough(self) -> int:
        """Return how many rows should wait: reading them takes as long as a few others are sent."""
        return max(ENOUGH_TO_LOOK, 2 * self._sending, 2 * width_of(self._client.gate))

    def go_on(self, to_come: float, most: float = math.inf) -> None:
        """Give out what is due, with `most` requests under way; about `to_come` rows of the job will still come."""
        with self._lock:
            self._stopping = False
            self._client.gate.open()
            self._to_check.add([row for row in self.unread if row.waits < MOST_WAITS], self._clock.monotonic())
            self.unread = [row for row in self.unread if row.waits >= MOST_WAITS]
            self._to_come, self._most = to_come, most
            self._client.gate.expect(self._left())
            self._give_out()

    def stop(self) -> None:
        """Send nothing more until it shall go on: what is in flight is finished and checked, all else given back."""
        self._client.gate.close()
        with self._lock:
            self._stopping = True
            self._give_out()

    def take_decisions(self) -> Decisions:
        """Return what was decided since it was last asked for; raises what went wrong in a thread."""
        with self._lock:
            if self._defect is not None:
                raise self._defect
            decisions, self._decisions = self._decisions, Decisions(self._client.user, self._decisions.result_of)
            return decisions

    def state(self) -> PipelineState:
        """Return how many rows are where; those whose request waits for the pacer are not in flight."""
        with self._lock:
            in_flight = sum(islice(self._under_way.values(), self._client.gate.pace().in_flight))
            return PipelineState(
                waiting=len(self._to_look) + len(self._to_send) + self._sending - in_flight,
                in_flight=in_flight,
                in_doubt=len(self._later),
                answered=self._answered,
                largest=self._largest,
                unchecked=len(self._to_check) + sum(map(len, self._checks)),
                behind=self._to_send.behind(),
                out=self._outage.failures > 0,
            )

    @property
    def busy(self) -> bool:
        """Return whether something is under way in a thread."""
        return bool(self._under_way)

    @property
    def idle(self) -> bool:
        """Return whether it has no row in hand."""
        with self._lock:
            queued = len(self._to_look) + len(self._to_check) + len(self._to_send) + len(self._later)
            return not (queued or self.busy)

    def longest_unread(self) -> float:
        """Return how long ago the oldest of the rows was recorded that are not read again yet; 0 where all are."""
        with self._lock:
            recorded = [row.recorded_at for row in chain(self.unread, self._to_check, *self._checks)]
            return max((self._clock.monotonic() - at for at in recorded if at is not None), default=0.0)

    def due_in(self) -> float:
        """Return in how many seconds something is to be done that nothing else brings about."""
        now = self._clock.monotonic()
        with self._lock:
            return max(0.0, min(self._later.next_at, self._outage.until if self._outage.lasts(now) else math.inf) - now)

    # -- giving out; the lock is held in all that follows -------------------------------------------------------------

    def _give_out(self) -> None:
        """Give to threads whatever can be done now."""
        if self._giving_out:
            return  # the loop below goes on
        self._giving_out = True
        try:
            while self._give_out_one():
                pass
        finally:
            self._giving_out = False

    def _give_out_one(self) -> bool:
        now = self._clock.monotonic()
        self._to_look.add(self._later.take(now), now)
        if self._stopping:  # the next run goes on from what stands
            self._decisions.give_back((*self._to_look.clear(), *self._to_send.clear(), *self._later.clear()))
        if len(self._under_way) >= self._most:
            return False
        if group := self._group(now):
            self._spend(1)
            self._submit(partial(look, self._client.organization, [row.progress for row in group]), self._looked, group)
            return True
        if (
            self._outage.lasts(now)
            or not self._to_send
            or is_full(self._client.gate, self._batches, len(self._under_way))
        ):
            return False
        batch = self._to_send.take(self._size())
        if not batch:
            return False
        plans = [row.plan for row in batch if row.plan is not None]
        if not self._spend(sum(len(plan.steps) for plan in plans)):
            self._to_send.answered(batch)
            self._decisions.give_back(batch)
            return True
        self._batches += 1
        self._sending += len(batch)
        self._largest = max(self._largest, len(batch))
        number = self._order.next()
        for row in batch:
            row.sent = number
        self._submit(partial(self._client.organization.perform, plans), self._sent, batch)
        return True

    def _group(self, now: float) -> list[RowInHand]:
        """Return the rows of the next read, if it is time for one."""
        idle = not self._to_send and self._batches < width_of(self._client.gate)
        if self._to_look.is_due(now) or (self._to_look.has_fresh() and (idle or not self._to_come)):
            if self._outage.lasts(now):
                return []
            if len(self._looks) < MOST_LOOKS:
                self._looks.append(self._to_look.take(LOOK_AT))
                return self._looks[-1]
        last = not (self._to_come or self._to_look or self._to_send or self._batches) or self._stopping
        due = self._to_check.is_due(now) or (last and self._to_check and not self._batches)
        due = due and (self._stopping or not self._outage.lasts(now))
        if not due or sum(map(len, self._checks)) > max(LOOK_AT, len(self._to_check)):
            return []
        self._checks.append(self._to_check.take(LOOK_AT))
        return self._checks[-1]

    def _size(self) -> int:
        """Return how many rows the next request takes; 0 while the last one waits for others."""
        left = self._left()
        if (last := self._client.gate.expect(left, self._made_ready())) != 0:
            return last or 0
        return rows_per_request(self._client.gate, left, width_of(self._client.gate), self._answered)

    def _left(self) -> float:
        """Return how many rows are still to be sent, those made ready for it included."""
        to_look = len(self._to_look) + sum(map(len, self._looks))
        return self._to_come + to_look + len(self._to_send) + self._made_ready()

    def _made_ready(self) -> int:
        """Return how many requests wait for the pacer."""
        return max(0, len(self._under_way) - self._client.gate.pace().in_flight)

    def _submit(self, work: Callable[[], T], then: Callable[[list[RowInHand], T], None], rows: list[RowInHand]) -> None:
        self._under_way[id(rows)] = len(rows) if then == self._sent else 0
        self._threads.submit(work).add_done_callback(partial(self._came_back, then, rows))

    def _came_back(self, then: Callable[[list[RowInHand], T], None], rows: list[RowInHand], future: Future[T]) -> None:
        with self._lock:
            del self._under_way[id(rows)]
            try:
                then(rows, future.result())
                self._give_out()
            except BaseException as error:  # noqa: BLE001 - the run raises it
                self._defect = self._defect or error
            few = 2 * (len(self._to_look) + len(self._to_send)) < self._enough()
            wake = self._defect or self.idle or (self._to_come and few)
        if wake:
            self._wake()

    # -- what came back -----------------------------------------------------------------------------------------------

    def _looked(self, group: list[RowInHand], ends: Sequence[Plan | Report | None]) -> None:
        (self._looks if group[0].recorded_at is None else self._checks).remove(group)
        for row, end in zip(group, ends, strict=True):
            row.sent = row.sent or self._order.latest + 1
            if isinstance(end, Report):
                self._end(row, end)
            elif isinstance(end, Plan):
                self._plan(row, end)
            else:
                self._wait(row, row.progress.unread)
        if any(end is not None for end in ends):
            self._outage.is_over()

    def _end(self, row: RowInHand, report: Report) -> None:
        """Decide about a row, or, if it was decided already, add what the check has shown beyond that."""
        if row.recorded_at is not None:
            if (report.warnings and report.error is None) or isinstance(report.error, RepeatedUndo):
                self._decisions.amend(row, report)
        elif self._decisions.take(row, report) is not None:
            self._back_off()

    def _plan(self, row: RowInHand, plan: Plan) -> None:
        row.plan, row.recorded_at = plan, None
        failure = row.progress.failure
        tries = TRIES if looks_temporary(failure) else 1
        if failure is not None and failure.transient and row.setbacks >= tries:
            self._end(row, row.progress.give_up())
        else:
            self._to_send.add(row)

    def _sent(self, batch: list[RowInHand], performed: Sequence[tuple[StepResult, ...]]) -> None:
        self._batches -= 1
        self._sending -= len(batch)
        self._answered += len(batch)
        self._to_send.answered(batch)
        now = self._clock.monotonic()
        for row, results in zip(batch, performed, strict=True):
            assert row.plan is not None
            row.sends += 1
            row.progress.take(row.plan, results)
            row.setbacks = row.setbacks + 1 if row.progress.failure else 0
            report = row.progress.answered()
            if report is not None:
                self._outage.is_over()
                self._order.done = max(self._order.done, row.sent)
                self._end(row, report)
                row.recorded_at = now
                self._to_check.add([row], now)
            elif row.progress.is_doubtful:
                self._wait(row, row.progress.failure)
            else:
                self._to_look.add([row], now)

    def _wait(self, row: RowInHand, failure: ConnectorError | None) -> None:
        """Let a row come back later by itself, or give it back where nothing is wrong with it but with the way there.

        A row that could not be read was not at fault either.
        """
        if row.recorded_at is not None and (self._stopping or row.waits >= MOST_WAITS):
            self.unread += [row, *(self._to_check.clear() if self._stopping else ())]
        elif row.recorded_at is not None:
            self._to_check.add([row], self._clock.monotonic())
            self._back_off()
        elif not row.touched and (is_outage(cause_of(failure)) or row.progress.unread):
            self._decisions.untouched.append(row.item)
            self._back_off()
        elif row.waits >= MOST_WAITS:
            self._end(row, row.progress.give_up())
        else:
            seconds = pause_length(row.waits, self._chance(), (failure,))
            self._later.add(row, self._clock.monotonic(), seconds)
        row.waits += 1

    def _back_off(self) -> None:
        """Send nothing for a while."""
        if not self._stopping:
            self._outage.back_off(self._clock.monotonic())
