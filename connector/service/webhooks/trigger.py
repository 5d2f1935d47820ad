"""The trigger "when an opportunity is closed", put together: subscriptions, what to tell, and who carries it out.

Its chores send what is due and ask from time to time what has changed, for organizations without a webhook.
"""

from __future__ import annotations

from fastapi import APIRouter

from connector.service.auth.caller import Caller, CallerKind
from connector.service.chores import Chore
from connector.service.operations.links import Links
from connector.service.options import ServiceOptions
from connector.service.reach import Surroundings
from connector.service.routes.subscriptions_routes import Desk, router
from connector.service.webhooks.callback import PLATFORM_HOSTS
from connector.service.webhooks.notifications import Courier, Notices
from connector.service.webhooks.subscriptions import Subscriptions
from connector.service.webhooks.tracking import Tracker

ROUND, TRACKING, SWEEP = 2.0, 60.0, 3600.0
"""Seconds between looks for what is due, for what has changed, and for what can be forgotten."""


class Trigger:
    """The parts of the trigger."""

    def __init__(self, options: ServiceOptions, around: Surroundings) -> None:
        database, secret, clock = around.ledger.database, options.secret, around.clock
        hosts = (*PLATFORM_HOSTS, *options.callback_hosts)
        self.subscriptions = Subscriptions(database, secret, clock, around.entropy, hosts)
        self.notices = Notices(
            database,
            self.subscriptions,
            lambda tenant: around.reach.organization(_application(tenant)),
            secret,
            clock,
            around.entropy,
        )
        self.courier = Courier(database, self.subscriptions, around.http, secret, clock, hosts)
        told = frozenset(options.webhook_keys.values())
        self.tracker = Tracker(database, self.subscriptions, self.notices, around.reach.changes, clock, told)
        self._keys = options.webhook_keys
        self._links = Links(secret, options.public_url, options.gateway_hosts)
        self._around = around

    def router(self) -> APIRouter:
        """Return the routes."""
        around, look = self._around, self.tracker.look
        return router(
            Desk(self.subscriptions, self.notices, look, self._keys, self._links.base, around.waiting, around.clock)
        )

    def chores(self) -> tuple[Chore, ...]:
        """Return what is to be done from time to time."""
        return (
            Chore("Telling subscribers", ROUND, self.courier.round),
            Chore("Asking what has changed", TRACKING, self.tracker.round),
            Chore("Ending subscriptions", SWEEP, self.courier.sweep),
        )


def _application(tenant: str) -> Caller:
    """Return the endpoint's own application, asking for a tenant."""
    return Caller(CallerKind.APPLICATION, tenant, "endpoint", "endpoint", operator=True)
