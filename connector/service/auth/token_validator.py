"""Checks an access token of Entra, version 1 or 2: signature, issuer and tenant, audience, times, scope or role, actor.

Sources: "Access tokens" and "Secure applications and APIs by validating claims" (Microsoft Learn). Claims that people
can change (upn, email, preferred_username, unique_name) decide nothing.

The keys with which a tenant's tokens are signed are cached, and fetched apart from those whose keys are known. The
sign-in host is the configured one and the tenant an admitted one, so a token can make this ask nowhere else. It asks at
most once in `PAUSE` seconds and tenant, however many tokens with made-up key ids arrive, and whoever presents a token
with a cached key waits for nobody.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from connector.clock import Clock
from connector.errors import TransportError
from connector.handler import Handler, Request
from connector.service.auth.caller import Caller, CallerKind
from connector.service.problems import Problem, RequestRefused, busy
from connector.service.schemas.field_values import is_text
from connector.service.service_options import Access, Admission

if TYPE_CHECKING:
    from jwt import PyJWK
    from jwt.types import Options

KEPT = 86400.0
"""Seconds after which keys are fetched anew; Entra rolls them over slowly and publishes new ones ahead."""
LONGEST_KEPT = 2 * KEPT
"""Seconds for which keys are used when they cannot be fetched anew."""
PAUSE, FAILED_PAUSE = 60.0, 10.0
"""Seconds between looks at the sign-in service for a tenant: after an answer, and after none."""
TIMEOUT, KEYS_SECONDS = 4.0, 6.0
"""Seconds for which the sign-in service is waited for: for each piece of its answer, and by a request in all."""


class KeyNotCached(Exception):
    """The key is not known yet: `SigningKeys.fetch` may find it."""

    def __init__(self, tenant_id: str) -> None:
        super().__init__()
        self.tenant_id = tenant_id


@dataclass(frozen=True, slots=True)
class _CachedKeys:
    keys: Mapping[str, PyJWK]
    fetched: float


@dataclass(slots=True)
class _KeysRead:
    """A look at the sign-in service: when it began, whether it has ended, and after how long the next may begin."""

    began: float
    ended: threading.Event
    pause: float = PAUSE


class SigningKeys:
    """The signing keys of tenants at `authority` (`https://host`), fetched by `http`. Safe from several threads."""

    def __init__(self, http: Handler, authority: str, clock: Clock) -> None:
        self._http = http
        self._authority = authority.rstrip("/")
        self._clock = clock
        self._cached: dict[str, _CachedKeys] = {}
        self._fetches: dict[str, _KeysRead] = {}
        self._lock = threading.Lock()

    def find(self, tenant_id: str, key_id: str) -> PyJWK | None:
        """Return the cached key, or None when the tenant has no such key; never waits.

        Raises KeyNotCached when it may be found by `fetch`, RequestRefused (503) when it cannot be known for now.
        """
        now, cached, fetch = self._clock.monotonic(), self._cached.get(tenant_id), self._fetches.get(tenant_id)
        age = now - cached.fetched if cached else LONGEST_KEPT
        key = cached.keys.get(key_id) if cached and age < LONGEST_KEPT else None
        asking = fetch is not None and not fetch.ended.is_set()
        may_ask = fetch is None or now - fetch.began >= fetch.pause
        if key is not None:
            if age >= KEPT and may_ask:  # whose key is known waits for nobody, so it is renewed apart
                threading.Thread(target=self.fetch, args=(tenant_id,), daemon=True).start()
            return key
        if fetch is None or asking or now - fetch.began >= fetch.pause:
            raise KeyNotCached(tenant_id)
        if key is None and age >= LONGEST_KEPT:
            raise RequestRefused(keys_unavailable())
        return key

    def fetch(self, tenant_id: str) -> None:
        """Fetch the tenant's keys, or wait for a thread that does already. Does not fail."""
        with self._lock:
            fetch, now = self._fetches.get(tenant_id), self._clock.monotonic()
            mine = fetch is None or now - fetch.began >= fetch.pause
            if fetch is None or mine:
                fetch = self._fetches[tenant_id] = _KeysRead(now, threading.Event())
        if not mine:
            fetch.ended.wait(KEYS_SECONDS)
            return
        try:
            self._cached[tenant_id] = _CachedKeys(self._read(tenant_id), now)
        except (TransportError, ValueError, RecursionError):
            fetch.pause = FAILED_PAUSE  # what is cached stays; without any, `find` says so
        finally:
            fetch.ended.set()

    def _read(self, tenant_id: str) -> dict[str, PyJWK]:
        """Return the keys for signing by id; raises ValueError when the document does not hold any."""
        from jwt import PyJWK, PyJWTError

        url = f"{self._authority}/{tenant_id}/discovery/v2.0/keys"
        response = self._http(Request("GET", url, timeout=TIMEOUT))
        if response.status != HTTPStatus.OK:
            raise ValueError(f"the keys were answered with {response.status}")
        document = json.loads(response.body)
        listed = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(listed, list):
            raise ValueError("the document holds no keys")  # noqa: TRY004 - every bad document is one thing here
        keys = {}
        for entry in listed:
            if isinstance(entry, dict) and entry.get("kty") == "RSA" and entry.get("use", "sig") == "sig":
                try:
                    keys[str(entry.get("kid", ""))] = PyJWK.from_dict(entry, algorithm="RS256")
                except (PyJWTError, ValueError, TypeError):  # this one cannot be read; the others can
                    continue
        if not keys:
            raise ValueError("the document holds no key that can be read")
        return keys


def keys_unavailable() -> Problem:
    """Return the 503 for a token whose key cannot be known at the moment."""
    return busy("keys_unavailable", "The sign-in service's keys cannot be read at the moment.", 10)


LEEWAY = 60.0
"""Seconds by which the clocks of Entra and this machine may differ."""
_SIGNATURE_ONLY: Options = {
    "verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False, "verify_iss": False,
}  # fmt: skip
"""The claims are checked here, by the clock that was given and by all rules at one place."""
LONGEST_NAME = 100
_NAMES = ("name", "preferred_username", "upn", "unique_name", "app_displayname")
LAST_MOMENT = 2.0**53
"""Seconds since 1970; what is later, or no number, is no time."""
LARGEST = 16_384
"""Characters of a token; a header larger than that is no token of Entra."""


@dataclass(frozen=True, slots=True)
class TokenValidator:
    """Says who presents a token, by the rules of `admission`."""

    admission: Admission
    keys: SigningKeys
    clock: Clock

    def caller(self, token: str) -> Caller:
        """Return who the token is about; raises RequestRefused: 401 for a bad token, 403 for one that may not call."""
        import jwt

        if len(token) > LARGEST:
            raise unauthorized("token_malformed", "The token is larger than any of Entra's.")
        try:
            header = jwt.get_unverified_header(token)
            unverified = jwt.decode(token, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            raise unauthorized("token_malformed", "The token cannot be read.") from None
        tenant = _text(unverified, "tid").lower()
        if header.get("alg") != "RS256":
            raise unauthorized("token_algorithm", "The token is not signed with RS256.")
        if tenant not in self.admission.tenants:  # before anything is asked of anybody
            raise forbidden("tenant_not_admitted", "This endpoint does not serve the tenant of the token.")
        key = self.keys.find(tenant, str(header.get("kid", "")))
        if key is None:
            raise unauthorized("token_key", "The token is signed with a key that the tenant does not have.")
        try:
            claims = jwt.decode(token, key, algorithms=["RS256"], options=_SIGNATURE_ONLY)
        except jwt.InvalidTokenError:
            raise unauthorized("token_signature", "The signature of the token is wrong.") from None
        self._check(claims, tenant)
        return caller_of(claims, self.admission, assertion=token)

    def _check(self, claims: Mapping[str, Any], tenant: str) -> None:
        """Check issuer, audience and times; raises RequestRefused (401)."""
        issuers = {"1.0": f"{self.admission.v1_issuer}/{tenant}/", "2.0": f"{self.admission.authority}/{tenant}/v2.0"}
        if _text(claims, "iss") != issuers.get(_text(claims, "ver")):
            raise unauthorized("token_issuer", "The issuer of the token does not belong to its tenant and version.")
        if _text(claims, "aud") not in self.admission.audiences:
            raise unauthorized("token_audience", _wrong_audience(claims, self.admission))
        now = self.clock.now().timestamp()
        if _moment(claims, "exp") <= now - LEEWAY:
            raise unauthorized("token_expired", "The token has expired. Sign in to the connection again.")
        if max(_moment(claims, "nbf"), _moment(claims, "iat")) > now + LEEWAY:
            raise unauthorized("token_not_yet_valid", "The token is not valid yet: compare the clocks.")


def caller_of(claims: Mapping[str, Any], admission: Admission, *, assertion: str) -> Caller:
    """Return the caller that checked claims describe, if admitted; raises RequestRefused (401, 403)."""
    tenant, subject = _text(claims, "tid").lower(), _text(claims, "oid").lower()
    if tenant not in admission.tenants:
        raise forbidden("tenant_not_admitted", "This endpoint does not serve the tenant of the token.")
    actor = (_text(claims, "azp") or _text(claims, "appid")).lower()
    if not subject or not actor:
        raise unauthorized("token_subject", "The token does not say whom and which application it is about.")
    if actor not in admission.clients:
        raise forbidden("application_not_admitted", f"The application {actor} may not call this endpoint.")
    scopes, roles = _text(claims, "scp").split(), _texts(claims, "roles")
    kind = CallerKind.USER if scopes else CallerKind.APPLICATION
    if kind is CallerKind.USER and admission.scope not in scopes:
        sentence = f"The token lacks the scope {admission.scope}. Consent to it and sign in again."
        raise forbidden("scope_missing", sentence)
    if kind is CallerKind.APPLICATION:
        _check_application(claims, roles, admission)
    return Caller(kind, tenant, subject, actor, admission.operator_role in roles, assertion, shown_name(claims))


def shown_name(claims: Mapping[str, Any]) -> str:
    """Return what people call the one whom the claims are about; empty where they do not say."""
    claimed = next(filter(None, (_text(claims, name) for name in _NAMES)), "")
    return "".join(sign for sign in claimed[:LONGEST_NAME] if sign.isprintable())


def _check_application(claims: Mapping[str, Any], roles: list[str], admission: Admission) -> None:
    if _text(claims, "idtyp") not in ("", "app") or admission.role not in roles:
        raise forbidden("role_missing", f"The application lacks the app role {admission.role}.")
    if admission.access is Access.ON_BEHALF_OF:
        sentence = "This endpoint acts on behalf of users, and an application's token has none. Sign in as a user."
        raise forbidden("users_only", sentence)


def _wrong_audience(claims: Mapping[str, Any], admission: Admission) -> str:
    """Return what the token is for and what it should be for: ids of applications, which are no secrets."""
    came = _text(claims, "aud")
    shown = came if came.isascii() and came.isprintable() and '"' not in came and len(came) <= 200 else "something else"
    expected = " or ".join(sorted(admission.audiences))
    return f"The token is for {shown or 'nobody'}, and must be for {expected}. Correct the connection's resource."


def unauthorized(code: str, message: str) -> RequestRefused:
    """Return the 401 that says why, in the header of RFC 6750 too."""
    challenge = f'Bearer error="invalid_token", error_description="{message}"'
    return RequestRefused(Problem(HTTPStatus.UNAUTHORIZED, code, message, headers={"WWW-Authenticate": challenge}))


def forbidden(code: str, message: str) -> RequestRefused:
    """Return the 403 that says why."""
    return RequestRefused(Problem(HTTPStatus.FORBIDDEN, code, message))


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) and is_text(value) else ""


def _texts(claims: Mapping[str, Any], name: str) -> list[str]:
    value = claims.get(name)
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LAST_MOMENT:
        raise unauthorized("token_times", f"The token does not say its time {name}.")
    return float(value)
