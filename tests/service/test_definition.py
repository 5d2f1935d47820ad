from __future__ import annotations

import json
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from openapi_spec_validator import OpenAPIV2SpecValidator

from connector.service.app import create_app
from connector.service.connector_definition.definition import (
    BRAND_COLOR,
    ICON_PATH,
    MCP_PATH,
    PROPERTIES_PATH,
    SWAGGER_PATH,
    Deployment,
    api_properties,
    icon_png,
    mcp_swagger,
    openapi,
    swagger,
    text,
)
from connector.service.connector_definition.projection import ProjectionError, project
from tests.service.definition_lint.document import Document
from tests.service.definition_lint.lint import lint
from tests.service.designer import designer_view
from tests.service.skeleton import DEPLOYMENT, skeleton
from tests.service.stage import OPTIONS, Stage

Json = dict[str, Any]
GOLDEN = Path(__file__).parent / "golden"
FILES = {
    "apiDefinition.swagger.json": swagger(skeleton(), DEPLOYMENT),
    "apiProperties.json": api_properties(DEPLOYMENT),
    "mcpDefinition.swagger.json": mcp_swagger(DEPLOYMENT),
}
SWAGGERS = [document for name, document in FILES.items() if "swagger" in name]
SWAGGER = FILES["apiDefinition.swagger.json"]


@pytest.mark.parametrize("name", FILES)
def test_the_stored_file_is_what_the_app_serves(name: str) -> None:
    """Run tests/service/golden/refresh after a change that is meant, and read the difference."""
    assert (GOLDEN / name).read_text(encoding="utf-8") == text(FILES[name])


@pytest.mark.parametrize("name", ["apiDefinition.swagger.json", "mcpDefinition.swagger.json"])
def test_nothing_a_flow_may_use_has_gone_since_the_last_release(name: str) -> None:
    released = json.loads((GOLDEN / "released" / name).read_text(encoding="utf-8"))
    document = Document(
        text(FILES[name]),
        FILES[name],
        FILES["apiProperties.json"],
        DEPLOYMENT.audience,
        DEPLOYMENT.full_scope,
        previous=released,
    )
    assert list(map(str, lint(document))) == []


@pytest.mark.parametrize("document", SWAGGERS, ids=["actions", "tools"])
def test_a_general_validator_accepts_it(document: Json) -> None:
    assert list(OpenAPIV2SpecValidator(document).iter_errors()) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the validator uses an old interface of jsonschema
@pytest.mark.parametrize("document", SWAGGERS, ids=["actions", "tools"])
def test_a_second_general_validator_accepts_it(document: Json) -> None:
    from swagger_spec_validator import validator20

    validator20.validate_spec(json.loads(json.dumps(document)))


SWAGGER_CLI = "4.0.4"


def test_a_third_judge_accepts_it_and_no_broken_one(tmp_path: Path) -> None:
    """Node's `@apidevtools/swagger-cli`, which finds two bodies where the others do not."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("swagger-cli needs node and npm, which are not on this machine")
    folder = Path(__file__).resolve().parents[2] / ".state" / f"swagger-cli-{SWAGGER_CLI}"
    judge = folder / "node_modules" / ".bin" / "swagger-cli"
    if not judge.exists():
        folder.mkdir(parents=True, exist_ok=True)
        package = f"@apidevtools/swagger-cli@{SWAGGER_CLI}"
        install = ["npm", "install", "--no-audit", "--no-fund", "--fetch-timeout=60000", package]
        done = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"npm could not install swagger-cli: {done.stderr.strip().splitlines()[-1:]}")

    def accepted(document: Json) -> bool:
        (tmp_path / "swagger.json").write_text(json.dumps(document), encoding="utf-8")
        command = [str(judge), "validate", str(tmp_path / "swagger.json")]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    assert [accepted(document) for document in SWAGGERS] == [True, True]
    broken = json.loads(json.dumps(SWAGGER))
    closing = broken["paths"]["/opportunities/{id}/close"]["post"]["parameters"]
    closing.append(closing[-1] | {"name": "second"})
    assert not accepted(broken)


def test_the_endpoint_that_runs_is_the_one_that_is_described(stage: Stage) -> None:
    app = create_app(OPTIONS, stage.dependencies())
    assert swagger(app, DEPLOYMENT) == SWAGGER
    document = Document(
        text(SWAGGER),
        SWAGGER,
        FILES["apiProperties.json"],
        DEPLOYMENT.audience,
        DEPLOYMENT.full_scope,
        running=openapi(app, DEPLOYMENT),
    )
    assert list(map(str, lint(document))) == []


# -- what a maker sees ------------------------------------------------------------------------------------------------

VIEW = designer_view(SWAGGER)


def test_a_maker_sees_the_actions_and_the_trigger_and_not_what_serves_them() -> None:
    assert {name: view.kind for name, view in VIEW.items()} == {
        "CloseOpportunity": "action",
        "PlanClose": "action",
        "ReopenOpportunity": "action",
        "GetOpportunity": "action",
        "GetOperation": "action",
        "ListOperations": "action",
        "CancelOperation": "action",
        "SubscribeOpportunityClosed": "webhook",
    }


@pytest.mark.parametrize("name", VIEW)
def test_every_field_a_maker_sees_is_typed_and_labelled(name: str) -> None:
    view = VIEW[name]
    assert view.outputs, "an action shows outputs"
    for field in (*view.inputs, *view.outputs):
        assert field.kind in {"string", "integer", "number", "boolean", "array", "object"}, field
        assert field.label != field.key.rpartition("/")[2], field


def test_what_matters_comes_first_and_what_serves_others_is_hidden() -> None:
    document = Document(text(SWAGGER), SWAGGER, FILES["apiProperties.json"])
    said = {op.name: op.body.get("x-ms-visibility") for op in document.operations}
    assert {name for name, word in said.items() if word == "important"} == {
        "CloseOpportunity",
        "PlanClose",
        "SubscribeOpportunityClosed",
    }
    assert {"ListStatusReasons", "GetCloseColumns", "TestConnection", "UnsubscribeOpportunityClosed"} == {
        name for name, word in said.items() if word == "internal"
    }
    inputs = {field.visibility for field in VIEW["CloseOpportunity"].inputs}
    assert inputs == {"important", None, "advanced"}


def test_the_close_asks_for_the_opportunity_and_the_outcome_first() -> None:
    inputs = VIEW["CloseOpportunity"].inputs
    assert [(f.label, f.required) for f in inputs[:2]] == [("Opportunity", True), ("Outcome", True)]
    assert [f.label for f in inputs if f.required] == ["Opportunity", "Outcome"]
    assert [f.label for f in inputs if f.visibility is None] == [
        "Status Reason",
        "Close Date",
        "Actual Revenue",
        "Description",
    ]


def test_the_close_gives_its_result_first_whether_it_was_done_at_once_or_later() -> None:
    labels = [f.label for f in VIEW["CloseOpportunity"].outputs]
    assert labels[:3] == ["Result", "Changed", "Message"]
    assert VIEW["GetOperation"].outputs == VIEW["CloseOpportunity"].outputs


def test_the_trigger_gives_the_event_and_hides_the_callback() -> None:
    view = VIEW["SubscribeOpportunityClosed"]
    assert [f.label for f in view.inputs] == ["Outcome", "Minimum Revenue"]
    assert {"Opportunity", "Outcome", "Event", "Occurred At", "Quotes", "Operation"} <= {f.label for f in view.outputs}


def test_all_status_reasons_are_offered_whatever_makes_the_outcome() -> None:
    body = SWAGGER["definitions"]["CloseBody"]["properties"]
    for field, table in (("status", "opportunity"), ("quoteStatus", "quote")):
        feed = body[field]["x-ms-dynamic-list"]
        assert feed["operationId"] == "ListStatusReasons"
        assert feed["parameters"] == {"table": {"value": table}}
        assert body[field]["type"] == "string", "a label is text"


# -- how it is served -------------------------------------------------------------------------------------------------


def test_the_files_are_served_without_sign_in() -> None:
    client = TestClient(skeleton())
    assert client.get(SWAGGER_PATH).text == text(SWAGGER)
    assert client.get(PROPERTIES_PATH).json() == FILES["apiProperties.json"]
    assert client.get(MCP_PATH).json() == FILES["mcpDefinition.swagger.json"]
    icon = client.get(ICON_PATH)
    assert (icon.headers["content-type"], icon.content) == ("image/png", icon_png())


def test_the_files_name_the_host_of_the_deployment_and_not_that_of_the_request() -> None:
    answer = TestClient(skeleton(), base_url="https://evil.example").get(SWAGGER_PATH)
    assert answer.json()["host"] == DEPLOYMENT.host
    assert "evil.example" not in answer.text


def test_another_deployment_differs_in_its_own_names_only() -> None:
    other = Deployment(
        host="dv.fabrikam.com:8443", audience="api://fabrikam", tenant="11111111-1111-1111-1111-111111111111"
    )
    document, properties = swagger(skeleton(), other), api_properties(other)
    assert document["host"] == "dv.fabrikam.com:8443"
    assert document["info"]["contact"]["email"] == "support@dv.fabrikam.com"
    assert document["paths"] == SWAGGER["paths"]
    checked = Document(text(document), document, properties, other.audience, other.full_scope)
    assert list(map(str, lint(checked))) == []


def test_the_icon_is_a_square_png_on_the_brand_colour() -> None:
    data = icon_png()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    assert (width, height, depth, kind) == (160, 160, 8, 2)
    size = struct.unpack(">I", data[33:37])[0]
    pixels = zlib.decompress(data[41 : 41 + size])
    row = 1 + 3 * 160
    corners = [pixels[y * row + 1 + 3 * x :][:3].hex() for x in (0, 160 - 1) for y in (0, 160 - 1)]
    assert corners == [BRAND_COLOR[1:]] * 4
    inked = sum(pixels[i : i + 3] == b"\xff\xff\xff" for y in range(160) for i in range(y * row + 1, (y + 1) * row, 3))
    assert 0.05 < inked / 160**2 < 0.7


# -- the projection ---------------------------------------------------------------------------------------------------


def projected(schema: Json) -> Json:
    """Return what a property with `schema` becomes."""
    operation = {
        "operationId": "Do",
        "summary": "Do",
        "description": "Does.",
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}},
        "responses": {"204": {"description": "Done."}},
    }
    components = {
        "Body": {"type": "object", "title": "Body", "properties": {"x": schema}},
        "Choice": {"type": "string", "enum": ["a", "b"], "title": "Choice"},
        "Part": {"type": "object", "title": "Part", "properties": {"y": {"type": "integer", "title": "Y"}}},
    }
    document = project(
        {"info": {}, "paths": {"/do": {"post": operation}}, "components": {"schemas": components}}, "host"
    )
    assert "title" not in document["definitions"]["Body"]
    return document["definitions"]["Body"]["properties"]["x"]


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        ({"type": "string", "title": "X"}, {"type": "string", "x-ms-summary": "X"}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}, {"type": "string"}),
        ({"anyOf": [{"type": "number"}, {"type": "string"}, {"type": "null"}]}, {"type": "number"}),
        ({"anyOf": [{"type": "array", "items": {}}, {"type": "string"}]}, {"type": "object"}),
        ({"const": "a", "type": "string"}, {"enum": ["a"], "type": "string"}),
        ({"type": "string", "examples": ["a", "b"]}, {"type": "string", "example": "a"}),
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 0, "exclusiveMinimum": True}),
        ({"$ref": "#/components/schemas/Part"}, {"$ref": "#/definitions/Part"}),
        (
            {"$ref": "#/components/schemas/Part", "title": "A Part"},
            {"type": "object", "properties": {"y": {"type": "integer", "x-ms-summary": "Y"}}, "x-ms-summary": "A Part"},
        ),
        (
            {"$ref": "#/components/schemas/Choice", "description": "Which."},
            {"type": "string", "enum": ["a", "b"], "description": "Which.", "x-ms-summary": "Choice"},
        ),
        (
            {"anyOf": [{"$ref": "#/components/schemas/Choice"}, {"type": "null"}], "title": "Z"},
            {"type": "string", "enum": ["a", "b"], "x-ms-summary": "Z"},
        ),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {"type": "object"}),
        ({"type": "string", "x-ms-visibility": "advanced"}, {"type": "string", "x-ms-visibility": "advanced"}),
    ],
)
def test_what_swagger_2_cannot_say_is_said_as_the_designer_reads_it(said: Json, becomes: Json) -> None:
    assert projected(said) == becomes


def test_a_word_it_does_not_know_is_refused() -> None:
    with pytest.raises(ProjectionError, match="patternProperties"):
        projected({"type": "object", "patternProperties": {}})


def test_a_trigger_without_an_operation_is_refused() -> None:
    event = {"post": {"description": "It.", "requestBody": {"content": {"application/json": {"schema": {}}}}}}
    with pytest.raises(ProjectionError, match="Nothing"):
        project({"info": {}, "paths": {}, "webhooks": {"It": event}}, "host", {"Nothing": "It"})
