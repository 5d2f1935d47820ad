from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from connector.service.connector_definition.definition import api_properties, mcp_swagger, swagger, text
from tests.service.definition_lint.document import Document
from tests.service.definition_lint.lint import RULES, lint
from tests.service.skeleton import DEPLOYMENT, skeleton

Json = dict[str, Any]
SWAGGER, PROPERTIES = swagger(skeleton(), DEPLOYMENT), api_properties(DEPLOYMENT)
RUNNING = skeleton().openapi()
CLEAN = Document(
    text(SWAGGER), SWAGGER, PROPERTIES, DEPLOYMENT.audience, DEPLOYMENT.full_scope, deepcopy(SWAGGER), RUNNING
)


def test_there_are_fifty_two_rules_each_with_its_number_text_and_origin() -> None:
    assert [rule.id for rule in RULES] == list(range(1, 53))
    assert all(rule.text.endswith(".") and rule.origin for rule in RULES)


def test_the_connector_breaks_no_rule() -> None:
    assert list(map(str, lint(CLEAN))) == []


def test_the_connector_for_agents_breaks_no_rule() -> None:
    document = mcp_swagger(DEPLOYMENT)
    agents = replace(CLEAN, text=text(document), swagger=document, previous=document, running=None)
    assert list(map(str, lint(agents))) == []


CLOSE, GET, LIST = "/opportunities/{id}/close", "/opportunities/{id}", "/operations"
SUBSCRIBE, UNSUBSCRIBE, REASONS = "/subscriptions", "/subscriptions/{id}", "/status-reasons"


def close(d: Json) -> Json:
    return d["paths"][CLOSE]["post"]


def read(d: Json) -> Json:
    return d["paths"][GET]["get"]


def body(d: Json) -> Json:
    return d["definitions"]["CloseBody"]["properties"]


def callback(d: Json) -> Json:
    return d["definitions"]["SubscribeBody"]["properties"]["callbackUrl"]


def referring(d: Json) -> Json:
    """Let the drop-down of reasons follow an input, and return the reference."""
    parameters = body(d)["status"]["x-ms-dynamic-list"]["parameters"]
    parameters["outcome"] = {"parameterReference": "body/outcome"}
    return parameters["outcome"]


def sign_in(p: Json) -> Json:
    return p["properties"]["connectionParameters"]["token"]["oAuthSettings"]


def put(node: Json, **values: object) -> None:
    node.update({key.replace("__", "-").strip("_"): value for key, value in values.items()})


Fault = Callable[[Json], Any]
# fmt: off
FAULTS: list[tuple[int, str, Fault]] = [
    (1, "another version", lambda d: put(d, swagger="3.0.0")),
    (1, "a request body", lambda d: put(close(d), requestBody={})),
    (1, "components", lambda d: put(d, components={})),
    (1, "content in a response", lambda d: put(close(d)["responses"]["200"], content={})),
    (2, "keys in another order", lambda d: put(d, host=d.pop("host"))),
    (3, "too many operations", lambda d: [d["paths"].update({f"/p{n}": {"get": read(d)}}) for n in range(260)]),
    (3, "too many schemas in a body",
     lambda d: body(d).update({f"f{n}": {"type": "string"} for n in range(520)})),
    (3, "a file of a megabyte", lambda d: put(d["info"], description="x" * 1_000_000)),
    (4, "a host with a scheme", lambda d: put(d, host="https://close.contoso.com")),
    (4, "http", lambda d: put(d, schemes=["http", "https"])),
    (4, "a relative base path", lambda d: put(d, basePath="api")),
    (5, "an id with an underscore", lambda d: put(close(d), operationId="close_opportunity")),
    (5, "an id twice", lambda d: put(close(d), operationId="PlanClose")),
    (5, "no id", lambda d: close(d).pop("operationId")),
    (6, "a revision its id does not tell", lambda d: put(close(d)["x-ms-api-annotation"], revision=2)),
    (6, "ahead of the connector", lambda d: put(d["info"]["x-ms-api-annotation"], status="Preview")),
    (6, "two of a family", lambda d: put(close(d)["x-ms-api-annotation"], family="PlanClose")),
    (7, "a replacement of what stands",
     lambda d: put(close(d)["x-ms-api-annotation"], replacement={"api": "a", "operationId": "b"})),
    (7, "half a replacement",
     lambda d: (put(close(d), deprecated=True), put(close(d)["x-ms-api-annotation"], replacement={"api": "a"}))),
    (8, "a summary of 200 characters", lambda d: put(close(d), summary="x" * 200)),
    (8, "a slash in a summary", lambda d: put(close(d), summary="Close/win")),
    (8, "a summary that ends with a stop", lambda d: put(close(d), summary="Close it-")),
    (9, "no full stop", lambda d: put(close(d), description="This closes")),
    (9, "a description too long", lambda d: put(close(d), description="A" * 300 + ".")),
    (9, "a repeated summary", lambda d: put(close(d), description=close(d)["summary"] + ".")),
    (10, "a trigger that is an action", lambda d: put(d["paths"][SUBSCRIBE]["post"], summary="Subscribe")),
    (10, "a trigger that does not say when",
     lambda d: put(d["paths"][SUBSCRIBE]["post"], description="Subscribes a flow.")),
    (11, "a parameter without a label", lambda d: close(d)["parameters"][0].pop("x-ms-summary")),
    (11, "a label in lower case", lambda d: put(close(d)["parameters"][0], x__ms__summary="the opportunity")),
    (11, "a parameter without a sentence", lambda d: close(d)["parameters"][0].pop("description")),
    (12, "a property without a label", lambda d: body(d)["subject"].pop("x-ms-summary")),
    (12, "an output without a sentence",
     lambda d: d["definitions"]["CloseResult"]["properties"]["changed"].pop("description")),
    (13, "a title", lambda d: put(d["definitions"]["CloseBody"], title="CloseBody")),
    (14, "a label beside a reference",
     lambda d: put(body(d), x={"$ref": "#/definitions/CloseResult", "x-ms-summary": "X"})),
    (15, "a reference to nothing", lambda d: put(body(d), x={"$ref": "#/definitions/Nothing"})),
    (15, "a reference elsewhere", lambda d: put(body(d), x={"$ref": "other.json#/definitions/CloseResult"})),
    (15, "a loop", lambda d: (put(body(d), again={"$ref": "#/definitions/CloseBody"}),
                              d["definitions"]["CloseBody"]["required"].append("again"))),
    *((16, keyword, lambda d, k=keyword: body(d)["subject"].update({k: value_of(k)}))
      for keyword in ("anyOf", "oneOf", "allOf", "not", "const", "nullable", "examples", "exclusiveMinimum")),
    (16, "a list of types", lambda d: put(body(d)["subject"], type=["string", "null"])),
    (17, "an untyped property", lambda d: body(d)["subject"].pop("type")),
    (18, "an array of anything", lambda d: d["definitions"]["CloseResult"]["properties"]["warnings"].pop("items")),
    (19, "an empty required", lambda d: put(d["definitions"]["CloseBody"], required=[])),
    (19, "a required that does not exist", lambda d: d["definitions"]["CloseBody"]["required"].append("nothing")),
    (19, "a required without properties", lambda d: put(body(d)["columns"], required=["x"])),
    (20, "a read-only input", lambda d: put(body(d)["outcome"], readOnly=True)),
    (21, "an empty enumeration", lambda d: put(body(d)["mode"], enum=[])),
    (21, "a value twice", lambda d: put(body(d)["mode"], enum=["wait", "wait"])),
    (21, "a number among texts", lambda d: put(body(d)["mode"], enum=["wait", 1])),
    (21, "a value without a name", lambda d: body(d)["mode"]["x-ms-enum-values"].pop()),
    (22, "a default of another type", lambda d: put(body(d)["mode"], default=1)),
    (22, "a default that is no choice", lambda d: put(body(d)["mode"], default="sleep")),
    (23, "bounds the wrong way", lambda d: put(body(d)["actualRevenue"], minimum=10, maximum=1)),
    (23, "an exclusive bound alone", lambda d: put(body(d)["subject"], exclusiveMaximum=True)),
    (23, "a broken pattern", lambda d: put(body(d)["subject"], pattern="(")),
    (24, "an unknown format", lambda d: put(body(d)["subject"], format="guid")),
    (25, "a variable without a parameter", lambda d: close(d)["parameters"].pop(0)),
    (25, "an optional path parameter", lambda d: put(close(d)["parameters"][0], required=False)),
    (25, "no encoding", lambda d: close(d)["parameters"][0].pop("x-ms-url-encoding")),
    (26, "a path in another case", lambda d: put(d["paths"], **{"/OPERATIONS": {}})),
    (26, "a path that differs in a variable", lambda d: put(d["paths"], **{"/operations/{other}": {}})),
    (26, "a query in a path", lambda d: put(d["paths"], **{"/operations?x": {}})),
    (27, "two bodies", lambda d: close(d)["parameters"].append(close(d)["parameters"][-1])),
    (27, "a body on GET", lambda d: read(d)["parameters"].append(close(d)["parameters"][-1])),
    (27, "a form beside a body",
     lambda d: close(d)["parameters"].append({"name": "f", "in": "formData", "type": "string"})),
    (28, "a reserved name", lambda d: put(close(d)["parameters"][1], name="connectionId")),
    (29, "a header of the protocol", lambda d: put(close(d)["parameters"][2], name="Authorization")),
    (30, "no list of parameters", lambda d: d["paths"]["/connection"]["get"].pop("parameters")),
    (31, "a key that holds a verb", lambda d: put(d["paths"][CLOSE], **{"x-target": {}})),
    (32, "an unknown media type", lambda d: put(d, produces=["application/problem+json"])),
    (32, "nothing consumed", lambda d: d.pop("consumes")),
    (33, "no success", lambda d: [close(d)["responses"].pop(s) for s in ("200", "202")]),
    (33, "a visible action without outputs", lambda d: close(d)["responses"]["200"].pop("schema")),
    (34, "two responses with a schema",
     lambda d: put(close(d)["responses"]["400"], schema={"$ref": "#/definitions/CloseResult"})),
    (35, "a schema on default",
     lambda d: put(close(d)["responses"]["default"], schema={"$ref": "#/definitions/CloseResult"})),
    (35, "nothing but default", lambda d: put(close(d), responses={"default": {"description": "It failed."}})),
    (36, "no 4xx", lambda d: [read(d)["responses"].pop(s) for s in list(read(d)["responses"]) if s[0] == "4"]),
    (36, "no sentence", lambda d: put(close(d)["responses"]["404"], description="not found")),
    (37, "the schema on 202",
     lambda d: put(close(d)["responses"]["202"], schema=close(d)["responses"]["200"].pop("schema"))),
    (38, "an example of text", lambda d: put(close(d)["responses"]["200"], examples={"text/plain": "x"})),
    (39, "a drop-down fed by nothing",
     lambda d: put(body(d)["status"]["x-ms-dynamic-values"], operationId="Nothing")),
    (39, "a drop-down without its outcome",
     lambda d: put(d["paths"]["/status-reasons"]["get"]["parameters"][0], required=True)),
    (39, "an argument that is not taken",
     lambda d: put(body(d)["status"]["x-ms-dynamic-list"]["parameters"], other={"value": "x"})),
    (39, "a value that is not taken",
     lambda d: put(body(d)["status"]["x-ms-dynamic-list"]["parameters"], table={"value": "lead"})),
    (39, "a reference to no input",
     lambda d: put(referring(d), parameterReference="body/x")),
    (39, "a reference to a hidden input", lambda d: (referring(d), put(body(d)["outcome"], x__ms__visibility="internal"))),
    (39, "a reference of another type", lambda d: (referring(d), put(body(d)["outcome"], type="integer"))),
    (39, "no array", lambda d: put(body(d)["status"]["x-ms-dynamic-list"], itemsPath="values")),
    (39, "no such title", lambda d: put(body(d)["status"]["x-ms-dynamic-values"], value__title="name")),
    (39, "no twin", lambda d: body(d)["status"].pop("x-ms-dynamic-list")),
    (39, "no schema in the answer",
     lambda d: put(body(d)["columns"]["x-ms-dynamic-schema"], value__path="nothing")),
    (39, "a drop-down on the body itself", lambda d: put(close(d)["parameters"][-1], x__ms__dynamic__values={})),
    (40, "nothing told", lambda d: d["paths"][SUBSCRIBE].pop("x-ms-notification-content")),
    (40, "a callback that a maker sees", lambda d: callback(d).pop("x-ms-visibility")),
    (40, "an optional callback", lambda d: d["definitions"]["SubscribeBody"].pop("required")),
    (40, "no callback", lambda d: callback(d).pop("x-ms-notification-url")),
    (40, "a callback that is a number", lambda d: put(callback(d), type="integer")),
    (40, "a callback among the outputs",
     lambda d: put(d["definitions"]["CloseResult"]["properties"]["message"], x__ms__notification__url=True)),
    (41, "a list of subscriptions on the same path", lambda d: put(d["paths"][SUBSCRIBE], get=read(d))),
    (42, "no Location", lambda d: d["paths"][SUBSCRIBE]["post"]["responses"]["201"].pop("headers")),
    (42, "a DELETE that a maker sees", lambda d: d["paths"][UNSUBSCRIBE]["delete"].pop("x-ms-visibility")),
    (43, "a hidden optional default", lambda d: put(body(d)["mode"], x__ms__visibility="internal")),
    (43, "a hidden required input without default", lambda d: put(body(d)["outcome"], x__ms__visibility="internal")),
    (44, "no test", lambda d: d.pop("x-ms-capabilities")),
    (44, "a test that a maker sees", lambda d: d["paths"]["/connection"]["get"].pop("x-ms-visibility")),
    (44, "a test that needs something", lambda d: put(d["x-ms-capabilities"]["testConnection"],
                                                     operationId="GetOpportunity")),
    (45, "a scope that is not defined", lambda d: put(d, security=[{"oauth2_auth": ["other"]}])),
    (45, "a requirement that is not defined", lambda d: put(d, security=[{"key": []}])),
    (45, "two ways to sign in", lambda d: put(d["securityDefinitions"], key={"type": "apiKey"})),
    (46, "a restricted word", lambda d: put(d["info"], title="Opportunity Connector")),
    (46, "a title too long", lambda d: put(d["info"], title="T" * 31)),
    (46, "a short description", lambda d: put(d["info"], description="Closes.")),
    (46, "no version", lambda d: put(d["info"], version="")),
    (46, "no contact", lambda d: d["info"].pop("contact")),
    (46, "no email", lambda d: put(d["info"]["contact"], email="nobody")),
    (47, "no website", lambda d: d["x-ms-connector-metadata"].pop(0)),
    (47, "an unknown category", lambda d: put(d["x-ms-connector-metadata"][2], propertyValue="Selling")),
    (47, "three categories", lambda d: put(d["x-ms-connector-metadata"][2], propertyValue="AI;Data;Finance")),
    (48, "a misspelt key", lambda d: put(body(d)["subject"], x__ms__visbility="advanced")),
    (48, "a key at another level", lambda d: put(body(d)["subject"], x__ms__trigger="single")),
    (48, "an unknown visibility", lambda d: put(body(d)["subject"], x__ms__visibility="hidden")),
    (49, "another next link", lambda d: put(d["paths"][LIST]["get"], x__ms__pageable={"nextLinkName": "next"})),
    (50, "an operation gone", lambda d: d["paths"].pop(LIST)),
    (50, "an operation moved", lambda d: put(d["paths"], **{"/all": d["paths"].pop(LIST)})),
    (50, "an input gone", lambda d: body(d).pop("subject")),
    (50, "a parameter gone", lambda d: close(d)["parameters"].pop(1)),
    (50, "an output gone", lambda d: d["definitions"]["CloseResult"]["properties"].pop("changed")),
    (50, "a field of the event gone", lambda d: d["definitions"]["ClosedEvent"]["properties"].pop("source")),
    (50, "a choice gone", lambda d: put(body(d)["mode"], enum=["wait"])),
    (50, "another type", lambda d: put(body(d)["status"], type="integer")),
    (50, "a new required input", lambda d: d["definitions"]["CloseBody"]["required"].append("status")),
    (52, "an operation that is not served",
     lambda d: put(d["paths"], **{"/all": {"get": deepcopy(read(d)) | {"operationId": "All"}}})),
    (52, "an operation that is not told of", lambda d: d["paths"].pop(LIST)),
    (52, "an operation under another id", lambda d: put(read(d), operationId="ReadOpportunity")),
    (52, "other required inputs", lambda d: d["definitions"]["CloseBody"].pop("required")),
    (52, "another answer", lambda d: d["definitions"]["CloseResult"]["properties"].pop("changed")),
]
PROPERTY_FAULTS: list[tuple[str, Fault]] = [
    ("an unknown key", lambda p: put(p["properties"], extra=1)),
    ("white", lambda p: put(p["properties"], iconBrandColor="#FFFFFF")),
    ("no colour", lambda p: p["properties"].pop("iconBrandColor")),
    ("a secret", lambda p: put(sign_in(p), clientSecret="x")),
    ("a secret in a parameter", lambda p: put(sign_in(p)["customParameters"], client_secret={"value": "x"})),
    ("an unknown parameter", lambda p: put(p["properties"]["connectionParameters"], x={"type": "text"})),
    ("one redirect for all connectors", lambda p: put(sign_in(p), redirectMode="Global")),
    ("another resource", lambda p: put(sign_in(p)["customParameters"], resourceUri={"value": "api://other"})),
    ("a wider scope", lambda p: put(sign_in(p), scopes=["api://close.contoso.com/.default"])),
    ("another provider", lambda p: put(sign_in(p), identityProvider="aadcertificate")),
]
# fmt: on


def value_of(keyword: str) -> object:
    return {"nullable": True, "const": "x", "not": {}, "examples": ["x"], "exclusiveMinimum": 0}.get(keyword, [{}])


def broken(document: Document) -> set[int]:
    return {finding.rule.id for finding in lint(document)}


@pytest.mark.parametrize(("number", "fault", "seed"), FAULTS, ids=[f"{n}-{fault}" for n, fault, _ in FAULTS])
def test_a_rule_finds_what_breaks_it(number: int, fault: str, seed: Fault) -> None:
    document = deepcopy(SWAGGER)
    seed(document)
    assert document != SWAGGER or fault == "keys in another order"
    assert number in broken(replace(CLEAN, text=text(document), swagger=document))


@pytest.mark.parametrize(("fault", "seed"), PROPERTY_FAULTS, ids=[fault for fault, _ in PROPERTY_FAULTS])
def test_the_rule_for_properties_finds_what_breaks_it(fault: str, seed: Fault) -> None:
    properties = deepcopy(PROPERTIES)
    seed(properties)
    assert properties != PROPERTIES, fault
    assert broken(replace(CLEAN, properties=properties)) == {51}


@pytest.mark.parametrize(
    "stored",
    [
        json.dumps(SWAGGER),
        text(SWAGGER).replace("{", "{ ", 1),
        text(SWAGGER).replace("{", "{ // a remark", 1),
        text(SWAGGER).replace('"swagger"', '"swagger": "2.0", "swagger"', 1),
        "\ufeff" + text(SWAGGER),
    ],
    ids=["one line", "a blank", "a remark", "a key twice", "a byte order mark"],
)
def test_the_rule_for_the_file_finds_what_breaks_it(stored: str) -> None:
    assert broken(replace(CLEAN, text=stored)) == {2}


def test_every_rule_was_shown_to_find_something() -> None:
    assert {number for number, _, _ in FAULTS} | {2, 51} == set(range(1, 53))


def test_a_misspelt_extension_is_told_what_it_may_have_meant() -> None:
    document = deepcopy(SWAGGER)
    put(body(document)["subject"], x__ms__sumamry="Subject")
    assert any("did you mean x-ms-summary?" in finding.message for finding in lint(replace(CLEAN, swagger=document)))


def test_what_is_added_breaks_no_flow() -> None:
    document = deepcopy(SWAGGER)
    put(body(document), extra={"type": "string", "x-ms-summary": "Extra", "description": "More."})
    put(document["definitions"]["CloseResult"]["properties"], extra={"type": "string"})
    assert 50 not in broken(replace(CLEAN, swagger=document))
