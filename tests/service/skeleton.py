"""An app with the shape of the endpoint: every operation of the table, and nothing behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from connector.service.connector_definition.definition import Deployment, router
from connector.service.operations.operation_specs import (
    OPERATIONS,
    ColumnsTable,
    IdempotencyHeader,
    OperationId,
    OpportunityKey,
    OpportunityPath,
    OutcomeQuery,
    ReasonsTable,
    ReopenFields,
    StatusQuery,
    SubscriptionKey,
    TopQuery,
    register,
)
from connector.service.schemas.request_models import CloseBody, PlanBody, SubscribeBody

DEPLOYMENT = Deployment(host="close.contoso.com", audience="api://close.contoso.com")


def close(
    opportunity: OpportunityPath, body: CloseBody, key: IdempotencyHeader = None, column: OpportunityKey = None
) -> None: ...
def plan(opportunity: OpportunityPath, body: PlanBody, column: OpportunityKey = None) -> None: ...
def reopen(
    opportunity: OpportunityPath, body: ReopenFields, key: IdempotencyHeader = None, column: OpportunityKey = None
) -> None: ...
def opportunity(opportunity: OpportunityPath, column: OpportunityKey = None) -> None: ...
def reasons(outcome: OutcomeQuery = None, table: ReasonsTable = "opportunity") -> None: ...
def columns(table: ColumnsTable = "opportunityclose") -> None: ...
def result(operation: OperationId) -> None: ...
def operations(status: StatusQuery = None, top: TopQuery = 50) -> None: ...
def cancel(operation: OperationId) -> None: ...
def subscribe(body: SubscribeBody) -> None: ...
def unsubscribe(key: SubscriptionKey) -> None: ...
def connection() -> None: ...


ENDPOINTS: dict[str, Callable[..., Any]] = {
    "CloseOpportunity": close,
    "PlanClose": plan,
    "ReopenOpportunity": reopen,
    "GetOpportunity": opportunity,
    "ListStatusReasons": reasons,
    "GetCloseColumns": columns,
    "GetOperation": result,
    "ListOperations": operations,
    "CancelOperation": cancel,
    "SubscribeOpportunityClosed": subscribe,
    "UnsubscribeOpportunityClosed": unsubscribe,
    "TestConnection": connection,
}


def skeleton() -> FastAPI:
    app = FastAPI()
    for name, endpoint in ENDPOINTS.items():
        register(app, OPERATIONS[name], endpoint)
    app.include_router(router(DEPLOYMENT))
    return app
