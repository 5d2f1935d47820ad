"""The trigger from end to end: an emulated organization on one side, a flow that waits on the other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from connector.assembly.endpoint import HostedEndpoint, open_endpoint
from connector.closing.close import fulfil
from connector.closing.model import Intent, Outcome
from connector.closing.organization import Query
from connector.handler import Request, Response
from connector.service.app import create_app
from connector.service.auth.authenticator import DEVELOPER
from connector.service.webhooks.closed_elsewhere import KEY_HEADER
from connector.service.webhooks.trigger import ClosedTrigger
from connector.settings.environment import load
from tests.service.messages import win_message
from tests.service.process import until

KEYS = ("the-key-in-use", "its-successor")
CALLBACK = "https://prod-01.westeurope.logic.azure.com:443/workflows/1/triggers/2?sp=%2Frun&sig=SECRETSIGNATURE"


@dataclass
class Flow:
    """A flow that waits at its callback."""

    told: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, request: Request) -> Response:
        assert request.url == CALLBACK
        self.told.append(json.loads(request.body))
        return Response(202)


@dataclass
class Scene:
    """An endpoint as `connector serve` makes it, with a flow in the place of the network."""

    endpoint: HostedEndpoint
    client: TestClient
    trigger: ClosedTrigger
    flow: Flow

    def opportunities(self, count: int) -> list[UUID]:
        organization: Any = self.endpoint.dependencies.organizations.organization(DEVELOPER)
        return list(islice(organization.find(Query(where="statecode eq 0")), count))

    def closed_elsewhere(self, opportunity: UUID) -> None:
        """Close an opportunity past the endpoint, as a salesperson does in the application."""
        organization = self.endpoint.dependencies.organizations.organization(DEVELOPER)
        fulfil(organization, Intent(opportunity, Outcome.WON, key="elsewhere"), pause=lambda _: None)

    def round(self) -> None:
        """Let the trigger ask what has changed, and deliver."""
        self.trigger.tracker.round()
        self.deliver()

    def deliver(self) -> None:
        """Deliver what is due, and wait for what the endpoint's own task delivers."""
        self.trigger.delivery_worker.round()
        until(lambda: not self.trigger.delivery_worker.busy)

    def subscribe(self) -> None:
        assert self.client.post("/subscriptions", json={"callbackUrl": CALLBACK}).status_code == 201

    def webhook(self, opportunity: UUID, key: str = KEYS[0]) -> int:
        path, headers = "/webhooks/dataverse", {KEY_HEADER: key}
        return self.client.post(path, json=win_message(opportunity), headers=headers).status_code


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.chdir(tmp_path)  # no settings of the checkout
    digests = (hashlib.sha256(key.encode()).hexdigest() for key in KEYS)
    environment = {
        "HOME": str(tmp_path),
        "DATAVERSE_URL": f"emulator:{tmp_path / 'organization.db'}",
        "CONNECTOR_STORE": str(tmp_path / "jobs.db"),
        "CONNECTOR_SERVICE_WEBHOOK_KEYS": ",".join(f"development:{digest}" for digest in digests),
    }
    endpoint, flow = open_endpoint(load(environment)), Flow()
    app = create_app(endpoint.options, replace(endpoint.dependencies, http=flow))
    try:
        with TestClient(app, base_url="http://localhost:8080", client=("127.0.0.1", 50000)) as client:
            yield Scene(endpoint, client, app.state.trigger, flow)
    finally:
        endpoint.close()


def test_a_close_through_the_endpoint_is_told_once_whoever_else_tells_of_it(scene: Scene) -> None:
    (opportunity,) = scene.opportunities(1)
    scene.subscribe()
    scene.trigger.tracker.look("development")  # from here on
    answer = scene.client.post(f"/opportunities/{opportunity}/close", json={"outcome": "won"})
    assert answer.status_code == 200
    assert scene.webhook(opportunity) == 200
    scene.trigger.tracker.look("development")
    scene.round()
    (event,) = scene.flow.told
    assert event["source"] == "connector"
    assert event["operationId"] == answer.json()["operationId"]
    assert event["opportunityId"] == str(opportunity)
    assert {quote["state"] for quote in event["quotes"]} <= {"closed", "won"}


@pytest.mark.parametrize("key", KEYS)
def test_a_close_elsewhere_is_told_by_a_webhook_with_either_live_key(scene: Scene, key: str) -> None:
    (opportunity,) = scene.opportunities(1)
    scene.subscribe()
    scene.closed_elsewhere(opportunity)
    assert scene.webhook(opportunity, key) == 200
    assert scene.webhook(opportunity, key) == 200, "the platform may send it again"
    scene.round()
    assert [(event["source"], event["outcome"]) for event in scene.flow.told] == [("dataverse_webhook", "won")]


def test_a_close_elsewhere_is_found_by_change_tracking_where_no_webhook_tells_of_it(scene: Scene) -> None:
    opportunities = scene.opportunities(3)
    scene.subscribe()
    scene.trigger.tracker.look("development")  # from here on
    for opportunity in opportunities[:2]:
        scene.closed_elsewhere(opportunity)
    scene.trigger.tracker.look("development")
    scene.round()
    told = {(event["source"], event["opportunityId"]) for event in scene.flow.told}
    assert told == {("change_tracking", str(opportunity)) for opportunity in opportunities[:2]}
    assert len(scene.flow.told) == 2
    scene.trigger.tracker.look("development")
    scene.round()
    assert len(scene.flow.told) == 2, "what was told is not told again"


def test_a_webhook_that_names_no_opportunity_makes_the_changes_be_asked_for(scene: Scene) -> None:
    (opportunity,) = scene.opportunities(1)
    scene.subscribe()
    scene.trigger.tracker.look("development")
    scene.closed_elsewhere(opportunity)
    message = win_message(opportunity) | {"InputParameters": [], "PrimaryEntityId": str(UUID(int=0))}
    headers = {KEY_HEADER: KEYS[0], "x-ms-dynamics-msg-size-exceeded": "true"}
    assert scene.client.post("/webhooks/dataverse", json=message, headers=headers).status_code == 200
    scene.deliver()
    assert [event["opportunityId"] for event in scene.flow.told] == [str(opportunity)]


@pytest.mark.parametrize("key", ["", "wrong", KEYS[0] + "x", hashlib.sha256(KEYS[0].encode()).hexdigest()])
def test_a_webhook_with_any_other_key_is_turned_away(scene: Scene, key: str) -> None:
    (opportunity,) = scene.opportunities(1)
    scene.subscribe()
    assert scene.webhook(opportunity, key) == 401
    assert scene.flow.told == []
