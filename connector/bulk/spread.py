"""Performs the plans of many opportunities side by side, in batches, through one user's way to the organization.

Opportunities of one account lock the same rows in the service's database, so their plans go into one batch, which the
service executes one after the other, or into batches that follow each other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from uuid import UUID

from connector.closing.model import OrganizationMetadata, Plan, Snapshot, StepResult, StepStatus
from connector.closing.organization import Organization
from connector.errors import ConnectorError

Results = tuple[StepResult, ...]


class HeldBack(ConnectorError):
    """The run was stopping before this was sent: nothing was done, and the row is still to be done."""


@dataclass(frozen=True, slots=True)
class Crew:
    """Who performs: an executor with a thread for each batch in flight, how many plans a batch takes, whether to stop.

    `under_way` is told how many plans were given to the executor (positive) and have come back (negative).
    """

    executor: Executor
    batch_size: Callable[[], int]
    stopping: threading.Event
    under_way: Callable[[int], None]


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
        size = self._crew.batch_size()
        sequences = list(_sequences(self._by_account(plans), size))
        self._crew.under_way(len(plans))
        futures = [self._crew.executor.submit(self._perform, sequence, size) for sequence in sequences]
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

    def _perform(self, plans: Sequence[Plan], size: int) -> dict[UUID, Results]:
        """Perform the plans, a batch after the other."""
        results: dict[UUID, Results] = {}
        for start in range(0, len(plans), size):
            batch = plans[start : start + size]
            performed = self._hold_back(batch) if self._crew.stopping.is_set() else self._organization.perform(batch)
            results |= {plan.opportunity_id: result for plan, result in zip(batch, performed, strict=True)}
            self._crew.under_way(-len(batch))
        return results

    def _hold_back(self, plans: Sequence[Plan]) -> list[Results]:
        self.held_back.update(plan.opportunity_id for plan in plans)
        error = HeldBack("The run was stopping; nothing was sent.", remedy="Resume the job.")
        return [tuple(StepResult(step, StepStatus.NOT_RUN, error) for step in plan.steps) for plan in plans]


def _sequences(accounts: Sequence[list[Plan]], size: int) -> Iterator[list[Plan]]:
    """Yield lists of plans that may go side by side: no account is in two of them, and most fill one batch."""
    left = deque(sorted(accounts, key=len, reverse=True))
    while left:
        plans = left.popleft()
        while left and len(plans) + len(left[-1]) <= size:
            plans = plans + left.pop()
        yield plans
