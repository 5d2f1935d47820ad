"""What the endpoint answers, over its HTTP face and down to the emulated organization."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from connector.closing.close import fulfil
from connector.closing.model import Intent
from connector.emulator.world.customization import Customization, StatusReason
from connector.errors import Rejected
from connector.handler import Handler, Request, Response
from connector.ledger.claims import Worker
from connector.ledger.jobs import Item, Job
from connector.ledger.load import discard
from connector.ledger.operation_store import OperationStore
from connector.service.operations.operation_specs import OPERATIONS
from connector.service.operations.worker_pool import UNFORESEEN_TRIES
from connector.service.problems import of_error
from tests.service.error_body import ErrorResponse
from tests.service.stage import Stage, Trouble, busy, lost, unavailable

DRAFT, ACTIVE, WON_QUOTE = 1, 2, 4


def close(client: TestClient, opportunity: UUID, key: str | None = None, **body: object) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(f"/opportunities/{opportunity}/close", json={"outcome": "won", **body}, headers=headers)


def polled(client: TestClient, location: str) -> Any:
    """Ask at a status address until there is an answer, as a flow does: without signing in."""
    path, patience = urlsplit(location).path, time.monotonic() + 180
    while (answer := client.get(path)).status_code == 202:
        assert time.monotonic() < patience, "it never ended"
        time.sleep(0.15)  # within what a connection may ask
    return answer


def test_one_request_closes_all_quotes_and_the_opportunity(stage: Stage) -> None:
    opportunity = stage.opportunity(DRAFT, ACTIVE, ACTIVE)
    with stage.client() as client:
        answer = close(client, opportunity)
    assert answer.status_code == 200
    assert answer.json()["result"] == "closed"
    assert answer.json()["changed"] is True
    assert [quote["result"] for quote in answer.json()["quotes"]] == ["closed"] * 3
    assert stage.state(opportunity) == (1, [3, 3, 3], 1, 3)


def test_a_plan_changes_nothing_and_a_close_bound_to_it_does_just_that(stage: Stage) -> None:
    opportunity = stage.opportunity(DRAFT, ACTIVE)
    with stage.client() as client:
        plan = client.post(f"/opportunities/{opportunity}/plan", json={"outcome": "lost"}).json()
        assert plan["result"] == "planned"
        assert stage.state(opportunity) == (0, [0, 1], 0, 0)
        other = close(client, opportunity, planDigest="0" * 16)
        assert (other.status_code, other.json()["error"]["code"]) == (412, "plan_changed")
        assert stage.state(opportunity) == (0, [0, 1], 0, 0)
        assert close(client, opportunity, outcome="lost", planDigest=plan["digest"]).status_code == 200
    assert stage.state(opportunity) == (2, [3, 3], 1, 2)


def test_a_plan_sends_no_write_to_the_organization(stage: Stage) -> None:
    opportunity = stage.opportunity(DRAFT, ACTIVE)
    journal = stage.embedded.emulator.journal
    with stage.client() as client:
        for outcome in ("won", "lost"):
            client.post(f"/opportunities/{opportunity}/plan", json={"outcome": outcome, "drafts": "delete"})
    done = {note.message for entry in journal.entries(limit=1000) for note in entry.operations}
    assert done <= {"Retrieve", "RetrieveMultiple", "RetrieveEntity", "RetrieveAllEntities", "WhoAmI"} | {
        "RetrieveUserSetOfPrivilegesByNames"
    }


def test_a_repetition_gets_the_first_answer_and_says_so(stage: Stage) -> None:
    opportunity = stage.opportunity(ACTIVE)
    with stage.client() as client:
        first, second = close(client, opportunity, "k"), close(client, opportunity, '"k"')
        third = close(client, opportunity, idempotencyKey="k")
    assert first.content == second.content == third.content
    assert [a.headers.get("Idempotency-Replayed") for a in (first, second, third)] == [None, "true", "true"]
    assert stage.state(opportunity) == (1, [3], 1, 1)


def test_a_kept_refusal_says_how_it_is_tried_again(stage: Stage) -> None:
    opportunity = stage.opportunity(DRAFT)
    with stage.client() as client:
        first = close(client, opportunity, "order 1", drafts="leave").json()["error"]["message"]
        stage.delete_quotes(opportunity)
        kept = close(client, opportunity, "order 1", drafts="leave")
        assert kept.json()["error"]["message"].startswith(f"{first} This answer is kept: to have it tried again, ")
        assert close(client, opportunity, "order 2", drafts="leave").status_code == 200


def test_a_key_with_other_content_is_refused(stage: Stage) -> None:
    opportunity = stage.opportunity()
    with stage.client() as client:
        first = close(client, opportunity, "k").json()
        answer = close(client, opportunity, "k", outcome="lost")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "key_reused")
    message = answer.json()["error"]["message"]
    assert f"for {opportunity} by the operation {first['operationId']}. Nothing was changed." in message


def test_without_a_key_the_second_close_finds_nothing_to_do(stage: Stage) -> None:
    opportunity = stage.opportunity(ACTIVE)
    with stage.client() as client:
        close(client, opportunity)
        answer = close(client, opportunity)
    assert (answer.status_code, answer.json()["result"], answer.json()["changed"]) == (200, "already_closed", False)
    assert stage.state(opportunity) == (1, [3], 1, 1)


def test_without_a_key_closing_reopening_and_closing_closes_twice(stage: Stage) -> None:
    opportunity = stage.opportunity(ACTIVE)
    with stage.client() as client:
        assert close(client, opportunity).json()["changed"] is True
        assert client.post(f"/opportunities/{opportunity}/reopen", json={}).json()["result"] == "reopened"
        assert close(client, opportunity).json()["changed"] is True
    assert stage.state(opportunity)[0] == 1


def test_all_records_of_a_key_may_be_gone(stage: Stage) -> None:
    opportunity = stage.opportunity(ACTIVE)
    with stage.client() as client:
        operation = close(client, opportunity, "k").json()["operationId"]
        discard(stage.ledger.database, stage.ledger.job(operation).id)
        answer = close(client, opportunity, "k")
    assert (answer.status_code, answer.json()["result"], answer.json()["changed"]) == (200, "already_closed", False)
    assert stage.state(opportunity) == (1, [3], 1, 1)


def test_the_same_request_while_the_first_runs_joins_it(stage: Stage) -> None:
    opportunity = stage.opportunity(ACTIVE)
    stage.gate = threading.Event()
    answers: list[Any] = []
    with stage.client() as client:
        threads = [
            threading.Thread(target=lambda: answers.append(close(client, opportunity, "k", mode="wait")))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        joined = close(client, opportunity, "k", mode="accept")
        stage.gate.set()
        for thread in threads:
            thread.join()
        assert joined.status_code == 202
        assert polled(client, joined.headers["Location"]).json() == answers[0].json()
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert stage.state(opportunity) == (1, [3], 1, 1)


def test_past_the_deadline_the_caller_is_told_where_to_ask(stage: Stage) -> None:
    opportunity = stage.opportunity(ACTIVE)
    stage.gate = threading.Event()
    with stage.client(deadline=0.05, public_url="https://close.contoso.com") as client:
        answer = close(client, opportunity)
        assert answer.status_code == 202
        assert answer.headers["Location"].startswith("https://close.contoso.com/operations/")
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json()["location"] == answer.headers["Location"]
        assert client.get(urlsplit(answer.headers["Location"]).path).status_code == 202
        stage.gate.set()
        done = polled(client, answer.headers["Location"])
    assert (done.status_code, done.json()["result"]) == (200, "closed")


def test_a_status_address_is_good_without_signing_in_and_an_id_is_not(stage: Stage) -> None:
    opportunity = stage.opportunity()
    with stage.client() as client:
        accepted = close(client, opportunity, mode="accept")
        path = urlsplit(accepted.headers["Location"]).path
        stranger = TestClient(client.app, base_url="https://close.contoso.com", client=("192.0.2.7", 1))
        assert polled(stranger, path).status_code == 200
        assert stranger.get(f"/operations/{accepted.json()['operationId']}").status_code == 403
        assert stranger.get(path[:-2] + "xx").status_code == 404
        assert client.get(f"/operations/{accepted.json()['operationId']}").status_code == 200
        assert client.get("/operations/0000").status_code == 404


def test_a_final_failure_is_no_5xx_at_the_status_address(stage: Stage) -> None:
    opportunity = stage.opportunity()
    with stage.client() as client:
        close(client, opportunity)
        accepted = close(client, opportunity, mode="accept", outcome="lost")
        answer = polled(client, accepted.headers["Location"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "closed_with_other_outcome")


STATUSES = [
    ({"outcome": "sold"}, 400, "invalid_request"),
    ({"status": 4711}, 400, "invalid_request"),
    ({"status": "No such reason"}, 400, "invalid_request"),
    ({"actualRevenue": "1e13"}, 400, "invalid_request"),
    ({"description": "x" * 2001}, 400, "invalid_request"),
    ({"subject": "x" * 201}, 400, "invalid_request"),
    ({"columns": {"statecode": 1}}, 400, "invalid_request"),
    ({"columns": {f"new_{n}": 1 for n in range(101)}}, 400, "invalid_request"),
    ({"idempotencyKey": "x" * 256}, 400, "invalid_request"),
    ({"unknown": 1}, 400, "invalid_request"),
    ({"drafts": "leave"}, 409, "draft_quotes"),
]


@pytest.mark.parametrize(("body", "status", "code"), STATUSES)
def test_a_wrong_request_is_told_what_is_wrong(stage: Stage, body: dict[str, Any], status: int, code: str) -> None:
    opportunity = stage.opportunity(DRAFT)
    with stage.client() as client:
        answer = close(client, opportunity, **body)
    told = ErrorResponse.model_validate(answer.json())
    assert (answer.status_code, told.status, told.retryable) == (status, status, False)
    assert told.error.code == code or status == 409
    assert told.error.message == told.detail
    assert told.error.message.endswith(".")
    assert answer.headers["content-type"] == "application/json"
    assert stage.state(opportunity) == (0, [0], 0, 0)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"outcome": True}, "Outcome: true is not an outcome; say won or lost."),
        ({"outcome": ["won"]}, "Outcome: it is a list; give one value."),
        ({"closedOn": False}, "Close Date: false is not a date;"),
        ({"outcome": json.loads('{"a":' * 900 + "1" + "}" * 900)}, "Outcome: it is an object; give one value."),
        ({"competitor": [1]}, "triggerOutputs()?['body/competitorid']"),
        ({"winningQuote": {"id": 1}}, "triggerOutputs()?['body/quoteid']"),
        ({"closedOn": "2026-01-31T25:99:99Z"}, "Close Date: '2026-01-31T25:99:99Z' is not a date;"),
        ({"idempotencyKey": "k" * 300}, "Idempotency Key: it has more than 255 characters."),
        ({"idempotencyKey": "a\u200bb"}, "printable characters, not the character U+200B; nothing was changed."),
    ],
)
def test_what_was_sent_is_told_as_its_sender_has_it(stage: Stage, body: dict[str, Any], said: str) -> None:
    with stage.client() as client:
        answer = close(client, stage.opportunity(), **body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_a_number_that_is_none_is_told_in_the_makers_words(stage: Stage) -> None:
    with stage.client() as client:
        top = client.get("/operations?top=many").json()["error"]["message"]
        body = {"callbackUrl": "https://prod-1.westus.logic.azure.com/x", "minimumRevenue": True}
        revenue = client.post("/subscriptions", json=body).json()["error"]["message"]
    assert top == "The request is malformed; nothing was changed. Top: it is not a whole number, as 50."
    assert "Minimum Revenue: it is not a number; write it with a point" in revenue


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_a_reopen_with_every_field_left_empty_needs_no_body(stage: Stage, body: bytes) -> None:
    opportunity = stage.opportunity()
    with stage.client() as client:
        close(client, opportunity)
        answer = client.post(
            f"/opportunities/{opportunity}/reopen", content=body, headers={"Content-Type": "application/json"}
        )
    assert (answer.status_code, stage.state(opportunity)[0]) == (200, 0)


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (b'{"outcome":', "application/json", "body: It is not JSON; look for a missing quote, comma or bracket."),
        (b"", "application/json", "body: Send a JSON object, with Content-Type: application/json."),
        (b"[]", "application/json", "body: Send a JSON object, with Content-Type: application/json."),
        (b'{"outcome":"won"}', "text/plain", "body: Send a JSON object, with Content-Type: application/json."),
        (
            b"outcome=won",
            "application/x-www-form-urlencoded",
            "Send a JSON object, with Content-Type: application/json.",
        ),
        (b'{"outcome":"won","subject":"\xe9"}', "application/json", "The body cannot be read. Send JSON in UTF-8"),
        (b"[" * 30_000, "application/json", "nested no deeper than the fields ask for."),
    ],
)
def test_a_body_that_is_none_is_told_what_to_send(stage: Stage, body: bytes, kind: str, told: str) -> None:
    opportunity = stage.opportunity()
    with stage.client() as client:
        path = f"/opportunities/{opportunity}/close"
        answer = client.post(path, content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert told in answer.json()["error"]["message"]
    assert stage.state(opportunity)[0] == 0


def test_an_opportunity_that_is_not_there_is_404(stage: Stage) -> None:
    with stage.client() as client:
        for answer in (
            close(client, uuid4()),
            client.get(f"/opportunities/{uuid4()}"),
            client.post(f"/opportunities/{uuid4()}/plan", json={"outcome": "won"}),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(("trouble", "status", "wait"), [(busy(37), 429, 37), (unavailable, 503, 10)])
def test_reading_while_the_organization_is_busy_or_down_says_when_to_come_back(
    stage: Stage, trouble: Trouble, status: int, wait: int
) -> None:
    opportunity = stage.opportunity()
    with stage.client() as client:
        client.get(f"/opportunities/{opportunity}")
        stage.troubles.append(trouble)
        answer = client.get(f"/opportunities/{opportunity}")
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, str(wait))
    assert answer.json()["retryable"] is True


def test_a_lost_answer_changes_nothing_twice(stage: Stage) -> None:
    opportunity = stage.opportunity(DRAFT, ACTIVE)
    with stage.client() as client:
        client.get(f"/opportunities/{opportunity}")
        stage.troubles.extend([lambda request, pass_on: pass_on(request), lost])
        answer = close(client, opportunity)
    assert answer.status_code == 200
    assert answer.json()["changed"] is True
    assert stage.state(opportunity) == (1, [3, 3], 1, 2)


def test_what_breaks_off_each_time_ends_and_may_be_asked_for_anew(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("connector.service.operations.worker_pool.UNFORESEEN_PAUSE", 0.0)

    def unforeseen(_request: Request, _pass_on: Handler) -> Response:
        raise ZeroDivisionError(customer_text)

    opportunity, customer_text = stage.opportunity(DRAFT), "Secret Name"
    with stage.client() as client:
        stage.troubles.extend([unforeseen] * UNFORESEEN_TRIES)
        failed = close(client, opportunity, "again")
        error = failed.json()["error"]
        assert (failed.status_code, stage.sent) == (409, UNFORESEEN_TRIES)
        assert "did not foresee" in error["message"]
        assert "some of it may have been done" in error["message"]
        assert close(client, opportunity, "again").is_success
    assert stage.state(opportunity)[0] == 1
    assert "ZeroDivisionError" in caplog.text
    assert customer_text not in caplog.text


def test_an_operation_that_nobody_has_begun_can_be_canceled(stage: Stage) -> None:
    opportunity = stage.opportunity(ACTIVE)
    with stage.client(workers=0) as client:
        accepted = close(client, opportunity, "k", mode="accept").json()
        canceled = client.post(f"/operations/{accepted['operationId']}/cancel")
        assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
        assert client.post(f"/operations/{accepted['operationId']}/cancel").status_code == 409
        error = client.get(f"/operations/{accepted['operationId']}").json()["error"]
        assert error["code"] == "canceled"
        assert error["message"] == "The operation was canceled before it changed anything."
        again = close(client, opportunity, "k", mode="accept")
        assert again.json()["operationId"] != accepted["operationId"]
    assert stage.state(opportunity) == (0, [1], 0, 0)


def taken_up(stage: Stage, act: Callable[[Worker, Job, Item], object]) -> None:
    """Have the one operation claimed by another instance, which does something with it and goes."""
    worker = stage.ledger.enter("another instance")
    ((job, item),) = OperationStore(stage.ledger).claim(worker, 1)
    act(worker, job, item)
    worker.leave()


def test_a_cancel_between_two_attempts_does_not_claim_that_nothing_was_done(stage: Stage) -> None:
    opportunity = stage.opportunity(ACTIVE)
    with stage.client(workers=0) as client:
        accepted = close(client, opportunity, "k", mode="accept").json()
        taken_up(stage, lambda worker, job, item: worker.release(job, [item]))
        client.post(f"/operations/{accepted['operationId']}/cancel")
        error = client.get(f"/operations/{accepted['operationId']}").json()["error"]
    assert "some of it may have been done" in error["message"]


def test_what_an_instance_did_before_it_gave_the_operation_back_is_told_as_done(stage: Stage) -> None:
    opportunity = stage.opportunity(ACTIVE)
    with stage.client(workers=0) as client:
        close(client, opportunity, "k", mode="accept")

    def closed_and_given_back(worker: Worker, job: Job, item: Item) -> None:
        assert isinstance(item.intent, Intent)
        fulfil(stage.organization, item.intent, pause=lambda _: None)
        worker.release(job, [item])

    taken_up(stage, closed_and_given_back)
    with stage.client() as client:
        answer = close(client, opportunity, "k").json()
    assert (answer["result"], answer["changed"]) == ("closed", True)
    assert stage.state(opportunity) == (1, [3], 1, 1)


def test_operations_are_listed_by_status_latest_first(stage: Stage) -> None:
    opportunities = [stage.opportunity() for _ in range(3)]
    with stage.client() as client:
        for opportunity in opportunities:
            close(client, opportunity)
        close(client, opportunities[0], outcome="lost")
        listed = client.get("/operations", params={"top": 2}).json()["value"]
        assert [one["opportunityId"] for one in listed] == [str(opportunities[0]), str(opportunities[2])]
        failed = client.get("/operations", params={"status": "failed"}).json()["value"]
        assert [one["opportunityId"] for one in failed] == [str(opportunities[0])]


def test_status_reasons_fit_the_outcome_and_begin_with_the_default(stage: Stage) -> None:
    with stage.client() as client:
        won = client.get("/status-reasons", params={"outcome": "won"}).json()["value"]
        lost_ones = client.get("/status-reasons", params={"outcome": "lost"}).json()["value"]
        quotes = client.get("/status-reasons", params={"outcome": "lost", "table": "quote"}).json()["value"]
        everything = client.get("/status-reasons", params={"outcome": ""}).json()["value"]
    assert won[0] == {"value": "3", "label": "Won", "default": True}
    assert [one["value"] for one in everything] == [one["value"] for one in won + lost_ones]
    assert everything[0]["label"] == "Won: Won"
    assert {one["value"] for one in won} & {one["value"] for one in lost_ones} == set()
    assert quotes[0]["value"] == "5"
    assert "7" not in [one["value"] for one in quotes]


def test_the_custom_columns_are_a_schema(stage: Stage) -> None:
    with stage.client() as client:
        for table in ("opportunityclose", "quoteclose"):
            schema = client.get("/close-columns", params={"table": table}).json()["schema"]
            assert schema["type"] == "object"
            assert "subject" not in schema["properties"]


def test_a_custom_column_is_described_as_the_field_it_becomes(stage: Stage) -> None:
    def customized(request: Request, pass_on: Handler) -> Response:
        answer = json.loads(pass_on(request).body)
        label = {"UserLocalizedLabel": {"Label": "Competitor's Price", "LanguageCode": 1033}}
        common = {"IsCustomAttribute": True, "IsValidForCreate": True, "DisplayName": label, "Description": None}
        answer["value"] += [
            {"LogicalName": "new_price", "AttributeType": "Money", **common},
            {"LogicalName": "new_lookup", "AttributeType": "Lookup", **common},
            {"LogicalName": "new_computed", "AttributeType": "Integer", **common, "IsValidForCreate": False},
        ]
        return Response(200, (("Content-Type", "application/json"),), json.dumps(answer).encode())

    stage.troubles.append(customized)
    with stage.client() as client:
        schema = client.get("/close-columns").json()["schema"]
    assert list(schema["properties"]) == ["new_price"]
    assert schema["properties"]["new_price"] == {
        "type": "number",
        "format": "double",
        "title": "Competitor's Price",
        "x-ms-summary": "Competitor's Price",
        "description": "The column new_price.",
    }


def test_a_custom_column_of_dates_alone_asks_for_a_date(stage: Stage) -> None:
    """The organization's columns are made its own on the way: the second answer tells how they behave."""

    def owned(request: Request, pass_on: Handler) -> Response:
        answer = json.loads(pass_on(request).body)
        for row in answer["value"]:
            row["IsCustomAttribute"] = row["IsValidForCreate"] = row["LogicalName"] in {"actualend", "new_day"}
        answer["value"].append(answer["value"][0] | {"LogicalName": "new_day", "AttributeType": "DateTime"})
        answer["value"][-1] |= {"IsCustomAttribute": True, "IsValidForCreate": True}
        return Response(200, (("Content-Type", "application/json"),), json.dumps(answer).encode())

    def behaving(request: Request, pass_on: Handler) -> Response:
        answer = json.loads(pass_on(request).body)
        answer["value"].append({"LogicalName": "new_day", "DateTimeBehavior": {"Value": "DateOnly"}})
        return Response(200, (("Content-Type", "application/json"),), json.dumps(answer).encode())

    stage.troubles.extend([owned, behaving])
    with stage.client() as client:
        properties = client.get("/close-columns").json()["schema"]["properties"]
    assert {name: field["format"] for name, field in properties.items()} == {
        "actualend": "date-time",
        "new_day": "date",
    }


def test_the_connection_names_the_organization(stage: Stage) -> None:
    with stage.client() as client:
        answer = client.get("/connection").json()
    assert answer == {"organization": stage.embedded.url, "access": "application", "version": "1.2.3"}


def test_probes_need_no_sign_in(stage: Stage) -> None:
    with stage.client() as client:
        stranger = TestClient(client.app, base_url="https://close.contoso.com", client=("192.0.2.7", 1))
        assert stranger.get("/healthz").json() == {"status": "alive"}
        assert stranger.get("/readyz").json()["status"] == "ready"
        assert stranger.get("/version").json() == {"version": "1.2.3"}
        assert stranger.get("/connector/apiDefinition.swagger.json").json()["swagger"] == "2.0"


def test_every_route_that_is_not_open_by_design_turns_strangers_away(stage: Stage) -> None:
    with stage.client() as client:
        stranger = TestClient(client.app, base_url="https://close.contoso.com", client=("192.0.2.7", 1))
        for operation in OPERATIONS.values():
            if operation.id == "UnsubscribeOpportunityClosed":
                continue
            answer = stranger.request(operation.method, operation.path.replace("{id}", str(uuid4())))
            assert answer.status_code == 403, operation.id
        assert stranger.post("/mcp", json={}).status_code == 403
        assert stranger.get("/anything").status_code == 403


def test_ids_are_echoed_and_nothing_that_is_no_id(stage: Stage) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with stage.client() as client:
        answer = client.get("/healthz", headers={"x-ms-client-request-id": "req-1", "traceparent": trace})
        assert answer.headers["x-ms-client-request-id"] == "req-1"
        assert answer.headers["x-ms-request-id"] == "req-1"
        assert answer.headers["traceparent"] == trace
        forged = client.get("/healthz", headers={"x-ms-client-request-id": "a b<script>"})
        assert "x-ms-client-request-id" not in forged.headers
        assert (
            client.get("/operations/unknown", headers={"x-ms-client-request-id": "req-2"}).json()["correlationId"]
            == "req-2"
        )


def test_the_log_names_the_run_and_the_correlation(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    headers = {"x-ms-workflow-run-id": "08584620957158237712CU21", "x-ms-client-request-id": "req-9"}
    with stage.client() as client:
        client.get(f"/opportunities/{stage.opportunity()}", headers=headers)
        client.get("/connection", headers={"x-ms-workflow-run-id": "a run\nthat forges a line"})
    first, second = (r.getMessage() for r in caplog.records if r.name == "connector.service.requests")
    assert "/opportunities/{id}" in first
    assert "correlation req-9" in first
    assert "run 08584620957158237712CU21" in first
    assert "forges" not in second


def test_a_large_body_is_413_however_it_is_announced(stage: Stage) -> None:
    opportunity = stage.opportunity()
    with stage.client(body_limit=1000) as client:
        path = f"/opportunities/{opportunity}/close"
        json_kind = {"content-type": "application/json"}
        announced = client.post(path, content=b" " * 1001, headers=json_kind)
        streamed = client.post(path, content=iter([b" " * 600, b" " * 600]), headers=json_kind)
        of_an_agent = client.post("/mcp", content=b" " * 1001, headers=json_kind)
    assert (announced.status_code, streamed.status_code, of_an_agent.status_code) == (413, 413, 413)
    assert announced.json()["error"]["code"] == streamed.json()["error"]["code"] == "too_large"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'{"outcome": NaN}', b'"won"'])
def test_what_is_no_request_is_400(stage: Stage, body: bytes) -> None:
    with stage.client() as client:
        path = f"/opportunities/{stage.opportunity()}/close"
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")


def test_a_request_that_names_several_hosts_is_400(stage: Stage) -> None:
    with stage.client() as client:
        answer = client.get(
            f"/opportunities/{stage.opportunity()}", headers=[("Host", "a.example"), ("Host", "b.example")]
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert answer.json()["error"]["message"] == "The request is malformed; nothing was changed. It names several hosts."


def test_what_is_to_be_done_about_settings_is_told_as_the_hosts_part() -> None:
    redirected = Rejected(
        "It was sent on.", status=302, remedy="Check that DATAVERSE_URL (https://o.example) is right."
    )
    assert of_error(redirected).message == (
        "It was sent on. For whoever runs the endpoint: check that DATAVERSE_URL (https://o.example) is right."
    )


def test_a_connection_that_asks_too_much_is_told_to_wait(stage: Stage) -> None:
    with stage.client(requests_per_minute=3) as client:
        answers = [client.get("/operations") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["RateLimit-Remaining"] == "2"
    assert int(answers[3].headers["Retry-After"]) >= 1
    assert answers[3].json()["error"]["code"] == "too_many_requests"


def test_a_full_queue_says_so_before_anything_is_promised(stage: Stage) -> None:
    with stage.client(workers=0, queue=1) as client:
        close(client, stage.opportunity(), mode="accept")
        answer = close(client, stage.opportunity(), mode="accept")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")


def test_the_audit_trail_tells_who_did_what_from_which_run(stage: Stage) -> None:
    opportunity = stage.opportunity(DRAFT)
    with stage.client() as client:
        client.post(
            f"/opportunities/{opportunity}/close",
            json={"outcome": "won", "description": "Secret remark"},
            headers={"x-ms-workflow-run-id": "run-7", "x-ms-workflow-operation-name": "Close"},
        )
    accepted, ended = stage.log()
    assert (accepted["event"], ended["event"]) == ("accepted", "closed")
    for entry in (accepted, ended):
        assert entry["run"] == "run-7"
        assert entry["opportunity"] == str(opportunity)
        assert (entry["door"], entry["by"], entry["tenant"]) == ("endpoint", "developer:developer", "development")
        assert entry["organization"] == stage.embedded.url
    assert (ended["user"], ended["host"]) == (stage.embedded.client_id, "test")
    assert ended["outcome"] == "won"
    quote = str(UUID(int=opportunity.int + 1))
    assert ended["changes"] == [
        {"table": "opportunity", "record": str(opportunity),
         "before": {"state": 0, "status": 1}, "after": {"state": 1, "status": 3}},
        {"table": "quote", "record": quote, "before": {"state": 0, "status": 1}, "after": {"state": 3, "status": 6}},
    ]  # fmt: skip
    assert "Secret" not in repr(stage.log())
    assert "QUO" not in repr(stage.log())


@pytest.mark.parametrize(("label", "status"), [("Vunnen", 200), ("gewonnen", 200), ("Avbruten", 400)])
def test_a_status_reason_may_be_named_in_any_language_of_the_organization(
    stage: Stage, label: str, status: int
) -> None:
    labels = {3: {1033: "Won", 1053: "Vunnen", 1031: "Gewonnen"}, 4: {1033: "Canceled", 1053: "Avbruten"}}
    reasons = tuple(
        StatusReason("opportunity", value, texts[1033], {3: 1, 4: 2}[value], labels=texts)
        for value, texts in labels.items()
    )
    with stage.embedded.emulator.lock:
        stage.embedded.emulator.organization.world.customize(Customization(status_reasons=reasons))
    with stage.client() as client:
        answer = client.post(f"/opportunities/{stage.opportunity(2)}/close", json={"outcome": "won", "status": label})
    assert answer.status_code == status, answer.text


def test_no_log_holds_customer_text_or_an_address_that_proves_itself(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with stage.client() as client:
        accepted = close(client, stage.opportunity(DRAFT), description="Secret remark", mode="accept")
        polled(client, accepted.headers["Location"])
        client.get("/operations", headers={"authorization": "Bearer very.secret.token", "x-api-key": "hidden"})
    signature = accepted.headers["Location"].rpartition(".")[2]
    ours = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith(("connector", "uvicorn")))
    assert "/operations/{id}" in ours
    assert not [word for word in (signature, "Secret", "very.secret", "hidden", "QUO-") if word in ours]


@pytest.mark.parametrize(
    ("body", "label", "target"),
    [
        ({"outcome": "won", "status": "Nonsense"}, "Status Reason", "status"),
        ({"outcome": "won", "quoteStatus": "Nonsense"}, "Quote Status Reason", "quoteStatus"),
        ({"outcome": "lost", "competitor": str(UUID(int=5))}, "Competitor", "competitor"),
        ({"outcome": "won", "columns": {"new_unknown": 1}}, "Close Columns", "columns"),
        ({"outcome": "won", "quoteColumns": {"new_unknown": 1}}, "Quote Close Columns", "quoteColumns"),
    ],
)
@pytest.mark.parametrize("operation", ["plan", "close"])
def test_what_the_organization_does_not_have_is_told_by_the_label_of_its_field(
    stage: Stage, operation: str, body: dict[str, object], label: str, target: str
) -> None:
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        answer = client.post(f"/opportunities/{opportunity}/{operation}", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "invalid_request")
    assert error["message"].startswith(f"{label}: ")
    assert {"code": "field", "message": label, "target": target} in error["details"]
    assert stage.state(opportunity)[0] == 0


def test_an_opportunity_may_be_named_by_its_value_of_a_column(stage: Stage) -> None:
    first, second = stage.opportunity(1), stage.opportunity()
    by_name = {"opportunityKey": "name"}
    with stage.client() as client:
        assert client.get("/opportunities/secret%20name%201", params=by_name).json()["opportunityId"] == str(first)
        both = client.get("/opportunities/Secret%20Name%201,7", params={"opportunityKey": "name,prioritycode"})
        assert (both.status_code, both.json()["error"]["code"]) == (404, "opportunity_unknown")
        assert "with name 'Secret Name 1' and prioritycode '7'" in both.json()["error"]["message"]
        closed = client.post("/opportunities/Secret%20Name%201/close", params=by_name, json={"outcome": "won"})
        assert (closed.json()["result"], closed.json()["opportunityId"]) == ("closed", str(first))
        with stage.embedded.emulator.lock:
            stage.embedded.emulator.organization.store.rows("UPDATE opportunity SET name = 'Twin'")
        twins = client.post("/opportunities/Twin/close", params=by_name, json={"outcome": "lost"})
        assert (twins.status_code, twins.json()["error"]["code"]) == (409, "opportunity_ambiguous")
        assert all(str(id_) in twins.json()["error"]["message"] for id_ in (first, second))
    assert stage.state(second)[0] == 0


def test_who_calls_cannot_close_in_the_name_of_another(stage: Stage) -> None:
    opportunity = stage.opportunity()
    with stage.client() as client:
        body = {"outcome": "won", "asUser": "sam.seller@contoso.invalid"}
        answer = client.post(f"/opportunities/{opportunity}/close", json=body)
    assert (answer.status_code, "asUser" in answer.text) == (400, True)
    assert stage.state(opportunity)[0] == 0
