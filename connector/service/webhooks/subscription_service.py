"""Who wants to be told of closed opportunities, and at which callbacks.

Flows have been seen to unsubscribe without a key (PowerPlatformConnectors 3678), so the address of a subscription is
itself the right to end it. Subscribing again with the same callback and filter renews what stands.

A callback is chosen by the caller and called by us, so it is https, at an allowed host, in a form that every reader
of addresses reads alike: else an endpoint could be made to call into its own network. The hosts are endings of the
platform's own domains. The store has callbacks sealed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from urllib.parse import urlsplit
from uuid import UUID

from connector.clock import Clock
from connector.ledger.subscriptions import Subscription, SubscriptionStore
from connector.service.operations.status_links import Seal
from connector.service.problems import declined
from connector.service.schemas.request_models import SubscribeBody
from connector.service.schemas.response_models import ClosedEvent

PLATFORM_HOSTS = (
    *(".logic.azure.com", ".api.powerplatform.com", ".azure-apim.net", ".azure-apihub.net"),
    *(".logic.azure.us", ".azure-apihub.us", ".api.gov.powerplatform.microsoft.us"),
    *(".api.high.powerplatform.microsoft.us", ".api.appsplatform.us"),
    *(".logic.azure.cn", ".api.powerplatform.partner.microsoftonline.cn"),
)
"""Where flows wait for notifications: public cloud, GCC, GCC High, DoD, China; others are added by configuration.

Source: "IP address configuration" (Power Automate), the table of required services.
"""

LONGEST = 4096
_PLAIN = re.compile(r"https://([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::443)?(?:[/?][!-~]*)?", re.IGNORECASE)
_HTTPS = 443


def check_callback(url: str, hosts: tuple[str, ...]) -> None:
    """Return when `url` may be called; raises RequestRefused (400), without the address, when it may not."""
    if not allowed(url, hosts):
        raise declined(
            HTTPStatus.BAD_REQUEST,
            "callback_not_allowed",
            "The callback is not at a host that this endpoint may call, so nothing was changed. Flows fill it in by "
            "themselves; for another host, ask the administrator of the endpoint to allow it.",
        )


def allowed(url: str, hosts: tuple[str, ...]) -> bool:
    """Return whether `url` is a plain https address at a host that ends with one of `hosts` (each with its dot)."""
    match = _PLAIN.fullmatch(url) if len(url) <= LONGEST else None
    if match is None or "\\" in url or "#" in url:
        return False
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if host != match[1].lower() or parts.username is not None or parts.port not in (None, _HTTPS):
        return False
    return any(host.endswith(end) and len(host) > len(end) for end in hosts if end.startswith("."))


LASTS = 90 * 86400.0
"""Seconds after which a subscription ends unless the flow renews it."""
MOST = 1_000
"""Subscriptions that one owner may have."""
_NONCE = 12


@dataclass(frozen=True, slots=True)
class SubscriptionService:
    """The subscriptions of one store. `secret` signs addresses and seals callbacks; `hosts` are the allowed callbacks.

    `entropy` gives that many random bytes. Methods may be called from any thread.
    """

    store: SubscriptionStore
    secret: bytes = field(repr=False)
    clock: Clock
    entropy: Callable[[int], bytes]
    hosts: tuple[str, ...]

    def subscribe(self, owner: str, tenant: str, body: SubscribeBody) -> Subscription:
        """Return the subscription that `body` makes or renews. Raises RequestRefused (400, 429)."""
        check_callback(body.callback_url, self.hosts)
        minimum = None if body.minimum_revenue is None else body.minimum_revenue.normalize()
        filters = (owner, tenant, body.callback_url, body.outcome, "" if minimum is None else str(minimum))
        id_, now = UUID(bytes=self.entropy(16), version=4).hex, self._now()
        subscription = Subscription(id_, tenant, body.outcome, minimum, now, now + LASTS)
        callback = Seal(self.secret).close(body.callback_url, id_, self.entropy(_NONCE))
        saved = self.store.save(subscription, owner, self._signature("\0".join(filters)), callback, MOST)
        if saved is None:
            raise declined(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too_many_subscriptions",
                f"You have {MOST} subscriptions. End some of them first.",
            )
        return saved

    def address(self, subscription: Subscription) -> str:
        """Return the last part of the subscription's address: its id and a signature that only we can make."""
        return f"{subscription.id}.{self._signature(subscription.id)}"

    def end(self, address: str) -> None:
        """End the subscription at `address`; twice is no failure. Raises RequestRefused (404)."""
        id_, _, signature = address.partition(".")
        if not hmac.compare_digest(self._signature(id_).encode(), signature.encode()):
            raise declined(HTTPStatus.NOT_FOUND, "subscription_unknown", "There is no such subscription.")
        self.store.remove(id_)

    def of_tenant(self, tenant: str) -> list[Subscription]:
        """Return the subscriptions of a tenant that have not expired."""
        return self.store.of_tenant(tenant, self._now())

    def tenants(self) -> list[str]:
        """Return the tenants with a subscription that has not expired."""
        return self.store.tenants(self._now())

    def callback(self, id_: str) -> str:
        """Return where a subscription is told; empty when it is gone, or sealed with another secret."""
        sealed = self.store.callback(id_)
        return Seal(self.secret).open(sealed, id_) if sealed else ""

    def expire(self) -> int:
        """Remove what has expired and return how many subscriptions that were."""
        return self.store.expire(self._now())

    def _now(self) -> float:
        return self.clock.now().timestamp()

    def _signature(self, text: str) -> str:
        key = hashlib.sha256(b"subscription-address\0" + self.secret).digest()
        digest = hmac.new(key, text.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def wants(subscription: Subscription, event: ClosedEvent) -> bool:
    """Return whether the event passes the subscription's filter."""
    if subscription.outcome not in ("any", event.outcome):
        return False
    revenue = Decimal(str(event.actual_revenue or 0))
    return subscription.minimum is None or revenue >= subscription.minimum
