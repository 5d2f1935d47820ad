"""MSAL's managed-identity client against both endpoints of the emulator."""

from __future__ import annotations

import msal
import pytest
import requests

from connector.emulator.background import ServedEmulator


@pytest.mark.parametrize("service", ["app service", "virtual machine"])
def test_a_managed_identity_signs_in(server: ServedEmulator, monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    if service == "app service":
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "any")
    else:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.url)
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(server.ca_file)
        client = msal.ManagedIdentityClient(msal.SystemAssignedManagedIdentity(), http_client=session)
        answer = client.acquire_token_for_client(resource=server.url)
        assert "access_token" in answer, answer
        who = session.get(
            f"{server.url}/api/data/v9.2/WhoAmI",
            headers={"Authorization": f"Bearer {answer['access_token']}"},
            timeout=120,
        )
    assert who.status_code == 200
