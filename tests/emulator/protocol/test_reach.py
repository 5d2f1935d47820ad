"""Privileges that do not reach the whole organization, and an environment that lets nobody in."""

from __future__ import annotations

from typing import Any

import pytest

from connector.emulator.api.api import Api
from connector.emulator.control.users import InvalidUserChange, change_user
from connector.emulator.rules.rule import Refused, Switches
from connector.emulator.world.world import World
from tests.emulator.conftest import CLOSER
from tests.emulator.protocol.client import Client


def closer(world: World, **depths: str) -> Client:
    change_user(world, {"user": CLOSER, "role": "Opportunity Closer", "depths": depths})
    return Client(Api(world), world.caller_for(application_id=CLOSER), world)


def test_a_list_leaves_out_the_rows_of_others_and_one_of_them_is_refused(
    world: World, client: Client, opportunity: str, quotes: list[str]
) -> None:
    own = closer(world, prvReadQuote="Basic")
    assert own.get("quotes?$select=name")["value"] == []
    assert own.get(f"opportunities({opportunity})/opportunity_quotes?$select=name")["value"] == []
    expanded = own.get(f"opportunities({opportunity})?$select=name&$expand=opportunity_quotes($select=name)")
    assert expanded["opportunity_quotes"] == []
    assert own.send("GET", "quotes/$count").body == b"0"
    status, code, message = own.error("GET", f"quotes({quotes[0]})?$select=name")
    assert (status, code) == (403, "0x80048306")
    assert "AccessRights: ReadAccess" in message
    client.send("PATCH", f"quotes({quotes[0]})", {"ownerid@odata.bind": f"/systemusers({own.caller.user_id})"})
    assert [row["quoteid"] for row in own.get("quotes?$select=name")["value"]] == [quotes[0]]


def test_a_close_is_refused_because_of_a_quote_that_the_caller_does_not_see(
    world: World, opportunity: str, quotes: list[str]
) -> None:
    own = closer(world, prvReadQuote="Basic")
    assert len(quotes) == 3
    close = {"opportunityid@odata.bind": f"/opportunities({opportunity})", "subject": "x"}
    assert own.error("POST", "WinOpportunity", {"Status": 3, "OpportunityClose": close})[1] == "0x80040516"


@pytest.mark.parametrize(
    ("depth", "reached"),
    [("Basic", []), ("Local", ["North"]), ("Deep", ["North", "North/Oslo"]), ("Global", ["", "North", "North/Oslo"])],
)
def test_a_privilege_reaches_own_rows_those_of_the_unit_or_of_the_units_below(
    world: World, client: Client, opportunity: str, depth: str, reached: list[str]
) -> None:
    own = closer(world, prvReadOpportunity=depth, prvWriteOpportunity=depth)
    change_user(world, {"user": CLOSER, "unit": "North"})
    own.caller = world.caller_for(application_id=CLOSER)
    for unit in ("", "North", "North/Oslo"):
        change_user(world, {"user": client.caller.user_id, "unit": unit})
        answers = [
            own.send("PATCH", f"opportunities({opportunity})", {"name": unit}).status,
            len(own.get("opportunities?$select=name")["value"]),
        ]
        assert answers == ([204, 1] if unit in reached else [403, 0]), unit
    client.send("PATCH", f"opportunities({opportunity})", {"ownerid@odata.bind": f"/systemusers({own.caller.user_id})"})
    assert len(own.get("opportunities?$select=name")["value"]) == 1
    units = client.get("businessunits?$select=name&$expand=parentbusinessunitid($select=name)&$orderby=name")["value"]
    assert [(u["name"], (u["parentbusinessunitid"] or {}).get("name")) for u in units] == [
        ("Contoso", None), ("North", "Contoso"), ("Oslo", "North")]  # fmt: skip


def test_a_shared_row_is_within_reach_as_far_as_it_is_shared(world: World, client: Client, opportunity: str) -> None:
    own = closer(world, prvReadOpportunity="Basic", prvWriteOpportunity="Basic")
    user = {"systemuserid": own.caller.user_id, "@odata.type": "Microsoft.Dynamics.CRM.systemuser"}
    target = {"opportunityid": opportunity, "@odata.type": "#Microsoft.Dynamics.CRM.opportunity"}
    share: dict[str, Any] = {"Target": target, "PrincipalAccess": {"Principal": user, "AccessMask": "ReadAccess"}}
    access = (
        f"systemusers({own.caller.user_id})/Microsoft.Dynamics.CRM.RetrievePrincipalAccess(Target=@t)"
        f"?@t={{'@odata.id':'opportunities({opportunity})'}}"
    )
    assert "ReadAccess" not in client.get(access)["AccessRights"]
    assert own.error("POST", "GrantAccess", share)[:2] == (403, "0x80040220")
    rename = ("PATCH", f"opportunities({opportunity})", {"name": "Renamed"})

    def statuses() -> list[int]:
        return [own.send("GET", f"opportunities({opportunity})?$select=name").status, own.send(*rename).status]

    assert statuses() == [403, 403]
    assert client.send("POST", "GrantAccess", share).status == 204
    assert statuses() == [200, 403]
    assert len(own.get("opportunities?$select=name")["value"]) == 1
    assert client.get(access)["AccessRights"].split(",")[0] == "ReadAccess"
    share["PrincipalAccess"]["AccessMask"] = "ReadAccess, WriteAccess"
    assert client.send("POST", "ModifyAccess", share).status == 204
    assert statuses() == [200, 204]
    assert client.send("POST", "RevokeAccess", {"Target": target, "Revokee": user}).status == 204
    assert statuses() == [403, 403]
    refused: tuple[dict[str, Any], ...] = ({"AccessMask": "Everything"}, {"Principal": target}, {"Principal": {}})
    for wrong in refused:
        body = {**share, "PrincipalAccess": {**share["PrincipalAccess"], **wrong}}
        assert client.send("POST", "GrantAccess", body).status in (400, 501), wrong


def test_the_depth_is_told(world: World) -> None:
    own = closer(world, prvReadQuote="Local", prvReadOpportunity="Basic")
    user = own.caller.user_id
    told = own.get(f"systemusers({user})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()")["RolePrivileges"]
    depths = {privilege["PrivilegeName"]: privilege["Depth"] for privilege in told}
    assert (depths["prvReadQuote"], depths["prvReadOpportunity"], depths["prvReadAccount"]) == (
        "Local",
        "Basic",
        "Global",
    )


def test_a_depth_that_is_none_is_refused(world: World) -> None:
    wrong: tuple[object, ...] = ({"prvReadQuote": "Far"}, {"prvReadNothing": "Basic"}, [])
    for depths in wrong:
        with pytest.raises(InvalidUserChange):
            change_user(world, {"user": CLOSER, "role": "Opportunity Closer", "depths": depths})


@pytest.mark.parametrize(("state", "let_in"), [("open", 2), ("administration_mode", 1), ("disabled", 0)])
def test_an_environment_lets_in_whom_its_state_allows(world: World, client: Client, state: str, let_in: int) -> None:
    world.use(Switches().with_values({"environment": state}))
    entered = 0
    for application in (client.caller.application_id, CLOSER):
        try:
            world.caller_for(application_id=application)
        except Refused as refusal:
            assert (refusal.status, refusal.code) == (403, "0x8004a104")
        else:
            entered += 1
    assert entered == let_in
