"""The journal as a HAR archive: the shape the format demands, what was asked and answered, and nobody's secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from connector.clock import VirtualClock
from connector.emulator.embedded import EmbeddedEmulator, open_embedded
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import MEMORY, EmulatorOptions
from connector.handler import Request

PAIR = {"name": str, "value": str}
SHAPE: Mapping[str, Any] = {
    # The fields the format demands (http://www.softwareishard.com/blog/har-12-spec/); `?` marks what may be absent.
    "log": {
        "version": str,
        "creator": {"name": str, "version": str},
        "pages?": [],
        "entries": [
            {
                "startedDateTime": str,
                "time": float,
                "request": {
                    "method": str,
                    "url": str,
                    "httpVersion": str,
                    "cookies": [],
                    "headers": [PAIR],
                    "queryString": [PAIR],
                    "postData?": {"mimeType": str, "text?": str, "params?": [PAIR], "comment?": str},
                    "headersSize": int,
                    "bodySize": int,
                },
                "response": {
                    "status": int,
                    "statusText": str,
                    "httpVersion": str,
                    "cookies": [],
                    "headers": [PAIR],
                    "content": {"size": int, "mimeType": str, "text?": str, "comment?": str},
                    "redirectURL": str,
                    "headersSize": int,
                    "bodySize": int,
                },
                "cache": {},
                "timings": {"send": float, "wait": float, "receive": float},
                "comment?": str,
            }
        ],
    }
}


def faults_of(found: object, shape: Any, where: str = "") -> Iterator[str]:
    """Say where `found` has not the shape; names that begin with an underscore are free."""
    if isinstance(shape, dict):
        yield from faults_of_object(found, shape, where)
    elif isinstance(shape, list):
        if not isinstance(found, list) or (found and not shape):
            yield f"{where} is {found!r}"
        else:
            for number, one in enumerate(found):
                yield from faults_of(one, shape[0], f"{where}[{number}]")
    elif not isinstance(found, (int, float) if shape is float else shape):
        yield f"{where} is {found!r}"


def faults_of_object(found: object, shape: Mapping[str, Any], where: str) -> Iterator[str]:
    if not isinstance(found, dict):
        yield f"{where} is no object"
        return
    known = {name.rstrip("?"): (inner, name.endswith("?")) for name, inner in shape.items()}
    yield from (f"{where}.{name} is unknown" for name in found if name not in known and not name.startswith("_"))
    for name, (inner, optional) in known.items():
        if name in found:
            yield from faults_of(found[name], inner, f"{where}.{name}")
        elif not optional:
            yield f"{where}.{name} is missing"


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys()


@pytest.fixture
def embedded(keys: Keys) -> Iterator[EmbeddedEmulator]:
    one = open_embedded(MEMORY, VirtualClock(), EmulatorOptions(seeded=5), keys)
    yield one
    one.close()


def signed_in(embedded: EmbeddedEmulator) -> str:
    form = (
        f"grant_type=client_credentials&client_id={embedded.client_id}&client_secret={embedded.client_secret}"
        f"&scope={embedded.url}/.default"
    )
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = embedded.handler(Request("POST", f"{embedded.authority}/oauth2/v2.0/token", headers, form.encode()))
    return str(json.loads(answer.body)["access_token"])


def asked(embedded: EmbeddedEmulator, token: str, method: str, what: str, data: object = None) -> int:
    headers = {"authorization": f"Bearer {token}", "cookie": "ARRAffinity=0123", "accept": "application/json"}
    body = b"" if data is None else json.dumps(data).encode()
    if body:
        headers["content-type"] = "application/json"
    return embedded.handler(Request(method, f"{embedded.url}/api/data/v9.2/{what}", headers, body)).status


def archived(embedded: EmbeddedEmulator, query: str = "") -> dict[str, Any]:
    answer = embedded.handler(Request("GET", f"{embedded.url}/_emulator/har{query}", {}))
    assert answer.status == 200
    return dict(json.loads(answer.body))


def test_it_has_the_shape_the_format_demands_whatever_was_asked(embedded: EmbeddedEmulator) -> None:
    token = signed_in(embedded)
    asked(embedded, token, "GET", "opportunities?$select=name&$filter=name eq 'a%26b'&$top=2")
    asked(embedded, token, "POST", "opportunities", {"name": "New", "description": "x" * 2000})
    asked(embedded, token, "PATCH", "opportunities(00000003-0000-4000-8000-000000000001)", {"name": "é"})
    asked(embedded, token, "GET", "nothings")
    asked(embedded, "no token", "GET", "WhoAmI")
    embedded.emulator.control.set_faults([{"do": "status", "status": 502, "form": "html"}])
    asked(embedded, token, "GET", "WhoAmI")
    embedded.handler(Request("GET", f"{embedded.url}/", {}))
    archive = archived(embedded)
    assert list(faults_of(archive, SHAPE)) == []
    assert archive["log"]["version"] == "1.2"
    entries = archive["log"]["entries"]
    assert [one["_number"] for one in entries] == list(range(1, len(entries) + 1))
    for one in entries:
        assert datetime.fromisoformat(one["startedDateTime"]).tzinfo is not None
        assert one["time"] == sum(one["timings"].values())
        assert urlsplit(one["request"]["url"]).scheme == "https"
        wanted = parse_qsl(urlsplit(one["request"]["url"]).query, keep_blank_values=True)
        assert [(pair["name"], pair["value"]) for pair in one["request"]["queryString"]] == wanted
    assert [one["response"]["status"] for one in entries] == [200, 200, 204, 204, 404, 401, 502, 302]


def test_an_entry_tells_what_was_asked_answered_and_decided(embedded: EmbeddedEmulator) -> None:
    token = signed_in(embedded)
    embedded.emulator.control.set_faults([{"do": "slow", "seconds": 1.25, "message": "Create"}])
    asked(embedded, token, "POST", "opportunities", {"description": "y" * 2000})
    asked(embedded, token, "GET", "opportunities(00000003-0000-4000-8000-0000000000ff)")
    entries = archived(embedded, "?after=1")["log"]["entries"]
    made, missed = entries
    assert (made["time"], made["timings"]["wait"], made["_fault"]) == (1250.0, 1250.0, "slow before")
    assert made["request"]["bodySize"] == len('{"description": ""}') + 2000
    assert made["request"]["postData"]["comment"] == "The first 2000 of 2019 bytes."
    assert len(made["request"]["postData"]["text"]) == 2000
    assert made["_operations"][0]["message"] == "Create"
    named = {pair["name"] for pair in made["response"]["headers"]}
    assert {"OData-EntityId", "x-ms-ratelimit-time-remaining-xrm-requests"} <= named
    assert json.loads(missed["response"]["content"]["text"])["error"]["code"] == "0x80040217"
    assert missed["response"]["statusText"] == "Not Found"
    assert missed["_rule"]


def test_no_secret_token_or_cookie_is_in_it_or_in_the_journal(embedded: EmbeddedEmulator) -> None:
    token = signed_in(embedded)
    asked(embedded, token, "GET", "WhoAmI")
    inner = f"GET /api/data/v9.2/WhoAmI HTTP/1.1\r\nAuthorization: Bearer {token}\r\nCookie: a=hush-hush\r\n\r\n\r\n"
    part = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    batch = f"--b\r\n{part}{inner}--b--\r\n".encode()
    headers = {"authorization": f"Bearer {token}", "content-type": "multipart/mixed; boundary=b"}
    embedded.handler(Request("POST", f"{embedded.url}/api/data/v9.2/$batch", headers, batch))
    for where in ("?", "?x=1&", "#"):
        url = f"{embedded.authority}/oauth2/v2.0/authorize{where}code=hush-hush&access_token=hush-hush&state=1"
        embedded.handler(Request("GET", url, {}))
    text = json.dumps(archived(embedded)) + embedded.emulator.journal.text()
    text += json.dumps(embedded.emulator.control.journal())
    for secret in (embedded.client_secret, *token.split("."), "hush-hush", "ARRAffinity"):
        assert secret not in text, secret
    assert re.search(r'"name": "client_secret", "value": "\*\*\*"', text)
    assert "Authorization: ***" in text


def test_a_sign_in_code_on_its_way_back_to_a_client_is_hidden(embedded: EmbeddedEmulator) -> None:
    query = (
        f"client_id={embedded.client_id}&response_type=code&redirect_uri=http://localhost:1"
        f"&scope={embedded.url}/user_impersonation&code_challenge=abc&code_challenge_method=S256&login_hint=seller@emulator.invalid"
    )
    answer = embedded.handler(Request("GET", f"{embedded.authority}/oauth2/v2.0/authorize?{query}", {}))
    location = dict(answer.headers).get("Location", "")
    if answer.status != 302:
        pytest.fail(f"The sign-in page did not send the client back: {answer.status} {answer.body[:300]!r}")
    code = dict(parse_qsl(urlsplit(location).query))["code"]
    entry = archived(embedded)["log"]["entries"][-1]
    assert code not in json.dumps(entry)
    assert "code=***" in entry["response"]["redirectURL"]
