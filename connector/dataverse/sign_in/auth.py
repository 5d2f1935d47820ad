"""Token sources made of MSAL, which is imported only here, and only when the first token is needed.

MSAL's own http client is replaced by a Handler, so that signing in trusts, proxies and times out exactly as the data
requests do. Applications' tokens are kept here and not in MSAL's cache: one place to look, to renew and to let go.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from connector.clock import Clock
from connector.dataverse.sign_in.msal_http import MsalHttp
from connector.dataverse.sign_in.sign_in_errors import (
    no_managed_identity,
    not_asked,
    of_authority,
    unreadable_answer,
    unusable_certificate,
)
from connector.dataverse.sign_in.token_cache import TokenCache
from connector.errors import SignInError, TransportError
from connector.handler import Handler

_log = logging.getLogger("connector.sign_in")
T = TypeVar("T")

CAPABILITIES = ("CP1",)
"""Says that claims challenges are understood, which continuous access evaluation asks of a client."""

BROWSER_WAIT = 300
"""Seconds that a person has to sign in with the browser."""

Credential = str | dict[str, Any]
"""MSAL's `client_credential`: a client secret as it is, a certificate or an assertion as a dictionary."""


@dataclass(frozen=True, slots=True)
class Registration:
    """An app registration as seen by one organization.

    `authority` returns `https://host/tenant`; it may have to ask the organization, so it is called late. Whether it is
    genuine has been checked (see `dataverse.sign_in.authority`), so MSAL asks nobody: it would ask the public cloud.
    """

    client_id: str
    authority: Callable[[], str]
    base_url: str


# -- the ways to sign in ----------------------------------------------------------------------------------------------


def certificate(path: Path, password: str = "") -> Credential:
    """Return the credential of a certificate with its private key, from a PFX or PEM file. Raises SignInError.

    The certificate itself is sent along, as Subject Name + Issuer registrations need.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SignInError(
            f"The certificate file {path} cannot be read: {error.strerror}.",
            remedy="Check DATAVERSE_CLIENT_CERTIFICATE.",
        ) from error
    _check_pair(content, password)
    if b"-----BEGIN" not in content:
        return {"private_key_pfx_path": str(path), "passphrase": password or None, "public_certificate": True}
    text = content.decode("utf-8", "replace")
    return {"private_key": text, "passphrase": password or None, "public_certificate": text}


def _check_pair(content: bytes, password: str) -> None:
    """Raise SignInError unless `content` holds a certificate with its private key, to be opened with `password`.

    MSAL would find out as well, but only while it signs in, and in the words of whatever library stumbles first.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12

    secret_word = password.encode() or None
    try:
        if b"-----BEGIN" in content:
            key, certificate_read = load_pem_private_key(content, secret_word), x509.load_pem_x509_certificate(content)
            fits = key.public_key() == certificate_read.public_key()
        else:
            pair = pkcs12.load_pkcs12(content, secret_word)
            fits = pair.key is not None and pair.cert is not None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise unusable_certificate() from error
    if not fits:
        raise unusable_certificate()


def federated(path: Path) -> Credential:
    """Return the credential of a federated assertion; the file is read anew each time, since its writer renews it."""

    def assertion() -> str:
        remedy = "Check DATAVERSE_FEDERATED_TOKEN_FILE, and the workload that writes it."
        try:
            text = path.read_bytes().decode("ascii", "replace").strip()
        except OSError as error:
            sentence = f"The federated token file {path} cannot be read: {error.strerror}."
            raise SignInError(sentence, remedy=remedy) from error
        if not text:
            raise SignInError(f"The federated token file {path} holds no assertion.", remedy=remedy)
        return text

    return {"client_assertion": assertion}


def application_tokens(
    registration: Registration, credential: Callable[[], Credential], http: Handler, clock: Clock
) -> TokenCache:
    """Return the token source of an application that signs in as itself; `credential` is called once, late."""
    application = once(lambda: _confidential(registration, credential(), http))

    def acquire(claims: str, _renew: bool) -> Mapping[str, Any]:
        scopes = [f"{registration.base_url}/.default"]
        return asking(lambda: application().acquire_token_for_client(scopes, claims_challenge=claims or None))

    return TokenCache(acquire, clock)


def managed_identity_tokens(client_id: str, base_url: str, http: Handler, clock: Clock) -> TokenCache:
    """Return the token source of an Azure managed identity: the machine's own, or the one with `client_id`."""

    def build() -> Any:
        import msal

        own = msal.SystemAssignedManagedIdentity()
        identity = msal.UserAssignedManagedIdentity(client_id=client_id) if client_id else own
        return msal.ManagedIdentityClient(
            identity, http_client=MsalHttp(http), token_cache=_no_token_cache(), client_capabilities=list(CAPABILITIES)
        )

    client = once(build)

    def acquire(claims: str, _renew: bool) -> Mapping[str, Any]:
        try:
            result = asking(
                lambda: client().acquire_token_for_client(resource=base_url, claims_challenge=claims or None)
            )
        except SignInError as error:
            if isinstance(error.__cause__, TransportError):
                raise no_managed_identity(error.__cause__.message, transient=error.transient) from error
            raise
        if isinstance(result, Mapping) and result.get("error") == "invalid_request":
            raise no_managed_identity(str(result.get("error_description") or "the machine says no more."))
        return result

    return TokenCache(acquire, clock)


EXCHANGE = "api://AzureADTokenExchange"
"""What a federated assertion is for, in the public cloud; other clouds have names of their own."""


def managed_assertion(client_id: str, http: Handler, clock: Clock) -> Credential:
    """Return the credential of a managed identity that stands in for a registration as its federated credential.

    Source: *Configure an application to trust a managed identity* (Microsoft Entra workload ID).
    """
    return {"client_assertion": managed_identity_tokens(client_id, EXCHANGE, http, clock).token}


def person_tokens(
    registration: Registration,
    http: Handler,
    clock: Clock,
    *,
    cache: Path,
    tell: Callable[[str], None],
    ask: Callable[[Any, list[str], str, Callable[[str], None]], Mapping[str, Any]],
) -> TokenCache:
    """Return the token source of a person, who signs in by `ask` (see `by_device_code`, `by_browser`) when needed.

    What keeps the person signed in is kept in `cache`, encrypted by the operating system where it can do that.
    """
    application = once(lambda: _public(registration, http, cache))

    def acquire(claims: str, renew: bool) -> Mapping[str, Any]:
        scopes = [f"{registration.base_url}/user_impersonation"]

        def silently_or_not() -> Mapping[str, Any]:
            app = application()
            for account in app.get_accounts()[:1]:
                kept = app.acquire_token_silent(
                    scopes, account=account, claims_challenge=claims or None, force_refresh=renew
                )
                if kept and "access_token" in kept:
                    return dict(kept)
            return ask(app, scopes, claims, tell)

        try:
            return asking(silently_or_not)
        except OSError as error:  # the network's are ConnectorError by now, so this is the file
            raise SignInError(
                f"The kept sign-ins in {cache} cannot be read or written: {error.strerror or type(error).__name__}.",
                remedy="Make room and see who may write there, or name another file in DATAVERSE_TOKEN_CACHE.",
            ) from error

    return TokenCache(acquire, clock)


def by_device_code(app: Any, scopes: list[str], claims: str, tell: Callable[[str], None]) -> Mapping[str, Any]:
    """Tell the person which page to open and which code to enter, on any device, and wait."""
    flow: dict[str, Any] = app.initiate_device_flow(scopes=scopes, claims_challenge=claims or None)
    if "user_code" not in flow:
        return flow
    tell(str(flow["message"]))
    return dict(app.acquire_token_by_device_flow(flow, claims_challenge=claims or None))


def by_browser(app: Any, scopes: list[str], claims: str, tell: Callable[[str], None]) -> Mapping[str, Any]:
    """Open the person's browser and wait for the answer on a port of this machine."""
    remedy = "On a machine without a browser set DATAVERSE_SIGN_IN=device_code."
    tell(f"A browser opens for signing in; this waits for it, at most {BROWSER_WAIT // 60} minutes. {remedy}")
    try:
        return dict(app.acquire_token_interactive(scopes, claims_challenge=claims or None, timeout=BROWSER_WAIT))
    except RuntimeError as error:  # MSAL's word for time that is over
        raise SignInError("No one signed in with the browser in time.", remedy=f"Start again. {remedy}") from error


class OnBehalfOf:
    """Token sources for the callers of a hosted endpoint, each acting with their own rights.

    The newest `kept` callers' sources are kept, by a digest of what they presented. Safe from several threads.
    """

    def __init__(
        self,
        registration: Registration,
        credential: Callable[[], Credential],
        http: Handler,
        clock: Clock,
        kept: int = 1000,
    ) -> None:
        self._application = once(lambda: _confidential(registration, credential(), http))
        self._scopes = [f"{registration.base_url}/.default"]
        self._clock = clock
        self._kept = kept
        self._sources: OrderedDict[bytes, TokenCache] = OrderedDict()
        self._lock = threading.Lock()

    def tokens(self, assertion: str) -> TokenCache:
        """Return the token source of the caller who presented the access token `assertion`."""
        digest = hashlib.sha256(assertion.encode()).digest()
        with self._lock:
            source = self._sources.get(digest) or TokenCache(
                lambda claims, _: self._acquire(assertion, claims), self._clock
            )
            self._sources[digest] = source
            self._sources.move_to_end(digest)
            if len(self._sources) > self._kept:
                self._sources.popitem(last=False)
        return source

    def _acquire(self, assertion: str, claims: str) -> Mapping[str, Any]:
        return asking(
            lambda: self._application().acquire_token_on_behalf_of(
                assertion, self._scopes, claims_challenge=claims or None
            )
        )


# -- MSAL -------------------------------------------------------------------------------------------------------------


def once(build: Callable[[], T]) -> Callable[[], T]:
    """Return `build`, called at the first use and remembered when it succeeds. Safe from several threads."""
    lock, built = threading.Lock(), list[T]()

    def get() -> T:
        with lock:
            if not built:
                built.append(build())
            return built[0]

    return get


def asking(ask: Callable[[], Any]) -> Mapping[str, Any]:
    """Return what MSAL answers; its exceptions become SignInError."""
    from msal.exceptions import MsalServiceError

    try:
        return ask()  # type: ignore[no-any-return]  # MSAL has no types
    except TransportError as error:
        raise not_asked(error) from error
    except MsalServiceError as error:
        raise SignInError(
            "The sign-in service failed, or is too busy.",
            remedy="Try again in a minute: until then the answer is remembered and the service is not asked.",
            transient=True,
        ) from error
    except (json.JSONDecodeError, RecursionError, AttributeError, TypeError, OverflowError) as error:
        raise unreadable_answer() from error  # MSAL takes every answer for JSON of the form that it expects
    except (ValueError, KeyError, RuntimeError) as error:  # what MSAL raises for a document it cannot use
        raise of_authority(error) from error


def confidential_client(
    registration: Registration, credential: Callable[[], Credential], http: Handler
) -> Callable[[], Any]:
    """Return MSAL's client of a registration with a credential, made at its first use. Its call raises SignInError."""
    client = once(lambda: _confidential(registration, credential(), http))
    return lambda: asking(client)


def _confidential(registration: Registration, credential: Credential, http: Handler) -> Any:
    import msal

    return msal.ConfidentialClientApplication(
        registration.client_id,
        client_credential=credential,
        authority=registration.authority(),
        instance_discovery=False,
        http_client=MsalHttp(http),
        token_cache=_no_token_cache(),
        client_capabilities=list(CAPABILITIES),
    )


def _public(registration: Registration, http: Handler, cache: Path) -> Any:
    import msal

    return msal.PublicClientApplication(
        registration.client_id,
        authority=registration.authority(),
        instance_discovery=False,
        http_client=MsalHttp(http),
        token_cache=_kept_on_disk(cache),
        client_capabilities=list(CAPABILITIES),
    )


def _no_token_cache() -> Any:
    """Return a token cache of MSAL's that keeps nothing: one token per source is kept in `TokenCache`."""
    import msal

    class NoTokenCache(msal.TokenCache):  # type: ignore[misc]  # MSAL has no types
        def add(self, event: object, now: object = None) -> None:
            """Keep nothing of `event`."""

    return NoTokenCache()


def _kept_on_disk(path: Path) -> Any:
    """Return a cache in a file, encrypted where the operating system can; the file is the user's alone in any case."""
    import msal_extensions as extensions

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        kept = extensions.build_encrypted_persistence(str(path))
    except (ImportError, RuntimeError, ValueError, OSError):  # no libsecret, or no session to unlock it
        if not path.exists():  # said when it begins, not at every command
            _log.warning(
                "This machine offers no encryption for kept sign-ins (on Linux: PyGObject, libsecret and an unlocked "
                "keyring), so they are kept unencrypted in %s, which only you can read.",
                path,
            )
        kept = extensions.FilePersistence(str(path))
    return extensions.PersistedTokenCache(kept)
