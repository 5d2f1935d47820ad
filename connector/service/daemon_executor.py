"""Threads that serve what may never end: the process does not wait for them when it stops."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class DaemonExecutor:
    """Up to `size` daemon threads, made as they are needed; `name` is what they are called."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._made = 0
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have `work` done by a thread; what it raises is in the future."""
        future: Future[T] = Future()

        def call() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        self._calls.put(call)
        with self._lock:
            if not self._idle.acquire(blocking=False) and self._made < self._size:
                self._made += 1
                threading.Thread(target=self._run, name=f"{self._name} {self._made}", daemon=True).start()
        return future

    def _run(self) -> None:
        while True:
            self._calls.get()()
            self._idle.release()
