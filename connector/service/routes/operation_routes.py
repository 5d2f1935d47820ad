"""What each operation of the endpoint does with a request."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from connector.clock import Clock
from connector.ledger.operation_filter import OperationFilter
from connector.ledger.operation_store import StoredOperation
from connector.service.auth.caller import Caller
from connector.service.operations.operation_results import final_answer, is_finished, view
from connector.service.operations.operation_service import OperationRequest, OperationService
from connector.service.operations.operation_specs import (
    OPERATIONS,
    IdempotencyHeader,
    OperationId,
    OpportunityKey,
    OpportunityPath,
    ReopenFields,
    StatusQuery,
    TopQuery,
    register,
)
from connector.service.operations.status_links import StatusLinks
from connector.service.operations.waiting import Waiter, ended
from connector.service.problems import RETRY_AFTER
from connector.service.schemas.request_models import CloseBody, ReopenBody
from connector.service.schemas.response_models import AcceptedView, CloseResult, OperationList

SOON, LATER = 2, RETRY_AFTER
"""Seconds until a poll: at first, and at the most while nobody says until when an operation waits."""
_KEPT = " This answer is kept: to have it tried again, run the flow again or give another idempotency key."
_WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,300})')
_AGES = 5
"""The longer an operation has taken so far, the longer until the next poll: one part of so many."""


Identified = Callable[[Request, str, str | None], Awaitable[UUID]]
"""Returns the id of the opportunity that a path and the column of a key name; raises RequestRefused."""


@dataclass(frozen=True, slots=True)
class OperationRoutes:
    """The operations that change something, and those about them. `deadline` is as in `ServiceOptions`."""

    service: OperationService
    deadline: float
    links: StatusLinks
    waiting: Waiter
    clock: Clock
    wake: Callable[[], None]
    identified: Identified

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        for name, endpoint in (
            ("CloseOpportunity", self.close),
            ("ReopenOpportunity", self.reopen),
            ("GetOperation", self.get),
            ("ListOperations", self.list),
            ("CancelOperation", self.cancel),
        ):
            register(router, OPERATIONS[name], endpoint)
        return router

    async def close(
        self,
        request: Request,
        opportunity: OpportunityPath,
        body: CloseBody,
        key: IdempotencyHeader = None,
        column: OpportunityKey = None,
    ) -> Response:
        """Close an opportunity."""
        id_ = await self.identified(request, opportunity, column)
        return await self._accept(request, "CloseOpportunity", id_, body, key)

    async def reopen(
        self,
        request: Request,
        opportunity: OpportunityPath,
        body: ReopenFields,
        key: IdempotencyHeader = None,
        column: OpportunityKey = None,
    ) -> Response:
        """Reopen an opportunity."""
        id_ = await self.identified(request, opportunity, column)
        return await self._accept(request, "ReopenOpportunity", id_, body, key)

    async def get(self, request: Request, operation: OperationId) -> Response:
        """Answer a poll: by an address that proves itself, or by a caller who asked for it."""
        operation_id, proven = self.links.operation_of(operation, self.clock.now().timestamp())
        asked_by = None if proven else caller_of(request)
        stored = await self.waiting.apart(lambda: self.service.find(operation_id, asked_by))
        return await self._answer(request, stored)

    async def list(self, request: Request, status: StatusQuery = None, top: TopQuery = 50) -> Response:
        """List the caller's operations, the latest first."""
        caller = caller_of(request)
        chosen = self.service.visible(caller, OperationFilter(status=status.value if status else ""))
        views = await self.waiting.apart(
            lambda: [
                view(operation, self.service.waiting_until(operation))
                for operation in self.service.operations.newest(top, chosen)
            ]
        )
        return json_response(OperationList(value=views))

    async def cancel(self, request: Request, operation: OperationId) -> Response:
        """Cancel an operation that nobody works on."""
        caller = caller_of(request)
        operation_id, _ = self.links.operation_of(operation, self.clock.now().timestamp())
        canceled = view(await self.waiting.apart(lambda: self.service.cancel(operation_id, caller)))
        self.waiting.tell(operation_id)
        return json_response(canceled)

    async def _accept(
        self, request: Request, name: str, opportunity: UUID, body: CloseBody | ReopenBody, key: str | None
    ) -> Response:
        """Accept a request durably, wait for its end until the deadline, and answer with that or with where to ask."""
        state, headers, caller = request.state, request.headers, caller_of(request)
        until, door = state.began + patience(request, self.deadline), getattr(state, "door", "endpoint")
        ask = OperationRequest(name, opportunity, body, key, headers, caller, state.correlation_id, state.trace, door)
        operation, new, waiting_until = await self.waiting.apart(lambda: self._accept_now(ask))
        if new:
            self.wake()
        replayed = not new and is_finished(operation)
        if body.mode == "wait" and not is_finished(operation):
            operation_id = operation.job.name
            operation = await ended(
                self.waiting, operation, lambda: self.service.find(operation_id, None), until, self.clock
            )
            answer = await self._answer(request, operation)
        else:
            answer = self._answer_now(request, operation, waiting_until, _KEPT if replayed else "")
        if replayed:
            answer.headers["Idempotency-Replayed"] = "true"
        return answer

    def _accept_now(self, ask: OperationRequest) -> tuple[StoredOperation, bool, datetime | None]:
        """Do all that accepting asks of the store at once: each change of threads costs as much as a look there."""
        operation, new = self.service.accept(ask)
        return operation, new, self.service.waiting_until(operation)

    async def _answer(self, request: Request, operation: StoredOperation) -> Response:
        waiting_until = None
        if not is_finished(operation):
            waiting_until = await self.waiting.apart(lambda: self.service.waiting_until(operation))
        return self._answer_now(request, operation, waiting_until)

    def _answer_now(
        self, request: Request, operation: StoredOperation, waiting_until: datetime | None, kept: str = ""
    ) -> Response:
        if not is_finished(operation):
            return self._accepted(request, operation, waiting_until)
        answer = final_answer(operation)
        if isinstance(answer, CloseResult):
            return json_response(answer, headers={"Operation-Id": operation.job.name})
        failure = replace(answer, message=f"{answer.message}{kept}")
        body = failure.body(request.url.path if caller_or_none(request) else "", request.state.correlation_id)
        return JSONResponse(body, failure.status, {**failure.headers, "Operation-Id": operation.job.name})

    def _accepted(self, request: Request, operation: StoredOperation, waiting_until: datetime | None) -> Response:
        """Return 202 with where and when to ask; the organization's own Retry-After is what is passed on."""
        signed = self.links.sign(operation.job.name, operation.expires.timestamp())
        location = self.links.location(signed, request.headers, lambda: str(request.base_url))
        now = self.clock.now()
        seconds = round(min(LATER, max(SOON, (now - operation.job.created).total_seconds() / _AGES)))
        if waiting_until is not None:
            seconds = max(SOON, round((waiting_until - now).total_seconds() + 0.499))
        shown = view(operation, waiting_until)  # checked already
        accepted = AcceptedView.model_construct(None, **dict(shown), location=location, retry_after=seconds)
        headers = {"Location": location, "Retry-After": str(seconds), "Operation-Id": operation.job.name}
        return json_response(accepted, 202, headers)


def json_response(model: BaseModel, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """Return a model as the answer."""
    body = model.model_dump_json(by_alias=True, exclude_none=True)
    return Response(body, status, dict(headers or {}), media_type="application/json")


def caller_of(request: Request) -> Caller:
    """Return who calls; the middleware lets nobody else through to routes that ask for it."""
    caller = caller_or_none(request)
    assert caller is not None
    return caller


def caller_or_none(request: Request) -> Caller | None:
    """Return who calls, if the route is open to all and nobody signed in."""
    caller: Caller | None = request.state.caller
    return caller


def patience(request: Request, deadline: float) -> float:
    """Return for how many seconds a request may wait: `deadline`, or less where it prefers that (RFC 7240)."""
    preferred = ",".join(request.headers.getlist("prefer")).lower()
    if seconds := _WAIT.search(preferred):
        return min(deadline, float(seconds[1]))
    return 0.0 if "respond-async" in preferred else deadline
