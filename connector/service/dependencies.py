"""What the endpoint depends on, given to it when it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from connector.clock import Clock
from connector.closing.organization import LookupOrganization
from connector.handler import Handler
from connector.ledger.ledger import Ledger
from connector.service.auth.caller import Caller
from connector.service.operations.waiting import Waiter
from connector.service.telemetry import Telemetry
from connector.service.webhooks.closed_elsewhere import ChangedOpportunities


class OrganizationAccess(Protocol):
    """The organizations, as callers may use them. Methods may be called from any thread and raise ConnectorError."""

    def organization(self, caller: Caller) -> LookupOrganization:
        """Return the organization of the caller's tenant, used with the caller's rights or the application's."""

    def address(self, caller: Caller) -> str:
        """Return where the organization is, `https://host`."""

    def user(self, caller: Caller) -> str:
        """Return as whom the organization is used: the id of a user or of an application."""

    def columns(self, caller: Caller, table: str) -> Mapping[str, Any]:
        """Return the custom columns of a table as a JSON schema."""

    def check(self) -> None:
        """Return when a token can be had."""

    def changes(self, tenant: str, token: str | None) -> ChangedOpportunities:
        """Return which opportunities of a tenant have changed since `token` (see `ChangeTracker`)."""

    def stopped(self, caller: Caller) -> float:
        """Return for how many seconds the organization has asked this caller to wait."""


class OperatorSignIn(Protocol):
    """How a person signs in at a page of the endpoint. Methods may be called from any thread and raise SignInError."""

    def begin(self, redirect_uri: str, prompt: str = "") -> Mapping[str, Any]:
        """Return the flow: its `auth_uri` is where the browser goes, and `finish` needs all of it again."""

    def finish(self, flow: Mapping[str, Any], answer: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the claims of the person who has signed in; `answer` is the form it came as."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What an endpoint depends on: `http` calls callbacks, `keys_http` asks for signing keys.

    `entropy` gives random bytes, `chance` a number from 0 to 1, `who` names the process for people, `waiting` is how
    requests wait, `telemetry` what is told of the work. Without `operator_sign_in` nobody can sign in by browser.
    """

    organizations: OrganizationAccess
    ledger: Ledger
    http: Handler
    keys_http: Handler
    clock: Clock
    entropy: Callable[[int], bytes]
    chance: Callable[[], float]
    who: str
    operator_sign_in: OperatorSignIn | None = None
    waiting: Waiter = field(default_factory=Waiter)
    telemetry: Telemetry = field(default_factory=Telemetry)
