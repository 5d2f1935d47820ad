"""Access tokens: both versions pass, and for every claim there is one that does not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.clock import VirtualClock
from connector.handler import Request, Response
from connector.service.auth.caller import Caller, CallerKind
from connector.service.auth.token_validator import PAUSE, KeyNotCached, SigningKeys, TokenValidator
from connector.service.problems import Problem, RequestRefused
from connector.service.service_options import Access, Admission
from tests.service.entra import ADMISSION, API, API_URI, CONNECTOR, OTHER_TENANT, TENANT, USER, Entra, unsigned


@pytest.fixture
def entra() -> Entra:
    return Entra(VirtualClock())


class Checked:
    """A validator with its keys: what is not cached is fetched, once, as the endpoint does."""

    def __init__(self, entra: Entra, admission: Admission) -> None:
        self.keys = SigningKeys(entra.http, admission.authority, entra.clock)
        self.validator = TokenValidator(admission, self.keys, entra.clock)

    def caller(self, token: str) -> Caller:
        try:
            return self.validator.caller(token)
        except KeyNotCached as missing:
            self.keys.fetch(missing.tenant_id)
        return self.validator.caller(token)


def tokens(entra: Entra, admission: Admission = ADMISSION) -> Checked:
    return Checked(entra, admission)


def refused(entra: Entra, token: str, admission: Admission = ADMISSION) -> Problem:
    with pytest.raises(RequestRefused) as caught:
        tokens(entra, admission).caller(token)
    return caught.value.failure


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_users_token_of_both_versions_is_accepted(entra: Entra, version: str) -> None:
    token = entra.token(version)
    expected = Caller(CallerKind.USER, TENANT, USER, CONNECTOR, assertion=token)
    assert tokens(entra).caller(token) == expected


WRONG_CLAIMS: list[tuple[str, dict[str, Any], int, str]] = [
    ("2.0", {"iss": "https://sts.windows.net/" + TENANT + "/"}, 401, "token_issuer"),
    ("2.0", {"iss": f"https://login.microsoftonline.com/{OTHER_TENANT}/v2.0"}, 401, "token_issuer"),
    ("1.0", {"iss": f"https://login.microsoftonline.com/{TENANT}/v2.0"}, 401, "token_issuer"),
    ("2.0", {"iss": f"https://login.microsoftonline.com.evil.example/{TENANT}/v2.0"}, 401, "token_issuer"),
    ("2.0", {"iss": None}, 401, "token_issuer"),
    ("2.0", {"ver": None}, 401, "token_issuer"),
    ("2.0", {"ver": "3.0"}, 401, "token_issuer"),
    ("2.0", {"aud": "00000003-0000-0000-c000-000000000000"}, 401, "token_audience"),
    ("2.0", {"aud": API_URI + "/more"}, 401, "token_audience"),
    ("2.0", {"aud": [API]}, 401, "token_audience"),
    ("2.0", {"aud": None}, 401, "token_audience"),
    ("2.0", {"exp": 1}, 401, "token_expired"),
    ("2.0", {"exp": None}, 401, "token_times"),
    ("2.0", {"exp": "tomorrow"}, 401, "token_times"),
    ("2.0", {"nbf": 2**40}, 401, "token_not_yet_valid"),
    ("2.0", {"nbf": None}, 401, "token_times"),
    ("2.0", {"iat": 2**40}, 401, "token_not_yet_valid"),
    ("2.0", {"iat": None}, 401, "token_times"),
    ("2.0", {"exp": 10**400}, 401, "token_times"),
    ("2.0", {"exp": float("inf")}, 401, "token_times"),
    ("2.0", {"iat": float("nan")}, 401, "token_times"),
    ("2.0", {"tid": OTHER_TENANT}, 403, "tenant_not_admitted"),
    ("2.0", {"tid": None}, 403, "tenant_not_admitted"),
    ("2.0", {"tid": f"{TENANT}/../{OTHER_TENANT}"}, 403, "tenant_not_admitted"),
    ("2.0", {"oid": None}, 401, "token_subject"),
    ("2.0", {"oid": "\ud83d"}, 401, "token_subject"),
    ("2.0", {"azp": None}, 401, "token_subject"),
    ("2.0", {"azp": API}, 403, "application_not_admitted"),
    ("1.0", {"appid": API}, 403, "application_not_admitted"),
    ("2.0", {"scp": "User.Read"}, 403, "scope_missing"),
    ("2.0", {"scp": "user_impersonation_not"}, 403, "scope_missing"),
    ("2.0", {"scp": None}, 403, "role_missing"),
    ("2.0", {"scp": None, "roles": ["Other"]}, 403, "role_missing"),
    ("2.0", {"scp": None, "roles": "Opportunities.Close"}, 403, "role_missing"),
    ("2.0", {"scp": None, "roles": ["Opportunities.Close"], "idtyp": "user"}, 403, "role_missing"),
    ("2.0", {"scp": None, "roles": ["Opportunities.Close"]}, 403, "users_only"),
]


@pytest.mark.parametrize(("version", "claims", "status", "code"), WRONG_CLAIMS)
def test_a_token_with_a_wrong_claim_is_turned_away(
    entra: Entra, version: str, claims: dict[str, Any], status: int, code: str
) -> None:
    failure = refused(entra, entra.token(version, **claims))
    assert (failure.status, failure.code) == (status, code)
    assert ("WWW-Authenticate" in failure.headers) == (status == 401)


@pytest.mark.parametrize("access", [Access.BY_CALLER, Access.APPLICATION])
def test_an_application_with_the_role_is_accepted_where_that_is_set(entra: Entra, access: Access) -> None:
    token = entra.token(scp=None, roles=["Opportunities.Close"], idtyp="app")
    caller = tokens(entra, replace(ADMISSION, access=access)).caller(token)
    assert caller.kind is CallerKind.APPLICATION


def test_a_role_in_a_users_token_makes_an_operator_and_no_name_does(entra: Entra) -> None:
    assert tokens(entra).caller(entra.token(roles=["Operations.Manage"])).operator
    assert (
        not tokens(entra).caller(entra.token(upn="Operations.Manage", preferred_username="admin@contoso.com")).operator
    )


def test_a_signature_by_another_key_is_refused(entra: Entra) -> None:
    assert refused(entra, entra.token(signer="k2")).code == "token_signature"


def test_a_token_without_a_signature_is_refused(entra: Entra) -> None:
    assert refused(entra, unsigned(entra.claims())).code == "token_algorithm"


def test_a_public_key_is_no_shared_secret(entra: Entra) -> None:
    token = jwt.encode(entra.claims(), "x" * 64, algorithm="HS256", headers={"kid": "k1"})
    assert refused(entra, token).code == "token_algorithm"


@given(st.text(max_size=200))
def test_text_is_no_token(text: str) -> None:
    assert refused(Entra(VirtualClock()), text).status in {401, 403}


def test_nothing_is_asked_for_a_tenant_that_is_not_admitted(entra: Entra) -> None:
    refused(entra, entra.token(tid=OTHER_TENANT))
    assert entra.asked == []


def test_keys_are_asked_of_the_configured_host_and_the_admitted_tenant_only(entra: Entra) -> None:
    checked = tokens(entra)
    checked.caller(entra.token())
    checked.caller(entra.token())
    assert entra.asked == [f"https://login.microsoftonline.com/{TENANT}/discovery/v2.0/keys"]


def test_a_new_key_is_fetched_when_it_is_first_seen_but_made_up_ones_do_not_cause_a_flood(entra: Entra) -> None:
    clock = entra.clock
    assert isinstance(clock, VirtualClock)
    checked = tokens(entra)
    checked.caller(entra.token())
    for _ in range(50):
        with pytest.raises(RequestRefused):
            checked.caller(entra.token(kid="made-up"))
    assert len(entra.asked) == 1
    clock.advance(PAUSE)
    entra.published.append("k2")
    assert checked.caller(entra.token(kid="k2")).object_id == USER
    assert len(entra.asked) == 2


def test_known_keys_work_on_while_the_sign_in_service_does_not(entra: Entra) -> None:
    clock = entra.clock
    assert isinstance(clock, VirtualClock)
    checked = tokens(entra)
    checked.caller(entra.token())
    entra.status = 500
    clock.advance(90_000)
    assert checked.caller(entra.token()).object_id == USER


def test_without_any_key_the_caller_is_told_to_come_back(entra: Entra) -> None:
    entra.status = 500
    failure = refused(entra, entra.token())
    assert (failure.status, failure.headers["Retry-After"]) == (503, "10")


@pytest.mark.parametrize("document", [b"", b"<html>", b"[]", b"null", b'{"keys":{}}', b"[" * 100_000, b'{"keys":[]}'])
def test_a_document_that_holds_no_keys_takes_none_away(entra: Entra, document: bytes) -> None:
    documents = [Response(200, (), document)]
    keys = SigningKeys(lambda request: documents.pop() if documents else entra.http(request), "https://x", entra.clock)
    keys.fetch(TENANT)
    assert isinstance(entra.clock, VirtualClock)
    entra.clock.advance(PAUSE)
    keys.fetch(TENANT)
    assert keys.find(TENANT, "k1") is not None


@pytest.mark.parametrize("bad", [{}, {"n": 5, "e": "AQAB"}, {"n": "AQ", "e": "AQ"}, {"n": "!", "e": {}}])
def test_a_key_that_cannot_be_read_takes_no_other_with_it(entra: Entra, bad: dict[str, Any]) -> None:
    listed = json.loads(entra.http(Request("GET", "")).body)["keys"]
    document = json.dumps({"keys": [{"kty": "RSA", "kid": "bad", **bad}, *listed]}).encode()
    keys = SigningKeys(lambda _: Response(200, (), document), "https://x", entra.clock)
    keys.fetch(TENANT)
    assert (keys.find(TENANT, "k1") is not None, keys.find(TENANT, "bad")) == (True, None)


def test_the_token_is_in_no_text_about_the_caller(entra: Entra) -> None:
    token = entra.token()
    assert token not in repr(tokens(entra).caller(token))
