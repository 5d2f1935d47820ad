"""The settings by their names in the environment: the type of each, and the sentence that explains it to people."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from connector.closing.model import DraftPolicy

EMULATOR_SCHEME = "emulator:"
"""What DATAVERSE_URL begins with when it names a file for the embedded emulator."""
EMULATOR_FILE = ".state/emulator.db"
"""The file when it names none."""


class SignInMethod(StrEnum):
    """How a token is had."""

    SECRET = "secret"  # noqa: S105 - the name of a way, not one
    CERTIFICATE = "certificate"
    FEDERATED = "federated"
    MANAGED_IDENTITY = "managed_identity"
    DEVICE_CODE = "device_code"
    INTERACTIVE = "interactive"
    AZURE_CLI = "azure_cli"


def organization_url(value: str) -> str:
    """Return the address of an organization as it is compared. Raises ValueError with the end of a sentence."""
    if value.startswith(EMULATOR_SCHEME):
        return value if value.removeprefix(EMULATOR_SCHEME).strip() else f"{EMULATOR_SCHEME}{EMULATOR_FILE}"
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("is not an address; write it as https://ORG.crm4.dynamics.com") from None
    if parts.scheme != "https" or not parts.hostname or parts.username or re.search(r"[\s\\]", value):
        raise ValueError("must be the organization's own address, as in https://ORG.crm4.dynamics.com")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"https://{host}{f':{port}' if port and port != 443 else ''}"  # the port of https


def _store(value: str) -> str:
    if "://" in value and not value.startswith(("postgresql://", "postgres://")):
        raise ValueError("must be the path of a file, or an address that begins with postgresql://")
    return value


def _time_zone(value: str) -> str:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(value or "UTC")
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(f"is {value!r}, no time zone that is known here; write one as Europe/Berlin") from None
    return value


def _file(value: Path) -> Path:
    if not value.is_file():
        raise ValueError(f"names the file {value}, which does not exist or is not a file")
    return value


def _tenant(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", value) or value.lower() in ("common", "organizations"):
        raise ValueError("must be the tenant's id or one of its domains, as in contoso.onmicrosoft.com")
    return value.lower()


def _client(value: str) -> str:
    return str(UUID(value))


def _managed(value: str) -> str:
    return "" if value.lower() == "system" else _client(value)


def _https(value: str) -> str:
    if not re.fullmatch(r"https://[^/\s@]+/[\w.-]+/?", value):
        raise ValueError("must be an https address with a tenant, as in https://login.microsoftonline.com/TENANT")
    return value.rstrip("/")


def _proxy_url(value: str) -> str:
    if urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname:
        raise ValueError("must be an address such as http://proxy.example.com:8080")
    return value


def _action(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w{0,127}", value, re.ASCII):
        raise ValueError("must be the unique name of an action: letters, digits and _")
    return value


FilePath = Annotated[Path, AfterValidator(_file)]
ClientId = Annotated[str, AfterValidator(_client)]
ManagedIdentity = Annotated[str, AfterValidator(_managed)]
Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]


class Variables(BaseModel):
    """The settings, each with the sentence that explains it; `time_zone` is DATAVERSE_TIME_ZONE in the environment."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, alias_generator=lambda name: f"DATAVERSE_{name.upper()}"
    )

    url: Annotated[str, AfterValidator(organization_url)] = Field(
        description="The organization's address, as in https://ORG.crm4.dynamics.com; or emulator:PATH for an "
        "emulator inside this process that keeps its records in that file (emulator: alone: in .state/emulator.db)."
    )
    emulator_plugins: str = Field(
        "",
        description="For emulator:PATH: Python files of the emulated organization's own logic (plugin(context), "
        "flow(context)), separated as in PATH.",
    )
    tenant_id: Annotated[str, AfterValidator(_tenant)] = Field(
        "", description="The Entra tenant (id or domain); when absent, what the organization itself announces."
    )
    client_id: ClientId = Field("", description="The application (client) id of the app registration.")
    client_secret: SecretStr = Field(SecretStr(""), description="A client secret of it: the value, not its id.")
    client_certificate: FilePath | None = Field(
        None, description="Instead of a secret: a file with a certificate and its private key, PFX or PEM."
    )
    client_certificate_password: SecretStr = Field(SecretStr(""), description="The password of that file.")
    federated_token_file: FilePath | None = Field(
        None,
        description="Instead of a secret: a file with an assertion of a federated credential; read again each time.",
    )
    managed_identity: ManagedIdentity | None = Field(
        None, description="Instead of a secret, on Azure: system, or the client id of a user-assigned managed identity."
    )
    sign_in: SignInMethod | Literal["auto"] = Field(
        "auto",
        description="How to sign in: auto (by what is given above), secret, certificate, federated, managed_identity, "
        "or, for a person, device_code, interactive or azure_cli (who is signed in to the Azure CLI).",
    )
    authority: Annotated[str, AfterValidator(_https)] = Field(
        "",
        description="Where to sign in, as in https://login.microsoftonline.com/TENANT; when absent, found out from "
        "the organization.",
    )
    identities: FilePath | None = Field(
        None,
        description="A TOML file with more application users that share bulk work: [[identity]] tables with name, "
        "client_id, and client_secret, client_certificate, client_certificate_password, federated_token_file or "
        "managed_identity.",
    )
    caller_object_id: UUID | None = Field(
        None, description="The Entra object id of a user to act as; needs prvActOnBehalfOfAnotherUser (role Delegate)."
    )
    close_action: Annotated[str, AfterValidator(_action)] = Field(
        "",
        description="The unique name of an action of the organization's own that closes opportunities, called instead "
        "of WinOpportunity and LoseOpportunity with OpportunityClose and Status.",
    )
    time_zone: Annotated[str, AfterValidator(_time_zone)] = Field(
        "",
        description="Whose day a close without a date gets, as Europe/Berlin. When absent, that of this machine; for "
        "the endpoint, and where jobs are kept in PostgreSQL for several machines, that of UTC.",
    )
    lost_revenue: Literal["none", "zero"] = Field(
        "none",
        description="The actual revenue of a lost opportunity for which none is given: none, or zero, as Microsoft's "
        "own form writes it.",
    )
    bypass: str = Field(
        "",
        description="Which of the organization's own logic closes leave out: sync, async, flows, with commas between. "
        "Needs prvBypassCustomBusinessLogic.",
    )
    bypass_steps: str = Field(
        "", description="The ids of at most three plug-in steps that closes leave out, with commas between."
    )
    tag: str = Field(
        "", description="A text that the organization's plug-ins see with each write (shared variable tag)."
    )
    drafts: DraftPolicy = Field(
        DraftPolicy.ACTIVATE,
        description="What becomes of draft quotes: activate (then close), delete, direct (close as they are) or leave "
        "(refuse the close).",
    )
    atomic: Literal["auto", "off"] = Field(
        "auto",
        description="auto performs each plan as one transaction where the organization allows it; off goes step by "
        "step.",
    )
    ca_file: FilePath | None = Field(
        None,
        description="A PEM file of certificate authorities to trust instead of the public ones; it wins over "
        "REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE.",
    )
    proxy: Annotated[str, AfterValidator(_proxy_url)] = Field(
        "",
        description="The proxy to go through, as in http://proxy.example.com:8080; it wins over HTTPS_PROXY. NO_PROXY "
        "lists hosts that need none.",
    )
    connect_timeout: Seconds = Field(10.0, description="Seconds to wait for a connection.")
    read_timeout: Seconds = Field(
        150.0, description="Seconds to wait for an answer; the service ends an operation after 120."
    )
    retry_seconds: Annotated[float, Field(ge=0, le=86400)] = Field(
        900.0, description="Seconds to wait in total when the service says that it is too busy (429); 0 never waits."
    )
    metadata_seconds: Annotated[float, Field(ge=0, le=604800)] = Field(
        3600.0, description="Seconds for which the organization's status reasons and messages are kept."
    )
    connections: Annotated[int, Field(ge=1, le=1024)] = Field(
        416,
        description="How many requests to the organization are under way at most, each on its own connection; several "
        "identities share them evenly. The default is 52 at once, as documented, for eight web servers.",
    )
    token_cache: Path | None = Field(
        None,
        description="Where the encrypted tokens of a person who signed in are kept; when absent, in the user's state "
        "folder.",
    )
    store: Annotated[str, AfterValidator(_store)] = Field(
        "",
        alias="CONNECTOR_STORE",
        description="Where bulk jobs and the audit log are kept: a file, or postgresql://...; when absent, a file in "
        "the user's state folder.",
    )
    log_days: Annotated[float, Field(ge=0, le=36500)] = Field(
        400.0,
        alias="CONNECTOR_LOG_DAYS",
        description="Days for which the audit log (`connector log`) keeps an entry; 0 keeps all.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "WARNING", alias="CONNECTOR_LOG_LEVEL", description="How much is logged: DEBUG, INFO, WARNING or ERROR."
    )


def sentences(error: ValidationError, where: str = "") -> list[str]:
    """Return one sentence per problem that pydantic found; never the value, which may be a secret."""
    lines = list[str]()
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        name = where + ".".join(str(part) for part in problem["loc"][:1])
        problem_text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            problem_text = "is missing; set it in the environment or in .env"
        elif problem["type"] == "extra_forbidden":
            problem_text = "is not known here"
        elif problem_text.startswith("badly formed"):
            problem_text = "must be an id such as 00000000-0000-0000-0000-000000000000"
        problem_text = re.sub(r"^Input |, unable to parse.*", "", problem_text).replace("valid integer", "whole number")
        if problem["type"] == "literal_error" and any(line.startswith(f"{name} ") for line in lines):
            continue  # another choice for the same value; the first sentence has the ones that people write
        lines.append(f"{name} {problem_text[0].lower()}{problem_text[1:]}.")
    return lines
