"""What a maker sees of a Swagger 2.0 file, read as the designer's own parser was seen to read it.

Source: Azure/LogicAppsUX, libs/logic-apps-shared/src/parsers/lib/swagger/parser.ts and common/outputprocessor.ts at
5c7453c: keys beside a reference are dropped, a title becomes a prefix, outputs come from one response (the only success
or default if there is just one, else 200, 201, default), everything on a path that notifies is a webhook, hidden fields
are left out, important ones come first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
RANK = {"important": 0, None: 1, "advanced": 2}


@dataclass(frozen=True)
class Field:
    key: str
    label: str
    kind: str
    visibility: str | None
    required: bool


@dataclass(frozen=True)
class View:
    summary: str
    kind: str
    inputs: list[Field]
    outputs: list[Field]


def designer_view(swagger: Json) -> dict[str, View]:
    """Return each operation that a maker sees, by id."""
    found = {}
    for item in swagger["paths"].values():
        notification = item.get("x-ms-notification-content")
        for verb, operation in item.items():
            if verb.startswith("x-ms-") or operation.get("x-ms-visibility") == "internal":
                continue
            kind = "webhook" if notification else "trigger" if "x-ms-trigger" in operation else "action"
            told = notification["schema"] if notification else output_schema(operation["responses"])
            inputs = [f for p in operation["parameters"] for f in input_fields(swagger, p)]
            outputs = list(fields(swagger, "body", told or {}, required=True))
            found[operation["operationId"]] = View(operation["summary"], kind, ordered(inputs), ordered(outputs))
    return found


def output_schema(responses: Json) -> Json | None:
    telling = [status for status in responses if status.startswith("2") or status == "default"]
    if len(telling) == 1:
        return responses[telling[0]].get("schema")
    for status in ("200", "201", "default"):
        if status in responses:
            return responses[status].get("schema")
    return None


def input_fields(swagger: Json, parameter: Json) -> Iterator[Field]:
    if parameter["in"] == "body":
        yield from fields(swagger, "body", parameter["schema"], required=parameter.get("required", False))
    elif parameter.get("x-ms-visibility") != "internal":
        yield field(parameter["name"], parameter, required=parameter.get("required", False))


def fields(swagger: Json, key: str, schema: Json, *, required: bool, prefix: str = "") -> Iterator[Field]:
    """Yield the leaves below `schema`; a reference counts alone, whatever stands beside it."""
    if "$ref" in schema:
        schema = swagger["definitions"][schema["$ref"].rpartition("/")[2]]
    if schema.get("x-ms-visibility") == "internal":
        return
    prefix = f"{prefix}{schema['title']} " if "title" in schema else prefix
    if "properties" not in schema:
        yield field(key, schema, required=required, prefix=prefix)
    for name, below in schema.get("properties", {}).items():
        needed = required and name in schema.get("required", [])
        yield from fields(swagger, f"{key}/{name}", below, required=needed, prefix=prefix)


def field(key: str, schema: Json, *, required: bool, prefix: str = "") -> Field:
    label = prefix + schema.get("x-ms-summary", key.rpartition("/")[2])
    return Field(key, label, schema.get("type", "any"), schema.get("x-ms-visibility"), required)


def ordered(found: list[Field]) -> list[Field]:
    return sorted(found, key=lambda f: RANK[f.visibility])
