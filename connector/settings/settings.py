"""The settings as the rest of the program sees them: one frozen value, complete and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from connector.closing.bypass import Bypass
from connector.closing.model import DraftPolicy
from connector.settings.service_settings import ServiceSettings
from connector.settings.variables import SignInMethod


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
