"""Sends spans, measures and logs to a collector, as the OTEL_ variables of OpenTelemetry say.

Needs the extra `telemetry`. Sources: OpenTelemetry specification (environment variables, HTTP semantic conventions).
"""

from __future__ import annotations

from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from connector.service.telemetry import Telemetry

NAME = "opportunity-close"


def sent_by(version: str, spans: SpanProcessor, measures: MetricReader, logs: LogRecordProcessor) -> Telemetry:
    """Return telemetry whose spans go to `spans`, logs to `logs`, whose measures `measures` reads; it closes them."""
    resource = _resource(version)
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracers.add_span_processor(spans)
    loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
    loggers.add_log_record_processor(logs)
    meters = MeterProvider([measures], resource=resource, shutdown_on_exit=False)

    def close() -> None:
        tracers.shutdown()
        loggers.shutdown()
        meters.shutdown()

    return Telemetry(tracers, meters, loggers, version, close)


def to_collector(version: str) -> Telemetry:
    """Return what sends to the collector that OTEL_EXPORTER_OTLP_ENDPOINT and its like name, by OTLP over HTTP."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return sent_by(
        version,
        BatchSpanProcessor(OTLPSpanExporter()),
        PeriodicExportingMetricReader(OTLPMetricExporter()),
        BatchLogRecordProcessor(OTLPLogExporter()),
    )


def _resource(version: str) -> Resource:
    """Return what is said of this process: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, else our own name."""
    resource = Resource.create()
    own = {SERVICE_VERSION: version}
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        own[SERVICE_NAME] = NAME
    return resource.merge(Resource(own))
