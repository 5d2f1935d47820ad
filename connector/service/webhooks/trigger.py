"""The trigger "when an opportunity is closed", put together: subscriptions, what to tell, and who carries it out.

Its periodic tasks send what is due and ask from time to time what has changed, for organizations without a webhook.
"""

from __future__ import annotations

from fastapi import APIRouter

from connector.ledger.subscriptions import SubscriptionStore
from connector.service.auth.caller import Caller, CallerKind
from connector.service.dependencies import Dependencies
from connector.service.operations.status_links import StatusLinks
from connector.service.operations.waiting import DaemonExecutor
from connector.service.periodic_tasks import PeriodicTask
from connector.service.routes.subscription_routes import SubscriptionDependencies, router
from connector.service.service_options import ServiceOptions
from connector.service.webhooks.closed_elsewhere import ChangeTracker
from connector.service.webhooks.closed_events import Notifier
from connector.service.webhooks.delivery_worker import DeliveryWorker
from connector.service.webhooks.subscription_service import PLATFORM_HOSTS, SubscriptionService

ROUND, TRACKING, SWEEP = 2.0, 60.0, 3600.0
"""Seconds between looks for what is due, for what has changed, and for what can be forgotten."""
DESTINATIONS, FAILING_DESTINATIONS = 64, 16
"""Callbacks that are called at a time: those that have answered, and those that have failed."""


class ClosedTrigger:
    """The parts of the trigger."""

    def __init__(self, options: ServiceOptions, dependencies: Dependencies, links: StatusLinks) -> None:
        secret, clock = options.secret, dependencies.clock
        store = SubscriptionStore(dependencies.ledger.database)
        hosts = (*PLATFORM_HOSTS, *options.callback_hosts)
        self.subscriptions = SubscriptionService(store, secret, clock, dependencies.entropy, hosts)
        self.notifier = Notifier(
            self.subscriptions,
            lambda tenant: dependencies.organizations.organization(_application(tenant)),
            secret,
            clock,
            dependencies.entropy,
        )
        self.delivery_worker = DeliveryWorker(
            self.subscriptions,
            dependencies.http,
            secret,
            clock,
            hosts,
            DaemonExecutor(DESTINATIONS, "delivery"),
            DaemonExecutor(FAILING_DESTINATIONS, "repeated delivery"),
        )
        tenants = frozenset(options.webhook_keys.values())
        self.tracker = ChangeTracker(
            self.subscriptions, self.notifier, dependencies.organizations.changes, clock, tenants
        )
        self._keys = options.webhook_keys
        self._links = links
        self._dependencies = dependencies

    def router(self) -> APIRouter:
        """Return the routes."""
        dependencies, look = self._dependencies, self.tracker.look
        return router(
            SubscriptionDependencies(
                self.subscriptions,
                self.notifier,
                look,
                self._keys,
                self._links.base,
                dependencies.waiting,
                dependencies.clock,
            )
        )

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
