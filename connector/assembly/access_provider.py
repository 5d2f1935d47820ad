"""The organizations as callers of the hosted endpoint may use them: with their own rights, or with the endpoint's."""

from __future__ import annotations

import functools
import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from connector.assembly.connection import Connection, IdentityClient, Upstream, connect, identity_client, network_of
from connector.assembly.sign_in import code_flow, credential_on_behalf
from connector.clock import Clock
from connector.closing.organization import LookupOrganization
from connector.dataverse.policies import RetryPolicy, anything, retry
from connector.dataverse.reading import WebApi
from connector.dataverse.search import read_changes
from connector.dataverse.sign_in import auth
from connector.dataverse.sign_in.authority import discover
from connector.dataverse.sign_in.code_flow import CodeFlow
from connector.dataverse.transport import Transport
from connector.dataverse.webapi import Endpoint
from connector.errors import InputError, SignInAgain
from connector.handler import Handler
from connector.settings.settings import Settings
from connector.settings.variables import SignInMethod

if TYPE_CHECKING:
    from connector.service.auth.caller import Caller, LatestAssertion
    from connector.service.service_options import Admission
    from connector.service.webhooks.closed_elsewhere import ChangedOpportunities

MOST_USERS = 1000
"""Users whose way to the organization is kept; the one that was quiet longest is forgotten first."""


STORE_RESOURCES = {
    ".postgres.database.azure.com": "https://ossrdbms-aad.database.windows.net",
    ".postgres.database.usgovcloudapi.net": "https://ossrdbms-aad.database.usgovcloudapi.net",
    ".postgres.database.chinacloudapi.cn": "https://ossrdbms-aad.database.chinacloudapi.cn",
}
"""What a token for Azure Database for PostgreSQL is for, by the end of the server's name. Source: "Microsoft Entra
authentication" of that product."""
SMALL_ANSWER = 1 << 20
"""Bytes of an answer of the sign-in service or of a callback; what is larger is not read to its end."""
TOLD_DAYS = 8
"""Days after which a close is no news: when a token has expired every row is read, and most closes are old."""
_CHANGED = "statecode,modifiedon"


class AccessProvider:
    """The organizations as the endpoint's callers may use them: as themselves, or as the endpoint's application."""

    def __init__(
        self,
        settings: Settings,
        admission: Admission,
        clock: Clock,
        chance: random.Random,
        watched: Callable[[Handler], Handler],
        opening: ExitStack,
    ) -> None:
        self._settings = replace(settings, time_zone=settings.time_zone or "UTC")  # not the zone of its machine
        self._admission = admission
        self._clock = clock
        self._chance = chance
        self._watched = watched
        self._opening = opening
        self._connections: dict[str, Connection] = {}
        self._on_behalf: dict[str, tuple[auth.OnBehalfOf, Handler]] = {}
        self._users: OrderedDict[tuple[str, str], tuple[LatestAssertion, IdentityClient]] = OrderedDict()
        self._lock = threading.RLock()

    def open(self) -> None:
        """Open the way to the organization of the settings, so that what is wrong with them is said at the start."""
        self._connect(self._settings.url)

    def organization(self, caller: Caller) -> LookupOrganization:
        """Return the organization of the caller's tenant; raises SignInError, SettingsError."""
        return self._client(caller).organization

    def address(self, caller: Caller) -> str:
        """Return where it is."""
        return self._connection(caller).base_url

    def user(self, caller: Caller) -> str:
        """Return as whom the organization is used for a caller; raises SignInError, SettingsError."""
        return self._client(caller).user

    def columns(self, caller: Caller, table: str) -> dict[str, Any]:
        """Return the custom columns of a table; raises ConnectorError."""
        from connector.dataverse.metadata import custom_columns

        return custom_columns(WebApi(self._client(caller).handler, Endpoint(self.address(caller))), table)

    def check(self) -> None:
        """Find out whether the endpoint can sign in; raises SignInError."""
        self._connect(self._settings.url).warm()

    def stopped(self, caller: Caller) -> float:
        """Return for how many seconds the organization has asked this caller to wait; 0 for one not seen yet."""
        from connector.service.auth.caller import acts_as_user

        with self._lock:
            if acts_as_user(caller, self._admission.access):
                _, client = self._users.get((caller.tenant_id, caller.object_id), (None, None))
            else:
                address = self._admission.tenants.get(caller.tenant_id, self._settings.url)
                connection = self._connections.get(address)
                client = connection.clients[0] if connection else None
        return client.gate.pace().waiting if client else 0.0

    def changes(self, tenant: str, token: str | None) -> ChangedOpportunities:
        """Return which opportunities of a tenant were closed or changed while closed since `token`.

        What the endpoint's own application may not see is not among them. Raises ConnectorError.
        """
        from connector.service.webhooks.closed_elsewhere import ChangedOpportunities

        connection = self._connect(self._admission.tenants.get(tenant, self._settings.url))
        since = (self._clock.now() - timedelta(days=TOLD_DAYS)).isoformat()

        def keep(row: Mapping[str, object]) -> bool:  # nothing at the first look, which is for the token alone
            return bool(token) and row.get("statecode") != 0 and str(row.get("modifiedon", "")) >= since

        read = functools.partial(read_changes, connection.handler, connection.base_url, columns=_CHANGED, keep=keep)
        try:
            changes_read = read(token or "")
        except InputError:  # the tenant has another organization now
            changes_read = read("")
        return ChangedOpportunities([UUID(str(row["opportunityid"])) for row in changes_read.rows], changes_read.link)

    def operator_sign_in(self, public_url: str) -> CodeFlow | None:
        """Return how people sign in at a page by browser: to the registration of the settings, whose roles count."""
        if not public_url or self._settings.emulator is not None:
            return None
        tenants = list(self._admission.tenants)
        authority = f"{self._admission.authority}/{tenants[0] if len(tenants) == 1 else 'organizations'}"
        return code_flow(self._settings.identities[0], authority, self.outward(), self._clock)

    def store_password(self) -> Callable[[], str] | None:
        """Return what gives the password of the store: a token of the managed identity, where its address has none."""
        parts = urlsplit(self._settings.store)
        resource = next((r for end, r in STORE_RESOURCES.items() if (parts.hostname or "").endswith(end)), "")
        managed = [
            identity for identity in self._settings.identities if identity.sign_in is SignInMethod.MANAGED_IDENTITY
        ]
        if not resource or parts.password or not managed:
            return None
        return auth.managed_identity_tokens(managed[0].managed_identity, resource, self.outward(), self._clock).token

    def outward(self) -> Handler:
        """Return the way to the sign-in service's keys, or to the callbacks of subscribers; nothing is sent again."""
        transport = Transport(network_of(self._settings), most_bytes=SMALL_ANSWER)
        self._opening.callback(transport.close)
        return transport

    def _connection(self, caller: Caller) -> Connection:
        return self._connect(self._admission.tenants.get(caller.tenant_id, self._settings.url))

    def _connect(self, address: str) -> Connection:
        with self._lock:
            if address not in self._connections:
                own = address == self._settings.url
                settings = self._settings if own else replace(self._settings, url=address, tenant_id="", authority="")
                connection = connect(settings, self._clock, chance=self._chance, watched=self._watched)
                self._opening.callback(connection.close)
                self._connections[address] = connection
            return self._connections[address]

    def _client(self, caller: Caller) -> IdentityClient:
        from connector.service.auth.caller import acts_as_user

        if not acts_as_user(caller, self._admission.access):
            return self._connection(caller).clients[0]
        if not caller.assertion:
            raise SignInAgain("The user's sign-in has expired.", remedy="Send the same request again, signed in.")
        with self._lock:
            who = (caller.tenant_id, caller.object_id)
            latest, client = self._users.get(who) or self._new_client(caller)
            latest.present(caller.assertion)
            self._users[who] = latest, client
            self._users.move_to_end(who)
            if len(self._users) > MOST_USERS:
                self._users.popitem(last=False)
            return client

    def _new_client(self, caller: Caller) -> tuple[LatestAssertion, IdentityClient]:
        """Return a client with a gate of its own: service protection limits count per user."""
        address = self._connection(caller).base_url
        on_behalf, transport = self._on_behalf.get(caller.tenant_id) or self._new_on_behalf(caller, address)
        self._on_behalf[caller.tenant_id] = on_behalf, transport
        from connector.service.auth.caller import LatestAssertion

        latest = LatestAssertion(on_behalf.tokens)
        upstream = Upstream(address, self._watched(transport), ("user",), (latest,))
        client = identity_client("user", self._settings, upstream, latest, self._clock, self._chance)
        return latest, replace(client, user=caller.object_id)

    def _new_on_behalf(self, caller: Caller, address: str) -> tuple[auth.OnBehalfOf, Handler]:
        identity = self._settings.identities[0]
        transport = Transport(network_of(self._settings))
        self._opening.callback(transport.close)
        http = retry(
            transport, sleep=self._clock.sleep, chance=self._chance, policy=RetryPolicy(told=60.0), repeatable=anything
        )
        authority = auth.once(lambda: discover(http, address, caller.tenant_id))
        registration = auth.Registration(identity.client_id, authority, address)
        credential = functools.partial(credential_on_behalf, identity, http, self._clock)
        return auth.OnBehalfOf(registration, credential, http, self._clock), transport
