"""Spans and measures tell how the work goes, and nothing of customers."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from opentelemetry import trace
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from starlette.testclient import TestClient

from connector.assembly.endpoint import open_endpoint, telemetry_of
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.errors import SettingsError, Unanswered
from connector.handler import Request, Response
from connector.service.app import create_app
from connector.service.telemetry import call_name, traced, traceparent
from connector.service.telemetry_sdk import sent_by
from connector.settings.environment import load
from connector.settings.service_settings import ServiceSettings
from tests.service.process import until
from tests.service.stage import OPTIONS, Stage, unavailable

WON = {"outcome": "won"}
NO_LOGS = SimpleLogRecordProcessor(InMemoryLogRecordExporter())  # type: ignore[no-untyped-call]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RUN = {"traceparent": TRACE, "x-ms-workflow-run-id": "08585287554177334956", "authorization": "Bearer SECRETTOKEN"}


@dataclass
class Watched:
    """An endpoint on the stage, watched by OpenTelemetry."""

    stage: Stage
    client: TestClient
    spans: InMemorySpanExporter
    measures: InMemoryMetricReader
    logs: InMemoryLogRecordExporter

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans.get_finished_spans() if span.name == name]

    def told(self) -> str:
        """Return everything that was told, as text."""
        spans = [json.loads(span.to_json()) for span in self.spans.get_finished_spans()]
        data = self.measures.get_metrics_data()
        return json.dumps(spans) + (data.to_json() if data else "")


@pytest.fixture
def watched(stage: Stage) -> Iterator[Watched]:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    telemetry = sent_by("1.2.3", SimpleSpanProcessor(exporter), reader, SimpleLogRecordProcessor(logs))
    handler = traced(stage.handler, telemetry, stage.clock.monotonic)
    stage.organization = DataverseOrganization(handler, stage.embedded.url, clock=stage.clock)
    app = create_app(OPTIONS, replace(stage.dependencies(), telemetry=telemetry))
    with TestClient(app, base_url="http://localhost:8080", client=("127.0.0.1", 50000)) as client:
        yield Watched(stage, client, exporter, reader, logs)
    telemetry.close()


def test_nobody_else_in_the_process_is_told_of_addresses_that_prove_themselves(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The web framework can tell every path and every wrong value to whatever watches the process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    with stage.client() as client:
        accepted = client.post(f"/opportunities/{stage.opportunity()}/close", json=WON | {"mode": "accept"})
        client.get(accepted.headers["location"])
        client.post(f"/opportunities/{stage.opportunity()}/close", json={"outcome": "a secret"})
    told = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert urlsplit(accepted.headers["location"]).path not in told
    assert "a secret" not in told
    provider.shutdown()


def test_a_request_leads_to_an_operation_and_that_to_calls_of_the_organization(watched: Watched) -> None:
    opportunity = watched.stage.opportunity(1, 2)
    answer = watched.client.post(f"/opportunities/{opportunity}/close", json=WON, headers=RUN)
    until(lambda: watched.named("operation close"))  # whoever asked is told of its end before the collector is
    (request,) = watched.named("POST /opportunities/{id}/close")
    (operation,) = watched.named("operation close")
    calls = [span for span in watched.spans.get_finished_spans() if span.kind is SpanKind.CLIENT]
    assert request.parent is not None
    assert f"{request.context.trace_id:032x}" == TRACE[3:35], "the flow's own trace goes on"
    assert operation.parent is not None
    assert operation.parent.span_id == request.context.span_id
    assert {call.parent.span_id for call in calls if call.parent} == {operation.context.span_id}
    assert {span.context.trace_id for span in (request, operation, *calls)} == {request.context.trace_id}
    assert "POST $batch" in {call.name for call in calls}
    facts = dict(operation.attributes or {})
    assert facts["connector.operation_id"] == answer.json()["operationId"]
    assert facts["connector.opportunity_id"] == str(opportunity)
    assert facts["connector.result"] == "closed"
    assert dict(request.attributes or {})["http.response.status_code"] == 200


def test_reads_are_calls_within_their_request(watched: Watched) -> None:
    opportunity = watched.stage.opportunity(1)
    watched.client.get(f"/opportunities/{opportunity}")
    (request,) = watched.named("GET /opportunities/{id}")
    calls = [span for span in watched.spans.get_finished_spans() if span.kind is SpanKind.CLIENT]
    assert calls
    assert {call.parent.span_id for call in calls if call.parent} == {request.context.span_id}


def test_nothing_of_customers_is_told(watched: Watched) -> None:
    opportunity = watched.stage.opportunity(1, 2)
    revenue, remark = 12_345.67, "Customer wants a discount"
    body = WON | {"actualRevenue": revenue, "description": remark, "subject": "Top secret deal"}
    watched.stage.troubles.append(unavailable)
    watched.client.post(f"/opportunities/{opportunity}/close", json=body, headers=RUN)
    watched.client.get(f"/opportunities/{opportunity}", headers=RUN)
    watched.client.get("/nowhere/Secret%20Name%20in%20a%20path", headers=RUN)
    until(lambda: str(opportunity) in watched.told())
    told = watched.told()
    for secret in ("Secret", "QUO-", "12345", "discount", "secret deal", "SECRETTOKEN", "emulator.invalid", "Bearer"):
        assert secret not in told
    known = {str(opportunity), *(str(UUID(int=opportunity.int + n)) for n in (1, 2))}
    ids = set(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", told))
    others = {id_ for id_ in ids if id_.startswith("0c000000")} - known
    assert others == set()
    assert watched.stage.embedded.tenant_id not in told
    assert watched.stage.embedded.client_id not in told


def test_entries_of_the_audit_log_are_sent_as_logs(watched: Watched) -> None:
    opportunity = watched.stage.opportunity(1)
    body = WON | {"description": "Customer wants a discount"}
    watched.client.post(f"/opportunities/{opportunity}/close", json=body, headers=RUN)
    until(lambda: len(watched.logs.get_finished_logs()) > 1)
    records = [log.log_record for log in watched.logs.get_finished_logs()]
    assert {record.event_name for record in records} == {"connector.audit"}
    assert [json.loads(str(record.body)) for record in records] == watched.stage.log()
    assert [json.loads(str(record.body))["event"] for record in records] == ["accepted", "closed"]
    assert "discount" not in str([record.body for record in records])


def test_what_fails_is_marked_with_its_kind_and_nothing_more(watched: Watched) -> None:
    opportunity = watched.stage.opportunity(1)
    watched.stage.troubles.extend([unavailable] * 9)  # more than the reads of metadata before it may meet
    assert watched.client.get(f"/opportunities/{opportunity}").status_code == 503
    (request,) = watched.named("GET /opportunities/{id}")
    assert not request.status.is_ok
    assert request.status.description is None
    assert dict(request.attributes or {})["error.type"] == "503"
    assert [event for span in watched.spans.get_finished_spans() for event in span.events] == []


def test_requests_operations_and_calls_are_measured(watched: Watched) -> None:
    for _ in range(3):
        watched.client.post(f"/opportunities/{watched.stage.opportunity(1)}/close", json=WON)
    until(lambda: len(watched.named("operation close")) == 3)
    data = watched.measures.get_metrics_data()
    assert data is not None
    metrics = {
        metric.name: metric for resource in data.resource_metrics for scope in resource.scope_metrics
        for metric in scope.metrics
    }  # fmt: skip
    points: dict[str, Any] = {name: list(metric.data.data_points) for name, metric in metrics.items()}
    (requests,) = points["http.server.request.duration"]
    assert requests.count == 3
    assert dict(requests.attributes) == {
        "http.request.method": "POST", "http.route": "/opportunities/{id}/close", "http.response.status_code": 200
    }  # fmt: skip
    (operations,) = points["connector.operation.duration"]
    assert operations.count == 3
    assert points["connector.organization.call.duration"]
    assert [point.value for point in points["connector.operations.unfinished"]] == [0]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://org.crm4.dynamics.com/api/data/v9.2/opportunities(6f2c1f0a-0000-4000-8000-000000000001)?$select=name",
         "GET opportunities"),
        ("https://org.crm4.dynamics.com/api/data/v9.2/$batch", "GET $batch"),
        ("https://login.microsoftonline.com/tenant/oauth2/v2.0/token", "GET sign-in"),
    ],
)  # fmt: skip
def test_a_call_is_named_without_ids(url: str, name: str) -> None:
    assert call_name(Request("GET", url)) == name


def test_an_answer_that_was_lost_is_a_failure_of_its_kind() -> None:
    def lost(_: Request) -> Response:
        raise Unanswered("The connection to org.crm4.dynamics.com was reset.")

    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    telemetry = sent_by("1", SimpleSpanProcessor(exporter), reader, NO_LOGS)
    with pytest.raises(Unanswered):
        traced(lost, telemetry, lambda: 0.0)(Request("GET", "https://org.crm4.dynamics.com/api/data/v9.2/quotes"))
    (span,) = exporter.get_finished_spans()
    assert dict(span.attributes or {})["error.type"] == "Unanswered"
    assert "org.crm4" not in span.to_json()
    telemetry.close()


def test_what_is_told_reaches_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    telemetry = telemetry_of(ServiceSettings.model_validate({}).model_copy(update={"telemetry": True}), "1.2.3")
    with telemetry.span("operation close", SpanKind.INTERNAL):
        assert traceparent()
    telemetry.measure("connector.operation.duration", 1.0, {"connector.result": "closed"})
    telemetry.close()
    server.shutdown()
    thread.join()
    server.server_close()
    assert {path for path, _ in received} == {"/v1/traces", "/v1/metrics"}
    assert any(b"operation close" in body or body[:2] == b"\x1f\x8b" for _, body in received)


# -- when it is on ----------------------------------------------------------------------------------------------------


def test_without_a_collector_nothing_is_sent_or_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"HOME": str(tmp_path), "DATAVERSE_URL": f"emulator:{tmp_path / 'o.db'}"}
    assert not load(given).service.telemetry
    assert load(given | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}).service.telemetry
    off = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "CONNECTOR_SERVICE_TELEMETRY": "off"}
    assert not load(given | off).service.telemetry
    endpoint = open_endpoint(load(given | {"CONNECTOR_STORE": str(tmp_path / "jobs.db")}))
    with endpoint.dependencies.telemetry.span("x", SpanKind.INTERNAL) as span:
        assert not span.is_recording()
    endpoint.close()


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "connector.service.telemetry_sdk", None)
    with pytest.raises(SettingsError, match="Install the connector with the extra telemetry"):
        telemetry_of(ServiceSettings.model_validate({}).model_copy(update={"telemetry": True}), "1")


@pytest.mark.parametrize(("environment", "name"), [({}, "opportunity-close"), ({"OTEL_SERVICE_NAME": "ours"}, "ours")])
def test_the_service_is_named_by_the_environment_or_by_itself(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], name: str
) -> None:
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    exporter = InMemorySpanExporter()
    telemetry = sent_by("1", SimpleSpanProcessor(exporter), InMemoryMetricReader(), NO_LOGS)
    with telemetry.span("x", SpanKind.INTERNAL):
        pass
    telemetry.close()
    assert exporter.get_finished_spans()[0].resource.attributes["service.name"] == name
