"""Tenants are apart: what one has made, nobody of another sees, ends, repeats or retries, whatever they are there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from starlette.testclient import TestClient

from connector.clock import SystemClock
from connector.closing.model import Intent, Outcome
from connector.ledger.audit import AuditFilter
from connector.ledger.jobs import Row
from connector.service.app import create_app
from connector.service.auth.caller import Caller
from connector.service.dependencies import OrganizationAccess
from connector.service.service_options import Access
from tests.service.entra import ADMISSION, CONNECTOR, OTHER_TENANT, TENANT, Entra
from tests.service.stage import OPTIONS, Stage, StageAccess
from tests.service.test_authenticator import digest

URL = "https://close.contoso.com"
ANN, BOB = "66666666-6666-4666-8666-666666666666", "77777777-7777-4777-8777-777777777777"
KEYS = {digest("ours"): f"{TENANT}/flow", digest("theirs"): f"{OTHER_TENANT}/flow"}
OPERATOR = {"roles": ["Operations.Manage", "Opportunities.Close"]}


@contextmanager
def served(
    stage: Stage, entra: Entra, access: OrganizationAccess | None = None, workers: int = 0, queue: int = 100
) -> Iterator[TestClient]:
    organizations = {TENANT: "https://org.crm4.dynamics.com", OTHER_TENANT: "https://other.crm4.dynamics.com"}
    admission = replace(ADMISSION, access=Access.APPLICATION, tenants=organizations, api_keys=KEYS)
    options = replace(OPTIONS, admission=admission, public_url=URL, workers=workers, queue=queue)
    dependencies = replace(stage.dependencies(), keys_http=entra.http)
    app = create_app(options, replace(dependencies, organizations=access or dependencies.organizations))
    with TestClient(app, base_url=URL, client=("192.0.2.7", 50000)) as client:
        yield client


def token(entra: Entra, tenant: str, subject: str, **claims: Any) -> dict[str, str]:
    issuer = f"https://login.microsoftonline.com/{tenant}/v2.0"
    return {"authorization": f"Bearer {entra.token(tid=tenant, iss=issuer, oid=subject, **claims)}"}


def callers(entra: Entra) -> dict[str, dict[str, str]]:
    """Return a caller of every kind in both tenants: headers by name, those of the other tenant with `their`."""
    return {
        "our user": token(entra, TENANT, ANN),
        "our other user": token(entra, TENANT, BOB),
        "our operator": token(entra, TENANT, BOB, **OPERATOR),
        "our key": {"x-api-key": "ours"},
        "their user": token(entra, OTHER_TENANT, ANN),
        "their operator": token(entra, OTHER_TENANT, BOB, **OPERATOR),
        "their application": token(entra, OTHER_TENANT, CONNECTOR, scp=None, idtyp="app", **OPERATOR),
        "their key": {"x-api-key": "theirs"},
    }


STRANGERS = {
    "our user": {"our other user", "our key", "their user", "their operator", "their application", "their key"},
    "our key": {"our user", "our other user", "their user", "their operator", "their application", "their key"},
}


@pytest.mark.parametrize("owner", STRANGERS)
def test_no_stranger_sees_repeats_cancels_or_retries_an_operation(stage: Stage, owner: str) -> None:
    entra = Entra(SystemClock())
    with served(stage, entra) as client:
        known = callers(entra)
        opportunity = stage.opportunity(1)
        path, body = f"/opportunities/{opportunity}/close", {"outcome": "won", "mode": "accept"}
        same_key = {"Idempotency-Key": "the same for all"}
        made = client.post(path, json=body, headers=known[owner] | same_key).json()["operationId"]
        for name, headers in known.items():
            stranger = name in STRANGERS[owner]
            listed = [one["operationId"] for one in client.get("/operations", headers=headers).json()["value"]]
            assert (made in listed) is not stranger, name
            assert client.get(f"/operations/{made}", headers=headers).status_code == (404 if stranger else 202), name
            page = client.get("/operations-page", headers=headers)
            assert (page.status_code, made in page.text) == (200, not stranger), name
            if stranger:
                assert client.post(f"/operations/{made}/cancel", headers=headers).status_code == 404, name
                button = client.post(f"/operations-page/{made}/retry", headers=headers)
                assert button.status_code in (403, 404), name
        repeated = {name: client.post(path, json=body, headers=headers | same_key) for name, headers in known.items()}
        same = {name for name, answer in repeated.items() if answer.json().get("operationId") == made}
        assert same == {owner}
        assert client.get(f"/operations/{made}", headers=known[owner]).status_code == 202, "it still waits"


def noted(stage: Stage, reached: list[str]) -> StageAccess:
    """Return the organizations of a stage, which note the tenant of everybody who reaches for one."""
    access = cast("StageAccess", stage.dependencies().organizations)

    def noting(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(caller: Caller, *arguments: object) -> Any:
            reached.append(caller.tenant_id)
            return call(caller, *arguments)

        return called

    return replace(
        access, organization=noting(access.organization), address=noting(access.address), columns=noting(access.columns)
    )


def test_every_operation_of_every_caller_reaches_the_organization_of_their_own_tenant_alone(stage: Stage) -> None:
    entra, reached = Entra(SystemClock()), list[str]()
    with served(stage, entra, noted(stage, reached), workers=2) as client:
        for name, headers in callers(entra).items():
            opportunity = stage.opportunity(1)
            path = f"/opportunities/{opportunity}"
            asked = [
                client.post(f"{path}/plan", json={"outcome": "won"}, headers=headers),
                client.get(path, headers=headers),
                client.get("/status-reasons?outcome=won", headers=headers),
                client.get("/close-columns", headers=headers),
                client.get("/connection", headers=headers),
                client.post(f"{path}/close", json={"outcome": "won"}, headers=headers),
                client.post(f"{path}/reopen", json={}, headers=headers),
                client.get("/operations-page", headers=headers),
            ]
            assert [answer.status_code for answer in asked] == [200] * 8, name
            assert set(reached) == {OTHER_TENANT if name.startswith("their") else TENANT}, name
            reached.clear()
        for tenant in (TENANT, OTHER_TENANT):
            entries = [entry.data() for entry in stage.ledger.audit.entries(AuditFilter(tenant=tenant))]
            accepted = [entry for entry in entries if entry["event"] == "accepted"]
            assert len(accepted) == len(callers(entra)), "two of each of its four callers"
            assert all(tenant in str(entry) for entry in entries)


def test_one_tenant_fills_no_more_than_half_of_the_queue(stage: Stage) -> None:
    entra, body = Entra(SystemClock()), {"outcome": "won", "mode": "accept"}
    with served(stage, entra, queue=4) as client:
        known = callers(entra)
        paths = [f"/opportunities/{stage.opportunity()}/close" for _ in range(6)]
        ours = [client.post(path, json=body, headers=known["our user"]).status_code for path in paths[:3]]
        theirs = [client.post(path, json=body, headers=known["their user"]).status_code for path in paths[3:]]
    assert ours == theirs == [202, 202, 503]


def test_nobody_repeats_many_of_another_tenant(stage: Stage) -> None:
    entra = Entra(SystemClock())
    with served(stage, entra, workers=2) as client:
        known = callers(entra)
        leave = {"outcome": "won", "drafts": "leave"}
        made = client.post(f"/opportunities/{stage.opportunity(1)}/close", json=leave, headers=known["our user"])
        failed = made.headers["Operation-Id"]
        for name in STRANGERS["our user"] | {"our operator"}:
            page = client.get("/operations-page", headers=known[name]).text
            assert (failed in page) is (name == "our operator"), name
            form = {"token": re.findall(r'name="token" value="([0-9a-f]{64})"', page)[0]}
            for chosen in ({"operation": failed}, {"all": "1"}):
                answer = client.post("/operations-page/retry", data={**form, **chosen}, headers=known[name])
                assert answer.status_code == (200 if name == "our operator" else 409), name


def test_bulk_jobs_are_shown_to_operators_of_their_organizations_tenant_alone(stage: Stage) -> None:
    entra = Entra(SystemClock())
    row = Row(1, Intent(stage.opportunity(1), Outcome.WON))
    stage.ledger.create("january", [row], organization="https://org.crm4.dynamics.com")
    with served(stage, entra) as client:
        seen = {
            name: "january" in client.get("/operations-page", headers=headers).text
            for name, headers in callers(entra).items()
        }
    assert {name for name, shown in seen.items() if shown} == {"our operator"}


def test_a_subscription_is_told_of_its_own_tenants_closes_alone(stage: Stage) -> None:
    entra = Entra(SystemClock())
    callback = {"callbackUrl": "https://prod-1.westeurope.logic.azure.com/workflows/1?sig=x"}
    with served(stage, entra) as client:
        for name in ("our user", "their user", "our key", "their key"):
            assert client.post("/subscriptions", json=callback, headers=callers(entra)[name]).status_code == 201
        trigger = client.app.state.trigger  # type: ignore[attr-defined]  # an app of ours
        tenants = [{one.tenant for one in trigger.subscriptions.of_tenant(tenant)} for tenant in (TENANT, OTHER_TENANT)]
    assert tenants == [{TENANT}, {OTHER_TENANT}]


def test_agents_are_told_where_to_sign_in(stage: Stage) -> None:
    with served(stage, Entra(SystemClock())) as client:
        challenge = client.post("/mcp", json={}).headers["www-authenticate"]
        address = challenge.partition('resource_metadata="')[2].partition('"')[0]
        document = client.get(address.removeprefix(URL)).json()
    assert address == f"{URL}/.well-known/oauth-protected-resource/mcp"
    assert document["resource"] == f"{URL}/mcp"
    assert document["authorization_servers"] == ["https://login.microsoftonline.com/organizations/v2.0"]
    assert document["scopes_supported"] == ["api://close.contoso.com/user_impersonation"]
