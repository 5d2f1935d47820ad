"""Signing in: every flow through MSAL, refusals in Entra's words, and what the Web API thinks of a token."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msal
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from connector.clock import VirtualClock
from connector.emulator.identity.issuer import CLIENT_ID, Application, Federation, Secret, local_tenant
from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.emulator.whole.face import Face, MakeFace

FIELDS = {"error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id", "error_uri"}


def claims_of(token: str) -> dict[str, Any]:
    middle = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4))))


def token_request(face: Face, **fields: str) -> requests.Response:
    form = {"client_id": face.client_id, "client_secret": face.client_secret, "grant_type": "client_credentials"}
    form |= {"scope": f"{face.url}/.default"} | fields
    form = {name: value for name, value in form.items() if value}
    return face.session.post(f"{face.authority}/oauth2/v2.0/token", data=form, timeout=120)


def public(face: Face) -> msal.PublicClientApplication:
    return msal.PublicClientApplication(
        face.client_id, authority=face.authority, instance_discovery=False, http_client=face.session
    )


def test_a_client_secret_gives_a_token_that_opens_the_web_api(face: Face) -> None:
    face.sign_in()
    who = face.get("WhoAmI")
    assert who.status_code == 200, who.text
    assert who.json()["UserId"]


def test_a_token_says_what_dataverse_tokens_say(face: Face) -> None:
    claims = claims_of(token_request(face).json()["access_token"])
    assert claims["aud"] == face.url
    assert claims["iss"] == f"{face.authority}/"
    assert claims["appid"] == face.client_id
    assert claims["ver"] == "1.0"
    assert claims["tid"] in face.authority
    assert claims["exp"] - claims["nbf"] == 3599


def test_a_scope_with_two_slashes_means_the_resource_with_one(face: Face) -> None:
    token = token_request(face, scope=f"{face.url}//.default").json()["access_token"]
    assert claims_of(token)["aud"] == f"{face.url}/"
    answer = requests.Request("GET", face.api + "WhoAmI", headers={"Authorization": f"Bearer {token}"})
    assert face.session.send(face.session.prepare_request(answer), timeout=120).status_code == 200


def test_the_recorded_requests_of_msal_and_azure_identity_are_answered(face: Face) -> None:
    lines = (Path(__file__).parents[2] / "fixtures/emulator/msal_azure_identity_token_flow.jsonl").read_text()
    for line in lines.splitlines():
        recorded = json.loads(line)
        target = recorded["target"].replace("11111111-2222-3333-4444-555555555555", face.authority.rpartition("/")[2])
        body = recorded["body"].replace("https%3A%2F%2F127.0.0.1%3A18443", face.url)
        body = body.replace("client_id=cid", f"client_id={face.client_id}")
        body = body.replace("client_secret=sec", f"client_secret={face.client_secret}")
        headers = {name: value for name, value in recorded["headers"] if name != "Content-Length"}
        origin = face.authority.rpartition("/")[0]
        answer = face.session.request(recorded["method"], origin + target, headers=headers, data=body, timeout=120)
        assert answer.status_code == 200, answer.text
        assert "token_endpoint" in answer.json() or "access_token" in answer.json()


def test_a_secret_may_come_as_basic_credentials(face: Face) -> None:
    form = {"grant_type": "client_credentials", "scope": f"{face.url}/.default"}
    answer = face.session.post(
        f"{face.authority}/oauth2/v2.0/token", data=form, auth=(face.client_id, face.client_secret), timeout=120
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "error", "number"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_secret": ""}, 401, "invalid_client", 7000218),
        ({"client_id": "99999999-0000-4000-8000-000000000000"}, 400, "unauthorized_client", 700016),
        ({"scope": "https://else.example/.default"}, 400, "invalid_resource", 500011),
        ({"scope": "everything"}, 400, "invalid_scope", 1002012),
        ({"grant_type": "wishing"}, 400, "unsupported_grant_type", 70003),
        ({"grant_type": ""}, 400, "invalid_request", 900144),
    ],
)
def test_refusals_have_entras_fields(face: Face, fields: dict[str, str], status: int, error: str, number: int) -> None:
    answer = token_request(face, **fields)
    body = answer.json()
    assert (answer.status_code, body["error"], body["error_codes"]) == (status, error, [number])
    assert set(body) == FIELDS
    assert re.match(rf"AADSTS{number}: .* Trace ID: .* Timestamp: \d{{4}}", body["error_description"])


def test_an_unknown_tenant_is_refused(face: Face) -> None:
    url = face.authority.rpartition("/")[0] + "/99999999-0000-4000-8000-000000000000/oauth2/v2.0/token"
    answer = face.session.post(url, data={"grant_type": "client_credentials"}, timeout=120)
    assert (answer.status_code, answer.json()["error_codes"]) == (400, [90002])


def test_msal_returns_a_wrong_secret_as_a_result(face: Face) -> None:
    face.client_secret = "wrong"
    answer = face.application().acquire_token_for_client([f"{face.url}/.default"])
    assert answer["error"] == "invalid_client"


def test_the_oidc_document_and_the_keys_fit_the_token(face: Face) -> None:
    document = face.session.get(f"{face.authority}/.well-known/openid-configuration", timeout=120).json()
    keys = face.session.get(document["jwks_uri"], timeout=120).json()["keys"]
    token = token_request(face).json()["access_token"]
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert document["issuer"] == claims_of(token)["iss"]
    assert header["kid"] in [key["kid"] for key in keys]


def test_msal_accepts_the_tenant_as_an_oidc_authority(face: Face) -> None:
    application = msal.ConfidentialClientApplication(
        face.client_id, client_credential=face.client_secret, oidc_authority=face.authority, http_client=face.session
    )
    assert "access_token" in application.acquire_token_for_client([f"{face.url}/.default"])


def test_without_a_token_the_answer_is_an_empty_401_with_the_challenge(face: Face) -> None:
    answer = face.get("WhoAmI")
    assert (answer.status_code, answer.content) == (401, b"")
    expected = f"Bearer authorization_uri={face.authority}/oauth2/authorize, resource_id={face.url}/"
    assert answer.headers["WWW-Authenticate"] == expected


def test_a_token_changed_by_one_letter_is_not_accepted(face: Face) -> None:
    token = token_request(face).json()["access_token"]
    head, middle, signature = token.split(".")
    claims = claims_of(token) | {"appid": "99999999-0000-4000-8000-000000000000"}
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    for bad in (f"{head}.{forged}.{signature}", f"{head}.{middle}.AAAA", "nonsense", f"{head}.{middle}"):
        assert face.get("WhoAmI", Authorization=f"Bearer {bad}").status_code == 401


def test_a_token_for_something_else_is_not_accepted(face: Face) -> None:
    token = token_request(face, scope=f"api://{face.client_id}/.default").json()["access_token"]
    assert face.get("WhoAmI", Authorization=f"Bearer {token}").status_code == 401


def test_the_device_flow_waits_until_somebody_confirms(face: Face) -> None:
    application = public(face)
    flow = application.initiate_device_flow([f"{face.url}/user_impersonation"])
    form = {"grant_type": "device_code", "device_code": flow["device_code"], "client_id": face.client_id}
    pending = face.session.post(f"{face.authority}/oauth2/v2.0/token", data=form, timeout=120)
    assert pending.json()["error"] == "authorization_pending"
    page = face.session.get(flow["verification_uri"], params={"otc": flow["user_code"]}, timeout=120)
    assert flow["user_code"] in page.text
    confirmed = face.session.post(flow["verification_uri"], data={"otc": flow["user_code"]}, timeout=120)
    assert confirmed.status_code == 200
    answer = application.acquire_token_by_device_flow(flow)
    assert answer["id_token_claims"]["preferred_username"] == "admin@emulator.invalid"
    assert face.get("WhoAmI", Authorization=f"Bearer {answer['access_token']}").status_code == 200


def test_an_interactive_sign_in_and_its_refresh_token(face: Face) -> None:
    application = public(face)
    scopes = [f"{face.url}/user_impersonation"]
    flow = application.initiate_auth_code_flow(scopes, redirect_uri="http://localhost:1", response_mode="form_post")
    page = face.session.get(flow["auth_uri"], timeout=120)
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text))
    answer = application.acquire_token_by_auth_code_flow(flow, fields)
    assert "access_token" in answer, answer
    account = application.get_accounts()[0]
    renewed = application.acquire_token_silent(scopes, account, force_refresh=True)
    assert renewed["token_source"] == "identity_provider"
    assert renewed["access_token"] != answer["access_token"]


def test_a_code_is_of_no_use_without_its_verifier(face: Face) -> None:
    scopes = [f"{face.url}/user_impersonation"]
    with pytest.warns(UserWarning, match="form_post"):
        flow = public(face).initiate_auth_code_flow(scopes, redirect_uri="http://localhost:1", response_mode="query")
    sent_to = face.session.get(flow["auth_uri"], allow_redirects=False, timeout=120).headers["Location"]
    code = parse_qs(urlsplit(sent_to).query)["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "client_id": face.client_id, "code_verifier": "x" * 43}
    answer = face.session.post(f"{face.authority}/oauth2/v2.0/token", data=form, timeout=120)
    assert answer.json()["error_codes"] == [501481]


def test_on_behalf_of_exchanges_a_users_token(face: Face) -> None:
    application = public(face)
    flow = application.initiate_device_flow([f"api://{face.client_id}/access"])
    face.control("POST", "device", {"user_code": flow["user_code"]})
    assertion = application.acquire_token_by_device_flow(flow)["access_token"]
    answer = face.application().acquire_token_on_behalf_of(assertion, [f"{face.url}/user_impersonation"])
    assert claims_of(answer["access_token"])["upn"] == "admin@emulator.invalid"
    assert face.get("WhoAmI", Authorization=f"Bearer {answer['access_token']}").status_code == 200


def test_managed_identities_get_tokens_from_both_endpoints(face: Face) -> None:
    for path, headers in (
        ("/metadata/identity/oauth2/token", {"Metadata": "true"}),
        ("/msi/token", {"X-IDENTITY-HEADER": "any"}),
    ):
        answer = face.session.get(
            face.authority.rpartition("/")[0] + path, params={"resource": face.url}, headers=headers, timeout=120
        )
        assert face.get("WhoAmI", Authorization=f"Bearer {answer.json()['access_token']}").status_code == 200
        bare = face.session.get(face.authority.rpartition("/")[0] + path, params={"resource": face.url}, timeout=120)
        assert bare.status_code == 400


def test_revoked_sessions_meet_a_claims_challenge_that_msal_answers(face: Face) -> None:
    application = face.application()
    scope = [f"{face.url}/.default"]
    old = application.acquire_token_for_client(scope)["access_token"]
    assert face.get("WhoAmI", Authorization=f"Bearer {old}").status_code == 200
    face.control("POST", "revoke")
    challenged = face.get("WhoAmI", Authorization=f"Bearer {old}")
    assert challenged.status_code == 401
    header = challenged.headers["WWW-Authenticate"]
    assert 'error="insufficient_claims"' in header
    claims = base64.b64decode(re.search(r'claims="([^"]+)"', header)[1]).decode()  # type: ignore[index]
    new = application.acquire_token_for_client(scope, claims_challenge=claims)["access_token"]
    assert face.get("WhoAmI", Authorization=f"Bearer {new}").status_code == 200


@pytest.mark.parametrize("sha1", [True, False])
def test_a_certificate_signs_in_and_a_stranger_does_not(make_face: MakeFace, *, sha1: bool) -> None:
    key, pem = certificate()
    _, other = certificate()
    tenant = local_tenant()
    registered = replace(tenant.applications[0], certificates=(pem,))
    face = make_face(
        VirtualClock(datetime.now(UTC)), EmulatorOptions(seeded=0, tenant=replace(tenant, applications=(registered,)))
    )
    for public_part, works in ((pem, True), (other, False)):
        credential = {"private_key": key, "public_certificate": public_part}
        if sha1:
            loaded = x509.load_pem_x509_certificate(public_part.encode())
            credential["thumbprint"] = loaded.fingerprint(hashes.SHA1()).hex()  # noqa: S303 - what older registrations use
        application = msal.ConfidentialClientApplication(
            face.client_id,
            client_credential=credential,
            authority=face.authority,
            instance_discovery=False,
            http_client=face.session,
        )
        answer = application.acquire_token_for_client([f"{face.url}/.default"])
        assert ("access_token" in answer) is works, answer
        if not works:
            assert answer["error_codes"] == [700027]


def certificate() -> tuple[str, str]:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an application")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2036, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return private, made.public_bytes(Encoding.PEM).decode()


def test_a_federated_assertion_signs_in(make_face: MakeFace) -> None:
    tenant = local_tenant()
    application = tenant.applications[0]
    trusting = replace(application, federations=(Federation(application.object_id),))
    face = make_face(VirtualClock(), EmulatorOptions(seeded=0, tenant=replace(tenant, applications=(trusting,))))
    assertion = face.session.get(
        "https://login.emulator.invalid/msi/token",
        params={"resource": "api://AzureADTokenExchange"},
        headers={"X-IDENTITY-HEADER": "any"},
        timeout=120,
    ).json()["access_token"]
    signed_in = msal.ConfidentialClientApplication(
        face.client_id,
        client_credential={"client_assertion": lambda: assertion},
        authority=face.authority,
        instance_discovery=False,
        http_client=face.session,
    )
    assert "access_token" in signed_in.acquire_token_for_client([f"{face.url}/.default"])


def test_tokens_expire_on_the_emulators_clock(make_face: MakeFace) -> None:
    face = make_face(VirtualClock(), EmulatorOptions(seeded=0, tenant=replace(local_tenant(), token_lifetime=60)))
    face.sign_in()
    assert face.get("WhoAmI").status_code == 200
    face.control("POST", "clock", {"advance": 61})
    assert face.get("WhoAmI").status_code == 401


def test_an_expired_secret_and_a_disabled_application_are_refused(make_face: MakeFace) -> None:
    expired = Application(CLIENT_ID, "1" * 8, "old", (Secret("s", datetime(2025, 1, 1, tzinfo=UTC)),))
    disabled = Application("dddddddd-0000-4000-8000-000000000000", "2" * 8, "off", (Secret("s"),), disabled=True)
    tenant = replace(local_tenant(), applications=(expired, disabled))
    face = make_face(VirtualClock(), EmulatorOptions(seeded=0, tenant=tenant))
    assert token_request(face, client_secret="s").json()["error_codes"] == [7000222]
    answer = token_request(face, client_id=disabled.client_id, client_secret="s").json()
    assert answer["error_codes"] == [7000112]


def test_an_application_without_a_user_row_is_not_a_member(face: Face) -> None:
    face.sign_in()
    face.emulator.organization.store.execute(
        "UPDATE systemuser SET applicationid = NULL, azureactivedirectoryobjectid = NULL"
    )
    face.emulator.organization.store.writes["systemuser"] += 1
    answer = face.get("WhoAmI")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "0x80072560")
