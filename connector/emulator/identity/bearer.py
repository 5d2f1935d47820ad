"""Who calls the Web API: bearer tokens checked as the service does, challenges, impersonation."""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from connector.clock import Clock
from connector.emulator.http.exchange import split_url
from connector.emulator.identity.grants import DATAVERSE_APPLICATION
from connector.emulator.identity.issuer import Issuer, Tenant
from connector.emulator.world.callers import Caller
from connector.emulator.world.world import World
from connector.handler import Request, Response

REMEMBERED = 2000
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a good token says: who, until when, and the number of its issue."""

    application_id: str
    object_id: str
    app_only: bool
    expires: float
    issue: int

    @property
    def caller_id(self) -> str:
        """Return the id of who acts: the person's object id, or an application's client id."""
        return self.application_id if self.app_only else self.object_id

    @property
    def names(self) -> tuple[str, ...]:
        """Return the ids a fault plan may name this caller by."""
        return (self.application_id.lower(), self.object_id.lower())


class Unauthorized(Exception):
    """The token was not accepted; `response` is the 401 to answer."""

    def __init__(self, response: Response) -> None:
        super().__init__("401")
        self.response = response


class Bearer:
    """Checks Authorization headers. What a token says is remembered by its text, its expiry checked every time."""

    def __init__(self, tenant: Tenant, issuer: Issuer, world: World, url: str, clock: Clock) -> None:
        self._tenant = tenant
        self._issuer = issuer
        self._world = world
        self._url = self._called = url
        self._clock = clock
        self._known: OrderedDict[str, Identity] = OrderedDict()
        self._audiences = audiences(url) | {DATAVERSE_APPLICATION}
        self.revoked_before = 0
        """Tokens issued before this number meet a claims challenge (continuous access evaluation)."""

    def revoke(self) -> None:
        """Challenge every token issued so far for new claims."""
        self.revoked_before = self._issuer.issued + 1

    def identify(self, request: Request) -> Identity:
        """Return who a request says it is; raises Unauthorized with the challenge."""
        self._called = request.url
        header = request.header("authorization") or ""
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized(self._challenge(""))
        identity = self._known.get(token) or self._read(token)
        if identity.expires <= self._clock.now().timestamp():
            raise Unauthorized(self._challenge(', error="invalid_token", error_description="The token has expired"'))
        application = self._tenant.application(identity.application_id)
        if application is None or application.disabled:
            raise Unauthorized(self._challenge(', error="invalid_token"'))
        if identity.issue < self.revoked_before:
            raise Unauthorized(self.claims_challenge())
        return identity

    def caller(self, request: Request, identity: Identity) -> Caller:
        """Return the user a request runs as, impersonation headers applied; raises Refused (403)."""
        if identity.app_only:
            caller = self._world.caller_for(application_id=identity.application_id, object_id=identity.object_id)
        else:
            caller = self._world.caller_for(object_id=identity.object_id)
        other = request.header("callerobjectid")
        if other:
            return self._world.impersonate(caller, object_id=other.strip().lower())
        other = request.header("mscrmcallerid")
        if other:
            return self._world.impersonate(caller, user_id=other.strip("{} ").lower())
        return caller

    def discovery_challenge(self) -> Response:
        """Return the 401 of global discovery, which names no tenant (discover-url-organization-web-api)."""
        return self._challenge("", "common")

    def _resource(self) -> str:
        """Return the name under which the organization was called: live challenges name the host that was asked."""
        origin = split_url(self._called)[0]
        return origin if origin in self._audiences else self._url

    def _read(self, token: str) -> Identity:
        from connector.emulator.identity.jwt import InvalidToken

        try:
            claims = self._issuer.check(token)
        except InvalidToken as error:
            raise Unauthorized(self._challenge(', error="invalid_token"')) from error
        issuers = (self._issuer.name("1.0"), self._issuer.name("2.0"))
        if str(claims.get("aud", "")).rstrip("/") not in self._audiences or claims.get("iss") not in issuers:
            raise Unauthorized(self._challenge(', error="invalid_token", error_description="The audience is invalid"'))
        identity = identity_of(claims)
        self._known[token] = identity
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return identity

    def _challenge(self, error: str, tenant: str = "") -> Response:
        authority = f"{self._issuer.login_url}/{tenant or self._tenant.tenant_id}/oauth2/authorize"
        value = f"Bearer authorization_uri={authority}, resource_id={self._resource()}/{error}"
        return Response(HTTPStatus.UNAUTHORIZED, (("WWW-Authenticate", value),))

    def claims_challenge(self) -> Response:
        """Return the 401 that asks for a newer token (continuous access evaluation)."""
        required = {"access_token": {"nbf": {"essential": True, "value": str(int(self._clock.now().timestamp()))}}}
        claims = base64.b64encode(json.dumps(required).encode()).decode()
        return self._challenge(f', error="insufficient_claims", claims="{claims}"')


def identity_of(claims: Mapping[str, Any]) -> Identity:
    """Return what checked claims say about the caller."""
    return Identity(
        application_id=str(claims.get("appid") or claims.get("azp") or ""),
        object_id=str(claims.get("oid", "")),
        app_only="scp" not in claims,
        expires=float(claims["exp"]),
        issue=int.from_bytes(base64.b64decode(claims["aio"]), "big"),
    )


def audiences(url: str) -> frozenset[str]:
    """Return the resources that mean this organization, without a final slash.

    Its URL, the same with `.api.` after the first label (both are seen in live challenges), and every name of the
    loopback interface when it runs there.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    names = {url.rstrip("/")}
    if "." in host and not host.replace(".", "").isdigit():
        first, _, rest = host.partition(".")
        names.add(f"{parts.scheme}://{first}.api.{rest}{port}")
    if host in ("localhost", "127.0.0.1", "::1"):
        names |= {f"{parts.scheme}://{name}{port}" for name in LOOPBACK}
    return frozenset(names)
