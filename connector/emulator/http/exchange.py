"""How a face of the emulator talks to its core: begin, wait, finish; and what may be cut off an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from connector.handler import Request, Response


@dataclass(frozen=True, slots=True)
class OperationResult:
    """One operation as executed or refused: its message, table and row where it has them, the rule that decided."""

    message: str
    table: str
    record_id: str
    rule: str
    status: int


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A response of the Web API and the operations that led to it, in order."""

    response: Response
    operations: tuple[OperationResult, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """The answer to a request, and what the network does to it.

    `cut` is empty, `reset` (the connection is reset, nothing of the answer arrives) or `truncate` (it breaks off in the
    middle of the body). The answer is held back `hold` seconds after everything was done.
    """

    response: Response
    cut: str = ""
    hold: float = 0.0


class PendingRequest(Protocol):
    """A request that has arrived; the core works on it after `delay` seconds."""

    @property
    def delay(self) -> float:
        """Seconds between arrival and the moment it is executed."""


class Core(Protocol):
    """What a face needs of the emulator. Every method returns at once; waiting is the face's part."""

    def begin(self, request: Request) -> PendingRequest:
        """Take a request in; its `delay` says how long to wait before `finish`."""

    def holds(self, begun: PendingRequest) -> bool:
        """Return whether the request is kept waiting longer than its `delay`; ask again after as long."""

    def finish(self, begun: PendingRequest) -> Exchange:
        """Execute the request (what it writes is committed here) and return its answer."""

    def abandon(self, begun: PendingRequest) -> None:
        """Note that the client has given up: the request is executed when its time comes, its answer dropped."""

    def waits(self, seconds: float) -> float:
        """Return how long a face really waits for `seconds` of the emulator's time (none on a virtual clock)."""
