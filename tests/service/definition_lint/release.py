"""Rules 50 to 52: the definition held against the last release, the connector's properties and the running app."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.service.definition_lint.document import Document, Json, Op, rule

BARRED_COLORS = ("#007ee5", "#ffffff")
KNOWN_PROPERTIES = frozenset((
    "connectionParameters", "connectionParameterSets", "iconBrandColor", "capabilities", "policyTemplateInstances",
    "publisher", "stackOwner", "scriptOperations",
))  # fmt: skip
PARAMETER_TYPES = ("string", "securestring", "int", "bool", "gatewaySetting", "oauthSetting")
PROVIDERS = ("oauth2", "oauth2generic", "aad")
_SECRET = re.compile(r"secret|password|pwd|private.?key", re.IGNORECASE)


@rule(50, "Nothing that a flow may use has gone, changed its type, or become required.", "operational versioning")
def compatible(document: Document) -> Iterator[str]:
    """Compare every operation of the last release with today's."""
    if document.previous is None:
        return
    before = Document("", document.previous, {})
    for old in before.operations:
        new = document.operation(old.body.get("operationId"))
        if new is None:
            yield f"{old.name} has gone"
            continue
        if (new.path, new.verb) != (old.path, old.verb):
            yield f"{old.name} has moved to {new.verb} {new.path}"
        yield from _inputs(before, old, document, new)
        yield from _outputs(before, old, document, new)
        told, tells = (item.get("x-ms-notification-content", {}).get("schema", {}) for item in (old.item, new.item))
        yield from _kept(f"{old.name}.event", dict(_flat(before, told)), dict(_flat(document, tells)))


def _flat(document: Document, schema: Json) -> Iterator[tuple[str, Json]]:
    return ((place, found) for place, found, _ in document.leaves("output", document.resolve(schema)))


def _inputs(before: Document, old: Op, now: Document, new: Op) -> Iterator[str]:
    had = {place: schema for place, schema, _ in before.inputs(old)}
    needed_before = {place for place, _, needed in before.inputs(old) if needed}
    has = {place: schema for place, schema, _ in now.inputs(new)}
    yield from _kept(old.name, had, has)
    for place, _, needed in now.inputs(new):
        if needed and place not in needed_before:
            yield f"{old.name}.{place} is now required"


def _outputs(before: Document, old: Op, now: Document, new: Op) -> Iterator[str]:
    had, has = (dict(_flat(d, d.success(op) or {})) for d, op in ((before, old), (now, new)))
    yield from _kept(f"{old.name}.output", had, has)


def _kept(place: str, had: dict[str, Json], has: dict[str, Json]) -> Iterator[str]:
    for name, schema in had.items():
        if name not in has:
            yield f"{place}.{name} has gone"
            continue
        if schema.get("type") != has[name].get("type"):
            yield f"{place}.{name} was {schema.get('type')} and is {has[name].get('type')}"
        values: list[Any] = schema.get("enum", [])
        gone = set(values) - set(has[name].get("enum", values))
        if gone:
            yield f"{place}.{name} no longer takes {', '.join(sorted(map(str, gone)))}"


@rule(51, "The properties have the known shape, hold no secret, and sign in as the endpoint expects.", "schema; field")
def properties(document: Document) -> Iterator[str]:
    """Look at colour, parameters, redirect mode, resource and scope."""
    said = document.properties.get("properties", {})
    yield from (f"properties has the key {key}" for key in said if key not in KNOWN_PROPERTIES)
    color = str(said.get("iconBrandColor", "")).lower()
    if not re.fullmatch(r"#[0-9a-f]{6}", color) or color in BARRED_COLORS:
        yield f"the brand colour is {color!r}"
    yield from (f"{place} may hold a secret" for place in _secrets("properties", said))
    for name, parameter in said.get("connectionParameters", {}).items():
        if parameter.get("type") not in PARAMETER_TYPES:
            yield f"{name} has the type {parameter.get('type')!r}"
        if parameter.get("type") == "oauthSetting":
            yield from _sign_in(document, name, parameter.get("oAuthSettings", {}))


def _secrets(place: str, node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if _SECRET.search(key) and value not in ({}, None, ""):
                yield f"{place}.{key}"
            yield from _secrets(f"{place}.{key}", value)
    elif isinstance(node, list):
        for value in node:
            yield from _secrets(place, value)


def _sign_in(document: Document, name: str, settings: Json) -> Iterator[str]:
    if settings.get("identityProvider") not in PROVIDERS:
        yield f"{name} signs in with {settings.get('identityProvider')!r}"
    if settings.get("redirectMode") != "GlobalPerConnector":
        yield f"{name} has the redirect mode {settings.get('redirectMode')!r}"
    resource = settings.get("customParameters", {}).get("resourceUri", {}).get("value")
    if not resource or resource != document.audience:
        yield f"{name} asks for tokens for {resource!r}, the endpoint expects {document.audience!r}"
    scopes = settings.get("scopes", [])
    if scopes != [document.scope]:
        yield f"{name} asks for the scopes {scopes}, the endpoint expects {document.scope!r}"
    for definition in document.swagger.get("securityDefinitions", {}).values():
        if definition.get("type") == "oauth2" and list(definition.get("scopes", {})) != scopes:
            yield f"{name} and the definition name different scopes"


@rule(52, "The definition and the running app have the same operations, inputs and answers.", "contract")
def contract(document: Document) -> Iterator[str]:
    """Compare both ways with the app's own OpenAPI document, read on its own and not through the projection."""
    if document.running is None:
        return
    served = {
        (verb, path): node
        for path, item in document.running.get("paths", {}).items()
        for verb, node in item.items()
        if isinstance(node, dict) and "operationId" in node
    }
    told = {(op.verb, op.path): op for op in document.operations}
    yield from (f"{verb} {path} is not served" for verb, path in told.keys() - served.keys())
    yield from (f"{verb} {path} is not told of" for verb, path in served.keys() - told.keys())
    for key in told.keys() & served.keys():
        op, node = told[key], served[key]
        if op.body.get("operationId") != node["operationId"]:
            yield f"{op.name} is served as {node['operationId']}"
        required = {name for name, _, needed in document.inputs(op) if needed and "/" not in name.removeprefix("body/")}
        if required != _required(document.running, node):
            yield f"{op.name} requires {sorted(required)}, the app {sorted(_required(document.running, node))}"
        answer = set((document.success(op) or {}).get("properties", {}))
        if answer != set(_answer(document.running, node).get("properties", {})):
            yield f"{op.name} answers {sorted(answer)}, the app something else"


def _component(running: Json, node: Json) -> Json:
    reference = node.get("$ref")
    if reference is None:
        return node
    found: Json = running["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def _required(running: Json, node: Json) -> set[str]:
    found = {p["name"] for p in node.get("parameters", []) if p.get("required")}
    content = node.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    return found | {f"body/{name}" for name in _component(running, content).get("required", [])}


def _answer(running: Json, node: Json) -> Json:
    for status in ("200", "201"):
        if status in node.get("responses", {}):
            content = node["responses"][status].get("content", {}).get("application/json", {})
            return _component(running, content.get("schema", {}))
    return {}


RULES = (compatible, properties, contract)
"""The rules of this module."""
