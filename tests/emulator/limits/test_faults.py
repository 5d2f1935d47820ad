"""Fault plans: read strictly, acting when they should, the same every time."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.emulator.limits.calls import calls_of
from connector.emulator.limits.faults import Faults, InvalidFaultPlan, read_plan
from connector.handler import Request

ROOT = "https://org.emulator.invalid/api/data/v9.2/"
ROW = "00000003-0000-4000-8000-000000000001"


def close(row: str = ROW) -> Request:
    body = json.dumps({"QuoteClose": {"quoteid@odata.bind": f"/quotes({row})"}, "Status": 5})
    return Request("POST", f"{ROOT}CloseQuote", {}, body.encode())


def acting(plan: str, times: int, request: Request | None = None) -> list[bool]:
    faults = Faults(read_plan(plan))
    calls = calls_of(request or close(), {"quotes"})
    return [faults.on_request(calls, ()) is not None for _ in range(times)]


def test_the_nth_call_is_hit_once() -> None:
    assert acting('[{"do": "reset", "message": "CloseQuote", "nth": 3}]', 5) == [False, False, True, False, False]


def test_times_says_how_often() -> None:
    assert acting('[{"do": "reset", "nth": 2, "times": 2}]', 5) == [False, True, True, False, False]


def test_only_the_record_named_is_hit() -> None:
    plan = json.dumps([{"do": "reset", "record": ROW.upper()}])
    assert acting(plan, 1) == [True]
    assert acting(plan, 1, close("00000003-0000-4000-8000-000000000002")) == [False]


def test_a_message_inside_a_batch_is_found() -> None:
    body = (
        b"--b\r\nContent-Type: application/http\r\n\r\nPOST /api/data/v9.2/CloseQuote HTTP/1.1\r\n\r\n{}\r\n--b--\r\n"
    )
    batch = Request("POST", f"{ROOT}$batch", {"content-type": "multipart/mixed;boundary=b"}, body)
    assert acting('[{"do": "reset", "message": "CloseQuote"}]', 1, batch) == [True]


@given(st.integers(0, 1000), st.floats(0.01, 0.99))
def test_chance_is_the_same_for_the_same_seed(seed: int, probability: float) -> None:
    plan = json.dumps({"seed": seed, "faults": [{"do": "reset", "probability": probability}]})
    assert acting(plan, 40) == acting(plan, 40)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ("{", "not JSON"),
        ('{"fault": []}', "nothing else"),
        ('[{"message": "CloseQuote"}]', "what to `do`"),
        ('[{"do": "explode"}]', "one of"),
        ('[{"do": "reset", "mesage": "x"}]', "mesage"),
        ('[{"do": "reset", "nth": "first"}]', "nth"),
        ('[{"do": "reset", "nth": 0}]', "nth"),
        ('[{"do": "slow", "seconds": -1}]', "seconds"),
        ('{"seed": "x", "faults": []}', "seed"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused_with_a_sentence(plan: str, said: str) -> None:
    with pytest.raises(InvalidFaultPlan, match=said):
        read_plan(plan)
