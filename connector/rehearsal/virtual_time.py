"""Time that passes only while somebody waits, and all that happens in it."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_START = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualTime:
    """A clock on which what is to happen later happens while somebody waits. For one thread."""

    def __init__(self, start: datetime = _START) -> None:
        self._start = start
        self._now = 0.0
        self._order = 0
        self._events: list[tuple[float, int, Callable[[], object]]] = []

    def now(self) -> datetime:
        """Return the time of day."""
        return self._start + timedelta(seconds=self._now)

    def monotonic(self) -> float:
        """Return the seconds since the start."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass, with all that happens in them."""
        self.pass_until(self._now + seconds, threading.Event())

    def at(self, when: float, event: Callable[[], object]) -> None:
        """Let something happen later."""
        self._order += 1
        heapq.heappush(self._events, (when, self._order, event))

    def pass_until(self, end: float, stop: threading.Event) -> None:
        """Let time pass until `end`, or until `stop` is set by what happens."""
        events, is_set = self._events, stop.is_set
        while events and events[0][0] <= end and not is_set():
            self._now, _, event = heapq.heappop(events)
            event()
        if not stop.is_set():
            self._now = max(self._now, end)


class VirtualWake(threading.Event):
    """An event whose waiting lets virtual time pass: `least` seconds, where nothing sets it meanwhile."""

    def __init__(self, time: VirtualTime, least: float = 0.0) -> None:
        super().__init__()
        self._time = time
        self._least = least

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for it, `timeout` seconds at most if no more are the least."""
        assert timeout is not None
        self._time.pass_until(self._time.monotonic() + max(timeout, self._least), self)
        return self.is_set()
