"""The store in Azure without a password: a token of the managed identity stands for it, at each new connection."""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import responses
from starlette.testclient import TestClient

from connector.assembly.access_provider import AccessProvider
from connector.assembly.endpoint import open_endpoint
from connector.clock import SystemClock
from connector.handler import Handler
from connector.ledger.operation_store import OperationStore
from connector.ledger.store import open_ledger
from connector.service.app import create_app
from connector.service.health import connections_state
from connector.service.service_options import Admission
from connector.settings.environment import load
from tests.ledger.conftest import postgres_server, postgres_store

__all__ = ["postgres_server", "postgres_store"]  # pytest finds them here

IMDS = "http://169.254.169.254/metadata/identity/oauth2/token"


def provider(folder: Path, opening: ExitStack, store: str, **given: str) -> AccessProvider:
    def as_it_is(handler: Handler) -> Handler:
        return handler

    environ = {"HOME": str(folder), "DATAVERSE_URL": "https://org.crm4.dynamics.com", "CONNECTOR_STORE": store, **given}
    return AccessProvider(load(environ), Admission(), SystemClock(), random.Random(7), as_it_is, opening)


MANAGED = {"DATAVERSE_MANAGED_IDENTITY": "55555555-5555-4555-8555-555555555555"}
SECRET = {"DATAVERSE_CLIENT_ID": "55555555-5555-4555-8555-555555555555", "DATAVERSE_CLIENT_SECRET": "s"}


@pytest.mark.parametrize(
    ("host", "resource"),
    [
        ("close.postgres.database.azure.com", "https://ossrdbms-aad.database.windows.net"),
        ("close.postgres.database.usgovcloudapi.net", "https://ossrdbms-aad.database.usgovcloudapi.net"),
    ],
)
def test_a_token_of_the_managed_identity_is_the_password(tmp_path: Path, host: str, resource: str) -> None:
    with responses.RequestsMock() as wire, ExitStack() as opening:
        wire.get(
            IMDS, json={"access_token": "token-1", "expires_in": "3600", "resource": resource, "token_type": "Bearer"}
        )
        password = provider(tmp_path, opening, f"postgresql://id@{host}/connector", **MANAGED).store_password()
        assert password is not None
        assert [password(), password()] == ["token-1", "token-1"]
        assert parse_qs(urlsplit(str(wire.calls[0].request.url)).query)["resource"] == [resource]
        assert len(wire.calls) == 1, "it is kept while it is good"


@pytest.mark.parametrize(
    ("store", "given"),
    [
        ("postgresql://id:secret@close.postgres.database.azure.com/connector", MANAGED),
        ("postgresql://id@database.example/connector", MANAGED),
        ("postgresql://id@close.postgres.database.azure.com/connector", SECRET),
        ("jobs.db", MANAGED),
    ],
)
def test_elsewhere_nobody_is_asked_for_one(tmp_path: Path, store: str, given: dict[str, str]) -> None:
    with ExitStack() as opening:
        assert provider(tmp_path, opening, store, **given).store_password() is None


def test_the_start_and_readiness_say_when_the_server_has_too_few_connections(
    postgres_store: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_ledger(postgres_store, SystemClock()) as ledger:
        most, taken = ledger.database.connections() or (0, 0)
        assert 1 <= taken <= most
    assert connections_state((most, taken), most // 4) == connections_state(None, 1000) == "ok"
    assert connections_state((100, 99), 1) == "99 of 100 are taken"
    environ = {
        "HOME": str(tmp_path), "DATAVERSE_URL": f"emulator:{tmp_path / 'o.db'}", "CONNECTOR_STORE": postgres_store,
        "CONNECTOR_SERVICE_SECRET": "s" * 40, "CONNECTOR_SERVICE_INSTANCES": "1000",
    }  # fmt: skip
    endpoint = open_endpoint(load(environ))
    try:
        app = create_app(endpoint.options, endpoint.dependencies)
        with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1)) as client:
            probe = client.get("/readyz")
    finally:
        endpoint.close()
    sentence = f"1000 instances may need 4000, and the server has {most}"
    assert sentence in caplog.text
    assert (probe.status_code, probe.json()["status"]) == (200, "degraded")
    assert probe.json()["checks"]["store_connections"] == sentence


def test_it_is_asked_for_at_each_new_connection(postgres_store: str) -> None:
    asked: list[str] = []

    def password() -> str:
        asked.append("token")
        return asked[-1]

    with open_ledger(postgres_store, SystemClock(), password=password) as ledger:
        operations = OperationStore(ledger)
        assert (operations.unfinished(), len(asked)) == (0, 1)
        ledger.database.close()
        assert (operations.unfinished(), len(asked)) == (0, 2)
