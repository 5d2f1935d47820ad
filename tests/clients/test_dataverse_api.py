"""dataverse-api (PyPI) describes a table for itself and reads, creates, changes and deletes rows of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from azure.identity import ClientSecretCredential
from dataverse_api import DataverseClient
from dataverse_api.errors import DataverseAPIError

from connector.emulator.background import ServedEmulator


@pytest.fixture
def client(server: ServedEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[DataverseClient]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca_file))
    credential = ClientSecretCredential(
        server.tenant_id, server.client_id, server.client_secret, authority=server.url, disable_instance_discovery=True
    )
    with credential, requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {credential.get_token(f'{server.url}/.default').token}"
        yield DataverseClient(session, f"{server.url}/")


def test_it_reads_every_page_of_a_table_that_it_looks_up(client: DataverseClient, refusals: list[str]) -> None:
    assert refusals == []
    opportunity = client.entity("opportunity")
    assert (opportunity.entity_set_name, opportunity.primary_id_attr) == ("opportunities", "opportunityid")
    rows = opportunity.read(select=["name"], page_size=100, order_by="name", return_formatted_values=True)
    assert len({row["opportunityid"] for row in rows}) == 306


@pytest.mark.parametrize("mode", ["individual", "multiple", "batch"])
def test_it_creates_rows_in_each_of_its_ways_and_deletes_them(
    server: ServedEmulator, client: DataverseClient, refusals: list[str], mode: str
) -> None:
    assert refusals == []
    server.emulator.control.set_switches({"batch_line_ends": "loose"})  # its batches have bare line feeds
    account = client.entity("account")
    account.create([{"name": "Made by dataverse-api"}, {"name": "Made by dataverse-api"}], mode=mode)
    made = account.read(select=["accountid"], filter="name eq 'Made by dataverse-api'")
    assert len(made) == 2
    account.delete(ids=[row["accountid"] for row in made])
    assert account.read(select=["accountid"], filter="name eq 'Made by dataverse-api'") == []


def test_a_refusal_arrives_in_the_services_words(client: DataverseClient) -> None:
    with pytest.raises(DataverseAPIError, match="Could not find a property named 'nothing'"):
        client.entity("quote").read(select=["nothing"])
