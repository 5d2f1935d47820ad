"""Makers sign in, and the organization sees them: the endpoint acts with each caller's own rights, or says it does not.

The emulator is the tenant, its sign-in service and the organization, over TLS on this machine.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from connector.assembly.endpoint import open_endpoint
from connector.clock import SystemClock
from connector.closing.organization import Query
from connector.emulator.background import ServedEmulator, served
from connector.emulator.control.journal import Entry
from connector.emulator.identity.grants import Grants
from connector.emulator.identity.issuer import Application, EntraError, Person, Secret, local_tenant
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.errors import SignInAgain
from connector.ledger.audit import AuditFilter
from connector.ledger.store import open_ledger
from connector.service.app import create_app
from connector.service.auth.caller import Caller, CallerKind
from connector.service.problems import of_error
from connector.settings.environment import load

FLOWS = Application("66666666-6666-4666-8666-666666666666", "66666666-0000-4666-8666-666666666666", "Flows")
ANN = Person("aaaaaaaa-0000-4000-8000-000000000001", "ann@emulator.invalid", "Ann")
BOB = Person("bbbbbbbb-0000-4000-8000-000000000001", "bob@emulator.invalid", "Bob")
TENANT = replace(local_tenant(client_secret="the endpoint's emulator secret"), people=(ANN, BOB), token_version="2.0")
TENANT = replace(TENANT, applications=(*TENANT.applications, replace(FLOWS, secrets=(Secret("flow-emulator"),))))
OTHER_TENANT = replace(TENANT, tenant_id="cccccccc-6a52-4c07-9d7f-2c5f0e6a1d10")


@dataclass
class Hosted:
    """An endpoint for makers of the tenant, and the emulated organization behind it."""

    emulated: ServedEmulator
    client: TestClient
    reach: Any

    def signed_in(self, person: Person | None, *, scope: str = "user_impersonation") -> dict[str, str]:
        """Return the header with the token that the connector of `person` has got for the endpoint."""
        emulator = self.emulated.emulator
        token = emulator.issuer.access(
            FLOWS, "1", person, self.emulated.client_id, f"api://{self.emulated.client_id}/{scope}"
        )
        return {"authorization": f"Bearer {token}"}

    def opportunity(self, at: int) -> UUID:
        caller = Caller(CallerKind.APPLICATION, TENANT.tenant_id, "x", "x")
        return list(islice(self.reach.organization(caller).find(Query(where="statecode eq 0")), at + 1))[at]

    def entries(self, since: int, face: str) -> list[Entry]:
        found = self.emulated.emulator.journal.latest(5000)
        return [entry for entry in found if entry.number > since and entry.face == face]

    @property
    def now(self) -> int:
        """Return the number of the last request."""
        return max((entry.number for entry in self.emulated.emulator.journal.latest(1)), default=0)


@contextmanager
def hosted(folder: Path, keys: Keys, **settings: str) -> Iterator[Hosted]:
    with served(EmulatorOptions(tenant=TENANT, seeded=8), SystemClock(), folder, keys) as emulated:
        environment = {
            "HOME": str(folder),
            "DATAVERSE_URL": emulated.url,
            "DATAVERSE_CA_FILE": str(emulated.ca_file),
            "DATAVERSE_CLIENT_ID": emulated.client_id,
            "DATAVERSE_CLIENT_SECRET": emulated.client_secret,
            "CONNECTOR_STORE": str(folder / "jobs.db"),
            "CONNECTOR_SERVICE_TENANTS": TENANT.tenant_id,
            "CONNECTOR_SERVICE_AUDIENCES": emulated.client_id,
            "CONNECTOR_SERVICE_CLIENTS": FLOWS.client_id,
            "CONNECTOR_SERVICE_PUBLIC_URL": "https://close.contoso.com",
            "CONNECTOR_SERVICE_AUTHORITY": emulated.url,
            **settings,
        }
        endpoint = open_endpoint(load(environment))
        try:
            app = create_app(endpoint.options, endpoint.dependencies)
            with TestClient(app, base_url="https://close.contoso.com") as client:
                yield Hosted(emulated, client, endpoint.dependencies.organizations)
        finally:
            endpoint.close()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no settings of the checkout


def user_ids(made: Hosted) -> dict[str, str]:
    """Return the organization's users by their ids in the directory."""
    emulator = made.emulated.emulator
    with emulator.lock:
        rows = emulator.organization.store.rows("SELECT azureactivedirectoryobjectid, systemuserid FROM systemuser")
    return {str(directory): str(user) for directory, user in rows}


def test_each_maker_closes_with_a_token_of_their_own(tmp_path: Path, emulator_keys: Keys) -> None:
    with hosted(tmp_path, emulator_keys) as made:
        opportunities = {person.object_id: made.opportunity(at) for at, person in enumerate((ANN, BOB))}
        for person in (ANN, BOB):
            since = made.now
            opportunity = opportunities[person.object_id]
            answer = made.client.post(
                f"/opportunities/{opportunity}/close", json={"outcome": "won"}, headers=made.signed_in(person)
            )
            assert answer.status_code == 200, answer.text
            users = {entry.user for entry in made.entries(since, "web api") if entry.user}
            assert users == {person.object_id}, "every call of the organization is this maker's"
        emulator, users_by_id = made.emulated.emulator, user_ids(made)
        with emulator.lock:
            rows = emulator.organization.store.rows("SELECT opportunityid, createdby FROM opportunityclose")
        closed_by = {str(opportunity): str(user) for opportunity, user in rows}
        for person in (ANN, BOB):
            assert closed_by[str(opportunities[person.object_id])] == users_by_id[person.object_id]


def test_a_makers_token_is_exchanged_once_and_used_again(tmp_path: Path, emulator_keys: Keys) -> None:
    with hosted(tmp_path, emulator_keys) as made:
        opportunities = [made.opportunity(at) for at in range(2)]
        since, headers = made.now, made.signed_in(ANN)
        for opportunity in opportunities:
            assert made.client.get(f"/opportunities/{opportunity}", headers=headers).status_code == 200
            made.client.post(f"/opportunities/{opportunity}/close", json={"outcome": "lost"}, headers=headers)
        tokens = [entry for entry in made.entries(since, "identity") if "/token" in entry.request.url]
        assert len(tokens) == 1


def test_tokens_that_are_revoked_in_between_are_exchanged_anew(tmp_path: Path, emulator_keys: Keys) -> None:
    with hosted(tmp_path, emulator_keys) as made:
        opportunity, headers = made.opportunity(0), made.signed_in(ANN)
        assert made.client.get("/connection", headers=headers).json()["access"] == "user"
        made.emulated.emulator.bearer.revoke()
        answer = made.client.get(f"/opportunities/{opportunity}", headers=headers)
        assert answer.status_code == 200, answer.text


def test_an_operation_with_a_token_that_has_expired_uses_the_users_fresh_one(
    tmp_path: Path, emulator_keys: Keys
) -> None:
    with hosted(tmp_path, emulator_keys) as made:
        fresh = made.signed_in(ANN)["authorization"].partition(" ")[2]
        signing = made.emulated.emulator.keys.signing()
        ended = signing.sign({**signing.check(fresh), "exp": 1})
        old, new = (
            Caller(CallerKind.USER, TENANT.tenant_id, ANN.object_id, FLOWS.client_id, assertion=token)
            for token in (ended, fresh)
        )
        with pytest.raises(SignInAgain):
            made.reach.organization(old).metadata()
        organization = made.reach.organization(new)
        made.reach.organization(old)  # which comes in between
        organization.metadata()
        made.reach.organization(old).metadata()


@pytest.fixture
def _second_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tenant ask for a second factor, which only a person can give."""

    def ask(*_: object) -> None:
        raise EntraError(400, "interaction_required", 50076, "You must use multi-factor authentication.")

    monkeypatch.setattr(Grants, "_on_behalf_of", ask)


@pytest.mark.usefixtures("_second_factor")
def test_who_must_give_a_second_factor_is_told_to_sign_in_again(tmp_path: Path, emulator_keys: Keys) -> None:
    with hosted(tmp_path, emulator_keys) as made:
        opportunity, headers = made.opportunity(0), made.signed_in(ANN)
        read = made.client.get(f"/opportunities/{opportunity}", headers=headers)
        closed = made.client.post(f"/opportunities/{opportunity}/close", json={"outcome": "won"}, headers=headers)
        for answer in (read, closed):
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "sign_in_again"
            assert 'error="insufficient_claims"' in answer.headers["www-authenticate"]
            assert answer.json()["error"]["message"].endswith("Repair the connection: sign in to it again.")
            assert not answer.json()["retryable"]
        again = made.client.post(f"/opportunities/{opportunity}/close", json={"outcome": "won"}, headers=headers)
        assert again.json()["operationId"] != closed.json()["operationId"], "it does not stand"


def test_a_user_whom_the_organization_does_not_know_is_forbidden(tmp_path: Path, emulator_keys: Keys) -> None:
    with hosted(tmp_path, emulator_keys) as made:
        emulator, user = made.emulated.emulator, user_ids(made)[ANN.object_id]
        opportunity = made.opportunity(0)
        with emulator.lock, emulator.organization.store.transaction():
            emulator.organization.store.update("systemuser", user, {"isdisabled": True})
        answer = made.client.post(
            f"/opportunities/{opportunity}/close", json={"outcome": "won"}, headers=made.signed_in(ANN)
        )
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "organization_forbids"


def test_an_applications_token_is_never_exchanged(tmp_path: Path, emulator_keys: Keys) -> None:
    with hosted(tmp_path, emulator_keys) as made:
        since = made.now
        answer = made.client.get("/connection", headers=made.signed_in(None))
        assert answer.status_code == 403
        assert [entry for entry in made.entries(since, "identity") if "/token" in entry.request.url] == []


def test_as_an_application_the_endpoint_uses_its_own_user_whoever_calls(tmp_path: Path, emulator_keys: Keys) -> None:
    with hosted(tmp_path, emulator_keys, CONNECTOR_SERVICE_ACCESS="application") as made:
        opportunity, since = made.opportunity(0), made.now
        headers = made.signed_in(ANN)
        answer = made.client.post(f"/opportunities/{opportunity}/close", json={"outcome": "won"}, headers=headers)
        assert answer.status_code == 200, answer.text
        users = {entry.user for entry in made.entries(since, "web api") if entry.user}
        assert users == {made.emulated.client_id}
        with open_ledger(str(tmp_path / "jobs.db"), SystemClock()) as ledger:
            entries = list(ledger.audit.entries(AuditFilter()))
        assert {entry.source.by for entry in entries} == {f"user:{ANN.object_id}"}, "who asked is written down"
        assert entries[-1].source.user == made.emulated.client_id, "and as whom it was done"


# -- tenants ----------------------------------------------------------------------------------------------------------


def test_each_tenant_reaches_its_own_organization_and_no_other(tmp_path: Path, emulator_keys: Keys) -> None:
    options = EmulatorOptions(tenant=OTHER_TENANT, seeded=1)
    with served(options, SystemClock(), tmp_path, emulator_keys) as other:
        tenants = f"{TENANT.tenant_id},{OTHER_TENANT.tenant_id}={other.url}"
        with hosted(tmp_path, emulator_keys, CONNECTOR_SERVICE_TENANTS=tenants) as made:
            for tenant, emulated in ((TENANT, made.emulated), (OTHER_TENANT, other)):
                token = emulated.emulator.issuer.access(
                    FLOWS, "1", ANN, emulated.client_id, f"api://{emulated.client_id}/user_impersonation"
                )
                caller = Caller(CallerKind.USER, tenant.tenant_id, ANN.object_id, FLOWS.client_id, assertion=token)
                assert made.reach.address(caller) == emulated.url
                silent = other if emulated is not other else made.emulated
                before = silent.emulator.journal.latest(1)
                made.reach.organization(caller).metadata()
                assert silent.emulator.journal.latest(1) == before
                callers = {entry.user for entry in emulated.emulator.journal.latest(50) if entry.face == "web api"}
                assert ANN.object_id in callers


@pytest.mark.parametrize("claim", ["header", "query", "body"])
def test_a_caller_cannot_name_a_host(tmp_path: Path, emulator_keys: Keys, claim: str) -> None:
    with hosted(tmp_path, emulator_keys) as made:
        opportunity, headers = made.opportunity(0), made.signed_in(ANN)
        evil = "https://evil.crm4.dynamics.com"
        body: dict[str, str] = {"outcome": "won"}
        query = f"?organization={evil}&url={evil}" if claim == "query" else ""
        if claim == "header":
            headers |= {"x-organization-url": evil, "x-ms-dynamics-organization": "evil", "x-forwarded-host": "evil"}
        if claim == "body":
            body |= {"organization": evil}
        answer = made.client.post(f"/opportunities/{opportunity}/plan{query}", json=body, headers=headers)
        assert answer.status_code == (400 if claim == "body" else 200), answer.text
        assert made.client.get("/connection", headers=headers).json()["organization"] == made.emulated.url


def test_a_tenant_that_is_not_admitted_is_refused_before_anything_is_asked(tmp_path: Path, emulator_keys: Keys) -> None:
    with hosted(tmp_path, emulator_keys, CONNECTOR_SERVICE_TENANTS=OTHER_TENANT.tenant_id) as made:
        since = made.now
        answer = made.client.get("/connection", headers=made.signed_in(ANN))
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "tenant_not_admitted"
        assert made.now == since


# -- challenges -------------------------------------------------------------------------------------------------------


def test_the_claims_that_entra_asks_for_are_handed_on() -> None:
    asked = {"access_token": {"capolids": {"essential": True, "values": ["9ab03e19"]}}}
    failure = of_error(SignInAgain("A second factor is needed.", claims=json.dumps(asked)))
    assert failure.status == 401
    header = failure.headers["WWW-Authenticate"]
    assert json.loads(base64.b64decode(header.partition('claims="')[2].partition('"')[0])) == asked
