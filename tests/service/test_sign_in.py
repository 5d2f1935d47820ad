"""Signing in at the running endpoint: tokens of both versions, connections, status addresses, agents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from connector.clock import SystemClock
from connector.service.app import create_app
from connector.service.service_options import Access
from tests.service.entra import ADMISSION, OTHER_TENANT, Entra
from tests.service.stage import OPTIONS, Stage

URL = "https://close.contoso.com"
SOMEBODY = "66666666-6666-4666-8666-666666666666"


@contextmanager
def served(stage: Stage, entra: Entra, **changed: Any) -> Iterator[TestClient]:
    """Serve an endpoint that asks for tokens and uses the organization as its application."""
    admission = replace(ADMISSION, access=Access.APPLICATION)
    options = replace(OPTIONS, admission=admission, public_url=URL, **changed)
    app = create_app(options, replace(stage.dependencies(), keys_http=entra.http))
    with TestClient(app, base_url=URL, client=("192.0.2.7", 50000)) as client:
        yield client


@pytest.fixture
def entra() -> Entra:
    return Entra(SystemClock())


def signed_in(entra: Entra, version: str = "2.0", **claims: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {entra.token(version, **claims)}"}


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_the_test_of_a_connection_passes_with_a_token_and_fails_without(
    stage: Stage, entra: Entra, version: str
) -> None:
    with served(stage, entra) as client:
        sent = stage.sent
        without = client.get("/connection")
        assert stage.sent == sent, "the organization is not asked for a stranger"
        good = client.get("/connection", headers=signed_in(entra, version))
        expired = client.get("/connection", headers=signed_in(entra, version, exp=1))
    metadata = f"{URL}/.well-known/oauth-protected-resource/mcp"
    assert (without.status_code, without.headers["WWW-Authenticate"]) == (401, f'Bearer resource_metadata="{metadata}"')
    assert (good.status_code, good.json()["organization"]) == (200, stage.embedded.url)
    assert (expired.status_code, expired.json()["error"]["code"]) == (401, "token_expired")
    assert "WWW-Authenticate" in expired.headers


def test_a_status_address_answers_with_whatever_authorization_comes_or_none(stage: Stage, entra: Entra) -> None:
    mine, another = signed_in(entra), signed_in(entra, oid=SOMEBODY)
    with served(stage, entra, workers=0) as client:
        body = {"outcome": "won", "mode": "accept"}
        accepted = client.post(f"/opportunities/{stage.opportunity()}/close", json=body, headers=mine)
        address = accepted.headers["Location"]
        assert address.startswith(f"{URL}/operations/")
        path = urlsplit(address).path
        for headers in ({}, mine, another, {"authorization": "Bearer rubbish"}, {"authorization": "Basic eDp5"}):
            assert client.get(path, headers=headers).status_code == 202, headers
        by_id = f"/operations/{accepted.json()['operationId']}"
        assert [client.get(by_id, headers=h).status_code for h in (mine, another, {})] == [202, 404, 401]
        for forged in ("abc.", ".", "...", f"{accepted.json()['operationId']}.", f"{path[12:]}."):
            assert client.get(f"/operations/{forged}").status_code in (401, 404), forged
        assert client.post(f"{path}/cancel").status_code == 401, "the address reads; it does nothing"
        assert client.post(f"{by_id}/cancel", headers=another).status_code == 404
        assert [one.status_code for one in (client.get("/operations"), client.get("/operations-page"))] == [401, 401]
        assert client.get("/operations", headers=another).json()["value"] == []


def test_a_subscription_ends_at_its_address_without_signing_in(stage: Stage, entra: Entra) -> None:
    callback = "https://prod-01.westeurope.logic.azure.com/workflows/1?sig=SECRETSIGNATURE"
    with served(stage, entra) as client:
        assert client.post("/subscriptions", json={"callbackUrl": callback}).status_code == 401
        made = client.post("/subscriptions", json={"callbackUrl": callback}, headers=signed_in(entra))
        path = urlsplit(made.headers["Location"]).path
        assert client.delete(path[:-3] + "xyz").status_code == 404
        assert [client.delete(path).status_code for _ in range(2)] == [204, 204]


def test_a_token_of_another_tenant_is_turned_away_before_anything_is_asked(stage: Stage, entra: Entra) -> None:
    with served(stage, entra) as client:
        answer = client.get("/connection", headers=signed_in(entra, tid=OTHER_TENANT))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "tenant_not_admitted")
    assert (entra.asked, stage.sent) == ([], 0)


def tool(client: TestClient, headers: dict[str, str], name: str, **arguments: object) -> Any:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    answer = client.post("/mcp", json=message, headers={"accept": "application/json", **headers})
    assert answer.status_code == 200, answer.text
    result = answer.json()["result"]
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    return result["structuredContent"]


def test_an_agent_plans_closes_once_confirmed_and_changes_nothing_the_second_time(stage: Stage, entra: Entra) -> None:
    opportunity, me = stage.opportunity(1, 2), signed_in(entra)
    with served(stage, entra) as client:
        assert client.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).status_code == 401
        plan = tool(client, me, "plan_close", opportunityId=str(opportunity), outcome="won")
        wanted = {"opportunityId": str(opportunity), "outcome": "won", "planDigest": plan["digest"]}
        unconfirmed = tool(client, me, "close_opportunity_with_quotes", **wanted)
        assert stage.state(opportunity) == (0, [0, 1], 0, 0)
        done = tool(client, me, "close_opportunity_with_quotes", **wanted, confirmed=True)
        assert stage.state(opportunity) == (1, [3, 3], 1, 2)
        del wanted["planDigest"]
        again = tool(client, me, "close_opportunity_with_quotes", **wanted, confirmed=True)
    assert (unconfirmed["result"], unconfirmed["changed"]) == ("unconfirmed", False)
    assert (done["result"], done["changed"]) == ("closed", True)
    assert [quote["result"] for quote in done["quotes"]] == ["closed", "closed"]
    assert (again["result"], again["changed"]) == ("already_closed", False)
    assert stage.state(opportunity) == (1, [3, 3], 1, 2)
