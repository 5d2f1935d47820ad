"""A connector's files, opened for the rules: its operations, parameters and schemas, each with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

VERBS = ("get", "put", "post", "delete", "head", "patch", "options")


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of the document: where it stands and what it says."""

    path: str
    verb: str
    item: Json
    body: Json

    @property
    def name(self) -> str:
        """Return its id, or its method and path where it has none."""
        return str(self.body.get("operationId") or f"{self.verb} {self.path}")

    @property
    def visible(self) -> bool:
        """Return whether a maker sees it."""
        return self.body.get("x-ms-visibility") != "internal"

    @property
    def webhook(self) -> bool:
        """Return whether it subscribes a flow to something."""
        return "x-ms-trigger" in self.body and self.body.get("x-ms-trigger-metadata", {}).get("mode") != "polling"

    @property
    def responses(self) -> Json:
        """Return its responses by status."""
        found: Json = self.body.get("responses", {})
        return found


@dataclass(frozen=True, slots=True)
class Document:
    """The files of a connector, and what they are held against.

    `text` is the definition as stored, `swagger` what it says, `properties` the other file. `audience` and `scope` are
    what the endpoint expects of a token. `previous` is the definition of the last release, `running` the OpenAPI
    document of the running app; either may be absent, and then nothing is held against it.
    """

    text: str
    swagger: Json
    properties: Json
    audience: str = ""
    scope: str = ""
    previous: Json | None = None
    running: Json | None = None

    @property
    def operations(self) -> list[Op]:
        """Return every operation."""
        return [
            Op(path, verb, item, item[verb])
            for path, item in self.swagger.get("paths", {}).items()
            for verb in VERBS
            if isinstance(item.get(verb), dict)
        ]

    def operation(self, name: object) -> Op | None:
        """Return the operation with the id `name`, if there is one."""
        return next((op for op in self.operations if op.body.get("operationId") == name), None)

    def resolve(self, node: Json) -> Json:
        """Return what `node` points to, or `node` itself; an empty schema where it points nowhere."""
        seen = set()
        while "$ref" in node and node["$ref"] not in seen:
            seen.add(node["$ref"])
            node = self.lookup(node["$ref"]) or {}
        return node

    def lookup(self, reference: object) -> Json | None:
        """Return what a local reference points to."""
        found: Any = self.swagger
        for part in str(reference).removeprefix("#/").split("/"):
            found = found.get(part) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else None

    def parameters(self, op: Op) -> list[Json]:
        """Return the parameters of `op`, those of its path among them."""
        return [self.resolve(p) for p in [*op.item.get("parameters", []), *op.body.get("parameters", [])]]

    def body(self, op: Op) -> Json | None:
        """Return the schema of the body that `op` takes."""
        return next((self.resolve(p["schema"]) for p in self.parameters(op) if p.get("in") == "body"), None)

    def success(self, op: Op) -> Json | None:
        """Return the schema of the response whose outputs the designer shows: 200, else 201."""
        for status in ("200", "201"):
            if status in op.responses:
                schema = self.resolve(op.responses[status]).get("schema")
                return None if schema is None else self.resolve(schema)
        return None

    def tops(self) -> Iterator[tuple[str, Json]]:
        """Yield each schema that stands alone, and its place: definitions, bodies, responses, notifications."""
        for name, schema in self.swagger.get("definitions", {}).items():
            yield f"definitions.{name}", schema
        for path, item in self.swagger.get("paths", {}).items():
            if "x-ms-notification-content" in item:
                yield f"{path}.notification", item["x-ms-notification-content"].get("schema", {})
        for op in self.operations:
            for parameter in self.parameters(op):
                if parameter.get("in") == "body":
                    yield f"{op.name}.body", parameter.get("schema", {})
            for status, response in op.responses.items():
                if "schema" in response:
                    yield f"{op.name}.{status}", response["schema"]

    def schemas(self) -> Iterator[tuple[str, Json]]:
        """Yield every schema at every depth with its place; references are not followed, they stand elsewhere."""
        for place, schema in self.tops():
            yield from _within(place, schema)

    def fields(self) -> Iterator[tuple[str, Json]]:
        """Yield every schema, parameter and response header: all that has a type."""
        yield from self.schemas()
        for op in self.operations:
            for parameter in self.parameters(op):
                if parameter.get("in") != "body":
                    yield f"{op.name}.{parameter.get('name')}", parameter
            for status, response in op.responses.items():
                for name, header in response.get("headers", {}).items():
                    yield f"{op.name}.{status}.{name}", header

    def properties_of(self) -> Iterator[tuple[str, Json, Json]]:
        """Yield every property with its place and the object that has it."""
        for place, schema in self.schemas():
            for name, value in schema.get("properties", {}).items():
                yield f"{place}.{name}", value, schema

    def inputs(self, op: Op) -> Iterator[tuple[str, Json, bool]]:
        """Yield each input of `op`: its path (`body/outcome`), its schema, whether it is required."""
        for parameter in self.parameters(op):
            if parameter.get("in") == "body":
                yield from self.leaves("body", self.resolve(parameter.get("schema", {})))
            else:
                yield str(parameter.get("name")), parameter, bool(parameter.get("required"))

    def leaves(self, place: str, schema: Json, above: tuple[int, ...] = ()) -> Iterator[tuple[str, Json, bool]]:
        """Yield each property at every depth below `schema`, references followed, once around each loop."""
        if id(schema) in above:
            return
        for name, value in schema.get("properties", {}).items():
            found = self.resolve(value)
            yield f"{place}/{name}", found, name in schema.get("required", [])
            yield from self.leaves(f"{place}/{name}", found, (*above, id(schema)))
        if "items" in schema:
            yield from self.leaves(f"{place}[]", self.resolve(schema["items"]), (*above, id(schema)))


def _within(place: str, schema: Any) -> Iterator[tuple[str, Json]]:
    if not isinstance(schema, dict):
        return
    yield place, schema
    for name, value in schema.get("properties", {}).items():
        yield from _within(f"{place}.{name}", value)
    for keyword in ("items", "additionalProperties"):
        yield from _within(f"{place}.{keyword}", schema.get(keyword))


Check = Callable[[Document], Iterator[str]]
"""A rule's function: it yields a sentence for each place that breaks the rule."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its number, what it asks for, where it comes from, and the function that finds what breaks it."""

    id: int
    text: str
    origin: str
    check: Check


def rule(number: int, text: str, origin: str) -> Callable[[Check], Rule]:
    """Return a decorator that makes a rule of a function."""
    return lambda check: Rule(number, text, origin, check)


def matches(kind: object, value: Any) -> bool:
    """Return whether `value` is of the JSON type `kind`; an unknown type matches everything."""
    expected: Mapping[object, tuple[type, ...]] = {
        "string": (str,),
        "boolean": (bool,),
        "integer": (int,),
        "number": (int, float),
        "array": (list,),
        "object": (dict,),
    }
    if kind not in expected:
        return True
    return isinstance(value, expected[kind]) and (kind == "boolean" or not isinstance(value, bool))
