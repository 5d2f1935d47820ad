from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from connector.clock import VirtualClock
from connector.emulator.rules.rule import Switches
from connector.emulator.seeding.emulator_options import SCENARIOS, start_scenario
from connector.emulator.seeding.open_organization import SeedRefused, seed_csv, seed_json
from connector.emulator.seeding.opportunities import FIRST_CASES, opportunity_id, seed_opportunities
from connector.emulator.seeding.organization import SeededUser, seed_organization, seed_parties
from connector.emulator.world.callers import Caller
from connector.emulator.world.customization import Customization, ImportRefused, StatusReason, read_metadata
from connector.emulator.world.opportunity import Arguments
from connector.emulator.world.schema_file import load_schema
from connector.emulator.world.store import Store
from connector.emulator.world.world import Ref, Refused, World

ADMIN = SeededUser("22222222-aaaa-4000-8000-000000000001", "Admin App", "11111111-aaaa-4000-8000-000000000001")
METADATA = {
    "value": [
        {
            "LogicalName": "statuscode",
            "OptionSet": {
                "Options": [
                    {"Value": 3, "State": 1, "Label": {"UserLocalizedLabel": {"Label": "Won"}}, "TransitionData": None},
                    {"Value": 100000007, "State": 2, "Label": {"UserLocalizedLabel": {"Label": "Postponed"}}},
                ]
            },
        }
    ]
}


def fresh(path: str = ":memory:") -> World:
    schema = load_schema()
    world = World(schema, Store(path, schema), Switches(), VirtualClock(), random.Random(7))
    seed_organization(world, [ADMIN])
    return world


def dump(world: World) -> list[str]:
    return list(world.store.db.iterdump())


def statuses(world: World, number: int) -> list[int]:
    found = world.store.rows(
        "SELECT statuscode FROM quote WHERE opportunityid = ? ORDER BY quoteid", (opportunity_id(number),)
    )
    return [int(str(status)) for (status,) in found]


def open_opportunities(world: World) -> int:
    return int(str(world.store.rows("SELECT count(*) FROM opportunity WHERE statecode = 0")[0][0]))


def test_the_first_opportunities_show_every_case(world: World) -> None:
    seed_opportunities(world, 20)
    for number, expected in enumerate(FIRST_CASES, 1):
        assert statuses(world, number) == list(expected)
    rivals = world.store.rows(
        "SELECT count(*) FROM opportunitycompetitors WHERE opportunityid = ?", (opportunity_id(2),)
    )
    assert rivals == [(1,)]


def test_three_hundred_open_opportunities_have_none_to_four_quotes_in_every_status(world: World) -> None:
    seed_opportunities(world, 300)
    assert open_opportunities(world) == 300
    counts = Counter(len(statuses(world, number)) for number in range(1, 301))
    assert counts.keys() == {0, 1, 2, 3, 4}
    found = {int(str(status)) for (status,) in world.store.rows("SELECT DISTINCT statuscode FROM quote")}
    assert found == {1, 2, 3, 4, 5, 6, 7, 100000003}
    both = "SELECT opportunityid FROM quote GROUP BY 1 HAVING sum(statecode = 0) > 0 AND sum(statecode = 1) > 0"
    assert len(world.store.rows(both)) >= 20
    assert world.store.rows("SELECT count(DISTINCT transactioncurrencyid) FROM opportunity") == [(2,)]


def test_half_of_the_opportunities_of_project_operations_are_work_based(world: World) -> None:
    seed_opportunities(world, 300, projects=SCENARIOS["project-operations"].projects)
    query = "SELECT count(*), sum(msdyn_ordertype = 192350001) FROM opportunity WHERE statecode = 0"
    assert world.store.rows(query) == [(300, 150)]
    mixed = "SELECT count(*) FROM quote JOIN opportunity USING (opportunityid) WHERE quote.msdyn_ordertype <> opportunity.msdyn_ordertype"
    assert world.store.rows(mixed) == [(0,)]


def test_seeded_rows_obey_the_rules(world: World, admin: Caller) -> None:
    seed_opportunities(world, 60)
    for table in ("opportunity", "quote", "quoteclose", "opportunityclose"):
        shape = world.schema.tables[table]
        for key, state, status in world.store.rows(f"SELECT {shape.primary_id}, statecode, statuscode FROM {table}"):
            world.records.check_status(shape, int(str(state)), int(str(status)), str(key))
    closed = "SELECT count(*) FROM quote WHERE statecode > 1 AND quoteid NOT IN (SELECT quoteid FROM quoteclose)"
    assert world.store.rows(closed) == [(0,)]
    deal = Ref("opportunity", opportunity_id(4))
    world.call(admin, "WinOpportunity", {"OpportunityClose": {"opportunityid": deal}, "Status": 3})
    blocked = {"opportunityid": Ref("opportunity", opportunity_id(1))}
    with pytest.raises(Refused):
        world.call(admin, "WinOpportunity", {"OpportunityClose": blocked, "Status": 3})


def test_the_same_seed_gives_the_same_rows_and_another_one_others() -> None:
    one, same, other = fresh(), fresh(), fresh()
    for world, seed in ((one, 1), (same, 1), (other, 2)):
        seed_parties(world)
        seed_opportunities(world, 40, seed)
    assert dump(one) == dump(same)
    assert dump(one) != dump(other)


def test_more_opportunities_go_on_with_the_numbers(world: World) -> None:
    seed_opportunities(world, 50)
    seed_opportunities(world, 10)
    assert world.store.exists("opportunity", opportunity_id(61))
    assert open_opportunities(world) == 60


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_starts(name: str) -> None:
    world = fresh()
    start_scenario(world, SCENARIOS[name])
    assert open_opportunities(world) == SCENARIOS[name].opportunities


def test_a_file_keeps_what_the_organization_customized(tmp_path: Path) -> None:
    world = fresh(str(tmp_path / "org.db"))
    world.customize(
        Customization(
            (StatusReason("opportunity", 100000007, "Postponed", 2),), (("opportunityclose", "competitorid"),)
        )
    )
    world.store.close()
    schema = load_schema()
    again = World(schema, Store(tmp_path / "org.db", schema), Switches(), VirtualClock())
    option = again.schema.tables["opportunity"].status(100000007)
    assert option is not None
    assert option.label == "Postponed"
    assert again.records.required == {"opportunityclose": frozenset({"competitorid"})}


def test_rows_come_from_json_and_csv_with_their_lookups(world: World) -> None:
    deal = opportunity_id(9)
    rows = {
        "account": [{"accountid": "00000001-0000-4000-8000-00000000ffff", "name": "Ana & co"}],
        "opportunity": [
            {
                "opportunityid": deal,
                "name": "From a file",
                "customerid": "account:00000001-0000-4000-8000-00000000ffff",
                "estimatedvalue": "12.5",
                "statecode": 2,
                "statuscode": 5,
                "actualclosedate": "2025-12-31",
            }
        ],
    }
    assert seed_json(world, rows) == 2
    assert seed_csv(world, "quotes", ["name,opportunityid,statecode,statuscode\n", f"Offer,{deal},1,3\n"]) == 1
    found = world.store.get("opportunity", deal, ("statuscode", "customerid_type", "estimatedvalue_base"))
    assert found == {"statuscode": 5, "customerid_type": "account", "estimatedvalue_base": 12.5}
    assert statuses(world, 9) == [3]


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"nonsense": []}, "no table nonsense"),
        ({"opportunity": [{"nonsense": 1}]}, "row 1: there is no column nonsense"),
        ({"opportunity": [{"name": "x"}, {"statecode": 1, "statuscode": 4}]}, "row 2: 4 is not a valid status code"),
        ({"opportunity": [{"estimatedvalue": "lots"}]}, "'lots' is no value for estimatedvalue"),
        ({"quote": [{"opportunityid": opportunity_id(999)}]}, "Does Not Exist"),
        ({"opportunity": [{"customerid": opportunity_id(1)}]}, "no value for customerid"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_added(world: World, document: dict[str, object], complaint: str) -> None:
    with pytest.raises(SeedRefused, match=complaint):
        seed_json(world, document)
    assert world.store.rows("SELECT count(*) FROM opportunity") == [(0,)]


def test_status_reasons_are_imported_from_exported_metadata(world: World, admin: Caller) -> None:
    world.customize(read_metadata(METADATA, world.schema, "opportunity"))
    deal = Ref("opportunity", world.create(admin, "opportunity", {"name": "Deal"}))
    world.call(admin, "LoseOpportunity", {"OpportunityClose": {"opportunityid": deal}, "Status": 100000007})
    assert world.store.rows("SELECT opportunitystatuscode FROM opportunityclose") == [(100000007,)]


def test_required_columns_are_imported_and_enforced_by_switch(world: World, admin: Caller) -> None:
    attribute = {"LogicalName": "competitorid", "RequiredLevel": {"Value": "ApplicationRequired"}}
    document = {"LogicalName": "opportunityclose", "Attributes": [attribute]}
    world.customize(read_metadata(document, world.schema))
    deal = Ref("opportunity", world.create(admin, "opportunity", {"name": "Deal"}))
    arguments: Arguments = {"OpportunityClose": {"opportunityid": deal}, "Status": 5}
    with pytest.raises(Refused) as refused:
        world.call(admin, "LoseOpportunity", arguments)
    assert (refused.value.code, refused.value.rule) == ("0x80040265", "column.required")
    world.use(world.switches.with_values({"required_columns": "off"}))
    world.call(admin, "LoseOpportunity", arguments)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"value": [{"opportunityid": opportunity_id(1), "name": "secret deal"}]}, "rows of data are never imported"),
        ({"LogicalName": "incident", "Attributes": [{"LogicalName": "statuscode"}]}, "no table incident"),
        ({"LogicalName": "quote", "Attributes": []}, "neither status reasons nor required columns"),
    ],
)
def test_anything_but_metadata_is_refused(world: World, document: dict[str, object], complaint: str) -> None:
    with pytest.raises(ImportRefused, match=complaint):
        read_metadata(document, world.schema)


def test_a_status_reason_of_a_state_that_does_not_exist_is_refused(world: World) -> None:
    with pytest.raises(ImportRefused, match="no state 7"):
        world.customize(Customization((StatusReason("quote", 100000008, "Odd", 7),)))
    assert world.schema.tables["quote"].status(100000008) is None
