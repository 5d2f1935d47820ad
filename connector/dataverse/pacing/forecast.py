"""How long work will take: the governor's own rule, run ahead in steps of a sixtieth of the window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

STEPS = 60
"""Steps in a window."""
WINDOWS = 8
"""Windows run ahead; after them the rate has settled."""


@dataclass(frozen=True, slots=True)
class RemainingBudget:
    """One budget of an average server: what is left of it, and what comes back in each of the next steps."""

    room: float
    returning: Sequence[float]


@dataclass(frozen=True, slots=True)
class Workload:
    """What each server is to do: `requests`, with `seconds` of execution in all, at `fastest` requests a second.

    `fastest` is what the client or the service's latency allow, whatever the budgets.
    """

    requests: float
    seconds: float
    fastest: float


def seconds_for(
    work: Workload, count: RemainingBudget, time: RemainingBudget, *, window: float, horizon: float
) -> float:
    """Return how many seconds the work will take from now on, each budget being spent evenly over the horizon."""
    if work.requests <= 0:
        return 0.0
    cost = work.seconds / work.requests
    length, lead = window / STEPS, round(horizon / window * STEPS)
    counts, times = list(count.returning), list(time.returning)
    rooms = [count.room, time.room]
    done = 0.0
    for step in range(WINDOWS * STEPS):
        by_count = (rooms[0] + sum(counts[step : step + lead])) / horizon
        by_time = (rooms[1] + sum(times[step : step + lead])) / horizon / cost if cost else by_count
        rate = max(0.0, min(by_count, by_time, work.fastest))
        if rate and done + rate * length >= work.requests:
            return step * length + (work.requests - done) / rate
        sent = rate * length
        done += sent
        counts.append(sent)
        times.append(sent * cost)
        rooms[0] += counts[step] - sent
        rooms[1] += times[step] - sent * cost
    settled = sum(counts[-STEPS:]) / window
    return WINDOWS * window + (work.requests - done) / settled if settled else float("inf")
