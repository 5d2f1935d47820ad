"""What a caller asks for, at the border: options, a row of a file or a body of JSON become an intent, or a sentence.

Every field may be text, as a file of commas has it, or typed, as JSON and spreadsheets have it. Extra columns of the
close activities have the table as prefix and, where the value is text but the column is not, a type as suffix:
`opportunityclose.new_reason:int`. Types are `text` (as it is), `int`, `decimal` and `bool`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from connector.closing.columns import OPPORTUNITY_CLOSE_FIELDS, QUOTE_CLOSE_FIELDS, refuse_reserved
from connector.closing.model import ColumnValue, DraftPolicy, Intent, Outcome
from connector.errors import InputError

LARGEST_AMOUNT = Decimal(10) ** 12
"""The range of `opportunity.actualvalue`, in both directions."""

EARLIEST_DAY = date(1753, 1, 1)
"""The first day that a column of a moment holds (`DateTime is less than minimum value supported`)."""

OPPORTUNITY_PREFIX, QUOTE_PREFIX = "opportunityclose.", "quoteclose."

_GUID = re.compile(
    r"(?:(\{)|(\())?(?P<id>[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12})(?(1)\})(?(2)\))",
    re.IGNORECASE,
)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_COLUMN = re.compile(r"([A-Za-z_]\w*(?:@odata\.bind)?)(?::(text|int|decimal|bool))?", re.ASCII)
_ROW = re.compile(r"/?[a-z_]\w*\([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\)", re.ASCII | re.IGNORECASE)
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _record_id(value: object) -> UUID:
    match = _GUID.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"{value!r} is not the id of a record; give a GUID, with or without braces")
    return UUID(match["id"])


def _day(value: object) -> date:
    day = _calendar_day(value)
    if day < EARLIEST_DAY:
        raise ValueError(f"{str(value)!r} is before {EARLIEST_DAY}, the first day that the column holds")
    return day


def _calendar_day(value: object) -> date:
    """Take a date; a spreadsheet has it as a moment at midnight."""
    if isinstance(value, datetime) and value.time() == time():
        return value.date()
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    text = str(value).strip()
    try:
        return date.fromisoformat(text) if _DATE.fullmatch(text) else _not_a_day(value)
    except ValueError:
        return _not_a_day(value)


def _not_a_day(value: object) -> date:
    raise ValueError(f"{str(value)!r} is not a date; write year-month-day, as 2026-01-31")


def _amount(value: object) -> Decimal:
    """Take a number with a point; separators of thousands and decimal commas are ambiguous and refused."""
    try:
        amount = Decimal(str(value).strip()) if not isinstance(value, bool) else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise ValueError(f"{value!r} is not an amount; write it with a point and no separators, as 12500.00")
    if abs(amount) > LARGEST_AMOUNT:
        raise ValueError(f"{value!r} is larger than the 1,000,000,000,000 that the column holds")
    return amount


def _reason(value: object) -> int | str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or (isinstance(value, int) and value < 1):
        raise ValueError(f"{value!r} is not a status reason; give its number or its label")
    return value.strip() if isinstance(value, str) else value


def _outcome(value: object) -> Outcome:
    try:
        return Outcome(str(value).strip().lower())
    except ValueError:
        raise ValueError(f"{value!r} is not an outcome; say won or lost") from None


def _drafts(value: object) -> DraftPolicy:
    try:
        return DraftPolicy(str(value).strip().lower())
    except ValueError:
        raise ValueError(f"{value!r} is not a policy for drafts; say one of {', '.join(DraftPolicy)}") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    return value


_RecordId = Annotated[UUID, BeforeValidator(_record_id)]
_Reason = Annotated[int | str, BeforeValidator(_reason)]


class CloseRequest(BaseModel):
    """A request to close one opportunity; its fields are the columns of an input file.

    Absent, null and blank mean the same. Whatever is not a field must be an extra column by its prefix.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    opportunityid: _RecordId = Field(description="Id of the opportunity.")
    outcome: Annotated[Outcome, BeforeValidator(_outcome)] = Field(description="How it ends: won or lost.")
    status: _Reason | None = Field(None, description="Status reason of the opportunity, by number or label.")
    quote_status: _Reason | None = Field(None, description="Status reason of the closed quotes, by number or label.")
    closed_on: Annotated[date, BeforeValidator(_day)] | None = Field(None, description="Close date; default today.")
    actual_revenue: Annotated[Decimal, BeforeValidator(_amount)] | None = Field(
        None, description="Actual revenue, in the opportunity's currency."
    )
    subject: Annotated[str, Field(max_length=200), BeforeValidator(_text)] | None = Field(
        None, description="Subject of the close activity."
    )
    description: Annotated[str, Field(max_length=2000), BeforeValidator(_text)] | None = Field(
        None, description="Description of the close."
    )
    competitor: _RecordId | None = Field(None, description="Id of the competitor it was lost to.")
    winning_quote: _RecordId | None = Field(None, description="Id of the quote that wins; the others are closed.")
    drafts: Annotated[DraftPolicy, BeforeValidator(_drafts)] = Field(
        DraftPolicy.ACTIVATE, description="What becomes of draft quotes: activate, delete, direct or leave."
    )

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {
            name.strip(): value
            for name, value in values.items()
            if value is not None and not (isinstance(value, str) and not value.strip())
        }

    def to_intent(self, key: str = "") -> Intent:
        """Return the intent under the caller's idempotency key; without one the natural key stands in."""
        extra = self.__pydantic_extra__ or {}
        return Intent(
            opportunity_id=self.opportunityid,
            outcome=self.outcome,
            key=key,
            status=self.status,
            quote_status=self.quote_status,
            closed_on=self.closed_on,
            actual_revenue=self.actual_revenue,
            subject=self.subject,
            description=self.description,
            competitor_id=self.competitor,
            winning_quote_id=self.winning_quote,
            drafts=self.drafts,
            opportunity_columns=_columns(extra, OPPORTUNITY_PREFIX, OPPORTUNITY_CLOSE_FIELDS),
            quote_columns=_columns(extra, QUOTE_PREFIX, QUOTE_CLOSE_FIELDS),
        )

    @model_validator(mode="after")
    def _only_known_columns(self) -> CloseRequest:
        extra = self.__pydantic_extra__ or {}
        unknown = [name for name in extra if not name.startswith((OPPORTUNITY_PREFIX, QUOTE_PREFIX))]
        if unknown:
            raise ValueError(
                f"unknown: {', '.join(unknown)}; the fields are {', '.join(CloseRequest.model_fields)}, and extra "
                f"columns begin with {OPPORTUNITY_PREFIX} or {QUOTE_PREFIX}"
            )
        _columns(extra, OPPORTUNITY_PREFIX, OPPORTUNITY_CLOSE_FIELDS)
        _columns(extra, QUOTE_PREFIX, QUOTE_CLOSE_FIELDS)
        return self


def parse_request(values: Mapping[str, object]) -> CloseRequest:
    """Return the request in `values`; raises InputError, one sentence naming every field that is wrong."""
    try:
        return CloseRequest.model_validate(values)
    except ValidationError as error:
        raise InputError(problems_of(error)) from None


def problems_of(error: ValidationError) -> str:
    """Return what is wrong with a request, every field by name, for people."""
    problems = (_problem(found["loc"], found["type"], found["msg"]) for found in error.errors())
    return f"{'; '.join(dict.fromkeys(problems))}."


def _problem(place: tuple[int | str, ...], kind: str, message: str) -> str:
    field = str(place[0]) if place else ""
    if kind == "missing":
        return f"{field} is missing"
    text = message.removeprefix("Value error, ").removesuffix(".")
    return f"{field}: {text}" if field else text


def _columns(extra: Mapping[str, Any], prefix: str, fields: Mapping[str, str]) -> dict[str, ColumnValue]:
    columns: dict[str, ColumnValue] = {}
    for full_name, value in extra.items():
        if not full_name.startswith(prefix):
            continue
        match = _COLUMN.fullmatch(full_name.removeprefix(prefix))
        if match is None:
            raise ValueError(f"{full_name} is not the name of a column")
        columns[match[1]] = _column_value(full_name, match[1], match[2] or "text", value)
    try:
        refuse_reserved(prefix.removesuffix("."), columns, fields)
    except InputError as error:
        raise ValueError(str(error)) from None
    return columns


def _column_value(full_name: str, name: str, kind: str, value: object) -> ColumnValue:
    """Return the value of an extra column; text is read as `kind`, what JSON has typed stays as it is."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{full_name}: {value!r} is not a number")
    if isinstance(value, bool | int | float | Decimal):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{full_name}: {value!r} is neither text, a number, true nor false")
    if name.endswith("@odata.bind") and not _ROW.fullmatch(value.strip()):
        raise ValueError(f"{full_name}: {value!r} is not a row; write table(id), as competitors(0f3c…)")
    return _typed(full_name, kind, value)


def _typed(full_name: str, kind: str, text: str) -> ColumnValue:
    try:
        match kind:
            case "int":
                return int(text)
            case "decimal":
                return _amount(text)
            case "bool":
                return _TRUTH[text.strip().lower()]
            case _:
                return text
    except (ValueError, KeyError):
        raise ValueError(f"{full_name}: {text!r} is not of type {kind}") from None
