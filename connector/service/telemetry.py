"""Telemetry of an endpoint: spans, measures and logs of OpenTelemetry; none without a collector.

Nothing of customers is in them: routes instead of paths, ids of records and operations, statuses, kinds of failures.
Never names, amounts, tokens or the text of an error; tenants, users and hosts only in the logs, which are the entries
of the audit log. `telemetry_sdk` sends them on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from opentelemetry._logs import LoggerProvider, SeverityNumber
from opentelemetry.metrics import CallbackOptions, MeterProvider, NoOpMeterProvider, Observation
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from connector.errors import ConnectorError, TransportError
from connector.handler import Handler, Request, Response
from connector.ledger.audit import AuditEntry

Fact = str | int | float
_NO_FACTS: Mapping[str, Fact] = MappingProxyType({})

REQUEST_SECONDS = "http.server.request.duration"
OPERATION_SECONDS = "connector.operation.duration"
CALL_SECONDS = "connector.organization.call.duration"
UNFINISHED = "connector.operations.unfinished"
AUDIT_EVENT = "connector.audit"

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 90.0, 300.0, 3600.0)
_SET = re.compile(r"/api/data/v[\d.]+/([$A-Za-z_]+)")
_TRACE_CONTEXT = TraceContextTextMapPropagator()
_FAILED = 400


class Telemetry:
    """Makes spans and measures. Methods may be called from any thread; `close` sends what has not been sent."""

    def __init__(
        self,
        tracers: TracerProvider | None = None,
        meters: MeterProvider | None = None,
        loggers: LoggerProvider | None = None,
        version: str = "",
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._tracer = tracers.get_tracer("connector", version) if tracers else None
        self._meter = (meters or NoOpMeterProvider()).get_meter("connector", version)
        self._logger = loggers.get_logger("connector.audit", version) if loggers else None
        self._histograms = {
            name: self._meter.create_histogram(name, "s", explicit_bucket_boundaries_advisory=_BOUNDS)
            for name in (REQUEST_SECONDS, OPERATION_SECONDS, CALL_SECONDS)
        }
        self.close = close

    @contextmanager
    def span(
        self, name: str, kind: SpanKind, parent: str = "", facts: Mapping[str, Fact] = _NO_FACTS
    ) -> Iterator[Span]:
        """Return a span around a block, within the one that is open here, or after `parent` (a `traceparent`).

        Of an exception only its kind is told.
        """
        if self._tracer is None:
            yield INVALID_SPAN
            return
        after = _TRACE_CONTEXT.extract({"traceparent": parent}) if parent else None
        with self._tracer.start_as_current_span(
            name, after, kind, facts, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except Exception as error:
                mark_failed(span, type(error).__name__)
                raise

    def measure(self, name: str, seconds: float, facts: Mapping[str, Fact]) -> None:
        """Add a measure."""
        self._histograms[name].record(seconds, facts)

    def audited(self, entries: Sequence[AuditEntry]) -> None:
        """Send entries of the audit log, each as a log whose event is `connector.audit` and whose body is its JSON."""
        if self._logger is None:
            return
        for entry in entries:
            at = int(entry.at.timestamp() * 1e9) if entry.at else None
            severity = SeverityNumber.WARN if entry.event == "failed" else SeverityNumber.INFO
            body = json.dumps(entry.data())
            self._logger.emit(timestamp=at, severity_number=severity, body=body, event_name=AUDIT_EVENT)

    def watch(self, name: str, number: Callable[[], int]) -> None:
        """Ask for a number whenever measures are sent."""

        def look(_options: CallbackOptions) -> Iterable[Observation]:
            try:
                return [Observation(number())]
            except ConnectorError:
                return []  # it is asked again

        self._meter.create_observable_gauge(name, [look])


def mark_failed(span: Span, kind: str) -> None:
    """Mark a span as failed, with the kind of the failure."""
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


def traceparent() -> str:
    """Return the name of the span that is open here, for its result later; empty when nobody watches."""
    carrier: dict[str, str] = {}
    _TRACE_CONTEXT.inject(carrier)
    return carrier.get("traceparent", "")


def traced(handler: Handler, telemetry: Telemetry, now: Callable[[], float]) -> Handler:
    """Return `handler` with a span and a measure around each request; `now` returns seconds."""

    def handle(request: Request) -> Response:
        began, name = now(), call_name(request)
        facts: dict[str, Fact] = {"http.request.method": request.method, "dataverse.set": name.partition(" ")[2]}
        with telemetry.span(name, SpanKind.CLIENT, facts=facts) as span:
            try:
                response = handler(request)
            except TransportError as error:
                telemetry.measure(CALL_SECONDS, now() - began, facts | {"error.type": type(error).__name__})
                raise
            span.set_attributes(_answered(request, response))
            if response.status >= _FAILED:
                mark_failed(span, str(response.status))
        telemetry.measure(CALL_SECONDS, now() - began, facts | {"http.response.status_code": response.status})
        return response

    return handle


def call_name(request: Request) -> str:
    """Return what a request to the organization is called: the method and the set or action, never an id."""
    match = _SET.search(request.url)
    return f"{request.method} {match[1] if match else 'sign-in'}"


def _answered(request: Request, response: Response) -> dict[str, Fact]:
    ids = (request.header("x-ms-client-request-id"), response.header("x-ms-service-request-id"))
    names = ("dataverse.client_request_id", "dataverse.service_request_id")
    facts: dict[str, Fact] = {name: id_ for name, id_ in zip(names, ids, strict=True) if id_}
    return facts | {"http.response.status_code": response.status, "http.request.body.size": len(request.body)}
