from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.emulator.protocol.client import Client

EDM = "{http://docs.oasis-open.org/odata/ns/edm}"
FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "protocol"
CAST = "Microsoft.Dynamics.CRM."


def test_status_reasons_come_with_their_state(client: Client) -> None:
    body = client.get(
        "EntityDefinitions(LogicalName='opportunity')/Attributes(LogicalName='statuscode')/"
        f"{CAST}StatusAttributeMetadata?$select=LogicalName&$expand=OptionSet($select=Options)"
    )
    states = {one["Value"]: one["State"] for one in body["OptionSet"]["Options"]}
    assert states[3] == 1
    assert states[1] == 0
    labels = {one["Value"]: one["Label"]["UserLocalizedLabel"]["Label"] for one in body["OptionSet"]["Options"]}
    assert labels[3] == "Won"
    assert set(body) == {
        "@odata.context", "@odata.type", "LogicalName", "MetadataId", "OptionSet@odata.context", "OptionSet",
    }  # fmt: skip


def test_the_cast_without_an_attribute_answers_with_a_list(client: Client) -> None:
    path = f"EntityDefinitions(LogicalName='quote')/Attributes/{CAST}StateAttributeMetadata"
    (state,) = client.get(f"{path}?$select=LogicalName&$expand=OptionSet")["value"]
    defaults = {one["Value"]: one["DefaultStatus"] for one in state["OptionSet"]["Options"]}
    assert defaults == {0: 1, 1: 2, 2: 4, 3: 7}


def test_definitions_are_found_by_name_by_id_and_by_filter(client: Client) -> None:
    one = client.get("EntityDefinitions(LogicalName='quote')?$select=EntitySetName,IsOptimisticConcurrencyEnabled")
    assert (one["EntitySetName"], one["IsOptimisticConcurrencyEnabled"]) == ("quotes", True)
    again = client.get(f"EntityDefinitions({one['MetadataId']})?$select=EntitySetName")
    assert again["EntitySetName"] == "quotes"
    found = client.get("EntityDefinitions?$select=LogicalName&$filter=LogicalName eq 'quote'")["value"]
    assert [row["LogicalName"] for row in found] == ["quote"]
    owned = client.get(
        f"EntityDefinitions?$select=LogicalName&$filter=OwnershipType eq {CAST}OwnershipTypes'UserOwned'"
    )
    names = {row["LogicalName"] for row in owned["value"]}
    assert "opportunity" in names
    assert "organization" not in names


def test_attributes_are_expanded_and_filtered(client: Client) -> None:
    body = client.get(
        "EntityDefinitions(LogicalName='account')?$select=LogicalName&"
        f"$expand=Attributes($select=LogicalName;$filter=AttributeType eq {CAST}AttributeTypeCode'Money')"
    )
    names = {one["LogicalName"] for one in body["Attributes"]}
    assert "revenue" in names
    assert "name" not in names


def test_relationships_name_both_sides(client: Client) -> None:
    many = client.get(
        "EntityDefinitions(LogicalName='quote')/ManyToOneRelationships?$select=ReferencedEntity,SchemaName"
    )
    assert "opportunity_quotes" in {one["SchemaName"] for one in many["value"]}
    both = client.get("EntityDefinitions(LogicalName='opportunity')/ManyToManyRelationships")["value"]
    assert [one["IntersectEntityName"] for one in both] == ["opportunitycompetitors"]


@pytest.mark.parametrize(
    "path",
    [
        "EntityDefinitions(LogicalName='nothing')",
        "EntityDefinitions(LogicalName='quote')?$select=Nothing",
        "EntityDefinitions?$top=1",
        "EntityDefinitions(LogicalName='quote')/Attributes(LogicalName='nothing')",
        "EntityDefinitions(LogicalName='quote')/Nothing",
        f"EntityDefinitions(LogicalName='quote')/Attributes/{CAST}NothingAttributeMetadata",
        f"EntityDefinitions(LogicalName='quote')/Attributes(LogicalName='name')/{CAST}StatusAttributeMetadata",
        "EntityDefinitions(LogicalName='quote')/Attributes?$expand=OptionSet",
        "EntityDefinitions(LogicalName='quote')?$expand=Privileges",
        "EntityDefinitions?$filter=IsActivity eq 'yes'",
    ],
)
def test_what_is_not_there_is_refused(client: Client, path: str) -> None:
    assert client.send("GET", path).status in (400, 404)


def test_the_service_document_lists_what_metadata_defines(client: Client) -> None:
    listed = {one["name"] for one in client.get("")["value"]}
    document = ET.fromstring(client.send("GET", "$metadata").body)
    edm = "{http://docs.oasis-open.org/odata/ns/edm}"
    assert {one.get("Name") for one in document.iter(f"{edm}EntitySet")} | {"EntityDefinitions"} == listed
    types = {one.get("Name") for one in document.iter(f"{edm}EntityType")}
    for one in document.iter(f"{edm}NavigationProperty"):
        assert str(one.get("Type")).removeprefix("Collection(").removesuffix(")").removeprefix("mscrm.") in types
    win = next(one for one in document.iter(f"{edm}Action") if one.get("Name") == "WinOpportunity")
    given = [(one.get("Name"), one.get("Type"), one.get("Nullable")) for one in win.iter(f"{edm}Parameter")]
    assert ("OpportunityClose", "mscrm.opportunityclose", "false") in given
    assert ("Status", "Edm.Int32", "false") in given


NOT_KEPT = {
    "entityimage",
    "entityimageid",
    "entityimage_url",
    "entityimage_timestamp",
    "exchangeitemid",
    "exchangeweblink",
}
"""Columns of the live document that the slice leaves out: pictures, and links to Exchange."""


def test_metadata_agrees_with_a_live_document(client: Client) -> None:
    live = json.loads((FIXTURES / "live_csdl_slice.json").read_text("utf-8"))
    document = ET.fromstring(client.send("GET", "$metadata").body)
    types = {str(one.get("Name")): one for one in document.iter(f"{EDM}EntityType")}
    for name, wanted in live["types"].items():
        one = types[name]
        assert one.get("BaseType") == wanted["base"]
        properties = {str(p.get("Name")): p.get("Type") for p in one.iter(f"{EDM}Property")}
        known = {key: kind for key, kind in wanted["properties"].items() if key not in NOT_KEPT}
        assert known.items() <= properties.items(), name
        for navigation in one.iter(f"{EDM}NavigationProperty"):
            shown = [navigation.get("Type"), navigation.get("Partner")]
            assert wanted["navigation"].get(navigation.get("Name"), shown) == shown


def test_message_support_is_asked_as_documented(client: Client) -> None:
    query = (
        "sdkmessagefilters?$select=sdkmessagefilterid&$filter=sdkmessageid/name eq @message and "
        "primaryobjecttypecode eq @table&@message='%s'&@table='%s'"
    )
    assert len(client.get(query % ("UpdateMultiple", "opportunity"))["value"]) == 1
    assert client.get(query % ("Nothing", "opportunity"))["value"] == []


def test_who_am_i_and_the_organization(client: Client) -> None:
    body = client.get("WhoAmI")
    assert body["UserId"] == client.caller.user_id
    detail = client.get(
        "RetrieveCurrentOrganization(AccessType=@p1)?@p1=Microsoft.Dynamics.CRM.EndpointAccessType'Default'"
    )["Detail"]
    assert detail["OrganizationId"] == body["OrganizationId"]
    assert client.get("RetrieveVersion()")["Version"].startswith("9.2.")
    assert client.send("GET", "RetrieveCurrentOrganization()").status == 400
