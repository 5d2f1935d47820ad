"""How many requests one user may have in flight: climbs while answers stay as fast as they are when few are."""

from __future__ import annotations

from collections import deque

START_IN_FLIGHT = 4
"""In flight at first, until the service's own hint is known (`x-ms-dop-hint`, 4 in Microsoft's samples)."""
LATENCY_TOLERANCE = 2.5
"""Answers this much slower than usual mean that more at once only makes them wait."""
BLOCK = 100
"""Answers whose mean says how fast the service is: fewer say it too roughly where answers differ much."""
FIRST_BLOCK = 24
"""The same for the first, during which no more are let in: the sooner known, the sooner more can be tried."""
PERIODS = 30
"""Periods of a window; each keeps its fastest block."""


class RunningMean:
    """A running mean that follows changes: `weight` is that of the newest value."""

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
    """What one part of a kind of request costs, in seconds: as of late, and at best in the last two windows.

    Only blocks through which about as many were in flight count for the best: while more are let in, the quick answers
    come first.
    """

    __slots__ = ("_best", "_block", "_concurrency", "_started", "_window", "recent")

    def __init__(self, window: float) -> None:
        self.recent = RunningMean(0.04)
        self._window = window
        self._block = RunningMean(0.0)
        self._concurrency = 0
        self._started = float("-inf")
        self._best: deque[float] = deque(maxlen=2 * PERIODS)

    def add(self, now: float, seconds: float, in_flight: int) -> None:
        """Take one measurement in, made while so many requests were in flight."""
        self.recent.add(seconds)
        if not self._block.count:
            self._concurrency = in_flight
        self._block.add(seconds)
        if self._block.count < (BLOCK + 2 * in_flight if self._best else FIRST_BLOCK):
            return
        if in_flight <= 1.5 * self._concurrency + START_IN_FLIGHT:
            self._record(now, self._block.value)
        self._block = RunningMean(0.0)

    def _record(self, now: float, block: float) -> None:
        if now - self._started > self._window / PERIODS:
            self._started = now
            self._best.append(block)
        else:
            self._best[-1] = min(self._best[-1], block)

    @property
    def known(self) -> bool:
        """Whether it is known how fast the service is when it is not crowded."""
        return bool(self._best)

    @property
    def slowed(self) -> bool:
        """Whether answers take much longer than they have been seen to."""
        return bool(self._best) and self.recent.value > LATENCY_TOLERANCE * min(self._best)


class ConcurrencyLimiter:
    """How many requests may be in flight over all servers: climbs while answers keep coming as fast as usual."""

    __slots__ = ("_climbing", "_deep_at", "_hinted", "_since", "_window", "most")

    def __init__(self, window: float) -> None:
        self.most = float(START_IN_FLIGHT)
        self._window = window
        self._hinted = False
        self._climbing = True
        self._since = 0
        self._deep_at = float("-inf")

    def hint(self, number: int) -> None:
        """Start from what the service recommends; said once, it has no say in what was learnt since."""
        if not self._hinted:
            self._hinted, self.most = True, max(self.most, float(number))

    def answered(self, now: float, least: float, *, slowed: bool, full: bool) -> None:
        """Take in a good answer: whether answers are slower than they were, and whether all slots were taken.

        Once a window it goes down to `least`, to see again how fast the service is when it is not crowded.
        """
        self._since += 1
        if slowed and now - self._deep_at > self._window:
            self._deep_at = now
            self._shrink(least, 0.0)
        elif slowed:
            self._shrink(least, 0.7)
        elif full:
            self.most += 1.0 if self._climbing else 4 / self.most

    def failed(self, least: float) -> None:
        """Take in that the service failed, or refused for want of room."""
        self._since += 1
        self._shrink(least, 0.8)

    def _shrink(self, least: float, share: float) -> None:
        if self._since > self.most:
            self._climbing, self._since = False, -int(self.most)
            self.most = min(self.most, max(least, share * self.most))
