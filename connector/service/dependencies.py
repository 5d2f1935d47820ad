"""What the endpoint depends on, given to it when it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from connector.clock import Clock
from connector.closing.organization import Organization
from connector.handler import Handler
from connector.ledger.ledger import Ledger
from connector.service.audit import AuditTrail
from connector.service.auth.caller import Caller
from connector.service.operations.waiting import EventLoopWaiter, Waiter
from connector.service.telemetry import Telemetry
from connector.service.webhooks.closed_elsewhere import ChangedOpportunities


class OrganizationAccess(Protocol):
    """The organizations, as callers may use them. Methods may be called from any thread and raise ConnectorError."""

    def organization(self, caller: Caller) -> Organization:
        """Return the organization of the caller's tenant, used with the caller's rights or the application's."""

    def address(self, caller: Caller) -> str:
        """Return where the organization is, `https://host`."""

    def columns(self, caller: Caller, table: str) -> Mapping[str, Any]:
        """Return the custom columns of a table as a JSON schema."""

    def check(self) -> None:
        """Return when a token can be had."""

    def changes(self, tenant: str, token: str | None) -> ChangedOpportunities:
        """Return which opportunities of a tenant have changed since `token` (see `ChangeTracker`)."""

    def stopped(self, caller: Caller) -> float:
        """Return for how many seconds the organization has asked this caller to wait."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What an endpoint depends on: `http` calls callbacks, `keys_http` asks for signing keys.

    `entropy` and `chance` are its dice, `who` names the process for people, `waiting` is how requests wait,
    `telemetry` what is told of the work.
    """

    organizations: OrganizationAccess
    ledger: Ledger
    audit: AuditTrail
    http: Handler
    keys_http: Handler
    clock: Clock
    entropy: Callable[[int], bytes]
    chance: Callable[[], float]
    who: str
    waiting: Waiter = field(default_factory=EventLoopWaiter)
    telemetry: Telemetry = field(default_factory=Telemetry)
