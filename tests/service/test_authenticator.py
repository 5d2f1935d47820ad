"""Who calls without a bearer token of Entra: by key, by what the platform passes on, or in development."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace

import pytest

from connector.service.auth.authenticator import Authenticator
from connector.service.auth.caller import Caller, CallerKind
from connector.service.problems import RequestRefused
from connector.service.service_options import Access, Admission, CallerSignIn
from tests.service.entra import ADMISSION, CONNECTOR, TENANT, USER


def no_token(_token: str) -> Caller:
    raise AssertionError("no token was to be looked at")


def refused(admission: Admission, headers: dict[str, str], peer: str = "192.0.2.7") -> str:
    with pytest.raises(RequestRefused) as caught:
        Authenticator(admission, no_token).identify(headers, peer)
    return caught.value.failure.code


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


KEYS = replace(
    ADMISSION, access=Access.BY_CALLER, api_keys={digest("old"): f"{TENANT}/spring", digest("new"): f"{TENANT}/autumn"}
)


@pytest.mark.parametrize(("key", "name"), [("old", "spring"), ("new", "autumn")])
def test_two_keys_live_at_once(key: str, name: str) -> None:
    caller = Authenticator(KEYS, no_token).identify({"x-api-key": key}, "192.0.2.7")
    assert (caller.kind, caller.tenant_id, caller.object_id) == (CallerKind.KEY, TENANT, name)


def test_an_unknown_key_is_refused_and_the_digest_is_no_key() -> None:
    assert refused(KEYS, {"x-api-key": "other"}) == "api_key_unknown"
    assert refused(KEYS, {"x-api-key": digest("old")}) == "api_key_unknown"


def test_keys_are_off_unless_they_are_set() -> None:
    assert refused(ADMISSION, {"x-api-key": "old"}) == "not_signed_in"


@pytest.mark.parametrize("value", ["", "Basic abc", "Bearer", "Bearer "])
def test_without_a_bearer_token_nobody_is_signed_in(value: str) -> None:
    assert refused(ADMISSION, {"authorization": value}) == "not_signed_in"


@pytest.mark.parametrize("name", ["authorization", "x-ms-token-aad-access-token"])
def test_a_token_that_the_platform_passes_on_is_checked_and_its_word_alone_is_nothing(name: str) -> None:
    presented: list[str] = []

    def by_token(token: str) -> Caller:
        presented.append(token)
        return Caller(CallerKind.USER, TENANT, USER, CONNECTOR)

    platform = replace(ADMISSION, sign_in=CallerSignIn.EASY_AUTH)
    claims = [{"typ": "tid", "val": TENANT}, {"typ": "oid", "val": USER}, {"typ": "azp", "val": CONNECTOR}]
    word = {"x-ms-client-principal": base64.b64encode(json.dumps({"claims": claims}).encode()).decode()}
    headers = {name: "Bearer t" if name == "authorization" else "t"}
    assert Authenticator(platform, by_token).identify(word | headers, "192.0.2.7").object_id == USER
    assert presented == ["t"]
    if name != "authorization":  # a page of another site makes the browser send the platform's cookie
        foreign = {**headers, "origin": "https://evil.com", "sec-fetch-site": "cross-site"}
        assert refused(platform, foreign) == "not_signed_in"
    assert refused(platform, word) == refused(ADMISSION, word) == "not_signed_in"
    assert refused(ADMISSION, {"x-ms-token-aad-access-token": "t"}) == "not_signed_in"


DEVELOPMENT = Admission(sign_in=CallerSignIn.DEVELOPMENT)


@pytest.mark.parametrize(
    ("host", "peer"), [("localhost:8080", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("[::1]:80", "::1")]
)
def test_development_answers_this_machine(host: str, peer: str) -> None:
    assert Authenticator(DEVELOPMENT, no_token).identify({"host": host}, peer).kind is CallerKind.DEVELOPER


@pytest.mark.parametrize(
    ("headers", "peer"),
    [
        ({"host": "localhost:8080"}, "192.0.2.7"),
        ({"host": "evil.example:8080"}, "127.0.0.1"),
        ({"host": "127.0.0.1.evil.example"}, "127.0.0.1"),
        ({}, "127.0.0.1"),
        ({"host": "localhost:8080", "sec-fetch-site": "cross-site"}, "127.0.0.1"),
    ],
)
def test_development_answers_nobody_else(headers: dict[str, str], peer: str) -> None:
    assert refused(DEVELOPMENT, headers, peer) == "development_only"
