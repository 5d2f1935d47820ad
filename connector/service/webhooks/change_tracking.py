"""Where no webhook is registered: ask the organization from time to time which opportunities have changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from connector.clock import Clock
from connector.errors import ConnectorError
from connector.service.webhooks.notifier import Notifier
from connector.service.webhooks.subscription_service import SubscriptionService


@dataclass(frozen=True, slots=True)
class ChangedOpportunities:
    """The opportunities that changed since a token, and the token to ask with next time."""

    ids: Sequence[UUID]
    token: str


Changes = Callable[[str, str | None], ChangedOpportunities]
"""Takes a tenant and the last token (None: from now on, so `ids` is ignored). Raises ConnectorError; a token that has
expired is the callable's to begin anew with."""


NET = 900.0
"""Seconds between looks at an organization that has a webhook: it is tried twice at most, so one may be missed."""

_PIECE = 500

_log = logging.getLogger("connector.service")


class ChangeTracker:
    """Asks for the changes of every tenant with subscriptions and announces them; the tokens are kept in the store.

    The tenants in `told` have a webhook, and are asked seldom: for what it missed, and so that there is a token from
    which to ask when a message of it does not name the opportunity.
    """

    def __init__(
        self,
        subscriptions: SubscriptionService,
        notifier: Notifier,
        changes: Changes,
        clock: Clock,
        told: frozenset[str] = frozenset(),
    ) -> None:
        self._subscriptions = subscriptions
        self._notifier = notifier
        self._changes = changes
        self._clock = clock
        self._told = told
        self._looked: dict[str, float] = {}

    def round(self) -> int:
        """Ask once for every tenant whose turn it is, and return how many deliveries are new."""
        now = self._clock.monotonic()
        due = [t for t in self._subscriptions.tenants() if t not in self._told or now >= self._looked.get(t, 0.0) + NET]
        new = 0
        for tenant in due:
            try:
                new += self.look(tenant)
            except ConnectorError as error:  # the other tenants are told all the same; this one at its next turn
                _log.warning(
                    "What changed of the opportunities of tenant %s cannot be read (%s): who subscribed there is told "
                    "of closes through this endpoint and by the webhook, if there is one.",
                    tenant,
                    type(error).__name__,
                )
        return new

    def look(self, tenant: str) -> int:
        """Ask once for one tenant; the token moves on only after everything was announced. Raises ConnectorError."""
        token = self._subscriptions.store.change_token(tenant)
        changed = self._changes(tenant, token)
        told = 0
        for start in range(0, len(changed.ids) if token is not None else 0, _PIECE):
            told += self._notifier.announce(tenant, changed.ids[start : start + _PIECE], "change_tracking")
        self._subscriptions.store.keep_change_token(tenant, changed.token)
        self._looked[tenant] = self._clock.monotonic()
        return told
