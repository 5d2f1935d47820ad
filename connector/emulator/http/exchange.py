"""How a face of the emulator talks to its core: begin, wait, finish; and what may be cut off an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from connector.handler import Request, Response


@dataclass(frozen=True, slots=True)
class Exchange:
    """The answer to a request, and what the network does to it.

    `cut` is empty, `reset` (the connection is reset, nothing of the answer arrives) or `truncate` (it breaks off in the
    middle of the body). The answer is held back `hold` seconds after everything was done.
    """

    response: Response
    cut: str = ""
    hold: float = 0.0


class Begun(Protocol):
    """A request that has arrived; the core works on it after `delay` seconds."""

    @property
    def delay(self) -> float:
        """Seconds between arrival and the moment it is executed."""


class Core(Protocol):
    """What a face needs of the emulator. Every method returns at once; waiting is the face's part."""

    def begin(self, request: Request) -> Begun:
        """Take a request in; its `delay` says how long to wait before `finish`."""

    def holds(self, begun: Begun) -> bool:
        """Return whether the request is kept waiting longer than its `delay`; ask again after as long."""

    def finish(self, begun: Begun) -> Exchange:
        """Execute the request (what it writes is committed here) and return its answer."""

    def abandon(self, begun: Begun) -> None:
        """Note that the client has given up: the request is executed when its time comes, its answer dropped."""

    def waits(self, seconds: float) -> float:
        """Return how long a face really waits for `seconds` of the emulator's time (none on a virtual clock)."""
