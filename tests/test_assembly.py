"""The parts joined: settings lead to the right organization, sign in where they should, and nowhere else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from uuid import UUID

import certifi
import pytest
import responses

from connector.assembly import Connection, connect
from connector.clock import SystemClock, VirtualClock
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.dataverse.sign_in.authority import discover, distrust
from connector.emulator.background import ServedEmulator, served
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.errors import Forbidden, NotSent, SettingsError, SignInError
from connector.handler import Handler, Request, Response
from connector.settings.environment import load
from connector.settings.settings import Settings
from tests.bulk.dam import PATIENCE

ORG = "https://contoso.crm4.dynamics.com"
ROOT = f"{ORG}/api/data/v9.2/"
TENANT = "11111111-2222-3333-4444-555555555555"
OTHER_TENANT = "22222222-2222-3333-4444-555555555555"
CLIENT = "99999999-2222-3333-4444-555555555555"
AUTHORITY = f"https://login.microsoftonline.com/{TENANT}"
REAL = {"DATAVERSE_URL": ORG, "DATAVERSE_CLIENT_ID": CLIENT, "DATAVERSE_CLIENT_SECRET": "abc8Q~notreal"}
LOCAL = {
    "DATAVERSE_URL": "https://localhost:5443",
    "DATAVERSE_CLIENT_ID": CLIENT,
    "DATAVERSE_CLIENT_SECRET": "local-emulator-secret",
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def given(**changes: str) -> Settings:
    return load({**REAL, **changes})


def challenge(authority: str = AUTHORITY) -> dict[str, str]:
    return {"WWW-Authenticate": f"Bearer authorization_uri={authority}/oauth2/authorize, resource_id={ORG}/"}


def sign_in_service(authority: str = AUTHORITY) -> None:
    """Mock a sign-in service that gives everybody `token`."""
    responses.get(
        f"{authority}/v2.0/.well-known/openid-configuration",
        json={
            "authorization_endpoint": f"{authority}/oauth2/v2.0/authorize",
            "token_endpoint": f"{authority}/oauth2/v2.0/token",
        },
    )
    answer = {"access_token": "token", "expires_in": 3599, "token_type": "Bearer"}
    responses.post(f"{authority}/oauth2/v2.0/token", json=answer)


@responses.activate
def test_the_organization_says_where_to_sign_in() -> None:
    responses.get(ROOT, status=401, headers=challenge())
    sign_in_service()
    responses.get(f"{ROOT}WhoAmI", json={})
    connection = connect(given(), VirtualClock())
    assert len(responses.calls) == 0, "connecting alone sends nothing"
    connection.warm()
    assert connection.handler(Request("GET", f"{ROOT}WhoAmI")).status == 200
    probe, answered = responses.calls[0].request, responses.calls[-1].request
    assert "Authorization" not in probe.headers
    assert answered.headers["Authorization"] == "Bearer token"
    connection.close()


def test_what_still_waits_to_be_sent_ends_with_the_connection() -> None:
    clock = VirtualClock()
    with connect(given(), clock) as connection:
        gate = connection.clients[0].gate
    with pytest.raises(NotSent):
        gate.sleep(200.0)
    assert clock.monotonic() == 0.0, "threads that read ahead keep nobody waiting who has given up"


def test_who_gives_up_while_metadata_are_read_ahead_waits_for_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    connection, answered, ends = connect(given(), VirtualClock()), threading.Event(), list[bool]()
    monkeypatch.setattr(Connection, "warm", lambda _self: None)
    monkeypatch.setattr(DataverseOrganization, "prepare", lambda _: ends.append(answered.wait(PATIENCE)))

    def interrupted(_future: Future[None]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        connection.prepare()
    assert ends == []
    answered.set()
    connection.close()


@responses.activate
def test_metadata_that_cannot_be_read_ahead_stops_nothing_before_it_is_needed() -> None:
    sign_in_service()
    settings = given(DATAVERSE_AUTHORITY=AUTHORITY)
    with connect(settings, VirtualClock(), watched=lambda _: lambda _: Response(403)) as connection:
        connection.prepare()
        with pytest.raises(Forbidden):
            connection.organization.metadata()


@responses.activate
def test_an_authority_that_is_set_is_not_asked_for() -> None:
    sign_in_service()
    connect(given(DATAVERSE_AUTHORITY=AUTHORITY), VirtualClock()).warm()
    assert all(not str(call.request.url).startswith(ORG) for call in responses.calls)


@responses.activate
def test_a_request_that_was_refused_for_its_token_has_a_fresh_one_the_second_time() -> None:
    sign_in_service()
    responses.get(f"{ROOT}WhoAmI", status=401)
    responses.get(f"{ROOT}WhoAmI", json={})
    connection = connect(given(DATAVERSE_AUTHORITY=AUTHORITY), VirtualClock())
    assert connection.handler(Request("GET", f"{ROOT}WhoAmI")).status == 200
    assert sum(call.request.method == "POST" for call in responses.calls) == 2


@responses.activate
def test_being_throttled_is_waited_out_with_a_token_that_is_still_good() -> None:
    sign_in_service()
    responses.post(f"{ROOT}WinOpportunity", status=429, headers={"Retry-After": "420"})
    responses.post(f"{ROOT}WinOpportunity", status=204)
    clock = VirtualClock()
    connection = connect(given(DATAVERSE_AUTHORITY=AUTHORITY), clock)
    assert connection.handler(Request("POST", f"{ROOT}WinOpportunity", {}, b"{}")).status == 204
    assert 420 <= clock.monotonic() < 422


def answering(response: Response) -> Handler:
    return lambda _request: response


def said(authority: str) -> Handler:
    return answering(Response(401, tuple(challenge(authority).items())))


def test_a_tenant_that_is_not_the_organizations_is_named() -> None:
    with pytest.raises(SignInError, match=f"tenant {TENANT}, but DATAVERSE_TENANT_ID is {OTHER_TENANT}"):
        discover(said(AUTHORITY), ORG, OTHER_TENANT)


@pytest.mark.parametrize("tenant", ["", TENANT, TENANT.upper(), "contoso.onmicrosoft.com"])
def test_a_tenant_that_agrees_or_cannot_be_compared_is_the_organizations(tenant: str) -> None:
    assert discover(said(AUTHORITY), ORG, tenant) == AUTHORITY


def test_an_organization_of_no_tenant_in_particular_needs_one_from_the_settings() -> None:
    common = said("https://login.microsoftonline.com/common")
    assert discover(common, ORG, TENANT) == AUTHORITY
    with pytest.raises(SignInError, match="DATAVERSE_TENANT_ID"):
        discover(common, ORG)


@pytest.mark.parametrize(
    "authority",
    [
        f"https://login.evil.example/{TENANT}",
        f"https://login.microsoftonline.com.evil.example/{TENANT}",
        f"https://login.microsoftonline.us/{TENANT}",
        f"https://login.microsoftonline.com:8443/{TENANT}",
        f"https://localhost/{TENANT}",
    ],
)
def test_a_sign_in_service_of_another_cloud_is_not_believed(authority: str) -> None:
    with pytest.raises(SignInError, match="nothing secret was sent"):
        discover(said(authority), ORG)


@pytest.mark.parametrize("status", [200, 400, 404])
def test_what_does_not_say_where_to_sign_in_is_no_organization(status: int) -> None:
    with pytest.raises(SignInError, match="no Dataverse organization") as failure:
        discover(answering(Response(status)), ORG)
    assert not failure.value.transient


def test_an_organization_that_is_down_may_be_asked_again() -> None:
    with pytest.raises(SignInError) as failure:
        discover(answering(Response(503)), ORG)
    assert failure.value.transient


def test_an_organization_that_cannot_be_reached_says_why() -> None:
    def unreachable(_request: Request) -> Response:
        raise NotSent("Nothing was sent: the host is not known.", remedy="Check DATAVERSE_URL.")

    with pytest.raises(SignInError, match=r"host is not known.*DATAVERSE_URL"):
        discover(unreachable, ORG)


@pytest.mark.parametrize(
    ("base_url", "authority", "trusted"),
    [
        (ORG, AUTHORITY, True),
        ("https://a.crm9.dynamics.com", f"https://login.microsoftonline.us/{TENANT}", True),
        ("https://a.crm.microsoftdynamics.us", f"https://login.microsoftonline.us/{TENANT}", True),
        ("https://a.crm.microsoftdynamics.us", AUTHORITY, False),
        ("https://localhost:5443", f"https://localhost:5443/{TENANT}", True),
        ("https://localhost:5443", f"https://localhost:5444/{TENANT}", False),
        ("https://localhost:5443", AUTHORITY, False),
        ("https://emulator:5443", f"https://emulator:5443/{TENANT}", True),
        (ORG, f"{ORG}/{TENANT}", False),
        (ORG, f"http://login.microsoftonline.com/{TENANT}", False),
    ],
)
def test_credentials_go_to_the_clouds_own_service_or_to_an_emulator_itself(
    base_url: str, authority: str, *, trusted: bool
) -> None:
    assert (distrust(base_url, authority) == "") is trusted


def refused(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as failure:
        connect(load(environ), VirtualClock())
    return failure.value.message


def test_an_emulators_secret_does_not_reach_a_real_organization() -> None:
    assert "is an emulator's" in refused({**REAL, "DATAVERSE_CLIENT_SECRET": "local-emulator-secret"})


def test_a_real_secret_does_not_reach_an_emulator(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    environ = {**LOCAL, "DATAVERSE_CLIENT_SECRET": "abc8Q~notreal", "DATAVERSE_CA_FILE": "ca.pem"}
    assert "DATAVERSE_CLIENT_SECRET was not sent: localhost is no organization of a known cloud" in refused(environ)


def test_an_emulator_needs_its_own_certificate_authority() -> None:
    assert "DATAVERSE_CA_FILE" in refused(LOCAL)


def test_an_authority_of_another_cloud_is_refused_before_anything_is_sent() -> None:
    found = refused({**REAL, "DATAVERSE_AUTHORITY": f"https://login.microsoftonline.us/{TENANT}"})
    assert "not the sign-in service of the public cloud" in found


def test_every_identity_has_a_lane_of_its_own(tmp_path: Path) -> None:
    more = tmp_path / "more.toml"
    more.write_text(f'[[identity]]\nname = "second"\nclient_id = "{TENANT}"\nclient_secret = "x"\n')
    connection = connect(given(DATAVERSE_IDENTITIES=str(more)), VirtualClock())
    assert [client.name for client in connection.clients] == ["default", "second"]
    assert connection.organization is connection.clients[0].organization
    assert connection.clients[0].handler is not connection.clients[1].handler
    connection.close()


def test_the_embedded_emulator_signs_itself_in_and_keeps_its_records(tmp_path: Path) -> None:
    settings = load({"DATAVERSE_URL": f"emulator:{tmp_path / 'state' / 'emulator.db'}"})
    connection = connect(settings, VirtualClock())
    answer = connection.handler(Request("GET", f"{connection.base_url}/api/data/v9.2/WhoAmI"))
    assert answer.status == 200
    assert connection.base_url.endswith(".invalid")
    assert connection.organization.observe([UUID(TENANT)]) == {}
    connection.close()
    assert (tmp_path / "state" / "emulator.db").exists()


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[ServedEmulator]:
    with served(EmulatorOptions(seeded=0), SystemClock(), tmp_path / "served") as running:
        yield running


@pytest.mark.parametrize("announced", [True, False], ids=["found out", "set"])
def test_an_emulator_on_a_socket_is_reached_by_its_own_authority_whatever_the_environment_says(
    emulator: ServedEmulator, monkeypatch: pytest.MonkeyPatch, *, announced: bool
) -> None:
    traps = {"REQUESTS_CA_BUNDLE": certifi.where(), "HTTPS_PROXY": "http://127.0.0.1:9"}
    for name, value in traps.items():
        monkeypatch.setenv(name, value)
    settings = load(
        {
            **traps,
            "DATAVERSE_URL": emulator.url,
            "DATAVERSE_CLIENT_ID": emulator.client_id,
            "DATAVERSE_CLIENT_SECRET": emulator.client_secret,
            "DATAVERSE_CA_FILE": str(emulator.ca_file),
            "DATAVERSE_AUTHORITY": "" if announced else emulator.authority,
        }
    )
    connection = connect(settings)
    assert connection.handler(Request("GET", f"{emulator.url}/api/data/v9.2/WhoAmI")).status == 200
    connection.close()


@pytest.mark.parametrize("break_", [lambda path: path.mkdir(), lambda path: path.write_bytes(b"not a database" * 99)])
def test_a_file_that_no_emulator_can_use_is_said(tmp_path: Path, break_: Callable[[Path], object]) -> None:
    path = tmp_path / "emulator.db"
    break_(path)
    assert "emulator.db" in refused({"DATAVERSE_URL": f"emulator:{path}"})
