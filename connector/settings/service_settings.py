"""The settings of the hosted endpoint: the name, type, default and explanation of each, and what must go together."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

SHORTEST_SECRET = 32
"""Characters of the endpoint's secret."""
MOST_KEYS = 2
_DIGEST = re.compile(r"[0-9a-f]{64}")


def _entries(value: object) -> tuple[str, ...]:
    """Return what stands between the commas of a text; a default, which is none, is returned as it is."""
    if not isinstance(value, str):
        return tuple(value) if isinstance(value, tuple | frozenset) else ()
    return tuple(entry.strip() for entry in value.split(",") if entry.strip())


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("must be an https address, as in https://close.contoso.com")
    return value.rstrip("/")


def _tenants(value: object) -> dict[str, str]:
    tenants = {}
    for entry in _entries(value):
        tenant, _, address = entry.partition("=")
        if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", tenant):
            raise ValueError(f"names {tenant!r}, which is not the id of a tenant")
        if address and not re.fullmatch(r"https://[A-Za-z0-9.-]+(:\d{1,5})?", address):
            raise ValueError(f"maps {tenant} to what is not an organization's address; write TENANT=https://HOST")
        tenants[tenant.lower()] = address
    return tenants


def _api_keys(value: object) -> dict[str, str]:
    entries = _entries(value)
    if len(entries) > MOST_KEYS:
        raise ValueError("may hold two keys: the one in use and its successor")
    if not all(re.fullmatch(r"([0-9a-fA-F-]{36}/)?[\w.-]+:[0-9a-f]{64}", entry, re.ASCII) for entry in entries):
        raise ValueError(
            "must be TENANT/NAME:SHA256 in lower-case hexadecimal; `connector serve --make-key` prints one"
        )
    return {digest: name for name, _, digest in (entry.partition(":") for entry in entries)}


def _webhook_keys(value: object) -> dict[str, str]:
    entries = [entry.rpartition(":") for entry in _entries(value)]
    if not all(re.fullmatch(r"[\w-]+", tenant) and _DIGEST.fullmatch(digest) for tenant, _, digest in entries):
        raise ValueError("must be TENANT:SHA256 in lower-case hexadecimal; `connector serve --make-key` prints one")
    if max(Counter(tenant.lower() for tenant, _, _ in entries).values(), default=0) > MOST_KEYS:
        raise ValueError("may hold two keys of a tenant: the one in use and its successor")
    return {digest: tenant.lower() for tenant, _, digest in entries}


def _host_suffixes(value: object) -> tuple[str, ...]:
    entries = _entries(value)
    if not all(re.fullmatch(r"\*\.[a-z0-9-]+(\.[a-z0-9-]+)+", entry) for entry in entries):
        raise ValueError("must be patterns such as *.azure-apim.net")
    return tuple(entry.removeprefix("*") for entry in entries)


def _secret(value: SecretStr) -> SecretStr:
    if 0 < len(value.get_secret_value()) < SHORTEST_SECRET:
        raise ValueError(f"must have at least {SHORTEST_SECRET} characters that nobody can guess")
    return value


def _is_auto(value: object) -> bool:
    if value in {"auto", "off"}:
        return value == "auto"
    raise ValueError("must be auto or off")


Texts = Annotated[frozenset[str], BeforeValidator(_entries)]
LowerTexts = Annotated[frozenset[str], BeforeValidator(lambda text: frozenset(map(str.lower, _entries(text))))]
HostSuffixes = Annotated[tuple[str, ...], BeforeValidator(_host_suffixes)]


class ServiceSettings(BaseModel):
    """The settings of the hosted endpoint, checked. Times are in seconds.

    `tenants` maps tenant ids to addresses of organizations, empty for the one of DATAVERSE_URL; `api_keys` maps
    SHA-256 digests to names, `webhook_keys` to tenants; hosts are the ends of names. `access` is
    CONNECTOR_SERVICE_ACCESS in the environment, and so on.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        alias_generator=lambda name: f"CONNECTOR_SERVICE_{name.upper()}",
    )

    sign_in: Literal["auto", "entra", "easy_auth", "development"] = Field(
        "auto",
        description="How callers of the endpoint sign in: entra (tokens), easy_auth (those that App Service, Functions "
        "or Container Apps pass on), development (nobody does; for an emulator on this machine only), or auto: "
        "development with an emulator inside this process, else entra.",
    )
    access: Literal["on_behalf_of", "application", "by_caller"] = Field(
        "on_behalf_of",
        description="As whom the endpoint uses the organization: on_behalf_of (as the user who calls, with that "
        "user's rights), application (as its own application user), by_caller (users as themselves, applications as "
        "its own).",
    )
    tenants: Annotated[dict[str, str], BeforeValidator(_tenants)] = Field(
        {},
        description="The ids of the tenants that may call, separated by commas; each may name its own organization, "
        "as in TENANT=https://ORG.crm4.dynamics.com.",
    )
    audiences: Texts = Field(
        frozenset(),
        description="What tokens must be for, separated by commas: the endpoint's client id (v2 tokens) and App ID "
        "URI (v1 tokens).",
    )
    clients: LowerTexts = Field(
        frozenset(),
        description="The client ids of the applications that may call, separated by commas: the connector's, above "
        "all.",
    )
    scope: str = Field("user_impersonation", description="The delegated permission that a user's token must have.")
    role: str = Field("Opportunities.Close", description="The app role that an application's token must have.")
    operator_role: str = Field(
        "Operations.Manage", description="The app role of those who may see and manage everybody's operations."
    )
    authority: Annotated[str, AfterValidator(_origin)] = Field(
        "https://login.microsoftonline.com", description="The sign-in service whose tokens the endpoint accepts."
    )
    api_keys: Annotated[dict[str, str], BeforeValidator(_api_keys)] = Field(
        {},
        description="Digests of API keys, TENANT/NAME:SHA256, at most two, separated by a comma; connector serve "
        "--make-key makes one. Such callers use the organization as the endpoint's application user.",
    )
    public_url: Annotated[str, AfterValidator(lambda value: value and _origin(value))] = Field(
        "", description="Where callers reach the endpoint, as in https://close.contoso.com."
    )
    gateway_hosts: HostSuffixes = Field(
        (),
        description="Gateways through which status addresses may lead, as in *.azure-apim.net,*.azure-apihub.net; "
        "without them they lead to the public address.",
    )
    secret: Annotated[SecretStr, AfterValidator(_secret)] = Field(
        SecretStr(""),
        description="Signs status addresses and seals what callers entrust, at least 32 characters, the same for all "
        "instances; when absent, a file beside the job store keeps one.",
    )
    deadline: Annotated[float, Field(gt=0, le=95)] = Field(
        90.0,
        description="Seconds after which a caller who waits is told where to ask again; the flow engine gives up at "
        "120.",
    )
    keep: Annotated[float, Field(ge=24, le=8760), AfterValidator(lambda hours: hours * 3600)] = Field(
        168.0,
        alias="CONNECTOR_SERVICE_KEEP_HOURS",
        validate_default=True,
        description="Hours for which the answer of an operation is kept for repetitions of its request.",
    )
    workers: Annotated[int, Field(ge=0, le=64)] = Field(
        8, description="How many operations this instance works off side by side; 0 leaves that to other instances."
    )
    instances: Annotated[int, Field(ge=1, le=1000)] = Field(
        1,
        description="How many processes serve the endpoint on one store at most: the start and `/readyz` say when its "
        "PostgreSQL server has too few connections for them.",
    )
    requests_per_minute: Annotated[int, Field(ge=1, le=499)] = Field(
        300, description="How many requests a connection may send in a minute; the platform allows 500."
    )
    webhook_keys: Annotated[dict[str, str], BeforeValidator(_webhook_keys)] = Field(
        {},
        description="Digests of the keys that the webhooks of Dataverse send, TENANT:SHA256, at most two for a tenant, "
        "separated by commas; connector serve --make-key makes one. Without any, the organization is asked for its "
        "changes every minute while somebody is subscribed.",
    )
    callback_hosts: HostSuffixes = Field(
        (),
        description="Hosts that may be told of closed opportunities beside those of the platform, as in *.contoso.com.",
    )
    telemetry: Annotated[bool, BeforeValidator(_is_auto)] = Field(
        default=True,
        description="Whether traces, metrics and the audit log are sent by OpenTelemetry: auto (to the collector that "
        "OTEL_EXPORTER_OTLP_ENDPOINT names, nothing without it) or off.",
    )


COLLECTORS = tuple(f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT" for kind in ("", "TRACES_", "METRICS_", "LOGS_"))
"""The variables by which OpenTelemetry is told where its collector is."""


def key_tenant(settings: ServiceSettings) -> str:
    """Return the tenant of keys that name none: the only one, or the only one at DATAVERSE_URL; else empty."""
    own = [tenant for tenant, address in settings.tenants.items() if not address or len(settings.tenants) == 1]
    return own[0] if len(own) == 1 else ""


def service_problems(settings: ServiceSettings, *, embedded: bool) -> list[str]:
    """Return what keeps an endpoint with these settings from being served, a sentence each.

    `embedded` says that the organization is an emulator inside the process.
    """
    problems = []
    development = settings.sign_in == "development" or (settings.sign_in == "auto" and embedded)
    if development and not embedded:
        problems.append("CONNECTOR_SERVICE_SIGN_IN is development, which serves only an emulator inside this process.")
    if not development:
        required = {
            "CONNECTOR_SERVICE_TENANTS": settings.tenants,
            "CONNECTOR_SERVICE_AUDIENCES": settings.audiences,
            "CONNECTOR_SERVICE_CLIENTS": settings.clients,
            "CONNECTOR_SERVICE_PUBLIC_URL": settings.public_url,
        }
        problems += [
            f"{name} is missing; an endpoint that others reach needs it."
            for name, value in required.items()
            if not value
        ]
    strangers = set() if development else set(settings.webhook_keys.values()) - set(settings.tenants)
    problems += [
        f"CONNECTOR_SERVICE_WEBHOOK_KEYS has a key of {tenant}, which CONNECTOR_SERVICE_TENANTS does not name."
        for tenant in sorted(strangers)
    ]
    problems += [
        f"CONNECTOR_SERVICE_API_KEYS: the key {name} belongs to no tenant that may call; write TENANT/NAME:SHA256."
        for name in ([] if development else settings.api_keys.values())
        if (name.rpartition("/")[0].lower() or key_tenant(settings)) not in settings.tenants
    ]
    if settings.api_keys and settings.access == "on_behalf_of":
        problems.append("CONNECTOR_SERVICE_API_KEYS needs CONNECTOR_SERVICE_ACCESS=by_caller: a key is no user.")
    return problems
