"""A clock that can be moved forward, on top of the machine's time or of time that stands still."""

from __future__ import annotations

from datetime import datetime, timedelta

from connector.clock import Clock, VirtualClock

JITTER = 0.01
"""Seconds by which the machine's two clocks may drift apart before it counts as one of them having been set."""


class TravelClock:
    """Another clock plus all the time that was skipped. On a virtual clock waiting takes no time.

    The machine's clock may be set while the emulator serves. Set forward, the emulator's time follows (so it is right
    after the machine has slept); set back, it goes on from where it was, so that no row is older than what it was made
    from and no token is used before it was issued.
    """

    def __init__(self, base: Clock) -> None:
        self._base = base
        self._skipped = 0.0
        self.virtual = isinstance(base, VirtualClock)
        self._ahead = base.now().timestamp() - base.monotonic()
        """The most that the base's wall clock has been ahead of its monotonic one."""

    def now(self) -> datetime:
        """Return the base's wall-clock time, or what it would be had it not been set back, plus what was skipped."""
        now, extra = self._base.now(), self._skipped
        if self.virtual:
            return now + timedelta(seconds=extra) if extra else now
        ahead = now.timestamp() - self._base.monotonic()
        if ahead > self._ahead:
            self._ahead = ahead
        elif self._ahead - ahead > JITTER:
            extra += self._ahead - ahead
        return now + timedelta(seconds=extra) if extra else now

    def monotonic(self) -> float:
        """Return the base's elapsed seconds plus what was skipped."""
        return self._base.monotonic() + self._skipped

    def sleep(self, seconds: float) -> None:
        """Wait as the base does: really, or by moving a virtual clock."""
        self._base.sleep(seconds)

    def advance(self, seconds: float) -> None:
        """Skip `seconds`; a value that is not positive does nothing."""
        if seconds > 0:
            self._skipped += seconds
