"""The connector's `apiProperties.json`: how it signs in, by whom it is published, what it looks like. No secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources
from string import Template
from typing import Any

BRAND_COLOR = "#0f5c4d"
"""The background of the icon; neither the default blue nor white (certification rules)."""

REDIRECT_URL = "https://global.consent.azure-apim.net/redirect"
"""Where the platform takes a sign-in back; with one redirect per connector it appends a part of its own."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment of the endpoint, as its connector describes it.

    `host` is the public host, without scheme. `audience` is the App ID URI or client id that tokens are for, `scope`
    the delegated permission, `client_id` the connector's own app registration; `tenant` is a tenant id, or
    `organizations` for several. The contact is shown to makers.
    """

    host: str
    audience: str
    client_id: str = "00000000-0000-0000-0000-000000000000"
    tenant: str = "organizations"
    scope: str = "user_impersonation"
    authority: str = "https://login.microsoftonline.com"
    publisher: str = "Dataverse Close"
    contact_name: str = "Endpoint administrator"
    contact_email: str = ""
    website: str = ""
    privacy: str = ""

    @property
    def full_scope(self) -> str:
        """Return the permission as a token request names it."""
        return f"{self.audience.rstrip('/')}/{self.scope}"

    @property
    def email(self) -> str:
        """Return the contact's address, by default `support` at the deployment's own host."""
        return self.contact_email or f"support@{self.host.partition(':')[0]}"

    @property
    def site(self) -> str:
        """Return the address of the endpoint's website, by default its own."""
        return self.website or f"https://{self.host}/"


def api_properties(deployment: Deployment) -> dict[str, Any]:
    """Return `apiProperties.json`: Entra sign-in with a redirect per connector; no secret is needed or named."""
    # The platform names the tenant of several tenants `common`; consent is per tenant either way.
    tenant = "common" if deployment.tenant == "organizations" else deployment.tenant
    return filled("apiProperties", deployment, {"tenant": tenant})


def filled(name: str, deployment: Deployment, values: Mapping[str, str]) -> dict[str, Any]:
    """Return the document of this name, with what the deployment says in it; `values` are beside that or instead."""
    text = resources.files(__package__ or "").joinpath(f"{name}.template.json").read_text(encoding="utf-8")
    known = {field.name: getattr(deployment, field.name) for field in fields(deployment)}
    known |= {"full_scope": deployment.full_scope, "email": deployment.email, "site": deployment.site}
    known |= {"brand": BRAND_COLOR, "redirect": REDIRECT_URL, "private": deployment.privacy or deployment.site} | dict(
        values
    )
    document: dict[str, Any] = json.loads(Template(text).substitute({n: json.dumps(v)[1:-1] for n, v in known.items()}))
    return document
