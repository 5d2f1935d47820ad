"""Rules 5 to 12, 25 to 31, 33 to 38 and 49: operations, their words, parameters and responses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from tests.service.definition_lint.document import VERBS, Document, Json, Op, rule

LONGEST_SUMMARY = 80
LONGEST_DESCRIPTION = 256
RESERVED_PARAMETERS = frozenset(("connectionid", "connectionstring", "$connections"))
FORBIDDEN_HEADERS = frozenset(("content-type", "accept", "authorization"))
_SMALL_WORDS = frozenset(
    ("a", "an", "and", "as", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with")
)
_SENTENCE = re.compile(r"[A-Z].*[.!?]", re.DOTALL)


@rule(5, "Every operation has an id of its own in PascalCase, of letters and digits.", "OperationIdRequired, ...")
def ids(document: Document) -> Iterator[str]:
    """Look at every id, and whether it stands twice."""
    for op in document.operations:
        if not re.fullmatch(r"[A-Z][A-Za-z0-9]*(_V\d+)?", str(op.body.get("operationId", ""))):
            yield f"{op.name} has the id {op.body.get('operationId')!r}"
    counts = Counter(op.body.get("operationId") for op in document.operations)
    yield from (f"{name} stands {count} times" for name, count in counts.items() if count > 1)


def _annotation(op: Op) -> Json:
    found: Json = op.body.get("x-ms-api-annotation", {})
    return found


@rule(6, "Revisions of a family differ, later ones say so in their id, one is current.", "OperationFamilyHas..., ...")
def revisions(document: Document) -> Iterator[str]:
    """Look at families and revisions, and at what is ahead of the connector."""
    status = document.swagger.get("info", {}).get("x-ms-api-annotation", {}).get("status")
    seen: Counter[tuple[object, object]] = Counter()
    current: Counter[object] = Counter()
    for op in document.operations:
        annotation = _annotation(op)
        if not annotation:
            continue
        family, revision = annotation.get("family"), annotation.get("revision", 1)
        seen[family, revision] += 1
        if annotation.get("status") == "Production" and not op.body.get("deprecated"):
            current[family] += 1
        if revision > 1 and not op.name.endswith(f"V{revision}"):
            yield f"{op.name} is revision {revision} and does not end with V{revision}"
        if status == "Preview" and annotation.get("status") == "Production":
            yield f"{op.name} is ahead of the connector"
    yield from (f"{family} has revision {revision} twice" for (family, revision), n in seen.items() if n > 1)
    yield from (f"{family} has {n} current revisions" for family, n in current.items() if n > 1)


@rule(7, "A replacement is named on deprecated operations only, with api and operation.", "ApiAnnotationExtension...")
def replacements(document: Document) -> Iterator[str]:
    """Look at every replacement."""
    for op in document.operations:
        replacement = _annotation(op).get("replacement")
        if replacement is None:
            continue
        if not op.body.get("deprecated"):
            yield f"{op.name} has a replacement and is not deprecated"
        if not {"api", "operationId"} <= set(replacement):
            yield f"{op.name} does not name api and operationId of its replacement"


@rule(8, "A summary has 1 to 80 plain characters and ends with a letter, digit or bracket.", "OperationSummaryTooLong")
def summaries(document: Document) -> Iterator[str]:
    """Look at every summary."""
    for op in document.operations:
        summary = str(op.body.get("summary", ""))
        if not 1 <= len(summary) <= LONGEST_SUMMARY or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ,()'-]*", summary):
            yield f"{op.name} has the summary {summary!r}"
        elif not re.search(r"[A-Za-z0-9)]$", summary):
            yield f"{op.name} has a summary that ends with {summary[-1]!r}"


@rule(9, "A description is a sentence of at most 256 characters, and not the summary.", "coding-standards")
def descriptions(document: Document) -> Iterator[str]:
    """Look at every description of an operation."""
    for op in document.operations:
        text = str(op.body.get("description", ""))
        if not _SENTENCE.fullmatch(text) or len(text) > LONGEST_DESCRIPTION:
            yield f"{op.name} has the description {text!r}"
        elif text.rstrip(".!?") == op.body.get("summary"):
            yield f"{op.name} repeats its summary"


@rule(10, "A trigger begins with When a or When an; its description says when it triggers.", "string guidance")
def trigger_words(document: Document) -> Iterator[str]:
    """Look at the words of every trigger."""
    for op in document.operations:
        if "x-ms-trigger" not in op.body:
            continue
        if not re.match(r"When an? ", str(op.body.get("summary"))):
            yield f"{op.name} has the summary {op.body.get('summary')!r}"
        if not str(op.body.get("description")).startswith("This operation triggers when"):
            yield f"{op.name} does not say when it triggers"


def _label_problem(node: Json) -> str | None:
    """Return what is wrong with a label and its sentence, if something is."""
    label = str(node.get("x-ms-summary", ""))
    if not 1 <= len(label) <= LONGEST_SUMMARY:
        return f"has the label {label!r}"
    words = re.findall(r"[A-Za-z0-9]+", label)
    if any(word[0].islower() and (number == 0 or word not in _SMALL_WORDS) for number, word in enumerate(words)):
        return f"has the label {label!r}, which is not in title case"
    if not _SENTENCE.fullmatch(str(node.get("description", ""))):
        return f"has the description {node.get('description')!r}"
    return None


@rule(11, "Every visible parameter has a label in title case and a sentence.", "string guidance")
def parameter_labels(document: Document) -> Iterator[str]:
    """Look at path, query and header parameters."""
    for op in document.operations:
        for parameter in document.parameters(op):
            if parameter.get("in") != "body" and parameter.get("x-ms-visibility") != "internal":
                problem = _label_problem(parameter)
                if problem:
                    yield f"{op.name}.{parameter.get('name')} {problem}"


@rule(12, "Every property of requests and responses has a label and a sentence.", "string guidance")
def property_labels(document: Document) -> Iterator[str]:
    """Look at every property that is not a reference; those stand elsewhere."""
    for place, schema, _ in document.properties_of():
        problem = None if "$ref" in schema else _label_problem(schema)
        if problem:
            yield f"{place} {problem}"


@rule(25, "Variables of a path and its parameters are the same; they are required and encoded.", "PathParameter...")
def path_parameters(document: Document) -> Iterator[str]:
    """Compare the variables of each path with the parameters of its operations."""
    for op in document.operations:
        variables = re.findall(r"{([^}]*)}", op.path)
        declared = [p for p in document.parameters(op) if p.get("in") == "path"]
        if sorted(variables) != sorted(str(p.get("name")) for p in declared):
            yield f"{op.name} does not declare the variables of {op.path}"
        for parameter in declared:
            if parameter.get("required") is not True or "x-ms-url-encoding" not in parameter:
                yield f"{op.name}.{parameter.get('name')} is not required or has no x-ms-url-encoding"


@rule(26, "Paths are unique and plain.", "PathRedefined, DuplicateOperationPath, PartialDuplicateOperationPath")
def paths(document: Document) -> Iterator[str]:
    """Compare the paths with each other, case and names of variables aside."""
    plain = Counter(re.sub(r"{[^}]*}", "{}", path.lower()) for path in document.swagger.get("paths", {}))
    yield from (f"{path} stands {n} times" for path, n in plain.items() if n > 1)
    for path in document.swagger.get("paths", {}):
        if not re.fullmatch(r"(/([A-Za-z0-9._~-]|{\w+})+)+", path):
            yield f"{path} is not plain"


@rule(27, "At most one body, none on GET, and none beside a form.", "OperationParametersContainMultipleBody..., ...")
def bodies(document: Document) -> Iterator[str]:
    """Count the bodies of each operation."""
    for op in document.operations:
        kinds = Counter(p.get("in") for p in document.parameters(op))
        if kinds["body"] > 1 or (kinds["body"] and kinds["formData"]):
            yield f"{op.name} takes several bodies"
        if op.verb in ("get", "head") and (kinds["body"] or kinds["formData"]):
            yield f"{op.name} takes a body and is a {op.verb}"


@rule(28, "No parameter has a reserved name.", "ConnectionIdParameterNotAllowed, ReservedParameterIsUsed")
def reserved_names(document: Document) -> Iterator[str]:
    """Look at the names of parameters."""
    for op in document.operations:
        for parameter in document.parameters(op):
            if str(parameter.get("name")).lower() in RESERVED_PARAMETERS:
                yield f"{op.name} has a parameter {parameter['name']}"


@rule(29, "No header of the protocol is a parameter.", "PowerPlatformConnectors 3808")
def headers(document: Document) -> Iterator[str]:
    """Look at the headers that are parameters."""
    for op in document.operations:
        for parameter in document.parameters(op):
            if parameter.get("in") == "header" and str(parameter.get("name")).lower() in FORBIDDEN_HEADERS:
                yield f"{op.name} has the header {parameter['name']}"


@rule(30, "Every operation has a list of parameters, be it empty.", "designer: it fails to open otherwise")
def parameter_lists(document: Document) -> Iterator[str]:
    """Look for operations without a list."""
    for op in document.operations:
        if not isinstance(op.body.get("parameters"), list):
            yield f"{op.name} has no parameters"


@rule(31, "No key of a path holds the name of a verb but the verbs.", "designer: it takes it for an operation")
def path_keys(document: Document) -> Iterator[str]:
    """Look at the keys of every path."""
    for path, item in document.swagger.get("paths", {}).items():
        for key in item:
            if key not in VERBS and any(verb in key.lower() for verb in VERBS):
                yield f"{path} has the key {key}"


@rule(33, "Every operation can succeed, and a visible action has outputs.", "OperationShouldHaveSuccessfulResponse")
def successes(document: Document) -> Iterator[str]:
    """Look for a success, and for the schema of 200 or 201."""
    for op in document.operations:
        if not any(status.startswith("2") for status in op.responses):
            yield f"{op.name} cannot succeed"
        elif op.visible and not op.webhook and "x-ms-agentic-protocol" not in op.body and document.success(op) is None:
            yield f"{op.name} has no outputs"


@rule(34, "At most one response has a schema.", "OperationHasManyResponsesWithSchema")
def one_schema(document: Document) -> Iterator[str]:
    """Count the schemas of each operation's responses."""
    for op in document.operations:
        told = [status for status, response in op.responses.items() if "schema" in response]
        if len(told) > 1:
            yield f"{op.name} has schemas on {', '.join(told)}"


@rule(35, "The default response has no schema and is not the only one.", "DefaultResponseHasSchema")
def default_response(document: Document) -> Iterator[str]:
    """Look at the default response."""
    for op in document.operations:
        if "schema" in op.responses.get("default", {}):
            yield f"{op.name} has a schema on default"
        if set(op.responses) == {"default"}:
            yield f"{op.name} has nothing but default"


@rule(36, "Every operation lists the 4xx and 5xx it may answer, with a sentence and no schema.", "coding-standards")
def failures(document: Document) -> Iterator[str]:
    """Look for both kinds, and at what each says."""
    for op in document.operations:
        for kind in "45":
            if not any(status.startswith(kind) for status in op.responses):
                yield f"{op.name} lists no {kind}xx"
        for status, response in op.responses.items():
            if status[0] in "45" and ("schema" in response or not _SENTENCE.fullmatch(response.get("description", ""))):
                yield f"{op.name}.{status} has a schema or no sentence"


@rule(37, "What may answer 202 has its final schema on 200.", "designer: outputs come from 200")
def asynchronous(document: Document) -> Iterator[str]:
    """Look at the operations with a 202."""
    for op in document.operations:
        if "202" in op.responses and ("schema" in op.responses["202"] or "schema" not in op.responses.get("200", {})):
            yield f"{op.name} has a schema on 202, or none on 200"


@rule(38, "Examples are of media types that are produced.", "ResponseExampleMustBeProducedByOperation")
def examples(document: Document) -> Iterator[str]:
    """Look at the examples of responses."""
    for op in document.operations:
        produced: list[str] = op.body.get("produces") or document.swagger.get("produces") or []
        for status, response in op.responses.items():
            for kind in response.get("examples", {}):
                if kind not in produced:
                    yield f"{op.name}.{status} has an example of {kind}"


@rule(49, "The next link has one of the known names.", "InvalidNextLinkNameValue")
def next_links(document: Document) -> Iterator[str]:
    """Look at the operations that page."""
    for op in document.operations:
        name = op.body.get("x-ms-pageable", {"nextLinkName": "nextLink"}).get("nextLinkName")
        if name not in ("nextLink", "@odata.nextLink"):
            yield f"{op.name} has the next link {name}"


RULES = (
    ids, revisions, replacements, summaries, descriptions, trigger_words, parameter_labels, property_labels,
    path_parameters, paths, bodies, reserved_names, headers, parameter_lists, path_keys, successes, one_schema,
    default_response, failures, asynchronous, examples, next_links,
)  # fmt: skip
"""The rules of this module."""
