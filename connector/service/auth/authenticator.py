"""Finds out who calls: by token, by API key, or, for development, because only this machine can call."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address

from connector.service.auth.caller import Caller, CallerKind
from connector.service.auth.token_validator import forbidden, unauthorized
from connector.service.problems import Problem, RequestRefused
from connector.service.service_options import Admission, CallerSignIn

DEVELOPER = Caller(CallerKind.DEVELOPER, "development", "developer", "development", operator=True, name="developer")
_OWN_PAGES = ("none", "same-origin")
TOKEN_HEADER, KEY_HEADER = "x-ms-token-aad-access-token", "x-api-key"


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Admits callers by the rules of `admission`; `by_token` checks a bearer token (`TokenValidator.caller`)."""

    admission: Admission
    by_token: Callable[[str], Caller]

    def identify(self, headers: Mapping[str, str], peer: str) -> Caller:
        """Return who sent a request with these headers (names in lower case) from the address `peer`.

        Raises RequestRefused: 401 when nobody is signed in, 403 when somebody is who may not call.
        """
        if self.admission.sign_in is CallerSignIn.DEVELOPMENT:
            return _developer(headers, peer)
        if self.admission.api_keys and (key := headers.get(KEY_HEADER)):
            return self._by_key(key)
        if token := self._own_token(headers):
            return self.by_token(token)
        message = "Sign in: the request carries no bearer token."
        raise RequestRefused(
            Problem(HTTPStatus.UNAUTHORIZED, "not_signed_in", message, headers={"WWW-Authenticate": "Bearer"})
        )

    def _by_key(self, key: str) -> Caller:
        """Compare with every key, so that the time says nothing about which one was nearly right."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        key_name = ""
        for digest_kept, name in self.admission.api_keys.items():
            if hmac.compare_digest(digest_kept, digest):
                key_name = name
        if not key_name:
            raise unauthorized("api_key_unknown", "The API key is not known here, or no more.")
        tenant, _, name = key_name.partition("/")
        return Caller(CallerKind.KEY, tenant, name, "key", name=name)

    def _own_token(self, headers: Mapping[str, str]) -> str:
        """Return the bearer token, or what the platform passes on (not for another site's page: it goes by cookie)."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        own = "origin" not in headers or headers.get("sec-fetch-site", "none") in _OWN_PAGES
        passed_on = headers.get(TOKEN_HEADER, "") if own and self.admission.sign_in is CallerSignIn.EASY_AUTH else ""
        return bearer or passed_on


def _developer(headers: Mapping[str, str], peer: str) -> Caller:
    """Admit callers of this machine; a page of another site is refused, as it names another host."""
    host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
    if not _is_loopback(peer) or not (host == "localhost" or _is_loopback(host.strip("[]"))):
        raise forbidden("development_only", "Without sign-in this endpoint answers this machine only.")
    if headers.get("sec-fetch-site", "none") not in _OWN_PAGES:
        raise forbidden("development_only", "Without sign-in this endpoint answers no other site's pages.")
    return DEVELOPER


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
