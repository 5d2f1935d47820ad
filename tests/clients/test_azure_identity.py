"""azure-identity signs in to the emulator as it does to Entra."""

from __future__ import annotations

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential

from connector.emulator.background import ServedEmulator


def credential(server: ServedEmulator, secret: str) -> ClientSecretCredential:
    return ClientSecretCredential(
        server.tenant_id,
        server.client_id,
        secret,
        authority=server.url,
        disable_instance_discovery=True,
        connection_verify=str(server.ca_file),
    )


def test_a_client_secret_credential_gets_a_token_and_keeps_it(server: ServedEmulator) -> None:
    with credential(server, server.client_secret) as one:
        token = one.get_token(f"{server.url}/.default").token
        assert token.count(".") == 2
        assert one.get_token(f"{server.url}/.default").token == token


def test_a_wrong_secret_is_told_in_entras_words(server: ServedEmulator) -> None:
    with (
        credential(server, "wrong") as one,
        pytest.raises(ClientAuthenticationError, match=r"AADSTS7000215: Invalid client secret"),
    ):
        one.get_token(f"{server.url}/.default")
