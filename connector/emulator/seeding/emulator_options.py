"""What an emulator is started with, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from connector.emulator.identity.tenant import Tenant, local_tenant
from connector.emulator.limits.faults import FaultPlan
from connector.emulator.limits.latency import LatencyModel
from connector.emulator.limits.protection import Limits
from connector.emulator.world.customization import Customization

MEMORY = ":memory:"
EMBEDDED_URL = "https://org.emulator.invalid"
EMBEDDED_LOGIN = "https://login.emulator.invalid"


@dataclass(frozen=True, slots=True)
class EmulatorOptions:
    """One emulated organization and its identity provider.

    `path` is the SQLite file or `:memory:`; `url` and `login_url` are origins without a path; `seeded` opportunities
    fill an empty organization (0 leaves it empty but for its users) unless a `scenario` is named; `customization` is
    what it has of its own besides; `latency` None
    answers as fast as it can; with `sql_locks` writes to rows of one account wait for each other; `seed` decides all
    that is left to chance; `plugins` are files of the organization's own logic (see custom_logic).
    """

    path: str | Path = MEMORY
    url: str = EMBEDDED_URL
    login_url: str = EMBEDDED_LOGIN
    tenant: Tenant = field(default_factory=local_tenant)
    limits: Limits = field(default_factory=Limits)
    latency: LatencyModel | None = None
    sql_locks: bool = True
    faults: FaultPlan = field(default_factory=FaultPlan)
    seed: int = 1
    seeded: int = 300
    scenario: str = ""
    customization: Customization = field(default_factory=Customization)
    journal_size: int = 5000
    plugins: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The command `connector emulator`: what to serve, where, and what to write when ready.

    `port` 0 picks a free one. `applications` is how many can sign in; the environment file names the further ones as
    identities. `clock` is `real` or `virtual` (time stands still unless a delay or the control interface moves it).
    `latency` is `none` or `model`. `fault_plan` and `customizations` are JSON files.
    """

    db: str = MEMORY
    host: str = "127.0.0.1"
    port: int = 0
    ready_file: Path | None = None
    env_file: Path | None = None
    empty: bool = False
    opportunities: int = 300
    scenario: str = ""
    customizations: Path | None = None
    servers: int = 1
    applications: int = 1
    fault_plan: Path | None = None
    clock: str = "real"
    latency: str = "none"
    seed: int = 1
    journal: int = 5000
    plugins: tuple[Path, ...] = ()
    folder: Path | None = None
    """Where certificates and the signing key are kept; beside the database when absent."""
