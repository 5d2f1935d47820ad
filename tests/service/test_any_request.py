"""Whatever is sent within what the description allows: an answer that is described, never one nobody foresaw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import quote

import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core import NotSet
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
from starlette.testclient import TestClient

from connector.emulator.identity.keys import Keys
from connector.service.operations.operation_specs import OPERATIONS
from tests.service.error_body import ErrorResponse
from tests.service.stage import Stage

CHECKS = [not_a_server_error, response_schema_conformance, content_type_conformance]
WITH_BODY = {"CloseOpportunity", "PlanClose", "ReopenOpportunity", "SubscribeOpportunityClosed"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, emulator_keys: Keys) -> Iterator[TestClient]:
    stage = Stage(tmp_path_factory.mktemp("endpoint"), keys=emulator_keys)
    stage.opportunity(1, 2)
    with stage.client(requests_per_minute=10**6) as client:
        yield client
    stage.close()


@pytest.fixture(scope="module")
def cases(client: TestClient) -> dict[str, Any]:
    """Return how to make up a request, by operation."""
    app = client.app
    assert isinstance(app, FastAPI)
    described = get_openapi(title="Endpoint", version="1", routes=app.routes)
    failure = ErrorResponse.model_json_schema(ref_template="#/components/schemas/{model}")
    described["components"]["schemas"] |= failure.pop("$defs")
    for response in (r for path in described["paths"].values() for o in path.values() for r in o["responses"].items()):
        if response[0] >= "4":  # the designer reads no schema of a failure, so the app describes none
            response[1]["content"] = {"application/json": {"schema": failure}}
    operations = (
        cast("Ok[Any]", found).ok() for found in schemathesis.openapi.from_dict(described).get_all_operations()
    )
    return {str(one.definition.raw["operationId"]): one for one in operations if "operationId" in one.definition.raw}


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_every_answer_is_one_that_is_described(operation: str, cases: dict[str, Any], client: TestClient) -> None:
    @given(cases[operation].as_strategy())
    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def sent(case: schemathesis.Case[Any]) -> None:
        headers = {
            name: value for name, value in (case.headers or {}).items() if value.isascii() and value.isprintable()
        }
        body: dict[str, Any] = (
            {} if operation not in WITH_BODY or isinstance(case.body, NotSet) else {"json": case.body}
        )
        answer = client.request(
            case.method, case.formatted_path, params=dict(case.query or {}), headers=headers, **body
        )
        case.validate_response(schemathesis.Response.from_any(answer), checks=CHECKS)

    sent()


@given(st.sampled_from(["/operations/", "/opportunities/", "/", "/mcp/"]), st.text(max_size=30), st.binary(max_size=60))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_path_and_no_bytes_make_it_fail(client: TestClient, start: str, rest: str, content: bytes) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = client.request(method, sendable(start + rest), content=content)
        assert answer.status_code < 500
        assert answer.headers["x-ms-request-id"]


def sendable(path: str) -> str:
    """Return a path that a client can send."""
    return quote(path.encode("utf-8", "surrogatepass"), safe="/%?=&.")
