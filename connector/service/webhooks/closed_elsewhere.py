"""Closes that somebody else made: Dataverse's webhook tells of them, or the endpoint asks what has changed.

The body is a `RemoteExecutionContext` as JSON of WCF: values are lists of key and value.
Nothing of it is believed but which opportunity it is about: the event is made of what the organization has. Above
256 KB the platform leaves the parameters out and says so in a header; then, and whenever the opportunity is not named,
the organization is asked what has changed. Source: *Use webhooks to create external handlers* (Power Apps developer).
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

from connector.clock import Clock
from connector.errors import ConnectorError
from connector.service.operations.waiting import DaemonExecutor
from connector.service.problems import declined
from connector.service.webhooks.closed_events import Notifier
from connector.service.webhooks.subscription_service import SubscriptionService

KEY_HEADER = "x-connector-webhook-key"
"""The header of the registration's authentication (`HttpHeader`); `?code=` (`WebhookKey`) is taken as well."""

SIZE_HEADER = "x-ms-dynamics-msg-size-exceeded"
_MESSAGES = frozenset({"win", "lose", "winopportunity", "loseopportunity", "update", "create"})
_TABLES = ("opportunity", "opportunityclose", "none", "")
_NO_ID = UUID(int=0)


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """What a message said: the opportunity, or None when the organization must be asked what has changed."""

    opportunity_id: UUID | None


def tenant_of(keys: Mapping[str, str], key: str) -> str:
    """Return the tenant whose webhook key is `key`; `keys` maps the SHA-256 of each key to its tenant.

    Every key is compared, in constant time. Raises RequestRefused (401).
    """
    digest = hashlib.sha256(key.encode()).hexdigest()
    tenants = [
        tenant for key_digest, tenant in keys.items() if hmac.compare_digest(key_digest.encode(), digest.encode())
    ]
    if not key or not tenants:
        raise declined(
            HTTPStatus.UNAUTHORIZED,
            "webhook_key_wrong",
            "The key of the webhook is missing or wrong. Check its registration.",
        )
    return tenants[0]


def read_message(headers: Mapping[str, str], body: bytes) -> WebhookMessage | None:
    """Return what a message told; None when it is about something else. Raises RequestRefused (400).

    `headers` have lower-case names.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or "MessageName" not in content:
        raise declined(HTTPStatus.BAD_REQUEST, "not_a_message", "This is not a message of a Dataverse webhook.")
    about = str(content.get("PrimaryEntityName") or headers.get("x-ms-dynamics-entity-name", "")).lower()
    if str(content["MessageName"]).lower() not in _MESSAGES or about not in _TABLES:
        return None
    stripped = headers.get(SIZE_HEADER, "").lower() in ("true", "1")
    return WebhookMessage(None if stripped and about != "opportunity" else _opportunity(content, about))


def _opportunity(content: Mapping[str, Any], about: str) -> UUID | None:
    """Return the opportunity that is named: by the close activity or the target, else as the primary record."""
    parameters = {str(pair.get("key")): pair.get("value") for pair in _pairs(content.get("InputParameters"))}
    for name in ("OpportunityClose", "Target"):
        entity = parameters.get(name)
        if not isinstance(entity, dict):
            continue
        for pair in _pairs(entity.get("Attributes")):
            reference = pair.get("value")
            if str(pair.get("key")).lower() == "opportunityid" and isinstance(reference, dict):
                return _id(reference.get("Id"))
        if str(entity.get("LogicalName")).lower() == "opportunity":
            return _id(entity.get("Id"))
    return _id(content.get("PrimaryEntityId")) if about == "opportunity" else None


def _pairs(value: object) -> list[Mapping[str, Any]]:
    return [pair for pair in value if isinstance(pair, dict)] if isinstance(value, list) else []


def _id(value: object) -> UUID | None:
    try:
        id_ = UUID(str(value))
    except ValueError:
        return None
    return None if id_ == _NO_ID else id_


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

ROUND_SECONDS, SIDE_BY_SIDE = 20.0, 8
"""Seconds for which a round waits for the organizations, and how many are asked side by side."""
_PIECE = 500

_log = logging.getLogger("connector.service")


class ChangeTracker:
    """Asks for the changes of every tenant with subscriptions and announces them; the tokens are kept in the store.

    The tenants in `with_webhook` have one, and are asked seldom: for what it missed, and so that there is a token from
    which to ask when a message of it does not name the opportunity.
    """

    def __init__(
        self,
        subscriptions: SubscriptionService,
        notifier: Notifier,
        changes: Changes,
        clock: Clock,
        with_webhook: frozenset[str] = frozenset(),
    ) -> None:
        self._subscriptions = subscriptions
        self._notifier = notifier
        self._changes = changes
        self._clock = clock
        self._with_webhook = with_webhook
        self._looked: dict[str, float] = {}
        self._looks: dict[str, Future[int]] = {}
        self._executor = DaemonExecutor(SIDE_BY_SIDE, "changes")

    def round(self) -> int:
        """Ask once for every tenant whose turn it is, and return how many deliveries are new.

        A tenant whose organization is silent is waited for no longer than `ROUND_SECONDS`, and not asked again before
        it has answered.
        """
        now = self._clock.monotonic()
        for tenant in self._subscriptions.tenants():
            due = tenant not in self._with_webhook or now >= self._looked.get(tenant, 0.0) + NET
            if due and tenant not in self._looks:
                self._looks[tenant] = self._executor.submit(functools.partial(self._look_or_say, tenant))
        ended, _ = wait(self._looks.values(), ROUND_SECONDS)
        self._looks = {tenant: look for tenant, look in self._looks.items() if look not in ended}
        return sum(look.result() for look in ended)

    def _look_or_say(self, tenant: str) -> int:
        try:
            return self.look(tenant)
        except ConnectorError as error:  # the other tenants are still told; this one at its next turn
            _log.warning(
                "What changed of the opportunities of tenant %s cannot be read (%s): who subscribed there is told "
                "of closes through this endpoint and by the webhook, if there is one.",
                tenant,
                type(error).__name__,
            )
            return 0

    def look(self, tenant: str) -> int:
        """Ask once for one tenant; the token moves on only after everything was announced. Raises ConnectorError."""
        token = self._subscriptions.store.change_token(tenant)
        changed = self._changes(tenant, token)
        announced = 0
        for start in range(0, len(changed.ids) if token is not None else 0, _PIECE):
            announced += self._notifier.announce(tenant, changed.ids[start : start + _PIECE], "change_tracking")
        self._subscriptions.store.keep_change_token(tenant, changed.token)
        self._looked[tenant] = self._clock.monotonic()
        return announced
