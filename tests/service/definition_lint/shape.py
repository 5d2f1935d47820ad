"""Rules 1 to 4, 13 to 24, 32 and 48: the document as such, and every schema in it."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from typing import Any

from tests.service.definition_lint.document import Document, Json, matches, rule

LARGEST_FILE = 1_000_000
MOST_OPERATIONS = 256
MOST_SCHEMAS = 512

KEY_ORDER = (
    "swagger", "info", "host", "basePath", "schemes", "consumes", "produces", "paths", "definitions", "parameters",
    "responses", "securityDefinitions", "security", "tags", "externalDocs",
)  # fmt: skip
FORMATS = frozenset((
    "int32", "int64", "float", "double", "byte", "binary", "date", "date-time", "password", "date-no-tz", "email",
    "html", "uri", "uuid",
))  # fmt: skip
MIME_TYPES = frozenset(("application/json", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded"))
UNSUPPORTED = ("anyOf", "oneOf", "allOf", "not", "const", "nullable", "examples", "if", "then", "else", "prefixItems")

_OPERATION = frozenset((
    "tags", "summary", "description", "externalDocs", "operationId", "consumes", "produces", "parameters", "responses",
    "schemes", "deprecated", "security",
))  # fmt: skip
_RESPONSE = frozenset(("description", "schema", "headers", "examples"))

EXTENSIONS = {
    # key: the levels at which it may stand
    "x-ms-capabilities": ("root", "operation"),
    "x-ms-connector-metadata": ("root",),
    "x-ms-openai-manifest": ("root",),
    "x-ms-api-annotation": ("info", "operation"),
    "x-ms-keywords": ("info",),
    "x-ms-deployment-version": ("info",),
    "x-ms-notification-content": ("path",),
    "x-ms-visibility": ("operation", "field"),
    "x-ms-trigger": ("operation",),
    "x-ms-trigger-hint": ("operation",),
    "x-ms-trigger-metadata": ("operation",),
    "x-ms-notification": ("operation",),
    "x-ms-operation-context": ("operation",),
    "x-ms-no-generic-test": ("operation",),
    "x-ms-safe-operation": ("operation",),
    "x-ms-pageable": ("operation",),
    "x-ms-agentic-protocol": ("operation",),
    "x-ms-require-user-confirmation": ("operation",),
    "x-ms-openai-data": ("operation",),
    "x-ms-summary": ("field",),
    "x-ms-url-encoding": ("field",),
    "x-ms-dynamic-values": ("field",),
    "x-ms-dynamic-list": ("field",),
    "x-ms-dynamic-schema": ("field",),
    "x-ms-dynamic-properties": ("field",),
    "x-ms-enum-values": ("field",),
    "x-ms-notification-url": ("field",),
    "x-ms-test-value": ("field",),
}
VALUES = {
    "x-ms-visibility": ("important", "advanced", "internal"),
    "x-ms-url-encoding": ("single", "double"),
    "x-ms-trigger": ("single", "batch"),
    "x-ms-agentic-protocol": ("mcp-streamable-1.0",),
}


@rule(1, "It is Swagger 2.0, with no key of 3.x.", "SpecificationVersionIncorrect, AdditionalPropertyNotAllowed")
def version(document: Document) -> Iterator[str]:
    """Look at the version and at the keys of the root, of operations and of responses."""
    if document.swagger.get("swagger") != "2.0":
        yield f"swagger is {document.swagger.get('swagger')!r}"
    yield from _strange("root", document.swagger, frozenset(KEY_ORDER))
    for op in document.operations:
        yield from _strange(op.name, op.body, _OPERATION)
        for status, response in op.responses.items():
            yield from _strange(f"{op.name}.{status}", response, _RESPONSE)


def _strange(place: str, node: Json, known: frozenset[str]) -> Iterator[str]:
    for key in node:
        if key not in known and not key.startswith("x-"):
            yield f"{place} has the key {key}"


@rule(2, "The file is strict JSON, indented by four spaces, its keys in the usual order.", "coding-standards")
def formatting(document: Document) -> Iterator[str]:
    """Compare the file with how it would be written, and the order of its first keys."""
    try:
        content = json.loads(document.text, object_pairs_hook=_unique)
    except ValueError as error:
        yield f"not strict JSON: {error}"
        return
    if document.text != json.dumps(content, indent=4, ensure_ascii=False) + "\n":
        yield "not indented by four spaces, or with blanks at line ends"
    ranks = [KEY_ORDER.index(key) for key in content if key in KEY_ORDER]
    if ranks != sorted(ranks):
        yield f"the keys are not in the order {', '.join(KEY_ORDER[:9])}"


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


@rule(3, "The file and its counts are within the limits.", "TotalOperationsCount..., BodySchemaCountExceedsMaxAllowed")
def limits(document: Document) -> Iterator[str]:
    """Count bytes, operations, and schemas in each body."""
    if len(document.text.encode()) >= LARGEST_FILE:
        yield f"the file has {len(document.text.encode())} bytes"
    if len(document.operations) > MOST_OPERATIONS:
        yield f"there are {len(document.operations)} operations"
    for op in document.operations:
        body = document.body(op)
        if body is not None and sum(1 for _ in document.leaves("body", body)) > MOST_SCHEMAS:
            yield f"{op.name} has too many schemas in its body"


@rule(4, "The host is a host, the base path begins with /, the scheme is https.", "HostNameNotValid, SchemeNotValid")
def host(document: Document) -> Iterator[str]:
    """Look at host, basePath and schemes."""
    if not re.fullmatch(r"[A-Za-z0-9.-]+(:\d+)?", str(document.swagger.get("host", ""))):
        yield f"host is {document.swagger.get('host')!r}"
    if not str(document.swagger.get("basePath", "/")).startswith("/"):
        yield f"basePath is {document.swagger['basePath']!r}"
    if document.swagger.get("schemes") != ["https"]:
        yield f"schemes is {document.swagger.get('schemes')!r}"


@rule(13, "No schema of an object has a title.", "designer: it becomes a prefix of every label")
def no_titles(document: Document) -> Iterator[str]:
    """Look for titles of objects; a label is x-ms-summary."""
    for place, schema in document.schemas():
        if "title" in schema and ("properties" in schema or schema.get("type") == "object"):
            yield f"{place} has a title"


@rule(14, "Nothing stands beside a $ref.", "AdditionalPropertyNotAllowedAdjacentToRef; the designer drops it")
def bare_references(document: Document) -> Iterator[str]:
    """Look beside every reference."""
    for place, schema in document.schemas():
        if "$ref" in schema and len(schema) > 1:
            yield f"{place} has {', '.join(key for key in schema if key != '$ref')} beside its reference"


@rule(15, "Every reference is local, resolves, and loops through no required property.", "SchemaReferenceNotValid, ...")
def references(document: Document) -> Iterator[str]:
    """Follow every reference; then walk required properties until one comes round."""
    for place, schema in document.schemas():
        target = schema.get("$ref")
        if target is None:
            continue
        if not re.match(r"#/(definitions|parameters|responses)/[^/]+$", str(target)):
            yield f"{place} points to {target}"
        elif document.lookup(target) is None:
            yield f"{place} points to {target}, which does not exist"
    for name in document.swagger.get("definitions", {}):
        if _loops(document, f"#/definitions/{name}", ()):
            yield f"definitions.{name} requires itself"


def _loops(document: Document, reference: str, above: tuple[str, ...]) -> bool:
    if reference in above:
        return True
    schema = document.lookup(reference) or {}
    required = [schema.get("properties", {}).get(name, {}) for name in schema.get("required", [])]
    return any(_loops(document, node["$ref"], (*above, reference)) for node in required if "$ref" in node)


@rule(16, "No keyword that Swagger 2.0 or the platform does not have.", "SwaggerKeywordNotSupported")
def keywords(document: Document) -> Iterator[str]:
    """Look for unions, constants, lists of types, examples and numeric exclusive bounds."""
    for place, schema in document.fields():
        for keyword in UNSUPPORTED:
            if keyword in schema:
                yield f"{place} has {keyword}"
        if isinstance(schema.get("type"), list):
            yield f"{place} has a list of types"
        for keyword in ("exclusiveMinimum", "exclusiveMaximum"):
            if keyword in schema and not isinstance(schema[keyword], bool):
                yield f"{place} has a number as {keyword}"


@rule(17, "Every property has a type.", "designer: without one it is shown as any")
def typed(document: Document) -> Iterator[str]:
    """Look at the type of every property."""
    for place, schema, _ in document.properties_of():
        if "type" not in schema and "$ref" not in schema:
            yield f"{place} has no type"


@rule(18, "Every array says what its items are.", "ArrayHasNoItems")
def items(document: Document) -> Iterator[str]:
    """Look at the items of every array."""
    for place, schema in document.fields():
        if schema.get("type") == "array" and not schema.get("items"):
            yield f"{place} has no items"


@rule(19, "`required` is not empty, stands on objects, and names their properties.", "RequiredPropertyArrayEmpty, ...")
def required(document: Document) -> Iterator[str]:
    """Look at `required` of every schema."""
    for place, schema in document.schemas():
        names = schema.get("required")
        if names is None:
            continue
        if not isinstance(names, list) or not names:
            yield f"{place} has an empty required"
            continue
        if "properties" not in schema:
            yield f"{place} has required but no properties"
        for name in names:
            if name not in schema.get("properties", {}):
                yield f"{place} requires {name}, which it does not have"


@rule(20, "No property is read-only and required of an input.", "RequiredReadOnlyPropertyNotAllowedAsInput")
def writable(document: Document) -> Iterator[str]:
    """Look at the required inputs."""
    for op in document.operations:
        for place, schema, needed in document.inputs(op):
            if needed and schema.get("readOnly"):
                yield f"{op.name}.{place} is read-only and required"


@rule(21, "Enumerations are not empty, unique, of their type, and named completely.", "EnumMustContainAtLeast..., ...")
def enumerations(document: Document) -> Iterator[str]:
    """Look at every enumeration and its display names."""
    for place, schema in document.fields():
        values = schema.get("enum")
        if values is not None and (not values or len({json.dumps(v) for v in values}) < len(values)):
            yield f"{place} has an empty or repeating enumeration"
        for value in values or []:
            if not matches(schema.get("type"), value):
                yield f"{place} has {value!r}, which is no {schema.get('type')}"
        if "x-ms-enum-values" in schema:
            named = schema["x-ms-enum-values"]
            if [n.get("value") for n in named] != values or not all(n.get("displayName") for n in named):
                yield f"{place} does not name its values one by one"


@rule(22, "A default is of the type of its schema.", "DefaultValueMustMatchType")
def defaults(document: Document) -> Iterator[str]:
    """Look at every default."""
    for place, schema in document.fields():
        if "default" not in schema:
            continue
        value = schema["default"]
        if not matches(schema.get("type"), value) or ("enum" in schema and value not in schema["enum"]):
            yield f"{place} has the default {value!r}"


@rule(23, "Bounds are ordered, exclusive ones have their bound, patterns compile.", "MinimumShouldBeLessThan..., ...")
def bounds(document: Document) -> Iterator[str]:
    """Look at every pair of bounds and every pattern."""
    pairs = (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"))
    for place, schema in document.fields():
        for low, high in pairs:
            if low in schema and high in schema and schema[low] > schema[high]:
                yield f"{place} has {low} above {high}"
        for bound in ("Minimum", "Maximum"):
            if schema.get(f"exclusive{bound}") and bound.lower() not in schema:
                yield f"{place} has exclusive{bound} without {bound.lower()}"
        if "pattern" in schema and not _compiles(schema["pattern"]):
            yield f"{place} has a pattern that is none"


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


@rule(24, "Formats are of the known list.", "UnrecognizedTypeFormat")
def formats(document: Document) -> Iterator[str]:
    """Look at every format."""
    for place, schema in document.fields():
        if "format" in schema and schema["format"] not in FORMATS:
            yield f"{place} has the format {schema['format']}"


@rule(32, "Media types are of the supported list.", "MimeTypeNotValid, ConsumesMissing")
def media_types(document: Document) -> Iterator[str]:
    """Look at consumes and produces, of the document and of each operation."""
    for key in ("consumes", "produces"):
        if not document.swagger.get(key):
            yield f"{key} is missing"
        for place, node in (("root", document.swagger), *((op.name, op.body) for op in document.operations)):
            for kind in node.get(key, []):
                if kind not in MIME_TYPES:
                    yield f"{place} {key} {kind}"


@rule(48, "Extensions are known, stand at their level, and have an allowed value.", "Microsoft's JSON schema")
def extensions(document: Document) -> Iterator[str]:
    """Look at every key that begins with x-ms-; a misspelt one is told what it may have meant."""
    for place, level, node in _levels(document):
        for key, value in node.items():
            if not key.startswith("x-"):
                continue
            if key not in EXTENSIONS:
                meant = difflib.get_close_matches(key, EXTENSIONS, n=1)
                yield f"{place} has {key}{f'; did you mean {meant[0]}?' if meant else ''}"
            elif level not in EXTENSIONS[key]:
                yield f"{place} has {key}, which belongs to {' or '.join(EXTENSIONS[key])}"
            elif key in VALUES and value not in VALUES[key]:
                yield f"{place} has {key}: {value!r}"


def _levels(document: Document) -> Iterator[tuple[str, str, Json]]:
    yield "root", "root", document.swagger
    yield "info", "info", document.swagger.get("info", {})
    for path, item in document.swagger.get("paths", {}).items():
        yield path, "path", item
    for op in document.operations:
        yield op.name, "operation", op.body
    for place, node in document.fields():
        yield place, "field", node


RULES = (
    version, formatting, limits, host, no_titles, bare_references, references, keywords, typed, items, required,
    writable, enumerations, defaults, bounds, formats, media_types, extensions,
)  # fmt: skip
"""The rules of this module."""
