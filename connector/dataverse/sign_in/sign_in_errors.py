"""Says why there is no token, and what to do about it.

Microsoft asks clients to branch on `error` and to show the rest. The AADSTS numbers here only choose a better sentence;
one that is not known falls back to `error` and the service's own words. Source: Microsoft Learn, "Microsoft Entra
authentication and authorization error codes".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from connector.errors import SignInAgain, SignInError, TransportError

_BY_NUMBER: Mapping[int, tuple[str, str]] = {
    7000222: (
        "The client secret has expired.",
        "Create a new one in the app registration (Certificates & secrets) and set DATAVERSE_CLIENT_SECRET.",
    ),
    7000215: (
        "The client secret is wrong.",
        "Set DATAVERSE_CLIENT_SECRET to the secret's value, which is shown once; its id is something else.",
    ),
    700016: (
        "The application is not known in this tenant.",
        "Check DATAVERSE_CLIENT_ID and DATAVERSE_TENANT_ID: do they belong together?",
    ),
    7000229: (
        "The application has no service principal in this tenant.",
        "Have an administrator grant consent to it there, or check DATAVERSE_TENANT_ID.",
    ),
    7000112: ("The application is disabled.", "Have an administrator enable it in Entra (Enterprise applications)."),
    90002: ("The tenant does not exist.", "Check DATAVERSE_TENANT_ID."),
    900023: ("The tenant is neither an id nor a domain of one.", "Check DATAVERSE_TENANT_ID."),
    500011: (
        "The organization is not known in this tenant.",
        "Check DATAVERSE_URL and DATAVERSE_TENANT_ID: do they belong together?",
    ),
    700027: (
        "The certificate is not registered with the application, or does not fit its key.",
        "Upload it to the app registration (Certificates & secrets), or check DATAVERSE_CLIENT_CERTIFICATE.",
    ),
    700024: (
        "The sign-in assertion is outside its time.",
        "Check this machine's clock; a federated token may have expired.",
    ),
    700213: (
        "No federated credential of the application fits the assertion.",
        "Compare issuer, subject and audience in the app registration (Federated credentials).",
    ),
    70021: (
        "No federated credential of the application fits the assertion.",
        "Compare issuer, subject and audience in the app registration (Federated credentials).",
    ),
    65001: (
        "Nobody has consented to the application's use of Dataverse.",
        "Have an administrator grant user_impersonation of Dynamics CRM in the app registration (API permissions).",
    ),
    53003: (
        "A conditional access policy of the tenant blocks this sign-in.",
        "Have an administrator look at the sign-in log and exempt this application or its address.",
    ),
    50076: ("A second factor is needed, which only a person can give.", "Sign in interactively, or as an application."),
    50105: (
        "The user is not assigned to the application.",
        "Have an administrator assign the user to it in Entra (Enterprise applications, Users and groups).",
    ),
    50057: ("The user's account is disabled.", "Have an administrator enable it in Entra, or use another account."),
    500131: (
        "The caller's token is for another application than the one that presents it.",
        "Set DATAVERSE_CLIENT_ID to the registration that the tokens are for, or correct the connection's resource.",
    ),
    50013: (
        "The caller's token is not accepted as proof of the user.",
        "Look at the registration: its tokens must come from the same tenant and cloud, without a key of its own.",
    ),
    500133: ("The caller's token has expired.", "Sign in to the calling application again."),
    7000218: (
        "The app registration does not allow signing in without a secret.",
        "In the app registration (Authentication) allow public client flows, or set DATAVERSE_CLIENT_SECRET.",
    ),
    50011: (
        "The app registration has no redirect address for this.",
        "Add the mobile and desktop platform with http://localhost to it (Authentication).",
    ),
}
_BY_ERROR: Mapping[str, tuple[str, str]] = {
    "invalid_client": (
        "The application's credential was not accepted.",
        "Check DATAVERSE_CLIENT_ID and its secret, certificate or federated token.",
    ),
    "unauthorized_client": (
        "The application may not sign in this way.",
        "Check DATAVERSE_CLIENT_ID, DATAVERSE_TENANT_ID and the settings of the app registration.",
    ),
    "invalid_scope": ("The organization cannot be asked for in this form.", "Check DATAVERSE_URL."),
    "invalid_resource": (
        "The organization is not known in this tenant.",
        "Check DATAVERSE_URL and DATAVERSE_TENANT_ID.",
    ),
    "invalid_grant": ("What was presented is no longer accepted.", "Sign in again."),
    "interaction_required": ("A person must answer something.", "Sign in again, interactively."),
    "consent_required": ("Nobody has consented to the application.", "Have an administrator grant consent."),
    "authorization_declined": ("The sign-in was declined.", "Start again and accept it."),
    "access_denied": ("The sign-in was declined.", "Start again and accept it."),
    "expired_token": ("The sign-in was not completed in time.", "Start again."),
    "code_expired": ("The sign-in was not completed in time.", "Start again."),
}
_PASSING = frozenset({"temporarily_unavailable", "server_error", "slow_down", "request_timeout"})
_PASSING_NUMBERS = frozenset({90033, 90055, 90012, 50196, 90006, 90025})
"""Service unavailable, throttled, timed out, a loop of requests, retryable server errors."""


_PERSONAL = frozenset({"interaction_required", "login_required"})
_IMPERSONAL_NUMBERS = frozenset({50105, 50057, 500131, 50013, 53003, 65001})
"""What no sign-in of the person repairs, whatever `error` says: an administrator must do something."""
_PERSONAL_NUMBERS = frozenset({50076, 50078, 50079, 50133, 50158, 50173, 500133})
"""A second factor is needed, has expired or must be set up; the session is over; an external challenge; the password
was changed; the assertion has expired."""


def explain(result: object) -> SignInError:
    """Return the failure that MSAL's `result` without a token stands for."""
    answer: Mapping[str, Any] = result if isinstance(result, Mapping) else {}
    error = str(answer.get("error") or "")
    numbers = _numbers(answer)
    known = next((_BY_NUMBER[number] for number in numbers if number in _BY_NUMBER), None) or _BY_ERROR.get(error)
    if error in _PASSING or _PASSING_NUMBERS & set(numbers) or not answer:
        reason, remedy = "The sign-in service is too busy or failed.", "Try again in a minute."
        return SignInError(f"{reason}{_quoted(answer)}", remedy=remedy, transient=True)
    reason, remedy = known or ("No token was given.", "Look the code up in Microsoft's list of AADSTS codes.")
    personal = error in _PERSONAL and not _IMPERSONAL_NUMBERS & set(numbers)
    if personal or _PERSONAL_NUMBERS & set(numbers):
        claims = answer.get("claims")
        return SignInAgain(
            f"{reason}{_quoted(answer)}", remedy=remedy, claims=claims if isinstance(claims, str) else ""
        )
    return SignInError(f"{reason}{_quoted(answer)}", remedy=remedy)


def of_authority(error: Exception) -> SignInError:
    """Return the failure that an exception of MSAL stands for: the authority or the credential cannot be used."""
    text = str(error)
    if "authority configuration" in text or "OIDC Discovery" in text:
        return SignInError(
            "The sign-in service does not know the tenant.", remedy="Check DATAVERSE_TENANT_ID and DATAVERSE_AUTHORITY."
        )
    if isinstance(error, KeyError):
        return SignInError(
            "The sign-in service's description lacks an address.", remedy="Check DATAVERSE_AUTHORITY and your proxy."
        )
    if re.search(r"key|password|PKCS|PEM|certificate|deserialize|decrypt", text, re.IGNORECASE):
        return unusable_certificate()
    return SignInError(
        f"Signing in failed before it began ({type(error).__name__}).",
        remedy="Check DATAVERSE_AUTHORITY, DATAVERSE_TENANT_ID and DATAVERSE_CLIENT_ID.",
    )


def unreadable_answer() -> SignInError:
    """Return the failure of an answer that is none of the sign-in service's: a proxy's page, say."""
    return SignInError(
        "The sign-in service's answer cannot be read.",
        remedy="Try again in a minute; if it stays so, check DATAVERSE_AUTHORITY and the proxy on the way.",
        transient=True,
    )


def not_asked(error: TransportError) -> SignInError:
    """Return the failure of a sign-in service that was not reached, or did not answer."""
    sentence = f"The sign-in service could not be asked. {error.message}"
    return SignInError(sentence, remedy=error.remedy, transient=error.transient)


def unusable_certificate() -> SignInError:
    """Return the failure of a certificate file that cannot be opened or has not both halves."""
    return SignInError(
        "The certificate file cannot be used: wrong password, or no certificate with its private key in it.",
        remedy="Check DATAVERSE_CLIENT_CERTIFICATE and DATAVERSE_CLIENT_CERTIFICATE_PASSWORD.",
    )


def no_managed_identity(why: str, *, transient: bool = False) -> SignInError:
    """Return the failure of a machine that gives no token for a managed identity, and said or did `why`."""
    return SignInError(
        f"There is no managed identity to be had here: {why[:1].lower()}{' '.join(why[1:300].split())}",
        remedy="Only Azure has them: assign the identity to this machine or app there, check its client id in "
        "DATAVERSE_MANAGED_IDENTITY, or sign in another way.",
        transient=transient,
    )


def _numbers(answer: Mapping[str, Any]) -> list[int]:
    codes = answer.get("error_codes")
    numbers = [number for number in codes if isinstance(number, int)] if isinstance(codes, list) else []
    match = re.search(r"AADSTS(\d+)", str(answer.get("error_description") or ""))
    return [*numbers, int(match[1])] if match else numbers


def _quoted(answer: Mapping[str, Any]) -> str:
    """Return the service's own first sentence and the id of the attempt, for support."""
    description = str(answer.get("error_description") or "").strip()
    first = _shortened(re.split(r"\r|\n| Trace ID:", description)[0].strip()) or str(answer.get("error") or "")[:80]
    correlation = re.sub(r"[^\w-]", "", str(answer.get("correlation_id") or ""))[:64]
    attempt = f" (attempt {correlation})" if correlation else ""
    words = first if first.endswith("...") else first.removesuffix(".")
    return f" The service says: {words}{attempt}." if first else attempt


def _shortened(text: str, most: int = 300) -> str:
    """Return `text`, broken off between words and visibly so when it is longer than `most` characters."""
    return text if len(text) <= most else f"{text[:most].rsplit(' ', 1)[0]} ..."
