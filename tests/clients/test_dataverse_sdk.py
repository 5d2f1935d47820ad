"""Microsoft's own PowerPlatform-Dataverse-Client reads, writes and batches against the emulator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from azure.identity import ClientSecretCredential
from PowerPlatform.Dataverse.client import DataverseClient
from PowerPlatform.Dataverse.core.errors import HttpError

from connector.emulator.background import ServedEmulator

OPPORTUNITY = "00000003-0000-4000-8000-000000000001"
DRAFT = "00001084-0000-4000-8000-000000000011"


@pytest.fixture
def client(server: ServedEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[DataverseClient]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))
    credential = ClientSecretCredential(
        server.tenant_id, server.client_id, server.client_secret, authority=server.url, disable_instance_discovery=True
    )
    with credential, DataverseClient(server.url, credential) as one:
        yield one


def test_it_reads_one_row(client: DataverseClient, refusals: list[str]) -> None:
    assert refusals == []
    row = client.records.retrieve("opportunity", OPPORTUNITY, select=["name", "statecode"])
    assert row is not None
    assert (row["name"], row["statecode"]) == ("Opportunity 1", 0)


def test_it_filters_orders_and_expands(client: DataverseClient, refusals: list[str]) -> None:
    assert refusals == []
    rows = client.records.list(
        "quote",
        filter=f"_opportunityid_value eq {OPPORTUNITY} and statecode lt 2",
        select=["name", "statecode"],
        orderby=["statecode desc"],
    )
    assert [row["statecode"] for row in rows] == [1, 0]


def test_it_pages_through_every_row_once(client: DataverseClient, refusals: list[str]) -> None:
    assert refusals == []
    pages = list(client.records.list_pages("opportunity", select=["name"], page_size=100))
    names = [row["opportunityid"] for page in pages for row in page]
    assert [len(list(page)) for page in pages] == [100, 100, 100, 6]
    assert len(set(names)) == 306


def test_it_creates_changes_and_deletes(client: DataverseClient, refusals: list[str]) -> None:
    assert refusals == []
    key = client.records.create("opportunity", {"name": "Made by Microsoft's client"})
    assert isinstance(key, str)
    client.records.update("opportunity", key, {"description": "changed"})
    row = client.records.retrieve("opportunity", key, select=["name", "description"])
    assert row is not None
    assert row["description"] == "changed"
    client.records.delete("opportunity", key)


def test_it_creates_many_at_once(client: DataverseClient, refusals: list[str]) -> None:
    assert refusals == []
    keys = client.records.create("opportunity", [{"name": "a"}, {"name": "b"}])
    assert len(set(keys)) == 2
    client.records.update("opportunity", list(keys), {"description": "both"})


def test_a_change_set_is_all_or_nothing(client: DataverseClient) -> None:
    batch = client.batch.new()
    with batch.changeset() as together:
        together.records.update("quote", DRAFT, {"name": "must not stay"})
        together.records.update("quote", "00001084-0000-4000-8000-000000999999", {"statecode": 9})
    result = batch.execute(continue_on_error=True)
    assert result.has_errors
    row = client.records.retrieve("quote", DRAFT, select=["name"])
    assert row is not None
    assert row["name"] != "must not stay"


def test_what_the_emulator_lacks_is_refused_by_name(client: DataverseClient) -> None:
    with pytest.raises(HttpError, match=r"(?i)sql"):
        client.query.sql("SELECT name FROM opportunity")
