"""Working beside other machines for as long as it takes: through outages of the store, and until a job needs nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from connector.bulk.status import status_data
from connector.clock import Clock
from connector.errors import LedgerError
from connector.ledger.jobs import DesiredState, Job, JobState
from connector.ledger.ledger import Ledger

LONGEST_PAUSE = 60.0
"""Seconds between attempts while the store cannot be reached."""
SHOW_EVERY = 1.0
"""Seconds between looks at how far a job is."""


class JobProgress:
    """Looks at a job that many may work on, and gives its status to `show` about once a second."""

    def __init__(self, ledger: Ledger, job: Job, clock: Clock, show: Callable[[Mapping[str, object]], None]) -> None:
        self._ledger = ledger
        self._name = job.name
        self._clock = clock
        self._show = show
        self._shown_at = float("-inf")

    def done(self) -> bool:
        """Return whether nothing is left to be done, or nothing more is wanted."""
        job = self._ledger.find(self._name)
        if job is not None and self._clock.monotonic() - self._shown_at >= SHOW_EVERY:
            self._shown_at = self._clock.monotonic()
            self._show(status_data(self._ledger, job))
        return job is None or job.state is not JobState.READY or job.desired_state is not DesiredState.RUN


def through_outages(
    work: Callable[[], None], stopped: Callable[[], bool], clock: Clock, tell: Callable[[str], None]
) -> None:
    """Work until stopped, whatever becomes of the store meanwhile. Raises LedgerError for what needs a person."""
    failures = 0
    while not stopped():
        began = clock.monotonic()
        try:
            work()
        except LedgerError as error:
            failures = 0 if clock.monotonic() - began > LONGEST_PAUSE else failures + 1
            if not error.transient or stopped():
                raise
            pause = min(LONGEST_PAUSE, 2.0**failures)
            tell(f"{error} Trying again in {pause:.0f} s.")
            ends = clock.monotonic() + pause
            while clock.monotonic() < ends and not stopped():
                clock.sleep(0.2)
        else:
            return
