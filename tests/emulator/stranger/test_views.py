"""Saved views: found by name, executed by id, refused by name where they say more than simple views do."""

from __future__ import annotations

import pytest

from tests.emulator.stranger.wire import Stranger, fresh_id

ACTIVE_ACCOUNTS = "00000000-0000-0000-00aa-000010001002"
OPEN_OPPORTUNITIES = "00000000-0000-0000-00aa-000010003001"


def view(client: Stranger, inner: str, table: str = "opportunity", top: str = "") -> str:
    """Save a view of one's own with this inside its entity, and return its id."""
    fetch = f'<fetch mapping="logical"{top}><entity name="{table}">{inner}</entity></fetch>'
    return client.create("userqueries", {"name": "Mine", "returnedtypecode": table, "querytype": 0, "fetchxml": fetch})


def names(client: Stranger, inner: str, top: str = "") -> list[str]:
    made = view(client, f'<attribute name="name"/>{inner}', top=top)
    return [row["name"] for row in client.read(f"opportunities?userQuery={made}")["value"]]


def test_the_documented_view_is_found_by_its_name_and_executed_by_its_id(anywhere: Stranger) -> None:
    found = anywhere.read("savedqueries?$select=name,savedqueryid&$filter=name eq 'Active Accounts'")["value"]
    assert [(one["name"], one["savedqueryid"]) for one in found] == [("Active Accounts", ACTIVE_ACCOUNTS)]
    contact = anywhere.create("contacts", {"firstname": "Yvonne", "lastname": "McKay (sample)"})
    bind = {"primarycontactid@odata.bind": f"/contacts({contact})"}
    anywhere.create("accounts", {"name": "Contoso, Ltd. (sample)", **bind})
    prefer = "odata.maxpagesize=500, odata.include-annotations=OData.Community.Display.V1.FormattedValue"
    answer = anywhere.read(f"accounts?savedQuery={ACTIVE_ACCOUNTS}", Prefer=prefer)
    assert answer["@odata.context"].endswith(
        "$metadata#accounts(name,_primarycontactid_value,primarycontactid,telephone1,accountid)"
    )
    (row,) = [one for one in answer["value"] if one["name"] == "Contoso, Ltd. (sample)"]
    assert set(row) == {
        "@odata.etag", "name", "_primarycontactid_value@OData.Community.Display.V1.FormattedValue",
        "_primarycontactid_value", "accountid",
    }  # fmt: skip
    assert row["_primarycontactid_value@OData.Community.Display.V1.FormattedValue"] == "Yvonne McKay (sample)"


def test_a_view_applies_to_a_collection_of_one_row(stranger: Stranger) -> None:
    account, other = (stranger.create("accounts", {"name": name}) for name in "ab")
    for parent in (account, other):
        stranger.deal(**{"parentaccountid@odata.bind": f"/accounts({parent})"})
    closed = stranger.deal(**{"parentaccountid@odata.bind": f"/accounts({account})"})
    stranger.close("LoseOpportunity", closed, 5)
    path = f"accounts({account})/opportunity_parent_account/?savedQuery={OPEN_OPPORTUNITIES}"
    assert len(stranger.read(path)["value"]) == 1


def test_open_closed_mine_and_all(anywhere: Stranger) -> None:
    mine, lost = anywhere.deal(), anywhere.deal()
    anywhere.close("LoseOpportunity", lost, 5)
    by_name = {
        row["name"]: row["savedqueryid"]
        for row in anywhere.read("savedqueries?$select=name&$filter=returnedtypecode eq 'opportunity'")["value"]
    }
    assert set(by_name) == {"Open Opportunities", "My Open Opportunities", "Closed Opportunities", "All Opportunities"}

    def ids(name: str) -> set[str]:
        return {row["opportunityid"] for row in anywhere.read(f"opportunities?savedQuery={by_name[name]}")["value"]}

    everything = {row["opportunityid"] for row in anywhere.read("opportunities?$select=name")["value"]}
    assert ids("All Opportunities") == everything
    assert ids("Open Opportunities") | ids("Closed Opportunities") == everything
    assert lost in ids("Closed Opportunities")
    assert ids("My Open Opportunities") == {mine}


def test_views_page_by_next_links(stranger: Stranger) -> None:
    for number in range(5):
        stranger.deal(name=f"Deal {number}")
    seen, link = [], f"opportunities?savedQuery={OPEN_OPPORTUNITIES}"
    while link:
        page = stranger.read(link, Prefer="odata.maxpagesize=2")
        seen += [row["name"] for row in page["value"]]
        link = page.get("@odata.nextLink", "")
    assert seen == [f"Deal {number}" for number in range(5)]


def condition(column: str, operator: str, *values: str) -> str:
    if len(values) == 1:
        return f'<filter><condition attribute="{column}" operator="{operator}" value="{values[0]}"/></filter>'
    inner = "".join(f"<value>{one}</value>" for one in values)
    return f'<filter><condition attribute="{column}" operator="{operator}">{inner}</condition></filter>'


EITHER = (
    '<filter type="or"><condition attribute="name" operator="eq" value="Ant"/><filter type="and">'
    '<condition attribute="estimatedvalue" operator="gt" value="1"/>'
    '<condition attribute="name" operator="ne" value="Cat"/></filter></filter>'
)


@pytest.fixture
def four(stranger: Stranger) -> Stranger:
    for name, value, day in (("Ant", 1, "2025-11-01"), ("Bee", 2, "2025-12-31"), ("Cat", 3, "2026-01-01")):
        stranger.deal(name=name, estimatedvalue=value, estimatedclosedate=day)
    stranger.deal(name="Dog")
    return stranger


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        (condition("estimatedvalue", "eq", "2"), "B"),
        (condition("estimatedvalue", "gt", "1.5"), "BC"),
        (condition("estimatedvalue", "ge", "2"), "BC"),
        (condition("estimatedvalue", "lt", "2"), "A"),
        (condition("estimatedvalue", "le", "2"), "AB"),
        (condition("estimatedvalue", "null"), "D"),
        (condition("estimatedvalue", "not-null"), "ABC"),
        (condition("estimatedvalue", "in", "1", "3"), "AC"),
        (condition("estimatedvalue", "between", "2", "3"), "BC"),
        (condition("name", "eq", "bee"), "B"),
        (condition("name", "like", "%a%"), "AC"),
        (condition("name", "like", "C%"), "C"),
        (condition("name", "not-like", "%a%"), "BD"),
        (condition("name", "begins-with", "d"), "D"),
        (condition("name", "ends-with", "t"), "AC"),
        (condition("statecode", "eq", "0"), "ABCD"),
        (condition("statecode", "ne", "0"), ""),
        (condition("estimatedclosedate", "on", "2025-12-31"), "B"),
        (condition("estimatedclosedate", "on-or-after", "2025-12-31"), "BC"),
        (condition("estimatedclosedate", "today"), "C"),
        (condition("estimatedclosedate", "yesterday"), "B"),
        (condition("estimatedclosedate", "last-x-days", "30"), "BC"),
        (condition("estimatedclosedate", "last-month"), "B"),
        (condition("estimatedclosedate", "olderthan-x-days", "30"), "A"),
        (condition("ownerid", "eq-userid"), "ABCD"),
        (condition("ownerid", "ne-userid"), ""),
        (EITHER, "AB"),
        (condition("name", "ne", "Ant") + condition("name", "ne", "Bee"), "CD"),
        ("", "ABCD"),
    ],
)
def test_each_condition_means_what_fetchxml_says(four: Stranger, inner: str, expected: str) -> None:
    found = names(four, inner + '<order attribute="name"/>')
    assert "".join(one[0] for one in found) == expected


def test_order_and_top_count(four: Stranger) -> None:
    assert names(four, '<order attribute="name" descending="true"/>') == ["Dog", "Cat", "Bee", "Ant"]
    assert names(four, '<order attribute="name"/>', top=' top="2"') == ["Ant", "Bee"]


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        ('<attribute name="name" alias="n"/>', "alias"),
        ('<attribute name="name" aggregate="count"/>', "aggregate"),
        (condition("name", "eq-user-or-team"), "eq-user-or-team"),
        (condition("name", "like", "a%b"), "like"),
        (condition("nothing", "eq", "1"), "'nothing'"),
        (condition("statecode", "eq", "open"), "'open'"),
        ('<filter><condition attribute="name" operator="eq" valueof="description"/></filter>', "valueof"),
        ('<filter><condition entityname="a" attribute="name" operator="null"/></filter>', "entityname"),
        ('<filter type="nor"/>', "nor"),
        ("<nothing/>", "<nothing>"),
    ],
)
def test_what_a_view_says_beyond_that_is_refused_by_name(stranger: Stranger, inner: str, said: str) -> None:
    status, _, words = stranger.refused("GET", f"opportunities?userQuery={view(stranger, inner)}")
    assert status in (400, 501)
    assert said in words


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (f"accounts?savedQuery={OPEN_OPPORTUNITIES}", 400),
        (f"opportunities?savedQuery={OPEN_OPPORTUNITIES}&$select=name", 400),
        (f"opportunities?savedQuery={OPEN_OPPORTUNITIES}&$filter=statecode eq 1", 400),
        (f"opportunities?savedQuery={OPEN_OPPORTUNITIES}&userQuery={OPEN_OPPORTUNITIES}", 400),
        (f"opportunities?userQuery={OPEN_OPPORTUNITIES}", 404),
        (f"opportunities?savedQuery={fresh_id()}", 404),
        ("opportunities?savedQuery=open", 404),
        (f"opportunities/$count?savedQuery={OPEN_OPPORTUNITIES}", 400),
        (f"opportunities(00000003-0000-4000-8000-000000000001)?savedQuery={OPEN_OPPORTUNITIES}", 400),
    ],
)
def test_a_view_that_is_none_or_does_not_fit_is_refused(stranger: Stranger, query: str, status: int) -> None:
    assert stranger.send("GET", query).status_code == status


def test_a_broken_view_is_refused(stranger: Stranger) -> None:
    for fetch in ("<fetch", "", '<fetch><entity name="quote"/></fetch>', "<grid/>"):
        row = {"name": "Broken", "returnedtypecode": "opportunity", "fetchxml": fetch}
        made = stranger.create("userqueries", row)
        assert stranger.refused("GET", f"opportunities?userQuery={made}")[0] == 400
