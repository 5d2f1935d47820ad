"""Signing in, with MSAL itself on a mocked wire: what is asked, what is kept, what is said when it fails."""

from __future__ import annotations

import base64
import json
import logging
import random
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import responses
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from connector.clock import VirtualClock
from connector.dataverse.policies import RetryPolicy, anything, retry
from connector.dataverse.sign_in import auth
from connector.dataverse.sign_in.sign_in_errors import explain
from connector.dataverse.sign_in.token_cache import TokenCache
from connector.dataverse.transport import Network, Transport
from connector.errors import SignInAgain, SignInError
from connector.handler import Handler

ORG = "https://contoso.crm4.dynamics.com"
TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "99999999-2222-3333-4444-555555555555"
AUTHORITY = f"https://login.microsoftonline.com/{TENANT}"
TOKEN_URL = f"{AUTHORITY}/oauth2/v2.0/token"
CAPTURES = Path(__file__).parents[1] / "fixtures" / "emulator" / "msal_azure_identity_token_flow.jsonl"


@pytest.fixture
def wire() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mocked:
        mocked.get(
            f"{AUTHORITY}/v2.0/.well-known/openid-configuration",
            json={
                "issuer": f"{AUTHORITY}/v2.0",
                "authorization_endpoint": f"{AUTHORITY}/oauth2/v2.0/authorize",
                "token_endpoint": TOKEN_URL,
                "device_authorization_endpoint": f"{AUTHORITY}/oauth2/v2.0/devicecode",
            },
        )
        yield mocked


@pytest.fixture
def http() -> Iterator[Handler]:
    transport = Transport(Network())
    chance = random.Random(1)
    yield retry(transport, sleep=VirtualClock().sleep, chance=chance, policy=RetryPolicy(told=60), repeatable=anything)
    transport.close()


REGISTRATION = auth.Registration(CLIENT, lambda: AUTHORITY, ORG)


def granted(token: str = "token-1", **more: object) -> dict[str, object]:
    return {"token_type": "Bearer", "expires_in": 3599, "access_token": token, **more}


def query_of(request: requests.PreparedRequest) -> dict[str, str]:
    """Return the parameters in the address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(request.url or "").query).items()}


def asked(wire: responses.RequestsMock) -> list[dict[str, str]]:
    """Return the forms that were posted to the token endpoint."""
    return [
        {name: values[0] for name, values in parse_qs(text(call.request.body)).items()}
        for call in wire.calls
        if call.request.method == "POST"
    ]


def text(body: object) -> str:
    return body.decode() if isinstance(body, bytes) else str(body or "")


def by_secret(http: Handler, clock: VirtualClock) -> TokenCache:
    return auth.application_tokens(REGISTRATION, lambda: "abc8Q~notreal", http, clock)


def test_nothing_is_asked_before_a_token_is_wanted(wire: responses.RequestsMock, http: Handler) -> None:
    by_secret(http, VirtualClock())
    assert len(wire.calls) == 0


def test_a_secret_is_exchanged_for_a_token_as_msal_does_it(wire: responses.RequestsMock, http: Handler) -> None:
    wire.post(TOKEN_URL, json=granted())
    assert by_secret(http, VirtualClock()).token() == "token-1"
    (form,) = asked(wire)
    assert json.loads(form.pop("claims")) == {"access_token": {"xms_cc": {"values": ["CP1"]}}}
    recorded = [json.loads(line) for line in CAPTURES.read_text(encoding="utf-8").splitlines()][1]
    usual = {name: values[0] for name, values in parse_qs(recorded["body"]).items()}
    assert form == {**usual, "client_id": CLIENT, "client_secret": "abc8Q~notreal", "scope": f"{ORG}/.default"}
    sent = wire.calls[-1].request.headers
    assert sent["x-ms-lib-capability"] == "retry-after, h429"
    assert sent["Content-Type"] == "application/x-www-form-urlencoded"


def test_a_token_is_kept_until_five_minutes_before_its_end(wire: responses.RequestsMock, http: Handler) -> None:
    wire.post(TOKEN_URL, json=granted("token-1"))
    wire.post(TOKEN_URL, json=granted("token-2"))
    clock = VirtualClock()
    tokens = by_secret(http, clock)
    assert tokens.token() == "token-1"
    clock.advance(3298)
    assert tokens.token() == "token-1"
    clock.advance(2)
    assert tokens.token() == "token-2"


@pytest.mark.parametrize(("answer", "spent"), [({"expires_in": 240}, 121), ({"expires_in": 80000}, 40001)])
def test_a_very_short_or_long_token_is_renewed_at_half_of_its_life(
    wire: responses.RequestsMock, http: Handler, answer: dict[str, object], spent: float
) -> None:
    wire.post(TOKEN_URL, json={**granted("token-1"), **answer})
    wire.post(TOKEN_URL, json=granted("token-2"))
    clock = VirtualClock()
    tokens = by_secret(http, clock)
    assert [tokens.token(), tokens.token()] == ["token-1", "token-1"]
    clock.advance(spent)
    assert tokens.token() == "token-2"


def test_while_the_sign_in_service_is_down_a_good_token_is_used_on(wire: responses.RequestsMock, http: Handler) -> None:
    wire.post(TOKEN_URL, json=granted("token-1"))
    clock = VirtualClock()
    tokens = by_secret(http, clock)
    tokens.token()
    wire.replace("POST", TOKEN_URL, body=requests.ConnectionError("down"))
    clock.advance(3400)
    assert tokens.token() == "token-1"
    clock.advance(180)
    with pytest.raises(SignInError) as failure:
        tokens.token()
    assert failure.value.transient


def test_many_callers_ask_once(wire: responses.RequestsMock, http: Handler) -> None:
    wire.post(TOKEN_URL, json=granted())
    tokens, found, gate = by_secret(http, VirtualClock()), list[str](), threading.Barrier(20)

    def call() -> None:
        gate.wait()
        found.append(tokens.token())

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["token-1"] * 20
    assert len(asked(wire)) == 1


def test_a_token_turned_down_is_replaced_once_for_all_who_had_it(wire: responses.RequestsMock, http: Handler) -> None:
    for number in (1, 2, 3):
        wire.post(TOKEN_URL, json=granted(f"token-{number}"))
    tokens = by_secret(http, VirtualClock())
    rejected = tokens.token()
    assert [tokens.renew(rejected) for _ in range(5)] == ["token-2"] * 5
    assert len(asked(wire)) == 2


def test_a_claims_challenge_is_passed_on(wire: responses.RequestsMock, http: Handler) -> None:
    wire.post(TOKEN_URL, json=granted("token-1"))
    wire.post(TOKEN_URL, json=granted("token-2"))
    tokens = by_secret(http, VirtualClock())
    assert tokens.renew(tokens.token(), '{"access_token":{"nbf":{"essential":true}}}') == "token-2"
    assert json.loads(asked(wire)[1]["claims"])["access_token"]["nbf"] == {"essential": True}


# -- certificates and federation --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair() -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "connector")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def pfx(folder: Path, pair: tuple[rsa.RSAPrivateKey, x509.Certificate]) -> Path:
    encryption = serialization.BestAvailableEncryption(b"pass-word")
    path = folder / "key.pfx"
    path.write_bytes(pkcs12.serialize_key_and_certificates(b"key", *pair, None, encryption))
    return path


def pem(folder: Path, pair: tuple[rsa.RSAPrivateKey, x509.Certificate]) -> Path:
    key, certificate = pair
    encryption = serialization.BestAvailableEncryption(b"pass-word")
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    path = folder / "key.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def part(token: str, index: int) -> dict[str, Any]:
    section = token.split(".")[index]
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(section + "=" * (-len(section) % 4)))
    return decoded


@pytest.mark.parametrize("write", [pfx, pem])
def test_a_certificate_signs_an_assertion(
    wire: responses.RequestsMock,
    http: Handler,
    tmp_path: Path,
    pair: tuple[rsa.RSAPrivateKey, x509.Certificate],
    write: Callable[[Path, tuple[rsa.RSAPrivateKey, x509.Certificate]], Path],
) -> None:
    wire.post(TOKEN_URL, json=granted())
    path = write(tmp_path, pair)
    tokens = auth.application_tokens(REGISTRATION, lambda: auth.certificate(path, "pass-word"), http, VirtualClock())
    assert tokens.token() == "token-1"
    (form,) = asked(wire)
    assertion = form["client_assertion"]
    assert part(assertion, 0)["alg"] == "PS256"
    assert part(assertion, 0)["x5c"]
    assert (part(assertion, 1)["iss"], part(assertion, 1)["aud"]) == (CLIENT, TOKEN_URL)
    assert "client_secret" not in form


@pytest.mark.parametrize("write", [pfx, pem])
def test_a_certificate_that_cannot_be_opened_says_what_to_check(
    wire: responses.RequestsMock,
    http: Handler,
    tmp_path: Path,
    pair: tuple[rsa.RSAPrivateKey, x509.Certificate],
    write: Callable[[Path, tuple[rsa.RSAPrivateKey, x509.Certificate]], Path],
) -> None:
    path = write(tmp_path, pair)
    tokens = auth.application_tokens(REGISTRATION, lambda: auth.certificate(path, "wrong"), http, VirtualClock())
    with pytest.raises(SignInError, match="DATAVERSE_CLIENT_CERTIFICATE_PASSWORD"):
        tokens.token()
    assert asked(wire) == []


def test_a_federated_assertion_is_read_anew_each_time(
    wire: responses.RequestsMock, http: Handler, tmp_path: Path
) -> None:
    for number in (1, 2):
        wire.post(TOKEN_URL, json=granted(f"token-{number}"))
    path = tmp_path / "assertion"
    path.write_text("first\n")
    tokens = auth.application_tokens(REGISTRATION, lambda: auth.federated(path), http, VirtualClock())
    rejected = tokens.token()
    path.write_text("second\n")
    tokens.renew(rejected)
    assert [form["client_assertion"] for form in asked(wire)] == ["first", "second"]
    path.unlink()
    with pytest.raises(SignInError, match="DATAVERSE_FEDERATED_TOKEN_FILE"):
        tokens.renew("token-2")


# -- other ways -------------------------------------------------------------------------------------------------------


def test_a_managed_identity_asks_the_machine(
    wire: responses.RequestsMock, http: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "IMDS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    wire.get(
        "http://169.254.169.254/metadata/identity/oauth2/token",
        json={"access_token": "machine", "expires_in": "86399", "resource": ORG, "token_type": "Bearer"},
    )
    assert auth.managed_identity_tokens(CLIENT, ORG, http, VirtualClock()).token() == "machine"
    request = wire.calls[0].request
    assert request.headers["Metadata"] == "true"
    assert query_of(request)["resource"] == ORG
    assert query_of(request)["client_id"] == CLIENT


def test_a_managed_identity_stands_in_for_the_secret_of_a_registration(
    wire: responses.RequestsMock, http: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "IMDS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    machine = {"access_token": "machine", "expires_in": "86399", "resource": auth.EXCHANGE, "token_type": "Bearer"}
    wire.get("http://169.254.169.254/metadata/identity/oauth2/token", json=machine)
    wire.post(TOKEN_URL, json=granted("users"))
    machine_id = "33333333-3333-3333-3333-333333333333"
    callers = auth.OnBehalfOf(
        REGISTRATION, lambda: auth.managed_assertion(machine_id, http, VirtualClock()), http, VirtualClock()
    )
    assert callers.tokens("ann").token() == "users"
    asked_for = [call.request for call in wire.calls if "169.254" in str(call.request.url)]
    assert query_of(asked_for[0])["resource"] == "api://AzureADTokenExchange"
    form = asked(wire)[-1]
    assert (form["client_assertion"], form["assertion"]) == ("machine", "ann")
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert "client_secret" not in form


def test_a_person_signs_in_by_device_code_once_and_is_remembered(
    wire: responses.RequestsMock, http: Handler, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wire.post(
        f"{AUTHORITY}/oauth2/v2.0/devicecode",
        json={
            "user_code": "ABCD",
            "device_code": "device",
            "verification_uri": "https://microsoft.com/devicelogin",
            "expires_in": 900,
            "interval": 0,
            "message": "Open the page and enter ABCD.",
        },
    )
    identity = base64.urlsafe_b64encode(json.dumps({"uid": "u", "utid": TENANT}).encode()).decode().rstrip("=")
    claims = {
        "aud": CLIENT,
        "iss": AUTHORITY,
        "exp": 4102444800,
        "iat": 1,
        "sub": "s",
        "preferred_username": "a@b.example",
    }
    id_token = "x." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=") + ".x"
    person = granted(
        "personal-token",
        refresh_token="again",
        client_info=identity,
        id_token=id_token,
        scope=f"{ORG}/user_impersonation",
    )
    wire.post(TOKEN_URL, status=400, json={"error": "authorization_pending", "error_description": "AADSTS70016: wait"})
    wire.post(TOKEN_URL, json=person)
    told: list[str] = []

    def source() -> TokenCache:
        return auth.person_tokens(
            REGISTRATION,
            http,
            VirtualClock(),
            cache=tmp_path / "kept" / "tokens",
            tell=told.append,
            ask=auth.by_device_code,
        )

    with caplog.at_level(logging.WARNING, "connector.sign_in"):
        assert source().token() == "personal-token"
    assert told == ["Open the page and enter ABCD."]
    assert source().token() == "personal-token"
    assert len(told) == 1
    kept = tmp_path / "kept" / "tokens"
    if sys.platform == "linux" and "unencrypted" in caplog.text:
        assert kept.stat().st_mode & 0o077 == 0
    assert "personal-token" not in caplog.text


def test_kept_sign_ins_that_cannot_be_written_are_told_as_such(
    wire: responses.RequestsMock, http: Handler, tmp_path: Path
) -> None:
    wire.get(f"{AUTHORITY}/v2.0/.well-known/openid-configuration", json={})
    wire.assert_all_requests_are_fired = False
    (tmp_path / "file").write_text("no folder")
    source = auth.person_tokens(
        REGISTRATION,
        http,
        VirtualClock(),
        cache=tmp_path / "file" / "tokens",
        tell=lambda _: None,
        ask=auth.by_device_code,
    )
    with pytest.raises(SignInError, match="kept sign-ins") as caught:
        source.token()
    assert "DATAVERSE_TOKEN_CACHE" in caught.value.remedy


def test_a_caller_is_acted_for_and_kept_apart_from_others(wire: responses.RequestsMock, http: Handler) -> None:
    for number in (1, 2):
        wire.post(TOKEN_URL, json=granted(f"token-{number}"))
    callers = auth.OnBehalfOf(REGISTRATION, lambda: "abc8Q~notreal", http, VirtualClock(), kept=2)
    assert [callers.tokens(name).token() for name in ("ann", "bob", "ann", "bob")] == ["token-1", "token-2"] * 2
    forms = asked(wire)
    assert [form["assertion"] for form in forms] == ["ann", "bob"]
    assert forms[0]["requested_token_use"] == "on_behalf_of"
    wire.post(TOKEN_URL, json=granted("token-3"))
    callers.tokens("eve").token()
    assert len(callers._sources) == 2


def test_a_caller_who_must_sign_in_anew_is_told_with_what_is_asked_for(
    wire: responses.RequestsMock, http: Handler
) -> None:
    asked_for = '{"access_token":{"capolids":{"essential":true,"values":["9ab03e19"]}}}'
    wire.post(TOKEN_URL, status=400, json=refused(50076, "interaction_required") | {"claims": asked_for})
    callers = auth.OnBehalfOf(REGISTRATION, lambda: "abc8Q~notreal", http, VirtualClock())
    with pytest.raises(SignInAgain, match="second factor") as caught:
        callers.tokens("ann").token()
    assert caught.value.claims == asked_for
    assert not caught.value.transient


@pytest.mark.parametrize("number", [50133, 50173, 500133])
def test_a_grant_that_has_ended_asks_for_a_new_sign_in(
    wire: responses.RequestsMock, http: Handler, number: int
) -> None:
    wire.post(TOKEN_URL, status=400, json=refused(number, "invalid_grant"))
    callers = auth.OnBehalfOf(REGISTRATION, lambda: "abc8Q~notreal", http, VirtualClock())
    with pytest.raises(SignInAgain):
        callers.tokens("ann").token()


# -- failures ---------------------------------------------------------------------------------------------------------


def refused(number: int, error: str = "invalid_client") -> dict[str, object]:
    return {
        "error": error,
        "error_description": f"AADSTS{number}: In the service's words.\r\nTrace ID: t\r\nCorrelation ID: c",
        "error_codes": [number],
        "correlation_id": "c-1",
    }


@pytest.mark.parametrize(
    ("status", "number", "error", "said"),
    [
        (401, 7000222, "invalid_client", "expired.*DATAVERSE_CLIENT_SECRET"),
        (401, 7000215, "invalid_client", "secret is wrong.*its id is something else"),
        (400, 700016, "unauthorized_client", "not known in this tenant.*DATAVERSE_CLIENT_ID"),
        (400, 90002, "invalid_request", "tenant does not exist.*DATAVERSE_TENANT_ID"),
        (400, 500011, "invalid_resource", "organization is not known.*DATAVERSE_URL"),
        (401, 700027, "invalid_client", "certificate is not registered"),
        (400, 50105, "interaction_required", "not assigned.*Have an administrator assign"),
        (400, 50057, "invalid_grant", "account is disabled.*Have an administrator enable it"),
        (400, 500131, "invalid_grant", "for another application.*DATAVERSE_CLIENT_ID"),
        (400, 50013, "invalid_grant", "not accepted as proof.*Look at the registration"),
        (400, 999999, "unheard_of", "AADSTS999999: In the service's words"),
    ],
)
def test_a_refusal_is_a_sentence_with_what_to_do(
    wire: responses.RequestsMock, http: Handler, status: int, number: int, error: str, said: str
) -> None:
    wire.post(TOKEN_URL, status=status, json=refused(number, error))
    with pytest.raises(SignInError, match=said) as failure:
        by_secret(http, VirtualClock()).token()
    assert not failure.value.transient
    assert not isinstance(failure.value, SignInAgain)
    assert "ign in again" not in str(failure.value)
    assert "c-1" in str(failure.value)
    assert "Trace ID" not in str(failure.value)
    assert "abc8Q~notreal" not in str(failure.value)


def test_long_words_of_the_service_break_off_between_words_and_visibly() -> None:
    words = {**refused(700016), "error_description": f"AADSTS700016: {'not found ' * 40}\r\nTrace ID: t"}
    said = explain(words).message
    assert said.endswith("not found not ... (attempt c-1).")
    assert len(said) < 400


def test_a_tenant_that_does_not_exist_is_named_as_such(http: Handler) -> None:
    with responses.RequestsMock() as wire:
        wire.get(
            f"{AUTHORITY}/v2.0/.well-known/openid-configuration", status=400, json=refused(90002, "invalid_tenant")
        )
        with pytest.raises(SignInError, match=r"does not know the tenant.*DATAVERSE_TENANT_ID"):
            by_secret(http, VirtualClock()).token()


@pytest.mark.parametrize("status", [500, 503])
def test_a_sign_in_service_in_trouble_may_be_asked_later(
    wire: responses.RequestsMock, http: Handler, status: int
) -> None:
    wire.post(TOKEN_URL, status=status, json={"error": "server_error"})
    tokens = by_secret(http, VirtualClock())
    for _ in range(2):
        with pytest.raises(SignInError) as failure:
            tokens.token()
        assert failure.value.transient
    assert len(asked(wire)) == (1 if status == 500 else 5), "the second time MSAL remembers, and nothing is sent"


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>", b"null", b"5", b'"x"', b"[" * 100_000,
        *(b'{"access_token":"x","expires_in":%s}' % life for life in (b'"soon"', b"[1]", b"1e400", b"9" * 400)),
        b'{"access_token":"a\\r\\nb: c","expires_in":3600}', b'{"access_token":"x","expires_in":5,"id_token":[]}',
    ],
)  # fmt: skip
def test_an_answer_that_is_none_of_the_sign_in_service_is_waited_out(
    wire: responses.RequestsMock, http: Handler, answer: bytes
) -> None:
    wire.post(TOKEN_URL, body=answer)
    with pytest.raises(SignInError) as failure:
        by_secret(http, VirtualClock()).token()
    assert failure.value.transient


def test_a_busy_sign_in_service_is_waited_for(wire: responses.RequestsMock, http: Handler) -> None:
    wire.post(TOKEN_URL, status=429, json={"error": "temporarily_unavailable"}, headers={"Retry-After": "7"})
    wire.post(TOKEN_URL, json=granted())
    assert by_secret(http, VirtualClock()).token() == "token-1"


def test_a_network_in_trouble_is_no_refusal(wire: responses.RequestsMock, http: Handler) -> None:
    wire.post(TOKEN_URL, body=requests.ConnectionError("down"))
    with pytest.raises(SignInError, match="could not be asked") as failure:
        by_secret(http, VirtualClock()).token()
    assert failure.value.transient


@pytest.mark.parametrize(
    "answer", [None, {}, {"error": "temporarily_unavailable"}, refused(90033, "x"), refused(90055, "x")]
)
def test_what_says_nothing_lasting_may_be_tried_again(answer: Mapping[str, object] | None) -> None:
    assert explain(answer).transient


def test_a_person_who_does_not_come_back_from_the_browser_is_told_so() -> None:
    from msal.oauth2cli.oauth2 import BrowserInteractionTimeoutError

    class Waiting:
        def acquire_token_interactive(self, *_: object, **__: object) -> None:
            raise BrowserInteractionTimeoutError("User did not complete the flow in time")

    said: list[str] = []
    with pytest.raises(SignInError, match="No one signed in with the browser in time") as failure:
        auth.by_browser(Waiting(), [f"{ORG}/user_impersonation"], "", said.append)
    assert "device_code" in failure.value.remedy
    assert "at most 5 minutes" in said[0]
