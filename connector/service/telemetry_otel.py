"""Sends spans and measures on by OpenTelemetry, configured by its own OTEL_ variables.

Needs the extra `telemetry`. Sources: OpenTelemetry specification (environment variables, HTTP semantic conventions).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from connector.errors import ConnectorError
from connector.service.telemetry import CALL_SECONDS, OPERATION_SECONDS, REQUEST_SECONDS, Fact, Side, Span

NAME = "opportunity-close"
_KINDS = {Side.SERVER: SpanKind.SERVER, Side.INTERNAL: SpanKind.INTERNAL, Side.CLIENT: SpanKind.CLIENT}
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 90.0, 300.0, 3600.0)
_NO_FACTS: Mapping[str, Fact] = {}
_TRACE = TraceContextTextMapPropagator()


class _Open:
    """A span that is open."""

    def __init__(self, span: OtelSpan, context: str) -> None:
        self.context = context
        self._span = span

    def tell(self, facts: Mapping[str, Fact]) -> None:
        """Add facts."""
        self._span.set_attributes(facts)

    def call_it(self, name: str) -> None:
        """Rename it."""
        self._span.update_name(name)

    def fail(self, kind: str) -> None:
        """Mark it as failed."""
        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR)


class OpenTelemetry:
    """`spans` takes what is to be sent, `measures` reads what was measured; both are closed with this."""

    def __init__(self, version: str, spans: SpanProcessor, measures: MetricReader) -> None:
        resource = _resource(version)
        self._tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._tracers.add_span_processor(spans)
        self._tracer = self._tracers.get_tracer("connector", version)
        self._meters = MeterProvider([measures], resource=resource, shutdown_on_exit=False)
        self._meter = self._meters.get_meter("connector", version)
        self._histograms = {
            name: self._meter.create_histogram(name, "s", explicit_bucket_boundaries_advisory=_BOUNDS)
            for name in (REQUEST_SECONDS, OPERATION_SECONDS, CALL_SECONDS)
        }

    @contextmanager
    def span(self, name: str, side: Side, parent: str = "", facts: Mapping[str, Fact] = _NO_FACTS) -> Iterator[Span]:
        """Return a span around a block; of an exception only its kind is told."""
        after: Context | None = _TRACE.extract({"traceparent": parent}) if parent else None
        with self._tracer.start_as_current_span(
            name, after, _KINDS[side], facts, record_exception=False, set_status_on_exception=False
        ) as span:
            carrier: dict[str, str] = {}
            _TRACE.inject(carrier)
            opened = _Open(span, carrier.get("traceparent", ""))
            try:
                yield opened
            except Exception as error:
                opened.fail(type(error).__name__)
                raise

    def measure(self, name: str, seconds: float, facts: Mapping[str, Fact]) -> None:
        """Add a measure."""
        self._histograms[name].record(seconds, facts)

    def watch(self, name: str, number: Callable[[], int]) -> None:
        """Ask for a number whenever measures are sent."""

        def look(_options: CallbackOptions) -> Iterable[Observation]:
            try:
                return [Observation(number())]
            except ConnectorError:
                return []  # it is asked again

        self._meter.create_observable_gauge(name, [look])

    def close(self) -> None:
        """Send what has not been sent."""
        self._tracers.shutdown()
        self._meters.shutdown()


def _resource(version: str) -> Resource:
    """Return what is said of this process: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, else our own name."""
    given = Resource.create()
    own = {SERVICE_VERSION: version}
    if str(given.attributes[SERVICE_NAME]).startswith("unknown_service"):
        own[SERVICE_NAME] = NAME
    return given.merge(Resource(own))


def to_collector(version: str) -> OpenTelemetry:
    """Return what sends to the collector that OTEL_EXPORTER_OTLP_ENDPOINT and its like name, by OTLP over HTTP."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OpenTelemetry(
        version, BatchSpanProcessor(OTLPSpanExporter()), PeriodicExportingMetricReader(OTLPMetricExporter())
    )
