"""The identity provider as an HTTP server: discovery documents, keys, token endpoint, sign-in pages.

One tenant under `/<tenant id>/...`, with the paths and fields of Microsoft Entra ID as MSAL and azure-identity use
them, and the endpoints of managed identities (IMDS and App Service).
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlencode

from connector.emulator.http.exchange import (
    form_fields,
    html_response,
    json_response,
    query_fields,
    redirect,
    split_url,
    text_response,
)
from connector.emulator.identity.grants import Grants
from connector.emulator.identity.issuer import EntraError, Form, entra_error, required
from connector.handler import Request, Response

NO_STORE = (("Cache-Control", "no-store, no-cache"), ("Pragma", "no-cache"))
IMDS = "/metadata/identity/oauth2/token"
APP_SERVICE = "/msi/token"
ROOTS = frozenset({"common", "devicelogin", "organizations", "consumers"})


class IdentityProvider:
    """Answers everything under the identity provider's origin."""

    def __init__(self, grants: Grants) -> None:
        self.grants = grants

    def owns(self, path: str) -> bool:
        """Return whether `path` is one that the identity provider answers."""
        if path in (IMDS, APP_SERVICE):
            return True
        segments = path.split("/")
        first = segments[1].lower()
        inside = len(segments) > 2 and segments[2] in ("v2.0", "oauth2", ".well-known", "discovery")
        return first == self.grants.tenant.tenant_id.lower() or first in ROOTS or inside

    def handle(self, request: Request) -> Response:
        """Answer one request; refusals have Entra's error body."""
        _, path, query = split_url(request.url)
        try:
            return self._answer(request, path, query_fields(query))
        except EntraError as error:
            body = self.grants.issuer.error_body(error, request.header("client-request-id"))
            return json_response(error.status, body, NO_STORE)

    def _answer(self, request: Request, path: str, query: Form) -> Response:
        if path in (IMDS, APP_SERVICE):
            return self._managed_identity(request, path, query)
        if path == "/devicelogin":
            return self._device_page(request, query)
        if path == "/common/discovery/instance":
            return self._instance()
        tenant, _, rest = path[1:].partition("/")
        self._check_tenant(tenant)
        return self._in_tenant(request, rest, query)

    def _in_tenant(self, request: Request, rest: str, query: Form) -> Response:  # noqa: PLR0911 - one line per route
        method, grants = request.method, self.grants
        match method, rest:
            case "GET", "v2.0/.well-known/openid-configuration":
                return json_response(HTTPStatus.OK, self._configuration("2.0"))
            case "GET", ".well-known/openid-configuration":
                return json_response(HTTPStatus.OK, self._configuration("1.0"))
            case "GET", "discovery/v2.0/keys" | "discovery/keys":
                return json_response(HTTPStatus.OK, {"keys": grants.issuer.published()})
            case "POST", "oauth2/v2.0/token" | "oauth2/token":
                answer = grants.token(form_fields(request), request.header("authorization"))
                return json_response(HTTPStatus.OK, answer, NO_STORE)
            case "POST", "oauth2/v2.0/devicecode":
                return json_response(HTTPStatus.OK, grants.begin_device(form_fields(request)), NO_STORE)
            case "GET", "oauth2/v2.0/authorize" | "oauth2/authorize":
                return self._authorize(query)
        return text_response(HTTPStatus.NOT_FOUND, f"The emulated identity provider has no {method} {rest}.\n")

    def _check_tenant(self, tenant: str) -> None:
        own_id = self.grants.tenant.tenant_id.lower()
        if tenant.lower() not in (own_id, "common", "organizations"):
            raise entra_error("90002", tenant)

    def _configuration(self, version: str) -> Mapping[str, object]:
        base = f"{self.grants.issuer.login_url}/{self.grants.tenant.tenant_id}"
        part = "/v2.0" if version == "2.0" else ""
        return {
            "issuer": self.grants.issuer.name(version),
            "authorization_endpoint": f"{base}/oauth2{part}/authorize",
            "token_endpoint": f"{base}/oauth2{part}/token",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{base}/discovery{part}/keys",
            "response_modes_supported": ["query", "form_post"],
            "response_types_supported": ["code"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "tenant_region_scope": None,
        }

    def _instance(self) -> Response:
        login = self.grants.issuer.login_url
        host = login.partition("://")[2]
        metadata = [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}]
        endpoint = f"{login}/{self.grants.tenant.tenant_id}/v2.0/.well-known/openid-configuration"
        document = {"tenant_discovery_endpoint": endpoint, "api-version": "1.1", "metadata": metadata}
        return json_response(HTTPStatus.OK, document)

    def _authorize(self, query: Form) -> Response:
        """Send the browser back to the application with a code; the emulator asks nothing."""
        target = required(query, "redirect_uri")
        if not target.startswith(("http://localhost", "http://127.0.0.1", "https://localhost", "https://127.0.0.1")):
            raise entra_error("50011", target, query.get("client_id", ""))
        fields = {"code": self.grants.authorize(query), "state": query.get("state", "")}
        if query.get("response_mode", "query") == "form_post":
            return html_response(HTTPStatus.OK, _form_post(target, fields))
        return redirect(f"{target}{'&' if '?' in target else '?'}{urlencode(fields)}")

    def _device_page(self, request: Request, query: Form) -> Response:
        """Show the form where a person confirms a device, or confirm it."""
        if request.method != "POST":
            return html_response(HTTPStatus.OK, _DEVICE_FORM.format(code=html.escape(query.get("otc", ""), quote=True)))
        confirmed = self.grants.approve_device(form_fields(request).get("otc", ""))
        sentence = "You have signed in on your device; close this page." if confirmed else "That code is not known."
        return html_response(
            HTTPStatus.OK if confirmed else HTTPStatus.BAD_REQUEST,
            _PAGE.format(title="Device sign-in", body=f"<p>{sentence}</p>"),
        )

    def _managed_identity(self, request: Request, path: str, query: Form) -> Response:
        proof = "metadata" if path == IMDS else "x-identity-header"
        if request.method != "GET" or not request.header(proof):
            return json_response(
                HTTPStatus.BAD_REQUEST, {"error": "invalid_request", "error_description": f"No header {proof}."}
            )
        try:
            answer = self.grants.managed_identity(query.get("client_id"), required(query, "resource"))
        except EntraError as error:
            return json_response(HTTPStatus.BAD_REQUEST, {"error": error.error, "error_description": error.text})
        return json_response(HTTPStatus.OK, answer, NO_STORE)


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>{title}</title>
<body style="font:16px/1.5 system-ui,sans-serif;max-width:28rem;margin:4rem auto;padding:0 1rem"><h1>{title}</h1>{body}
</body></html>"""

_DEVICE_FORM = _PAGE.format(
    title="Device sign-in",
    body='<form method="post"><label>Code shown on your device<br><input name="otc" value="{code}" autofocus></label> '
    "<button>Sign in as the emulator's administrator</button></form>",
)


def _form_post(target: str, fields: Mapping[str, str]) -> str:
    inputs = "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(value, quote=True)}">'
        for name, value in fields.items()
    )
    form = f'<form method="post" action="{html.escape(target, quote=True)}">{inputs}<button>Continue</button></form>'
    return _PAGE.format(title="Signing in", body=f"{form}<script>document.forms[0].submit()</script>")
