"""An organization's own columns, choices, keys, status reasons and secured columns, as the Web API shows and holds them."""

from __future__ import annotations

import json
import re

import pytest

from connector.emulator.api.api import Api
from connector.emulator.world.customization import Customization, ImportRefused
from connector.emulator.world.schema_file import load_schema
from connector.emulator.world.world import World
from tests.emulator.conftest import CLOSER
from tests.emulator.protocol.client import Client

OWN = {
    "columns": [
        {"table": "opportunity", "name": "new_code", "kind": "string", "max_length": 10,
         "labels": {"1033": "Code", "1053": "Kod"}},
        {"table": "opportunity", "name": "new_phase", "kind": "picklist", "labels": {"1053": "Fas"},
         "options": [{"value": 1, "labels": {"1053": "Tidig", "1033": "Early"}},
                     {"value": 2, "labels": {"1053": "Sen", "1033": "Late"}}]},
        {"table": "opportunity", "name": "new_margin", "kind": "decimal", "precision": 3, "labels": {"1033": "Margin"}},
        {"table": "opportunity", "name": "new_fee", "kind": "money", "labels": {"1033": "Fee"}},
        {"table": "opportunity", "name": "new_signed", "kind": "dateonly", "labels": {"1033": "Signed"}},
        {"table": "opportunityclose", "name": "new_reviewer", "schema_name": "new_Reviewer", "kind": "lookup",
         "targets": ["account", "contact"], "labels": {"1033": "Reviewer"}},
    ],
    "keys": [{"table": "opportunity", "name": "new_codekey", "columns": ["new_code"]}],
    "secured": [["opportunity", "actualvalue"]],
    "profiles": [],
    "status_reasons": [
        {"table": "opportunity", "value": 100000020, "label": "Finalizing", "state": 0,
         "labels": {"1033": "Finalizing", "1053": "Avslutas"}, "transitions": [1]},
    ],
    "enforce_transitions": ["opportunity"],
}  # fmt: skip


@pytest.fixture
def own(client: Client, world: World) -> Client:
    world.customize(Customization.from_json(json.dumps(OWN)))
    return client


def definition(client: Client, column: str, kind: str, expand: str = "") -> dict[str, object]:
    path = f"EntityDefinitions(LogicalName='opportunity')/Attributes(LogicalName='{column}')"
    found: dict[str, object] = client.get(f"{path}/Microsoft.Dynamics.CRM.{kind}{expand}")
    return found


def test_a_column_is_written_read_filtered_and_described(own: Client, opportunity: str) -> None:
    values = {"new_code": "A-1", "new_phase": 2, "new_margin": 12.34567, "new_fee": 10.005, "new_signed": "2026-01-31"}
    assert own.send("PATCH", f"opportunities({opportunity})", values).status == 204
    row = own.get(f"opportunities({opportunity})?$select=new_code,new_phase,new_margin,new_fee,new_signed")
    assert (row["new_code"], row["new_phase"], row["new_signed"]) == ("A-1", 2, "2026-01-31")
    assert row["new_margin"] == 12.346, "its own precision"
    assert row["new_fee"] == pytest.approx(10.0, abs=0.011), "that of its currency"
    assert [one["opportunityid"] for one in own.get("opportunities?$filter=new_phase eq 2&$select=name")["value"]] == [
        opportunity
    ]
    described = definition(own, "new_code", "StringAttributeMetadata")
    assert (described["IsCustomAttribute"], described["MaxLength"]) == (True, 10)
    assert b'<Property Name="new_margin" Type="Edm.Decimal"' in own.send("GET", "$metadata").body


def test_labels_come_in_every_language_and_the_user_sees_english_or_the_first(own: Client) -> None:
    options = definition(own, "new_phase", "PicklistAttributeMetadata", "?$expand=OptionSet")["OptionSet"]
    late = next(option for option in options["Options"] if option["Value"] == 2)  # type: ignore[index]
    assert [label["Label"] for label in late["Label"]["LocalizedLabels"]] == ["Sen", "Late"]
    assert late["Label"]["UserLocalizedLabel"]["Label"] == "Late"
    display = definition(own, "new_phase", "PicklistAttributeMetadata")["DisplayName"]
    assert display["UserLocalizedLabel"]["Label"] == "Fas"  # type: ignore[index]


def test_an_unknown_choice_and_a_text_too_long_are_refused(own: Client, opportunity: str) -> None:
    for values in ({"new_phase": 3}, {"new_code": "x" * 11}, {"new_unknown": 1}):
        status, _, _ = own.error("PATCH", f"opportunities({opportunity})", values)
        assert status == 400, values


def test_an_alternate_key_names_a_row_and_is_unique(own: Client, account: str, opportunity: str) -> None:
    own.send("PATCH", f"opportunities({opportunity})", {"new_code": "A-1"})
    assert own.get("opportunities(new_code='A-1')?$select=name")["opportunityid"] == opportunity
    quote = own.create("quotes", {"name": "Q", "opportunityid@odata.bind": "/opportunities(new_code='A-1')",
                                  "customerid_account@odata.bind": f"/accounts({account})"})  # fmt: skip
    assert own.get(f"quotes({quote})?$select=_opportunityid_value")["_opportunityid_value"] == opportunity
    status, code, message = own.error("POST", "opportunities", {"name": "Other", "new_code": "A-1"})
    assert (status, code) == (412, "0x80060892")
    assert "new_codekey" in message
    assert own.error("GET", "opportunities(new_code='B-2')")[:2] == (404, "0x80060891")
    assert own.error("GET", "opportunities(name='x')")[:2] == (400, "0x80060888")
    keys = own.get("EntityDefinitions(LogicalName='opportunity')/Keys?$select=LogicalName,KeyAttributes")["value"]
    assert [(key["LogicalName"], key["KeyAttributes"]) for key in keys] == [("new_codekey", ["new_code"])]


def test_a_lookup_on_the_close_activity_has_a_navigation_property_for_each_table(own: Client) -> None:
    relations = own.get("EntityDefinitions(LogicalName='opportunityclose')/ManyToOneRelationships")["value"]
    names = {
        r["ReferencingEntityNavigationPropertyName"] for r in relations if r["ReferencingAttribute"] == "new_reviewer"
    }
    assert names == {"new_Reviewer_account", "new_Reviewer_contact"}


def test_a_secured_column_is_null_for_whom_no_profile_names(own: Client, world: World, opportunity: str) -> None:
    own.send("PATCH", f"opportunities({opportunity})", {"actualvalue": 12.5})
    assert own.get(f"opportunities({opportunity})?$select=actualvalue")["actualvalue"] == 12.5, "an administrator"
    closer = Client(Api(world), world.caller_for(application_id=CLOSER), world)
    assert closer.get(f"opportunities({opportunity})?$select=actualvalue,name")["actualvalue"] is None
    assert closer.error("PATCH", f"opportunities({opportunity})", {"actualvalue": 1})[:2] == (403, "0x8004f507")
    closed = (403, "0x8004f506", "The Query contained a secured attribute to which the caller does not have access")
    fetch = (
        "<fetch><entity name='opportunity'><attribute name='name'/>"
        "<filter><condition attribute='actualvalue' operator='gt' value='1'/></filter></entity></fetch>"
    )
    for query in (
        "$filter=actualvalue eq 12.5",
        "$filter=name ne 'x' and not (actualvalue gt 1)",
        "$filter=Microsoft.Dynamics.CRM.In(PropertyName='actualvalue',PropertyValues=['12.5'])",
        "$orderby=actualvalue desc",
        f"fetchXml={fetch}",
    ):
        assert closer.error("GET", f"opportunities?{query}") == closed, query
        assert own.send("GET", f"opportunities?{query}").status == 200, query
    assert closer.error("GET", "quotes?$filter=opportunityid/actualvalue gt 1") == closed
    assert closer.send("GET", f"opportunities({opportunity})/actualvalue").status == 204
    profile = {
        "profiles": [{"name": "Managers", "users": [closer.caller.user_id], "read": ["opportunity.actualvalue"]}]
    }
    world.customize(Customization.from_json(json.dumps(profile)))
    closer = Client(Api(world), closer.caller, world)
    assert closer.get(f"opportunities({opportunity})?$select=actualvalue")["actualvalue"] == 12.5


def test_status_reasons_follow_each_other_only_as_their_transitions_say(own: Client, opportunity: str) -> None:
    address = f"opportunities({opportunity})"
    assert own.send("PATCH", address, {"statecode": 0, "statuscode": 100000020}).status == 204
    status, code, _ = own.error("PATCH", address, {"statecode": 0, "statuscode": 2})
    assert (status, code) == (400, "0x8004f00e")
    assert own.error("POST", "WinOpportunity", {"Status": 3, "OpportunityClose": {
        "opportunityid@odata.bind": f"/{address}", "subject": "x"}})[1] == "0x8004f00e"  # fmt: skip
    assert own.send("PATCH", address, {"statecode": 0, "statuscode": 1}).status == 204


@pytest.mark.usefixtures("own")
def test_customizations_stay_with_the_data_and_go_with_it(world: World) -> None:
    assert Customization.from_json(world.customization.to_json()) == world.customization
    world.clear()
    assert "new_code" not in world.schema.tables["opportunity"].columns


@pytest.mark.parametrize(
    "document",
    [
        {"columns": [{"table": "opportunity", "name": "x", "kind": "colour", "labels": {}}]},
        {"columns": [{"table": "lead", "name": "x", "kind": "string", "labels": {}}]},
        {"columns": [{"table": "opportunity", "name": "name", "kind": "string", "labels": {}}]},
        {"columns": [{"table": "opportunity", "name": "x", "kind": "lookup", "targets": ["lead"], "labels": {}}]},
        {"columns": [{"table": "opportunity", "name": "x", "kind": "lookup", "labels": {}}]},
        {"keys": [{"table": "opportunity", "name": "k", "columns": ["nothing"]}]},
        {"secured": [["opportunity", "nothing"]]},
        {"enforce_transitions": ["lead"]},
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(document: object) -> None:
    with pytest.raises(ImportRefused) as refused:
        Customization.from_json(json.dumps(document)).apply(load_schema())
    assert str(refused.value).endswith(".")


BINARY = {
    "columns": [
        {"table": "opportunity", "name": "new_scan", "schema_name": "new_Scan", "kind": "file", "labels": {"1033": "Scan"}},
        {"table": "opportunity", "name": "new_logo", "schema_name": "new_Logo", "kind": "image", "labels": {"1033": "Logo"}},
        {"table": "opportunity", "name": "new_number", "kind": "string", "labels": {"1033": "Number"},
         "autonumber": "WIN-{SEQNUM:5}-{RANDSTRING:4}-{DATETIMEUTC:yyyyMMddhhmmss}"},
        {"table": "quote", "name": "new_must", "kind": "string", "labels": {"1033": "Must"}},
    ],
    "system_required": [["opportunity", "new_number"], ["quote", "new_must"]],
}  # fmt: skip


def test_files_and_images_are_described_read_and_not_set(client: Client, world: World, opportunity: str) -> None:
    # file-column-data and image-column-data: what comes with them, and how they may not be set
    world.customize(Customization.from_json(json.dumps(BINARY)))
    csdl = client.send("GET", "$metadata").body
    for line in (
        'Name="new_scan" Type="Edm.Guid"', 'Name="new_scan_name" Type="Edm.String"',
        'Name="new_logo" Type="Edm.Binary"', 'Name="new_logo_timestamp" Type="Edm.Int64"',
        'Name="new_logo_url" Type="Edm.String"', 'Name="new_logoid" Type="Edm.Guid"',
    ):  # fmt: skip
        assert line.encode() in csdl
    scan, logo = (
        definition(client, "new_scan", "FileAttributeMetadata"),
        definition(client, "new_logo", "ImageAttributeMetadata"),
    )
    assert (scan["AttributeType"], scan["AttributeTypeName"], scan["MaxSizeInKB"]) == (
        "Virtual",
        {"Value": "FileType"},
        32768,
    )
    assert (logo["AttributeTypeName"], logo["MaxHeight"], logo["IsPrimaryImage"]) == (
        {"Value": "ImageType"},
        144,
        False,
    )
    name = definition(client, "new_scan_name", "StringAttributeMetadata")
    assert (name["SchemaName"], name["AttributeOf"], name["IsValidForUpdate"]) == ("new_Scan_Name", "new_scan", False)
    row = client.get(f"opportunities({opportunity})?$select=new_scan,new_scan_name,new_logo,new_logo_url,new_logoid")
    assert {value for name, value in row.items() if name.startswith("new_")} == {None}
    address = f"opportunities({opportunity})"
    assert client.error("PATCH", address, {"new_scan": "a.pdf"})[0] == 400
    assert client.error("PATCH", address, {"new_logo": "R0lGOD"})[0] == 501


def test_an_autonumber_column_is_filled_where_none_is_given_even_if_the_service_requires_it(
    client: Client, world: World
) -> None:
    world.customize(Customization.from_json(json.dumps(BINARY)))
    level = definition(client, "new_number", "StringAttributeMetadata")
    assert (level["RequiredLevel"]["Value"], level["AutoNumberFormat"][:4]) == ("SystemRequired", "WIN-")  # type: ignore[index]
    made = [client.create("opportunities", {"name": "A"}) for _ in range(2)]
    own = client.create("opportunities", {"name": "B", "new_number": "by hand"})
    numbers = [client.get(f"opportunities({key})?$select=new_number")["new_number"] for key in (*made, own)]
    assert numbers[2] == "by hand"
    first, second = (re.fullmatch(r"WIN-(\d{5})-[A-Z0-9]{4}-\d{14}", number) for number in numbers[:2])
    assert first is not None
    assert second is not None
    assert int(second[1]) > int(first[1]) >= 1000
    assert client.error("POST", "quotes", {"name": "Q"})[0] == 400
    with pytest.raises(ImportRefused, match="numbered"):
        world.customize(
            Customization.from_json(
                json.dumps(
                    {
                        "columns": [
                            {
                                "table": "quote",
                                "name": "new_n",
                                "kind": "integer",
                                "labels": {"1033": "N"},
                                "autonumber": "{SEQNUM:3}",
                            }
                        ]
                    }
                )
            )
        )
