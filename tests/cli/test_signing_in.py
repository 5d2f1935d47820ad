"""What a person is told when signing in or reaching the organization fails: over TLS, by MSAL, on a real socket."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connector.clock import SystemClock
from connector.emulator.background import ServedEmulator, served
from connector.emulator.identity.issuer import Secret, local_tenant
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.cli.desk import Desk

CLOSE = ("close", str(uuid.UUID(int=42)), "--won", "--yes")


def organization(tmp_path: Path, secret: Secret) -> Iterator[ServedEmulator]:
    tenant = local_tenant()
    application = replace(tenant.applications[0], secrets=(secret,))
    options = EmulatorOptions(tenant=replace(tenant, applications=(application,)), seeded=1)
    with served(options, SystemClock(), tmp_path, Keys()) as emulator:
        yield emulator


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[ServedEmulator]:
    yield from organization(tmp_path / "emulator", Secret("local-emulator-secret"))


@pytest.fixture
def emulator_with_an_expired_secret(tmp_path: Path) -> Iterator[ServedEmulator]:
    expired = Secret("local-emulator-secret", expires=datetime(2020, 1, 1, tzinfo=UTC))
    yield from organization(tmp_path / "emulator", expired)


def settings(emulator: ServedEmulator) -> dict[str, str]:
    return {
        "DATAVERSE_URL": emulator.url,
        "DATAVERSE_CLIENT_ID": emulator.client_id,
        "DATAVERSE_CLIENT_SECRET": emulator.client_secret,
        "DATAVERSE_CA_FILE": str(emulator.ca_file),
    }


def test_the_authority_is_found_out_from_the_organization(desk: Desk, emulator: ServedEmulator) -> None:
    said = desk.run("doctor", "--json", **settings(emulator))
    assert said.code == 0, said.out


def test_a_wrong_secret_is_told_without_telling_the_secret(desk: Desk, emulator: ServedEmulator) -> None:
    said = desk.run(*CLOSE, **settings(emulator) | {"DATAVERSE_CLIENT_SECRET": "another-emulator-secret"})
    assert said.code == 1
    assert "secret" in said.err
    assert "another-emulator-secret" not in said.err
    assert "Traceback" not in said.err


def test_an_expired_secret_is_told_as_expired(desk: Desk, emulator_with_an_expired_secret: ServedEmulator) -> None:
    said = desk.run(*CLOSE, **settings(emulator_with_an_expired_secret))
    assert said.code == 1
    assert "expired" in said.err
    assert "DATAVERSE_CLIENT_SECRET" in said.err


def test_a_wrong_tenant_is_named(desk: Desk, emulator: ServedEmulator) -> None:
    tenant = str(uuid.UUID(int=7))
    wrong = {"DATAVERSE_TENANT_ID": tenant, "DATAVERSE_AUTHORITY": f"{emulator.url}/{tenant}"}
    said = desk.run(*CLOSE, "--json", **settings(emulator) | wrong)
    assert said.code == 1
    assert said.data["error"]["kind"] == "SignInError"
    assert "tenant" in said.data["error"]["message"] + said.data["error"]["remedy"]


def test_an_organization_that_does_not_answer_is_named(desk: Desk, emulator: ServedEmulator) -> None:
    said = desk.run(*CLOSE, **settings(emulator) | {"DATAVERSE_URL": "https://localhost:9"})
    assert said.code == 1
    assert "localhost" in said.err
    assert "DATAVERSE_URL" in said.err


def test_a_certificate_that_is_not_trusted_is_named(desk: Desk, emulator: ServedEmulator, tmp_path: Path) -> None:
    with served(EmulatorOptions(seeded=1), SystemClock(), tmp_path / "other", Keys()) as other:
        said = desk.run(*CLOSE, **settings(emulator) | {"DATAVERSE_CA_FILE": str(other.ca_file)})
    assert said.code == 1
    assert "is not trusted" in said.err
    assert "DATAVERSE_CA_FILE" in said.err


def test_the_doctor_says_the_same_in_a_line(desk: Desk, emulator_with_an_expired_secret: ServedEmulator) -> None:
    said = desk.run("doctor", **settings(emulator_with_an_expired_secret))
    assert said.code == 1
    (line,) = (line for line in said.out.splitlines() if line.startswith("FAILED"))
    assert line.startswith("FAILED   sign-in: ")
    assert "expired" in line
