"""The identity provider to a client with nothing but HTTP: documents, keys, flows and refusals."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import jwt
import pytest
from jwt.types import Options

from connector.emulator.identity.issuer import Application, Secret, local_tenant
from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.emulator.stranger.conftest import Organized
from tests.emulator.stranger.wire import Json, Stranger

FIELDS = {"error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id", "error_uri"}


def documents(client: Stranger) -> tuple[Json, Json]:
    """Return the two discovery documents."""
    newer = client.session.get(f"{client.authority}/v2.0/.well-known/openid-configuration", timeout=60)
    older = client.session.get(f"{client.authority}/.well-known/openid-configuration", timeout=60)
    return newer.json(), older.json()


def refusal(client: Stranger, status: int, error: str, number: int, **fields: str) -> None:
    answer = client.token(**fields)
    body = answer.json()
    assert (answer.status_code, body["error"], body["error_codes"]) == (status, error, [number])
    assert set(body) == FIELDS
    assert body["error_description"].startswith(f"AADSTS{number}: ")
    assert answer.headers["Cache-Control"] == "no-store, no-cache"


def test_both_documents_name_endpoints_that_work(anywhere: Stranger) -> None:
    for document in documents(anywhere):
        assert {"issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"} <= set(document)
        assert document["device_authorization_endpoint"].startswith(anywhere.authority)
        form = {"grant_type": "client_credentials", "client_id": anywhere.client_id}
        form |= {"client_secret": anywhere.client_secret, "scope": f"{anywhere.url}/.default"}
        answer = anywhere.session.post(document["token_endpoint"], data=form, timeout=60)
        assert set(answer.json()) == {"token_type", "expires_in", "ext_expires_in", "access_token"}
        assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 3599)


def test_a_token_is_verified_with_the_published_keys_by_another_library(anywhere: Stranger) -> None:
    token = anywhere.token().json()["access_token"]
    _, older = documents(anywhere)
    published = {key["kid"]: key for key in anywhere.session.get(older["jwks_uri"], timeout=60).json()["keys"]}
    key = jwt.PyJWK(published[jwt.get_unverified_header(token)["kid"]])
    options: Options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    claims = jwt.decode(token, key, ["RS256"], audience=anywhere.url, issuer=older["issuer"], options=options)
    assert {"aud", "iss", "iat", "nbf", "exp", "tid", "appid", "oid", "sub", "ver"} <= set(claims)
    assert (claims["appid"], claims["tid"]) == (anywhere.client_id, anywhere.authority.rpartition("/")[2])


@pytest.mark.parametrize("scope", ["https://org.emulator.invalid/.default", "https://org.emulator.invalid//.default",
                                   "https://org.api.emulator.invalid/.default"])  # fmt: skip
def test_a_token_for_each_name_of_the_organization_opens_it(stranger: Stranger, scope: str) -> None:
    token = stranger.token(scope=scope).json()["access_token"]
    for host in ("org.emulator.invalid", "org.api.emulator.invalid"):
        answer = stranger.send("GET", f"https://{host}/api/data/v9.2/WhoAmI", Authorization=f"Bearer {token}")
        assert answer.status_code == 200
        assert answer.json()["@odata.context"].startswith(f"https://{host}/api/data/v9.2/")


@pytest.mark.parametrize("host", ["org.emulator.invalid", "org.api.emulator.invalid"])
def test_the_challenge_names_the_host_that_was_called(stranger: Stranger, host: str) -> None:
    del stranger.headers["Authorization"]
    answer = stranger.send("GET", f"https://{host}/api/data/v9.2/")
    assert answer.headers["WWW-Authenticate"].endswith(f", resource_id=https://{host}/")


def test_secrets_come_in_the_form_or_as_basic_credentials(anywhere: Stranger) -> None:
    form = {"grant_type": "client_credentials", "scope": f"{anywhere.url}/.default"}
    for secret, status in ((anywhere.client_secret, 200), ("wrong", 401)):
        answer = anywhere.session.post(
            f"{anywhere.authority}/oauth2/v2.0/token", data=form, auth=(anywhere.client_id, secret), timeout=60
        )
        assert answer.status_code == status


def test_refusals_have_entras_numbers(stranger: Stranger) -> None:
    refusal(stranger, 401, "invalid_client", 7000215, client_secret="wrong")
    refusal(stranger, 401, "invalid_client", 7000218, client_secret="")
    refusal(stranger, 400, "unauthorized_client", 700016, client_id="99999999-0000-4000-8000-000000000000")
    refusal(stranger, 400, "invalid_scope", 1002012, scope="everything")
    refusal(stranger, 400, "invalid_resource", 500011, scope="https://else.example/.default")
    refusal(stranger, 400, "unsupported_grant_type", 70003, grant_type="wishing")
    refusal(stranger, 400, "invalid_request", 900144, grant_type="")
    stranger.authority = stranger.authority.rpartition("/")[0] + "/99999999-0000-4000-8000-000000000000"
    refusal(stranger, 400, "invalid_tenant", 90002)


def device(client: Stranger, scope: str) -> Json:
    form = {"client_id": client.client_id, "scope": scope}
    return dict(client.session.post(f"{client.authority}/oauth2/v2.0/devicecode", data=form, timeout=60).json())


def test_a_person_signs_in_on_a_device_and_the_token_is_renewed(anywhere: Stranger) -> None:
    flow = device(anywhere, f"{anywhere.url}/user_impersonation offline_access openid")
    assert {"user_code", "device_code", "verification_uri", "expires_in", "interval", "message"} == set(flow)
    grant = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": flow["device_code"]}
    grant |= {"client_secret": "", "scope": ""}
    refusal(anywhere, 400, "authorization_pending", 70016, **grant)
    confirmed = anywhere.session.post(flow["verification_uri"], data={"otc": flow["user_code"]}, timeout=60)
    assert confirmed.status_code == 200
    first = anywhere.token(**grant).json()
    assert {"access_token", "refresh_token", "id_token", "client_info", "scope"} <= set(first)
    refusal(anywhere, 400, "bad_verification_code", 70019, **grant)
    again = {"grant_type": "refresh_token", "client_secret": "", "scope": ""}
    second = anywhere.token(**again, refresh_token=first["refresh_token"]).json()
    for token in (first["access_token"], second["access_token"]):
        assert anywhere.send("GET", "WhoAmI", Authorization=f"Bearer {token}").status_code == 200
    assert second["access_token"] != first["access_token"]
    refusal(anywhere, 400, "invalid_grant", 700082, **again, refresh_token="never")
    anywhere.pass_time(91 * 86400)
    refusal(anywhere, 400, "invalid_grant", 700082, **again, refresh_token=second["refresh_token"])


def test_a_device_code_ends_after_its_time(stranger: Stranger) -> None:
    flow = device(stranger, f"{stranger.url}/user_impersonation")
    stranger.pass_time(flow["expires_in"] + 1)
    grant = {"grant_type": "device_code", "device_code": flow["device_code"], "client_secret": "", "scope": ""}
    refusal(stranger, 400, "expired_token", 70020, **grant)


def on_behalf(client: Stranger, assertion: str) -> dict[str, str]:
    return {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "requested_token_use": "on_behalf_of",
        "assertion": assertion,
        "scope": f"{client.url}/user_impersonation",
    }


def test_a_users_token_is_exchanged_on_behalf_of_and_others_are_not(stranger: Stranger) -> None:
    flow = device(stranger, f"api://{stranger.client_id}/access")
    stranger.control("POST", "device", {"user_code": flow["user_code"]})
    grant = {"grant_type": "device_code", "device_code": flow["device_code"], "client_secret": "", "scope": ""}
    person = stranger.token(**grant).json()["access_token"]
    answer = stranger.token(**on_behalf(stranger, person)).json()
    assert stranger.send("GET", "WhoAmI", Authorization=f"Bearer {answer['access_token']}").status_code == 200
    refusal(stranger, 400, "invalid_grant", 50013, **on_behalf(stranger, "nonsense"))
    refusal(stranger, 400, "invalid_grant", 50013, **on_behalf(stranger, answer["access_token"]))
    application = stranger.token(scope=f"api://{stranger.client_id}/.default").json()["access_token"]
    refusal(stranger, 400, "invalid_grant", 500133, **on_behalf(stranger, application))
    stranger.pass_time(4000)
    refusal(stranger, 400, "invalid_grant", 500133, **on_behalf(stranger, person))


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/metadata/identity/oauth2/token", {"Metadata": "true"}), ("/msi/token", {"X-IDENTITY-HEADER": "any"})],
)
def test_a_managed_identity_gets_a_token_where_it_shows_its_header(
    anywhere: Stranger, path: str, headers: dict[str, str]
) -> None:
    url = anywhere.authority.rpartition("/")[0] + path
    ask = {"resource": anywhere.url, "api-version": "2019-08-01"}
    answer = anywhere.session.get(url, params=ask, headers=headers, timeout=60).json()
    assert {"access_token", "client_id", "expires_in", "expires_on", "resource", "token_type"} == set(answer)
    token = answer["access_token"]
    assert anywhere.send("GET", "WhoAmI", Authorization=f"Bearer {token}").status_code == 200
    assert anywhere.session.get(url, params=ask, timeout=60).status_code == 400
    other = {**ask, "client_id": "99999999-0000-4000-8000-000000000000"}
    assert anywhere.session.get(url, params=other, headers=headers, timeout=60).status_code == 400
    assert anywhere.session.get(url, headers=headers, timeout=60).status_code == 400


def test_a_bad_token_meets_an_empty_401_with_a_challenge(anywhere: Stranger) -> None:
    good = anywhere.token().json()["access_token"]
    head, middle, end = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(middle + "=="))
    later = base64.urlsafe_b64encode(json.dumps({**claims, "exp": claims["exp"] + 9}).encode()).rstrip(b"=").decode()
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    foreign = anywhere.token(scope=f"api://{anywhere.client_id}/.default").json()["access_token"]
    bad = ["", "x", f"{head}.{later}.{end}", f"{none}.{middle}.", f"{head}.{middle}.{end[:-4]}AAAA", foreign]
    for value in [*(f"Bearer {one}" for one in bad), f"Basic {good}", good]:
        answer = anywhere.send("GET", "WhoAmI", Authorization=value)
        assert (answer.status_code, answer.content) == (401, b""), value[:30]
        assert answer.headers["WWW-Authenticate"].startswith("Bearer authorization_uri=")
    assert anywhere.send("GET", "WhoAmI", Authorization=f"bearer {good}").status_code == 200


@pytest.mark.parametrize("lifetime", [60, 299, 3599])
def test_a_token_ends_with_its_lifetime(organized: Organized, lifetime: int) -> None:
    client = organized(EmulatorOptions(seeded=0, tenant=replace(local_tenant(), token_lifetime=lifetime)))
    assert client.token().json()["expires_in"] == lifetime
    client.pass_time(lifetime - 1)
    assert client.send("GET", "WhoAmI").status_code == 200
    client.pass_time(1)
    answer = client.send("GET", "WhoAmI")
    assert (answer.status_code, answer.content) == (401, b"")
    assert "expired" in answer.headers["WWW-Authenticate"]


def test_a_revoked_session_is_challenged_for_claims_and_a_new_token_passes(anywhere: Stranger) -> None:
    assert anywhere.send("GET", "WhoAmI").status_code == 200
    anywhere.control("POST", "revoke")
    answer = anywhere.send("GET", "WhoAmI")
    found = re.search(r'error="insufficient_claims", claims="([^"]+)"', answer.headers["WWW-Authenticate"])
    assert (answer.status_code, found is not None) == (401, True)
    assert found is not None
    assert json.loads(base64.b64decode(found[1]))["access_token"]["nbf"]["essential"] is True
    assert anywhere.sign_in().send("GET", "WhoAmI").status_code == 200


def test_expired_secrets_and_disabled_applications_are_refused(organized: Organized) -> None:
    tenant = local_tenant()
    off = Application("dddddddd-0000-4000-8000-000000000000", "2" * 8, "off", (Secret("s"),), disabled=True)
    secret = Secret("s", datetime(2025, 12, 31, tzinfo=UTC))
    old = Application("eeeeeeee-0000-4000-8000-000000000000", "3" * 8, "old", (secret,))
    client = organized(EmulatorOptions(seeded=0, tenant=replace(tenant, applications=(*tenant.applications, off, old))))
    refusal(client, 401, "unauthorized_client", 7000112, client_id=off.client_id, client_secret="s")
    refusal(client, 401, "invalid_client", 7000222, client_id=old.client_id, client_secret="s")
