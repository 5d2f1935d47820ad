"""Many actors on one virtual clock, one running at a time: hours of overlapping requests in seconds, repeatably.

An actor is a thread that has the baton. It gives the baton away when it sleeps or waits; the earliest event gets it.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class _Turn:
    """A moment at which an actor goes on, or begins; `taken` when something else has woken it before."""

    begin: Callable[[], None] | None = None
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    taken: bool = False


class Timeline:
    """A clock (see `connector.clock.Clock`) and the actors that live by it."""

    def __init__(self) -> None:
        self._elapsed = 0.0
        self._turns: list[tuple[float, int, _Turn]] = []
        self._numbers = itertools.count()
        self._back = threading.Semaphore(0)
        self._waiting: dict[object, list[_Turn]] = {}
        self._failures: list[BaseException] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self._yield_until(self._elapsed + seconds, _Turn())

    def wait(self, key: object, seconds: float) -> None:
        """Go on when `key` is told, or after `seconds`."""
        turn = _Turn()
        self._waiting.setdefault(key, []).append(turn)
        self._yield_until(self._elapsed + seconds, turn)
        remaining = self._waiting.get(key, [])
        if turn in remaining:
            remaining.remove(turn)

    def tell(self, key: object) -> None:
        """Let those who wait for `key` go on."""
        for turn in self._waiting.pop(key, []):
            heapq.heappush(self._turns, (self._elapsed, next(self._numbers), turn))

    def spawn(self, act: Callable[[], None], at: float = 0.0) -> None:
        """Let an actor begin `at` that many seconds after the start, or now when that is past."""

        def life() -> None:
            try:
                act()
            except BaseException as error:  # noqa: BLE001 - raised again by `run`
                self._failures.append(error)
            self._back.release()

        turn = _Turn(threading.Thread(target=life, daemon=True).start)
        heapq.heappush(self._turns, (max(at, self._elapsed), next(self._numbers), turn))

    def run(self, until: Callable[[], bool]) -> None:
        """Go on until that is so; raises what an actor raised."""
        while not until():
            assert self._turns, "everybody waits for somebody"
            moment, _, turn = heapq.heappop(self._turns)
            if turn.taken:
                continue
            turn.taken = True
            self._elapsed = max(self._elapsed, moment)
            (turn.begin or turn.go.release)()
            self._back.acquire()
            if self._failures:
                raise self._failures[0]

    def _yield_until(self, moment: float, turn: _Turn) -> None:
        heapq.heappush(self._turns, (moment, next(self._numbers), turn))
        self._back.release()
        turn.go.acquire()
