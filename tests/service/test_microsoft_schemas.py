"""The connector's files against Microsoft's own JSON schemas, which `scripts/test` fetches where that can be done.

The schemas are of 2020 and 2021 and know fewer words than the platform does today. What is added to them here is each
such word, with where it is documented or seen; everything else they say holds as it stands.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema.exceptions import ValidationError
from jsonschema.validators import validator_for

from connector.service.app import create_app
from connector.service.connector_definition.definition import MCP_PATH, PROPERTIES_PATH, SWAGGER_PATH
from connector.service.service_options import Access, Admission, CallerSignIn
from tests.service.stage import DEVELOPMENT, OPTIONS, Stage

Json = dict[str, Any]
FOLDER = Path(
    os.environ.get("POWER_PLATFORM_SCHEMAS")
    or Path(__file__).resolve().parents[2] / ".state" / "power-platform-schemas"
)
DEFINITION, PROPERTIES = "apiDefinition.swagger.schema.json", "paconn-apiProperties.schema.json"
TENANT, OTHER = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
ENTRA = Admission(
    tenants={TENANT: "https://contoso.crm4.dynamics.com"},
    audiences=frozenset({"api://close.contoso.com", "33333333-3333-3333-3333-333333333333"}),
    clients=frozenset({"44444444-4444-4444-4444-444444444444"}),
)
MODES = {
    "users on their own behalf": ENTRA,
    "by caller": replace(ENTRA, access=Access.BY_CALLER),
    "the platform's sign-in": replace(ENTRA, sign_in=CallerSignIn.EASY_AUTH),
    "several tenants": replace(
        ENTRA, tenants={TENANT: "https://a.crm.dynamics.com", OTHER: "https://b.crm.dynamics.com"}
    ),
    "a national cloud": replace(ENTRA, authority="https://login.chinacloudapi.cn"),
    "API keys": replace(ENTRA, access=Access.APPLICATION, api_keys={"0" * 64: f"{TENANT}/flow"}),
    "an emulator, nobody signs in": DEVELOPMENT,
}
needs_schemas = pytest.mark.skipif(
    not all((FOLDER / name).is_file() for name in (DEFINITION, PROPERTIES)),
    reason=f"Microsoft's schemas are not in {FOLDER}: see scripts/fetch-schemas, or name a folder in "
    "POWER_PLATFORM_SCHEMAS",
)


def schema(name: str) -> Json:
    """Return a schema as today's platform has it."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    read: Json = json.loads("\n".join(re.sub(r"(^|\s)//.*$", "", line) for line in lines))  # it is JSON with comments
    words = read["definitions"]
    if name == DEFINITION:
        operation = words["operation"]["properties"]
        # Copilot Studio's guide to MCP; learn.microsoft.com/connectors/custom-connectors/openapi-extensions.
        operation["x-ms-agentic-protocol"] = {"enum": ["mcp-streamable-1.0"]}
        operation["x-ms-require-user-confirmation"] = {"type": "boolean"}
    else:
        # Asked for since February 2024; both are in published connectors (PROS AI, Teams-Spirit).
        words["oAuthSettings"]["properties"]["redirectMode"]["enum"].append("GlobalPerConnector")
        ways = [way.get("properties", {}) for way in words["oAuthSettings"]["oneOf"]]
        entra = next(way for way in ways if way.get("identityProvider") == {"enum": ["aad"]})
        entra["customParameters"]["properties"]["enableOnbehalfOfLogin"] = {}
    return read


def faults(name: str, document: Json) -> list[ValidationError]:
    """Return what a schema finds wrong."""
    judge = schema(name)
    return list(validator_for(judge)(judge).iter_errors(document))


@needs_schemas
@pytest.mark.parametrize("mode", MODES)
def test_microsofts_schemas_accept_what_an_endpoint_serves(mode: str, stage: Stage) -> None:
    options = replace(OPTIONS, admission=MODES[mode], public_url="https://close.contoso.com")
    client = TestClient(create_app(options, stage.dependencies()))
    for path, name in ((SWAGGER_PATH, DEFINITION), (MCP_PATH, DEFINITION), (PROPERTIES_PATH, PROPERTIES)):
        assert faults(name, client.get(path).json()) == []


@needs_schemas
@pytest.mark.parametrize(
    ("path", "name", "place", "value"),
    [
        (SWAGGER_PATH, DEFINITION, ("paths", "/opportunities/{id}/plan", "post", "x-ms-visibilty"), "important"),
        (SWAGGER_PATH, DEFINITION, ("definitions", "CloseBody", "properties", "closedOn", "format"), "duration"),
        (SWAGGER_PATH, DEFINITION, ("info", "x-ms-api-annotation", "status"), "Ready"),
        (MCP_PATH, DEFINITION, ("paths", "/mcp", "post", "x-ms-agentic-protocol"), "mcp"),
        (PROPERTIES_PATH, PROPERTIES, ("properties", "secret"), "x"),
        (
            PROPERTIES_PATH,
            PROPERTIES,
            ("properties", "connectionParameters", "token", "oAuthSettings", "redirectMode"),
            "Own",
        ),
    ],
)
def test_microsofts_schemas_find_a_fault(
    path: str, name: str, place: tuple[str, ...], value: str, stage: Stage
) -> None:
    document = TestClient(create_app(OPTIONS, stage.dependencies())).get(path).json()
    *way, last = place
    holder = document
    for step in way:
        holder = holder[step]
    holder[last] = value
    assert len(faults(name, document)) == 1
