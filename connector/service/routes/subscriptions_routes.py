"""The routes of the trigger: subscribe, unsubscribe, and what Dataverse tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from connector.clock import Clock
from connector.service.auth.caller import Caller
from connector.service.operations.table import OPERATIONS, SubscriptionKey, register
from connector.service.operations.wait import Waiting
from connector.service.schemas.bodies import SubscribeBody
from connector.service.schemas.views import SubscriptionView
from connector.service.webhooks.notifications import Notices
from connector.service.webhooks.subscriptions import Subscriptions
from connector.service.webhooks.webhooks import KEY_HEADER, read_message, tenant_of

WEBHOOK_PATH = "/webhooks/dataverse"


@dataclass(frozen=True, slots=True)
class Desk:
    """What the routes need. `base` gives the address that callers reach, by their headers and the request's own.

    `keys` maps the SHA-256 of each webhook key to its tenant; `look` finds out what changed in a tenant and announces
    it, for messages that do not name the opportunity.
    """

    subscriptions: Subscriptions
    notices: Notices
    look: Callable[[str], object]
    keys: Mapping[str, str]
    base: Callable[[Mapping[str, str], str], str]
    waiting: Waiting
    clock: Clock


def router(desk: Desk) -> APIRouter:
    """Return the routes; the border has put the caller into `request.state`."""
    routes = APIRouter()

    async def subscribe(request: Request, response: Response, body: SubscribeBody) -> SubscriptionView:
        caller: Caller = request.state.caller
        made = await desk.waiting.apart(lambda: desk.subscriptions.subscribe(caller.owner, caller.tenant_id, body))
        base = desk.base(request.headers, str(request.base_url)).rstrip("/")
        response.headers["Location"] = f"{base}/subscriptions/{desk.subscriptions.address(made)}"
        return SubscriptionView(subscription_id=made.id, expires_at=made.ends, outcome=body.outcome)

    async def unsubscribe(key: SubscriptionKey) -> None:
        await desk.waiting.apart(lambda: desk.subscriptions.end(key))

    async def told(request: Request) -> Response:
        tenant = tenant_of(desk.keys, request.headers.get(KEY_HEADER) or request.query_params.get("code", ""))
        message = read_message(request.headers, await request.body())
        if message is None:
            return Response(status_code=204)
        named = message.opportunity_id
        if named is None:
            await desk.waiting.apart(lambda: desk.look(tenant))
        else:
            await desk.waiting.apart(lambda: desk.notices.announce(tenant, [named], "dataverse_webhook"))
        return Response(status_code=200)

    register(routes, OPERATIONS["SubscribeOpportunityClosed"], subscribe)
    register(routes, OPERATIONS["UnsubscribeOpportunityClosed"], unsubscribe)
    routes.add_api_route(WEBHOOK_PATH, told, methods=["POST"], include_in_schema=False)
    return routes
