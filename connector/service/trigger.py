"""The trigger "when an opportunity is closed", put together: subscriptions, what to tell, and who carries it out.

A thread sends what is due and asks from time to time what has changed, for organizations without a webhook.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from fastapi import APIRouter

from connector.errors import ConnectorError
from connector.service.caller import Caller, CallerKind
from connector.service.notifications import Courier, Notices
from connector.service.notifications_tracking import Tracker
from connector.service.operations_links import Links
from connector.service.options import ServiceOptions
from connector.service.reach import Surroundings
from connector.service.subscriptions import Subscriptions
from connector.service.subscriptions_callback import PLATFORM_HOSTS
from connector.service.subscriptions_routes import Desk, router

_log = logging.getLogger("connector.service")

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
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trigger", daemon=True)

    def router(self) -> APIRouter:
        """Return the routes."""
        around, look = self._around, self.tracker.look
        return router(
            Desk(self.subscriptions, self.notices, look, self._keys, self._links.base, around.waiting, around.clock)
        )

    def start(self) -> None:
        """Begin to send what is due."""
        self._thread.start()

    def stop(self) -> None:
        """Stop when what is being sent has been sent."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        rounds: list[tuple[float, Callable[[], object]]] = [
            (ROUND, self.courier.round),
            (TRACKING, self.tracker.round),
            (SWEEP, self.courier.sweep),
        ]
        due = [0.0 for _ in rounds]
        while not self._stopping.wait(ROUND):
            now = self._around.clock.monotonic()
            for number, (every, act) in enumerate(rounds):
                if now >= due[number]:
                    due[number] = now + every
                    _attempt(act)


def _attempt(act: Callable[[], object]) -> None:
    try:
        act()
    except ConnectorError as error:  # it is tried again at its next turn
        _log.warning("The trigger waits: %s", type(error).__name__)


def _application(tenant: str) -> Caller:
    """Return the endpoint's own application, asking for a tenant."""
    return Caller(CallerKind.APPLICATION, tenant, "endpoint", "endpoint", operator=True)
