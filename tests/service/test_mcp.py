from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from connector.service.app import _answer_failures
from connector.service.mcp.mount import mount
from connector.service.mcp.tools import TOOLS
from connector.service.operations.operation_specs import (
    OPERATIONS,
    OperationId,
    OpportunityKey,
    OpportunityPath,
    register,
)
from connector.service.schemas.request_models import CloseBody, PlanBody, ReopenBody
from tests.service.stage import Stage

Json = dict[str, Any]
HOST = "close.contoso.com"
OPPORTUNITY = "6f2c1f0a-0000-4000-8000-000000000001"
SIGNED_IN = {"authorization": "Bearer good", "x-ms-client-request-id": "7"}
READ_ONLY = {"plan_close", "get_opportunity", "get_operation"}


class Correlated:
    """Gives every request the id that the middleware gives."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["correlation_id"] = "c1"
        await self.app(scope, receive, send)


class Endpoint:
    """An endpoint that notes what it is asked and answers as told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Json]] = []
        self.headers: list[Json] = []
        self.answer: Response | Json = {}
        self.app = FastAPI(lifespan=self.lifespan)
        register(self.app, OPERATIONS["CloseOpportunity"], self.close)
        register(self.app, OPERATIONS["PlanClose"], self.plan)
        register(self.app, OPERATIONS["ReopenOpportunity"], self.reopen)
        register(self.app, OPERATIONS["GetOpportunity"], self.read)
        register(self.app, OPERATIONS["GetOperation"], self.result)
        _answer_failures(self.app)
        self.app.add_middleware(Correlated)
        self.running = mount(self.app, hosts=[HOST], version="1.0")

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        async with self.running():
            yield

    def note(self, name: str, body: Json, request: Request) -> Response:
        self.asked.append((name, body))
        self.headers.append(dict(request.headers))
        return self.answer if isinstance(self.answer, Response) else JSONResponse(self.answer)

    def close(
        self, request: Request, opportunity: OpportunityPath, body: CloseBody, column: OpportunityKey = None
    ) -> Response:
        return self.note(
            f"close {opportunity} {column or ''}".strip(), body.model_dump(exclude_unset=True, by_alias=True), request
        )

    def plan(self, request: Request, opportunity: OpportunityPath, body: PlanBody) -> Response:
        return self.note(f"plan {opportunity}", body.model_dump(exclude_unset=True, by_alias=True), request)

    def reopen(self, request: Request, opportunity: OpportunityPath, body: ReopenBody) -> Response:
        return self.note(f"reopen {opportunity}", body.model_dump(exclude_unset=True, by_alias=True), request)

    def read(self, request: Request, opportunity: OpportunityPath) -> Response:
        return self.note(f"read {opportunity}", {}, request)

    def result(self, request: Request, operation: OperationId) -> Response:
        return self.note(f"result {operation}", {}, request)


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
def agent(endpoint: Endpoint) -> Iterator[TestClient]:
    with TestClient(endpoint.app, base_url=f"https://{HOST}", headers=SIGNED_IN) as client:
        yield client


def send(agent: TestClient, method: str, params: Json | None = None, **headers: str) -> Any:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
    return agent.post("/mcp", json=message, headers={"accept": "application/json, text/event-stream", **headers})


def call(agent: TestClient, name: str, **arguments: object) -> Json:
    answer = send(agent, "tools/call", {"name": name, "arguments": arguments})
    assert answer.status_code == 200, answer.text
    result: Json = answer.json()["result"]
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    return result


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18"])
def test_a_client_of_either_version_is_welcome(agent: TestClient, version: str) -> None:
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "agent", "version": "1"}}
    answer = send(agent, "initialize", params)
    assert answer.headers["content-type"].startswith("application/json")
    result = answer.json()["result"]
    assert result["protocolVersion"] == version
    assert result["serverInfo"]["name"] == "opportunity-close"
    assert "mcp-session-id" not in answer.headers


@pytest.mark.parametrize("extra", [{}, {"id": None}], ids=["without id", "with a null id"])
def test_the_notification_after_it_is_accepted(agent: TestClient, extra: Json) -> None:
    message = {"jsonrpc": "2.0", "method": "notifications/initialized", **extra}
    answer = agent.post("/mcp", json=message, headers={"accept": "application/json, text/event-stream"})
    assert answer.status_code == 202


def test_tools_are_listed_without_a_session_for_a_client_that_takes_json_alone(agent: TestClient) -> None:
    answer = send(agent, "tools/list", accept="application/json")
    assert [tool["name"] for tool in answer.json()["result"]["tools"]] == [tool.name for tool in TOOLS]


def nodes(schema: object) -> Iterator[Json]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from nodes(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from nodes(value)


def test_the_schemas_are_such_as_copilot_studio_reads(agent: TestClient) -> None:
    for tool in send(agent, "tools/list").json()["result"]["tools"]:
        for node in nodes([tool["inputSchema"], tool["outputSchema"]]):
            assert not {"$ref", "$defs", "anyOf", "oneOf", "allOf", "exclusiveMinimum", "exclusiveMaximum"} & set(node)
            assert not isinstance(node.get("type"), list)
            if isinstance(node.get("enum"), list):
                assert all(isinstance(value, str) for value in node["enum"])
        for name, schema in tool["inputSchema"]["properties"].items():
            assert isinstance(schema["type"], str), name
            assert schema["description"].endswith("."), name


def test_the_hints_are_honest(agent: TestClient) -> None:
    for tool in send(agent, "tools/list").json()["result"]["tools"]:
        hints = tool["annotations"]
        reads = tool["name"] in READ_ONLY
        assert (hints["readOnlyHint"], hints["destructiveHint"], hints["idempotentHint"]) == (reads, not reads, True)
        assert ("confirmed" in tool["inputSchema"]["required"]) is not reads


@pytest.mark.parametrize("confirmed", [None, False, "true", 1])
@pytest.mark.parametrize("name", ["close_opportunity_with_quotes", "reopen_opportunity"])
def test_nothing_is_changed_before_a_person_agrees(
    endpoint: Endpoint, agent: TestClient, name: str, confirmed: object
) -> None:
    arguments: Json = {"opportunityId": OPPORTUNITY, "confirmed": confirmed}
    if name.startswith("close"):
        arguments["outcome"] = "won"
    result = call(agent, name, **arguments)
    assert (result["structuredContent"]["result"], result["structuredContent"]["changed"]) == ("unconfirmed", False)
    assert endpoint.asked == []


def test_a_confirmed_close_is_the_operation_with_the_callers_own_headers(endpoint: Endpoint, agent: TestClient) -> None:
    endpoint.answer = {"result": "closed", "changed": True, "message": "Closed.", "opportunityId": OPPORTUNITY}
    result = call(
        agent,
        "close_opportunity_with_quotes",
        opportunityId=OPPORTUNITY,
        outcome="won",
        status="3",
        planDigest="d1",
        confirmed=True,
    )
    assert result["isError"] is False
    assert result["structuredContent"] == endpoint.answer
    assert endpoint.asked == [(f"close {UUID(OPPORTUNITY)}", {"outcome": "won", "status": "3", "planDigest": "d1"})]
    assert endpoint.headers[0]["authorization"] == "Bearer good"
    assert endpoint.headers[0]["x-ms-client-request-id"] == "7"


def test_each_tool_is_its_operation(endpoint: Endpoint, agent: TestClient) -> None:
    endpoint.answer = {"message": "Told."}
    call(agent, "plan_close", opportunityId=OPPORTUNITY, outcome="lost")
    call(agent, "reopen_opportunity", opportunityId=OPPORTUNITY, confirmed=True)
    call(agent, "get_opportunity", opportunityId=OPPORTUNITY)
    call(agent, "get_operation", operationId="op-1")
    assert [name.split()[0] for name, _ in endpoint.asked] == ["plan", "reopen", "read", "result"]
    assert endpoint.asked[-1] == ("result op-1", {})


def test_an_id_cannot_leave_its_place_in_the_path(endpoint: Endpoint, agent: TestClient) -> None:
    call(agent, "get_opportunity", opportunityId="../connection")
    call(agent, "get_operation", operationId="../operations/op-1")
    assert endpoint.asked == [("read ../connection", {}), ("result ..%2Foperations%2Fop-1", {})]


def test_the_column_of_a_key_goes_into_the_query(endpoint: Endpoint, agent: TestClient) -> None:
    key = {"opportunityId": "A 1/7", "opportunityKey": "new_code"}
    call(agent, "close_opportunity_with_quotes", **key, outcome="won", confirmed=True)
    assert endpoint.asked == [("close A 1/7 new_code", {"outcome": "won"})]


def test_a_failure_is_told_with_its_sentence_and_code(endpoint: Endpoint, agent: TestClient) -> None:
    body = {"error": {"code": "already_lost", "message": "It is lost.", "details": []}}
    endpoint.answer = JSONResponse(body, 409)
    result = call(agent, "close_opportunity_with_quotes", opportunityId=OPPORTUNITY, outcome="won", confirmed=True)
    assert result["isError"] is True
    told = result["structuredContent"]
    assert (told["code"], told["message"], told["result"]) == ("already_lost", "It is lost.", "failed")


def test_a_throttled_call_says_when_to_come_again(endpoint: Endpoint, agent: TestClient) -> None:
    endpoint.answer = JSONResponse({"error": {"code": "busy", "message": "Wait."}}, 429, {"Retry-After": "17"})
    result = call(agent, "get_opportunity", opportunityId=OPPORTUNITY)
    assert result["structuredContent"]["retryAfter"] == "17"


def test_what_is_still_running_is_told_without_the_address_that_needs_no_sign_in(
    endpoint: Endpoint, agent: TestClient
) -> None:
    body = {"operationId": "op1", "status": "running", "location": "https://secret", "message": ""}
    endpoint.answer = JSONResponse(body, 202, {"Location": "https://secret"})
    result = call(agent, "close_opportunity_with_quotes", opportunityId=OPPORTUNITY, outcome="won", confirmed=True)
    assert result["structuredContent"]["result"] == "running"
    assert result["structuredContent"]["operationId"] == "op1"
    assert "secret" not in json.dumps(result)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("plan_close", {"outcome": "won"}, "needs opportunityId"),
        ("plan_close", {"opportunityId": OPPORTUNITY, "outcome": "won", "host": "x"}, "does not take host"),
        (
            "plan_close",
            {"opportunityId": None, "id": "x", "outcome": "won"},
            "needs opportunityId and does not take id",
        ),
        ("plan_close", {"opportunityId": " ", "outcome": ""}, "needs opportunityId, outcome"),
        ("get_operation", {"operationId": ""}, "needs operationId"),
        ("drop_table", {}, "no tool drop_table"),
    ],
)
def test_a_call_that_makes_no_sense_is_told_why(agent: TestClient, name: str, arguments: Json, said: str) -> None:
    result = call(agent, name, **arguments)
    assert result["isError"] is True
    assert said in result["structuredContent"]["message"]


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("closedOn", "@{utcNow()}", "closedOn: '@{utcNow()}' is not a date; write year-month-day, as 2026-01-31."),
        ("status", {"value": 5}, "status: it is an object; give one value."),
        ("idempotencyKey", ["k"], "idempotencyKey: it is not text."),
        ("opportunityId", "12", "opportunityId: '12' is not the id of a record; give a GUID, with or without braces."),
    ],
)
def test_an_agent_is_told_its_own_names_and_no_expression_of_a_flow(
    stage: Stage, argument: str, value: object, message: str
) -> None:
    asked = {"opportunityId": str(stage.opportunity()), "outcome": "won", "confirmed": True, argument: value}
    with stage.client() as client:
        result = call(client, "close_opportunity_with_quotes", **asked)
    assert result["structuredContent"]["message"] == f"The request is malformed; nothing was changed. {message}"
    assert "xpression" not in str(result)


def test_another_host_name_is_refused(agent: TestClient) -> None:
    answer = send(agent, "tools/list", host="evil.example")
    assert (answer.status_code, answer.headers["content-type"]) == (421, "application/problem+json")
    told = answer.json()["error"]
    assert told["code"] == "wrong_host"
    assert HOST in told["message"]
    assert "CONNECTOR_SERVICE_PUBLIC_URL" in told["message"]


def test_another_origin_is_refused(agent: TestClient) -> None:
    assert send(agent, "tools/list", origin="https://evil.example").status_code == 403


def test_only_post_is_served(agent: TestClient) -> None:
    assert agent.get("/mcp").status_code == 405


def test_outside_the_lifespan_it_is_unavailable_and_says_when_to_come_again(endpoint: Endpoint) -> None:
    client = TestClient(endpoint.app, base_url=f"https://{HOST}", headers=SIGNED_IN)
    answer = send(client, "tools/list")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_the_app_can_be_started_again(endpoint: Endpoint) -> None:
    for _ in range(2):
        with TestClient(endpoint.app, base_url=f"https://{HOST}", headers=SIGNED_IN) as client:
            assert send(client, "tools/list").status_code == 200
