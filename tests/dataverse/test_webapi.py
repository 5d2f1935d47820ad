from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.closing.model import ColumnValue, Step, StepKind
from connector.dataverse import webapi
from connector.dataverse.webapi import Endpoint, Operation, operation_of, subject_of
from connector.errors import InputError

BASE = "https://org.crm.dynamics.com"
OPPORTUNITY = UUID("11111111-1111-1111-1111-111111111111")
QUOTE = UUID("22222222-2222-2222-2222-222222222222")
ACTIVITY = UUID("33333333-3333-8333-8333-333333333333")
COMPETITOR = UUID("44444444-4444-4444-4444-444444444444")
FIXTURES = Path(__file__).parent.parent / "fixtures" / "dataverse"
REAL = [json.loads(line) for line in (FIXTURES / "action_bodies.jsonl").read_text().splitlines()]


def quote_step(kind: StepKind, message: str, *, state: int | None = None, status: int | None = None) -> Step:
    return Step(kind, "quote", QUOTE, "Contoso, big deal", 'W/"42"', message, state, status, ACTIVITY)


def close_step(message: str, status: int, **columns: ColumnValue) -> Step:
    return Step(
        kind=StepKind.CLOSE_OPPORTUNITY,
        table="opportunity",
        record_id=OPPORTUNITY,
        label="Contoso, big deal",
        version='W/"7"',
        message=message,
        state=1,
        status=status,
        activity_id=ACTIVITY,
        activity=columns,
    )


def bound(body: dict[str, object]) -> dict[str, object]:
    """Bring the three ways in which real clients bind a lookup, and the optional type, to one form."""
    same: dict[str, object] = {}
    for name, value in body.items():
        if name.endswith("@odata.bind"):
            same[name] = str(value).removeprefix("{ORG}/api/data/v9.2").lstrip("/")
        elif name not in ("@odata.type", "activityid"):
            same[name] = bound(value) if isinstance(value, dict) else value
    return same


@pytest.mark.parametrize("real", [row for row in REAL if row["body"]["Status"] != -1], ids=lambda row: str(row["n"]))
def test_a_close_is_said_as_real_clients_say_it(real: dict[str, Any]) -> None:
    entity = real["body"].get("OpportunityClose") or real["body"]["QuoteClose"]
    columns = {name: text for name, text in entity.items() if "@" not in name}
    status = int(str(real["body"]["Status"]))
    if "OpportunityClose" in real["body"]:
        step = close_step(str(real["action"]), status, **columns)
    else:
        step = Step(StepKind.CLOSE_QUOTE, "quote", QUOTE, "", "", "CloseQuote", 3, status, ACTIVITY, columns)
    operation = operation_of(step)
    assert (operation.method, operation.path) == ("POST", real["action"])
    assert bound(json.loads(operation.body)) == bound(dict(real["body"]))


def test_a_win_carries_the_chosen_id_and_the_competitor_of_a_loss() -> None:
    lose = close_step("LoseOpportunity", 5, actualend="2026-01-31T12:00:00Z", actualrevenue=Decimal("0.10"))
    assert operation_of(replace(lose, competitor_id=COMPETITOR)) == Operation(
        "POST",
        "LoseOpportunity",
        '{"Status":5,"OpportunityClose":{'
        f'"activityid":"{ACTIVITY}",'
        f'"opportunityid@odata.bind":"/opportunities({OPPORTUNITY})",'
        f'"competitorid@odata.bind":"/competitors({COMPETITOR})",'
        '"actualend":"2026-01-31T12:00:00Z","actualrevenue":0.10}}',
    )


def test_an_action_of_the_organizations_own_is_told_the_type_of_its_parameter() -> None:
    operation = operation_of(close_step("new_CloseOpportunity", 3))
    assert operation.path == "new_CloseOpportunity"
    assert json.loads(operation.body)["OpportunityClose"]["@odata.type"] == "Microsoft.Dynamics.CRM.opportunityclose"


@pytest.mark.parametrize(
    ("step", "operation"),
    [
        (
            quote_step(StepKind.ACTIVATE_QUOTE, "Update", state=1, status=2),
            Operation("PATCH", f"quotes({QUOTE})", '{"statecode":1,"statuscode":2}', 'W/"42"'),
        ),
        (
            quote_step(StepKind.REOPEN_QUOTE, "Update", state=0, status=1),
            Operation("PATCH", f"quotes({QUOTE})", '{"statecode":0,"statuscode":1}', 'W/"42"'),
        ),
        (
            Step(StepKind.REOPEN_OPPORTUNITY, "opportunity", OPPORTUNITY, "", "", "Update", 0, 1),
            Operation("PATCH", f"opportunities({OPPORTUNITY})", '{"statecode":0,"statuscode":1}', "*"),
        ),
        (quote_step(StepKind.DELETE_QUOTE, "Delete"), Operation("DELETE", f"quotes({QUOTE})", "", 'W/"42"')),
        (
            quote_step(StepKind.CLOSE_PROJECT_QUOTE, "msdyn_CloseQuoteAsLost", status=5),
            Operation("POST", f"quotes({QUOTE})/Microsoft.Dynamics.CRM.msdyn_CloseQuoteAsLost", "{}"),
        ),
        (
            Step(
                StepKind.CLOSE_ALL_QUOTES, "opportunity", OPPORTUNITY, "", "", "msdyn_CloseAllOpportunityQuotes", 3, 5
            ),
            Operation(
                "POST",
                f"opportunities({OPPORTUNITY})/Microsoft.Dynamics.CRM.msdyn_CloseAllOpportunityQuotes",
                '{"quoteStatus":5}',
            ),
        ),
    ],
)
def test_the_other_steps_are_said_in_the_web_apis_words(step: Step, operation: Operation) -> None:
    assert operation_of(step) == operation


@pytest.mark.parametrize("status", [None, -1])
@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in StepKind
        if kind not in (StepKind.DELETE_QUOTE, StepKind.CLOSE_PROJECT_QUOTE, StepKind.CREATE_ORDER)
    ],
)
def test_the_platform_is_never_left_to_choose_a_status_reason(kind: StepKind, status: int | None) -> None:
    step = Step(kind, "quote", QUOTE, "", "", "CloseQuote", 3, status, ACTIVITY)
    with pytest.raises(InputError, match="no state or status reason"):
        operation_of(step)


@pytest.mark.parametrize("kind", [StepKind.CLOSE_QUOTE, StepKind.WIN_QUOTE, StepKind.CLOSE_OPPORTUNITY])
def test_no_close_goes_out_without_an_id_of_our_own(kind: StepKind) -> None:
    with pytest.raises(InputError, match="no id for its close activity"):
        operation_of(Step(kind, "quote", QUOTE, "", "", "CloseQuote", 3, 5))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), Decimal("-Infinity")])
def test_a_number_that_json_cannot_carry_is_refused(value: float | Decimal) -> None:
    with pytest.raises(InputError, match="not finite"):
        operation_of(close_step("WinOpportunity", 3, new_score=value))


def test_what_a_step_does_is_said_without_customer_text() -> None:
    assert subject_of(quote_step(StepKind.CLOSE_QUOTE, "CloseQuote")) == f"Close quote, quote {QUOTE}"


columns = st.dictionaries(
    st.from_regex(r"new_[a-z]{1,8}", fullmatch=True),
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(allow_nan=False, allow_infinity=False),
)


@given(columns=columns, status=st.integers(0, 2**31 - 1))
def test_what_is_sent_reads_back_as_what_was_meant(columns: dict[str, ColumnValue], status: int) -> None:
    body = json.loads(operation_of(close_step("WinOpportunity", status, **columns)).body, parse_float=Decimal)
    entity = body["OpportunityClose"]
    assert body == {"Status": status, "OpportunityClose": entity}
    assert entity.pop("activityid") == str(ACTIVITY)
    assert entity.pop("opportunityid@odata.bind") == f"/opportunities({OPPORTUNITY})"
    for name, value in columns.items():
        read = entity.pop(name)
        assert read == (Decimal(repr(value)) if isinstance(value, float) else value)
    assert entity == {}


# --- requests ---


def test_a_request_carries_what_the_documents_ask_of_every_request() -> None:
    request = Endpoint(BASE, new_id=lambda: ACTIVITY).request(Operation("POST", "CloseQuote", "{}"), OPPORTUNITY)
    assert request.url == f"{BASE}/api/data/v9.2/CloseQuote"
    assert request.headers == {
        "accept": "application/json",
        "odata-maxversion": "4.0",
        "odata-version": "4.0",
        "if-none-match": "null",
        "prefer": 'odata.include-annotations="Microsoft.PowerApps.CDS.*"',
        "x-ms-client-request-id": str(ACTIVITY),
        "x-ms-correlation-request-id": str(OPPORTUNITY),
        "content-type": "application/json; charset=utf-8",
    }


def test_a_user_to_act_as_is_named_on_every_request_and_every_part() -> None:
    endpoint = Endpoint(BASE, impersonate=COMPETITOR)
    requests = [
        endpoint.request(Operation("GET", "WhoAmI")),
        endpoint.batch(b"", "batch_1"),
        endpoint.follow(f"{BASE}/api/data/v9.2/quotes?$skiptoken=1"),
    ]
    assert {request.header("CallerObjectId") for request in requests} == {str(COMPETITOR)}
    assert ("CallerObjectId", str(COMPETITOR)) in endpoint.part_headers()


def test_each_request_has_an_id_of_its_own() -> None:
    endpoint = Endpoint(BASE)
    ids = {endpoint.request(Operation("GET", "WhoAmI")).header("x-ms-client-request-id") for _ in range(3)}
    assert len(ids) == 3


def test_a_batch_goes_on_after_a_failure() -> None:
    request = Endpoint(BASE).batch(b"body", "batch_1")
    assert request.url == f"{BASE}/api/data/v9.2/$batch"
    assert (request.header("prefer") or "").split(",")[0] == "odata.continue-on-error"
    assert request.header("content-type") == 'multipart/mixed; boundary="batch_1"'


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/api/data/v9.2/quotes",
        "http://org.crm.dynamics.com/api/data/v9.2/quotes",
        "https://org.crm.dynamics.com.evil.example/x",
        "https://org.crm.dynamics.com:8443/x",
        "https://user@org.crm.dynamics.com/x",
        "/api/data/v9.2/quotes",
        "",
    ],
)
def test_a_next_link_never_leads_out_of_the_organization(link: str) -> None:
    with pytest.raises(InputError, match="another host"):
        Endpoint(BASE).follow(link)


def test_a_next_link_is_taken_as_it_is() -> None:
    link = f"{BASE}/api/data/v9.2/quotes?$skiptoken=%3Ccookie%20pagenumber=%222%22%20pagingcookie=%22%253ccookie"
    assert Endpoint(BASE).follow(link).url == link


# --- reads ---


def test_one_opportunity_is_read_with_its_quotes_in_one_request() -> None:
    assert webapi.read_opportunity(OPPORTUNITY, work_based=False).path == (
        f"opportunities({OPPORTUNITY})?$select=opportunityid,name,statecode,statuscode,estimatedvalue,actualvalue,"
        "actualclosedate,_customerid_value,closeprobability,_transactioncurrencyid_value,_ownerid_value,modifiedon,_modifiedby_value&"
        "$expand=opportunity_quotes($select=quoteid,name,quotenumber,statecode,statuscode,versionnumber,revisionnumber,"
        "totalamount,_opportunityid_value,_transactioncurrencyid_value,modifiedon,_modifiedby_value)"
    )


@pytest.mark.parametrize("read", [webapi.read_opportunities, webapi.read_quotes])
def test_the_order_type_is_read_only_where_it_exists(read: Callable[..., Operation]) -> None:
    assert "msdyn_ordertype" not in read([OPPORTUNITY], work_based=False).path
    assert ",msdyn_ordertype&" in read([OPPORTUNITY], work_based=True).path


def test_four_hundred_opportunities_fit_into_an_address() -> None:
    ids = [UUID(int=n) for n in range(400)]
    for operation in (
        webapi.read_opportunities(ids, work_based=True),
        webapi.read_quotes(ids, work_based=True),
        webapi.read_closes("opportunity", ids),
        webapi.read_closes("quote", ids),
    ):
        url = Endpoint(BASE).request(operation).url
        assert len(url) < 32_768
        assert url.isascii()
        assert not set(url) & set(' []"<>')
        query = unquote(urlsplit(url).query)
        assert json.loads(query[query.index("PropertyValues=") + 15 : -1].replace("'", '"')) == [
            str(id_) for id_ in ids
        ]
