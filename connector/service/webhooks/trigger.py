"""The trigger "when an opportunity is closed": its routes, and its parts put together.

Its periodic tasks send what is due and ask from time to time what has changed, for organizations without a webhook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter, Request, Response

from connector.ledger.subscriptions import SubscriptionStore
from connector.service.auth.caller import Caller, CallerKind
from connector.service.dependencies import Dependencies
from connector.service.operations.operation_specs import OPERATIONS, SubscriptionKey, register
from connector.service.operations.status_links import Seal, StatusLinks
from connector.service.operations.waiting import DaemonExecutor, Waiter, WaitKind
from connector.service.periodic_tasks import PeriodicTask
from connector.service.problems import RETRY_AFTER, RequestRefused, busy
from connector.service.schemas.request_models import SubscribeBody
from connector.service.schemas.response_models import SubscriptionView
from connector.service.service_options import ServiceOptions
from connector.service.webhooks.closed_elsewhere import KEY_HEADER, ChangeTracker, read_message, tenant_of
from connector.service.webhooks.closed_events import Notifier
from connector.service.webhooks.delivery_worker import DeliveryWorker
from connector.service.webhooks.subscription_service import PLATFORM_HOSTS, SubscriptionService

ROUND, TRACKING, SWEEP = 2.0, 60.0, 3600.0
"""Seconds between looks for what is due, for what has changed, and for what can be forgotten."""
DESTINATIONS, FAILING_DESTINATIONS = 64, 16
"""Callbacks that are called at a time: those that have answered, and those that have failed."""
WEBHOOK_PATH = "/webhooks/dataverse"
WEBHOOK_SECONDS = 30.0
"""Seconds for which a message of Dataverse waits for the organization that it is about; Dataverse gives up at 60."""
_SLOW = "The organization has not answered in time. The message may be sent again; else its change is found later."


class ClosedTrigger:
    """The parts of the trigger."""

    def __init__(self, options: ServiceOptions, dependencies: Dependencies, links: StatusLinks) -> None:
        secret, clock = options.secret, dependencies.clock
        store = SubscriptionStore(dependencies.ledger.database)
        hosts = (*PLATFORM_HOSTS, *options.callback_hosts)
        self.subscriptions = SubscriptionService(store, secret, clock, dependencies.entropy, hosts)
        taking, failing = (
            DaemonExecutor(DESTINATIONS, "delivery"),
            DaemonExecutor(FAILING_DESTINATIONS, "repeated delivery"),
        )
        self.notifier = Notifier(
            self.subscriptions,
            lambda tenant: dependencies.organizations.organization(_application(tenant)),
            Seal(secret),
            clock,
            dependencies.entropy,
        )
        self.delivery_worker = DeliveryWorker(
            self.subscriptions, dependencies.http, Seal(secret), clock, hosts, taking, failing
        )
        tenants = frozenset(options.webhook_keys.values())
        self.tracker = ChangeTracker(
            self.subscriptions, self.notifier, dependencies.organizations.changes, clock, tenants
        )
        self._keys = options.webhook_keys
        self._links = links
        self._dependencies = dependencies

    def router(self) -> APIRouter:
        """Return the routes: subscribe, unsubscribe, and what Dataverse tells."""
        look, waiting = self.tracker.look, self._dependencies.waiting
        routes = TriggerRoutes(self.subscriptions, self.notifier, look, self._keys, self._links.base, waiting)
        return routes.router()

    def periodic_tasks(self) -> tuple[PeriodicTask, ...]:
        """Return what is to be done from time to time."""
        return (
            PeriodicTask("Telling subscribers", ROUND, self.delivery_worker.round),
            PeriodicTask("Asking what has changed", TRACKING, self.tracker.round),
            PeriodicTask("Ending subscriptions", SWEEP, self.delivery_worker.sweep),
        )


def _application(tenant: str) -> Caller:
    """Return the endpoint's own application, asking for a tenant."""
    return Caller(CallerKind.APPLICATION, tenant, "endpoint", "endpoint", operator=True)


@dataclass(frozen=True)
class TriggerRoutes:
    """Takes subscriptions and what Dataverse tells; the middleware has put the caller into `request.state`.

    `base` gives the address that callers reach, by their headers and the request's own. `keys` maps the SHA-256 of each
    webhook key to its tenant; `look` finds out what changed in a tenant and announces it, for messages that do not name
    the opportunity.
    """

    subscriptions: SubscriptionService
    notifier: Notifier
    look: Callable[[str], object]
    keys: Mapping[str, str]
    base: Callable[[Mapping[str, str], Callable[[], str]], str]
    waiting: Waiter

    def router(self) -> APIRouter:
        """Return the routes: subscribe, unsubscribe, and what Dataverse tells."""
        routes = APIRouter()
        register(routes, OPERATIONS["SubscribeOpportunityClosed"], self.subscribe)
        register(routes, OPERATIONS["UnsubscribeOpportunityClosed"], self.unsubscribe)
        routes.add_api_route(WEBHOOK_PATH, self.take_message, methods=["POST"], include_in_schema=False)
        return routes

    async def subscribe(self, request: Request, response: Response, body: SubscribeBody) -> SubscriptionView:
        """Take a callback; its address is in `Location`."""
        caller: Caller = request.state.caller
        made = await self.waiting.apart(lambda: self.subscriptions.subscribe(caller.owner, caller.tenant_id, body))
        address = self.base(request.headers, lambda: str(request.base_url))
        response.headers["Location"] = f"{address}/subscriptions/{self.subscriptions.address(made)}"
        return SubscriptionView(
            subscription_id=made.id, expires_at=datetime.fromtimestamp(made.expires, UTC), outcome=body.outcome
        )

    async def unsubscribe(self, key: SubscriptionKey) -> None:
        """End a subscription."""
        await self.waiting.apart(lambda: self.subscriptions.end(key))

    async def take_message(self, request: Request) -> Response:
        """Announce what a message of Dataverse is about. Raises RequestRefused (503) when that takes too long."""
        tenant = tenant_of(self.keys, request.headers.get(KEY_HEADER) or request.query_params.get("code", ""))
        message = read_message(request.headers, await request.body())
        if message is None:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        try:
            announced = partial(self._announce, tenant, message.opportunity_id)
            await self.waiting.within(WEBHOOK_SECONDS, WaitKind.ORGANIZATION, announced, tenant)
        except TimeoutError:
            raise RequestRefused(busy("organization_slow", _SLOW, RETRY_AFTER)) from None
        return Response(status_code=HTTPStatus.OK)

    def _announce(self, tenant: str, opportunity_id: UUID | None) -> None:
        if opportunity_id is None:
            self.look(tenant)
        else:
            self.notifier.announce(tenant, [opportunity_id], "dataverse_webhook")
