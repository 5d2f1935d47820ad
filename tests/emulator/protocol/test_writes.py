from __future__ import annotations

import json

import pytest

from tests.emulator.protocol.client import ROOT, Client

NEW = "0000aaaa-0000-4000-8000-000000000001"


def test_a_create_answers_with_the_address_or_with_the_row(client: Client) -> None:
    response = client.send("POST", "accounts", {"name": "A"})
    assert (response.status, response.body) == (204, b"")
    assert (response.header("OData-EntityId") or "").startswith(f"{ROOT}accounts(")
    response = client.send("POST", "accounts?$select=name", {"name": "B"}, prefer="return=representation")
    assert response.status == 201
    assert response.header("OData-EntityId") is None
    assert response.header("Preference-Applied") == "return=representation"
    assert json.loads(response.body)["name"] == "B"


def test_an_update_answers_204_or_with_the_row(client: Client, account: str) -> None:
    assert client.send("PATCH", f"accounts({account})", {"name": "A"}).status == 204
    response = client.send("PATCH", f"accounts({account})?$select=name", {"name": "B"}, prefer="return=representation")
    assert (response.status, json.loads(response.body)["name"]) == (200, "B")


def test_an_upsert_creates_unless_a_header_forbids_it(client: Client) -> None:
    path = f"accounts({NEW})"
    assert client.error("PATCH", path, {"name": "x"}, if_match="*") == (
        404, "0x80040217", f"Account With Id = {NEW} Does Not Exist",
    )  # fmt: skip
    assert client.send("PATCH", path, {"name": "x"}, if_none_match="*").status == 204
    assert client.get(f"{path}?$select=name")["name"] == "x"
    assert client.error("PATCH", path, {"name": "y"}, if_none_match="*") == (
        412, "0x80040237", "A record with matching key values already exists.",
    )  # fmt: skip


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_stale_etag_is_refused_and_a_fresh_one_is_not(client: Client, account: str, method: str) -> None:
    path, body = f"accounts({account})", {"name": "x"} if method == "PATCH" else None
    stale = client.send("GET", f"{path}?$select=name").header("ETag") or ""
    client.send("PATCH", path, {"name": "y"})
    assert client.error(method, path, body, if_match=stale)[:2] == (412, "0x80060882")
    fresh = client.send("GET", f"{path}?$select=name").header("ETag") or ""
    assert client.send(method, path, body, if_match=fresh).status == 204


def test_single_properties_are_set_and_emptied(client: Client, account: str) -> None:
    assert client.send("PUT", f"accounts({account})/name", {"value": "New"}).status == 204
    assert client.send("PUT", f"accounts({account})/description", {"value": "text"}).status == 204
    assert client.send("DELETE", f"accounts({account})/description").status == 204
    assert client.get(f"accounts({account})?$select=name,description")["description"] is None
    assert client.get(f"accounts({account})/name")["value"] == "New"


@pytest.mark.parametrize(
    "form", ["accounts({})", "/accounts({})", ROOT + "accounts({})", "/api/data/v9.1/accounts({})"]
)
def test_a_lookup_is_bound_in_every_form(client: Client, account: str, form: str) -> None:
    key = client.create("opportunities", {"name": "x", "customerid_account@odata.bind": form.format(account)})
    assert client.get(f"opportunities({key})?$select=_customerid_value")["_customerid_value"] == account


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (
            {"customerid_account@odata.bind": "https://other.crm.dynamics.com/api/data/v9.2/accounts(X)"},
            "0x0",
            "serviceRootUri",
        ),
        ({"customerid_account@odata.bind": "/contacts(X)"}, "0x0", "customerid_account"),
        ({"customerid_account@odata.bind": "/accounts(nonsense)"}, "0x0", "nonsense"),
        ({"customerid_account@odata.bind": "/nothing(X)"}, "0x0", "nothing"),
        ({"customerid_account@odata.bind": "$1"}, "", "'$1' does not exist in the batch context"),
        ({"customerid@odata.bind": "/accounts(X)"}, "0x80048d19", "undeclared property 'customerid'"),
        ({"_customerid_value": "X"}, "0x80060888", "Use Navigation properties instead."),
        ({"customerid": "X"}, "0x80060888", "Use Navigation properties instead."),
        ({"customerid_account": "X"}, "0x80060888", "Use Navigation properties instead."),
        ({"customerid_account": {"name": "deep"}}, "0x80040219", "deep inserts"),
        ({"opportunity_quotes": [{"name": "deep"}]}, "0x80040219", "deep inserts"),
        ({"Name": "x"}, "0x0", "Invalid property 'Name' was found in entity 'Microsoft.Dynamics.CRM.opportunity'."),
        ({"name": 5}, "0x80048d19", "'name'"),
        ({"estimatedvalue": "much"}, "0x80048d19", "estimatedvalue"),
        ({"estimatedclosedate": "31.1.2026"}, "0x80048d19", "estimatedclosedate"),
        ({"statuscode": 1.5}, "0x80048d19", "statuscode"),
        ({"@odata.type": "Microsoft.Dynamics.CRM.quote"}, "0x80048d19", "quote"),
        ({"name@odata.unknown": 1}, "0x80048d19", "name@odata.unknown"),
        (b"{", "0x80048d19", "JSON"),
        (b'{"name":"a","name":"b"}', "0x80048d19", "Multiple properties with the name 'name'"),
        (b"[]", "0x80048d19", "object"),
        (b"", "0x80072530", "cannot be null or empty"),
        (b'{"estimatedvalue":NaN}', "0x80048d19", "JSON"),
    ],
)
def test_a_body_that_is_not_understood_changes_nothing(
    client: Client, account: str, body: object, code: str, words: str
) -> None:
    before = client.world.store.version
    given = json.loads(json.dumps(body).replace("(X)", f"({account})")) if isinstance(body, dict) else body
    status, found, message = client.error("POST", "opportunities", given, content_type="application/json")
    assert status in (400, 501)
    assert found == code
    assert words in message
    assert client.world.store.version == before


@pytest.mark.parametrize("written", ["Microsoft.Dynamics.CRM.account", "#Microsoft.Dynamics.CRM.account"])
def test_the_type_may_be_said_with_and_without_its_sign(client: Client, written: str) -> None:
    assert client.send("POST", "accounts", {"name": "x", "@odata.type": written}).status == 204


def test_rows_are_related_and_unrelated_in_every_documented_way(client: Client, account: str, opportunity: str) -> None:
    competitor = client.create("competitors", {"name": "Adventure Works"})
    nav = f"opportunities({opportunity})/opportunitycompetitors_association"

    def count() -> bytes:
        return client.send("GET", f"{nav}/$count").body

    assert client.send("POST", f"{nav}/$ref", {"@odata.id": f"{ROOT}competitors({competitor})"}).status == 204
    assert count() == b"1"
    assert client.send("DELETE", f"{nav}/$ref?$id={ROOT}competitors({competitor})").status == 204
    assert count() == b"0"
    client.send("POST", f"{nav}/$ref", {"@odata.id": f"competitors({competitor})"})
    assert client.send("DELETE", f"{nav}({competitor})/$ref").status == 204
    assert count() == b"0"
    other = client.create("accounts", {"name": "Other"})
    lookup = f"opportunities({opportunity})/parentaccountid/$ref"
    assert client.send("PUT", lookup, {"@odata.id": f"{ROOT}accounts({other})"}).status == 204
    assert client.get(f"opportunities({opportunity})?$select=_parentaccountid_value")["_parentaccountid_value"] == other
    assert client.send("DELETE", lookup).status == 204
    assert client.get(f"opportunities({opportunity})?$select=_parentaccountid_value")["_parentaccountid_value"] is None
    assert client.send("POST", f"accounts({account})/opportunity_customer_accounts/$ref",
                       {"@odata.id": f"opportunities({opportunity})"}).status == 204  # fmt: skip


def test_many_rows_are_written_together_or_not_at_all(client: Client) -> None:
    kind = {"@odata.type": "Microsoft.Dynamics.CRM.account"}
    made = client.send(
        "POST", "accounts/Microsoft.Dynamics.CRM.CreateMultiple", {"Targets": [{"name": "a", **kind}] * 2}
    )
    ids = json.loads(made.body)["Ids"]
    targets = [{"accountid": one, "name": f"new {index}", **kind} for index, one in enumerate(ids)]
    update = "accounts/Microsoft.Dynamics.CRM.UpdateMultiple"
    assert client.send("POST", update, {"Targets": targets}).status == 204
    assert client.get(f"accounts({ids[1]})?$select=name")["name"] == "new 1"
    missing = [{**targets[0], "name": "undone"}, {**targets[1], "accountid": NEW}]
    assert client.error("POST", update, {"Targets": missing})[0] == 404
    assert client.get(f"accounts({ids[0]})?$select=name")["name"] == "new 0"
    twice = [{"accountid": NEW, "name": "x", **kind}] * 2
    error = client.error("POST", "accounts/Microsoft.Dynamics.CRM.CreateMultiple", {"Targets": twice})
    assert error == (412, "0x80040237", "Cannot insert duplicate key.")
    assert client.send("GET", f"accounts({NEW})").status == 404


def test_actions_answer_204_and_say_what_is_missing(client: Client, opportunity: str, quotes: list[str]) -> None:
    for quote in quotes:
        client.send("PATCH", f"quotes({quote})", {"statecode": 1, "statuscode": 2})
        body = {"Status": 6, "QuoteClose": {"subject": "c", "quoteid@odata.bind": f"/quotes({quote})"}}
        assert client.send("POST", "CloseQuote", body).status == 204
    close = {"opportunityid@odata.bind": f"/opportunities({opportunity})", "activityid": NEW}
    assert client.error("POST", "WinOpportunity", {"Status": 3})[:2] == (400, "0x80040203")
    assert client.error("POST", "WinOpportunity", {"Status": "3", "OpportunityClose": close})[1] == "0x80048d19"
    assert (
        client.error("POST", "WinOpportunity", {"Status": 3, "OpportunityClose": close, "Extra": 1})[1] == "0x80048d19"
    )
    answer = client.ask("POST", "WinOpportunity", {"Status": 3, "OpportunityClose": close})
    assert (answer.response.status, answer.response.body) == (204, b"")
    (operation,) = answer.operations
    assert (operation.message, operation.table, operation.record_id) == ("WinOpportunity", "opportunity", opportunity)
    assert client.get(f"opportunitycloses({NEW})?$select=activityid")["activityid"] == NEW
    assert client.error("POST", "CloseOpportunity", {})[:2] == (404, "0x8006088a")


def test_a_bound_action_answers_with_its_complex_type(client: Client, opportunity: str) -> None:
    path = f"opportunities({opportunity})/Microsoft.Dynamics.CRM.CalculateActualValueOpportunity"
    body = json.loads(client.send("POST", path).body)
    assert body["@odata.context"].endswith("#Microsoft.Dynamics.CRM.CalculateActualValueOpportunityResponse")
    assert "Value" in body


def test_an_action_that_makes_a_row_answers_with_it(client: Client, opportunity: str) -> None:
    body = {"OpportunityId": opportunity, "ColumnSet": {"AllColumns": True}}
    made = json.loads(client.send("POST", "GenerateQuoteFromOpportunity?$select=name", body).body)
    assert made["@odata.context"].endswith("#quotes(name)/$entity")


@pytest.mark.parametrize(
    ("column", "within", "beyond", "code"),
    [
        # entity reference and Common Data Model: opportunity, MinValue and MaxValue
        ("closeprobability", (0, 100), (-1, 101), "0x8004432f"),
        ("estimatedvalue", (-1_000_000_000_000, 1_000_000_000_000), (1_000_000_000_001,), "0x80044330"),
        ("actualvalue", (-1_000_000_000_000, 1_000_000_000_000), (-1_000_000_000_001,), "0x80044330"),
        ("discountpercentage", (0, 100), (-0.5, 100.5), "0x80044330"),
        ("totalamount", (922_337_203_685_477,), (922_337_203_685_478,), "0x80044330"),
    ],
)
def test_a_number_stays_within_the_range_of_its_column(
    client: Client, opportunity: str, column: str, within: tuple[float, ...], beyond: tuple[float, ...], code: str
) -> None:
    path = f"opportunities({opportunity})"
    for value in within:
        assert client.send("PATCH", path, {column: value}).status == 204
    words = f"A validation error occurred. The value of '{column}' on record of type 'opportunity' is outside the valid range."
    for value in beyond:
        assert client.error("PATCH", path, {column: value}) == (400, code, words)
    kind = {"closeprobability": "Integer", "discountpercentage": "Decimal"}.get(column, "Money")
    cast = (
        f"Attributes(LogicalName='{column}')/Microsoft.Dynamics.CRM.{kind}AttributeMetadata?$select=MinValue,MaxValue"
    )
    definition = client.get(f"EntityDefinitions(LogicalName='opportunity')/{cast}")
    assert definition["MinValue"] <= min(within)
    assert definition["MaxValue"] == max(within)


def test_a_character_beyond_the_basic_plane_takes_the_room_of_two(client: Client, opportunity: str) -> None:
    path = f"opportunities({opportunity})"
    assert client.send("PATCH", path, {"name": "\N{WINE GLASS}" * 150}).status == 204  # 300 is the length of a name
    assert client.error("PATCH", path, {"name": "\N{WINE GLASS}" * 151})[:2] == (400, "0x80044331")
    assert client.send("PATCH", path, {"name": "é" * 300}).status == 204


def test_an_update_that_returns_the_row_expands_nothing_and_a_create_does(client: Client, account: str) -> None:
    # powerapps-docs: update-delete-entities-using-web-api (update with data returned), create-entity-web-api
    expand = "$select=name&$expand=customerid_account($select=name)"
    prefer = {"prefer": "return=representation"}
    bind = {"name": "x", "customerid_account@odata.bind": f"/accounts({account})"}
    created = client.send("POST", f"opportunities?{expand}", bind, **prefer)
    made = json.loads(created.body)
    assert made["customerid_account"]["name"] == "Litware, Inc."
    updated = client.send("PATCH", f"opportunities({made['opportunityid']})?{expand}", {"name": "y"}, **prefer)
    assert updated.status == 200
    body = json.loads(updated.body)
    assert (body["name"], "customerid_account" in body) == ("y", False)
    assert body["@odata.context"].endswith("$metadata#opportunities(name)/$entity")
