"""What the endpoint is asked: every request, with the label, sentence and limit of each field.

The fields of a close and of the way back are those of `closing.intent`. `title` is the label a maker sees
(`x-ms-summary` of the connector), `description` the sentence under it. The `x-ms-*` keys beside a field are the
designer's: how prominent it is, and which operation feeds its drop-down. Names on the wire are camelCase, as in the
rest of the Power Platform.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model, model_validator
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from connector.closing.field import CloseField, FieldKind
from connector.closing.intent import HOSTED_FIELDS, OFFERED_REOPEN_FIELDS, DraftPolicy, Outcome
from connector.closing.request import LARGEST_AMOUNT
from connector.service.schemas.field_values import (
    ADVANCED,
    IMPORTANT,
    INTERNAL,
    described,
    is_empty,
    lowered,
    read_columns,
    read_field,
)

LONGEST_KEY = 255
MOST_COLUMNS = 100
"""Extra columns that one request may carry."""

ColumnValues = dict[str, str | int | float | bool | None]


def _reasons(table: str) -> JsonDict:
    """Return the keys of a drop-down of all status reasons: where the outcome is an expression, it chooses none."""
    source = "ListStatusReasons"
    return {
        "x-ms-dynamic-values": {
            "operationId": source,
            "parameters": {"table": table},
            "value-collection": "value",
            "value-path": "value",
            "value-title": "label",
        },
        "x-ms-dynamic-list": {
            "operationId": source,
            "parameters": {"table": {"value": table}},
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
    """A request: unknown fields are refused, so that a misspelt one is not ignored; an empty one is not given."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _given(cls, values: object) -> object:
        """Leave out what is empty."""
        return {n: v for n, v in values.items() if not is_empty(v)} if isinstance(values, dict) else values


Key = Annotated[
    str | None,
    BeforeValidator(lambda key: str(key) if type(key) is int else key),  # the number of an order, say
    Field(
        title="Idempotency Key",
        description="Identifies this request: sent again with the same key, it gets the first answer. Leave it "
        "empty in a flow: the run and the action identify it.",
        min_length=1,
        max_length=LONGEST_KEY,
        json_schema_extra=ADVANCED,
    ),
]
Mode = Annotated[
    Literal["wait", "accept"],
    BeforeValidator(lowered),
    described(
        "Mode",
        "Wait answers when it is done, or after 90 seconds with an address to ask again. Accept answers "
        "at once with that address. A flow follows the address by itself.",
        shown=ADVANCED | _named("wait", "accept"),
    ),
]
PlanDigest = Annotated[
    str | None,
    Field(
        title="Plan Digest",
        description="The digest of the plan that was approved, of Plan the close: anything else is refused.",
        max_length=128,
        json_schema_extra=ADVANCED,
    ),
]


_TYPES: Mapping[FieldKind, Any] = {
    FieldKind.RECORD_ID: UUID,
    FieldKind.RECORD_NAME: Annotated[UUID | str, WithJsonSchema({"type": "string", "maxLength": 1000})],
    FieldKind.OUTCOME: Outcome,
    FieldKind.REASON: Annotated[int | str, WithJsonSchema({"type": "string", "maxLength": 200})],
    FieldKind.DAY: date,
    FieldKind.AMOUNT: Annotated[Decimal, Field(ge=-LARGEST_AMOUNT, le=LARGEST_AMOUNT)],
    FieldKind.TEXT: str,
    FieldKind.DRAFTS: DraftPolicy,
    FieldKind.COLUMNS: Annotated[ColumnValues, Field(max_length=MOST_COLUMNS)],
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
    texts: dict[str, Any] = {"title": field.label, "description": field.text, "json_schema_extra": extra or None}
    read = read_columns if field.kind is FieldKind.COLUMNS else read_field
    kind: Any = Annotated[_TYPES[field.kind], BeforeValidator(functools.partial(read, field))]
    if field.required:
        return kind, Field(**texts)
    default = DraftPolicy.ACTIVATE if field.kind is FieldKind.DRAFTS else None
    return (kind if default else kind | None), Field(default, max_length=limit, **texts)


_DeclaredFields = create_model("_DeclaredFields", __base__=RequestModel, **_declared(HOSTED_FIELDS))
_ReopenFields = create_model("_ReopenFields", __base__=RequestModel, **_declared(OFFERED_REOPEN_FIELDS))


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
    outcome: Annotated[Literal["any", "won", "lost"], BeforeValidator(lowered)] = described(
        "Outcome",
        "Notifies only of opportunities with this outcome.",
        "any",
        shown=IMPORTANT | _named("any", "won", "lost"),
    )
    minimum_revenue: Annotated[Decimal, Field(ge=0, le=LARGEST_AMOUNT)] | None = described(
        "Minimum Revenue",
        "Notifies only of opportunities with at least this actual revenue, in the currency of each.",
        None,
        shown=ADVANCED,
    )
