"""Performs the plans of many opportunities side by side, in batches, through one user's way to the organization.

Opportunities of one account lock the same rows in the service's database, so their plans go into one batch, which the
service executes one after the other, or into batches that follow each other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from uuid import UUID

from connector.closing.model import OrganizationMetadata, Plan, Snapshot, StepResult, StepStatus
from connector.closing.organization import Organization
from connector.errors import ConnectorError

AHEAD = 2
"""Batches made ready beyond those that may be in flight, so that one can go as soon as an answer comes."""
_LONGEST_NAP = 0.5  # seconds until those who wait for their turn look again

Results = tuple[StepResult, ...]


class HeldBack(ConnectorError):
    """The run was stopping before this was sent: nothing was done, and the row is still to be done."""


class Crew:
    """Who performs: an executor with a thread for each batch in flight; shared by the chunks of one user.

    `batch_size` says how many plans a batch should take, `width` how many batches may be in flight; both change while
    it works. `under_way` is told how many plans were given to the crew (positive) and have come back (negative).
    """

    def __init__(
        self,
        executor: Executor,
        batch_size: Callable[[], int],
        width: Callable[[], int],
        stopping: threading.Event,
        under_way: Callable[[int], None],
    ) -> None:
        self.executor = executor
        self.batch_size = batch_size
        self.stopping = stopping
        self.under_way = under_way
        self._width = width
        self._busy = 0
        self._free = threading.Condition()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until a batch could soon be sent: what goes into it is decided then, by what is known then."""
        with self._free:
            while self._busy >= self._width() + AHEAD and not self.stopping.is_set():
                self._free.wait(_LONGEST_NAP)
            self._busy += 1
        try:
            yield
        finally:
            with self._free:
                self._busy -= 1
                self._free.notify(AHEAD)  # the width may have grown, too


class Spread:
    """An organization whose `perform` is spread over a crew. One chunk of rows uses one of these.

    Once the crew is stopping nothing more is sent: what was held back is in `held_back`, and not read again.
    """

    def __init__(self, organization: Organization, crew: Crew) -> None:
        self._organization = organization
        self._crew = crew
        self._seen: dict[UUID, Snapshot] = {}
        self.held_back: set[UUID] = set()

    def metadata(self) -> OrganizationMetadata:
        """See `Organization`."""
        return self._organization.metadata()

    def observe(self, ids: Sequence[UUID], *, activities: bool = False) -> Mapping[UUID, Snapshot]:
        """See `Organization`."""
        wanted = [id_ for id_ in ids if id_ not in self.held_back]
        seen = dict(self._organization.observe(wanted, activities=activities)) if wanted else {}
        self._seen |= seen
        return seen | {id_: self._seen[id_] for id_ in ids if id_ in self.held_back}

    def perform(self, plans: Sequence[Plan]) -> Sequence[Results]:
        """See `Organization`."""
        left = _Left(self._by_account(plans))
        self._crew.under_way(len(plans))
        batches = -(-len(plans) // self._crew.batch_size())
        futures = [self._crew.executor.submit(self._perform, left) for _ in range(batches)]
        results: dict[UUID, Results] = {}
        for future in futures:
            results |= future.result()
        return [results[plan.opportunity_id] for plan in plans]

    def _by_account(self, plans: Sequence[Plan]) -> list[list[Plan]]:
        accounts: dict[UUID, list[Plan]] = {}
        for plan in plans:
            snapshot = self._seen.get(plan.opportunity_id)
            account = snapshot.opportunity.customer_id if snapshot else None
            accounts.setdefault(account or plan.opportunity_id, []).append(plan)
        return list(accounts.values())

    def _perform(self, left: _Left) -> dict[UUID, Results]:
        """Perform what is left, a batch after the other, beside others who do the same."""
        results: dict[UUID, Results] = {}
        plans: list[Plan] = []
        while True:
            with self._crew.turn():
                size = self._crew.batch_size()
                plans = plans or left.take(size)
                if not plans:
                    return results
                batch, plans = plans[:size], plans[size:]
                performed = (
                    self._hold_back(batch) if self._crew.stopping.is_set() else self._organization.perform(batch)
                )
            results |= {plan.opportunity_id: result for plan, result in zip(batch, performed, strict=True)}
            self._crew.under_way(-len(batch))

    def _hold_back(self, plans: Sequence[Plan]) -> list[Results]:
        self.held_back.update(plan.opportunity_id for plan in plans)
        error = HeldBack("The run was stopping; nothing was sent.", remedy="Resume the job.")
        return [tuple(StepResult(step, StepStatus.NOT_RUN, error) for step in plan.steps) for plan in plans]


class _Left:
    """The plans of a chunk that nobody performs yet, by account. Safe for threads."""

    def __init__(self, accounts: Sequence[list[Plan]]) -> None:
        self._accounts = deque(sorted(accounts, key=len, reverse=True))
        self._lock = threading.Lock()

    def take(self, size: int) -> list[Plan]:
        """Return all plans of one account or of several, as many as fill a batch; empty: there are none."""
        with self._lock:
            plans = list(self._accounts.popleft()) if self._accounts else []
            while self._accounts and len(plans) + len(self._accounts[-1]) <= size:
                plans += self._accounts.pop()
        return plans
