"""Who asks for a token: applications proving themselves by secret, certificate or federated assertion."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from connector.clock import Clock
from connector.emulator.identity.issuer import Application, Form, Issuer, Tenant, entra_error, missing, required

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Credentials:
    """Checks who an application is, against the tenant's registrations."""

    def __init__(self, tenant: Tenant, issuer: Issuer, clock: Clock) -> None:
        self._tenant = tenant
        self._issuer = issuer
        self._clock = clock

    def known(self, client_id: str) -> Application:
        """Return the registration of `client_id`; raises EntraError when there is none or it is disabled."""
        application = self._tenant.application(client_id)
        if application is None:
            raise entra_error("700016", client_id, self._tenant.tenant_id)
        if application.disabled:
            raise entra_error("7000112", client_id, application.name)
        return application

    def client(self, form: Form, authorization: str | None) -> tuple[Application, str]:
        """Return the application of a user flow: with its credential when it shows one, else as a public client."""
        if authorization or "client_secret" in form or "client_assertion" in form:
            return self.authenticate(form, authorization)
        return self.known(required(form, "client_id")), "0"

    def authenticate(self, form: Form, authorization: str | None) -> tuple[Application, str]:
        """Return the application and how it proved itself: "1" by secret, "2" by assertion (claim `appidacr`)."""
        basic = basic_credentials(authorization)
        client_id, secret = basic or (form.get("client_id", ""), form.get("client_secret"))
        if "client_assertion" in form:
            return self._assertion(form), "2"
        if not client_id:
            raise missing("client_id")
        application = self.known(client_id)
        if secret is None:
            raise entra_error("7000218")
        self._check_secret(application, secret)
        return application, "1"

    def _check_secret(self, application: Application, secret: str) -> None:
        known = next((registered for registered in application.secrets if registered.value == secret), None)
        if known is None:
            raise entra_error("7000215", application.client_id)
        if known.expires is not None and known.expires <= self._clock.now():
            raise entra_error("7000222", application.client_id)

    def _assertion(self, form: Form) -> Application:
        from connector.emulator.identity.jwt import InvalidToken, take_apart

        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise missing("client_assertion_type")
        try:
            claims = take_apart(form["client_assertion"]).claims
            application = self.known(form.get("client_id") or str(claims.get("sub", "")))
            self._check_assertion(application, form["client_assertion"], claims)
        except InvalidToken as error:
            raise entra_error("700027", error) from error
        return application

    def _check_assertion(self, application: Application, token: str, claims: Mapping[str, Any]) -> None:
        from connector.emulator.identity.jwt import check_assertion

        base = f"{self._issuer.login_url}/{self._tenant.tenant_id}"
        own = (f"{base}/oauth2/v2.0/token", f"{base}/oauth2/token", f"{base}/v2.0", f"{base}/", base)
        if claims.get("iss") in (self._issuer.name("1.0"), self._issuer.name("2.0")):
            self._issuer.check(token)
            audiences = tuple(
                federation.audience for federation in application.federations if federation.subject == claims.get("sub")
            )
            if not audiences:
                raise entra_error("70021")
        else:
            check_assertion(token, application.certificates)
            audiences = own
            if claims.get("iss") != application.client_id or claims.get("sub") != application.client_id:
                raise entra_error("700021")
        if claims.get("aud") not in audiences:
            raise entra_error("700023")
        if not float(claims.get("nbf", 0)) - 300 <= self._clock.now().timestamp() < float(claims.get("exp", 0)):
            raise entra_error("700024")


def basic_credentials(authorization: str | None) -> tuple[str, str] | None:
    """Return client id and secret of a Basic header (form-encoded inside, as OAuth asks), or None."""
    if authorization is None or not authorization.lower().startswith("basic "):
        return None
    try:
        text = base64.b64decode(authorization[6:], validate=True).decode()
    except ValueError:
        return None
    client_id, _, secret = text.partition(":")
    return unquote_plus(client_id), unquote_plus(secret)
