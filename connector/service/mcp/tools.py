"""The tools for agents, as data: names, schemas, honest hints, and the request that each becomes.

The schemas keep to what Copilot Studio reads: no `$ref` (the tool would vanish), one type per schema, no union with
null, no integer exclusive bound, enumerations of text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connector.closing.field import CloseField, FieldKind
from connector.closing.intent import HOSTED_FIELDS, OPPORTUNITY_ID, DraftPolicy, Outcome

Json = dict[str, Any]

CONFIRMED = "confirmed"
"""The argument that says that a person has agreed."""

_ENUMERATIONS = {FieldKind.OUTCOME: Outcome, FieldKind.DRAFTS: DraftPolicy}
_SCHEMAS: Mapping[FieldKind, Json] = {
    FieldKind.RECORD_ID: {"type": "string", "format": "uuid"},
    FieldKind.DAY: {"type": "string", "format": "date"},
    FieldKind.AMOUNT: {"type": "number"},
}


def _schema(field: CloseField) -> Json:
    """Return the schema of a field; kinds that have none of their own are text."""
    schema = dict(_SCHEMAS.get(field.kind, {"type": "string"}))
    if field.kind in _ENUMERATIONS:
        schema["enum"] = [choice.value for choice in _ENUMERATIONS[field.kind]]
    if field.limit is not None:
        schema["maxLength"] = field.limit
    return schema | {"description": field.agent_text}


OPPORTUNITY_KEY = "opportunityKey"
"""The argument that goes into the query of an operation."""
_OPPORTUNITY = _schema(OPPORTUNITY_ID)
_NAMED: Json = {
    "opportunityId": {
        "type": "string",
        "maxLength": 1000,
        "description": "The id of the opportunity, or its value of the column that opportunityKey names.",
    },
    OPPORTUNITY_KEY: {
        "type": "string",
        "maxLength": 128,
        "description": "The column that opportunityId is a value of: name, or an alternate key. Leave it out when "
        "opportunityId is an id.",
    },
}
"""What names an opportunity."""
_KEY: Json = {
    "type": "string",
    "maxLength": 255,
    "description": "Identifies this request: sent again with the same key, it gets the first answer. Optional.",
}
_WISH: Json = {field.wire_name: _schema(field) for field in HOSTED_FIELDS if field.for_agents}
"""What agents may ask of a close."""
_STEPS: Json = {"type": "array", "items": {"type": "object"}, "description": "Every write and what came of it."}
_QUOTES: Json = {"type": "array", "items": {"type": "object"}, "description": "Each quote and what came of it."}
_ALWAYS: Json = {"message": {"type": "string", "description": "What happened or is wrong, as a sentence."}}
_FAILED: Json = {"code": {"type": "string", "description": "A stable code of what is wrong."}}


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: what an agent is told, and the operation it is.

    `inputs` are its arguments, `required` those it must have. `reads` says that it changes nothing; every tool is
    idempotent. `asks` says that a person must agree first. `method` and `path` are the operation's; the argument
    `place` fills the path, `opportunityKey` goes into the query, `confirmed` stays here, all others are the body.
    """

    name: str
    title: str
    description: str
    method: str
    path: str
    place: str
    inputs: Mapping[str, Json]
    required: tuple[str, ...]
    outputs: Mapping[str, Json]
    reads: bool
    asks: bool = False

    @property
    def input_schema(self) -> Json:
        """Return the schema of the arguments."""
        return _object(dict(self.inputs), list(self.required)) | {"additionalProperties": False}

    @property
    def output_schema(self) -> Json:
        """Return the schema of the structured answer; only the sentence is always there, in failures too."""
        return _object(_ALWAYS | dict(self.outputs) | _FAILED, ["message"])

    @property
    def hints(self) -> Mapping[str, bool]:
        """Return the hints: closing cannot be taken back in full, so it is destructive; nothing happens twice."""
        return {
            "readOnlyHint": self.reads,
            "destructiveHint": not self.reads,
            "idempotentHint": True,
            "openWorldHint": False,
        }


def _object(properties: Json, required: list[str]) -> Json:
    return {"type": "object", "properties": properties, "required": required}


_CLOSED: Json = {
    "result": {
        "type": "string",
        "description": "One of closed, already_closed, partial, running, unconfirmed, failed.",
    },
    "changed": {"type": "boolean", "description": "True when this call changed something."},
    "opportunityId": _OPPORTUNITY,
    "operationId": {"type": "string", "description": "The id of the operation; call get_operation while it runs."},
    "quotes": _QUOTES,
    "steps": _STEPS,
}
_CONFIRM: Json = {
    "type": "boolean",
    "description": "True only after a person has seen the plan and agreed. Otherwise nothing is changed.",
}
_DIGEST: Json = {
    "type": "string",
    "maxLength": 128,
    "description": "The digest of the plan that was agreed to: anything else is then refused. Give it whenever known.",
}

TOOLS = (
    Tool(
        "plan_close",
        "Plan the close of an opportunity",
        "Shows what closing the opportunity with its draft and active quotes would do now, and changes nothing. Show "
        "the plan to the person before closing, and pass its digest on.",
        "POST",
        "/opportunities/{}/plan",
        "opportunityId",
        {**_NAMED, **_WISH},
        ("opportunityId", "outcome"),
        {
            "result": {"type": "string", "description": "One of planned, already_closed, refused, failed."},
            "digest": {"type": "string", "description": "Identifies the plan."},
            "opportunityId": _OPPORTUNITY,
            "quotes": _QUOTES,
            "steps": _STEPS,
        },
        reads=True,
    ),
    Tool(
        "close_opportunity_with_quotes",
        "Close an opportunity with its quotes",
        "Closes the draft and active quotes of an opportunity and then the opportunity, as won or lost. Ask a person "
        "first and set confirmed. Called again, it does nothing twice: already_closed says that nothing was left.",
        "POST",
        "/opportunities/{}/close",
        "opportunityId",
        {**_NAMED, **_WISH, "planDigest": _DIGEST, "idempotencyKey": _KEY, CONFIRMED: _CONFIRM},
        ("opportunityId", "outcome", CONFIRMED),
        _CLOSED,
        reads=False,
        asks=True,
    ),
    Tool(
        "reopen_opportunity",
        "Reopen an opportunity",
        "Opens a closed opportunity again and puts the quotes that were closed through this connector back to draft. "
        "Ask a person first and set confirmed.",
        "POST",
        "/opportunities/{}/reopen",
        "opportunityId",
        {**_NAMED, "idempotencyKey": _KEY, CONFIRMED: _CONFIRM},
        ("opportunityId", CONFIRMED),
        _CLOSED,
        reads=False,
        asks=True,
    ),
    Tool(
        "get_opportunity",
        "Get an opportunity with its quotes",
        "Reads an opportunity and all its quotes as they stand.",
        "GET",
        "/opportunities/{}",
        "opportunityId",
        _NAMED,
        ("opportunityId",),
        {
            "opportunityId": _OPPORTUNITY,
            "state": {"type": "string", "description": "One of open, won, lost."},
            "openQuotes": {"type": "integer", "description": "How many quotes are draft or active."},
            "quotes": _QUOTES,
        },
        reads=True,
    ),
    Tool(
        "get_operation",
        "Get the result of an operation",
        "Gets the result of a close or reopen that was still running when its tool answered.",
        "GET",
        "/operations/{}",
        "operationId",
        {"operationId": {"type": "string", "maxLength": 512, "description": "The id of the operation."}},
        ("operationId",),
        _CLOSED,
        reads=True,
    ),
)
"""Every tool."""
