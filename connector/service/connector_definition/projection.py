"""From the running app's OpenAPI 3.1 to the Swagger 2.0 that Power Platform reads: a pure projection.

Only what the platform understands comes out: nullable unions become the plain type, `title` becomes the label
`x-ms-summary`, a reference with a label beside it is written out (the designer drops keys beside `$ref`), one response
has a schema. A keyword that this module does not know is an error, never passed on in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Json = dict[str, Any]

_TYPE = ("type", "format", "description", "enum", "default", "readOnly")
_BOUNDS = ("pattern", "maxLength", "minLength", "maximum", "minimum", "multipleOf")
_SIZES = ("maxItems", "minItems", "uniqueItems", "maxProperties", "minProperties")
_KEPT = frozenset((*_TYPE, *_BOUNDS, *_SIZES))
_VERBS = ("get", "put", "post", "delete", "head", "patch", "options")
_OK, _CREATED = "200", "201"
_JSON = "application/json"
_NUMBERS = {"integer", "number"}


class ProjectionError(ValueError):
    """The document has something for which Swagger 2.0 has no word."""


def project(openapi: Mapping[str, Any], host: str, triggers: Mapping[str, str] | None = None) -> Json:
    """Return the Swagger 2.0 document of `openapi`, served at `host` over https.

    `triggers` has the name of the webhook (in `webhooks`) by the id of the operation that subscribes to it. Raises
    ProjectionError when a schema says something that Swagger 2.0 cannot.
    """
    schemas: Json = openapi.get("components", {}).get("schemas", {})
    paths = {
        path: {verb: _operation(item[verb], schemas) for verb in _VERBS if verb in item}
        for path, item in openapi["paths"].items()
    }
    for operation, webhook in (triggers or {}).items():
        event = openapi["webhooks"][webhook]["post"]
        content = {"description": event["description"], "schema": _schema(_body_schema(event), schemas, labelled=False)}
        _path_of(paths, operation)["x-ms-notification-content"] = content
    security = openapi.get("components", {}).get("securitySchemes", {})
    return {
        "swagger": "2.0",
        "info": dict(openapi["info"]),
        "host": host,
        "basePath": "/",
        "schemes": ["https"],
        "consumes": [_JSON],
        "produces": [_JSON],
        "paths": paths,
        "definitions": _reachable(paths, schemas),
        "securityDefinitions": {name: _security(scheme) for name, scheme in security.items()},
        "security": list(openapi.get("security", [])),
        **{key: value for key, value in openapi.items() if key.startswith("x-ms-")},
    }


def _path_of(paths: Json, operation: str) -> Json:
    for item in paths.values():
        if any(item.get(verb, {}).get("operationId") == operation for verb in _VERBS):
            return item  # type: ignore[no-any-return]  # a dict made here
    raise ProjectionError(f"no operation {operation} to subscribe with")


def _operation(operation: Mapping[str, Any], schemas: Json) -> Json:
    parameters = [_parameter(parameter, schemas) for parameter in operation.get("parameters", [])]
    if "requestBody" in operation:
        body = _schema(_body_schema(operation), schemas, labelled=False)
        description = operation["requestBody"].get("description", "What is asked for.")
        parameters.append({"name": "body", "in": "body", "required": True, "description": description, "schema": body})
    return {
        "operationId": operation["operationId"],
        "summary": operation["summary"],
        "description": operation["description"],
        "parameters": parameters,
        "responses": _responses(operation["responses"], schemas),
        **{key: value for key, value in operation.items() if key.startswith("x-ms-") or key == "deprecated"},
    }


def _body_schema(operation: Mapping[str, Any]) -> Json:
    schema: Json = operation["requestBody"]["content"][_JSON]["schema"]
    return schema


def _parameter(parameter: Mapping[str, Any], schemas: Json) -> Json:
    schema = _schema(parameter["schema"], schemas)
    if schema.get("type") == "array":
        schema["collectionFormat"] = "multi"
    projected = {"name": parameter["name"], "in": parameter["in"], "required": parameter.get("required", False)}
    return projected | schema | ({"description": parameter["description"]} if "description" in parameter else {})


def _responses(responses: Mapping[str, Any], schemas: Json) -> Json:
    """Keep the schema of one response: 200, else 201. That is the one whose outputs the designer shows."""
    success = _OK if _OK in responses else _CREATED
    projected: Json = {}
    for status, response in sorted(responses.items()):
        schema = response.get("content", {}).get(_JSON, {}).get("schema")
        if status == "422" and "HTTPValidationError" in str(schema):
            continue
        projected[status] = {"description": response["description"]}
        if status == success and schema is not None:
            projected[status]["schema"] = _schema(schema, schemas, labelled=False)
        if "headers" in response:
            projected[status]["headers"] = {
                name: {"description": header["description"], **_schema(header["schema"], schemas)}
                for name, header in response["headers"].items()
            }
    projected["default"] = {"description": "The request failed; the body has error.code and error.message."}
    return projected


def _security(scheme: Mapping[str, Any]) -> Json:
    if scheme["type"] == "oauth2":
        flow = scheme["flows"]["authorizationCode"]
        return {"type": "oauth2", "flow": "accessCode"} | {
            key: flow[key] for key in ("authorizationUrl", "tokenUrl", "scopes")
        }
    if scheme["type"] == "apiKey":
        return {key: scheme[key] for key in ("type", "name", "in")}
    raise ProjectionError(f"security of type {scheme['type']}")


def _schema(node: Mapping[str, Any], schemas: Json, *, labelled: bool = True) -> Json:
    """Return `node` in the words of Swagger 2.0; a title is a label where `labelled`, and else dropped."""
    if "$ref" in node:
        return _reference(node, schemas, labelled=labelled)
    if "anyOf" in node or "oneOf" in node:
        return _schema(_without_union(node, schemas), schemas, labelled=labelled)
    projected: Json = {}
    for key, value in node.items():
        if key in _KEPT or key.startswith("x-ms-"):
            projected[key] = value
        else:
            projected |= _keyword(key, value, schemas, labelled=labelled)
    if "enum" in projected and "type" not in projected:
        projected["type"] = "string"
    return projected


def _keyword(key: str, value: Any, schemas: Json, *, labelled: bool) -> Json:  # noqa: PLR0911 - any JSON; a table
    """Return what a keyword that cannot be kept as it is becomes."""
    match key:
        case "title":
            return {"x-ms-summary": value} if labelled else {}
        case "properties":
            return {key: {name: _property(schema, schemas) for name, schema in value.items()}}
        case "items":
            return {key: _schema(value, schemas, labelled=False)}
        case "required":
            return {key: value} if value else {}
        case "const":
            return {"enum": [value]}
        case "examples":
            return {"example": value[0]}
        case "exclusiveMinimum" | "exclusiveMaximum":
            return {key: True, key.removeprefix("exclusive").lower(): value}
        case "additionalProperties" | "propertyNames":
            return {}
    raise ProjectionError(f"the keyword {key}")


def _property(node: Mapping[str, Any], schemas: Json) -> Json:
    projected = _schema(node, schemas)
    if projected.get("default", ...) is None:
        del projected["default"]
    return projected


def _reference(node: Mapping[str, Any], schemas: Json, *, labelled: bool) -> Json:
    """Point to a definition, or write it out where it is an enumeration or has something beside it."""
    name = node["$ref"].removeprefix("#/components/schemas/")
    beside = {key: value for key, value in node.items() if key != "$ref"}
    target = {key: value for key, value in schemas[name].items() if key != "title"}
    if "enum" not in target and not beside:
        return {"$ref": f"#/definitions/{name}"}
    if labelled and "title" in schemas[name]:  # beside a reference, a title equal to the target's own is left out
        beside = {"title": schemas[name]["title"], **beside}
    return _schema(target | beside, schemas, labelled=labelled)


def _without_union(node: Mapping[str, Any], schemas: Json) -> Json:
    """Return the one branch that is left: without null, and of numbers and strings the number."""
    beside = {key: value for key, value in node.items() if key not in ("anyOf", "oneOf")}
    if beside.get("default", ...) is None:
        del beside["default"]
    branches = [branch for branch in node.get("anyOf", node.get("oneOf")) if branch.get("type") != "null"]
    if len(branches) > 1:
        numbers = [branch for branch in branches if branch.get("type") in _NUMBERS]
        types = {branch.get("type") for branch in branches}
        branches = numbers[:1] if numbers and types <= _NUMBERS | {"string"} else [{"type": "object"}]
    branch: Json = branches[0]
    if "$ref" in branch and beside:
        name = branch["$ref"].removeprefix("#/components/schemas/")
        branch = {key: value for key, value in schemas[name].items() if key != "title"}
    return branch | beside


def _reachable(paths: Json, schemas: Json) -> Json:
    """Return the definitions that `paths` and other definitions point to, by name."""
    reachable: Json = {}
    waiting = sorted(set(_references(paths)))
    while waiting:
        name = waiting.pop()
        if name not in reachable:
            reachable[name] = _schema(schemas[name], schemas, labelled=False)
            waiting += _references(reachable[name])
    return dict(sorted(reachable.items()))


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix("#/definitions/")
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
