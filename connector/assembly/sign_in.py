"""From an identity of the settings to the tokens it signs in with."""

from __future__ import annotations

import functools
from collections.abc import Callable

from connector.clock import Clock
from connector.dataverse.policies import TokenSource
from connector.dataverse.sign_in import auth
from connector.dataverse.sign_in.azure_cli import azure_cli_tokens
from connector.dataverse.sign_in.code_flow import CodeFlow
from connector.errors import SignInError
from connector.handler import Handler
from connector.settings.settings import Identity, Settings
from connector.settings.variables import SignInMethod

CREDENTIALS = (SignInMethod.SECRET, SignInMethod.CERTIFICATE, SignInMethod.FEDERATED, SignInMethod.MANAGED_IDENTITY)
"""The ways to sign in by which a registration proves that it is itself."""


def identity_tokens(
    settings: Settings,
    identity: Identity,
    authority: Callable[[], str],
    http: Handler,
    clock: Clock,
    tell: Callable[[str], None],
) -> TokenSource:
    """Return the token source that signs `identity` in."""
    registration = auth.Registration(identity.client_id, authority, settings.url)
    if identity.sign_in is SignInMethod.MANAGED_IDENTITY:
        return auth.managed_identity_tokens(identity.managed_identity, settings.url, http, clock)
    if identity.sign_in is SignInMethod.AZURE_CLI:
        return azure_cli_tokens(settings.url, settings.tenant_id, clock)
    if identity.sign_in in (SignInMethod.DEVICE_CODE, SignInMethod.INTERACTIVE):
        ask = auth.by_device_code if identity.sign_in is SignInMethod.DEVICE_CODE else auth.by_browser
        return auth.person_tokens(registration, http, clock, cache=settings.token_cache, tell=tell, ask=ask)
    return auth.application_tokens(registration, functools.partial(_credential, identity), http, clock)


def credential_on_behalf(identity: Identity, http: Handler, clock: Clock) -> auth.Credential:
    """Return the credential of the endpoint's registration, for which a managed identity may stand in."""
    if identity.sign_in is not SignInMethod.MANAGED_IDENTITY:
        return _credential(identity)
    if not identity.client_id:
        raise SignInError(
            "The endpoint acts for its callers as a registration, but none is named.",
            remedy="Set DATAVERSE_CLIENT_ID to the registration that trusts the managed identity.",
        )
    return auth.managed_assertion(identity.managed_identity, http, clock)


def code_flow(identity: Identity, authority: str, http: Handler, clock: Clock) -> CodeFlow | None:
    """Return how people sign in at the endpoint's page; None where its registration has no credential."""
    if not identity.client_id or identity.sign_in not in CREDENTIALS:
        return None
    registration = auth.Registration(identity.client_id, lambda: authority, "")
    return CodeFlow(registration, functools.partial(credential_on_behalf, identity, http, clock), http)


def _credential(identity: Identity) -> auth.Credential:
    if identity.certificate is not None and identity.sign_in is SignInMethod.CERTIFICATE:
        return auth.certificate(identity.certificate, identity.certificate_password)
    if identity.federated_token_file is not None and identity.sign_in is SignInMethod.FEDERATED:
        return auth.federated(identity.federated_token_file)
    return identity.secret
