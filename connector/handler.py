"""Request, Response, and Handler: the one shape of everything that answers."""

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
