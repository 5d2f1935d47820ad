"""What the endpoint answers: results, plans, views, events and errors, with the label and sentence of each field."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from connector.closing.model import Outcome, Quote
from connector.service.schemas.field_values import ADVANCED, IMPORTANT, described

CURRENCY: Any = described("Currency", "The currency of the amounts (ISO 4217), as EUR; absent where unknown.", None)


def amount(value: Decimal | None) -> float | None:
    """Return an amount as JSON has it."""
    return None if value is None else float(value)


class ResponseModel(BaseModel):
    """An answer."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class StepView(ResponseModel):
    """One write to the organization and what came of it."""

    kind: str = described("Kind", "What the step does, as in close_quote.")
    table: str = described("Table", "The logical name of the table.")
    record: UUID = described("Record", "The id of the row that the step changes.")
    label: str = described("Label", "What the step is about, for people.", "")
    result: str = described("Result", "One of planned, done, failed, unknown and not_run.")
    activity_id: UUID | None = described("Close Activity", "The id of the close activity that the step creates.", None)
    request_id: str | None = described(
        "Request ID", "The organization's id of the request, which support will ask for.", None
    )
    message: str | None = described("Message", "Why the step failed and what to do, as a sentence.", None)


class QuoteResult(ResponseModel):
    """One quote and what came of it."""

    quote_id: UUID = described("Quote", "The id of the quote.")
    result: str = described(
        "Quote Result", "One of closed, won, deleted, reopened, planned, failed, unknown and not_run."
    )
    status: int | None = described("Quote Status Reason", "The status reason that the quote gets.", None)
    activity_id: UUID | None = described("Quote Close Activity", "The id of the quote's close activity.", None)
    message: str | None = described("Quote Message", "Why the quote failed, as a sentence.", None)


class CloseResult(ResponseModel):
    """What came of closing or reopening an opportunity."""

    opportunity_id: UUID = described("Opportunity", "The id of the opportunity.")
    result: Literal["closed", "already_closed", "reopened", "already_open", "partial"] = described(
        "Result",
        "What came of it. Partial says that some quotes were changed and the opportunity was not.",
        shown=IMPORTANT,
    )
    changed: bool = described("Changed", "True when this operation changed something.", shown=IMPORTANT)
    message: str = described("Message", "What happened, as a sentence.", shown=IMPORTANT)
    quotes: list[QuoteResult] = described("Quotes", "Each quote that was concerned.")
    warnings: list[str] = described("Warnings", "What was done, but not quite as asked.")
    steps: list[StepView] = described("Steps", "Every write and what came of it.", shown=ADVANCED)
    digest: str = described("Digest", "The digest of the plan.", "", shown=ADVANCED)
    operation_id: str = described("Operation", "The id of the operation, for its status and for support.")


class PlanResult(ResponseModel):
    """What closing an opportunity would do now; nothing was changed."""

    opportunity_id: UUID = described("Opportunity", "The id of the opportunity.")
    result: Literal["planned", "already_closed", "refused"] = described(
        "Result", "Whether there is something to do, nothing, or a refusal.", shown=IMPORTANT
    )
    digest: str = described("Digest", "Names the plan: closing with it does exactly this or is refused.", "")
    message: str = described("Message", "The plan or the refusal, as a sentence.")
    reason_code: str | None = described("Reason Code", "A stable code of the refusal.", None)
    quotes: list[QuoteResult] = described("Quotes", "Each quote that would be changed.")
    steps: list[StepView] = described("Steps", "The writes, in order.", shown=ADVANCED)


class QuoteView(ResponseModel):
    """A quote as it stands."""

    quote_id: UUID = described("Quote", "The id of the quote.")
    name: str = described("Quote Name", "The name of the quote.")
    number: str = described("Quote Number", "The number of the quote.")
    state: Literal["draft", "active", "won", "closed"] = described("Quote State", "The state of the quote.")
    status: int = described("Quote Status Reason", "The status reason of the quote.")

    @classmethod
    def of(cls, quote: Quote) -> QuoteView:
        """Return a quote as it is told."""
        state: Any = quote.state.name.lower()  # the same words
        return cls(quote_id=quote.id, name=quote.name, number=quote.number, state=state, status=quote.status)


class OpportunityView(ResponseModel):
    """An opportunity with its quotes, as they stand."""

    opportunity_id: UUID = described("Opportunity", "The id of the opportunity.")
    name: str = described("Name", "The topic of the opportunity.")
    state: Literal["open", "won", "lost"] = described("State", "The state of the opportunity.", shown=IMPORTANT)
    status: int = described("Status Reason", "The number of the status reason.")
    status_label: str = described("Status Reason Label", "The label of the status reason.", "")
    estimated_value: float | None = described("Estimated Revenue", "The estimated revenue.", None)
    actual_value: float | None = described("Actual Revenue", "The actual revenue.", None)
    currency: str | None = CURRENCY
    closed_on: date | None = described("Close Date", "The actual close date.", None)
    open_quotes: int = described("Open Quotes", "How many quotes are draft or active.")
    quotes: list[QuoteView] = described("Quotes", "All quotes of the opportunity.")


class StatusReasonView(ResponseModel):
    """One status reason."""

    value: str = described("Value", "The number of the status reason.")
    label: str = described("Label", "The label of the status reason.")
    default: bool = described("Default", "True for the default of the state.")


class StatusReasons(ResponseModel):
    """The status reasons that fit an outcome."""

    value: list[StatusReasonView] = described("Status Reasons", "The status reasons, the default first.")


class CloseColumns(ResponseModel):
    """The custom columns of a close activity, as a JSON schema for the designer."""

    schema_: dict[str, Any] = Field(alias="schema", title="Schema", description="The columns as a JSON schema.")


class OperationStatus(StrEnum):
    """Where an operation is."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"


class OperationView(ResponseModel):
    """An accepted operation and its status."""

    operation_id: str = described("Operation", "The id of the operation.")
    kind: Literal["close", "reopen"] = described("Kind", "What is asked for.")
    opportunity_id: UUID = described("Opportunity", "The id of the opportunity.")
    status: OperationStatus = described("Status", "The status of the operation.", shown=IMPORTANT)
    message: str = described("Message", "What is being waited for, or what came of it.", "")
    accepted_at: datetime = described("Accepted At", "When the request was accepted.")
    finished_at: datetime | None = described("Finished At", "When the operation ended.", None)
    waiting_until: datetime | None = described(
        "Waiting Until", "When the organization may be asked again, where it said so.", None
    )
    run_id: str | None = described("Flow Run", "The run of the flow that asked.", None)


class OperationList(ResponseModel):
    """Operations, the latest first."""

    value: list[OperationView] = described("Operations", "The operations, the latest first.")


class AcceptedView(OperationView):
    """The answer while an operation runs: ask again at `location` after `retry_after` seconds."""

    location: str = described("Location", "The address of the result; it needs no sign-in.")
    retry_after: int = described("Retry After", "Seconds to wait before asking there.")


class SubscriptionView(ResponseModel):
    """A subscription that was made."""

    subscription_id: str = described("Subscription", "The id of the subscription, for support.")
    expires_at: datetime = described("Expires At", "When the subscription ends unless the flow renews it.")
    outcome: Literal["any", "won", "lost"] = described("Outcome", "The outcomes that are notified.")


class ClosedEvent(ResponseModel):
    """The notification that an opportunity was closed."""

    event_id: str = described("Event", "The id of the event: the same event sent twice has the same id.")
    occurred_at: datetime = described("Occurred At", "When the opportunity was closed.")
    opportunity_id: UUID = described("Opportunity", "The id of the opportunity.", shown=IMPORTANT)
    outcome: Outcome = described("Outcome", "How the opportunity ended.", shown=IMPORTANT)
    status: int = described("Status Reason", "The number of the status reason.")
    name: str = described("Name", "The topic of the opportunity.")
    actual_revenue: float | None = described("Actual Revenue", "The actual revenue.", None)
    currency: str | None = CURRENCY
    closed_on: date | None = described("Close Date", "The actual close date.", None)
    quotes: list[QuoteView] = described("Quotes", "All quotes of the opportunity, as they stand.")
    source: Literal["connector", "dataverse_webhook", "change_tracking"] = described(
        "Source", "How this connector learned of the close.", shown=ADVANCED
    )
    operation_id: str | None = described(
        "Operation", "The operation of this connector that closed it, if it was one.", None
    )


class ConnectionView(ResponseModel):
    """A connection that works."""

    organization: str = described("Organization", "The address of the organization.")
    access: Literal["user", "application"] = described(
        "Access", "Whether the organization is used as the signed-in user or as the application."
    )
    version: str = described("Version", "The version of the endpoint.")


class ErrorDetail(ResponseModel):
    """One thing that is wrong, and with which field or record."""

    code: str = described("Code", "A stable code.")
    message: str = described("Message", "What is wrong and what to do, as a sentence.")
    target: str | None = described("Target", "The field or the record that is concerned.", None)
