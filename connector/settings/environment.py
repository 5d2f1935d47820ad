"""The settings: the environment and a `.env` file, read once into one frozen value. Nothing else reads the environment.

The environment wins over the file. A setting that is empty counts as absent. Everything that is wrong is said at once.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from connector.closing.model import DraftPolicy
from connector.errors import SettingsError
from connector.settings.env_file import parse_env
from connector.settings.service_variables import COLLECTORS, ServiceSettings, service_settings
from connector.settings.variables import EMULATOR_SCHEME, ClientId, FilePath, ManagedIdentity, SignInMethod, Variables

ENV_FILE = Path(".env")
_OURS = ("DATAVERSE_", "CONNECTOR_")


@dataclass(frozen=True, slots=True)
class Identity:
    """One user of the organization to sign in as; what its way of signing in does not need is empty.

    `managed_identity` is a client id, or empty for the machine's own identity. `name` is for people.
    """

    name: str
    sign_in: SignInMethod
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


def wants_colors(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether `environ` (default: this process's) is content with colors.

    It is not when NO_COLOR is there and not empty (no-color.org), or when the terminal is a dumb one.
    """
    environ = os.environ if environ is None else environ
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def _names(given: Mapping[str, str], problems: list[str]) -> Variables:
    """Return what is right of `given`, and add a sentence for each that is not."""
    named = {
        str(entry.alias): given[str(entry.alias)] for entry in Variables.model_fields.values() if entry.alias in given
    }
    try:
        return Variables.model_validate(named)
    except ValidationError as error:
        problems += _sentences(error)
        wrong = {problem["loc"][0] for problem in error.errors()}
        right = {name: value for name, value in named.items() if name not in wrong}
        return Variables.model_validate({"DATAVERSE_URL": "https://unknown.invalid"} | right)


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
    known = [str(entry.alias) for entry in Variables.model_fields.values()]
    problems = []
    for name in sorted(given):
        if name in known or (name in environ and not name.startswith("DATAVERSE_")):
            continue
        import difflib

        close = difflib.get_close_matches(name, known, n=1)
        problems.append(f"{name} is no setting of the connector{f'; did you mean {close[0]}?' if close else '.'}")
    return problems


def _settings(names: Variables, environ: Mapping[str, str], problems: list[str]) -> Settings:
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
        service=replace(
            service,
            audit=service.audit or state / "audit.jsonl",
            telemetry=names.service_telemetry == "auto" and bool(_first(environ, *COLLECTORS)),
        ),
    )


def _no_identities(names: Variables, problems: list[str]) -> tuple[Identity, ...]:
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

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    name: str
    client_id: ClientId = ""
    client_secret: SecretStr = SecretStr("")
    client_certificate: FilePath | None = None
    client_certificate_password: SecretStr = SecretStr("")
    federated_token_file: FilePath | None = None
    managed_identity: ManagedIdentity | None = None


def _identities(names: Variables, problems: list[str]) -> tuple[Identity, ...]:
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
    import tomllib

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
    given: Variables | _Row, name: str, wanted: SignInMethod | Literal["auto"], prefix: str, problems: list[str]
) -> Identity | None:
    """Return the identity that `given` describes, or None and say what is missing or too much."""
    ways = {
        SignInMethod.SECRET: bool(given.client_secret.get_secret_value()),
        SignInMethod.CERTIFICATE: given.client_certificate is not None,
        SignInMethod.FEDERATED: given.federated_token_file is not None,
        SignInMethod.MANAGED_IDENTITY: given.managed_identity is not None,
    }
    present = [way for way, there in ways.items() if there]
    if wanted == "auto" and len(present) != 1:
        problems.append(_undecided(prefix, present))
        return None
    way = present[0] if wanted == "auto" else wanted
    if not ways.get(way, True):
        problems.append(f"{_spell(prefix, _NEEDS[way])} is missing: signing in by {way.value} needs it.")
        return None
    if way is not SignInMethod.MANAGED_IDENTITY and not given.client_id:
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
    SignInMethod.SECRET: "client_secret",
    SignInMethod.CERTIFICATE: "client_certificate",
    SignInMethod.FEDERATED: "federated_token_file",
    SignInMethod.MANAGED_IDENTITY: "managed_identity",
}


def _spell(prefix: str, name: str) -> str:
    return prefix + (name.upper() if prefix in _OURS else name)


def _undecided(prefix: str, present: list[SignInMethod]) -> str:
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


def _file_values(env_file: Path | None, problems: list[str]) -> dict[str, str]:
    path = env_file or ENV_FILE
    if env_file is None and not path.is_file():
        return {}
    try:
        values, wrong = parse_env(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise SettingsError(
            f"The settings file {path} cannot be read: it is not UTF-8.",
            remedy="Save it as UTF-8; `>` of Windows PowerShell writes UTF-16.",
        ) from None
    except OSError as error:
        raise SettingsError(f"The settings file {path} cannot be read: {error.strerror}.") from None
    problems += [f"Line {number} of {path} is not NAME=value; quote a value with spaces or quotes." for number in wrong]
    return {name: value for name, value in values.items() if name.startswith(_OURS)}
