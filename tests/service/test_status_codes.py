"""Statuses by what the flow engine does with them: 408, 429 and 5xx are sent again, 202 is followed, the rest ends.

Partial results, what is passed on of the organization's own waiting, and answers within the deadline belong to it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.requests import Request as Asked
from starlette.testclient import TestClient

from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.emulator.limits.faults import Fault, FaultPlan, Faults
from connector.handler import Handler, Request, Response
from connector.service.routes.operation_routes import patience
from tests.service.flow_engine import RETRIED
from tests.service.stage import Stage, Trouble, busy

DRAFT, ACTIVE = 1, 2


def forbidden(_request: Request, _pass_on: Handler) -> Response:
    """Refuse for want of a privilege."""
    error = {"code": "0x80048306", "message": "Principal user is missing prvWriteOpportunity privilege"}
    return Response(403, (), json.dumps({"error": error}).encode())


@dataclass(frozen=True)
class Case:
    """What is asked, and what the engine is told. `before` are requests that come first, each body with its key."""

    name: str
    status: int
    code: str
    body: dict[str, object] = field(default_factory=dict)
    key: str | None = None
    quotes: tuple[int, ...] = (ACTIVE,)
    before: tuple[tuple[dict[str, object], str | None], ...] = ()
    troubles: tuple[Trouble, ...] = ()
    elsewhere: bool = False


CASES = [
    Case("done now", 200, "closed"),
    Case("closed as asked before", 200, "already_closed", before=(({}, None),)),
    Case("accepted, running", 202, "queued", body={"mode": "accept"}),
    Case("malformed", 400, "invalid_request", body={"outcome": "sold"}),
    Case("unknown status reason", 400, "invalid_request", body={"status": 4711}),
    Case("a column that is not there", 400, "invalid_request", body={"columns": {"new_nothing": 1}}),
    Case("a quote's column that is not there", 400, "invalid_request", body={"quoteColumns": {"new_nothing": 1}}),
    Case("a lookup as a plain value", 400, "invalid_request", body={"columns": {"ownerid": "x"}}),
    Case("not allowed by the organization", 403, "organization_forbids", troubles=(forbidden,)),
    Case("no such opportunity", 404, "not_found", elsewhere=True),
    Case("closed with the other outcome", 409, "closed_with_other_outcome", before=(({"outcome": "lost"}, None),)),
    Case("a quote in the way", 409, "drafts_stand", body={"drafts": "leave"}, quotes=(DRAFT,)),
    Case("another plan than was approved", 412, "plan_changed", body={"planDigest": "0" * 16}),
    Case("a key used for something else", 422, "key_reused", {"outcome": "lost"}, "k", before=(({}, "k"),)),
]


def close(client: TestClient, opportunity: UUID, key: str | None = None, **body: object) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post(f"/opportunities/{opportunity}/close", json={"outcome": "won", **body}, headers=headers)


def test_a_maker_reads_labels_and_no_options_of_the_command_line(stage: Stage) -> None:
    opportunity, body = stage.opportunity(1), {"outcome": "won", "drafts": "leave"}
    with stage.client() as client:
        plan = client.post(f"/opportunities/{opportunity}/plan", json=body).json()["message"]
        close = client.post(f"/opportunities/{opportunity}/close", json=body).json()["error"]["message"]
    assert plan == close
    assert "(Draft Quotes leave)" in close
    assert "--" not in close


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_situation_has_the_status_that_the_engine_treats_rightly(stage: Stage, case: Case) -> None:
    opportunity = stage.opportunity(*case.quotes)
    with stage.client(workers=0 if case.status == 202 else 8) as client:
        client.get("/connection")  # what is read once is read: the troubles meet the closing itself
        for body, key in case.before:
            assert close(client, opportunity, key, **body).status_code == 200
        stage.troubles.extend(case.troubles)
        answer = close(client, uuid4() if case.elsewhere else opportunity, case.key, **case.body)
    told = answer.json()
    assert answer.status_code == case.status
    assert (told["error"]["code"] if case.status >= 400 else told.get("result") or told["status"]) == case.code
    assert ("Retry-After" in answer.headers) == ("Location" in answer.headers) == (case.status == 202)
    if "not there" in case.name:
        assert "new_nothing: there is no such column." in told["error"]["message"]
    if case.status >= 400:
        assert answer.status_code not in RETRIED, "nothing will be better the next time"
        assert told["retryable"] is False


def test_what_the_organization_asks_to_wait_in_the_middle_is_told_to_those_who_ask(stage: Stage) -> None:
    opportunity = stage.opportunity(ACTIVE)
    with stage.client() as client:
        client.get(f"/opportunities/{opportunity}")
        stage.troubles.extend([busy(37)] * 3)  # the first may meet what can be done without
        accepted = close(client, opportunity, mode="accept")
        answer = until(
            lambda: client.get(f"/operations/{accepted.json()['operationId']}"),
            lambda answer: answer.json().get("waitingUntil"),
        )
        listed = client.get("/operations").json()["value"]
        page = client.get("/operations-page").text
    assert answer.status_code == 202
    assert 2 < int(answer.headers["Retry-After"]) <= 38
    assert listed[0]["waitingUntil"] == answer.json()["waitingUntil"]
    assert f'Waits until <b><time datetime="{answer.json()["waitingUntil"][:10]}' in page
    assert stage.state(opportunity) == (0, [1], 0, 0)


def test_while_the_organization_holds_everything_up_closes_are_accepted_and_reads_are_told_until_when(
    stage: Stage,
) -> None:
    opportunity = stage.opportunity(ACTIVE)
    stage.stopped = 123.0
    with stage.client(workers=0) as client:
        accepted = close(client, opportunity, mode="accept")
        read = client.get(f"/opportunities/{opportunity}")
    assert (accepted.status_code, accepted.headers["Retry-After"]) == (202, "123")
    assert (read.status_code, read.headers["Retry-After"], read.json()["error"]["code"]) == (
        429,
        "123",
        "organization_busy",
    )


def failing_quote(stage: Stage, *, atomic: bool) -> tuple[UUID, UUID]:
    """Make an opportunity with three active quotes; a plug-in refuses to close the second."""
    opportunity = stage.opportunity(ACTIVE, ACTIVE, ACTIVE)
    second = UUID(int=opportunity.int + 2)
    stage.organization = DataverseOrganization(stage.handler, stage.embedded.url, clock=stage.clock, atomic=atomic)
    plan = FaultPlan((Fault("plugin_abort", message="CloseQuote", record=str(second), text="Not this one."),))
    stage.embedded.emulator.set_faults(Faults(plan))
    return opportunity, second


def test_a_failure_in_the_middle_is_told_quote_by_quote_and_the_rest_is_done_by_the_next_request(stage: Stage) -> None:
    opportunity, second = failing_quote(stage, atomic=False)
    with stage.client() as client:
        answer = close(client, opportunity)
        told = answer.json()
        assert (answer.status_code, told["result"], told["changed"]) == (200, "partial", True)
        results = {quote["quoteId"]: quote["result"] for quote in told["quotes"]}
        assert results[str(second)] == "failed"
        assert sorted(results.values()) == ["closed", "failed", "not_run"]
        failed = next(quote for quote in told["quotes"] if quote["quoteId"] == str(second))
        assert "a plug-in" in failed["message"]
        assert stage.state(opportunity)[0] == 0
        stage.embedded.emulator.set_faults(Faults(FaultPlan()))
        again = close(client, opportunity)
    assert (again.status_code, again.json()["result"]) == (200, "closed")
    assert stage.state(opportunity) == (1, [3, 3, 3], 1, 3)


def test_a_refusal_that_undid_everything_is_a_4xx_that_names_the_quote(stage: Stage) -> None:
    opportunity, second = failing_quote(stage, atomic=True)
    with stage.client() as client:
        answer = close(client, opportunity)
    told = answer.json()
    assert (answer.status_code, told["error"]["code"]) == (409, "organization_refused")
    assert "a plug-in" in told["error"]["message"]
    assert str(second) in [detail.get("target") for detail in told["error"]["details"]]
    assert stage.state(opportunity) == (0, [1, 1, 1], 0, 0)


READS = [
    ("GET", "/opportunities/{id}"),
    ("POST", "/opportunities/{id}/plan"),
    ("GET", "/status-reasons?outcome=won"),
    ("GET", "/close-columns"),
    ("GET", "/connection"),
]


@pytest.mark.parametrize(("method", "path"), READS)
def test_reading_from_an_organization_that_does_not_answer_ends_at_the_deadline(
    stage: Stage, method: str, path: str
) -> None:
    stage.gate = threading.Event()
    with stage.client(deadline=0.05) as client:
        body = {"outcome": "won"} if method == "POST" else None
        answer = client.request(method, path.replace("{id}", str(stage.opportunity())), json=body)
        stage.gate.set()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "organization_slow")
    assert (answer.headers["Retry-After"], answer.json()["retryable"]) == ("10", True)


@pytest.mark.parametrize(
    ("preferred", "seconds"),
    [
        ([], 90.0), (["wait=5"], 5.0), (['return=minimal, Wait = "7"'], 7.0), (["return=minimal", "wait=0"], 0.0),
        (["wait=10000"], 90.0), (["wait=" + "9" * 400], 90.0), (["respond-async"], 0.0),
        (["respond-async, wait=10"], 10.0), (["wait=soon"], 90.0), (["x-wait=5"], 90.0), (["wait=\u0665"], 90.0),
    ],
)  # fmt: skip
def test_a_request_waits_for_as_long_as_it_prefers_but_no_longer_than_the_deadline(
    preferred: list[str], seconds: float
) -> None:
    headers = [(b"prefer", value.encode("utf-8")) for value in preferred]
    assert patience(Asked({"type": "http", "headers": headers}), 90.0) == seconds


def test_reads_that_hang_do_not_keep_closes_from_being_accepted(stage: Stage) -> None:
    opportunity = stage.opportunity()
    stage.gate = threading.Event()
    with stage.client(deadline=0.05, workers=0) as client:
        hanging = [client.get("/connection").status_code for _ in range(40)]  # more than there are threads for them
        accepted = close(client, opportunity, mode="accept")
        stage.gate.set()
    assert set(hanging) == {503}
    assert accepted.status_code == 202


def until(ask: Callable[[], Any], so: Callable[[Any], bool]) -> Any:
    """Ask until it is so, for a minute at most."""
    end = time.monotonic() + 180
    while not so(answer := ask()):
        assert time.monotonic() < end, answer.text
        time.sleep(0.2)  # within what a connection may ask
    return answer
