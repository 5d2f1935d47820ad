"""What the endpoint answers: results, plans, views, events and errors, with the label and sentence of each field."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from connector.closing.model import Outcome
from connector.service.schemas.request_models import ADVANCED, IMPORTANT


class ResponseModel(BaseModel):
    """An answer."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class StepView(ResponseModel):
    """One write to the organization and what came of it."""

    kind: str = Field(title="Kind", description="What the step does, as in close_quote.")
    table: str = Field(title="Table", description="The logical name of the table.")
    record: UUID = Field(title="Record", description="The id of the row that the step changes.")
    label: str = Field("", title="Label", description="What the step is about, for people.")
    result: str = Field(title="Result", description="One of planned, done, failed, unknown and not_run.")
    activity_id: UUID | None = Field(
        None, title="Close Activity", description="The id of the close activity that the step creates."
    )
    request_id: str | None = Field(
        None, title="Request ID", description="The organization's id of the request, which support will ask for."
    )
    message: str | None = Field(None, title="Message", description="Why the step failed and what to do, as a sentence.")


class QuoteResult(ResponseModel):
    """One quote and what came of it."""

    quote_id: UUID = Field(title="Quote", description="The id of the quote.")
    result: str = Field(
        title="Quote Result",
        description="One of closed, won, deleted, reopened, planned, failed, unknown and not_run.",
    )
    status: int | None = Field(None, title="Quote Status Reason", description="The status reason that the quote gets.")
    activity_id: UUID | None = Field(
        None, title="Quote Close Activity", description="The id of the quote's close activity."
    )
    message: str | None = Field(None, title="Quote Message", description="Why the quote failed, as a sentence.")


class CloseResult(ResponseModel):
    """What came of closing or reopening an opportunity."""

    opportunity_id: UUID = Field(title="Opportunity", description="The id of the opportunity.")
    result: Literal["closed", "already_closed", "reopened", "already_open", "partial"] = Field(
        title="Result",
        description="What came of it. Partial says that some quotes were changed and the opportunity was not.",
        json_schema_extra=IMPORTANT,
    )
    changed: bool = Field(
        title="Changed", description="True when this operation changed something.", json_schema_extra=IMPORTANT
    )
    message: str = Field(title="Message", description="What happened, as a sentence.", json_schema_extra=IMPORTANT)
    quotes: list[QuoteResult] = Field(title="Quotes", description="Each quote that was concerned.")
    warnings: list[str] = Field(title="Warnings", description="What was done, but not quite as asked.")
    steps: list[StepView] = Field(
        title="Steps", description="Every write and what came of it.", json_schema_extra=ADVANCED
    )
    digest: str = Field("", title="Digest", description="The digest of the plan.", json_schema_extra=ADVANCED)
    operation_id: str = Field(title="Operation", description="The id of the operation, for its status and for support.")


class PlanResult(ResponseModel):
    """What closing an opportunity would do now; nothing was changed."""

    opportunity_id: UUID = Field(title="Opportunity", description="The id of the opportunity.")
    result: Literal["planned", "already_closed", "refused"] = Field(
        title="Result",
        description="Whether there is something to do, nothing, or a refusal.",
        json_schema_extra=IMPORTANT,
    )
    digest: str = Field(
        "", title="Digest", description="Names the plan: closing with it does exactly this or is refused."
    )
    message: str = Field(title="Message", description="The plan or the refusal, as a sentence.")
    reason_code: str | None = Field(None, title="Reason Code", description="A stable code of the refusal.")
    quotes: list[QuoteResult] = Field(title="Quotes", description="Each quote that would be changed.")
    steps: list[StepView] = Field(title="Steps", description="The writes, in order.", json_schema_extra=ADVANCED)


class QuoteView(ResponseModel):
    """A quote as it stands."""

    quote_id: UUID = Field(title="Quote", description="The id of the quote.")
    name: str = Field(title="Quote Name", description="The name of the quote.")
    number: str = Field(title="Quote Number", description="The number of the quote.")
    state: Literal["draft", "active", "won", "closed"] = Field(
        title="Quote State", description="The state of the quote."
    )
    status: int = Field(title="Quote Status Reason", description="The status reason of the quote.")


class OpportunityView(ResponseModel):
    """An opportunity with its quotes, as they stand."""

    opportunity_id: UUID = Field(title="Opportunity", description="The id of the opportunity.")
    name: str = Field(title="Name", description="The topic of the opportunity.")
    state: Literal["open", "won", "lost"] = Field(
        title="State", description="The state of the opportunity.", json_schema_extra=IMPORTANT
    )
    status: int = Field(title="Status Reason", description="The number of the status reason.")
    status_label: str = Field("", title="Status Reason Label", description="The label of the status reason.")
    estimated_value: float | None = Field(None, title="Estimated Revenue", description="The estimated revenue.")
    actual_value: float | None = Field(None, title="Actual Revenue", description="The actual revenue.")
    closed_on: date | None = Field(None, title="Close Date", description="The actual close date.")
    open_quotes: int = Field(title="Open Quotes", description="How many quotes are draft or active.")
    quotes: list[QuoteView] = Field(title="Quotes", description="All quotes of the opportunity.")


class StatusReasonView(ResponseModel):
    """One status reason."""

    value: int = Field(title="Value", description="The number of the status reason.")
    label: str = Field(title="Label", description="The label of the status reason.")
    default: bool = Field(title="Default", description="True for the default of the state.")


class StatusReasons(ResponseModel):
    """The status reasons that fit an outcome."""

    value: list[StatusReasonView] = Field(title="Status Reasons", description="The status reasons, the default first.")


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
    """An operation that was accepted, and where it is."""

    operation_id: str = Field(title="Operation", description="The id of the operation.")
    kind: Literal["close", "reopen"] = Field(title="Kind", description="What is asked for.")
    opportunity_id: UUID = Field(title="Opportunity", description="The id of the opportunity.")
    status: OperationStatus = Field(title="Status", description="Where the operation is.", json_schema_extra=IMPORTANT)
    message: str = Field("", title="Message", description="What is being waited for, or what came of it.")
    accepted_at: datetime = Field(title="Accepted At", description="When the request was accepted.")
    finished_at: datetime | None = Field(None, title="Finished At", description="When the operation ended.")
    waiting_until: datetime | None = Field(
        None, title="Waiting Until", description="When the organization may be asked again, where it said so."
    )
    run_id: str | None = Field(None, title="Flow Run", description="The run of the flow that asked.")


class OperationList(ResponseModel):
    """Operations, the latest first."""

    value: list[OperationView] = Field(title="Operations", description="The operations, the latest first.")


class AcceptedView(OperationView):
    """The answer while an operation runs: ask again at `location` after `retry_after` seconds."""

    location: str = Field(title="Location", description="Where to ask again, without signing in.")
    retry_after: int = Field(title="Retry After", description="Seconds to wait before that.")


class SubscriptionView(ResponseModel):
    """A subscription that was made."""

    subscription_id: str = Field(title="Subscription", description="The id of the subscription, for support.")
    expires_at: datetime = Field(
        title="Expires At", description="When the subscription ends unless the flow renews it."
    )
    outcome: Literal["any", "won", "lost"] = Field(title="Outcome", description="Which outcomes are told of.")


class ClosedEvent(ResponseModel):
    """What a flow is told: an opportunity was closed."""

    event_id: str = Field(title="Event", description="The id of the event: the same event sent twice has the same id.")
    occurred_at: datetime = Field(title="Occurred At", description="When the opportunity was closed.")
    opportunity_id: UUID = Field(
        title="Opportunity", description="The id of the opportunity.", json_schema_extra=IMPORTANT
    )
    outcome: Outcome = Field(title="Outcome", description="How the opportunity ended.", json_schema_extra=IMPORTANT)
    status: int = Field(title="Status Reason", description="The number of the status reason.")
    name: str = Field(title="Name", description="The topic of the opportunity.")
    actual_revenue: float | None = Field(None, title="Actual Revenue", description="The actual revenue.")
    closed_on: date | None = Field(None, title="Close Date", description="The actual close date.")
    quotes: list[QuoteView] = Field(title="Quotes", description="All quotes of the opportunity, as they stand.")
    source: Literal["connector", "dataverse_webhook", "change_tracking"] = Field(
        title="Source", description="How the close was noticed.", json_schema_extra=ADVANCED
    )
    operation_id: str | None = Field(
        None, title="Operation", description="The operation of this connector that closed it, if it was one."
    )


class ConnectionView(ResponseModel):
    """A connection that works."""

    organization: str = Field(title="Organization", description="The address of the organization.")
    access: Literal["user", "application"] = Field(
        title="Access", description="Whether the organization is used as the signed-in user or as the application."
    )
    version: str = Field(title="Version", description="The version of the endpoint.")


class ErrorDetail(ResponseModel):
    """One thing that is wrong, and with which field or record."""

    code: str = Field(title="Code", description="A stable code.")
    message: str = Field(title="Message", description="What is wrong and what to do, as a sentence.")
    target: str | None = Field(None, title="Target", description="The field or the record that is concerned.")


class ErrorFacts(ResponseModel):
    """What a maker reads: a stable code, a sentence to act on, and the parts."""

    code: str = Field(title="Code", description="A stable code.")
    message: str = Field(title="Message", description="What is wrong and what to do, as a sentence.")
    details: list[ErrorDetail] = Field(
        default_factory=list, title="Details", description="The parts, where there are some."
    )


class ErrorResponse(ResponseModel):
    """The body of every answer with 4xx and 5xx: the platform's `error` and the members of RFC 9457 beside it."""

    error: ErrorFacts = Field(title="Error", description="What a flow reads.")
    type: str = Field("about:blank", title="Type", description="The kind of problem, as an address.")
    title: str = Field(title="Title", description="The kind of problem, in short.")
    status: int = Field(title="Status", description="The HTTP status.")
    detail: str = Field(title="Detail", description="What is wrong and what to do, as a sentence.")
    instance: str = Field("", title="Instance", description="The path that was asked for.")
    operation_id: str | None = Field(None, title="Operation", description="The id of the operation, if there is one.")
    correlation_id: str = Field("", title="Correlation", description="Names the request in the logs.")
    retryable: bool = Field(title="Retryable", description="True when the same request may succeed later.")
