"""The body of a failure as makers are promised it, read strictly."""

from __future__ import annotations

from pydantic import Field

from connector.service.schemas.field_values import described
from connector.service.schemas.response_models import ErrorDetail, ResponseModel


class ErrorFacts(ResponseModel):
    """What a maker reads: a stable code, a sentence to act on, and the parts."""

    code: str = described("Code", "A stable code.")
    message: str = described("Message", "What is wrong and what to do, as a sentence.")
    details: list[ErrorDetail] = Field(
        default_factory=list, title="Details", description="The parts, where there are some."
    )


class ErrorResponse(ResponseModel):
    """The body of every answer with 4xx and 5xx: the platform's `error` and the members of RFC 9457 beside it."""

    error: ErrorFacts = described("Error", "What a flow reads.")
    type: str = described("Type", "The kind of problem, as an address.", "about:blank")
    title: str = described("Title", "The kind of problem, in short.")
    status: int = described("Status", "The HTTP status.")
    detail: str = described("Detail", "What is wrong and what to do, as a sentence.")
    instance: str = described("Instance", "The path that was asked for.", "")
    operation_id: str | None = described("Operation", "The id of the operation, if there is one.", None)
    correlation_id: str = described("Correlation", "Names the request in the logs.", "")
    retryable: bool = described("Retryable", "True when the same request may succeed later.")
