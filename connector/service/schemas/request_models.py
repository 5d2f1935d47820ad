"""What the endpoint is asked: every request, with the label, sentence and limit of each field.

The fields of a close and of the way back are those of `closing.intent`. `title` is the label a maker sees
(`x-ms-summary` of the connector), `description` the sentence under it. The `x-ms-*` keys beside a field are the
designer's: how prominent it is, and which operation feeds its drop-down. Names on the wire are camelCase, as in the
rest of the Power Platform.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from connector.closing.field import CloseField, FieldKind
from connector.closing.intent import CLOSE_FIELDS, REOPEN_FIELDS, DraftPolicy, Outcome
from connector.closing.values import LARGEST_AMOUNT

LONGEST_KEY = 255
MOST_COLUMNS = 100
"""Extra columns that one request may carry."""

IMPORTANT: JsonDict = {"x-ms-visibility": "important"}
ADVANCED: JsonDict = {"x-ms-visibility": "advanced"}
INTERNAL: JsonDict = {"x-ms-visibility": "internal"}

ColumnValues = dict[str, str | int | float | bool | None]

_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_.@]{0,149}")


def _is_text(value: str) -> bool:
    """Return whether there are no halves of surrogate pairs in it, which JSON allows and no store takes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reasons(table: str) -> JsonDict:
    """Return the keys of a drop-down of status reasons which follows the outcome that was chosen."""
    source = "ListStatusReasons"
    return {
        "x-ms-dynamic-values": {
            "operationId": source,
            "parameters": {"outcome": {"parameter": "outcome"}, "table": table},
            "value-collection": "value",
            "value-path": "value",
            "value-title": "label",
        },
        "x-ms-dynamic-list": {
            "operationId": source,
            "parameters": {"outcome": {"parameterReference": "body/outcome"}, "table": {"value": table}},
            "itemsPath": "value",
            "itemValuePath": "value",
            "itemTitlePath": "label",
        },
    }


def _columns(table: str) -> JsonDict:
    """Return the keys of an object whose fields are the custom columns of `table`, read at design time."""
    source = "GetCloseColumns"
    return {
        "x-ms-dynamic-schema": {"operationId": source, "parameters": {"table": table}, "value-path": "schema"},
        "x-ms-dynamic-properties": {
            "operationId": source,
            "parameters": {"table": {"value": table}},
            "itemValuePath": "schema",
        },
    }


def _named(*choices: str) -> JsonDict:
    """Return the display names of an enumeration."""
    return {"x-ms-enum-values": [{"value": c, "displayName": c.replace("_", " ").capitalize()} for c in choices]}


class RequestModel(BaseModel):
    """A request: unknown fields are refused, so that a misspelt one is not ignored in silence."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


Key = Annotated[
    str | None,
    Field(
        title="Idempotency Key",
        description="Names this request: a repetition with the same key gets the first answer. Leave it empty in a "
        "flow; the run and the action name it then.",
        min_length=1,
        max_length=LONGEST_KEY,
        json_schema_extra=ADVANCED,
    ),
]
Mode = Annotated[
    Literal["wait", "accept"],
    Field(
        title="Mode",
        description="Wait answers when it is done, or after 90 seconds with an address to ask again. Accept answers "
        "at once with that address. A flow follows the address by itself.",
        json_schema_extra=ADVANCED | _named("wait", "accept"),
    ),
]
PlanDigest = Annotated[
    str | None,
    Field(
        title="Plan Digest",
        description="The digest of a plan that was approved: anything else is refused.",
        max_length=128,
        json_schema_extra=ADVANCED,
    ),
]


def _unicode_columns(columns: ColumnValues) -> ColumnValues:
    """Return the columns; raises ValueError for a name that no column has and for text that is no Unicode."""
    for name, value in columns.items():
        if not _COLUMN.fullmatch(name):
            raise ValueError("has a name that no column can have")
        if isinstance(value, str) and not _is_text(value):
            raise ValueError(f"has a value of {name} that is no Unicode text")
    return columns


_TYPES: Mapping[FieldKind, Any] = {
    FieldKind.RECORD_ID: UUID,
    FieldKind.OUTCOME: Outcome,
    FieldKind.DAY: date,
    FieldKind.AMOUNT: Annotated[Decimal, Field(ge=-LARGEST_AMOUNT, le=LARGEST_AMOUNT)],
    FieldKind.TEXT: str,
    FieldKind.DRAFTS: DraftPolicy,
    FieldKind.COLUMNS: Annotated[ColumnValues, Field(max_length=MOST_COLUMNS), AfterValidator(_unicode_columns)],
}
_EXTRAS: Mapping[FieldKind, Callable[[CloseField], JsonDict]] = {
    FieldKind.OUTCOME: lambda _: _named(*Outcome),
    FieldKind.DRAFTS: lambda _: _named(*DraftPolicy),
    FieldKind.REASON: lambda field: _reasons(field.table),
    FieldKind.COLUMNS: lambda field: _columns(field.table),
}
"""What the designer is told of each kind of field."""


def _declared(fields: Iterable[CloseField]) -> dict[str, Any]:
    """Return the fields as pydantic's `create_model` takes them: a type and what is said about it."""
    return {field.wire or field.name: _property(field) for field in fields}


def _property(field: CloseField) -> tuple[Any, Any]:
    shown: JsonDict = {"x-ms-visibility": field.prominence.value} if field.prominence.value else {}
    extra = shown | (_EXTRAS[field.kind](field) if field.kind in _EXTRAS else {})
    limit = field.limit if field.kind is FieldKind.TEXT else None
    said: dict[str, Any] = {"title": field.label, "description": field.text, "json_schema_extra": extra or None}
    if field.kind is FieldKind.REASON:
        kind: Any = int | Annotated[str, Field(max_length=field.limit)]
    else:
        kind = _TYPES[field.kind]
    if field.required:
        return kind, Field(**said)
    default = DraftPolicy.ACTIVATE if field.kind is FieldKind.DRAFTS else None
    return (kind if default else kind | None), Field(default, max_length=limit, **said)


_DeclaredFields = create_model("_DeclaredFields", __base__=RequestModel, **_declared(CLOSE_FIELDS))
_ReopenFields = create_model(
    "_ReopenFields",
    __base__=RequestModel,
    **_declared(field for field in REOPEN_FIELDS if field.kind is not FieldKind.RECORD_IDS),
)


class CloseFields(_DeclaredFields):  # type: ignore[misc, valid-type]  # made from the table
    """How an opportunity is to be closed: see `CLOSE_FIELDS`."""


class CloseBody(CloseFields):
    """The request to close an opportunity with its quotes."""

    plan_digest: PlanDigest = None
    idempotency_key: Key = None
    mode: Mode = "wait"


class PlanBody(CloseFields):
    """The request for a plan: what closing would do."""


class ReopenBody(_ReopenFields):  # type: ignore[misc, valid-type]  # made from the table
    """The request to open an opportunity again, with the quotes that were closed through this connector."""

    plan_digest: PlanDigest = None
    idempotency_key: Key = None
    mode: Mode = "wait"


class SubscribeBody(RequestModel):
    """The request to be told when an opportunity is closed."""

    callback_url: str = Field(
        title="Callback URL",
        description="Where the notification is sent; the flow fills it in.",
        min_length=1,
        max_length=4096,
        json_schema_extra=INTERNAL | {"x-ms-notification-url": True},
        repr=False,
    )
    outcome: Literal["any", "won", "lost"] = Field(
        "any",
        title="Outcome",
        description="Tells of opportunities with this outcome only.",
        json_schema_extra=IMPORTANT | _named("any", "won", "lost"),
    )
    minimum_revenue: Annotated[Decimal, Field(ge=0, le=LARGEST_AMOUNT)] | None = Field(
        None,
        title="Minimum Revenue",
        description="Tells only of opportunities with at least this actual revenue.",
        json_schema_extra=ADVANCED,
    )
