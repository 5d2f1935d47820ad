"""The connector definition, served by the deployment that it describes: Swagger 2.0, properties, icon. No secret."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib import metadata, resources
from string import Template
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi

from connector.service.connector_definition.projection import project
from connector.service.operations.operation_specs import OPERATIONS
from connector.service.schemas.response_models import ClosedEvent

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
    deployed = {field.name: getattr(deployment, field.name) for field in fields(deployment)}
    deployed |= {"full_scope": deployment.full_scope, "email": deployment.email, "site": deployment.site}
    deployed |= {"brand": BRAND_COLOR, "redirect": REDIRECT_URL, "private": deployment.privacy or deployment.site}
    escaped = {name: json.dumps(value)[1:-1] for name, value in {**deployed, **values}.items()}
    document: dict[str, Any] = json.loads(Template(text).substitute(escaped))
    return document


TITLE = "Opportunity Close"
DESCRIPTION = (
    "Closes Dynamics 365 opportunities as won or lost together with their draft and active quotes. A request may be "
    "sent again: nothing happens twice, and the answer is the same."
)
TRIGGERS: Mapping[str, str] = {"SubscribeOpportunityClosed": "OpportunityClosed"}
"""The webhook that each trigger subscribes to, by operation."""

SWAGGER_PATH, PROPERTIES_PATH = "/connector/apiDefinition.swagger.json", "/connector/apiProperties.json"
MCP_PATH, ICON_PATH = "/connector/mcpDefinition.swagger.json", "/connector/icon.png"
_SIGN_IN = "oauth2_auth"


def openapi(app: FastAPI, deployment: Deployment) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the connector's operations in `app`, with sign-in, trigger and contact."""
    routes = [route for route in app.routes if getattr(route, "operation_id", None) in OPERATIONS]
    document = get_openapi(
        title=TITLE,
        version=metadata.version("dataverse-close-connector"),
        description=DESCRIPTION,
        routes=routes,
        webhooks=_webhooks().routes,
        servers=[{"url": f"https://{deployment.host}"}],
    )
    document["info"]["contact"] = {"name": deployment.contact_name, "url": deployment.site, "email": deployment.email}
    document["info"]["x-ms-api-annotation"] = {"status": "Production"}
    document["components"]["securitySchemes"] = {_SIGN_IN: _sign_in(deployment)}
    document["security"] = [{_SIGN_IN: [deployment.full_scope]}]
    return document | _metadata(deployment)


def swagger(app: FastAPI, deployment: Deployment) -> dict[str, Any]:
    """Return `apiDefinition.swagger.json` of `app` as `deployment` serves it."""
    return project(openapi(app, deployment), deployment.host, TRIGGERS)


def mcp_swagger(deployment: Deployment) -> dict[str, Any]:
    """Return the definition of the second connector, which offers the tools of `/mcp` to agents."""
    version = metadata.version("dataverse-close-connector")
    return filled("mcpDefinition", deployment, {"about": DESCRIPTION, "version": version})


def text(document: Mapping[str, Any]) -> str:
    """Return `document` as a file of the connector: UTF-8 JSON, four spaces, a line end at the end."""
    return json.dumps(document, indent=4, ensure_ascii=False) + "\n"


def router(deployment: Deployment) -> APIRouter:
    """Return the routes that serve the connector's files for `deployment`; they need no sign-in."""
    routes = APIRouter(prefix="", include_in_schema=False)

    files: Mapping[str, Callable[[FastAPI], Response]] = {
        SWAGGER_PATH: lambda app: _file(swagger(app, deployment)),
        PROPERTIES_PATH: lambda _app: _file(api_properties(deployment)),
        MCP_PATH: lambda _app: _file(mcp_swagger(deployment)),
        ICON_PATH: lambda _app: Response(icon_png(), media_type="image/png"),
    }

    def served(request: Request) -> Response:
        return files[request.scope["route"].path](request.app)

    for path in files:
        routes.add_api_route(path, served, methods=["GET"])
    return routes


def icon_png() -> bytes:
    """Return the connector's icon: a check mark on the brand colour, 160 pixels square (100 to 230 are accepted)."""
    return resources.files(__package__ or "").joinpath("icon.png").read_bytes()


def _file(document: Mapping[str, Any]) -> Response:
    return Response(text(document), media_type="application/json", headers={"cache-control": "no-cache"})


def _webhooks() -> APIRouter:
    """Return the event that a flow gets, as the webhook of the document."""
    webhooks = APIRouter()

    @webhooks.post("OpportunityClosed", description="An opportunity was closed.", summary="Opportunity closed")
    def opportunity_closed(event: ClosedEvent) -> None: ...

    return webhooks


def _sign_in(deployment: Deployment) -> dict[str, Any]:
    base = f"{deployment.authority}/{deployment.tenant}/oauth2/v2.0"
    flow = {
        "authorizationUrl": f"{base}/authorize",
        "tokenUrl": f"{base}/token",
        "scopes": {deployment.full_scope: "Close opportunities as the signed-in user."},
    }
    return {"type": "oauth2", "flows": {"authorizationCode": flow}}


def _metadata(deployment: Deployment) -> dict[str, Any]:
    return {
        "x-ms-connector-metadata": [
            {"propertyName": "Website", "propertyValue": deployment.site},
            {"propertyName": "Privacy policy", "propertyValue": deployment.privacy or deployment.site},
            {"propertyName": "Categories", "propertyValue": "Sales and CRM"},
        ],
        "x-ms-capabilities": {"testConnection": {"operationId": "TestConnection", "parameters": {}}},
    }
