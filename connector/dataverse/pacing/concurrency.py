"""How many requests one user may have in flight, and how long a request takes: fewer while answers are slow."""

from __future__ import annotations

import math
from collections import deque

SLOW = 2.5
"""Answers this many times slower than usual mean that more at once only makes them wait."""
LONGEST = 10.0
"""What takes more than so many times as long as usual counts as that: one such request must not slow the next ones."""
BLOCK = 100
"""Answers whose mean says how fast the service is: fewer say it too roughly where answers differ much."""
PERIODS = 30
"""Periods of a window; each keeps its fastest block."""
FEWEST = 8
"""In flight on each server, at least, when answers are slow: twice the recommended degree of parallelism."""


class RunningMean:
    """A mean that follows changes: `weight` is that of the newest value."""

    __slots__ = ("_weight", "count", "value")

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self.value = 0.0
        self.count = 0

    def add(self, value: float) -> None:
        """Take a new value in; the first few count equally."""
        self.count += 1
        self.value += (value - self.value) * max(self._weight, 1 / self.count)


class ServiceTime:
    """How long one part of a kind of request takes, in seconds: its mean, and whether it is slower than it was.

    Slow or not is told by the mean of the logarithms, which one request in hundreds that takes minutes hardly moves.
    Only long blocks during which about as many were in flight count as a measure: while more are let in, the quick
    answers come first.
    """

    __slots__ = ("_best", "_block", "_in_flight", "_recent", "_squares", "_started", "_window", "mean")

    def __init__(self, window: float) -> None:
        self.mean = RunningMean(0.01)
        self._window = window
        self._recent = RunningMean(0.04)
        self._squares = RunningMean(0.04)
        self._block = RunningMean(0.0)
        self._in_flight = 0
        self._started = float("-inf")
        self._best: deque[float] = deque(maxlen=2 * PERIODS)

    def add(self, now: float, seconds: float, in_flight: int) -> None:
        """Take one measurement in, made while so many requests were in flight."""
        size = math.log(max(seconds, 1e-6))
        self._recent.add(size)
        self._squares.add(size * size)
        self.mean.add(min(seconds, LONGEST * math.exp(self._recent.value)))
        if not self._block.count:
            self._in_flight = in_flight
        self._block.add(size)
        if self._block.count < BLOCK + 2 * in_flight:
            return
        if not self._best or in_flight <= 1.5 * self._in_flight + 4:
            self._record(now, self._block.value)
        self._block = RunningMean(0.0)

    def _record(self, now: float, block: float) -> None:
        if now - self._started > self._window / PERIODS:
            self._started = now
            self._best.append(block)
        else:
            self._best[-1] = min(self._best[-1], block)

    @property
    def spread(self) -> float:
        """By which share of the mean the measurements differ from it: the standard deviation of their logarithms."""
        return math.sqrt(max(0.0, self._squares.value - self._recent.value**2))

    @property
    def slowed(self) -> bool:
        """Whether answers take much longer than they have been seen to."""
        return bool(self._best) and self._recent.value > math.log(SLOW) + min(self._best)


class ConcurrencyLimiter:
    """How many requests may be in flight over all servers: fewer while answers are slow."""

    __slots__ = ("_deep_at", "_since", "_window", "most")

    def __init__(self, window: float) -> None:
        self.most = float("inf")
        self._window = window
        self._since = 0
        self._deep_at = float("-inf")

    def answered(self, now: float, least: float, in_flight: int, *, slowed: bool) -> None:
        """Take in a good answer, and whether answers are slower than they were, with so many in flight.

        Once a window it goes down to `least`, to see again how fast the service is when it is not crowded.
        """
        self._since += 1
        if slowed and now - self._deep_at > self._window:
            self._deep_at = now
            self._shrink(least, 0.0, in_flight)
        elif slowed:
            self._shrink(least, 0.7, in_flight)
        else:
            self.most += 1.0

    def failed(self, least: float, in_flight: int) -> None:
        """Take in that the service failed, or refused for want of room."""
        self._since += 1
        self._shrink(least, 0.8, in_flight)

    def _shrink(self, least: float, share: float, in_flight: int) -> None:
        """Go down to a share of what is in flight, at most once for the answers of one round trip."""
        if self._since > min(self.most, in_flight):
            self._since = -in_flight
            self.most = min(self.most, max(least, share * in_flight))
