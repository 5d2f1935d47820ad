"""The time, as an argument: what o'clock it is, how much has passed, and how to wait."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What code that needs time is given, so that tests and simulations can give it another."""

    def now(self) -> datetime:
        """Return the wall-clock time, aware and in UTC. It may jump."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; it never goes back."""

    def sleep(self, seconds: float) -> None:
        """Return after `seconds` have passed on this clock; at once when not positive."""


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """Return the system's wall-clock time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the system's monotonic time in seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block the calling thread for `seconds`."""
        if seconds > 0:
            time.sleep(seconds)


class VirtualClock:
    """A clock that stands still until somebody sleeps or advances it; a sleep moves it at once.

    For one thread of control: hours pass in microseconds. Reading and moving it is safe from any thread.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start.timestamp()
        self._elapsed = 0.0
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Return the start plus all the time that has passed."""
        return datetime.fromtimestamp(self._start + self._elapsed, UTC)

    def monotonic(self) -> float:
        """Return the seconds that have passed since the start."""
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        """Move the clock forward by `seconds` and return at once."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move the clock forward by `seconds`; a value that is not positive does nothing."""
        if seconds > 0:
            with self._lock:
                self._elapsed += seconds
