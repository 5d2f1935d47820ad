"""What the endpoint is asked: every request, with the label, sentence and limit of each field.

`title` is the label a maker sees (`x-ms-summary` of the connector), `description` the sentence under it. The `x-ms-*`
keys beside a field are the designer's: how prominent it is, and which operation feeds its drop-down. Names on the wire
are camelCase, as in the rest of the Power Platform.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from connector.closing.model import DraftPolicy, Outcome

LARGEST_AMOUNT = Decimal(10) ** 12
"""The range of `opportunity.actualvalue`, in both directions."""
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


class CloseFields(RequestModel):
    """How an opportunity is to be closed."""

    outcome: Outcome = Field(
        title="Outcome",
        description="How the opportunity ends.",
        json_schema_extra=IMPORTANT | _named(*Outcome),
    )
    status: int | Annotated[str, Field(max_length=200)] | None = Field(
        None,
        title="Status Reason",
        description="The status reason of the opportunity, by number or label. The default of the outcome when empty.",
        json_schema_extra=_reasons("opportunity"),
    )
    closed_on: date | None = Field(
        None, title="Close Date", description="The day of the close, as in 2026-01-31. Today when empty."
    )
    actual_revenue: Annotated[Decimal, Field(ge=-LARGEST_AMOUNT, le=LARGEST_AMOUNT)] | None = Field(
        None, title="Actual Revenue", description="The actual revenue, in the currency of the opportunity."
    )
    description: str | None = Field(
        None, title="Description", description="A remark that the close activity keeps.", max_length=2000
    )
    subject: str | None = Field(
        None,
        title="Subject",
        description="The subject of the close activity.",
        max_length=200,
        json_schema_extra=ADVANCED,
    )
    competitor: UUID | None = Field(
        None,
        title="Competitor",
        description="The id of the competitor that a lost opportunity went to.",
        json_schema_extra=ADVANCED,
    )
    winning_quote: UUID | None = Field(
        None,
        title="Winning Quote",
        description="The id of the quote that the customer accepted; the others are closed.",
        json_schema_extra=ADVANCED,
    )
    quote_status: int | Annotated[str, Field(max_length=200)] | None = Field(
        None,
        title="Quote Status Reason",
        description="The status reason of the closed quotes. When empty, Lost with a lost opportunity, else Canceled.",
        json_schema_extra=ADVANCED | _reasons("quote"),
    )
    drafts: DraftPolicy = Field(
        DraftPolicy.ACTIVATE,
        title="Draft Quotes",
        description="What becomes of draft quotes: activate and close them, delete them, close them directly, or leave "
        "them, which refuses the close.",
        json_schema_extra=ADVANCED | _named(*DraftPolicy),
    )
    columns: ColumnValues | None = Field(
        None,
        title="Close Columns",
        description="Values of the organization's own columns of the opportunity's close activity.",
        max_length=MOST_COLUMNS,
        json_schema_extra=ADVANCED | _columns("opportunityclose"),
    )
    quote_columns: ColumnValues | None = Field(
        None,
        title="Quote Close Columns",
        description="Values of the organization's own columns of each quote's close activity.",
        max_length=MOST_COLUMNS,
        json_schema_extra=ADVANCED | _columns("quoteclose"),
    )

    @field_validator("columns", "quote_columns")
    @classmethod
    def _writable(cls, columns: ColumnValues | None) -> ColumnValues | None:
        """Return the columns; raises ValueError for a name that no column has and for text that is no Unicode."""
        for name, value in (columns or {}).items():
            if not _COLUMN.fullmatch(name):
                raise ValueError("has a name that no column can have")
            if isinstance(value, str) and not _is_text(value):
                raise ValueError(f"has a value of {name} that is no Unicode text")
        return columns


class CloseBody(CloseFields):
    """The request to close an opportunity with its quotes."""

    plan_digest: PlanDigest = None
    idempotency_key: Key = None
    mode: Mode = "wait"


class PlanBody(CloseFields):
    """The request for a plan: what closing would do."""


class ReopenBody(RequestModel):
    """The request to open an opportunity again, with the quotes that were closed through this connector."""

    closed_under: str | None = Field(
        None,
        title="Closed Under Key",
        description="Reopens only what was closed under this idempotency key.",
        max_length=LONGEST_KEY,
        json_schema_extra=ADVANCED,
    )
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
