"""Failures by plan and limits, seen by a client: what arrives, and what was done all the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import requests

from connector.clock import VirtualClock
from connector.emulator.limits.calls import LatencyModel
from connector.emulator.limits.faults import read_plan
from connector.emulator.limits.protection import Limits
from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.emulator.whole.face import Face, MakeFace

ACTIVE_QUOTE = "00001084-0000-4000-8000-000000000012"
"""The second quote of the first seeded opportunity: active, in progress."""
DRAFT_QUOTE = "00001084-0000-4000-8000-000000000011"


def close(face: Face, quote: str = ACTIVE_QUOTE) -> requests.Response:
    body = {"QuoteClose": {"quoteid@odata.bind": f"/quotes({quote})", "subject": "lost"}, "Status": 5}
    return face.post("CloseQuote", body)


def state(face: Face, quote: str = ACTIVE_QUOTE) -> int:
    return int(face.get(f"quotes({quote})?$select=statecode").json()["statecode"])


def closes(face: Face, quote: str = ACTIVE_QUOTE) -> int:
    counted = face.control("GET", "closes").json()
    return sum(int(row["closes"]) for row in counted if row["id"] == quote)


def plan(face: Face, *faults: dict[str, object]) -> None:
    assert face.control("PUT", "faults", {"seed": 1, "faults": list(faults)}).status_code == 200


def test_a_reset_before_leaves_nothing_done(face: Face) -> None:
    face.sign_in()
    plan(face, {"do": "reset", "when": "before", "message": "CloseQuote", "nth": 1})
    with pytest.raises(requests.ConnectionError):
        close(face)
    assert (state(face), closes(face)) == (1, 0)
    assert close(face).status_code == 204
    assert closes(face) == 1


def test_a_reset_after_leaves_everything_done(face: Face) -> None:
    face.sign_in()
    plan(face, {"do": "reset", "when": "after", "message": "CloseQuote", "nth": 1})
    with pytest.raises(requests.ConnectionError):
        close(face)
    assert (state(face), closes(face)) == (3, 1)
    assert close(face).status_code == 400, "the second close finds a closed quote"
    assert closes(face) == 1


def test_a_truncated_answer_was_committed(face: Face) -> None:
    face.sign_in()
    plan(face, {"do": "truncate", "nth": 1, "message": "Retrieve"}, {"do": "truncate", "message": "CloseQuote"})
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        state(face)
    with pytest.raises(requests.ConnectionError):
        close(face)
    assert closes(face) == 1


@pytest.mark.parametrize("form", ["json", "html", "empty", "message"])
def test_server_errors_come_in_every_form(face: Face, form: str) -> None:
    face.sign_in()
    plan(face, {"do": "status", "status": 503, "form": form, "when": "after", "message": "CloseQuote", "nth": 1})
    answer = close(face)
    assert answer.status_code == 503
    assert {"json": "0x8004a001", "html": "<HTML>", "empty": "", "message": "Message"}[form] in answer.text
    assert closes(face) == 1


@pytest.mark.parametrize(
    ("kind", "code", "wording"),
    [
        ("deadlock", "0x80044150", "1205"),
        ("lock_timeout", "0x80044339", "sp_getapplock"),
        ("sql_timeout", "0x80044151", "SQL timeout expired."),
        ("plugin_abort", "0x80040265", "refused"),
    ],
)
def test_trouble_inside_the_operation_is_rolled_back(face: Face, kind: str, code: str, wording: str) -> None:
    face.sign_in()
    plan(face, {"do": kind, "message": "CloseQuote", "nth": 1})
    error = close(face).json()["error"]
    assert error["code"] == code
    assert wording in error["message"]
    assert (state(face), closes(face)) == (1, 0)
    assert close(face).status_code == 204


def test_a_plugin_can_push_a_quote_back_to_draft_and_fail(face: Face) -> None:
    face.sign_in()
    plan(face, {"do": "plugin_reverts_quote", "message": "CloseQuote", "nth": 1, "text": "Not on Fridays."})
    assert close(face).json()["error"] == {"code": "0x80040265", "message": "Not on Fridays."}
    assert state(face) == 0


def test_a_planned_throttle_names_its_facet_and_does_nothing(face: Face) -> None:
    face.sign_in()
    plan(face, {"do": "throttle", "facet": "time", "seconds": 7, "message": "CloseQuote", "nth": 1})
    answer = close(face)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    assert answer.json()["error"]["code"] == "0x80072321"
    assert closes(face) == 0


def test_the_identity_provider_has_trouble_too(face: Face) -> None:
    plan(face, {"do": "status", "status": 500, "message": "token", "nth": 1, "form": "html"})
    url = f"{face.authority}/v2.0/.well-known/openid-configuration"
    assert face.session.get(url, timeout=120).status_code == 500
    assert face.session.get(url, timeout=120).status_code == 200
    plan(face, {"do": "throttle", "message": "token", "seconds": 3})
    throttled = face.session.get(url, timeout=120)
    assert (throttled.status_code, throttled.headers["Retry-After"]) == (429, "3")


def test_limits_are_told_and_enforced(face: Face) -> None:
    face.sign_in()
    first = face.get("WhoAmI")
    assert first.headers["x-ms-ratelimit-time-remaining-xrm-requests"] == "1,200.00"
    assert first.headers["x-ms-ratelimit-burst-remaining-xrm-requests"] == "5999"
    assert first.headers["x-ms-dop-hint"] == "4"
    face.control("PATCH", "limits", {"requests": 3})
    assert [face.get("WhoAmI").status_code for _ in range(3)] == [200, 200, 429]
    assert {row["kind"] for row in face.control("GET", "referee").json()} == set()
    assert face.get("WhoAmI").status_code == 429
    assert "early_retry" in {row["kind"] for row in face.control("GET", "referee").json()}


def test_limits_that_make_no_sense_are_refused(face: Face) -> None:
    for wrong in ({"wishes": 1}, {"requests": "many"}, {"requests": -1}, {"enforced": 1}):
        assert face.control("PATCH", "limits", wrong).status_code == 400


def test_hours_pass_in_no_time_on_a_virtual_clock(make_face: MakeFace) -> None:
    clock = VirtualClock()
    model = LatencyModel(medians={"WhoAmI": 30.0}, sigma=0.0)
    face = make_face(clock, EmulatorOptions(seeded=0, latency=model))
    face.sign_in()
    statuses = [face.session.get(face.api + "WhoAmI", timeout=60).status_code for _ in range(10)]
    assert clock.monotonic() == 300.0
    assert set(statuses) == {200}


def test_who_gives_up_early_finds_the_write_done_later(make_face: MakeFace) -> None:
    face = make_face(VirtualClock(), EmulatorOptions(seeded=20))
    face.sign_in()
    plan(face, {"do": "slow", "seconds": 300, "message": "CloseQuote", "nth": 1})
    with pytest.raises(requests.ReadTimeout):
        close(face)
    assert closes(face) == 0, "the request is still under way"
    face.control("POST", "clock", {"advance": 300})
    face.get("WhoAmI")
    assert closes(face) == 1


def story(make_face: MakeFace, seed: int) -> str:
    """Play the same traffic under a plan full of chance and return the journal."""
    text = json.dumps(
        {
            "seed": seed,
            "faults": [
                {"do": "reset", "when": "after", "probability": 0.2},
                {"do": "throttle", "probability": 0.2, "seconds": 5},
                {"do": "deadlock", "probability": 0.3},
            ],
        }
    )
    options = EmulatorOptions(seeded=20, faults=read_plan(text), latency=LatencyModel(), limits=Limits(servers=3))
    face = make_face(VirtualClock(), replace(options, seed=5))
    form = {"client_id": face.client_id, "client_secret": face.client_secret, "grant_type": "client_credentials"}
    token = face.session.post(f"{face.authority}/oauth2/v2.0/token", data={**form, "scope": f"{face.url}/.default"})
    face.session.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
    for number in range(1, 12):
        quote = f"00001084-0000-4000-8000-{number * 10 + 1:012d}"
        acts: tuple[Callable[[], object], ...] = (
            partial(close, face, quote),
            partial(face.get, "opportunities?$select=name&$top=2"),
        )
        for act in acts:
            try:
                act()
            except requests.ConnectionError:
                continue
    return face.emulator.journal.text()


def test_the_same_plan_and_seed_leave_the_same_journal(make_face: MakeFace) -> None:
    first = story(make_face, 3)
    assert story(make_face, 3) == first
    assert story(make_face, 4) != first
    assert {"reset after", "throttle"} <= {json.loads(line)["fault"] for line in first.splitlines()}


def test_the_journal_keeps_no_secret(make_face: MakeFace) -> None:
    text = story(make_face, 1)
    face = make_face(VirtualClock(), EmulatorOptions(seeded=0))
    assert face.client_secret not in text
    assert "eyJ" not in text
    assert "client_secret=***" in text
