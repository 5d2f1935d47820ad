"""The token endpoint: who gets which token for what, by which credential, and what Entra says otherwise.

Error numbers and wordings follow Microsoft's list of AADSTS codes; clients are told to branch on `error` alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote_plus

from connector.clock import Clock
from connector.emulator.identity.issuer import Application, Form, Issuer, Person, Tenant, entra_error, missing, required

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
        match = next((registered for registered in application.secrets if registered.value == secret), None)
        if match is None:
            raise entra_error("7000215", application.client_id)
        if match.expires is not None and match.expires <= self._clock.now():
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


OIDC_SCOPES = frozenset({"openid", "profile", "offline_access", "email"})
GRAPH = "00000003-0000-0000-c000-000000000000"
"""The resource of those who ask only who somebody is."""
DATAVERSE_APPLICATION = "00000007-0000-0000-c000-000000000000"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
REMEMBERED = 1000
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a refresh token, a device code or an authorization code stands for."""

    client_id: str
    person: Person | None
    resource: str
    scope: str
    expires: float
    challenge: str = ""
    redirect_uri: str = ""
    nonce: str = ""
    user_code: str = ""


class Grants:
    """Answers token requests of one tenant. `audiences` are the resources there are (URLs without a final slash)."""

    def __init__(self, tenant: Tenant, issuer: Issuer, audiences: frozenset[str], clock: Clock) -> None:
        self.tenant = tenant
        self.issuer = issuer
        self.audiences = audiences
        self.credentials = Credentials(tenant, issuer, clock)
        self._clock = clock
        self._refresh: OrderedDict[str, Grant] = OrderedDict()
        self._codes: OrderedDict[str, Grant] = OrderedDict()
        self._devices: OrderedDict[str, Grant] = OrderedDict()

    def token(self, form: Form, authorization: str | None) -> dict[str, Any]:
        """Answer a token request; raises EntraError with what Entra would say."""
        grant_type = required(form, "grant_type")
        answer: dict[str, Callable[[Form, str | None], dict[str, Any]]] = {
            "client_credentials": self._client_credentials,
            "refresh_token": self._refresh_token,
            "authorization_code": self._authorization_code,
            DEVICE_CODE: self._device_code,
            "device_code": self._device_code,
            JWT_BEARER: self._on_behalf_of,
        }
        if grant_type not in answer:
            raise entra_error("70003", grant_type)
        return answer[grant_type](form, authorization)

    def managed_identity(self, client_id: str | None, resource: str) -> dict[str, Any]:
        """Return the token answer of a managed-identity endpoint (`expires_on` and `expires_in` are texts there)."""
        application = self.tenant.application(client_id or self.tenant.managed_identity)
        if application is None:
            raise entra_error("0")
        audience = self._resource(resource)
        token = self.issuer.access(application, "2", None, audience, "")
        expires = int(self._clock.now().timestamp()) + self.tenant.token_lifetime
        return {
            "access_token": token,
            "client_id": application.client_id,
            "expires_in": str(self.tenant.token_lifetime),
            "expires_on": str(expires),
            "resource": resource,
            "token_type": "Bearer",
        }

    def begin_device(self, form: Form) -> dict[str, Any]:
        """Answer a device authorization request: the codes, and where a person confirms."""
        application = self.credentials.known(required(form, "client_id"))
        resource, scope = self._scope(required(form, "scope"))
        device_code = self.issuer.opaque()
        user_code = "".join(_LETTERS[byte % 32] for byte in self.issuer.opaque()[:9].encode())
        grant = Grant(application.client_id, None, resource, scope, self._now() + 900, user_code=user_code)
        remember(self._devices, device_code, grant)
        uri = f"{self.issuer.login_url}/devicelogin"
        return {
            "user_code": user_code,
            "device_code": device_code,
            "verification_uri": uri,
            "expires_in": 900,
            "interval": self.tenant.device_interval,
            "message": f"To sign in, use a web browser to open the page {uri} and enter the code {user_code} to "
            "authenticate.",
        }

    def approve_device(self, user_code: str) -> bool:
        """Sign the tenant's first person in on the device that shows `user_code`; False when there is none."""
        for device_code, grant in self._devices.items():
            if grant.user_code == user_code.strip().upper():
                self._devices[device_code] = replace(grant, person=self.tenant.people[0])
                return True
        return False

    def authorize(self, query: Form) -> str:
        """Return an authorization code for the tenant's first person, who consents at once."""
        application = self.credentials.known(required(query, "client_id"))
        resource, scope = self._scope(required(query, "scope"))
        if query.get("code_challenge_method", "S256") != "S256":
            raise entra_error("501481")
        code = self.issuer.opaque()
        grant = Grant(
            application.client_id,
            self.tenant.people[0],
            resource,
            scope,
            self._now() + 600,
            challenge=query.get("code_challenge", ""),
            redirect_uri=required(query, "redirect_uri"),
            nonce=query.get("nonce", ""),
        )
        remember(self._codes, code, grant)
        return code

    # The flows.

    def _client_credentials(self, form: Form, authorization: str | None) -> dict[str, Any]:
        application, strength = self.credentials.authenticate(form, authorization)
        if "resource" in form:
            resource = self._resource(form["resource"])
        else:
            scope = required(form, "scope")
            if not scope.endswith("/.default"):
                raise entra_error("1002012", scope)
            resource, _ = self._scope(scope)
        return self._answer(self.issuer.access(application, strength, None, resource, ""))

    def _refresh_token(self, form: Form, authorization: str | None) -> dict[str, Any]:
        grant = self._refresh.get(required(form, "refresh_token"))
        application, strength = self.credentials.client(form, authorization)
        if grant is None or grant.expires < self._now():
            raise entra_error("700082")
        if grant.client_id != application.client_id:
            raise entra_error("70000")
        scope = form.get("scope", grant.scope)
        resource = self._scope(scope)[0] if set(scope.split()) - OIDC_SCOPES else grant.resource
        return self._for_person(application, strength, replace(grant, resource=resource, scope=scope))

    def _authorization_code(self, form: Form, authorization: str | None) -> dict[str, Any]:
        grant = self._codes.pop(required(form, "code"), None)
        application, strength = self.credentials.client(form, authorization)
        if grant is None or grant.expires < self._now() or grant.client_id != application.client_id:
            raise entra_error("70008")
        if form.get("redirect_uri", grant.redirect_uri) != grant.redirect_uri:
            raise entra_error("50011b")
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if grant.challenge and base64.urlsafe_b64encode(verifier).rstrip(b"=").decode() != grant.challenge:
            raise entra_error("501481b")
        return self._for_person(application, strength, grant)

    def _device_code(self, form: Form, authorization: str | None) -> dict[str, Any]:
        code = form.get("device_code") or required(form, "code")
        application, strength = self.credentials.client(form, authorization)
        grant = self._devices.get(code)
        if grant is None or grant.client_id != application.client_id:
            raise entra_error("70019")
        if grant.expires < self._now():
            raise entra_error("70020")
        if grant.person is None:
            raise entra_error("70016")
        del self._devices[code]
        return self._for_person(application, strength, grant)

    def _on_behalf_of(self, form: Form, authorization: str | None) -> dict[str, Any]:
        from connector.emulator.identity.jwt import InvalidToken

        application, strength = self.credentials.authenticate(form, authorization)
        if form.get("requested_token_use") != "on_behalf_of":
            raise missing("requested_token_use")
        try:
            claims = self.issuer.check(required(form, "assertion"))
        except InvalidToken as error:
            raise entra_error("50013b", error) from error
        person = next((person for person in self.tenant.people if person.object_id == claims.get("oid")), None)
        if person is None or claims["exp"] < self._now():
            raise entra_error("500133")
        if str(claims["aud"]).removeprefix("api://").lower() != application.client_id.lower():
            raise entra_error("50013")
        resource, scope = self._scope(required(form, "scope"))
        return self._for_person(application, strength, Grant(application.client_id, person, resource, scope, 0))

    # For what.

    def _scope(self, scope: str) -> tuple[str, str]:
        """Return the one resource of a scope text and the text itself."""
        resources = {name.rpartition("/")[0] for name in scope.split() if name not in OIDC_SCOPES}
        if not resources and scope.strip():
            return GRAPH, scope
        if len(resources) != 1 or "" in resources:
            raise entra_error("70011", scope)
        return self._resource(resources.pop()), scope

    def _resource(self, resource: str) -> str:
        plain = resource.rstrip("/")
        own = {name for app in self.tenant.applications for name in (app.client_id, f"api://{app.client_id}")}
        exchange = {federation.audience for app in self.tenant.applications for federation in app.federations}
        if plain in self.audiences | own | exchange or plain == DATAVERSE_APPLICATION:
            return resource
        raise entra_error("500011", resource, self.tenant.tenant_id)

    # What they get.

    def _for_person(self, application: Application, strength: str, grant: Grant) -> dict[str, Any]:
        assert grant.person is not None
        scopes = " ".join(name for name in grant.scope.split() if name not in OIDC_SCOPES)
        answer = self._answer(self.issuer.access(application, strength, grant.person, grant.resource, scopes))
        answer["scope"] = scopes
        if "offline_access" in grant.scope.split():
            token = self.issuer.opaque()
            remember(self._refresh, token, replace(grant, expires=self._now() + 90 * 86400))
            answer["refresh_token"] = token
        person = {"uid": grant.person.object_id, "utid": self.tenant.tenant_id}
        answer["client_info"] = base64.urlsafe_b64encode(json.dumps(person).encode()).rstrip(b"=").decode()
        if "openid" in grant.scope.split():
            answer["id_token"] = self.issuer.identity(application, grant.person, grant.nonce)
        return answer

    def _answer(self, token: str) -> dict[str, Any]:
        lifetime = self.tenant.token_lifetime
        return {"token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token}

    def _now(self) -> float:
        return self._clock.now().timestamp()


def remember(store: OrderedDict[str, Grant], key: str, grant: Grant) -> None:
    """Keep `grant` under `key`, forgetting the oldest beyond a bound."""
    store[key] = grant
    while len(store) > REMEMBERED:
        store.popitem(last=False)
