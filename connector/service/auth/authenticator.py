"""Finds out who calls: by token, by the platform's header, by API key, or, for development, because nobody else can."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any

from connector.service.auth.caller import Caller, CallerKind
from connector.service.auth.token_validator import caller_of, forbidden, unauthorized
from connector.service.problems import Problem, RequestRefused
from connector.service.service_options import Admission, CallerSignIn

DEVELOPER = Caller(CallerKind.DEVELOPER, "development", "developer", "development", operator=True, name="developer")
PRINCIPAL_HEADER, TOKEN_HEADER, KEY_HEADER = "x-ms-client-principal", "x-ms-token-aad-access-token", "x-api-key"

_SCHEMAS = {
    "http://schemas.microsoft.com/identity/claims/tenantid": "tid",
    "http://schemas.microsoft.com/identity/claims/objectidentifier": "oid",
    "http://schemas.microsoft.com/identity/claims/scope": "scp",
    "http://schemas.microsoft.com/ws/2008/06/identity/claims/role": "roles",
}
"""The names that the platform's header has for claims of the token."""


class Authenticator:
    """Admits callers by the rules of `admission`; `by_token` checks a bearer token (`TokenValidator.caller`)."""

    def __init__(self, admission: Admission, by_token: Callable[[str], Caller]) -> None:
        self._admission = admission
        self._by_token = by_token

    def identify(self, headers: Mapping[str, str], peer: str) -> Caller:
        """Return who sent a request with these headers (names in lower case) from the address `peer`.

        Raises RequestRefused: 401 when nobody is signed in, 403 when somebody is who may not call.
        """
        if self._admission.sign_in is CallerSignIn.DEVELOPMENT:
            return _developer(headers, peer)
        if self._admission.api_keys and (key := headers.get(KEY_HEADER)):
            return self._by_key(key)
        if self._admission.sign_in is CallerSignIn.EASY_AUTH:
            return self._by_platform(headers)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            message = "Sign in: the request carries no bearer token."
            raise RequestRefused(
                Problem(HTTPStatus.UNAUTHORIZED, "not_signed_in", message, headers={"WWW-Authenticate": "Bearer"})
            )
        return self._by_token(token.strip())

    def _by_key(self, key: str) -> Caller:
        """Compare with every key, so that the time says nothing about which one was nearly right."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        key_name = ""
        for known, name in self._admission.api_keys.items():
            if hmac.compare_digest(known, digest):
                key_name = name
        if not key_name:
            raise unauthorized("api_key_unknown", "The API key is not known here, or no more.")
        tenant, _, name = key_name.partition("/")
        return Caller(CallerKind.KEY, tenant, name, "key", name=name)

    def _by_platform(self, headers: Mapping[str, str]) -> Caller:
        """Check the token that the platform passes on; without audiences to check it with, believe the platform."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        own = token.strip() if scheme.lower() == "bearer" else ""
        own = own or headers.get(TOKEN_HEADER, "")
        if self._admission.audiences:
            if not own:
                raise unauthorized("not_signed_in", "The platform has passed no token on.")
            return self._by_token(own)
        try:
            principal = json.loads(base64.b64decode(headers.get(PRINCIPAL_HEADER, ""), validate=True))
            claims = _claims(principal["claims"])
        except (ValueError, KeyError, TypeError):
            raise unauthorized("not_signed_in", "The platform has signed nobody in.") from None
        return caller_of(claims, self._admission, assertion=own)


def _claims(listed: list[Mapping[str, Any]]) -> dict[str, object]:
    """Return the claims by the names they have in tokens; roles may repeat."""
    claims: dict[str, object] = {}
    roles: list[str] = []
    for entry in listed:
        name, value = _SCHEMAS.get(str(entry["typ"]), str(entry["typ"])), str(entry["val"])
        if name == "roles":
            roles.append(value)
        else:
            claims[name] = value
    return claims | {"roles": roles}


def _developer(headers: Mapping[str, str], peer: str) -> Caller:
    """Admit whoever is on this machine and means it: a page of another site names another host."""
    host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
    if not _is_loopback(peer) or not (host == "localhost" or _is_loopback(host.strip("[]"))):
        raise forbidden("development_only", "Without sign-in this endpoint answers this machine only.")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise forbidden("development_only", "Without sign-in this endpoint answers no other site's pages.")
    return DEVELOPER


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
