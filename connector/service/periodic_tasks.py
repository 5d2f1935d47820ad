"""What an instance does from time to time beside its operations: deliver, look for changes, forget what has expired.

When each was done last is kept nowhere: what is due is in the store, so a restart does every chore once at its start,
and several instances may do the same one side by side.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from connector.clock import Clock
from connector.errors import ConnectorError

_log = logging.getLogger("connector.service")

LOOK_AGAIN = 2.0
"""Seconds between looks for a chore that is due."""


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """Something to do every so many seconds; what it raises as ConnectorError is tried again at its next turn."""

    name: str
    every: float
    act: Callable[[], object]


class PeriodicTasks:
    """The thread that does them, one after the other."""

    def __init__(self, periodic_tasks: Sequence[PeriodicTask], clock: Clock) -> None:
        self._due = {task: float("-inf") for task in periodic_tasks}
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chores", daemon=True)

    def start(self) -> None:
        """Begin; everything is due at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop when the chore at hand is done."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def round(self) -> None:
        """Do what is due now."""
        for task, due in self._due.items():
            now = self._clock.monotonic()
            if now >= due and not self._stopping.is_set():
                self._due[task] = now + task.every
                _attempt(task)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_AGAIN):
            self.round()


def _attempt(task: PeriodicTask) -> None:
    try:
        task.act()
    except ConnectorError as error:
        _log.warning("%s waits for its next turn: %s", task.name, type(error).__name__)
