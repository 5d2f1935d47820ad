"""Opportunities found by a saved view: the connector asks, the emulated organization executes the view."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from connector.clock import VirtualClock
from connector.closing.organization import Query
from connector.dataverse.dataverse_organization import DataverseOrganization
from connector.emulator.embedded import open_embedded
from connector.emulator.seeding.emulator_options import MEMORY, EmulatorOptions
from connector.errors import InputError
from connector.handler import Request, Response


@pytest.fixture
def organization() -> DataverseOrganization:
    emulated = open_embedded(MEMORY, VirtualClock(), EmulatorOptions())
    form = {"grant_type": "client_credentials", "client_id": emulated.client_id}
    form |= {"client_secret": emulated.client_secret, "scope": f"{emulated.url}/.default"}
    asked = Request("POST", f"{emulated.authority}/oauth2/v2.0/token", {}, urlencode(form).encode())
    token = json.loads(emulated.handler(asked).body)["access_token"]

    def authorized(request: Request) -> Response:
        headers = {**request.headers, "authorization": f"Bearer {token}"}
        return emulated.handler(Request(request.method, request.url, headers, request.body))

    return DataverseOrganization(authorized, emulated.url, clock=VirtualClock())


def test_a_view_finds_what_it_says_by_its_name_and_by_its_id(organization: DataverseOrganization) -> None:
    everything = set(organization.find(Query(view="All Opportunities")))
    still_open = set(organization.find(Query(view="Open Opportunities")))
    closed = set(organization.find(Query(view="Closed Opportunities")))
    assert still_open == set(organization.find(Query(view="00000000-0000-0000-00aa-000010003001")))
    assert still_open == set(organization.find(Query(where="statecode eq 0")))
    assert (still_open | closed, still_open & closed) == (everything, set())
    assert closed


def test_a_view_that_is_not_there_is_told(organization: DataverseOrganization) -> None:
    with pytest.raises(InputError, match="There is no view 'Nothing'"):
        list(organization.find(Query(view="Nothing")))
