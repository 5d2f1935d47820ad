"""How many requests one user may have in flight, and how long a request takes."""

from __future__ import annotations

import math
from itertools import takewhile

from connector.dataverse.pacing.permits import Permit

FEWEST = 8
"""In flight on each server, at least, when the service fails: twice the recommended degree of parallelism."""


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


UNLIKE = 8.0
"""What takes so many times as long as usual is another thing: a row that hangs, say, until it is cut off."""
KNOWN = 3
"""Measurements after which it shows what is usual."""


FIRST_COST = 0.3
"""Seconds of execution that a part is taken to cost until one has been measured."""
BATCH_SECONDS = 2.0
"""How long one request with many parts should take: one that takes long hides what is done and ends late."""
LONGEST_WORK = 120.0
"""Seconds after which the service ends whatever hangs (Microsoft Learn, "Analyze plug-in performance")."""
MOST_PARTS = 50
"""Parts in one request, at most: what is repeated when its answer is lost."""


class ServiceTime:
    """How long one part of a kind of request takes, in seconds: its mean, what is usual, and how much that differs.

    `unlike` counts those that took much longer than usual: they count in the mean only.
    """

    __slots__ = ("_logarithms", "_mean", "_often", "_squares", "unlike", "usual")

    def __init__(self) -> None:
        self.usual = RunningMean(0.01)
        self.unlike = 0
        self._mean = RunningMean(0.01)
        self._often = RunningMean(0.005)  # the share of those that are unlike
        self._logarithms = RunningMean(0.04)
        self._squares = RunningMean(0.04)

    def add(self, seconds: float) -> None:
        """Take one measurement in."""
        self._mean.add(seconds)
        unlike = self.usual.count >= KNOWN and seconds > UNLIKE * self.usual.value
        self._often.add(unlike)
        if unlike and self._often.value < 0.5:  # else everything has become slower
            self.unlike += 1
            return
        size = math.log(max(seconds, 1e-6))
        self._logarithms.add(size)
        self._squares.add(size * size)
        self.usual.add(seconds)

    @property
    def cost(self) -> float:
        """Return the seconds that a part costs on average."""
        return self._mean.value or FIRST_COST

    @property
    def parts(self) -> float:
        """Return how many parts a request should carry."""
        return max(1.0, min(MOST_PARTS, BATCH_SECONDS / self.cost))

    def longest(self, seconds: float) -> float:
        """Return when a part that has taken so many `seconds` is over, its answer being lost."""
        usually = UNLIKE * (self.usual.value or FIRST_COST)
        return usually if seconds < usually else LONGEST_WORK

    @property
    def spread(self) -> float:
        """By which share of the mean the usual ones differ from it: the standard deviation of their logarithms."""
        return math.sqrt(max(0.0, self._squares.value - self._logarithms.value**2))


class PermitsInFlight:
    """The requests under way to all servers, by their permits."""

    __slots__ = ("_permits", "_sent_at")

    def __init__(self) -> None:
        self._permits: dict[int, Permit] = {}
        self._sent_at = 0.0  # all moments added up

    @property
    def requests(self) -> int:
        """Return how many there are."""
        return len(self._permits)

    def add(self, permit: Permit) -> None:
        """Take in one that is sent."""
        self._permits[id(permit)] = permit
        self._sent_at += permit.sent_at

    def remove(self, permit: Permit) -> None:
        """Take in that it was answered, or lost."""
        del self._permits[id(permit)]
        self._sent_at -= permit.sent_at

    def seconds(self, now: float) -> float:
        """Return for how long they have been under way, added up."""
        return len(self._permits) * now - self._sent_at

    def hanging(self, now: float, kind: str, usual: float, unlike: float = UNLIKE) -> int:
        """Return how many of a kind have taken `unlike` times as long as a part usually does; the oldest come first."""
        late = takewhile(lambda permit: now - permit.sent_at > unlike * usual, self._permits.values())
        return sum(now - p.sent_at > unlike * usual * p.parts for p in late if p.kind == kind)


class ConcurrencyLimiter:
    """How many requests may be in flight over all servers: fewer when the service fails or has no room."""

    __slots__ = ("_since", "most")

    def __init__(self) -> None:
        self.most = float("inf")
        self._since = 0

    def answered(self) -> None:
        """Take in a good answer: one more may be in flight."""
        self._since += 1
        self.most += 1.0

    def failed(self, least: float, in_flight: int) -> None:
        """Take in that the service failed, or refused for lack of room: down to four fifths of what is in flight.

        That happens at most once for the answers of one round trip, and not below `least`.
        """
        self._since += 1
        if self._since > min(self.most, in_flight):
            self._since = -in_flight
            self.most = min(self.most, max(least, 0.8 * in_flight))
