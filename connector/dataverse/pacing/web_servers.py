"""What is known of each web server behind an organization: its budgets, and when it may take another request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from connector.dataverse.pacing.forecast import STEPS, RemainingBudget
from connector.dataverse.pacing.service_limits import Budget, LimitEstimate, SlidingWindow

MARGIN = 0.985
"""The share of a window's limit that is used: what is left covers requests seen late and clocks that differ."""
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class LimitEstimates:
    """Where the estimates of a server start: those of another one, since servers of an organization are alike."""

    requests: float
    seconds: float
    concurrency: float


class WebServer:
    """One web server, as one user sees it. `key` is its affinity cookie's value, empty when there is none.

    More in flight than documented is not tried: a refusal for concurrency was measured to stop a user for six minutes
    and more, and the documented windows cannot be used up that fast for long.

    A request whose server is not known before it answers counts as in flight on each of them.
    """

    __slots__ = (
        "budget", "concurrency", "count", "executed", "horizon", "in_flight", "key", "last_at", "pledged",
        "refused_until", "sent", "strayed", "time",
    )  # fmt: skip

    def __init__(self, key: str, budget: Budget, now: float, learnt: LimitEstimates | None = None) -> None:
        start = learnt or LimitEstimates(budget.requests, budget.seconds, budget.concurrency)
        horizon, window = budget.horizon, budget.window
        self.key = key
        self.budget = budget
        self.horizon = horizon
        self.sent = SlidingWindow(window, horizon)
        self.executed = SlidingWindow(window, horizon)
        self.count = LimitEstimate(start.requests, now, horizon=horizon, settle=window)
        self.time = LimitEstimate(start.seconds, now, horizon=horizon, settle=window)
        self.concurrency = LimitEstimate(start.concurrency, now, horizon=horizon / 4, settle=None)
        self.in_flight = 0
        self.pledged = 0.0
        self.last_at = float("-inf")
        self.refused_until = float("-inf")
        self.strayed = 0

    def learnt(self) -> LimitEstimates:
        """Return the estimates as they stand, for a server not met before."""
        return LimitEstimates(self.count.value, self.time.value, self.concurrency.value)

    def assume(self, now: float, learnt: LimitEstimates) -> None:
        """Take over estimates that were made elsewhere; what is higher again is found out with care, and in time."""
        self.count.assume(now, learnt.requests)
        self.time.assume(now, learnt.seconds)
        self.concurrency.assume(now, learnt.concurrency)

    def slots(self) -> int:
        """Return how many more requests may be in flight at once, to one below what stops us for minutes."""
        return int(self.concurrency.value) - 1 - self.in_flight

    def intervals(self, now: float, cost: float) -> tuple[float, float]:
        """Return the seconds between two requests that spend each window's budget evenly over the horizon.

        First for the count, then for the execution time at `cost` seconds a request; infinite without room. Requests in
        flight, and the seconds pledged to them, are taken as used.
        """
        used, returning = self.sent.spending(now)
        room = MARGIN * self.count.value - used - self.in_flight
        count = NEVER if room < 1 else self.horizon / (room + returning)
        used, returning = self.executed.spending(now)
        room = MARGIN * self.time.value - used - self.pledged
        return count, NEVER if room < cost else cost * self.horizon / (room + returning)

    def stocks(self, now: float) -> tuple[RemainingBudget, RemainingBudget]:
        """Return what is left of both windows and what comes back, the count first.

        What is in flight is not taken off again: a service that tells what is left has done so.
        """
        used, executed = self.sent.used(now), self.executed.used(now)
        return (
            RemainingBudget(MARGIN * self.count.foreseen(used) - used, self.sent.leaving(now, STEPS)),
            RemainingBudget(MARGIN * self.time.foreseen(executed) - executed, self.executed.leaving(now, STEPS)),
        )

    def take(self, cost: float) -> None:
        """Count one more request as in flight, with `cost` seconds pledged to it."""
        self.in_flight += 1
        self.pledged += cost

    def give_back(self, cost: float) -> None:
        """Count it as no longer in flight, whatever came of it."""
        self.in_flight = max(0, self.in_flight - 1)
        self.pledged = max(0.0, self.pledged - cost)

    def ran(self, now: float, seconds: float) -> None:
        """Count a request that this server has executed in `seconds`."""
        self.sent.add(now, 1)
        self.executed.add(now, seconds)

    def hear(self, now: float, requests_left: float | None, seconds_left: float | None) -> None:
        """Take in what the server says is left of its windows, `ran` having counted the request that says so."""
        if requests_left is not None:
            self.count.hear(now, requests_left, self.sent.used(now))
        if seconds_left is not None:
            self.time.hear(now, seconds_left, self.executed.used(now))

    def grow(self, now: float) -> None:
        """Let the estimates that hold us back grow, each when its time has come."""
        self.count.grow(now, self.sent.used(now) + self.in_flight)
        self.time.grow(now, self.executed.used(now) + self.pledged)
        self.concurrency.grow(now, self.in_flight + 1)

    def share(self, now: float, others: Iterable[WebServer]) -> None:
        """Let the other servers know how much this one has let pass: servers of an organization are alike."""
        used, executed = self.sent.used(now), self.executed.used(now)
        for server in others:
            if server is not self:
                server.count.proven(now, used)
                server.time.proven(now, executed)

    def ceiling(self, cost: float) -> float:
        """Return the requests per second that can go on for hours, at `cost` seconds each."""
        window = self.budget.window
        spend = max(cost, 1e-9)
        return MARGIN * min(self.count.value / window, self.time.value / window / spend, self.concurrency.value / spend)
