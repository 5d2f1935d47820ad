"""Rules 39 to 47: what the designer asks of drop-downs, triggers, the test of a connection, sign-in and the gallery."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.service.definition_lint.document import Document, Json, Op, matches, rule

CATEGORIES = frozenset((
    "AI", "Business Intelligence", "Business Management", "Collaboration", "Commerce", "Communication",
    "Content and Files", "Data", "Finance", "Human Resources", "Internet of Things", "IT Operations",
    "Lifestyle and Entertainment", "Marketing", "Productivity", "Sales and CRM", "Security", "Social Media", "Website",
))  # fmt: skip
RESTRICTED_WORDS = re.compile(
    r"\b(api|connector|power ?apps|power ?automate|power ?platform|logic ?apps)\b", re.IGNORECASE
)
LONGEST_TITLE = 30
SHORTEST_DESCRIPTION, LONGEST_DESCRIPTION = 30, 500

_TWINS = {
    "x-ms-dynamic-values": "x-ms-dynamic-list",
    "x-ms-dynamic-list": "x-ms-dynamic-values",
    "x-ms-dynamic-schema": "x-ms-dynamic-properties",
    "x-ms-dynamic-properties": "x-ms-dynamic-schema",
}
_COLLECTION = {"x-ms-dynamic-values": "value-collection", "x-ms-dynamic-list": "itemsPath"}
_SCHEMA = {"x-ms-dynamic-schema": "value-path", "x-ms-dynamic-properties": "itemValuePath"}
_ITEM = {"x-ms-dynamic-values": ("value-path", "value-title"), "x-ms-dynamic-list": ("itemValuePath", "itemTitlePath")}


@rule(39, "What feeds a drop-down or a form exists, gets what it requires, and answers with it.", "OperationIdNotFound")
def dynamic(document: Document) -> Iterator[str]:
    """Look at every input that another operation feeds."""
    for op in document.operations:
        for parameter in document.parameters(op):
            if parameter.get("in") == "body" and any(key in parameter for key in _TWINS):
                yield f"{op.name} has a dynamic key on the body itself"
        for place, schema, _ in document.inputs(op):
            for key, twin in _TWINS.items():
                if key not in schema:
                    continue
                if twin not in schema:
                    yield f"{op.name}.{place} has {key} without {twin}"
                yield from (f"{op.name}.{place}.{key} {said}" for said in _feed(document, op, key, schema[key]))


def _feed(document: Document, op: Op, key: str, feed: Json) -> Iterator[str]:
    source = document.operation(feed.get("operationId"))
    if source is None:
        yield f"asks {feed.get('operationId')}, which does not exist"
        return
    takes = {place: (schema, needed) for place, schema, needed in document.inputs(source)}
    given: Mapping[str, Any] = feed.get("parameters", {})
    for name, (_, needed) in takes.items():
        if needed and name not in given:
            yield f"does not give {name}"
    for name, value in given.items():
        if name not in takes:
            yield f"gives {name}, which {source.name} does not take"
        else:
            yield from _argument(document, op, value, takes[name][0])
    yield from _answer(document, key, feed, document.success(source) or {})


def _argument(document: Document, op: Op, value: Any, taken: Json) -> Iterator[str]:
    """Check a fixed value against what is taken, or that a reference names a visible input."""
    if not isinstance(value, dict):
        value = {"value": value}
    if "value" in value:
        if not matches(taken.get("type"), value["value"]) or value["value"] not in taken.get("enum", [value["value"]]):
            yield f"gives {value['value']!r}, which is not taken"
        return
    named = value.get("parameterReference", value.get("parameter"))
    inputs = {place: schema for place, schema, _ in document.inputs(op)}
    schema = inputs.get(str(named)) or (inputs.get(f"body/{named}") if "parameter" in value else None)
    if schema is None:
        yield f"refers to {named}, which is no input"
    elif schema.get("x-ms-visibility") == "internal":
        yield f"refers to {named}, which nobody sees"
    elif schema.get("type") != taken.get("type"):
        yield f"gives {named} as a {schema.get('type')} for a {taken.get('type')}"


def _answer(document: Document, key: str, feed: Json, answer: Json) -> Iterator[str]:
    if key in _SCHEMA:
        if _at(document, answer, feed.get(_SCHEMA[key])) is None:
            yield f"reads {feed.get(_SCHEMA[key])}, which the answer does not have"
        return
    array = _at(document, answer, feed.get(_COLLECTION[key], ""))
    if array is None or array.get("type") != "array":
        yield f"reads {feed.get(_COLLECTION[key])}, which is no array of the answer"
        return
    for path in _ITEM[key]:
        if _at(document, document.resolve(array["items"]), feed.get(path)) is None:
            yield f"reads {feed.get(path)} of each item, which it does not have"


def _at(document: Document, schema: Json, path: object) -> Json | None:
    for name in str(path).split("/") if path else ():
        if name not in schema.get("properties", {}):
            return None
        schema = document.resolve(schema["properties"][name])
    return schema


@rule(40, "A webhook says what it tells, and where to takes a hidden, required callback.", "NotificationUrlNot..., ...")
def webhooks(document: Document) -> Iterator[str]:
    """Look at every operation that subscribes, and for callbacks anywhere else."""
    for op in document.operations:
        callbacks = [node for node in _chains(document, document.body(op) or {}, ()) if _notified(node[-1])]
        if op.webhook:
            content = op.item.get("x-ms-notification-content", {})
            if not content.get("schema") or not content.get("description"):
                yield f"{op.path} does not say what it tells"
            if len(callbacks) != 1:
                yield f"{op.name} has {len(callbacks)} callbacks"
        for chain in callbacks:
            schemas = [schema for schema, _ in chain]
            if schemas[-1].get("type") != "string" or not all(needed for _, needed in chain):
                yield f"{op.name} has a callback that is no string or not required"
            if not any(schema.get("x-ms-visibility") == "internal" for schema in schemas):
                yield f"{op.name} has a callback that a maker sees"
        for place, schema, _ in document.leaves("output", document.success(op) or {}):
            if "x-ms-notification-url" in schema:
                yield f"{op.name}.{place} is a callback among the outputs"


def _notified(link: tuple[Json, bool]) -> bool:
    return bool(link[0].get("x-ms-notification-url"))


Chain = tuple[tuple[Json, bool], ...]


def _chains(document: Document, schema: Json, above: Chain) -> Iterator[Chain]:
    """Yield each property below `schema` with those above it, and whether each is required."""
    for name, value in schema.get("properties", {}).items():
        found = document.resolve(value)
        if any(found is seen for seen, _ in above):
            continue
        chain = (*above, (found, name in schema.get("required", [])))
        yield chain
        yield from _chains(document, found, chain)


@rule(41, "A path that subscribes has no other operation.", "designer: it would take it for the webhook as well")
def lonely_webhooks(document: Document) -> Iterator[str]:
    """Count the operations beside each webhook."""
    for op in document.operations:
        others = [other.name for other in document.operations if other.path == op.path and other.verb != op.verb]
        if (op.webhook or "x-ms-notification-content" in op.item) and others:
            yield f"{op.path} also has {', '.join(others)}"


@rule(42, "A subscription is ended by a hidden DELETE, at the Location of its 201.", "create-webhook-trigger")
def unsubscribing(document: Document) -> Iterator[str]:
    """Look for both with every webhook."""
    for op in document.operations:
        if not op.webhook:
            continue
        headers = {name.lower() for name in op.responses.get("201", {}).get("headers", {})}
        if "location" not in headers:
            yield f"{op.name} has no Location on 201"
        below = [o for o in document.operations if o.verb == "delete" and o.path.startswith(f"{op.path}/")]
        if not any(not other.visible for other in below):
            yield f"{op.name} has no hidden DELETE"


@rule(43, "A hidden input with a default is required, a hidden required one has a default.", "InternalProperty...")
def hidden_inputs(document: Document) -> Iterator[str]:
    """Look at the hidden inputs; a callback is filled in by the platform."""
    for op in document.operations:
        for place, schema, needed in document.inputs(op):
            if schema.get("x-ms-visibility") != "internal" or "x-ms-notification-url" in schema:
                continue
            if ("default" in schema) != needed:
                yield f"{op.name}.{place} is hidden and {'has no default' if needed else 'optional'}"


@rule(44, "The test of a connection is a hidden GET that needs nothing.", "test-connection")
def connection_test(document: Document) -> Iterator[str]:
    """Look at the operation that tests a connection; a definition for agents has none."""
    if any("x-ms-agentic-protocol" in op.body for op in document.operations):
        return
    test = document.swagger.get("x-ms-capabilities", {}).get("testConnection", {})
    op = document.operation(test.get("operationId"))
    if op is None:
        yield "there is no test of a connection"
        return
    if op.verb != "get" or op.visible:
        yield f"{op.name} is no hidden GET"
    for place, _, needed in document.inputs(op):
        if needed and place not in test.get("parameters", {}):
            yield f"{op.name} requires {place}"


@rule(45, "There is one way to sign in, and what operations require is defined there.", "SecurityRequirementMustBe...")
def security(document: Document) -> Iterator[str]:
    """Compare requirements with definitions."""
    defined = document.swagger.get("securityDefinitions", {})
    if len(defined) != 1:
        yield f"there are {len(defined)} ways to sign in"
    for node in (document.swagger, *(op.body for op in document.operations)):
        for requirement in node.get("security", []):
            for name, scopes in requirement.items():
                for scope in scopes if name in defined else ():
                    if scope not in defined[name].get("scopes", {}):
                        yield f"{name} has no scope {scope}"
                if name not in defined:
                    yield f"{name} is not defined"


@rule(46, "The connector has a plain title, a description, a version and a contact.", "ConnectorMetadataProperties...")
def info(document: Document) -> Iterator[str]:
    """Look at the info of the document."""
    said = document.swagger.get("info", {})
    title, text, contact = str(said.get("title", "")), str(said.get("description", "")), said.get("contact", {})
    if not 1 <= len(title) <= LONGEST_TITLE or RESTRICTED_WORDS.search(title) or not title[-1:].isalnum():
        yield f"the title is {title!r}"
    if not SHORTEST_DESCRIPTION <= len(text) <= LONGEST_DESCRIPTION:
        yield f"the description has {len(text)} characters"
    if not re.fullmatch(r"\d+\.\d+(\.\d+)?\S*", str(said.get("version", ""))):
        yield f"the version is {said.get('version')!r}"
    if not contact.get("name") or not str(contact.get("url", "")).startswith("https://"):
        yield "the contact has no name or no address"
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", str(contact.get("email", ""))):
        yield f"the contact has the email {contact.get('email')!r}"


@rule(47, "The gallery is told website, privacy policy and at most two known categories.", "InvalidConnectorCategory")
def gallery(document: Document) -> Iterator[str]:
    """Look at the metadata of the connector."""
    told = {m.get("propertyName"): m.get("propertyValue") for m in document.swagger.get("x-ms-connector-metadata", [])}
    for name in ("Website", "Privacy policy"):
        if not str(told.get(name, "")).startswith("https://"):
            yield f"{name} is {told.get(name)!r}"
    categories = [category for category in str(told.get("Categories", "")).split(";") if category]
    if not 1 <= len(categories) <= 2 or not set(categories) <= CATEGORIES:
        yield f"the categories are {categories}"


RULES = (
    dynamic, webhooks, lonely_webhooks, unsubscribing, hidden_inputs, connection_test, security, info, gallery,
)  # fmt: skip
"""The rules of this module."""
