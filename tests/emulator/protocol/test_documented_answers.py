"""What Microsoft's documents and clients rely on, each with the page or code it comes from."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.emulator.conftest import CLOSER
from tests.emulator.protocol.client import Client
from tests.emulator.protocol.test_batch import batch, statuses

NONE = "00000000-0000-0000-0000-0000000000ff"
MISSING_KEY = (
    "The key in the request URI is not valid for resource 'Microsoft.Dynamics.CRM.account'. Ensure that the names and "
    "number of key properties match the declared or alternate key properties for the resource "
    "'Microsoft.Dynamics.CRM.account'."
)


def post(client: Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = client.send("POST", path, body)
    assert response.status == 200, response.body
    answer: dict[str, Any] = json.loads(response.body)
    return answer


def members(answer: dict[str, Any]) -> set[str]:
    return {name for name in answer if "@" not in name}


def test_a_won_quote_is_converted_and_converted_again(client: Client, quotes: list[str]) -> None:
    # Dynamics365-Apps-Samples, ProcessQuotesSalesOrdersInvoices
    close = {"Status": -1, "QuoteClose": {"subject": "won", "quoteid@odata.bind": f"/quotes({quotes[1]})"}}
    assert client.send("POST", "WinQuote", close).status == 204
    body = {"QuoteId": quotes[1], "ColumnSet": {"Columns": ["salesorderid", "totalamount"]}}
    first, second = post(client, "ConvertQuoteToSalesOrder", body), post(client, "ConvertQuoteToSalesOrder", body)
    assert first["salesorderid"] != second["salesorderid"]
    assert client.get(f"quotes({quotes[1]})?$select=statecode")["statecode"] == 2
    process = {"@odata.type": "Microsoft.Dynamics.CRM.businessprocessflowinstance", "id": NONE}
    post(client, "ConvertQuoteToSalesOrder", {**body, "ProcessInstanceId": process})


def test_a_column_set_says_which_columns_come_back(client: Client, quotes: list[str], opportunity: str) -> None:
    only = {"AllColumns": False, "Columns": ["name", "opportunityid"]}
    made = post(client, "GenerateQuoteFromOpportunity", {"OpportunityId": opportunity, "ColumnSet": only})
    assert members(made) == {"name", "_opportunityid_value", "quoteid"}
    whole = post(
        client, "GenerateQuoteFromOpportunity", {"OpportunityId": opportunity, "ColumnSet": {"AllColumns": True}}
    )
    assert len(members(whole)) > 50
    body = {"OpportunityId": opportunity, "ColumnSet": {"Columns": ["nothing"]}}
    assert client.error("POST", "GenerateQuoteFromOpportunity", body)[:2] == (400, "0x80041103")
    close = {"Status": 5, "QuoteClose": {"subject": "c", "quoteid@odata.bind": f"/quotes({quotes[1]})"}}
    client.send("POST", "CloseQuote", close)
    revised = post(client, "ReviseQuote", {"QuoteId": quotes[1], "ColumnSet": {"Columns": ["revisionnumber"]}})
    assert members(revised) == {"revisionnumber", "quoteid"}


ONLY = (
    "Only $select and $filter clause can be provided while doing $expand on many-to-one relationship or nested "
    "one-to-many relationship."
)
NO_NOT = "Not operator along with the Custom Named Condition operators is not allowed"
NO_COMMA = (
    "Invalid JSON. A comma character ',' was expected in scope 'Array'. Every two elements in an array and properties "
    "of an object must be separated by commas."
)
USER = "Microsoft.Dynamics.CRM.EqualUserId(PropertyName='ownerid')"
IN = "Microsoft.Dynamics.CRM.In(PropertyName='name',PropertyValues=@p)"
NESTED = "$expand=owninguser($select=fullname)"


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        # powerapps-docs: query/join-tables
        ("$expand=opportunity_quotes($orderby=name;" + NESTED + ")", "0x80060888", ONLY),
        ("$expand=opportunity_quotes($top=1),quote_orders($expand=owninguser)", "0x80060888", ONLY),
        ("$expand=opportunity_quotes($top=1),transactioncurrencyid($expand=createdby)", "0x80060888", ONLY),
        ("$expand=owninguser($top=1)", "0x80060888", ONLY),
        ("$expand=transactioncurrencyid($expand=transactioncurrency_quote($orderby=name))", "0x80060888", ONLY),
        (
            "$expand=opportunity_quotes/$ref",
            "0x80060888",
            "Expand with $ref is only supported on lookup type navigation property.",
        ),
        # powerapps-docs: use-web-api-functions
        ("$filter=not " + USER, "0x0", NO_NOT),
        ("$filter=name eq 'x' and not (statecode eq 0 or (" + USER + "))", "0x0", NO_NOT),
        # powerapps-docs: query/filter-rows
        ("$filter=name eq 'O'Bryan'", "0x0", "There is an unterminated literal at position 17 in 'name eq 'O'Bryan''."),
        ("$filter=name eq 'Bry", "0x0", "There is an unterminated string literal at position 12 in 'name eq 'Bry'."),
        (f"$filter={IN}&@p=['O','O'Bryan']", "0x0", NO_COMMA),
        (f"$filter={IN}&@p=['O' 'B']", "0x0", NO_COMMA),
    ],
)
def test_queries_that_the_pages_say_fail_do_so_in_their_words(
    client: Client, query: str, code: str, message: str
) -> None:
    assert client.error("GET", f"opportunities?$select=name&{query}") == (400, code, message)


def test_an_expanded_address_comes_with_the_id_and_a_user_with_its_id_as_a_principal(
    client: Client, opportunity: str, account: str
) -> None:
    # powerapps-docs: query/join-tables
    row = client.get(f"opportunities({opportunity})?$select=name&$expand=customerid_account/$ref")
    assert row["@odata.context"].endswith("#opportunities(name,customerid_account,customerid_account/$ref())/$entity")
    assert row["_customerid_value"] == account
    assert row["customerid_account"]["@odata.id"].endswith(f"/accounts({account})")
    user = client.get(f"opportunities({opportunity})?$select=name&$expand=createdby($select=fullname)")["createdby"]
    assert members(user) == {"fullname", "systemuserid", "ownerid"}
    assert user["ownerid"] == user["systemuserid"]


@pytest.mark.parametrize("names", ["['account']", '["account","contact"]', "@names&@names=['account']"])
def test_rows_are_counted_for_tables_named_in_either_quotes(client: Client, names: str) -> None:
    before, _, after = names.partition("&")
    answer = client.get(f"RetrieveTotalRecordCount(EntityNames={before})" + (f"?{after}" if after else ""))
    assert answer["EntityRecordCountCollection"]["Keys"][0] == "account"


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_reference_in_an_alias_is_written_in_either_quotes(client: Client, opportunity: str, quote: str) -> None:
    target = f"{{'@odata.id':'opportunities({opportunity})'}}"
    path = "IsValidStateTransition(Entity=@t,NewState='Won',NewStatus=3)?@t=" + target.replace("'", quote)
    assert client.get(path)["IsValid"] is True


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("tasks", "'tasks'"),
        ("emails?$top=1", "'emails'"),
        (f"leads({NONE})", "'leads'"),
        ("teams/$count", "'teams'"),
        ("accounts?$apply=aggregate($count as n)", "aggregation"),
        ("accounts?sql=SELECT name FROM account", "SQL"),
        ("accounts?$filter=Microsoft.Dynamics.CRM.EqualUserTeams(PropertyName='ownerid')", "EqualUserTeams"),
        ("GlobalOptionSetDefinitions", "global choices"),
    ],
)
def test_what_is_not_implemented_is_said_in_one_way(client: Client, path: str, what: str) -> None:
    status, code, message = client.error("GET", path)
    assert (status, code) == (501, "0x80040219")
    assert what in message


def test_a_typing_error_is_told_from_a_table_that_is_elsewhere(client: Client) -> None:
    assert client.error("GET", "taskz")[:2] == (404, "0x8006088a")


def test_the_primary_key_may_be_named(client: Client, account: str) -> None:
    # powerapps-docs: use-alternate-key-reference-record
    assert client.get(f"accounts(accountid={account})?$select=name")["name"] == "Litware, Inc."
    bind = {"name": "x", "customerid_account@odata.bind": f"/accounts(accountid={account})"}
    made = client.create("opportunities", bind)
    assert client.get(f"opportunities({made})?$select=_customerid_value")["_customerid_value"] == account
    for key in ("accountnumber='A'", "accountid='A'", f"accountid={account},name='x'"):
        assert client.error("GET", f"accounts({key})") == (400, "0x80060888", MISSING_KEY), key
    bind["customerid_account@odata.bind"] = "/accounts(accountnumber='A')"
    assert client.error("POST", "opportunities", bind) == (400, "0x80060888", MISSING_KEY)


def test_a_request_of_a_change_set_needs_a_content_id(client: Client) -> None:
    part = "--c\nContent-Type: application/http\nContent-Transfer-Encoding: binary\n\nPOST accounts HTTP/1.1\n\n{}\n--c--\n"
    response = client.batch(batch("--b\nContent-Type: multipart/mixed; boundary=c\n\n" + part))
    assert (response.status, json.loads(response.body)["error"]["code"]) == (400, "0x80060888")


def test_headers_that_nobody_knows_are_ignored(client: Client) -> None:
    assert client.send("GET", "WhoAmI", unheard_of="1", x_anything="2").status == 200
    text = "--b\nContent-Type: application/http\nContent-Transfer-Encoding: binary\n\nGET WhoAmI HTTP/1.1\nUnheard: 1\n\n\n"
    assert statuses(client.batch(batch(text))) == [200]


@pytest.mark.parametrize(
    "column", ["budgetstatus", "initialcommunication", "need", "purchaseprocess", "purchasetimeframe"]
)
def test_choices_of_an_opportunity_have_their_options(client: Client, column: str) -> None:
    cast = f"Attributes(LogicalName='{column}')/Microsoft.Dynamics.CRM.PicklistAttributeMetadata"
    answer = client.get(f"EntityDefinitions(LogicalName='opportunity')/{cast}?$select=LogicalName&$expand=OptionSet")
    assert len(answer["OptionSet"]["Options"]) >= 2


def test_the_functions_of_microsofts_quote_page_are_answered(
    client: Client, quotes: list[str], opportunity: str
) -> None:
    answer = client.get("RetrieveDefaultStatusForState(EntityName='quote',State=3)")
    assert answer["Status"] == 7
    path = (
        "CanCloseOpportunity(Opportunity=@o,Quote=@q,NewStatus=2)"
        f"?@o={{'@odata.id':'opportunities({opportunity})'}}&@q={{'@odata.id':'quotes({quotes[1]})'}}"
    )
    assert client.get(path)["CanClose"] is False
    for key in (quotes[0], quotes[2]):
        client.send("DELETE", f"quotes({key})")
    assert client.get(path)["CanClose"] is True
    assert client.error("GET", "RetrieveDefaultStatusForState(EntityName='quote',State=9)")[0] == 400


def test_every_function_that_is_answered_is_in_the_metadata(client: Client) -> None:
    text = client.send("GET", "$metadata").body.decode()
    for name in (
        "WhoAmI", "RetrieveVersion", "RetrieveCurrentOrganization", "RetrieveTotalRecordCount",
        "RetrieveUserPrivileges", "RetrieveDefaultStatusForState", "CanCloseOpportunity", "IsValidStateTransition",
    ):  # fmt: skip
        assert f'<Function Name="{name}"' in text, name


def test_definitions_have_the_documented_properties_and_a_count(client: Client) -> None:
    # EntityMetadata and AttributeMetadata references; the official SDK filters by IsPrivate
    everything = client.get("EntityDefinitions?$select=LogicalName,IsPrivate,IsValidForAdvancedFind&$count=true")
    assert everything["@odata.count"] == len(everything["value"])
    assert client.get("EntityDefinitions?$filter=IsPrivate eq false&$select=LogicalName")["value"]
    names = "LogicalName,IsSecured,SourceType,AutoNumberFormat,ColumnNumber,IsValidODataAttribute"
    assert client.get(f"EntityDefinitions(LogicalName='quote')/Attributes?$select={names}")["value"]
    status, _, message = client.error("GET", "EntityDefinitions(LogicalName='quote')/Attributes?$select=MaxLength")
    assert status == 400
    assert message.startswith(
        "Could not find a property named 'MaxLength' on type 'Microsoft.Dynamics.CRM.AttributeMeta"
    )
    cast = "Attributes/Microsoft.Dynamics.CRM.StringAttributeMetadata?$select=MaxLength,FormatName,DatabaseLength"
    assert client.get(f"EntityDefinitions(LogicalName='quote')/{cast}")["value"]


def test_an_owner_is_a_principal_of_which_only_the_id_is_known(client: Client, account: str) -> None:
    row = client.get(f"accounts({account})?$select=name,_ownerid_value&$expand=ownerid($select=ownerid)")
    kind = "#Microsoft.Dynamics.CRM.systemuser"
    assert row["ownerid"] == {"@odata.type": kind, "ownerid": row["_ownerid_value"]}
    assert client.get(f"accounts({account})?$expand=ownerid")["ownerid"]["ownerid"] == row["_ownerid_value"]
    status, _, message = client.error("GET", f"accounts({account})?$expand=ownerid($select=fullname)")
    assert status == 400
    assert message == "Could not find a property named 'fullname' on type 'Microsoft.Dynamics.CRM.principal'."
    user = client.get(f"accounts({account})?$select=name&$expand=owninguser($select=fullname,ownerid)")["owninguser"]
    assert user["fullname"]
    assert user["ownerid"] == user["systemuserid"] == row["_ownerid_value"]


def test_an_administrator_may_edit_an_active_quote_and_others_may_not(client: Client, quotes: list[str]) -> None:
    # dynamics-365-sales-privacy
    assert client.send("PATCH", f"quotes({quotes[1]})", {"description": "x"}).status == 204
    client.world.use(client.world.switches.with_values({"active_quote_edit": "nobody"}))
    assert client.error("PATCH", f"quotes({quotes[1]})", {"description": "x"})[:2] == (400, "0x8004022e")
    client.world.use(client.world.switches.with_values({"active_quote_edit": "administrators"}))
    client.caller = client.world.caller_for(application_id=CLOSER)
    assert client.error("PATCH", f"quotes({quotes[1]})", {"description": "x"})[:2] == (400, "0x8004022e")


def test_lines_make_the_totals_of_a_quote_and_the_revenue_of_an_opportunity(client: Client, opportunity: str) -> None:
    # table references: quotedetail, quote, opportunity ("calculated as the sum of the products, discounts, freight ...")
    quote = client.create("quotes", {"name": "Q", "opportunityid@odata.bind": f"/opportunities({opportunity})"})
    bind = {"quoteid@odata.bind": f"/quotes({quote})"}
    line = client.create("quotedetails", {**bind, "quantity": 2, "priceperunit": 50, "tax": 5})
    client.create("quotedetails", {**bind, "quantity": 1, "priceperunit": 40, "manualdiscountamount": 10})
    names = ("baseamount", "extendedamount")
    assert [client.get(f"quotedetails({line})?$select=baseamount,extendedamount")[name] for name in names] == [100, 105]
    totals = f"quotes({quote})?$select=totallineitemamount,totalamountlessfreight,totaltax,totalamount"
    client.send("PATCH", f"quotes({quote})", {"discountpercentage": 10, "freightamount": 7})
    row = client.get(totals)
    assert (row["totallineitemamount"], row["totalamountlessfreight"], row["totaltax"]) == (130, 117, 5)
    assert row["totalamount"] == 129
    client.send("PATCH", f"quotedetails({line})", {"quantity": 1})
    assert client.get(totals)["totallineitemamount"] == 80
    client.send("DELETE", f"quotedetails({line})")
    assert client.get(totals)["totallineitemamount"] == 30


def test_a_revenue_that_the_system_calculates_follows_the_products_and_is_what_a_win_is_worth(
    client: Client, account: str
) -> None:
    deal = client.create(
        "opportunities",
        {"name": "D", "parentaccountid@odata.bind": f"/accounts({account})", "isrevenuesystemcalculated": True},
    )
    product = {"quantity": 2, "priceperunit": 50, "opportunityid@odata.bind": f"/opportunities({deal})"}
    client.create("opportunityproducts", product)
    assert client.get(f"opportunities({deal})?$select=estimatedvalue")["estimatedvalue"] == 100
    close = {"subject": "w", "opportunityid@odata.bind": f"/opportunities({deal})"}
    assert client.send("POST", "WinOpportunity", {"Status": 3, "OpportunityClose": close}).status == 204
    assert client.get(f"opportunities({deal})?$select=actualvalue")["actualvalue"] == 100


def test_an_organization_that_calculates_no_prices_leaves_them(client: Client, opportunity: str) -> None:
    client.world.store.execute("UPDATE organization SET oobpricecalculationenabled = 0")
    quote = client.create("quotes", {"name": "Q", "opportunityid@odata.bind": f"/opportunities({opportunity})"})
    client.create("quotedetails", {"quoteid@odata.bind": f"/quotes({quote})", "quantity": 2, "priceperunit": 50})
    assert client.get(f"quotes({quote})?$select=totalamount")["totalamount"] is None
