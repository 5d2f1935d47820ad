"""Who calls without a bearer token of Entra: by key, by the platform's header, or in development."""

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
from tests.service.entra import ADMISSION, CONNECTOR, OTHER_TENANT, TENANT, USER


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


def principal(**changed: str) -> str:
    claims = {
        "http://schemas.microsoft.com/identity/claims/tenantid": TENANT,
        "http://schemas.microsoft.com/identity/claims/objectidentifier": USER,
        "http://schemas.microsoft.com/identity/claims/scope": "user_impersonation",
        "azp": CONNECTOR,
    } | changed
    listed = [{"typ": name, "val": value} for name, value in claims.items()]
    return base64.b64encode(json.dumps({"auth_typ": "aad", "claims": listed}).encode()).decode()


CHECKED_PLATFORM = replace(ADMISSION, sign_in=CallerSignIn.EASY_AUTH)
PLATFORM = replace(CHECKED_PLATFORM, audiences=frozenset())


def test_whom_the_platform_has_signed_in_is_believed_where_that_is_set() -> None:
    headers = {"x-ms-client-principal": principal(), "x-ms-token-aad-access-token": "t"}
    caller = Authenticator(PLATFORM, no_token).identify(headers, "192.0.2.7")
    assert (caller.kind, caller.tenant_id, caller.object_id, caller.assertion) == (CallerKind.USER, TENANT, USER, "t")


@pytest.mark.parametrize("name", ["authorization", "x-ms-token-aad-access-token"])
def test_a_token_that_the_platform_passes_on_is_checked_whatever_its_header_says(name: str) -> None:
    presented: list[str] = []

    def by_token(token: str) -> Caller:
        presented.append(token)
        return Caller(CallerKind.USER, TENANT, USER, CONNECTOR)

    headers = {"x-ms-client-principal": principal(), name: "Bearer t" if name == "authorization" else "t"}
    assert Authenticator(CHECKED_PLATFORM, by_token).identify(headers, "192.0.2.7").object_id == USER
    assert presented == ["t"]
    assert refused(CHECKED_PLATFORM, {"x-ms-client-principal": principal()}) == "not_signed_in"


def test_the_platforms_header_means_nothing_where_it_is_not_set() -> None:
    assert refused(ADMISSION, {"x-ms-client-principal": principal()}) == "not_signed_in"


@pytest.mark.parametrize("value", ["", "!", "e30=", base64.b64encode(b'{"claims": 1}').decode()])
def test_a_broken_header_of_the_platform_signs_nobody_in(value: str) -> None:
    assert refused(PLATFORM, {"x-ms-client-principal": value}) == "not_signed_in"


def test_the_platforms_callers_follow_the_same_rules() -> None:
    tenant = "http://schemas.microsoft.com/identity/claims/tenantid"
    scope = "http://schemas.microsoft.com/identity/claims/scope"
    for changed, code in (
        ({tenant: OTHER_TENANT}, "tenant_not_admitted"),
        ({"azp": USER}, "application_not_admitted"),
        ({scope: "other"}, "scope_missing"),
    ):
        assert refused(PLATFORM, {"x-ms-client-principal": principal(**changed)}) == code


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
