from __future__ import annotations

from datetime import timedelta
from typing import cast

import pytest

from connector.clock import VirtualClock
from connector.emulator.world.world import World
from tests.emulator.protocol.client import Client


def test_a_delta_link_gives_what_changed_and_what_went(client: Client, account: str) -> None:
    gone = client.create("accounts", {"name": "gone"})
    first = client.get("accounts?$select=name", prefer="odata.track-changes")
    assert {account, gone} <= {one["accountid"] for one in first["value"]}
    assert client.get(first["@odata.deltaLink"])["value"] == []
    client.send("PATCH", f"accounts({account})", {"name": "changed"})
    client.send("DELETE", f"accounts({gone})")
    delta = client.get(first["@odata.deltaLink"])
    assert delta["@odata.context"].endswith("#accounts(name)/$delta")
    changed, deleted = delta["value"]
    assert changed["name"] == "changed"
    assert deleted == {
        "@odata.context": "https://org.crm.dynamics.com/api/data/v9.2/$metadata#accounts/$deletedEntity",
        "id": gone,
        "reason": "deleted",
    }
    assert client.get(delta["@odata.deltaLink"])["value"] == []


@pytest.mark.parametrize("option", ["filter=name eq 'x'", "orderby=name", "expand=createdby", "top=1"])
def test_other_options_are_refused_in_the_documented_words(client: Client, option: str) -> None:
    _, _, message = client.error("GET", f"accounts?${option}", prefer="odata.track-changes")
    assert (
        message == f'The "{option.partition("=")[0]}" query parameter isn\'t supported when Change Tracking is enabled.'
    )


def test_a_table_without_tracking_and_an_old_token_are_refused(client: Client, world: World) -> None:
    assert client.error("GET", "opportunitycloses", prefer="odata.track-changes")[1] == "0x80072491"
    link = client.get("accounts?$select=name", prefer="odata.track-changes")["@odata.deltaLink"]
    cast("VirtualClock", world.clock).advance(timedelta(days=8).total_seconds())
    assert client.error("GET", link)[2] == "The delta token has expired."
