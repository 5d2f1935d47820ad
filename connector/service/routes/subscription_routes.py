"""The routes of the trigger: subscribe, unsubscribe, and what Dataverse tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from connector.clock import Clock
from connector.service.auth.caller import Caller
from connector.service.operations.operation_specs import OPERATIONS, SubscriptionKey, register
from connector.service.operations.waiting import Waiter, WaitKind
from connector.service.problems import RETRY_AFTER, RequestRefused, busy
from connector.service.schemas.request_models import SubscribeBody
from connector.service.schemas.response_models import SubscriptionView
from connector.service.webhooks.closed_elsewhere import KEY_HEADER, read_message, tenant_of
from connector.service.webhooks.closed_events import Notifier
from connector.service.webhooks.subscription_service import SubscriptionService

WEBHOOK_PATH = "/webhooks/dataverse"
WEBHOOK_SECONDS = 30.0
"""Seconds for which a message of Dataverse waits for the organization that it is about; Dataverse gives up at 60."""
_SLOW = "The organization has not answered in time. The message may be sent again; else its change is found later."


@dataclass(frozen=True, slots=True)
class SubscriptionDependencies:
    """What the routes need. `base` gives the address that callers reach, by their headers and the request's own.

    `keys` maps the SHA-256 of each webhook key to its tenant; `look` finds out what changed in a tenant and announces
    it, for messages that do not name the opportunity.
    """

    subscriptions: SubscriptionService
    notifier: Notifier
    look: Callable[[str], object]
    keys: Mapping[str, str]
    base: Callable[[Mapping[str, str], Callable[[], str]], str]
    waiting: Waiter
    clock: Clock


def router(parts: SubscriptionDependencies) -> APIRouter:
    """Return the routes; the middleware has put the caller into `request.state`."""
    routes = APIRouter()

    async def subscribe(request: Request, response: Response, body: SubscribeBody) -> SubscriptionView:
        caller: Caller = request.state.caller
        made = await parts.waiting.apart(lambda: parts.subscriptions.subscribe(caller.owner, caller.tenant_id, body))
        base = parts.base(request.headers, lambda: str(request.base_url))
        response.headers["Location"] = f"{base}/subscriptions/{parts.subscriptions.address(made)}"
        return SubscriptionView(
            subscription_id=made.id, expires_at=datetime.fromtimestamp(made.expires, UTC), outcome=body.outcome
        )

    async def unsubscribe(key: SubscriptionKey) -> None:
        await parts.waiting.apart(lambda: parts.subscriptions.end(key))

    async def told(request: Request) -> Response:
        tenant = tenant_of(parts.keys, request.headers.get(KEY_HEADER) or request.query_params.get("code", ""))
        message = read_message(request.headers, await request.body())
        if message is None:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        named = message.opportunity_id

        def announced() -> None:
            if named is None:
                parts.look(tenant)
            else:
                parts.notifier.announce(tenant, [named], "dataverse_webhook")

        try:
            await parts.waiting.within(WEBHOOK_SECONDS, WaitKind.ORGANIZATION, announced, tenant)
        except TimeoutError:
            raise RequestRefused(busy("organization_slow", _SLOW, RETRY_AFTER)) from None
        return Response(status_code=HTTPStatus.OK)

    register(routes, OPERATIONS["SubscribeOpportunityClosed"], subscribe)
    register(routes, OPERATIONS["UnsubscribeOpportunityClosed"], unsubscribe)
    routes.add_api_route(WEBHOOK_PATH, told, methods=["POST"], include_in_schema=False)
    return routes
