"""The connector's `apiProperties.json`: how it signs in, by whom it is published, what it looks like. No secret."""

from __future__ import annotations

from dataclasses import dataclass
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
    sign_in = {
        "identityProvider": "aad",
        "clientId": deployment.client_id,
        "scopes": [deployment.full_scope],
        "redirectMode": "GlobalPerConnector",
        "redirectUrl": REDIRECT_URL,
        "properties": {
            "IsFirstParty": "False",
            "AzureActiveDirectoryResourceId": deployment.audience,
            "IsOnbehalfofLoginSupported": True,
        },
        "customParameters": {
            "loginUri": {"value": deployment.authority},
            "tenantId": {"value": tenant},
            "resourceUri": {"value": deployment.audience},
            "enableOnbehalfOfLogin": {"value": "false"},
        },
    }
    tenant_parameter = {
        "type": "string",
        "metadata": {"sourceType": "AzureActiveDirectoryTenant"},
        "uiDefinition": {"constraints": {"required": "false", "hidden": "true"}},
    }
    return {
        "properties": {
            "connectionParameters": {
                "token": {"type": "oauthSetting", "oAuthSettings": sign_in},
                "token:TenantId": tenant_parameter,
            },
            "iconBrandColor": BRAND_COLOR,
            "capabilities": ["actions"],
            "publisher": deployment.publisher,
            "stackOwner": deployment.publisher,
        }
    }
