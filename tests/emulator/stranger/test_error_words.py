"""Every documented error sample, brought about by a client and compared word for word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.emulator.stranger.conftest import Organized
from tests.emulator.stranger.wire import Stranger, error_of

FILE = Path(__file__).resolve().parents[2] / "fixtures" / "dataverse" / "errors.jsonl"
SAMPLES: dict[str, dict[str, Any]] = {
    row["id"]: row for row in map(json.loads, FILE.read_text(encoding="utf-8").splitlines())
}
ONE = "00000000-0000-0000-0000-000000000001"
USER = "018d0d88-05c2-46bb-ac83-63a910e8b1f1"
STALE = {"If_Match": 'W/"1"'}
ASKED: dict[str, tuple[str, str, object, dict[str, str]]] = {
    "unknown-segment": ("GET", "Account", None, {}),
    "unknown-select-property": ("GET", "accounts?$select=Name", None, {}),
    "wrong-verb-on-function": ("POST", "WhoAmI", None, {}),
    "unknown-body-property": ("POST", "accounts", {"Name": "Account name"}, {}),
    "unknown-bind": ("POST", "contacts", {"parentcustomerid@odata.bind": f"accounts({ONE})"}, {}),
    "record-not-found": ("GET", f"systemusers({USER})", None, {}),
    "etag-mismatch": ("PATCH", f"accounts({ONE})", {"name": "x"}, STALE),
    "upsert-prevented": ("PATCH", f"accounts({ONE})", {"name": "x"}, {"If_None_Match": "*"}),
    "if-match-star-missing": ("PATCH", f"accounts({ONE})", {"name": "x"}, {"If_Match": "*"}),
}
BY_FAULT = {"throttle-count": "count", "throttle-time": "time", "throttle-concurrency": "concurrency"}
OTHERWISE = {"plugin-error-annotated", "unauthenticated"}


def test_every_sample_is_brought_about() -> None:
    assert {*ASKED, *BY_FAULT, *OTHERWISE} == set(SAMPLES)


@pytest.mark.parametrize("name", list(ASKED))
def test_a_refusal_has_the_documented_words(stranger: Stranger, name: str) -> None:
    if name != "if-match-star-missing":
        assert stranger.send("PATCH", f"accounts({ONE})", {"name": "there"}).status_code == 204
    method, path, body, headers = ASKED[name]
    documented = json.loads(json.dumps(SAMPLES[name]["body"]).replace("[Organization URI]", stranger.url))["error"]
    status, code, words = stranger.refused(method, path, body, **headers)
    assert status == SAMPLES[name]["status"]
    # Pages of 2020 leave the code empty and write the table's logical name, those of 2023 its schema name.
    assert documented["code"] in (code, "")
    assert words.replace("Account With Id", "account With Id") == documented["message"]


@pytest.mark.parametrize("name", list(BY_FAULT))
def test_a_throttle_has_the_documented_words(stranger: Stranger, name: str) -> None:
    stranger.plan({"do": "throttle", "facet": BY_FAULT[name], "times": 1})
    answer = stranger.send("GET", "WhoAmI")
    assert (answer.status_code, answer.json()) == (SAMPLES[name]["status"], SAMPLES[name]["body"])


def test_a_plug_in_that_throws_has_the_documented_code_and_annotations(stranger: Stranger) -> None:
    sample = SAMPLES["plugin-error-annotated"]
    documented = sample["body"]["error"]
    stranger.plan({"do": "plugin_abort", "message": "Create", "text": documented["message"], "times": 1})
    answer = stranger.send("POST", "accounts", {"name": "x"}, Prefer='odata.include-annotations="*"')
    assert error_of(answer) == (sample["status"], documented["code"], documented["message"])
    assert {name for name in documented if name.startswith("@")} <= set(answer.json()["error"])


def test_who_shows_no_token_is_told_where_to_get_one(organized: Organized) -> None:
    client = organized(EmulatorOptions(seeded=0))
    del client.headers["Authorization"]
    answer = client.send("GET", "")
    assert (answer.status_code, answer.content) == (SAMPLES["unauthenticated"]["status"], b"")
    assert answer.headers["WWW-Authenticate"] == (
        f"Bearer authorization_uri={client.authority}/oauth2/authorize, resource_id={client.url}/"
    )
