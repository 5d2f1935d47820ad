"""A client, and rows for it to look at."""

from __future__ import annotations

import pytest

from connector.emulator.api.api import Api
from connector.emulator.world.callers import Caller
from connector.emulator.world.world import World
from tests.emulator.protocol.client import ROOT, Client


@pytest.fixture
def client(world: World, admin: Caller) -> Client:
    return Client(Api(world), admin, world)


@pytest.fixture
def account(client: Client) -> str:
    return client.create("accounts", {"name": "Litware, Inc.", "revenue": 100000, "numberofemployees": 9500})


@pytest.fixture
def opportunity(client: Client, account: str) -> str:
    return client.create(
        "opportunities",
        {"name": "Éclair deal", "estimatedvalue": 1200.5, "customerid_account@odata.bind": f"/accounts({account})"},
    )


@pytest.fixture
def quotes(client: Client, account: str, opportunity: str) -> list[str]:
    bind = {
        "opportunityid@odata.bind": f"opportunities({opportunity})",
        "customerid_account@odata.bind": f"{ROOT}accounts({account})",
    }
    made = [client.create("quotes", {"name": f"Quote {number}", **bind}) for number in range(3)]
    assert client.send("PATCH", f"quotes({made[1]})", {"statecode": 1, "statuscode": 2}).status == 204
    return made
