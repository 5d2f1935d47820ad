"""Requests that mean no good, and machines that misbehave: always an answer, never a 5xx, never a write too many."""

from __future__ import annotations

import asyncio
import gzip
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI

from connector.clock import SystemClock
from connector.emulator.identity.keys import Keys
from connector.ledger.operation_store import OperationStore
from tests.service.flow_engine import call
from tests.service.stage import Stage, unavailable

WON = {"outcome": "won"}
RUN = {"x-ms-workflow-run-id": "08585287554177334956", "x-ms-workflow-operation-name": "Close"}


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/xml",
        "",
        "\u00e9",
        "application/json, application/json",
    ],
)
def test_a_body_of_another_kind_closes_nothing_or_is_read_as_json(stage: Stage, kind: str) -> None:
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        answer = client.post(
            f"/opportunities/{opportunity}/close",
            content=b"outcome=won",
            headers=[(b"content-type", kind.encode("latin-1"))],
        )
    assert answer.status_code in {400, 415}
    assert answer.json()["error"]["message"]
    assert stage.state(opportunity)[0] == 0


def test_a_packed_body_is_told_to_come_as_it_is(stage: Stage) -> None:
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        path, packed = f"/opportunities/{opportunity}/close", gzip.compress(b'{"outcome":"won"}')
        answer = client.post(path, content=packed, headers={"content-encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "body_packed")
    assert stage.state(opportunity)[0] == 0


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "GET"])
def test_other_methods_change_nothing(stage: Stage, method: str) -> None:
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        answer = client.request(method, f"/opportunities/{opportunity}/close")
        assert answer.status_code == 405
        assert "POST" in answer.headers["allow"]
        for probe in ("/healthz", "/readyz"):
            status = client.request(method, probe).status_code
            assert status == 200 if method in ("GET", "HEAD") else status in {401, 403, 405}
    assert stage.state(opportunity)[0] == 0
    assert stage.ledger.database.rows("SELECT COUNT(*) FROM job") == [(0,)]


@pytest.mark.parametrize(
    "id_",
    [
        "%00", "%F0%9F%92%A3", "..%2F..%2Fetc%2Fpasswd", "%E2%80%AE6f2c", "null", "' OR 1=1 --", "{id}",
        "6f2c1f0a00004000800000000000000g", "\u0661" * 32, "%ff%fe", "6f2c1f0a-0000-4000-8000-000000000001%0d%0aX: y",
        "a" * 2000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/opportunities/{}/close", "/operations/{}/cancel", "/opportunities/{}/plan"])
def test_an_id_that_is_none_is_told_so(stage: Stage, path: str, id_: str) -> None:
    with stage.client() as client:
        answer = client.post(path.format(id_), json=WON)
    assert answer.status_code in {400, 404, 405}
    assert answer.json()["error"]["code"]
    assert stage.sent == 0


@pytest.mark.parametrize("key", ["\u00fc\u00fc", "x" * 300, '"unclosed', "a\tb", "\x7f", " ", '""', "k\u2028"])
def test_an_idempotency_key_of_any_text_is_taken_or_refused(stage: Stage, key: str) -> None:
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        path = f"/opportunities/{opportunity}/close"
        answer = client.post(path, json=WON, headers=[(b"idempotency-key", key.encode("utf-8"))])
        assert answer.status_code in {200, 400}
        told = client.post(path, json=WON | {"idempotencyKey": key})
        assert told.status_code in {200, 400}
    assert stage.state(opportunity)[2] in {0, 1}


@pytest.mark.parametrize(
    "body",
    [
        {"outcome": "won", "actualRevenue": "1e999"},
        {"outcome": "won", "columns": {"a" * 5000: "x"}},
        {"outcome": "won", "columns": {"new a": "x"}},
        {"outcome": "won", "quoteColumns": {"": "x"}},
        {"outcome": "won", "columns": {f"c{n}": {"nested": [1] * 50} for n in range(50)}},
        {"outcome": ["won"]},
        {"outcome": "won", "closedOn": "0000-00-00"},
        {"outcome": "won", "__proto__": {"x": 1}},
        [WON] * 100,
        "won",
        None,
    ],
)
def test_a_body_of_the_wrong_shape_is_refused(stage: Stage, body: Any) -> None:
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        answer = client.post(f"/opportunities/{opportunity}/close", json=body)
    assert answer.status_code == 400, answer.text
    assert stage.state(opportunity)[0] == 0


@pytest.mark.parametrize(
    "member",
    [
        b'"description":"\\ud83d"', b'"idempotencyKey":"\\ud83d"', b'"columns":{"\\udc00":"x"}', b'"status":"\\ud83d"',
        b'"columns":{"new_a":"\\ud83d"}', b'"planDigest":"\\ud83d"', b'"actualRevenue":NaN', b'"description":"\\u0000"',
        b'"outcome":"lost"', b'"actualRevenue":1e400', b'"description":"\xff"',
    ],
)  # fmt: skip
def test_text_that_is_none_and_numbers_that_are_none_end_nothing_in_a_5xx(stage: Stage, member: bytes) -> None:
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        answer = client.post(
            f"/opportunities/{opportunity}/close",
            content=b'{"outcome":"won",' + member + b"}",
            headers={"content-type": "application/json"},
        )
        assert answer.status_code < 500, answer.text
        assert client.get("/operations").status_code == 200


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ('{"outcome":"won","outcome":"lost"}', "utf-8"),
        (' {"outcome":"won","columns":{"new_a":1,"new_\\u0061":2}}', "utf-8-sig"),
        ('{"outcome":"won","outcome":"lost"}', "utf-16-be"),
    ],
)
def test_a_body_that_says_a_thing_twice_changes_nothing(stage: Stage, text: str, encoding: str) -> None:
    opportunity = stage.opportunity(1)
    call = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"plan_close","arguments":' + text + "}}"
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    with stage.client() as client:
        for path, content in ((f"/opportunities/{opportunity}/close", text), ("/mcp", call)):
            answer = client.post(path, content=content.encode(encoding), headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
            assert "twice" in answer.json()["error"]["message"]
    assert stage.state(opportunity)[0] == 0


def test_a_body_nested_without_end_is_refused(stage: Stage) -> None:
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        for content in (b"[" * 60_000, b'{"columns":' * 5_000, b'{"outcome":"won","columns":' + b"9" * 60_000 + b"}"):
            answer = client.post(
                f"/opportunities/{opportunity}/close", content=content, headers={"content-type": "application/json"}
            )
            assert answer.status_code == 400
    assert stage.state(opportunity)[0] == 0


@pytest.mark.parametrize("part", [b"", b'{"outcome":"won"}'])
@pytest.mark.parametrize("verb", ["close", "reopen"])
def test_a_part_of_a_body_is_no_request(stage: Stage, verb: str, part: bytes) -> None:
    """Who hangs up before the end has asked for nothing, though a reopen needs no body."""
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        if verb == "reopen":
            assert client.post(f"/opportunities/{opportunity}/close", json=WON).status_code == 200
        before = stage.state(opportunity)
        messages: list[dict[str, object]] = [
            {"type": "http.request", "body": part, "more_body": True},
            {"type": "http.disconnect"},
        ]
        answer = asyncio.run(
            call(cast("FastAPI", client.app), "POST", f"/opportunities/{opportunity}/{verb}", {}, messages)
        )
    assert answer.status == 408
    assert stage.state(opportunity) == before


def test_headers_by_the_hundred_and_repeated_ones_are_taken_as_they_come(stage: Stage) -> None:
    opportunity = stage.opportunity(1)
    headers = [(b"x-noise-%d" % number, b"y" * 40) for number in range(300)]
    headers += [(b"idempotency-key", b"one"), (b"idempotency-key", b"two"), (b"content-type", b"application/json")]
    with stage.client() as client:
        path = f"/opportunities/{opportunity}/close"
        answer = client.post(path, content=b'{"outcome":"won"}', headers=headers)
        assert answer.status_code == 200
        again = client.post(path, content=b'{"outcome":"won"}', headers=headers)
        assert again.headers["idempotency-replayed"] == "true"
    assert stage.state(opportunity)[2] == 1


# -- the same run and action again ------------------------------------------------------------------------------------


def test_the_same_action_of_the_same_run_gets_the_first_answer_even_after_a_reopen(stage: Stage) -> None:
    """A delivery that was under way for long cannot be told from a maker's loop, so it must not close anything anew."""
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        path = f"/opportunities/{opportunity}/close"
        first = client.post(path, json=WON, headers=RUN)
        client.post(f"/opportunities/{opportunity}/reopen", json={}, headers=RUN)
        again = client.post(path, json=WON, headers=RUN)
        assert again.headers["idempotency-replayed"] == "true"
        assert again.json() == first.json()
        assert stage.state(opportunity)[0] == 0, "it stays as the reopen left it"


@pytest.mark.parametrize("way", ["key", "field", "action", "run"])
def test_a_key_of_its_own_closes_anew_after_a_reopen(stage: Stage, way: str) -> None:
    opportunity = stage.opportunity(1)
    with stage.client() as client:
        path = f"/opportunities/{opportunity}/close"
        client.post(path, json=WON, headers=RUN)
        client.post(f"/opportunities/{opportunity}/reopen", json={}, headers=RUN)
        headers = (
            RUN
            | {
                "key": {"idempotency-key": "second-round"},
                "field": {},
                "action": {"x-ms-workflow-operation-name": "Close_again"},
                "run": {"x-ms-workflow-run-id": "08585287554177334957"},
            }[way]
        )
        body = WON | ({"idempotencyKey": "second-round"} if way == "field" else {})
        answer = client.post(path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["result"]) == (200, "closed")
        assert stage.state(opportunity)[0] == 1


# -- clocks -----------------------------------------------------------------------------------------------------------


class Set(SystemClock):
    """A clock of this machine whose wall time somebody sets, while time goes on as before."""

    off = timedelta()

    def now(self) -> datetime:
        return super().now() + self.off


@pytest.mark.parametrize("jump", [timedelta(days=-400), timedelta(hours=-1), timedelta(hours=1), timedelta(days=6)])
def test_a_clock_that_is_set_loses_no_operation_and_does_nothing_twice(
    tmp_path: Path, emulator_keys: Keys, jump: timedelta
) -> None:
    clock = Set()
    stage = Stage(tmp_path, clock=clock, keys=emulator_keys)
    opportunity, put_off = stage.opportunity(1), stage.opportunity(2)
    with stage.client(workers=0) as client:
        accepted = client.post(f"/opportunities/{opportunity}/close", json=WON | {"mode": "accept"}, headers=RUN)
        assert accepted.status_code == 202
    with stage.client() as client:
        stage.troubles.extend([unavailable] * 8)
        client.post(f"/opportunities/{put_off}/close", json=WON | {"mode": "accept"}, headers=RUN)
        clock.off = jump
        stage.troubles.clear()
        answer = client.post(f"/opportunities/{opportunity}/close", json=WON, headers=RUN)
        assert (answer.status_code, answer.json()["result"]) == (200, "closed")
        assert answer.json()["operationId"] == accepted.json()["operationId"]
        assert client.post(f"/opportunities/{put_off}/close", json=WON, headers=RUN).status_code == 200
    assert [stage.state(one)[2] for one in (opportunity, put_off)] == [1, 1]
    assert len(OperationStore(stage.ledger).newest(10)) == 2
    stage.close()


def test_a_clock_set_back_sends_nobody_away_for_longer_than_an_operation_waits(
    tmp_path: Path, emulator_keys: Keys
) -> None:
    clock = Set()
    stage = Stage(tmp_path, clock=clock, keys=emulator_keys)
    with stage.client(workers=0) as client:
        path = f"/opportunities/{stage.opportunity(1)}/close"
        name = client.post(path, json=WON | {"mode": "accept"}, headers=RUN).json()["operationId"]
        worker = stage.ledger.enter("another instance")
        ((job, item),) = OperationStore(stage.ledger).claim(worker, 1)
        until = clock.now() + timedelta(seconds=60)
        stage.ledger.note(name, "waiting", {"until": until.isoformat(), "why": "Throttled"})
        worker.requeue(job, [item], 60)
        clock.off = timedelta(hours=-5)
        answer = client.get(f"/operations/{name}")
        assert int(answer.headers["Retry-After"]) <= 61
        assert [job.name for job, _ in OperationStore(stage.ledger).claim(worker, 1)] == [name]
        worker.leave()
    stage.close()
