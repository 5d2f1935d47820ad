"""How much one connection may ask: a bucket that refills steadily, below the platform's own 500 a minute."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass

from connector.clock import Clock

MOST_CONNECTIONS = 10_000
"""Connections that are remembered; the one that was quiet longest is forgotten first, with a full bucket by then."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a connection has left. `reset` is in seconds until the bucket is full, `wait` until there is one again."""

    limit: int
    remaining: int
    reset: int
    wait: int

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that tell it (draft-ietf-httpapi-ratelimit-headers-06 and older)."""
        told = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }
        return told | ({"Retry-After": str(self.wait)} if self.wait else {})


class RateLimit:
    """Counts requests of connections; safe from several threads."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._capacity = per_minute
        self._rate = per_minute / 60.0
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, connection: str) -> Allowance:
        """Take one request of `connection`; refused when `wait` is not 0."""
        now = self._clock.monotonic()
        with self._lock:
            left, since = self._left.pop(connection, (float(self._capacity), now))
            left = min(float(self._capacity), left + (now - since) * self._rate)
            granted = left >= 1.0
            left -= granted
            self._left[connection] = (left, now)
            if len(self._left) > MOST_CONNECTIONS:
                self._left.popitem(last=False)
        reset = math.ceil((self._capacity - left) / self._rate)
        wait = 0 if granted else max(1, math.ceil((1.0 - left) / self._rate))
        return Allowance(self._capacity, int(left), reset, wait)
