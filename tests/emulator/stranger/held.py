"""A clock whose waits last until somebody lets go: what is under way stays under way for as long as a test needs it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

_START = datetime(2026, 1, 1, tzinfo=UTC)
_LONGEST = 120.0


class HeldClock:
    """Time stands still; a wait ends at `let_go`. `waits` are the seconds that were asked for, in order."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self._moved = threading.Condition()
        self._gone = False

    def now(self) -> datetime:
        """Return the moment."""
        return _START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Return the seconds since the start: none."""
        return 0.0

    def sleep(self, seconds: float) -> None:
        """Wait until `let_go`; no time at all is not waited for."""
        if seconds <= 0:
            return
        with self._moved:
            self.waits.append(seconds)
            self._moved.notify_all()
            assert self._moved.wait_for(lambda: self._gone, _LONGEST), "nobody let go"

    def until_waiting(self, number: int) -> None:
        """Return when this many waits have begun."""
        with self._moved:
            assert self._moved.wait_for(lambda: len(self.waits) >= number, _LONGEST), self.waits

    def let_go(self) -> None:
        """End every wait, now and later."""
        with self._moved:
            self._gone = True
            self._moved.notify_all()
