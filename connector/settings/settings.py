"""The settings as the rest of the program sees them, one frozen value, and the users to sign in as.

Of each user it is set what it needs; the one way to sign in follows from that.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from connector.closing.bypass import Bypass
from connector.closing.model import DraftPolicy
from connector.settings.service_settings import ServiceSettings
from connector.settings.variables import ClientId, FilePath, ManagedIdentity, SignInMethod, Variables, sentences


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
    """Everything that can be set, checked. Times are in seconds, `log_days` in days.

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
    time_zone: str
    lost_revenue: Decimal | None
    bypass: Bypass
    drafts: DraftPolicy
    atomic: bool
    connect_timeout: float
    read_timeout: float
    retry_seconds: float
    metadata_seconds: float
    connections: int
    token_cache: Path
    store: str = field(repr=False)
    log_days: float
    log_level: str
    service: ServiceSettings
    emulator_plugins: tuple[Path, ...] = ()
    """Files of the embedded emulator's own logic."""
    state: Path = Path(".state")
    """The folder where this user's programs keep their state."""
    parts: int = 1000
    """The most operations that a change set takes."""


def no_identities(names: Variables, problems: list[str]) -> tuple[Identity, ...]:
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


class _IdentityRow(BaseModel):
    """One `[[identity]]` of the file that DATAVERSE_IDENTITIES names."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    name: str
    client_id: ClientId = ""
    client_secret: SecretStr = SecretStr("")
    client_certificate: FilePath | None = None
    client_certificate_password: SecretStr = SecretStr("")
    federated_token_file: FilePath | None = None
    managed_identity: ManagedIdentity | None = None


def identities(names: Variables, problems: list[str]) -> tuple[Identity, ...]:
    """Return the users to sign in as, the first for single commands; add a sentence for each that is not complete."""
    rows = _rows(names.identities, problems) if names.identities else []
    checked = [_identity(names, "default", names.sign_in, "DATAVERSE_", problems)]
    checked += [_identity(row, row.name, "auto", f"{names.identities}: {row.name}: ", problems) for row in rows]
    complete = tuple(identity for identity in checked if identity)
    users = [identity.client_id or identity.managed_identity for identity in complete]
    if len(set(users)) < len(users):
        problems.append(
            f"{names.identities} names an application twice: each has one budget of requests, so list it once."
        )
    return complete


def text_of(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with its mark, as `>` of Windows PowerShell writes it."""
    content = path.read_bytes()
    return content.decode("utf-16" if content[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE} else "utf-8-sig")


def _rows(path: Path, problems: list[str]) -> list[_IdentityRow]:
    import tomllib

    try:
        content = tomllib.loads(text_of(path))
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
            rows.append(_IdentityRow.model_validate(row))
        except ValidationError as error:
            problems += sentences(error, f"{path}: identity {number}: ")
    return rows


def _identity(
    row: Variables | _IdentityRow, name: str, method: SignInMethod | Literal["auto"], prefix: str, problems: list[str]
) -> Identity | None:
    """Return the identity that `row` describes, or None and say what is missing or too much."""
    present = [way for way, name in _NEEDS.items() if _is_set(getattr(row, name))]
    if method == "auto" and len(present) != 1:
        problems.append(_undecided(prefix, present))
        return None
    way = present[0] if method == "auto" else method
    if way in _NEEDS and way not in present:
        problems.append(f"{_spell(prefix, _NEEDS[way])} is missing: signing in by {way.value} needs it.")
        return None
    if way not in (SignInMethod.MANAGED_IDENTITY, SignInMethod.AZURE_CLI) and not row.client_id:
        problems.append(f"{_spell(prefix, 'client_id')} is missing: signing in by {way.value} needs it.")
        return None
    return Identity(
        name,
        way,
        row.client_id,
        row.client_secret.get_secret_value(),
        row.client_certificate,
        row.client_certificate_password.get_secret_value(),
        row.federated_token_file,
        row.managed_identity or "",
    )


_NEEDS = {
    SignInMethod.SECRET: "client_secret",
    SignInMethod.CERTIFICATE: "client_certificate",
    SignInMethod.FEDERATED: "federated_token_file",
    SignInMethod.MANAGED_IDENTITY: "managed_identity",
}


def _is_set(value: object) -> bool:
    return bool(value.get_secret_value()) if isinstance(value, SecretStr) else value is not None


def _spell(prefix: str, name: str) -> str:
    return prefix + (name.upper() if prefix == "DATAVERSE_" else name)


def _undecided(prefix: str, present: list[SignInMethod]) -> str:
    if present:
        several = " and ".join(_spell(prefix, _NEEDS[way]) for way in present)
        return f"{several} are all set: keep one, or choose with DATAVERSE_SIGN_IN."
    choices = ", ".join(_spell(prefix, name) for name in _NEEDS.values())
    return f"There is no way to sign in: set {_spell(prefix, 'client_id')} and one of {choices}."
