"""dynamics-client (PyPI) reads, writes and closes quotes against the emulator as it does against Dynamics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from dynamics import DynamicsClient, ftr

from connector.emulator.background import ServedEmulator

OPPORTUNITY = "00000003-0000-4000-8000-000000000001"
DRAFT = "00001084-0000-4000-8000-000000000011"
ACTIVE = "00001084-0000-4000-8000-000000000012"


@pytest.fixture
def client(server: ServedEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[DynamicsClient]:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.ca_file))
    made = DynamicsClient(
        f"{server.url}/api/data/v9.2",
        f"{server.url}/{server.tenant_id}/oauth2/v2.0/token",
        server.client_id,
        server.client_secret,
        scope=f"{server.url}/.default",
        cache_token=False,
    )
    yield made
    made._oauth_client.close()


def test_it_filters_expands_and_pages(client: DynamicsClient, refusals: list[str]) -> None:
    assert refusals == []
    client.table, client.select, client.filter = "quotes", ["name"], [ftr.eq("_opportunityid_value", OPPORTUNITY)]
    assert len(client.get().data) == 2
    client.reset_query()
    client.table, client.select, client.pagesize = "opportunities", ["name"], 100
    assert len(client.get(pagination_rules={"pages": 3}).data) == 306


def test_it_activates_wins_and_closes_quotes_and_makes_an_order(client: DynamicsClient, refusals: list[str]) -> None:
    assert refusals == []
    client.actions.activate_quote(DRAFT, select=["statecode"])
    client.actions.close_quote(DRAFT)
    client.actions.win_quote(ACTIVE)
    order: Any = client.actions.convert_quote_to_order(ACTIVE, select=["salesorderid"])
    assert order.data["salesorderid"]
    revised: Any = client.actions.revise_quote(DRAFT)
    assert revised.data["revisionnumber"] == 1


def test_a_refusal_arrives_in_the_services_words(client: DynamicsClient) -> None:
    client.table, client.row_id = "opportunities", "00000000-0000-4000-8000-0000000000ff"
    with pytest.raises(Exception, match="Does Not Exist"):
        client.get()
