"""What an endpoint tells of its work to whoever watches it: spans and measures, as this package needs them.

Nothing of customers is in them: routes instead of paths, ids of records and operations, statuses, kinds of failures.
Never names, amounts, tokens, tenants, users, hosts or the text of an error. `telemetry_otel` sends them on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from connector.errors import TransportError
from connector.handler import Handler, Request, Response

Fact = str | int | float
_NO_FACTS: Mapping[str, Fact] = MappingProxyType({})

REQUEST_SECONDS = "http.server.request.duration"
OPERATION_SECONDS = "connector.operation.duration"
CALL_SECONDS = "connector.organization.call.duration"
UNFINISHED = "connector.operations.unfinished"

_SET = re.compile(r"/api/data/v[\d.]+/([$A-Za-z_]+)")


class Side(StrEnum):
    """Which side of a conversation a span is."""

    SERVER = "server"
    INTERNAL = "internal"
    CLIENT = "client"


class Span(Protocol):
    """Something that takes a while."""

    context: str
    """Names the span for what comes of it later, as a `traceparent`; empty when nobody watches."""

    def tell(self, facts: Mapping[str, Fact]) -> None:
        """Add facts."""

    def call_it(self, name: str) -> None:
        """Give it the name that is known only now."""

    def fail(self, kind: str) -> None:
        """Say that it failed, and of what kind the failure is."""


class Telemetry(Protocol):
    """Where spans and measures go. Methods may be called from any thread."""

    def span(
        self, name: str, side: Side, parent: str = "", facts: Mapping[str, Fact] = _NO_FACTS
    ) -> AbstractContextManager[Span]:
        """Return a span around a block, within the one that is open here, or after `parent` (a `traceparent`)."""

    def measure(self, name: str, seconds: float, facts: Mapping[str, Fact]) -> None:
        """Add a measure."""

    def watch(self, name: str, number: Callable[[], int]) -> None:
        """Ask for a number from time to time."""

    def close(self) -> None:
        """Send what has not been sent."""


class _NoSpan:
    context = ""

    def tell(self, facts: Mapping[str, Fact]) -> None:
        """Tell nobody."""

    def call_it(self, name: str) -> None:
        """Tell nobody."""

    def fail(self, kind: str) -> None:
        """Tell nobody."""


_NO_SPAN = _NoSpan()


class Silent:
    """Tells nobody."""

    @contextmanager
    def span(
        self,
        name: str,
        side: Side,
        parent: str = "",
        facts: Mapping[str, Fact] = _NO_FACTS,
    ) -> Iterator[Span]:
        """Return a span that tells nobody."""
        yield _NO_SPAN

    def measure(self, name: str, seconds: float, facts: Mapping[str, Fact]) -> None:
        """Tell nobody."""

    def watch(self, name: str, number: Callable[[], int]) -> None:
        """Tell nobody."""

    def close(self) -> None:
        """Do nothing."""


def traced(handler: Handler, telemetry: Telemetry, now: Callable[[], float]) -> Handler:
    """Return `handler` with a span and a measure around each request; `now` returns seconds."""

    def handle(request: Request) -> Response:
        began, name = now(), call_name(request)
        facts: dict[str, Fact] = {"http.request.method": request.method, "dataverse.set": name.partition(" ")[2]}
        with telemetry.span(name, Side.CLIENT, facts=facts) as span:
            try:
                response = handler(request)
            except TransportError as error:
                span.fail(type(error).__name__)
                telemetry.measure(CALL_SECONDS, now() - began, facts | {"error.type": type(error).__name__})
                raise
            span.tell(_answered(request, response))
            if response.status >= _FAILED:
                span.fail(str(response.status))
        telemetry.measure(CALL_SECONDS, now() - began, facts | {"http.response.status_code": response.status})
        return response

    return handle


_FAILED = 400


def call_name(request: Request) -> str:
    """Return what a request to the organization is called: the method and the set or action, never an id."""
    found = _SET.search(request.url)
    return f"{request.method} {found[1] if found else 'sign-in'}"


def _answered(request: Request, response: Response) -> dict[str, Fact]:
    ids = (request.header("x-ms-client-request-id"), response.header("x-ms-service-request-id"))
    names = ("dataverse.client_request_id", "dataverse.service_request_id")
    told: dict[str, Fact] = {name: id_ for name, id_ in zip(names, ids, strict=True) if id_}
    return told | {"http.response.status_code": response.status, "http.request.body.size": len(request.body)}
