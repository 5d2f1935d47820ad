"""An organization to test against: set up, in memory, its clock standing still."""

from __future__ import annotations

import random

import pytest

from connector.clock import VirtualClock
from connector.emulator.rules.rule import Switches
from connector.emulator.seeding.organization import SeededUser, seed_organization, seed_parties
from connector.emulator.world.callers import Caller
from connector.emulator.world.schema_file import load_schema
from connector.emulator.world.store import Store
from connector.emulator.world.world import World

APPLICATION = "11111111-aaaa-4000-8000-000000000001"
CLOSER = "11111111-aaaa-4000-8000-000000000002"
READER = "11111111-aaaa-4000-8000-000000000003"
DISABLED = "11111111-aaaa-4000-8000-000000000004"
ROLELESS = "11111111-aaaa-4000-8000-000000000005"
MEMBERS = (
    SeededUser("22222222-aaaa-4000-8000-000000000001", "Admin App", APPLICATION),
    SeededUser("22222222-aaaa-4000-8000-000000000002", "Closing App", CLOSER, role="Opportunity Closer"),
    SeededUser("22222222-aaaa-4000-8000-000000000003", "Reading App", READER, role="Sales Reader"),
    SeededUser("22222222-aaaa-4000-8000-000000000004", "Disabled App", DISABLED, disabled=True),
    SeededUser("22222222-aaaa-4000-8000-000000000005", "Roleless App", ROLELESS, role=None),
)


@pytest.fixture
def world() -> World:
    schema = load_schema()
    made = World(schema, Store(":memory:", schema), Switches(), VirtualClock(), random.Random(7))
    seed_organization(made, MEMBERS)
    seed_parties(made)
    return made


@pytest.fixture
def admin(world: World) -> Caller:
    return world.caller_for(application_id=APPLICATION)
