from __future__ import annotations

import json

import pytest

from connector.emulator.world.world import World
from tests.emulator.protocol.client import Client

NONE = "00000000-0000-0000-0000-0000000000ff"


def test_a_row_comes_with_context_etag_and_key(client: Client, account: str) -> None:
    response = client.send("GET", f"accounts({account})?$select=name,revenue")
    body = json.loads(response.body)
    assert list(body) == [
        "@odata.context", "@odata.etag", "name", "revenue", "accountid", "_transactioncurrencyid_value",
    ]  # fmt: skip
    assert body["@odata.context"].endswith("/api/data/v9.2/$metadata#accounts(name,revenue)/$entity")
    assert response.header("ETag") == body["@odata.etag"]
    assert body["accountid"] == account


def test_annotations_come_on_request_only_and_before_their_property(client: Client, opportunity: str) -> None:
    path = f"opportunities({opportunity})?$select=statecode,estimatedvalue,_customerid_value"
    assert not [key for key in client.get(path) if "@" in key[1:]]
    body = client.get(path, prefer='odata.include-annotations="*"')
    keys = list(body)
    assert body["estimatedvalue@OData.Community.Display.V1.FormattedValue"] == "$1,200.50"
    assert body["statecode@OData.Community.Display.V1.FormattedValue"] == "Open"
    assert body["_customerid_value@Microsoft.Dynamics.CRM.lookuplogicalname"] == "account"
    assert body["_customerid_value@Microsoft.Dynamics.CRM.associatednavigationproperty"] == "customerid_account"
    assert body["_customerid_value@OData.Community.Display.V1.FormattedValue"] == "Litware, Inc."
    assert keys.index("statecode@OData.Community.Display.V1.FormattedValue") + 1 == keys.index("statecode")


def test_annotations_follow_their_pattern(client: Client, opportunity: str) -> None:
    path = f"opportunities({opportunity})?$select=statecode,_customerid_value"
    body = client.get(path, prefer='odata.include-annotations="Microsoft.Dynamics.CRM.*"')
    assert "statecode@OData.Community.Display.V1.FormattedValue" not in body
    assert "_customerid_value@Microsoft.Dynamics.CRM.lookuplogicalname" in body


def test_expands_carry_rows_nulls_and_nested_options(client: Client, opportunity: str, quotes: list[str]) -> None:
    body = client.get(
        f"opportunities({opportunity})?$select=name&$expand=customerid_account($select=name),"
        "customerid_contact($select=fullname),"
        "opportunity_quotes($select=name;$filter=statecode eq 0;$orderby=name desc)"
    )
    assert body["customerid_account"]["name"] == "Litware, Inc."
    assert body["customerid_contact"] is None
    assert [one["name"] for one in body["opportunity_quotes"]] == ["Quote 2", "Quote 0"]
    assert quotes[1] not in json.dumps(body)


def test_an_expanded_collection_comes_whole_and_in_a_set_with_the_address_of_all_of_it(
    client: Client, opportunity: str, quotes: list[str]
) -> None:
    # powerapps-docs: query/join-tables (single $expand on collection-valued navigation properties)
    expand = "$select=name&$expand=opportunity_quotes($select=name;$filter=statecode eq 0)"
    row = client.get(f"opportunities({opportunity})?{expand}", prefer="odata.maxpagesize=1")
    assert len(row["opportunity_quotes"]) == 2
    assert "opportunity_quotes@odata.nextLink" not in row
    path = f"opportunities?$filter=opportunityid eq {opportunity}&{expand}"
    (row,) = client.get(path, prefer="odata.maxpagesize=1")["value"]
    link = row["opportunity_quotes@odata.nextLink"]
    assert "$skiptoken" not in link
    assert client.get(link)["value"] == row["opportunity_quotes"]
    client.send("DELETE", f"quotes({quotes[0]})")
    client.send("DELETE", f"quotes({quotes[2]})")
    (row,) = client.get(path)["value"]
    assert row["opportunity_quotes"] == []
    assert client.get(row["opportunity_quotes@odata.nextLink"])["value"] == []


def test_expanded_collections_page_where_an_expand_is_inside_another(
    client: Client, opportunity: str, quotes: list[str]
) -> None:
    # powerapps-docs: query/join-tables (nested $expand on collection-valued navigation properties)
    inner = "owninguser($select=fullname)"
    path = f"opportunities({opportunity})?$select=name&$expand=opportunity_quotes($select=name;$expand={inner})"
    link, seen = path, []
    body = client.get(path, prefer="odata.maxpagesize=2")
    while link:
        seen += [row["name"] for row in body.get("value", body.get("opportunity_quotes"))]
        link = body.get("opportunity_quotes@odata.nextLink") or body.get("@odata.nextLink")
        body = client.get(link, prefer="odata.maxpagesize=2") if link else {}
    assert sorted(seen) == ["Quote 0", "Quote 1", "Quote 2"]
    (full, *_) = client.get(f"opportunities?$filter=opportunityid eq {opportunity}&{path.partition('?')[2]}")["value"]
    assert "opportunity_quotes@odata.nextLink" not in full
    assert len(quotes) == 3


def test_navigation_references_properties_and_counts(
    client: Client, account: str, opportunity: str, quotes: list[str]
) -> None:
    assert client.get(f"quotes({quotes[0]})/opportunityid?$select=name")["name"] == "Éclair deal"
    reference = client.get(f"quotes({quotes[0]})/opportunityid/$ref")
    assert reference["@odata.id"].endswith(f"/opportunities({opportunity})")
    listed = client.get(f"opportunities({opportunity})/opportunity_quotes/$ref")["value"]
    assert {one["@odata.id"].rpartition("(")[2][:-1] for one in listed} == set(quotes)
    assert client.get(f"accounts({account})/name")["value"] == "Litware, Inc."
    assert client.send("GET", f"accounts({account})/name/$value").body == b"Litware, Inc."
    assert client.send("GET", f"accounts({account})/description").status == 204
    assert client.send("GET", f"opportunities({opportunity})/opportunity_quotes/$count").body == b"3"
    assert client.send("GET", "quotes/$count?$filter=statecode eq 1").body == b"1"
    assert client.send("GET", f"opportunities({opportunity})/customerid_contact").status == 204


@pytest.mark.parametrize(
    ("filter_text", "expected"),
    [
        ("name eq 'ECLAIR DEAL'", True),
        ("contains(name,'lair')", True),
        ("startswith(name,'E_lair%25')", True),
        ("customerid_account/name eq 'litware, inc.'", True),
        ("customerid_contact/fullname eq null", True),
        ("customerid_contact/fullname ne null", False),
        ("opportunity_quotes/any(q:q/statecode eq 1)", True),
        ("opportunity_quotes/all(q:q/statecode eq 0)", False),
        ("not opportunity_quotes/any(q:q/statecode eq 3)", True),
        ("opportunity_quotes/any(q:q/opportunityid/name eq 'x' or q/quote_details/any())", False),
        ("Microsoft.Dynamics.CRM.In(PropertyName='statecode',PropertyValues=['0','2'])", True),
        ("Microsoft.Dynamics.CRM.NotIn(PropertyName='statecode',PropertyValues=['0'])", False),
        ('Microsoft.Dynamics.CRM.Between(PropertyName=\'estimatedvalue\',PropertyValues=["1000","2000"])', True),
        ("Microsoft.Dynamics.CRM.Today(PropertyName='createdon')", True),
        ("Microsoft.Dynamics.CRM.LastXDays(PropertyName='createdon',PropertyValue=3)", True),
        ("Microsoft.Dynamics.CRM.OlderThanXDays(PropertyName='createdon',PropertyValue=3)", False),
        ("Microsoft.Dynamics.CRM.NextXWeeks(PropertyName='createdon',PropertyValue=1)", True),
        ("Microsoft.Dynamics.CRM.On(PropertyName='createdon',PropertyValue='2026-01-01')", True),
        ("Microsoft.Dynamics.CRM.OnOrBefore(PropertyName='createdon',PropertyValue='2025-12-31')", False),
        ("Microsoft.Dynamics.CRM.EqualUserId(PropertyName='ownerid')", True),
        ("Microsoft.Dynamics.CRM.NotEqualUserId(PropertyName='ownerid')", False),
    ],
)
def test_filters_find_and_leave_out(
    client: Client, opportunity: str, quotes: list[str], filter_text: str, expected: bool
) -> None:
    found = client.get(f"opportunities?$select=name&$filter=opportunityid eq {opportunity} and {filter_text}")["value"]
    assert bool(found) == expected
    assert len(quotes) == 3


def test_conditional_reads(client: Client, account: str) -> None:
    path = f"accounts({account})?$select=name"
    etag = client.send("GET", path).header("ETag") or ""
    assert client.send("GET", path, if_none_match=etag).status == 304
    assert client.send("GET", path, if_none_match="null").status == 200
    annotated = client.send("GET", path, if_none_match=etag, prefer='odata.include-annotations="*"')
    assert annotated.status == 200
    client.send("PATCH", f"accounts({account})", {"name": "New"})
    assert client.send("GET", path, if_none_match=etag).status == 200


def test_counts_come_with_their_annotations(client: Client, account: str) -> None:
    body = client.get(f"accounts?$filter=accountid eq {account}&$count=true", prefer='odata.include-annotations="*"')
    assert body["@odata.count"] == 1
    assert body["@Microsoft.Dynamics.CRM.totalrecordcount"] == 1
    assert body["@Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded"] is False
    without = client.get("accounts?$top=1", prefer='odata.include-annotations="*"')
    assert without["@Microsoft.Dynamics.CRM.totalrecordcount"] == -1


def test_a_reader_without_the_privilege_is_refused(client: Client, world: World, opportunity: str) -> None:
    client.caller = world.caller_for(application_id="11111111-aaaa-4000-8000-000000000002")
    status, code, message = client.error("GET", "roles?$select=name")
    assert (status, code) == (403, "0x80040220")
    assert "prvReadRole" in message
    assert client.send("GET", f"opportunities({opportunity})?$select=name").status == 200


def test_a_missing_row_is_named_by_its_schema_name(client: Client) -> None:
    assert client.error("GET", f"systemusers({NONE})?$select=fullname") == (
        404, "0x80040217", f"SystemUser With Id = {NONE} Does Not Exist",
    )  # fmt: skip
