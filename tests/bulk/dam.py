"""A dam: an emulated organization that lets so many closes through and then keeps everybody waiting until it is opened.

What a test needs to be "still under way" is so for as long as the dam is closed, however fast or slow the machine is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from connector.emulator.core import Emulator
    from connector.emulator.world.world import Invocation

PATIENCE = 120.0
"""Seconds for anything to come about, on the slowest machine."""
LEAK = 0.03
"""Seconds that a close takes through a leaking dam: a worker looks every half second what is wanted of it."""
CLOSES = frozenset({"WinOpportunity", "LoseOpportunity"})


def wait_for(what: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until it is so; fails after `seconds`."""
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, "it does not come about"
        time.sleep(0.02)


class Dam:
    """Stands where a plug-in of the organization stands; its end, as a context, opens it.

    The emulator works on one request at a time, so that while one is held none is answered and nothing is committed.
    """

    def __init__(self, emulator: Emulator, after: int) -> None:
        self._left = after
        self._reached = threading.Event()
        self._leaking = threading.Event()
        self._opened = threading.Event()
        emulator.organization.world.plugins.append(self)

    def __call__(self, invocation: Invocation) -> None:
        if invocation.stage != "before" or invocation.message not in CLOSES:
            return
        self._left -= 1
        if self._left < 0:
            self._reached.set()
            self._leaking.wait(2 * PATIENCE)
            self._opened.wait(LEAK)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open()

    def wait(self) -> None:
        """Return when a request is held."""
        wait_for(self._reached.is_set)

    def leak(self) -> None:
        """Let one close after the other through, slowly: whoever was told to stop has long seen it when all are."""
        self._leaking.set()

    def open(self) -> None:
        """Let everything through from now on."""
        self._opened.set()
        self._leaking.set()
