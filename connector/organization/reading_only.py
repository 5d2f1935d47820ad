"""A handler that lets reads through and nothing else, and remembers what the answers told of limits."""

from __future__ import annotations

from connector.dataverse.diagnosis import remaining_limits
from connector.errors import InputError
from connector.handler import Handler, Request, Response


class ReadingOnly:
    """Stands before a handler: whatever is no GET is refused before it is sent. `seen` has the highest limits told."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.seen: dict[str, float] = {}

    def __call__(self, request: Request) -> Response:
        """Send a read. Raises InputError for anything else, and what the handler raises."""
        if request.method != "GET" or request.body:
            raise InputError(f"A capture only reads: a {request.method} was not sent.")
        response = self._handler(request)
        remaining = remaining_limits(response)
        for name, value in (
            ("parallelism", remaining.parallelism), ("requests", remaining.requests), ("seconds", remaining.seconds)
        ):  # fmt: skip
            if value is not None:
                self.seen[name] = max(float(value), self.seen.get(name, 0.0))
        return response
