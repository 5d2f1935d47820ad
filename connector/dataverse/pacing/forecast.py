"""How long work will take: the governor's own rule, run ahead in steps of a sixtieth of the window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

STEPS = 60
"""Steps in a window."""
LONGER = 1 + 1 / 300
"""By how much longer than a window what was used counts with us (`SlidingWindow`)."""
ENDING = 4
"""Windows: work that fits into so many is done as fast as what comes back allows, longer work evenly."""
WINDOWS = 8
"""Windows run ahead; after them the rate has settled."""


@dataclass(frozen=True, slots=True)
class RemainingBudget:
    """One budget of an average server: what is left of it, and what comes back in each of the next steps.

    `fresh` of what is left has lain unused for a whole window, and is spent at once.
    """

    room: float
    fresh: float
    returning: Sequence[float]


@dataclass(frozen=True, slots=True)
class Workload:
    """What each server is to do: `requests`, with `seconds` of execution in all, at `fastest` requests a second.

    `fastest` is what the client, the requests in flight or the service's latency allow, whatever the budgets.
    """

    requests: float
    seconds: float
    fastest: float


def average(budgets: Sequence[RemainingBudget]) -> RemainingBudget:
    """Return what an average server has left."""
    number = len(budgets)
    steps = zip(*(budget.returning for budget in budgets), strict=True)
    room, fresh = (sum(getattr(budget, name) for budget in budgets) / number for name in ("room", "fresh"))
    return RemainingBudget(room, fresh, [sum(step) / number for step in steps])


class _Spending:
    """A budget as it is spent, step after step, in its own unit."""

    __slots__ = ("_at_once", "_fresh", "_lead", "_room", "returning")

    def __init__(self, budget: RemainingBudget, lead: float, *, ends: bool) -> None:
        self._room = max(0.0, budget.room)
        self._fresh = min(budget.fresh, budget.room)
        self.returning = list(budget.returning)
        self._at_once = ENDING * (self._room + sum(self.returning)) if ends else 0.0
        self._lead = lead  # the steps over which what comes back is spent

    def allows(self, step: int, left: float) -> float:
        """Return how much of the budget may be spent in a step, when so much work is `left`."""
        whole = int(self._lead)
        ahead = sum(self.returning[step : step + whole])
        room_now = self._room + self.returning[step]
        if left <= self._at_once:
            return room_now
        return min(room_now, max(self._fresh, (self._room + ahead) / self._lead))

    def over(self, step: int, work: float, length: float) -> float:
        """Return how much `work` is more than there is room for in a step; infinite where that comes back meanwhile."""
        over = work - self._room - self.returning[step]
        return over if sum(self.returning[step + 1 : step + 1 + int(over / length)]) < over else float("inf")

    def spend(self, step: int, amount: float) -> None:
        """Spend so much in a step: it comes back a window later."""
        self._room += self.returning[step] - amount
        self._fresh -= amount
        self.returning.append(amount)


def seconds_for(
    work: Workload,
    budgets: Sequence[tuple[RemainingBudget, RemainingBudget]],
    *,
    window: float,
    spread: float,
    waiting: float = 0.0,
    last: float = -1.0,
) -> float:
    """Return how many seconds the work will take from now on, what comes back being spent over `spread` seconds.

    Nothing is sent for the first `waiting` seconds, in which what was used still comes back. `budgets` has those of
    requests and of seconds of each server. The last request may carry `last` seconds that are too much for the window;
    less than none where the governor does not know how much is left, and does not do the last of it at once.
    """
    if work.requests <= 0:
        return waiting
    cost = work.seconds / work.requests
    length = window * LONGER / STEPS
    averages, lead = map(average, zip(*budgets, strict=True)), max(1.0, spread / length)
    counts, times = (_Spending(budget, lead, ends=last >= 0) for budget in averages)
    first, done = min(STEPS - 1, int(waiting / length)), 0.0
    for step in range(first):
        counts.spend(step, 0.0)
        times.spend(step, 0.0)
    over = waiting - first * length
    for step in range(first, WINDOWS * STEPS):
        left = work.requests - done
        by_time = times.allows(step, left * cost) / cost if cost else float("inf")
        sent = max(0.0, min(counts.allows(step, left), by_time, work.fastest * length))
        if sent and sent >= left:
            return over + step * length + left / work.fastest
        if (carried := times.over(step, left * cost, length)) <= last:
            return over + step * length + max(0.0, left - carried / cost) / work.fastest + carried
        done += sent
        counts.spend(step, sent)
        times.spend(step, sent * cost)
    settled = sum(counts.returning[-STEPS:]) / (STEPS * length)
    return over + WINDOWS * STEPS * length + (work.requests - done) / settled if settled else float("inf")
