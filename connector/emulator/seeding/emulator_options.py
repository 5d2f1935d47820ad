"""What an emulator is started with, as values, and the named situations that these start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from connector.emulator.identity.issuer import Tenant, local_tenant
from connector.emulator.limits.calls import LatencyModel
from connector.emulator.limits.faults import FaultPlan
from connector.emulator.limits.protection import Limits
from connector.emulator.rules.rule import Switches
from connector.emulator.seeding.opportunities import FIRST_CASES, seed_opportunities
from connector.emulator.seeding.organization import seed_parties
from connector.emulator.seeding.twin import Twin
from connector.emulator.world.customization import Customization
from connector.emulator.world.world import World

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
    twin: Twin | None = None
    """The organization to look like, instead of the usual one."""
    volumes: bool = False
    """Whether the twin gets as many opportunities and quotes as the capture counted."""
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    """What stands for a step or process of the twin, by its id, where it is not the usual."""

    def sign_in(self) -> dict[str, str]:
        """Return where a client finds the organization, and what its first application signs in with, by name."""
        application = self.tenant.applications[0]
        return {
            "url": self.url,
            "authority": f"{self.login_url}/{self.tenant.tenant_id}",
            "tenant_id": self.tenant.tenant_id,
            "client_id": application.client_id,
            "client_secret": application.secrets[0].value,
        }


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
    like: Path | None = None
    stand_ins: Path | None = None
    volumes: bool = False
    folder: Path | None = None
    """Where certificates and the signing key are kept; beside the database when absent."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A situation: `opportunities` to generate (0: none, no master data either) and what differs from the defaults.

    One of `projects` opportunities is work-based.
    """

    text: str
    opportunities: int
    switches: Mapping[str, str] = field(default_factory=dict)
    customization: Customization = field(default_factory=Customization)
    timezone_bias: int = 0
    projects: int = 12


SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "default": Scenario("300 open opportunities with none to four quotes each, every status reason of quote.", 300),
        "empty": Scenario("Users, currencies and price lists only.", 0),
        "first-cases": Scenario("The ten known examples, one for each combination of quotes.", len(FIRST_CASES)),
        "project-operations": Scenario(
            "Project Operations is installed: its messages exist, half of the opportunities are work-based, and only "
            "active quotes block a close.",
            300,
            {"project_operations": "immediate", "open_quotes_block_close": "active"},
            projects=2,
        ),
        "own-close-message": Scenario(
            "The organization has its own message CloseOpportunity.", 300, {"close_opportunity_message": "present"}
        ),
        "stepwise-only": Scenario(
            "Change sets do not take the close actions, so a client must go step by step.",
            300,
            {"actions_in_change_set": "refuse"},
        ),
        "west-of-utc": Scenario(
            "Every user lives eight hours west of UTC: midnight UTC is the day before.", 300, timezone_bias=480
        ),
        "required-competitor": Scenario(
            "The organization requires a competitor and a description on the close activity.",
            300,
            customization=Customization(
                required=(("opportunityclose", "competitorid"), ("opportunityclose", "description"))
            ),
        ),
    }
)
"""What can be started from, by name."""


def start_scenario(world: World, scenario: Scenario, seed: int = 1) -> None:
    """Bring an organization that was set up, and holds no opportunities yet, into this situation."""
    world.use(Switches().with_values(scenario.switches))
    if scenario.customization != Customization():
        world.customize(scenario.customization)
    if scenario.timezone_bias:
        for (key,) in world.store.rows("SELECT systemuserid FROM usersettings"):
            world.store.update("usersettings", str(key), {"timezonebias": scenario.timezone_bias})
    if scenario.opportunities:
        seed_parties(world)
        seed_opportunities(world, scenario.opportunities, seed, scenario.projects)
