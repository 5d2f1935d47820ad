"""What an instance does from time to time beside its operations: deliver, look for changes, forget what has expired.

When each was done last is kept nowhere: what is due is in the store, so a restart does every task once at its start,
and several instances may do the same one side by side. Each task has a thread, so that one that waits for something
silent delays no other. Nothing that a task meets ends its thread; how its last turn went shows in readiness.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from connector.clock import Clock
from connector.errors import ConnectorError
from connector.service.problems import frames_of

_log = logging.getLogger("connector.service")

OVERDUE = 300.0
"""Seconds after which a turn that has not ended is called stuck."""
STOPPING = 3.0
"""Seconds for which a turn that is under way is waited for at the end of the process."""


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """Something to do every so many seconds; whatever it raises, it is tried again at its next turn."""

    name: str
    every: float
    act: Callable[[], object]


class PeriodicTasks:
    """The threads that do them, one for each."""

    def __init__(self, tasks: Sequence[PeriodicTask], clock: Clock) -> None:
        self._tasks = tasks
        self._clock = clock
        self._began: dict[str, float] = {}
        self._failures: set[str] = set()
        self._stopping = threading.Event()
        self._threads: dict[PeriodicTask, threading.Thread] = {}

    def start(self) -> None:
        """Begin; everything is due at once."""
        for task in self._tasks:
            self._start(task)

    def stop(self) -> None:
        """Stop when the turns that have begun are done, or when that takes too long."""
        self._stopping.set()
        end = time.monotonic() + STOPPING
        for thread in self._threads.values():
            thread.join(max(0.0, end - time.monotonic()))

    def states(self) -> Mapping[str, str]:
        """Return how each task is: ok, stuck or failed (why, the log says). A thread that has died is replaced."""
        restarted = set()
        for task, thread in list(self._threads.items()):
            if not thread.is_alive() and not self._stopping.is_set():
                _log.error("The thread of the task %s has died and is started again.", task.name)
                self._start(task)
                restarted.add(task)
        return {task.name: "restarted" if task in restarted else self._state(task) for task in self._tasks}

    def _state(self, task: PeriodicTask) -> str:
        began = self._began.get(task.name)
        if began is not None and self._clock.monotonic() - began > OVERDUE:
            return "stuck"
        return "failed" if task.name in self._failures else "ok"

    def _start(self, task: PeriodicTask) -> None:
        thread = threading.Thread(target=self._run, args=(task,), name=task.name, daemon=True)
        self._threads[task] = thread
        thread.start()

    def _run(self, task: PeriodicTask) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            self._attempt(task)
            pause = task.every

    def _attempt(self, task: PeriodicTask) -> None:
        """Take one turn of a task."""
        self._began[task.name] = self._clock.monotonic()
        try:
            task.act()
        except ConnectorError as error:
            _log.warning("%s waits for its next turn: %s", task.name, type(error).__name__)
            self._failures.add(task.name)
        except Exception as error:
            what = type(error).__name__
            _log.error("%s broke off and waits for its next turn: %s\n%s", task.name, what, frames_of(error))
            self._failures.add(task.name)
        else:
            self._failures.discard(task.name)
        finally:
            self._began.pop(task.name, None)
