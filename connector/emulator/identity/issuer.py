"""The tenant: applications and people, the tokens that it issues and checks, and what Entra says when it refuses."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any
from uuid import UUID

from connector.clock import Clock
from connector.emulator.identity.keys import Keys

Form = Mapping[str, str]
"""Fields of a form or a query, each once."""


class EntraError(Exception):
    """A refusal of the identity provider: HTTP status, OAuth error, AADSTS number and its sentence."""

    def __init__(self, status: int, error: str, number: int, text: str) -> None:
        super().__init__(text)
        self.status, self.error, self.number, self.text = status, error, number, text


def required(form: Form, name: str) -> str:
    """Return a form field; raises EntraError when it is absent or empty."""
    value = form.get(name, "")
    if not value:
        raise missing(name)
    return value


def missing(name: str) -> EntraError:
    """Return what Entra says about an absent parameter."""
    return entra_error("900144", name)


def entra_error(key: str, *values: object) -> EntraError:
    """Return the refusal that `data/entra_errors.json` has under an AADSTS number, its sentence filled with `values`.

    A letter after the number tells the sentences of one number apart.
    """
    entry = _errors()[key]
    return EntraError(entry["status"], entry["error"], int(key.rstrip("bc")), entry["text"].format(*values))


@cache
def _errors() -> Mapping[str, Any]:
    text = (resources.files("connector.emulator") / "data" / "entra_errors.json").read_text("utf-8")
    errors: Mapping[str, Any] = json.loads(text)
    return errors


TENANT_ID = "0b4b5d3e-6a52-4c07-9d7f-2c5f0e6a1d10"
CLIENT_ID = "5a1f6f0c-9a3e-4d0b-8f51-7f1c3d2e4b60"
CLIENT_SECRET = "local-emulator-secret"
CLIENT_OBJECT_ID = "c2a9f4d1-3b7e-4e58-9a06-1d8e5f7b2c30"
USER_OBJECT_ID = "e7d0b6a2-4f1c-4b93-8c25-6a9f3e1d5b40"


@dataclass(frozen=True, slots=True)
class Secret:
    """A client secret; with `expires` in the past it is refused as expired."""

    value: str
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Federation:
    """A federated credential: assertions of this tenant's own issuer for `subject` are accepted."""

    subject: str
    audience: str = "api://AzureADTokenExchange"


@dataclass(frozen=True, slots=True)
class Application:
    """An app registration. `certificates` are PEM texts; `disabled` ones get no token and their tokens stop working."""

    client_id: str
    object_id: str
    name: str
    secrets: tuple[Secret, ...] = ()
    certificates: tuple[str, ...] = ()
    federations: tuple[Federation, ...] = ()
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who signs in interactively; the emulator asks for no password. `roles` are app roles, of every app."""

    object_id: str
    user_name: str
    name: str
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tenant:
    """One directory. Lifetimes are in seconds; `device_interval` is what a device-code client waits between polls."""

    tenant_id: str
    applications: tuple[Application, ...]
    people: tuple[Person, ...]
    token_lifetime: int = 3599
    token_version: str = "1.0"
    device_interval: int = 5
    managed_identity: str = CLIENT_ID
    """The client id that managed-identity endpoints sign in."""

    def application(self, client_id: str) -> Application | None:
        """Return the registration with this client id (any case), or None."""
        lowered = client_id.lower()
        return next((app for app in self.applications if app.client_id.lower() == lowered), None)


def local_tenant(client_id: str = CLIENT_ID, client_secret: str = CLIENT_SECRET, applications: int = 1) -> Tenant:
    """Return the tenant an emulator starts with: applications with a secret each, and one administrator.

    The ids of further applications end with their number; their secret is that of the first.
    """
    secrets = (Secret(client_secret),)
    further = tuple(
        Application(
            f"{client_id[:-4]}{number:04d}",
            f"{CLIENT_OBJECT_ID[:-4]}{number:04d}",
            f"Dataverse close connector {number}",
            secrets,
        )
        for number in range(2, applications + 1)
    )
    application = Application(client_id, CLIENT_OBJECT_ID, "Dataverse close connector", secrets)
    person = Person(USER_OBJECT_ID, "admin@emulator.invalid", "Emulator Administrator")
    return Tenant(TENANT_ID, (application, *further), (person,), managed_identity=client_id)


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
            **({"nonce": nonce} if nonce else {}),
            **({"roles": list(person.roles)} if person.roles else {}),
        }
        return self._keys.signing().sign(claims)

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
