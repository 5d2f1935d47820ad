"""Issues the tenant's tokens with the claims that Dataverse and its clients look at, and checks them."""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from connector.clock import Clock
from connector.emulator.identity.errors import EntraError
from connector.emulator.identity.keys import Keys
from connector.emulator.identity.tenant import Application, Person, Tenant


class Issuer:
    """Signs for one tenant. `login_url` is the identity provider's origin; `issued` counts access tokens."""

    def __init__(self, tenant: Tenant, login_url: str, keys: Keys, clock: Clock, seed: int) -> None:
        self.login_url = login_url
        self.issued = 0
        self._tenant = tenant
        self._keys = keys
        self._clock = clock
        self._random = random.Random(f"{seed}:entra")

    def name(self, version: str) -> str:
        """Return the issuer claim of tokens and discovery documents of this version ("1.0" or "2.0")."""
        base = f"{self.login_url}/{self._tenant.tenant_id}/"
        return f"{base}v2.0" if version == "2.0" else base

    def check(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token this tenant signed; raises InvalidToken (see tokens). Times are not checked."""
        return self._keys.signing().check(token)

    def published(self) -> list[dict[str, str]]:
        """Return the keys of the JWKS document."""
        return [self._keys.signing().public()]

    def opaque(self) -> str:
        """Return a text that means something to the issuer only."""
        return base64.urlsafe_b64encode(self._random.randbytes(48)).decode()

    def access(self, application: Application, strength: str, person: Person | None, audience: str, scopes: str) -> str:
        """Return a signed access token; an empty person makes it app-only."""
        self.issued += 1
        version = self._tenant.token_version
        names = ("azp", "azpacr") if version == "2.0" else ("appid", "appidacr")
        oid = person.object_id if person else application.object_id
        claims: dict[str, Any] = {
            "aud": audience,
            "iss": self.name(version),
            **self._times(),
            "aio": base64.b64encode(self.issued.to_bytes(8, "big")).decode(),
            names[0]: application.client_id,
            names[1]: strength,
            "oid": oid,
            "sub": oid,
            "tid": self._tenant.tenant_id,
            "uti": self.opaque()[:22],
            "ver": version,
        }
        if person is not None:
            claims |= {"scp": " ".join(name.rpartition("/")[2] for name in scopes.split()), "name": person.name}
            claims |= {"upn": person.user_name} if version == "1.0" else {"preferred_username": person.user_name}
        else:
            claims["idtyp"] = "app"
        return self._keys.signing().sign(claims)

    def identity(self, application: Application, person: Person, nonce: str) -> str:
        """Return a signed ID token about `person` for `application`."""
        claims = {
            "aud": application.client_id,
            "iss": self.name("2.0"),
            **self._times(),
            "name": person.name,
            "oid": person.object_id,
            "preferred_username": person.user_name,
            "sub": person.object_id,
            "tid": self._tenant.tenant_id,
            "ver": "2.0",
        }
        return self._keys.signing().sign(claims | ({"nonce": nonce} if nonce else {}))

    def _times(self) -> dict[str, int]:
        now = int(self._clock.now().timestamp())
        return {"iat": now, "nbf": now, "exp": now + self._tenant.token_lifetime}

    def error_body(self, error: EntraError, correlation_id: str | None) -> dict[str, Any]:
        """Return the JSON body Entra answers with, the documented fields in their order."""
        now = self._clock.now().astimezone(UTC)
        trace_id = str(UUID(int=self._random.getrandbits(128), version=4))
        correlation = correlation_id or trace_id
        stamp = f"{datetime.strftime(now, '%Y-%m-%d %H:%M:%S')}Z"
        ids = f"Trace ID: {trace_id} Correlation ID: {correlation} Timestamp: {stamp}"
        return {
            "error": error.error,
            "error_description": f"AADSTS{error.number}: {error.text} {ids}",
            "error_codes": [error.number],
            "timestamp": stamp,
            "trace_id": trace_id,
            "correlation_id": correlation,
            "error_uri": f"{self.login_url}/error?code={error.number}",
        }
