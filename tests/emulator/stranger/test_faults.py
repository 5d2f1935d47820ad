"""Every kind of planned failure, with every way to say when, as a client meets it; and the same story told twice."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.emulator.stranger.conftest import Organized
from tests.emulator.stranger.wire import Json, Stranger, error_of

OPERATION = ("deadlock", "lock_timeout", "sql_timeout", "plugin_abort", "plugin_reverts_quote", "plugin_timeout",
             "missing_privilege")  # fmt: skip
KINDS: list[Json] = [
    *({"do": "throttle", "facet": facet, "seconds": 5} for facet in ("count", "time", "concurrency")),
    *(
        {"do": "status", "status": status, "form": form, "when": when}
        for status in (500, 502, 503, 504)
        for form in ("json", "html", "empty", "message")
        for when in ("before", "after")
    ),
    {"do": "reset", "when": "before"},
    {"do": "reset", "when": "after"},
    {"do": "truncate"},
    {"do": "slow", "seconds": 60, "when": "before"},
    {"do": "slow", "seconds": 60, "when": "after"},
    {"do": "challenge"},
    *({"do": kind} for kind in OPERATION),
]
DONE = {"truncate", "slow"}


def named(fault: Json) -> str:
    return " ".join(str(value) for value in fault.values())


def commits(fault: Json) -> bool:
    """Return whether the documents of a plan say that the work is done all the same."""
    return fault["do"] in DONE or fault.get("when") == "after"


def lose(client: Stranger, deal: str) -> str:
    """Lose an opportunity; return what a client sees: a status, or how the connection broke."""
    try:
        return str(client.close("LoseOpportunity", deal, 5).status_code)
    except requests.exceptions.ChunkedEncodingError:
        return "broken off"
    except requests.ConnectionError:
        return "reset"


@pytest.mark.parametrize("fault", KINDS, ids=named)
def test_each_kind_acts_on_the_nth_call_and_does_what_it_says(stranger: Stranger, fault: Json) -> None:
    deals = [stranger.deal() for _ in range(3)]
    stranger.plan({**fault, "message": "LoseOpportunity", "nth": 2})
    seen = [lose(stranger, deal) for deal in deals]
    assert (seen[0], seen[2]) == ("204", "204")
    assert seen[1] != "204" or fault["do"] == "slow"
    closed = [stranger.state("opportunities", deal)[0] == 2 for deal in deals]
    assert closed == [True, commits(fault), True]
    assert stranger.control("GET", "faults")["acted"] == [1]
    told = [one for one in stranger.control("GET", "journal") if one["title"] == "LoseOpportunity"]
    assert [one["fault"].partition(" ")[0] for one in told] == ["", fault["do"], ""]
    assert {row["closes"] for row in stranger.control("GET", "closes")} == {1}


@pytest.mark.parametrize("fault", KINDS, ids=named)
def test_each_kind_acts_on_the_record_it_names(stranger: Stranger, fault: Json) -> None:
    deals = [stranger.deal() for _ in range(3)]
    stranger.plan({**fault, "record": deals[1], "message": "LoseOpportunity", "times": 1})
    seen = [lose(stranger, deal) for deal in deals]
    assert (seen[0], seen[2]) == ("204", "204")
    assert [stranger.state("opportunities", deal)[0] == 2 for deal in deals] == [True, commits(fault), True]


@pytest.mark.parametrize("fault", KINDS, ids=named)
def test_each_kind_acts_by_chance_and_the_same_way_for_the_same_seed(organized: Organized, fault: Json) -> None:
    def story(seed: int) -> tuple[list[bool], str]:
        client = organized(EmulatorOptions(seeded=0))
        deals = [client.deal() for _ in range(12)]
        client.plan({**fault, "message": "LoseOpportunity", "probability": 0.5}, seed=seed)
        for deal in deals:
            lose(client, deal)
        journal = client.control("GET", "journal?limit=1000")
        told = [one for one in journal if one["title"] == "LoseOpportunity"]
        hit = [bool(one["fault"]) for one in told]
        return hit, json.dumps(journal)

    first = story(1)
    assert story(1) == first
    assert any(first[0])
    assert not all(first[0])
    assert any(story(seed)[0] != first[0] for seed in (2, 3))


@pytest.mark.parametrize("fault", KINDS, ids=named)
def test_each_kind_reaches_a_batch_too(stranger: Stranger, fault: Json) -> None:
    deal = stranger.deal()
    stranger.plan({**fault, "message": "LoseOpportunity", "times": 1})
    close = {"OpportunityClose": {"opportunityid@odata.bind": f"/opportunities({deal})"}, "Status": 5}
    body = (
        "--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        f"POST LoseOpportunity HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{json.dumps(close)}\r\n--b--\r\n"
    )
    try:
        stranger.send("POST", "$batch", body.encode(), Content_Type="multipart/mixed; boundary=b")
    except requests.ConnectionError:
        assert fault["do"] in ("reset", "truncate")
    except requests.exceptions.ChunkedEncodingError:
        assert fault["do"] == "truncate"
    assert (stranger.state("opportunities", deal)[0] == 2) is commits(fault)


@pytest.mark.parametrize(
    ("facet", "code"), [("count", "0x80072322"), ("time", "0x80072321"), ("concurrency", "0x80072326")]
)
def test_a_planned_throttle_looks_like_a_real_one(anywhere: Stranger, facet: str, code: str) -> None:
    anywhere.plan({"do": "throttle", "facet": facet, "seconds": 41.2, "times": 1})
    answer = anywhere.send("GET", "WhoAmI")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "42")
    assert answer.json()["error"]["code"] == code
    assert anywhere.send("GET", "WhoAmI").status_code == 200


def test_a_plug_in_that_takes_two_minutes_is_cut_off_and_undone(stranger: Stranger) -> None:
    deal = stranger.deal()
    stranger.plan({"do": "plugin_timeout", "message": "LoseOpportunity", "nth": 1})
    begin = stranger.control("GET", "clock")["now"]
    status, code, _ = error_of(stranger.close("LoseOpportunity", deal, 5))
    assert (status, code) == (400, "0x80044172")
    end = stranger.control("GET", "clock")["now"]
    assert (begin[11:16], end[11:16]) == ("00:00", "00:02")
    assert stranger.state("opportunities", deal) == (0, 1)


@pytest.mark.parametrize("kind", ["deadlock", "lock_timeout", "sql_timeout", "missing_privilege", "plugin_abort"])
@pytest.mark.parametrize("message", ["Retrieve", "RetrieveMultiple"])
def test_trouble_inside_an_operation_befalls_reads_too(stranger: Stranger, kind: str, message: str) -> None:
    deal = stranger.deal()
    path = f"opportunities({deal})?$select=name" if message == "Retrieve" else "opportunities?$select=name"
    stranger.plan({"do": kind, "message": message, "nth": 2})
    assert [stranger.send("GET", path).status_code >= 400 for _ in range(3)] == [False, True, False]
    if kind == "missing_privilege":
        stranger.plan({"do": kind, "message": message, "times": 1})
        assert " is missing prvReadOpportunity privilege (Id=" in stranger.refused("GET", path)[2]


def test_a_planned_missing_privilege_has_the_long_words(stranger: Stranger) -> None:
    stranger.plan({"do": "missing_privilege", "message": "LoseOpportunity", "nth": 1})
    status, code, words = error_of(stranger.close("LoseOpportunity", stranger.deal(), 5))
    assert (status, code) == (403, "0x80040220")
    assert words.startswith("Principal user (Id=")
    assert " is missing prvWriteOpportunity privilege (Id=" in words


def test_a_planned_challenge_asks_for_claims(anywhere: Stranger) -> None:
    anywhere.plan({"do": "challenge", "times": 1})
    answer = anywhere.send("GET", "WhoAmI")
    assert (answer.status_code, answer.content) == (401, b"")
    assert 'error="insufficient_claims", claims="' in answer.headers["WWW-Authenticate"]
    assert anywhere.send("GET", "WhoAmI").status_code == 200


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_reset_is_a_reset_on_both_faces(anywhere: Stranger, when: str) -> None:
    deal = anywhere.deal()
    anywhere.plan({"do": "reset", "when": when, "message": "LoseOpportunity", "nth": 1})
    with pytest.raises(requests.ConnectionError):
        anywhere.close("LoseOpportunity", deal, 5)
    assert (anywhere.state("opportunities", deal)[0] == 2) is (when == "after")


def test_a_fault_of_one_caller_leaves_others_alone(stranger: Stranger) -> None:
    stranger.plan({"do": "status", "status": 502, "user": "99999999-0000-4000-8000-000000000000"})
    assert stranger.send("GET", "WhoAmI").status_code == 200
    stranger.plan({"do": "status", "status": 502, "user": stranger.client_id.upper()})
    assert stranger.send("GET", "WhoAmI").status_code == 502


def test_the_first_fault_that_fits_acts(stranger: Stranger) -> None:
    stranger.plan(
        {"do": "status", "status": 502, "message": "CloseQuote"},
        {"do": "status", "status": 503, "message": "WhoAmI", "nth": 2},
        {"do": "status", "status": 504, "message": "*", "times": 2},
    )
    assert [stranger.send("GET", "WhoAmI").status_code for _ in range(4)] == [504, 503, 504, 200]


TOKEN: list[tuple[Json, int, str | None]] = [
    ({"do": "throttle", "seconds": 3}, 429, "temporarily_unavailable"),
    ({"do": "status", "status": 500}, 500, "temporarily_unavailable"),
    ({"do": "status", "status": 503, "form": "html"}, 503, None),
    ({"do": "status", "status": 503, "form": "empty"}, 503, None),
    ({"do": "status", "status": 500, "when": "after"}, 500, None),
]


@pytest.mark.parametrize(("fault", "status", "error"), TOKEN, ids=str)
def test_the_token_endpoint_has_its_trouble_once(
    anywhere: Stranger, fault: Json, status: int, error: str | None
) -> None:
    anywhere.plan({**fault, "message": "token", "times": 1})
    answer = anywhere.token()
    assert answer.status_code == status
    if error:
        assert answer.json()["error"] == error
    assert ("Retry-After" in answer.headers) is (status == 429)
    assert anywhere.token().status_code == 200


@pytest.mark.parametrize("fault", [{"do": "reset"}, {"do": "truncate"}, {"do": "reset", "when": "after"}], ids=named)
def test_the_token_endpoint_breaks_off(anywhere: Stranger, fault: Json) -> None:
    anywhere.plan({**fault, "message": "token", "times": 1})
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        anywhere.token()
    assert anywhere.token().status_code == 200


def test_who_gives_up_finds_a_slow_commit_done_later(stranger: Stranger) -> None:
    deal = stranger.deal()
    stranger.plan({"do": "slow", "seconds": 200, "message": "LoseOpportunity", "nth": 1})
    body: dict[str, Any] = {"OpportunityClose": {"opportunityid@odata.bind": f"/opportunities({deal})"}, "Status": 5}
    with pytest.raises(requests.ReadTimeout):
        stranger.session.post(f"{stranger.api}LoseOpportunity", json=body, headers=stranger.headers, timeout=100)
    assert stranger.state("opportunities", deal) == (0, 1)
    stranger.pass_time(100)
    assert stranger.state("opportunities", deal) == (2, 5)
    assert stranger.control("GET", "closes")[0]["closes"] == 1


def test_a_plan_is_read_back_as_it_was_given_and_taken_away(stranger: Stranger) -> None:
    stranger.plan({"do": "status", "status": 502, "message": "WhoAmI", "times": 2}, seed=9)
    read = stranger.control("GET", "faults")
    assert (read["seed"], read["faults"][0]["status"], read["faults"][0]["times"]) == (9, 502, 2)
    stranger.control("DELETE", "faults")
    assert stranger.send("GET", "WhoAmI").status_code == 200


def test_a_reset_begins_the_plan_anew(stranger: Stranger) -> None:
    stranger.plan({"do": "status", "status": 502, "message": "WhoAmI", "nth": 1})
    assert [stranger.send("GET", "WhoAmI").status_code for _ in range(2)] == [502, 200]
    stranger.control("POST", "reset")
    assert [stranger.send("GET", "WhoAmI").status_code for _ in range(2)] == [502, 200]
