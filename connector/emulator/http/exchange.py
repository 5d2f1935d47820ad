"""How a face of the emulator talks to its core: begin, wait, finish; and the simple HTTP answers of both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol
from urllib.parse import parse_qsl

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


Headers = tuple[tuple[str, str], ...]


def json_response(status: int, data: object, headers: Headers = ()) -> Response:
    """Return `data` as JSON."""
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(status, (("Content-Type", "application/json; charset=utf-8"), *headers), body)


def html_response(status: int, html: str, headers: Headers = ()) -> Response:
    """Return a page."""
    return Response(status, (("Content-Type", "text/html; charset=utf-8"), *headers), html.encode())


def text_response(status: int, text: str, content_type: str = "text/plain; charset=utf-8") -> Response:
    """Return plain text."""
    return Response(status, (("Content-Type", content_type),), text.encode())


def redirect(location: str) -> Response:
    """Return a 302 to `location`."""
    return Response(HTTPStatus.FOUND, (("Location", location),))


def split_url(url: str) -> tuple[str, str, str]:
    """Return origin (`https://host:port`), path and query of an absolute URL, all as they stand, no fragment."""
    scheme, _, rest = url.partition("://")
    cut = len(rest)
    for mark in "/?#":
        position = rest.find(mark)
        if position != -1:
            cut = min(cut, position)
    path, _, query = rest[cut:].partition("#")[0].partition("?")
    return f"{scheme}://{rest[:cut]}", path or "/", query


def query_fields(query: str) -> Mapping[str, str]:
    """Return the fields of a query or form, percent-decoded; the last one of a name wins."""
    return dict(parse_qsl(query, keep_blank_values=True))


def form_fields(request: Request) -> Mapping[str, str]:
    """Return the fields of a form body; bytes that are not UTF-8 become replacement characters."""
    return query_fields(request.body.decode(errors="replace"))
