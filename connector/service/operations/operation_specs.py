"""The operations of the endpoint as one table: ids, paths, summaries, answers and what each may fail with.

The app registers a handler for each with `register(app, OPERATIONS["CloseOpportunity"], endpoint)`; the handler takes
its path, query and header parameters by the annotated types here (`OpportunityPath`, `IdempotencyHeader`, ...) and its
body by the model that `body` names. The connector definition, its golden file and the tests read the same table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from fastapi import APIRouter, Body, FastAPI, Header, Path, Query
from pydantic import BaseModel, BeforeValidator, Field
from pydantic.config import JsonDict
from starlette.convertors import PathConvertor, register_url_convertor

from connector.closing.model import Outcome
from connector.service.schemas.field_values import ADVANCED, IMPORTANT, is_empty, lowered, trimmed
from connector.service.schemas.request_models import LONGEST_KEY, CloseBody, PlanBody, ReopenBody, SubscribeBody
from connector.service.schemas.response_models import (
    CloseColumns,
    CloseResult,
    ConnectionView,
    OperationList,
    OperationStatus,
    OperationView,
    OpportunityView,
    PlanResult,
    StatusReasons,
    SubscriptionView,
)

_ENCODED: JsonDict = {"x-ms-url-encoding": "single"}
_ENCODED_TWICE: JsonDict = {"x-ms-url-encoding": "double"}

# A key may have a slash: it travels encoded twice, since a server decodes the path once before it looks for the route.
OpportunityPath = Annotated[str, BeforeValidator(lambda text: trimmed(unquote(text))), Path(alias="id",
    title="Opportunity", description="The id of the opportunity, as a trigger or row of Dataverse gives it, its "
    "address, or its key.",
    json_schema_extra=_ENCODED_TWICE | IMPORTANT)]  # fmt: skip
OpportunityKey = Annotated[Annotated[str, Field(max_length=128)] | None,
    BeforeValidator(lambda value: None if is_empty(value) else value),
    Query(alias="opportunityKey", title="Opportunity Key", description="The column that Opportunity is a value "
    "of, such as an alternate key. Leave it empty when Opportunity is an id.",
    json_schema_extra=ADVANCED)]  # fmt: skip
OperationId = Annotated[str, Path(alias="id", title="Operation", min_length=1, max_length=512,
    description="The id of the operation, as its answer gave it.", json_schema_extra=_ENCODED)]  # fmt: skip
SubscriptionKey = Annotated[str, Path(alias="id", title="Subscription", min_length=1, max_length=512,
    description="The part of the subscription's address that only its owner knows.",
    json_schema_extra=_ENCODED)]  # fmt: skip
IdempotencyHeader = Annotated[str | None, Header(alias="Idempotency-Key", title="Idempotency Key Header",
    description="The idempotency key as a header, instead of in the body.", max_length=LONGEST_KEY + 2,
    json_schema_extra=ADVANCED)]  # fmt: skip
ReopenFields = Annotated[ReopenBody, Body(default_factory=ReopenBody)]  # a flow that fills in none sends no body
OutcomeQuery = Annotated[Outcome | None, BeforeValidator(lowered), Query(alias="outcome", title="Outcome",
    description="Lists only the status reasons that fit this outcome.")]  # fmt: skip
ReasonsTable = Annotated[Literal["opportunity", "quote"],
    BeforeValidator(lambda value: lowered(value) or "opportunity"),
    Query(alias="table", title="Table", description="The table whose status reasons are wanted.")]  # fmt: skip
ColumnsTable = Annotated[Literal["opportunityclose", "quoteclose"],
    BeforeValidator(lambda value: lowered(value) or "opportunityclose"),
    Query(alias="table", title="Table", description="The table whose custom columns are wanted.")]  # fmt: skip
StatusQuery = Annotated[OperationStatus | None, BeforeValidator(lowered), Query(alias="status", title="Status",
    description="Lists only the operations with this status.")]  # fmt: skip
TopQuery = Annotated[Annotated[int, Field(ge=1, le=200)],
    BeforeValidator(lambda value: 50 if is_empty(value) else value),
    Query(alias="top", title="Top", description="How many operations to list at most.")]  # fmt: skip

FAILURES: Mapping[int, str] = {
    HTTPStatus.BAD_REQUEST: "The request is malformed, or names a status reason or column that the organization "
    "does not have.",
    HTTPStatus.UNAUTHORIZED: "The token is missing, expired or not for this endpoint. Sign in to the connection again.",
    HTTPStatus.FORBIDDEN: "The tenant, application or user is not allowed to do this.",
    HTTPStatus.NOT_FOUND: "There is no such record, or the signed-in user may not see it.",
    HTTPStatus.CONFLICT: "The state of the record forbids it: it is closed with the other outcome, or a quote cannot "
    "be closed. Or several records have the key that was given.",
    HTTPStatus.PRECONDITION_FAILED: "The plan is no longer the one that was approved. Make a new plan.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The request is larger than the endpoint accepts.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The idempotency key was used before for another request.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many requests. Send it again after the seconds in Retry-After.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The endpoint failed in a way it did not foresee. The request may be sent again.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The organization or the endpoint is unavailable. Send it again after the seconds "
    "in Retry-After.",
}
"""What each status means, whatever the operation; the body is what `Problem.body` makes."""

_ALWAYS = (401, 403, 429, 500, 503)
_WAIT_HEADERS: JsonDict = {
    "Location": {
        "description": "The address of the result.",
        "schema": {"type": "string", "title": "Location", "x-ms-visibility": "internal"},
    },
    "Retry-After": {
        "description": "Seconds to wait before asking there.",
        "schema": {"type": "integer", "title": "Retry After", "x-ms-visibility": "internal"},
    },
}
_SUBSCRIBED_HEADERS: JsonDict = {
    "Location": {
        "description": "The address at which the subscription is ended.",
        "schema": {"type": "string", "title": "Location", "x-ms-visibility": "internal"},
    }
}


@dataclass(frozen=True, slots=True)
class OperationSpec:
    """One operation: how it is asked for, what it answers, and what it may fail with.

    `status` is the success status and `answer` its model; `waits` adds 202 with `Location` and `Retry-After`.
    `failures` are the 4xx beside those that every operation may answer. `extra` holds the connector's `x-ms-*` keys.
    """

    id: str
    method: str
    path: str
    summary: str
    description: str
    answer: type[BaseModel] | None
    body: type[BaseModel] | None = None
    status: int = HTTPStatus.OK
    waits: bool = False
    failures: tuple[int, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def openapi_extra(self) -> dict[str, Any]:
        """Return the keys of the connector, with the annotation that versions the operation."""
        annotation = {"status": "Production", "family": self.id, "revision": 1}
        return {"x-ms-api-annotation": annotation, **self.extra}

    @property
    def responses(self) -> dict[int | str, dict[str, Any]]:
        """Return every answer but the successful one, and the headers of that."""
        answers: dict[int | str, dict[str, Any]] = {}
        if self.status == HTTPStatus.CREATED:
            answers[HTTPStatus.CREATED] = {"headers": _SUBSCRIBED_HEADERS}
        if self.waits:
            answers[HTTPStatus.ACCEPTED] = {
                "description": "It is still running: get the result at Location.",
                "headers": _WAIT_HEADERS,
            }
        for status in sorted({*self.failures, *_ALWAYS}):
            answers[status] = {"description": FAILURES[status]}
        return answers


_INTERNAL = {"x-ms-visibility": "internal"}
_READ = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
_WRITE = (*_READ, HTTPStatus.PRECONDITION_FAILED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)

_TABLE = (
    OperationSpec("CloseOpportunity", "POST", "/opportunities/{id}/close", "Close an opportunity with its quotes",
        "This operation closes the draft and active quotes of an opportunity and then the opportunity, as won or "
        "lost. Sent again, it does nothing twice and returns the same answer.",
        CloseResult, CloseBody, waits=True, failures=_WRITE,
        extra={"x-ms-visibility": "important", "x-ms-no-generic-test": True, "x-ms-require-user-confirmation": True}),
    OperationSpec("PlanClose", "POST", "/opportunities/{id}/plan", "Plan the close of an opportunity",
        "This operation shows what closing the opportunity would do now, and changes nothing.",
        PlanResult, PlanBody, failures=(*_READ, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        extra={"x-ms-visibility": "important", "x-ms-safe-operation": True}),
    OperationSpec("ReopenOpportunity", "POST", "/opportunities/{id}/reopen", "Reopen an opportunity",
        "This operation opens a closed opportunity again and puts the quotes closed through this connector back to "
        "draft.",
        CloseResult, ReopenBody, waits=True, failures=_WRITE,
        extra={"x-ms-visibility": "advanced", "x-ms-no-generic-test": True, "x-ms-require-user-confirmation": True}),
    OperationSpec("GetOpportunity", "GET", "/opportunities/{id}", "Get an opportunity with its quotes",
        "This operation reads an opportunity and all its quotes as they stand.",
        OpportunityView, failures=_READ),
    OperationSpec("ListStatusReasons", "GET", "/status-reasons", "List status reasons",
        "This operation lists the status reasons of the organization that fit an outcome.",
        StatusReasons, failures=(HTTPStatus.BAD_REQUEST,), extra=_INTERNAL),
    OperationSpec("GetCloseColumns", "GET", "/close-columns", "Get the custom close columns",
        "This operation lists the custom columns of the close activity.",
        CloseColumns, failures=(HTTPStatus.BAD_REQUEST,), extra=_INTERNAL),
    OperationSpec("GetOperation", "GET", "/operations/{id}", "Get the result of an operation",
        "This operation waits until an accepted operation has ended, and returns its result.",
        CloseResult, waits=True, failures=(*_READ, HTTPStatus.PRECONDITION_FAILED),
        extra={"x-ms-visibility": "advanced"}),
    OperationSpec("ListOperations", "GET", "/operations", "List operations",
        "This operation lists the operations of the signed-in user, the latest first.",
        OperationList, failures=(HTTPStatus.BAD_REQUEST,), extra={"x-ms-visibility": "advanced"}),
    OperationSpec("CancelOperation", "POST", "/operations/{id}/cancel", "Cancel an operation",
        "This operation cancels an operation that waits for its turn, or to be tried again.",
        OperationView, failures=_READ,
        extra={"x-ms-visibility": "advanced", "x-ms-no-generic-test": True}),
    OperationSpec("SubscribeOpportunityClosed", "POST", "/subscriptions", "When an opportunity is closed",
        "This operation triggers when an opportunity is closed as won or lost, by this connector or by anybody else.",
        SubscriptionView, SubscribeBody, status=HTTPStatus.CREATED,
        failures=(HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        extra={"x-ms-trigger": "single", "x-ms-visibility": "important",
               "x-ms-trigger-hint": "To see it work now, close an opportunity as won or lost."}),
    OperationSpec("UnsubscribeOpportunityClosed", "DELETE", "/subscriptions/{id}",
        "Stop telling of closed opportunities",
        "This operation ends a subscription.",
        None, status=HTTPStatus.NO_CONTENT, failures=(HTTPStatus.NOT_FOUND,), extra=_INTERNAL),
    OperationSpec("TestConnection", "GET", "/connection", "Test the connection",
        "This operation checks that the endpoint accepts the sign-in and reaches the organization.",
        ConnectionView, extra=_INTERNAL),
)  # fmt: skip

OPERATIONS: Mapping[str, OperationSpec] = {operation.id: operation for operation in _TABLE}
"""Every operation of the connector, by id."""


class RecordPath(PathConvertor):
    """What names a record in a path: an id, or an address, which has slashes; not the verb behind it."""

    regex = ".+?(?<!/close)(?<!/plan)(?<!/reopen)"


register_url_convertor("record", RecordPath())


def register(app: FastAPI | APIRouter, operation: OperationSpec, endpoint: Callable[..., Any]) -> None:
    """Let `endpoint` answer `operation` in `app`, described as the table has it."""
    app.add_api_route(
        operation.path.replace("/opportunities/{id}", "/opportunities/{id:record}"),  # a record's address has slashes
        endpoint,
        methods=[operation.method],
        operation_id=operation.id,
        summary=operation.summary,
        description=operation.description,
        status_code=operation.status,
        response_model=operation.answer,
        response_model_exclude_none=True,
        response_description="It is done." if operation.status != HTTPStatus.CREATED else "The subscription stands.",
        responses=operation.responses,
        openapi_extra=operation.openapi_extra,
    )
