"""Checks an access token of Entra, version 1 or 2: signature, issuer and tenant, audience, times, scope or role, actor.

Sources: "Access tokens" and "Secure applications and APIs by validating claims" (Microsoft Learn). Claims that people
can change (upn, email, preferred_username, unique_name) decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from connector.clock import Clock
from connector.service.auth.caller import Caller, CallerKind
from connector.service.auth.signing_keys import SigningKeys
from connector.service.problems import Problem, RequestRefused
from connector.service.schemas.field_values import is_text
from connector.service.service_options import Access, Admission

if TYPE_CHECKING:
    from jwt.types import Options

LEEWAY = 60.0
"""Seconds by which the clocks of Entra and this machine may differ."""
_SIGNATURE_ONLY: Options = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
}
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
        raise forbidden(
            "scope_missing", f"The token lacks the scope {admission.scope}. Consent to it and sign in again."
        )
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
        raise forbidden(
            "users_only",
            "This endpoint acts on behalf of users, and an application's token has none. Sign in as a user.",
        )


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
