"""A request succeeds only if every part of it was understood: dropping a token changes the answer, or the token is
declared to be without effect."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.emulator.api import preferences as headers_of
from tests.emulator.protocol.client import Client

TOKEN = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|@?[\w.]+|[^\w\s]")
WITHOUT_EFFECT = {"asc", "tag", "trace"}
"""Tokens that may go: the default direction, and the shared variable for plug-ins."""

QUERIES = [
    (
        "quotes?$select=name,statecode&$filter=_opportunityid_value eq {opportunity} and "
        "(statecode eq 0 or contains(name,'1'))"
    ),
    "quotes?$select=name&$filter=not startswith(name,'Quote 1')&$orderby=name desc,statecode asc&$top=2&$count=true",
    "quotes?$select=name&$filter=opportunityid/customerid_account/name eq @p1&$orderby=name&@p1='litware, inc.'",
    "quotes?$select=name&$filter=Microsoft.Dynamics.CRM.In(PropertyName='statecode',PropertyValues=['1','3'])",
    (
        "opportunities?$select=name&$filter=opportunity_quotes/any(q:q/statecode eq 1)&$expand=opportunity_quotes("
        "$select=name;$filter=statecode eq 0;$orderby=name desc;$top=1),customerid_account($select=name)"
    ),
    "opportunities({opportunity})?$select=name,statecode&$expand=opportunity_quotes($select=quotenumber)",
    "quotes/$count?$filter=statecode eq 1&tag=trace",
    (
        "EntityDefinitions(LogicalName='quote')/Attributes(LogicalName='statuscode')/"
        "Microsoft.Dynamics.CRM.StatusAttributeMetadata?$select=LogicalName&$expand=OptionSet($select=Options)"
    ),
    "EntityDefinitions?$select=EntitySetName&$filter=LogicalName eq 'quote' or LogicalName eq 'account'",
    "RetrieveCurrentOrganization(AccessType=@p1)?@p1=Microsoft.Dynamics.CRM.EndpointAccessType'Default'",
]


PIECES = [
    "accounts",
    "quotes",
    "(00000000-0000-0000-0000-000000000001)",
    "/",
    "$ref",
    "$count",
    "name",
    "?",
    "&",
    "$select=",
    "$filter=",
    "$expand=",
    "$orderby=",
    "$top=1",
    "createdby",
    "(",
    ")",
    "'",
    "%20eq%20",
    "%",
    "null",
    "opportunity_customer_accounts",
    "Microsoft.Dynamics.CRM.CreateMultiple",
    "WinOpportunity",
    "$batch",
    "EntityDefinitions",
    "(LogicalName='account')",
    "Attributes",
    "$metadata",
    "$skiptoken=x",
    "$deltatoken=1!x",
]


def answer_to(client: Client, path: str, **headers: str) -> tuple[int, object, object]:
    response = client.send("GET", path, **headers)
    body = response.body.decode()
    shown = json.loads(body) if body.startswith("{") else body
    if isinstance(shown, dict):
        shown.pop("@odata.nextLink", None)
    return response.status, shown, response.header("Preference-Applied")


@pytest.mark.parametrize("template", QUERIES)
def test_no_token_of_a_query_is_ignored(client: Client, opportunity: str, quotes: list[str], template: str) -> None:
    client.create("quotes", {"name": "Quote 10"})
    assert quotes
    query = template.replace("{opportunity}", opportunity)
    whole = answer_to(client, query)
    assert whole[0] == 200, whole
    ignored = []
    for match in TOKEN.finditer(query):
        shorter = query[: match.start()] + query[match.end() :]
        if match.group() not in WITHOUT_EFFECT and answer_to(client, shorter) == whole:
            ignored.append((match.group(), shorter))
    assert ignored == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prefer", 'odata.include-annotations="*"'),
        ("prefer", "odata.maxpagesize=1"),
        ("prefer", "odata.track-changes"),
        ("if-match", "*"),
        ("if-none-match", "*"),
        ("accept", "text/html"),
        ("odata-version", "3.0"),
        ("prefer", "unheard-of"),
        ("mscrm.suppressduplicatedetection", "maybe"),
    ],
)
def test_a_header_changes_the_answer_or_is_refused(client: Client, account: str, name: str, value: str) -> None:
    assert account
    path = "accounts?$select=name,revenue"
    assert answer_to(client, path, **{name: value}) != answer_to(client, path)


def test_every_header_is_either_understood_or_excused() -> None:
    assert headers_of.UNDERSTOOD & set(headers_of.WITHOUT_EFFECT) == set()
    assert all(reason.endswith(".") for reason in headers_of.WITHOUT_EFFECT.values())


@pytest.mark.parametrize(
    "path",
    [
        "accounts?$skip=1",
        "accounts?$search=x",
        "accounts?$format=json",
        "accounts?$apply=aggregate($count as n)",
        "accounts?$compute=revenue mul 2 as r",
        "accounts?fetchXml=<fetch/>",
        "accounts?savedQuery=00000000-0000-0000-0000-000000000001",
        "accounts?sql=SELECT name FROM account",
        "accounts?select=name",
        "accounts?$Select=name",
        "accounts?$select=name&$select=revenue",
        "accounts?$select",
        "accounts?$select=",
        "accounts?$top=-1",
        "accounts?$top=x",
        "accounts?$count=yes",
        "accounts?$filter=name eq @p1&@p1='x'&@p2='y'",
        "accounts?$filter=name eq 5",
        "accounts?$filter=revenue eq 'x'",
        "accounts?$filter=Name eq 'x'",
        "accounts?$filter=statecode gt null",
        "accounts?$filter=5 eq revenue",
        "accounts?$filter=accountid gt 00000000-0000-0000-0000-000000000001",
        "accounts?$filter=createdon eq 2026-02-30",
        "accounts?$filter=Microsoft.Dynamics.CRM.Under(PropertyName='accountid',PropertyValue='x')",
        "accounts?$filter=Microsoft.Dynamics.CRM.LastXDays(PropertyName='createdon')",
        "accounts?$filter=Microsoft.Dynamics.CRM.Today(PropertyName='name')",
        "accounts?$orderby=Name",
        "accounts?$orderby=name up",
        "accounts?$expand=nothing",
        "accounts?$expand=createdby($top=1)",
        "accounts?$expand=createdby($levels=2)",
        "accounts?$expand=createdby,createdby",
        "accounts?$select=primarycontactid",
        "accounts?$select=_name_value",
        "accounts(00000000-0000-0000-0000-000000000001)?$filter=name eq 'x'",
        "accounts()",
        "accounts(name='x')",
        "accounts(5)",
        "accounts/nothing",
        "accounts/$count/more",
        "Accounts",
        "WhoAmI(x=1)",
        "WhoAmI?$select=UserId",
        "serviceendpoints",
        "RelationshipDefinitions",
        "accounts?api-version=9.2",
    ],
)
def test_what_is_not_understood_is_refused_by_name(client: Client, path: str) -> None:
    status, _, message = client.error("GET", path)
    assert status in (400, 404, 501)
    assert message


@pytest.mark.parametrize(
    "path", ["/api/data/v9.3/accounts", "/api/data/V9.2/accounts", "/API/data/v9.2/accounts", "/api/data/accounts"]
)
def test_the_base_path_is_exact(client: Client, path: str) -> None:
    assert client.send("GET", f"https://org.crm.dynamics.com{path}").status == 404


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD"]),
    path=st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=8).map("".join)),
    body=st.one_of(
        st.binary(max_size=30),
        st.sampled_from([b"", b'{"name":"x"}', b'{"Targets":[1]}', b'{"a@odata.bind":5}', b'{"value":null}']),
    ),
    prefer=st.sampled_from(["", "return=representation", "odata.track-changes", "odata.maxpagesize=0"]),
)
def test_noise_is_answered_and_never_breaks(client: Client, method: str, path: str, body: bytes, prefer: str) -> None:
    response = client.ask(method, path, body, {"prefer": prefer} if prefer else {}).response
    assert 200 <= response.status < 500 or response.status == 501


def test_a_long_chain_of_alternatives_is_answered(client: Client, quotes: list[str]) -> None:
    chain = " or ".join(["name ne null"] * 1500)
    assert len(client.get(f"quotes?$select=name&$filter=({chain}) and _opportunityid_value ne null")["value"]) == 3
    assert len(quotes) == 3


@pytest.mark.parametrize("body", [b'{"name":"\\ud800"}', b'{"revenue":1e999}', b'{"numberofemployees":1e999}'])
def test_values_that_no_database_holds_are_refused(client: Client, body: bytes) -> None:
    assert client.error("POST", "accounts", body, content_type="application/json")[:2] == (400, "0x80048d19")
