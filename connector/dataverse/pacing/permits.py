"""What the governor takes and returns: permits to send, times to wait, what an answer says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Facet(StrEnum):
    """Which limit a refusal names."""

    COUNT = "count"
    TIME = "time"
    CONCURRENCY = "concurrency"
    OTHER = "other"


class Binding(StrEnum):
    """What holds the rate where it is."""

    COUNT = "count"
    TIME = "time"
    CONCURRENCY = "concurrency"
    LATENCY = "latency"
    WAITING = "waiting"
    """Stopped until a Retry-After has passed."""


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send one request now; `server` is the affinity to send along, empty for any server.

    `cost` is the execution time expected, in seconds.
    """

    sent_at: float
    server: str
    kind: str
    parts: int
    cost: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now: ask again at `until`, or as soon as an answer has come, whichever is first."""

    until: float
    why: Binding


@dataclass(frozen=True, slots=True)
class Feedback:
    """What the answer to one request told, in seconds and requests.

    `server` is the affinity value it set. `executed` is false for what never reached the service, `ok` for failures of
    the service (5xx) and lost answers. `facet` is given for a refusal, with `retry_after` and the `number` its text
    names; a 503 may carry `retry_after` too.
    """

    server: str = ""
    ok: bool = True
    executed: bool = True
    facet: Facet | None = None
    retry_after: float | None = None
    number: float | None = None
    requests_left: float | None = None
    seconds_left: float | None = None
