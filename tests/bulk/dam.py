"""A dam: an emulated organization that answers some batches with closes and then holds them, until it is opened.

What a test needs to be "still under way" is so for as long as the dam is closed, however fast or slow the machine is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from connector.emulator.core import Emulator

PATIENCE = 120.0
"""Seconds for anything to come about, on the slowest machine."""
CLOSES = ("WinOpportunity", "LoseOpportunity")


def wait_for(what: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until it is so; fails after `seconds`."""
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, "it does not come about"
        time.sleep(0.02)


class Dam:
    """A fault plan that holds every request with a close of either kind behind the first `after`; reads go through.

    Its end, as a context, opens it.
    """

    def __init__(self, emulator: Emulator, after: int = 2) -> None:
        self._control = emulator.control
        self._control.set_faults(
            [{"do": "hold", "message": message, "nth": after + 1, "times": 1_000_000} for message in CLOSES]
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open()

    def wait(self) -> None:
        """Return when requests are held."""
        wait_for(lambda: sum(self._control.faults()["acted"]) > 0)

    def open(self) -> None:
        """Let everything through from now on."""
        self._control.set_faults([])
