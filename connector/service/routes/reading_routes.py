"""The operations that only read: plan, opportunity, status reasons, custom columns, connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar
from uuid import UUID

from fastapi import APIRouter, Request, Response

from connector.clock import Clock
from connector.closing.close import preview
from connector.closing.goal import missing
from connector.closing.model import OrganizationMetadata, Outcome, QuoteState, Refusal, Snapshot, StatusReason
from connector.closing.organization import MetadataRequest
from connector.closing.plan import CLOSED_STATE
from connector.closing.reasons import REVISED, closed_quote_default
from connector.closing.record_keys import one_of, organization_host
from connector.closing.report import preview_data
from connector.closing.request import parse_request
from connector.errors import InputError
from connector.service.auth.caller import Caller, acts_as_user
from connector.service.dependencies import OrganizationAccess
from connector.service.operations.operation_results import quote_results, step_results
from connector.service.operations.operation_service import wish_values
from connector.service.operations.operation_specs import (
    OPERATIONS,
    ColumnsTable,
    OpportunityKey,
    OpportunityPath,
    OutcomeQuery,
    ReasonsTable,
    register,
)
from connector.service.operations.waiting import Waiter, WaitKind
from connector.service.problems import RETRY_AFTER, Problem, RequestRefused, busy, declined, with_labels
from connector.service.routes.operation_routes import caller_of, json_response, patience
from connector.service.schemas.field_values import read_opportunity, refuse_elsewhere
from connector.service.schemas.request_models import PlanBody
from connector.service.schemas.response_models import (
    CloseColumns,
    ConnectionView,
    OpportunityView,
    PlanResult,
    QuoteView,
    StatusReasons,
    StatusReasonView,
    amount,
)
from connector.service.service_options import ServiceOptions

T = TypeVar("T")


@dataclass(slots=True)
class ReadingRoutes:
    """The operations that change nothing."""

    organizations: OrganizationAccess
    options: ServiceOptions
    waiting: Waiter
    clock: Clock

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()
        for name, endpoint in (
            ("PlanClose", self.plan),
            ("GetOpportunity", self.opportunity),
            ("ListStatusReasons", self.reasons),
            ("GetCloseColumns", self.columns),
            ("TestConnection", self.connection),
        ):
            register(router, OPERATIONS[name], endpoint)
        return router

    async def plan(
        self, request: Request, opportunity: OpportunityPath, body: PlanBody, column: OpportunityKey = None
    ) -> Response:
        """Tell what closing would do."""
        caller, id_ = caller_of(request), await self.identified(request, opportunity, column)
        return json_response(await self._from_organization(request, lambda: self._planned(caller, id_, body)))

    async def opportunity(
        self, request: Request, opportunity: OpportunityPath, column: OpportunityKey = None
    ) -> Response:
        """Return an opportunity with its quotes."""
        caller, id_ = caller_of(request), await self.identified(request, opportunity, column)
        return json_response(await self._from_organization(request, lambda: self._seen(caller, id_)))

    async def identified(self, request: Request, opportunity: str, column: str | None) -> UUID:
        """Return the id of the opportunity that a path names; a key of this column is looked up.

        Raises RequestRefused: 404 where there is none, 409 where there are several, which are named.
        """
        caller = caller_of(request)
        asks = request.method == "POST" and await request.body()
        body = await request.json() if asks else None  # read and checked already
        refuse_elsewhere(organization_host(self.organizations.address(caller)), opportunity, body)
        named = read_opportunity(opportunity, column)
        if isinstance(named, UUID):
            return named
        by_key = await self._from_organization(
            request, lambda: self.organizations.organization(caller).look_up([named])
        )
        matches = by_key.get(named, ())
        try:
            return one_of(named, matches)
        except InputError as error:
            if matches:
                raise declined(HTTPStatus.CONFLICT, "opportunity_ambiguous", str(error)) from None
            raise declined(HTTPStatus.NOT_FOUND, "opportunity_unknown", str(error)) from None

    async def reasons(
        self, request: Request, outcome: OutcomeQuery = None, table: ReasonsTable = "opportunity"
    ) -> Response:
        """List the status reasons that fit an outcome."""
        caller = caller_of(request)
        metadata = await self._from_organization(request, lambda: self.organizations.organization(caller).metadata())
        return json_response(fitting_reasons(metadata, outcome, table))

    async def columns(self, request: Request, table: ColumnsTable = "opportunityclose") -> Response:
        """Return the custom columns of a close activity as a schema."""
        caller = caller_of(request)
        schema = await self._from_organization(request, lambda: self.organizations.columns(caller, table))
        return json_response(CloseColumns(schema=dict(schema)))

    async def connection(self, request: Request) -> Response:
        """Reach the organization as this caller, and say which it is."""
        caller = caller_of(request)
        await self._from_organization(request, lambda: self.organizations.organization(caller).metadata())
        as_user = acts_as_user(caller, self.options.admission.access)
        address = self.organizations.address(caller)
        return json_response(
            ConnectionView(
                organization=address, access="user" if as_user else "application", version=self.options.version
            )
        )

    async def _from_organization(self, request: Request, call: Callable[[], T]) -> T:
        """Return what the organization says, which is asked unless it has asked for more time than there is.

        Raises RequestRefused when it has not said anything by the deadline: 429 with its own time, else 503.
        """
        caller = caller_of(request)
        left = request.state.began + patience(request, self.options.deadline) - self.clock.monotonic()
        stopped = self.organizations.stopped(caller)
        if stopped > left:
            raise RequestRefused(_late(stopped))
        try:
            return await self.waiting.within(left, WaitKind.ORGANIZATION, call, caller.tenant_id)
        except TimeoutError:
            raise RequestRefused(_late(self.organizations.stopped(caller))) from None

    def _planned(self, caller: Caller, opportunity_id: UUID, body: PlanBody) -> PlanResult:
        intent = parse_request(wish_values(opportunity_id, body))
        planned = preview(self.organizations.organization(caller), intent)
        data = preview_data(planned)
        steps: list[dict[str, object]] = data["steps"]  # type: ignore[assignment]  # as `preview_data` has it
        refusal = planned.verdict if isinstance(planned.verdict, Refusal) else None
        return PlanResult(
            opportunity_id=opportunity_id,
            result=str(data["status"]),  # type: ignore[arg-type]  # the same words
            digest=str(data.get("digest", "")),
            message=with_labels(refusal.reason) if refusal else _planned_sentence(steps),
            reason_code=str(data["reason_code"]) if refusal else None,
            quotes=quote_results(steps),
            steps=step_results(steps),
        )

    def _seen(self, caller: Caller, opportunity_id: UUID) -> OpportunityView:
        organization = self.organizations.organization(caller)
        snapshot = organization.observe([opportunity_id]).get(opportunity_id)
        if snapshot is None:
            raise missing(opportunity_id)
        return _view(snapshot, organization.metadata(MetadataRequest(amounts=True)))


def _late(stopped: float) -> Problem:
    if stopped:
        sentence = "The organization limits requests; nothing was changed. Send it again."
        return busy("organization_busy", sentence, stopped, HTTPStatus.TOO_MANY_REQUESTS)
    slow = "The organization has not answered in time; nothing was changed. Send it again."
    return busy("organization_slow", slow, RETRY_AFTER)


def fitting_reasons(metadata: OrganizationMetadata, outcome: Outcome | None, table: str) -> StatusReasons:
    """Return the status reasons that a close with this outcome may give, the default first; without one all of them.

    Where there are those of several outcomes, the label says which. For quotes never Revised, which says that a
    revision follows.
    """
    listed: dict[int, StatusReasonView] = {}
    outcomes = tuple(Outcome) if outcome is None else (outcome,)
    for each in outcomes:
        if table == "quote":
            reasons = [s for s in metadata.quote_statuses if s.state == QuoteState.CLOSED and s.value != REVISED]
            default = closed_quote_default(metadata.quote_statuses, each) if reasons else None
        else:
            reasons = [s for s in metadata.opportunity_statuses if s.state == CLOSED_STATE[each]]
            default = next((s.value for s in reasons if s.default), None)
        prefix = f"{each.value.capitalize()}: " if outcome is None and table == "opportunity" else ""
        for reason in sorted(reasons, key=lambda s: (s.value != default, s.value)):
            view = StatusReasonView(
                value=str(reason.value), label=f"{prefix}{_label(reason)}", default=reason.value == default
            )
            listed.setdefault(reason.value, view)
    return StatusReasons(value=list(listed.values()))


def _view(snapshot: Snapshot, metadata: OrganizationMetadata) -> OpportunityView:
    opportunity = snapshot.opportunity
    status = next((s for s in metadata.opportunity_statuses if s.value == opportunity.status), None)
    return OpportunityView(
        opportunity_id=opportunity.id,
        name=opportunity.name,
        state=opportunity.state.name.lower(),  # type: ignore[arg-type]  # the same words
        status=opportunity.status,
        status_label=_label(status) if status else "",
        estimated_value=amount(opportunity.estimated_value),
        actual_value=amount(opportunity.actual_value),
        currency=metadata.currencies.get(opportunity.currency_id),
        closed_on=opportunity.actual_close_date,
        open_quotes=sum(quote.state in (QuoteState.DRAFT, QuoteState.ACTIVE) for quote in snapshot.quotes),
        quotes=[QuoteView.of(quote) for quote in snapshot.quotes],
    )


def _label(status: StatusReason) -> str:
    return status.labels[0] if status.labels else str(status.value)


def _planned_sentence(steps: list[dict[str, object]]) -> str:
    if not steps:
        return "The opportunity is closed as asked already; nothing is left to do."
    quotes = len({step["record"] for step in steps if step["table"] == "quote"})
    return f"The opportunity would be closed, and {quotes} quote{'s' if quotes != 1 else ''} with it."
