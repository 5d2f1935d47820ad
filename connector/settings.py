"""The settings: the environment and a `.env` file, read once into one frozen value. Nothing else reads the environment.

The environment wins over the file. A setting that is empty counts as absent. Everything that is wrong is said at once.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from connector.closing.model import DraftPolicy
from connector.errors import SettingsError
from connector.settings_service import ServiceNames, ServiceSettings, service_settings

EMULATOR_SCHEME = "emulator:"
ENV_FILE = Path(".env")
_OURS = ("DATAVERSE_", "CONNECTOR_")


class SignIn(StrEnum):
    """How a token is had."""

    SECRET = "secret"  # noqa: S105 - the name of a way, not one
    CERTIFICATE = "certificate"
    FEDERATED = "federated"
    MANAGED_IDENTITY = "managed_identity"
    DEVICE_CODE = "device_code"
    INTERACTIVE = "interactive"


@dataclass(frozen=True, slots=True)
class Identity:
    """One user of the organization to sign in as; what its way of signing in does not need is empty.

    `managed_identity` is a client id, or empty for the machine's own identity. `name` is for people.
    """

    name: str
    sign_in: SignIn
    client_id: str = ""
    secret: str = field(default="", repr=False)
    certificate: Path | None = None
    certificate_password: str = field(default="", repr=False)
    federated_token_file: Path | None = None
    managed_identity: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set, checked. Times are in seconds.

    `url` is the organization's `https://host[:port]`, or `emulator:PATH`, and then `emulator` is that path and
    `identities` is empty. Else `identities` has at least one, the first being what single commands use.
    """

    url: str
    emulator: Path | None
    identities: tuple[Identity, ...]
    tenant_id: str
    authority: str
    ca_file: Path | None
    proxy: str = field(repr=False)
    no_proxy: str
    impersonate: UUID | None
    close_action: str
    drafts: DraftPolicy
    atomic: bool
    connect_timeout: float
    read_timeout: float
    retry_seconds: float
    metadata_seconds: float
    connections: int
    token_cache: Path
    store: str = field(repr=False)
    log_level: str
    service: ServiceSettings


def load(environ: Mapping[str, str] | None = None, env_file: Path | None = None) -> Settings:
    """Return the settings of `environ` (default: this process's) over those of `env_file`.

    Without `env_file` the file `.env` of the current folder is read if there is one. Raises SettingsError, which
    names every problem in a sentence of its own.
    """
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    given = {name: value for name, value in _file_values(env_file, problems).items() if value}
    given |= {name: value.strip() for name, value in environ.items() if name.startswith(_OURS) and value.strip()}
    problems += _misspelt(given, environ)
    names = _names(given, problems)
    found: list[str] = []
    settings = _settings(names, environ, found)
    # What is already known to be wrong is not said to be missing as well.
    wrong = [problem.partition(" ")[0] for problem in problems]
    problems += [problem for problem in found if not any(name in problem for name in wrong)]
    if problems:
        raise SettingsError("\n".join(problems), remedy="Every setting is explained in .env.example.")
    return settings


def _names(given: Mapping[str, str], problems: list[str]) -> Names:
    """Return what is right of `given`, and add a sentence for each that is not."""
    named = {str(entry.alias): given[str(entry.alias)] for entry in Names.model_fields.values() if entry.alias in given}
    try:
        return Names.model_validate(named)
    except ValidationError as error:
        problems += _sentences(error)
        wrong = {problem["loc"][0] for problem in error.errors()}
        right = {name: value for name, value in named.items() if name not in wrong}
        return Names.model_validate({"DATAVERSE_URL": "https://unknown.invalid"} | right)


# -- the border: names, types and what each setting is for ------------------------------------------------------------


def _url(value: str) -> str:
    if value.startswith(EMULATOR_SCHEME):
        if not value.removeprefix(EMULATOR_SCHEME).strip():
            raise ValueError("names no file; write emulator: and the path of a file, as in emulator:.state/emulator.db")
        return value
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("is not an address; write it as https://ORG.crm4.dynamics.com") from None
    if parts.scheme != "https" or not parts.hostname or parts.username or re.search(r"[\s\\]", value):
        raise ValueError("must be the organization's own address, as in https://ORG.crm4.dynamics.com")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"https://{host}{f':{port}' if port and port != 443 else ''}"  # noqa: PLR2004 - the port of https


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


class Names(ServiceNames):
    """The settings by their names in the environment, each with the sentence that explains it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_url)] = Field(
        alias="DATAVERSE_URL",
        description="The organization's address, as in https://ORG.crm4.dynamics.com; or emulator:PATH for an "
        "emulator inside this process that keeps its records in that file.",
    )
    tenant_id: Annotated[str, AfterValidator(_tenant)] = Field(
        "",
        alias="DATAVERSE_TENANT_ID",
        description="The Entra tenant (id or domain); when absent, what the organization itself announces.",
    )
    client_id: ClientId = Field(
        "", alias="DATAVERSE_CLIENT_ID", description="The application (client) id of the app registration."
    )
    client_secret: SecretStr = Field(
        SecretStr(""), alias="DATAVERSE_CLIENT_SECRET", description="A client secret of it: the value, not its id."
    )
    client_certificate: FilePath | None = Field(
        None,
        alias="DATAVERSE_CLIENT_CERTIFICATE",
        description="Instead of a secret: a file with a certificate and its private key, PFX or PEM.",
    )
    client_certificate_password: SecretStr = Field(
        SecretStr(""), alias="DATAVERSE_CLIENT_CERTIFICATE_PASSWORD", description="The password of that file."
    )
    federated_token_file: FilePath | None = Field(
        None,
        alias="DATAVERSE_FEDERATED_TOKEN_FILE",
        description="Instead of a secret: a file with an assertion of a federated credential; read again each time.",
    )
    managed_identity: ManagedIdentity | None = Field(
        None,
        alias="DATAVERSE_MANAGED_IDENTITY",
        description="Instead of a secret, on Azure: system, or the client id of a user-assigned managed identity.",
    )
    sign_in: SignIn | Literal["auto"] = Field(
        "auto",
        alias="DATAVERSE_SIGN_IN",
        description="How to sign in: auto (by what is given above), secret, certificate, federated, managed_identity, "
        "or, for a person, device_code or interactive.",
    )
    authority: Annotated[str, AfterValidator(_https)] = Field(
        "",
        alias="DATAVERSE_AUTHORITY",
        description="Where to sign in, as in https://login.microsoftonline.com/TENANT; when absent, found out from "
        "the organization.",
    )
    identities: FilePath | None = Field(
        None,
        alias="DATAVERSE_IDENTITIES",
        description="A TOML file with more application users that share bulk work: [[identity]] tables with name, "
        "client_id, and client_secret, client_certificate, client_certificate_password, federated_token_file or "
        "managed_identity.",
    )
    caller_object_id: UUID | None = Field(
        None,
        alias="DATAVERSE_CALLER_OBJECT_ID",
        description="The Entra object id of a user to act as; needs prvActOnBehalfOfAnotherUser (role Delegate).",
    )
    close_action: Annotated[str, AfterValidator(_action)] = Field(
        "",
        alias="DATAVERSE_CLOSE_ACTION",
        description="The unique name of an action of the organization's own that closes opportunities, called instead "
        "of WinOpportunity and LoseOpportunity with OpportunityClose and Status.",
    )
    drafts: DraftPolicy = Field(
        DraftPolicy.ACTIVATE,
        alias="DATAVERSE_DRAFTS",
        description="What becomes of draft quotes: activate (then close), delete, direct (close as they are) or leave "
        "(refuse the close).",
    )
    atomic: Literal["auto", "off"] = Field(
        "auto",
        alias="DATAVERSE_ATOMIC",
        description="auto performs each plan as one transaction where the organization allows it; off goes step by "
        "step.",
    )
    ca_file: FilePath | None = Field(
        None,
        alias="DATAVERSE_CA_FILE",
        description="A PEM file of certificate authorities to trust instead of the public ones; it wins over "
        "REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE.",
    )
    proxy: Annotated[str, AfterValidator(_proxy_url)] = Field(
        "",
        alias="DATAVERSE_PROXY",
        description="The proxy to go through, as in http://proxy.example.com:8080; it wins over HTTPS_PROXY. NO_PROXY "
        "lists hosts that need none.",
    )
    connect_timeout: Seconds = Field(
        10.0, alias="DATAVERSE_CONNECT_TIMEOUT", description="Seconds to wait for a connection."
    )
    read_timeout: Seconds = Field(
        150.0,
        alias="DATAVERSE_READ_TIMEOUT",
        description="Seconds to wait for an answer; the service ends an operation after 120.",
    )
    retry_seconds: Annotated[float, Field(ge=0, le=86400)] = Field(
        900.0,
        alias="DATAVERSE_RETRY_SECONDS",
        description="Seconds to wait in total when the service says that it is too busy (429); 0 never waits.",
    )
    metadata_seconds: Annotated[float, Field(ge=0, le=604800)] = Field(
        3600.0,
        alias="DATAVERSE_METADATA_SECONDS",
        description="Seconds for which the organization's status reasons and messages are kept.",
    )
    connections: Annotated[int, Field(ge=1, le=1024)] = Field(
        64, alias="DATAVERSE_CONNECTIONS", description="How many connections to the organization are kept open at most."
    )
    token_cache: Path | None = Field(
        None,
        alias="DATAVERSE_TOKEN_CACHE",
        description="Where the encrypted tokens of a person who signed in are kept; when absent, in the user's state "
        "folder.",
    )
    store: str = Field(
        "",
        alias="CONNECTOR_STORE",
        description="Where bulk jobs are kept: a file, or postgresql://...; when absent, a file in the user's state "
        "folder.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "WARNING", alias="CONNECTOR_LOG_LEVEL", description="How much is logged: DEBUG, INFO, WARNING or ERROR."
    )


def _sentences(error: ValidationError, where: str = "") -> list[str]:
    """Return one sentence per problem that pydantic found; never the value, which may be a secret."""
    found = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        name = where + ".".join(str(part) for part in problem["loc"][:1])
        said = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            said = "is missing; set it in the environment or in .env"
        elif problem["type"] == "extra_forbidden":
            said = "is not known here"
        elif said.startswith("badly formed"):
            said = "must be an id such as 00000000-0000-0000-0000-000000000000"
        said = re.sub(r"^Input ", "", said)
        found.append(f"{name} {said[0].lower()}{said[1:]}.")
    return found


def _misspelt(given: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each name that is none of ours; other programs may own a CONNECTOR_ in the environment."""
    known = [str(entry.alias) for entry in Names.model_fields.values()]
    problems = []
    for name in sorted(given):
        if name in known or (name in environ and not name.startswith("DATAVERSE_")):
            continue
        close = difflib.get_close_matches(name, known, n=1)
        problems.append(f"{name} is no setting of the connector{f'; did you mean {close[0]}?' if close else '.'}")
    return problems


# -- from names to the value ------------------------------------------------------------------------------------------


def _settings(names: Names, environ: Mapping[str, str], problems: list[str]) -> Settings:
    emulator = Path(names.url.removeprefix(EMULATOR_SCHEME)) if names.url.startswith(EMULATOR_SCHEME) else None
    state = _state_folder(environ)
    service = service_settings(names)
    return Settings(
        url=names.url,
        emulator=emulator,
        identities=_no_identities(names, problems) if emulator else _identities(names, problems),
        tenant_id=names.tenant_id,
        authority=names.authority,
        ca_file=names.ca_file or _bundle(environ, problems),
        proxy=names.proxy or _first(environ, "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"),
        no_proxy=_first(environ, "NO_PROXY", "no_proxy"),
        impersonate=names.caller_object_id,
        close_action=names.close_action,
        drafts=names.drafts,
        atomic=names.atomic == "auto",
        connect_timeout=names.connect_timeout,
        read_timeout=names.read_timeout,
        retry_seconds=names.retry_seconds,
        metadata_seconds=names.metadata_seconds,
        connections=names.connections,
        token_cache=names.token_cache or state / "tokens.bin",
        store=names.store or str(state / "jobs.db"),
        log_level=names.log_level,
        service=replace(service, audit=service.audit or state / "audit.jsonl"),
    )


def _no_identities(names: Names, problems: list[str]) -> tuple[Identity, ...]:
    """Check that nothing of a real organization is set beside an emulator: forgetting the URL must not go unnoticed."""
    real = {
        "DATAVERSE_TENANT_ID": names.tenant_id,
        "DATAVERSE_CLIENT_ID": names.client_id,
        "DATAVERSE_CLIENT_SECRET": names.client_secret.get_secret_value(),
        "DATAVERSE_CLIENT_CERTIFICATE": names.client_certificate,
        "DATAVERSE_FEDERATED_TOKEN_FILE": names.federated_token_file,
        "DATAVERSE_MANAGED_IDENTITY": names.managed_identity is not None,
        "DATAVERSE_AUTHORITY": names.authority,
        "DATAVERSE_IDENTITIES": names.identities,
    }
    beside = [name for name, value in real.items() if value]
    if beside:
        problems.append(
            f"DATAVERSE_URL names the embedded emulator, which signs itself in, but {', '.join(beside)} is set: "
            "set DATAVERSE_URL to the organization's address, or take that away."
        )
    return ()


class _Row(BaseModel):
    """One `[[identity]]` of the file that DATAVERSE_IDENTITIES names."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str
    client_id: ClientId = ""
    client_secret: SecretStr = SecretStr("")
    client_certificate: FilePath | None = None
    client_certificate_password: SecretStr = SecretStr("")
    federated_token_file: FilePath | None = None
    managed_identity: ManagedIdentity | None = None


def _identities(names: Names, problems: list[str]) -> tuple[Identity, ...]:
    rows = _rows(names.identities, problems) if names.identities else []
    found = [_identity(names, "default", names.sign_in, "DATAVERSE_", problems)]
    found += [_identity(row, row.name, "auto", f"{names.identities}: {row.name}: ", problems) for row in rows]
    identities = tuple(identity for identity in found if identity)
    users = [identity.client_id or identity.managed_identity for identity in identities]
    if len(set(users)) < len(users):
        problems.append(
            f"{names.identities} names an application twice: each has one budget of requests, so list it once."
        )
    return identities


def _rows(path: Path, problems: list[str]) -> list[_Row]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        problems.append(f"DATAVERSE_IDENTITIES: {path} cannot be read as TOML: {error}.")
        return []
    listed = content.get("identity")
    if not isinstance(listed, list) or set(content) != {"identity"}:
        problems.append(f"DATAVERSE_IDENTITIES: {path} must hold [[identity]] tables and nothing else.")
        return []
    rows = []
    for number, row in enumerate(listed, 1):
        try:
            rows.append(_Row.model_validate(row))
        except ValidationError as error:
            problems += _sentences(error, f"{path}: identity {number}: ")
    return rows


def _identity(
    given: Names | _Row, name: str, wanted: SignIn | Literal["auto"], prefix: str, problems: list[str]
) -> Identity | None:
    """Return the identity that `given` describes, or None and say what is missing or too much."""
    ways = {
        SignIn.SECRET: bool(given.client_secret.get_secret_value()),
        SignIn.CERTIFICATE: given.client_certificate is not None,
        SignIn.FEDERATED: given.federated_token_file is not None,
        SignIn.MANAGED_IDENTITY: given.managed_identity is not None,
    }
    present = [way for way, there in ways.items() if there]
    if wanted == "auto" and len(present) != 1:
        problems.append(_undecided(prefix, present))
        return None
    way = present[0] if wanted == "auto" else wanted
    if not ways.get(way, True):
        problems.append(f"{_spell(prefix, _NEEDS[way])} is missing: signing in by {way.value} needs it.")
        return None
    if way is not SignIn.MANAGED_IDENTITY and not given.client_id:
        problems.append(f"{_spell(prefix, 'client_id')} is missing: signing in by {way.value} needs it.")
        return None
    return Identity(
        name,
        way,
        given.client_id,
        given.client_secret.get_secret_value(),
        given.client_certificate,
        given.client_certificate_password.get_secret_value(),
        given.federated_token_file,
        given.managed_identity or "",
    )


_NEEDS = {
    SignIn.SECRET: "client_secret",
    SignIn.CERTIFICATE: "client_certificate",
    SignIn.FEDERATED: "federated_token_file",
    SignIn.MANAGED_IDENTITY: "managed_identity",
}


def _spell(prefix: str, name: str) -> str:
    return prefix + (name.upper() if prefix in _OURS else name)


def _undecided(prefix: str, present: list[SignIn]) -> str:
    if present:
        several = " and ".join(_spell(prefix, _NEEDS[way]) for way in present)
        return f"{several} are all set: keep one, or choose with DATAVERSE_SIGN_IN."
    one = ", ".join(_spell(prefix, name) for name in _NEEDS.values())
    return f"There is no way to sign in: set {_spell(prefix, 'client_id')} and one of {one}."


def _bundle(environ: Mapping[str, str], problems: list[str]) -> Path | None:
    """Return the file of authorities that the environment names for every program, if any."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if path := environ.get(name, "").strip():
            if not Path(path).exists():
                problems.append(f"{name} names {path}, which does not exist: correct it, or set DATAVERSE_CA_FILE.")
            return Path(path)
    return None


def _first(environ: Mapping[str, str], *names: str) -> str:
    return next((environ[name].strip() for name in names if environ.get(name, "").strip()), "")


def _state_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder where this user's programs keep their state, by the custom of the platform."""
    home = Path(_first(environ, "HOME", "USERPROFILE") or "~").expanduser()
    if sys.platform == "win32":
        state = Path(_first(environ, "LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        state = home / "Library" / "Application Support"
    else:
        state = Path(_first(environ, "XDG_STATE_HOME") or home / ".local" / "state")
    return state / "dataverse-close-connector"


# -- the file ---------------------------------------------------------------------------------------------------------

_NAME = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*", re.ASCII)
_VALUES = (
    # the forms of a value, with all that may follow it
    re.compile(r"'(?P<literal>[^']*)'\s*(?:#.*)?"),
    re.compile(r'"(?P<escaped>(?:[^"\\]|\\.)*)"\s*(?:#.*)?'),
    re.compile(r"(?P<bare>(?!['\"#])(?:\S|\s+(?![\s#]))*)\s*(?:(?<=\s)#.*)?"),
    re.compile(r"(?P<literal>)#.*"),
)


def _assignment(line: str) -> tuple[str, str] | None:
    """Return name and value of a line, or None when it is none."""
    name = _NAME.match(line)
    if name is None:
        return None
    found = next(filter(None, (form.fullmatch(line, name.end()) for form in _VALUES)), None)
    if found is None:
        return None
    parts = found.groupdict()
    if "escaped" in parts:
        return name[1], re.sub(r"\\(.)", lambda code: "\n" if code[1] == "n" else code[1], parts["escaped"])
    return name[1], parts["bare"].strip() if "bare" in parts else parts["literal"]


def parse_env(text: str) -> tuple[dict[str, str], list[int]]:
    """Return the values of a `.env` text, and the numbers of the lines that are no `NAME=value`.

    `export`, comments and quotes are understood: single quotes keep everything, double quotes know backslash escapes
    of a quote, a backslash and `n`. An unquoted value ends before white space followed by `#`.
    """
    values: dict[str, str] = {}
    wrong = []
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff")), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _assignment(line)
        if found is None:
            wrong.append(number)
        else:
            values[found[0]] = found[1]
    return values, wrong


def _file_values(env_file: Path | None, problems: list[str]) -> dict[str, str]:
    path = env_file or ENV_FILE
    if env_file is None and not path.is_file():
        return {}
    try:
        values, wrong = parse_env(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(f"The settings file {path} cannot be read: {error}.")
        return {}
    problems += [f"Line {number} of {path} is not NAME=value; quote a value with spaces or quotes." for number in wrong]
    return {name: value for name, value in values.items() if name.startswith(_OURS)}
