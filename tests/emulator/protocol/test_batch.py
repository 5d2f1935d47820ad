from __future__ import annotations

import json
import re

import pytest

from connector.emulator.rules.rule import Switches
from connector.emulator.world.world import World
from connector.handler import Response
from tests.emulator.protocol.client import Client

NONE = "00000000-0000-0000-0000-0000000000ff"
HEAD = "Content-Type: application/http\nContent-Transfer-Encoding: binary\n"


def single(request: str, body: str = "", *headers: str) -> str:
    inner = "".join(f"{one}\n" for one in (*headers, *(["Content-Type: application/json"] if body else [])))
    return f"--b\n{HEAD}\n{request} HTTP/1.1\n{inner}\n{body}\n"


def member(content_id: int | str, request: str, body: str = "", *headers: str) -> str:
    inner = "".join(f"{one}\n" for one in (*headers, *(["Content-Type: application/json"] if body else [])))
    return f"--c\n{HEAD}Content-ID: {content_id}\n\n{request} HTTP/1.1\n{inner}\n{body}\n"


def change_set(*members: str) -> str:
    return "--b\nContent-Type: multipart/mixed; boundary=c\n\n" + "".join(members) + "--c--\n"


def batch(*parts: str) -> str:
    return "".join(parts) + "--b--\n"


def close_body(status: int, opportunity: str) -> str:
    bind = {"subject": "c", "opportunityid@odata.bind": f"/opportunities({opportunity})"}
    return json.dumps({"Status": status, "OpportunityClose": bind})


def statuses(response: Response) -> list[int]:
    return [int(one) for one in re.findall(rb"^HTTP/1\.1 (\d+) ", response.body, re.MULTILINE)]


def test_operations_are_answered_in_order(client: Client, account: str) -> None:
    response = client.batch(
        batch(
            single("GET /api/data/v9.2/WhoAmI"),
            single("POST https://org.crm.dynamics.com/api/data/v9.1/accounts", '{"name":"x"}'),
            single(f"PATCH accounts({account})", '{"name":"y"}', "If-Match: *"),
            single(f"GET accounts({account})?$select=name"),
        )
    )
    assert response.status == 200
    assert statuses(response) == [200, 204, 204, 200]
    assert re.fullmatch(r"multipart/mixed; boundary=batchresponse_[0-9a-f-]{36}", response.header("Content-Type") or "")
    assert b"Location: https://org.crm.dynamics.com/api/data/v9.1/accounts(" in response.body
    assert b'"name":"y"' in response.body
    assert b"odata.metadata=minimal; odata.streaming=true" in response.body
    assert b"\n" not in response.body.replace(b"\r\n", b"")


def test_without_continue_on_error_the_first_failure_ends_the_batch(client: Client, account: str) -> None:
    parts = (
        single(f"PATCH accounts({account})", '{"name":"first"}'),
        single(f"GET accounts({NONE})"),
        single(f"PATCH accounts({account})", '{"name":"last"}'),
    )
    response = client.batch(batch(*parts))
    assert response.status == 404
    assert statuses(response) == [204, 404]
    assert b"REQ_ID: " in response.body
    assert client.get(f"accounts({account})?$select=name")["name"] == "first"
    response = client.batch(batch(*parts), prefer="odata.continue-on-error")
    assert response.status == 200
    assert statuses(response) == [204, 404, 204]
    assert client.get(f"accounts({account})?$select=name")["name"] == "last"


def test_a_change_set_happens_together_and_refers_back(client: Client) -> None:
    response = client.batch(
        batch(
            change_set(
                member(1, "POST accounts", '{"name":"made"}'),
                member(2, "POST contacts", '{"lastname":"Doe"}'),
                member(3, "POST opportunities", '{"name":"o","customerid_account@odata.bind":"$1"}'),
                member(4, "PATCH $1", '{"primarycontactid@odata.bind":"$2"}'),
                member(5, "PUT $2/lastname", '{"value":"Roe"}'),
                member(6, "PUT $3/parentaccountid/$ref", '{"@odata.id":"$1"}'),
            )
        )
    )
    assert statuses(response) == [204] * 6
    assert [int(one) for one in re.findall(rb"Content-ID: (\d)", response.body)] == [1, 2, 3, 4, 5, 6]
    (made,) = client.get(
        "accounts?$filter=name eq 'made'&$select=name&$expand=primarycontactid($select=lastname),"
        "opportunity_parent_account($select=name)"
    )["value"]
    assert made["primarycontactid"]["lastname"] == "Roe"
    assert [one["name"] for one in made["opportunity_parent_account"]] == ["o"]


def test_a_failed_change_set_answers_with_one_part_and_leaves_nothing(client: Client, account: str) -> None:
    parts = (
        single(f"PATCH accounts({account})", '{"name":"kept"}'),
        change_set(
            member(1, f"PATCH accounts({account})", '{"name":"undone"}'),
            member(7, f"DELETE accounts({NONE})"),
            member(8, "POST accounts", '{"name":"never"}'),
        ),
        change_set(member(1, f"PATCH accounts({account})", '{"description":"other set"}')),
    )
    response = client.batch(batch(*parts))
    assert response.status == 404
    assert statuses(response) == [204, 404]
    assert re.findall(rb"Content-ID: (\d)", response.body) == [b"7"]
    assert response.body.count(b"boundary=changesetresponse_") == 1
    row = client.get(f"accounts({account})?$select=name,description")
    assert (row["name"], row["description"]) == ("kept", None)
    response = client.batch(batch(*parts), prefer="odata.continue-on-error")
    assert response.status == 200
    assert statuses(response) == [204, 404, 204]
    row = client.get(f"accounts({account})?$select=name,description")
    assert (row["name"], row["description"]) == ("kept", "other set")


def test_a_forward_reference_is_refused_in_the_documented_words(client: Client) -> None:
    response = client.batch(
        batch(
            change_set(
                member(2, "POST opportunities", '{"name":"o","customerid_account@odata.bind":"$1"}'),
                member(1, "POST accounts", '{"name":"a"}'),
            )
        )
    )
    assert response.status == 400
    assert b"Content-ID Reference: '$1' does not exist in the batch context." in response.body


def test_closing_a_quote_and_its_opportunity_is_one_transaction(
    client: Client, opportunity: str, quotes: list[str]
) -> None:
    close = '{"Status":6,"QuoteClose":{"subject":"c","quoteid@odata.bind":"/quotes(%s)"}}'
    win = close_body(3, opportunity)
    activate = '{"statecode":1,"statuscode":2}'
    steps = [member(n, f"PATCH quotes({one})", activate) for n, one in enumerate((quotes[0], quotes[2]), 1)]
    steps += [member(n, "POST CloseQuote", close % one) for n, one in enumerate(quotes, 3)]
    blocked = client.batch(batch(change_set(*steps[:-1], member(9, "POST WinOpportunity", win))))
    assert blocked.status == 400
    assert client.get(f"quotes({quotes[0]})?$select=statecode")["statecode"] == 0
    done = client.batch(batch(change_set(*steps, member(9, "POST WinOpportunity", win))))
    assert statuses(done) == [204] * 6
    assert client.get(f"opportunities({opportunity})?$select=statecode")["statecode"] == 1


def test_a_switch_keeps_close_actions_out_of_change_sets(client: Client, opportunity: str) -> None:
    client.world.use(Switches().with_values({"actions_in_change_set": "refuse"}))
    body = close_body(4, opportunity)
    assert client.batch(batch(change_set(member(1, "POST LoseOpportunity", body)))).status == 400
    assert client.batch(batch(single("POST LoseOpportunity", body))).status == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (batch(change_set(member(1, "GET accounts"))), "GET"),
        (batch(single("POST $batch", "{}")), "nested"),
        (batch(change_set(member(1, "POST accounts", "{}"), member(1, "POST accounts", "{}"))), "content ID '1'"),
        (batch(single("BREW accounts")), "request line"),
        (batch(single("GET accounts").replace("application/http", "text/plain")), "application/http"),
        (batch(single("GET accounts").replace("binary", "base64")), "binary"),
        (single("GET accounts"), "closing delimiter"),
        ("--b--\n", "no parts"),
        ("nothing\n", "boundary"),
        (batch(*[single("GET WhoAmI")] * 1001), "'1000'"),
        (batch(change_set(*(member(n, f"DELETE accounts({NONE})") for n in range(1001)))), "'1000'"),
    ],
)  # fmt: skip
def test_a_batch_that_is_not_understood_is_refused_whole(client: Client, text: str, words: str) -> None:
    before = client.world.store.version
    response = client.batch(text)
    assert response.status == 400
    assert (response.header("Content-Type") or "").startswith("application/json")
    assert words in response.body.decode()
    assert client.world.store.version == before


def test_bare_line_feeds_are_refused_by_default(client: Client) -> None:
    body = batch(single("GET WhoAmI")).encode()
    given = {"content_type": "multipart/mixed; boundary=b"}
    status, code, message = client.error("POST", "$batch", body, **given)
    assert (status, code) == (400, "0x80048d19")
    assert message.endswith("Stream was not readable.")
    client.world.use(Switches().with_values({"batch_line_ends": "loose"}))
    assert client.send("POST", "$batch", body, **given).status == 200


def test_a_part_may_act_for_somebody_else(client: Client, world: World) -> None:
    other = world.caller_for(application_id="11111111-aaaa-4000-8000-000000000003").user_id
    body = '{"name":"whose"}'
    response = client.batch(batch(single("POST accounts", body, f"MSCRMCallerID: {other}")))
    assert statuses(response) == [403]
    known = client.caller
    response = client.batch(batch(single("GET accounts?$select=name&$top=1", "", f"MSCRMCallerID: {known.user_id}")))
    assert statuses(response) == [200]
    response = client.batch(batch(single("GET accounts", "", f"CallerObjectId: {NONE}")))
    assert statuses(response) == [403]


def test_every_operation_is_told(client: Client) -> None:
    text = batch(single("POST accounts", '{"name":"x"}'), single(f"GET accounts({NONE})")).replace("\n", "\r\n")
    answer = client.ask("POST", "$batch", text.encode(), {"content-type": "multipart/mixed; boundary=b"})
    assert [(one.message, one.status, one.rule) for one in answer.operations] == [
        ("Create", 204, ""), ("Retrieve", 404, "row.missing"),
    ]  # fmt: skip
