"""FetchXML as a query: filters, orders, links to tables of the slice, pages; the rest is refused by name."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import pytest

from tests.emulator.protocol.client import Client


@pytest.fixture
def rows(client: Client) -> dict[str, str]:
    """Two accounts, three opportunities of the first one, quotes of two of them."""
    made = {name: client.create("accounts", {"name": name, "revenue": worth}) for name, worth in (("A", 5), ("B", 7))}
    for number in range(3):
        values = {"name": f"Deal {number}", "estimatedvalue": number * 100.0,
                  "customerid_account@odata.bind": f"/accounts({made['A']})"}  # fmt: skip
        made[f"Deal {number}"] = client.create("opportunities", values)
    for number in (0, 2):
        bind = {"name": f"Quote {number}", "opportunityid@odata.bind": f"/opportunities({made[f'Deal {number}']})"}
        client.create("quotes", {**bind, "customerid_account@odata.bind": f"/accounts({made['A']})"})
    return made


def fetch(client: Client, entity_set: str, inside: str, given: str = "", **headers: str) -> dict[str, Any]:
    table = {"opportunities": "opportunity", "quotes": "quote", "accounts": "account"}[entity_set]
    text = f"<fetch {given}><entity name={quoteattr(table)}>{inside}</entity></fetch>"
    answer: dict[str, Any] = client.get(f"{entity_set}?fetchXml={quote(text)}", **headers)
    return answer


def names(answer: dict[str, Any]) -> list[str]:
    return [row["name"] for row in answer["value"]]


DEALS = '<filter><condition attribute="name" operator="like" value="Deal%"/></filter>'
NAME = '<attribute name="name"/>'


def test_filters_and_orders_do_what_they_say(client: Client, rows: dict[str, str]) -> None:
    either = (
        '<filter type="or"><condition attribute="estimatedvalue" operator="gt" value="150"/>'
        '<filter type="and"><condition attribute="name" operator="eq" value="Deal 0"/></filter></filter>'
    )
    answer = fetch(client, "opportunities", f'{NAME}{DEALS}{either}<order attribute="name" descending="true"/>')
    assert names(answer) == ["Deal 2", "Deal 0"]
    assert set(answer["value"][0]) - {"@odata.etag"} == {"name", "opportunityid"}
    assert rows


def test_an_inner_link_keeps_rows_with_a_match_and_brings_columns(client: Client, rows: dict[str, str]) -> None:
    link = (
        '<link-entity name="opportunity" from="opportunityid" to="opportunityid" alias="deal">'
        '<attribute name="estimatedvalue"/><filter><condition attribute="estimatedvalue" operator="ge" value="100"/>'
        '</filter><link-entity name="account" from="accountid" to="customerid" alias="customer">'
        '<attribute name="name"/><attribute name="creditonhold"/></link-entity></link-entity>'
    )
    answer = fetch(client, "quotes", NAME + link)
    assert names(answer) == ["Quote 2"]
    assert (answer["value"][0]["deal.estimatedvalue"], answer["value"][0]["customer.name"]) == (200, "A")
    assert rows


def test_an_outer_link_keeps_every_row(client: Client, rows: dict[str, str]) -> None:
    link = '<link-entity name="quote" from="opportunityid" to="opportunityid" link-type="{}" alias="q">' + NAME
    inner = fetch(client, "opportunities", NAME + DEALS + link.format("inner") + "</link-entity>")
    outer = fetch(client, "opportunities", NAME + DEALS + link.format("outer") + "</link-entity>")
    assert sorted(names(inner)) == ["Deal 0", "Deal 2"]
    assert {row["name"]: row.get("q.name") for row in outer["value"]} == {
        "Deal 0": "Quote 0", "Deal 1": None, "Deal 2": "Quote 2",
    }  # fmt: skip
    assert rows


def test_pages_go_on_until_there_is_no_more(client: Client, rows: dict[str, str]) -> None:
    headers = {"prefer": 'odata.include-annotations="*"'}
    seen, page, more = [], 1, True
    while more:
        given = f'count="2" page="{page}" returntotalrecordcount="true"'
        answer = fetch(client, "opportunities", NAME + DEALS + '<order attribute="name"/>', given, **headers)
        assert "@odata.nextLink" not in answer
        assert answer["@Microsoft.Dynamics.CRM.totalrecordcount"] == 3
        cookie = answer["@Microsoft.Dynamics.CRM.fetchxmlpagingcookie"]
        assert cookie.startswith(f'<cookie pagenumber="{page + 1}" pagingcookie="%253ccookie')
        seen += names(answer)
        page, more = page + 1, answer["@Microsoft.Dynamics.CRM.morerecords"]
    assert seen == ["Deal 0", "Deal 1", "Deal 2"]
    assert names(fetch(client, "opportunities", NAME + DEALS + '<order attribute="name"/>', 'top="1"')) == ["Deal 0"]
    assert rows


@pytest.mark.parametrize(
    ("inside", "given", "status"),
    [
        (NAME, 'aggregate="true"', 501),
        ('<link-entity name="quote" from="opportunityid" to="opportunityid" link-type="any"/>', "", 501),
        ('<link-entity name="task" from="regardingobjectid" to="opportunityid"/>', "", 501),
        ('<filter><condition attribute="name" operator="under" value="x"/></filter>', "", 501),
        ('<filter><condition attribute="nothing" operator="null"/></filter>', "", 400),
        ('<attribute name="nothing"/>', "", 400),
        (NAME, 'count="none"', 400),
        (NAME, 'top="5" page="2"', 400),
        ("<filter>" * 500 + "</filter>" * 500, "", 400),
    ],
)
def test_what_is_not_understood_is_refused(client: Client, inside: str, given: str, status: int) -> None:
    text = f'<fetch {given}><entity name="opportunity">{inside}</entity></fetch>'
    assert client.error("GET", f"opportunities?fetchXml={quote(text)}")[0] == status


@pytest.mark.parametrize("text", ["<fetch", "<fetch/>", '<fetch><entity name="account"/></fetch>', "<x/>"])
def test_what_is_no_query_of_the_table_is_refused(client: Client, text: str) -> None:
    assert client.error("GET", f"opportunities?fetchXml={quote(text)}")[0] == 400
    both = f"opportunities?savedQuery=00000003-0000-4000-8039-000000000003&fetchXml={quote(text)}"
    assert client.error("GET", both)[0] == 400
