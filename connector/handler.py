"""Request, Response, and Handler: the one shape of everything that answers; and how it is doing where it is paced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request.

    `url` is absolute (`https://host/path?query`), percent-encoded as it goes on the wire. The names in
    `headers` are lower case. `timeout` is in seconds and bounds connecting and each wait for bytes; None
    leaves the choice to the transport.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    timeout: float | None = None

    def header(self, name: str) -> str | None:
        """Return the value of header `name` (any case), or None."""
        return self.headers.get(name.lower())


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response; `headers` are pairs as received, since some (Set-Cookie) may repeat."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the first value of header `name` (any case), or None."""
        lowered = name.lower()
        for key, value in self.headers:
            if key.lower() == lowered:
                return value
        return None


Handler = Callable[[Request], Response]
"""A function from a request to its response; failures to get one are raised as `errors.TransportError`."""


@dataclass(frozen=True, slots=True)
class PacingStatus:
    """What paces one user's requests is doing, for people: rates in requests per second, times in seconds.

    `binding` is what holds the rate: count, time, concurrency, latency, or waiting (for a Retry-After to pass).
    `waiting` is how long everything is still stopped, `ceiling` the rate that could go on for hours. `requests`, those
    `refused`, and the seconds `executed` by those answered and in flight count from the beginning. `spread` is the
    share by which requests of this kind differ in length, `since_sent` how long ago the last of them was sent.
    `usual_seconds` is what a part costs without the few that take many times as long: `unlike` were answered, and those
    under way take `hanging` seconds at most.
    """

    binding: str
    waiting: float
    ceiling: float
    in_flight: int
    most_in_flight: int
    servers: int
    seconds_per_part: float
    requests: int
    executed: float
    refused: int
    spread: float = 0.0
    since_sent: float = 0.0
    usual_seconds: float = 0.0
    unlike: int = 0
    hanging: float = 0.0
