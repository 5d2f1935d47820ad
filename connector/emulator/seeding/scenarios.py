"""Named situations to start from: how many opportunities, which answers to the open questions, which user settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from connector.emulator.rules.switches import Switches
from connector.emulator.seeding.opportunities import FIRST_CASES, seed_opportunities
from connector.emulator.seeding.organization import seed_parties
from connector.emulator.world.customization import Customization
from connector.emulator.world.world import World


@dataclass(frozen=True, slots=True)
class Scenario:
    """A situation: `opportunities` to generate (0: none, no master data either) and what differs from the defaults."""

    text: str
    opportunities: int
    switches: Mapping[str, str] = field(default_factory=dict)
    customization: Customization = field(default_factory=Customization)
    timezone_bias: int = 0


SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "default": Scenario("300 open opportunities with none to four quotes each, every status reason of quote.", 300),
        "empty": Scenario("Users, currencies and price lists only.", 0),
        "first-cases": Scenario("The ten known examples, one for each combination of quotes.", len(FIRST_CASES)),
        "project-operations": Scenario(
            "Project Operations is installed: its messages exist, and only active quotes block a close.",
            300,
            {"project_operations": "immediate", "open_quotes_block_close": "active"},
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
        seed_opportunities(world, scenario.opportunities, seed)
