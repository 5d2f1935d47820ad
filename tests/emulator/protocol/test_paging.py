from __future__ import annotations

import re
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.emulator.protocol.client import Client

ORDERS = st.lists(
    st.tuples(st.sampled_from(["name", "numberofemployees", "revenue", "createdon", "_ownerid_value"]), st.booleans()),
    max_size=3,
    unique_by=lambda one: one[0],
)


def fill(client: Client) -> None:
    values = [None, 1, 2, 2, -1]
    for number in range(12):
        values_of_one = {"numberofemployees": values[number % 5], "revenue": values[number % 3]}
        client.create(
            "accounts", {"name": ["b", "A", "ä", "<x>&\"'"][number % 4], "description": "page", **values_of_one}
        )


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(order=ORDERS, size=st.integers(1, 5))
def test_pages_put_together_are_the_whole_in_order(client: Client, order: list[tuple[str, bool]], size: int) -> None:
    if client.send("GET", "accounts/$count?$filter=description eq 'page'").body == b"0":
        fill(client)
    by = ",".join(f"{name} desc" if down else name for name, down in order)
    query = "accounts?$select=accountid&$filter=description eq 'page'" + (f"&$orderby={by}" if by else "")
    whole = [one["accountid"] for one in client.get(query)["value"]]
    found: list[str] = []
    link: str | None = query
    while link:
        body = client.get(link, prefer=f"odata.maxpagesize={size}")
        found += [one["accountid"] for one in body["value"]]
        assert len(body["value"]) <= size
        link = body.get("@odata.nextLink")
    assert found == whole
    assert len(set(found)) == 12


def test_the_next_link_has_the_services_form(client: Client) -> None:
    fill(client)
    link = client.get("accounts?$select=name", prefer="odata.maxpagesize=2")["@odata.nextLink"]
    assert re.fullmatch(
        r"https://org\.crm\.dynamics\.com/api/data/v9\.2/accounts\?\$select=name&\$skiptoken="
        r"%3Ccookie%20pagenumber=%222%22%20pagingcookie=%22%253ccookie%2520page%253d%25221%2522%253e%253caccountid%2520"
        r"last%253d%2522%257b[0-9A-F-]{36}%257d%2522%2520first%253d%2522%257b[0-9A-F-]{36}%257d%2522%2520%252f%253e"
        r"%253c%252fcookie%253e%22%20istracking=%22False%22%20/%3E",
        link,
    )


def test_rows_that_leave_the_filter_between_pages_hide_no_others(client: Client) -> None:
    fill(client)
    query = "accounts?$select=accountid,description&$filter=description eq 'page'"
    body = client.get(query, prefer="odata.maxpagesize=5")
    for one in body["value"]:
        client.send("PATCH", f"accounts({one['accountid']})", {"description": "done"})
    rest = client.get(body["@odata.nextLink"], prefer="odata.maxpagesize=5000")["value"]
    assert len(rest) == 7


@pytest.mark.parametrize("change", ["pagenumber", "cookie", "accountid", "last"])
def test_a_changed_link_is_refused(client: Client, change: str) -> None:
    fill(client)
    link = client.get("accounts?$select=name", prefer="odata.maxpagesize=2")["@odata.nextLink"]
    status, code, _ = client.error("GET", link.replace(change, "other", 1))
    assert status == 400
    assert code in ("0x8004112a", "0x80041129", "0x0")


def test_a_link_for_another_order_is_refused(client: Client) -> None:
    fill(client)
    link = client.get("accounts?$select=name&$orderby=name", prefer="odata.maxpagesize=2")["@odata.nextLink"]
    assert client.error("GET", link.replace("$orderby=name", "$orderby=revenue"))[1] == "0x80041129"


def test_top_counts_only_without_a_page_size(client: Client) -> None:
    fill(client)
    assert len(client.get("accounts?$select=name&$top=3")["value"]) == 3
    assert "@odata.nextLink" not in client.get("accounts?$select=name&$top=3")
    assert len(client.get("accounts?$select=name&$top=3", prefer="odata.maxpagesize=5")["value"]) == 5


def test_the_link_survives_being_encoded_again(client: Client) -> None:
    fill(client)
    link = client.get("accounts?$select=name", prefer="odata.maxpagesize=2")["@odata.nextLink"]
    base, token = link.split("$skiptoken=")
    again = base + "%24skiptoken=" + quote(unquote(token), safe="")
    assert (
        client.get(again, prefer="odata.maxpagesize=2")["value"]
        == client.get(link, prefer="odata.maxpagesize=2")["value"]
    )
