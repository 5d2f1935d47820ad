"""A clock that can be moved forward, on top of the machine's time or of time that stands still."""

from __future__ import annotations

from datetime import datetime, timedelta

from connector.clock import Clock, VirtualClock


class TravelClock:
    """Another clock plus all the time that was skipped. On a virtual clock waiting takes no time."""

    def __init__(self, base: Clock) -> None:
        self._base = base
        self._skipped = 0.0
        self.virtual = isinstance(base, VirtualClock)

    def now(self) -> datetime:
        """Return the base's wall-clock time plus what was skipped."""
        return self._base.now() + timedelta(seconds=self._skipped) if self._skipped else self._base.now()

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
