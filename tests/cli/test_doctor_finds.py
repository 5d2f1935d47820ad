"""Each line of `connector doctor` when what it looks at is not well: the finding, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector.emulator.background import ServedEmulator
from connector.emulator.identity.issuer import local_tenant
from tests.cli.desk import Desk, Said
from tests.cli.signing import by_secret, organization_of, rows


@pytest.fixture(scope="module")
def served_organization(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEmulator]:
    with organization_of(local_tenant(), tmp_path_factory.mktemp("tenant"), seeded=2) as emulator:
        yield emulator


@pytest.fixture
def emulator(served_organization: ServedEmulator) -> Iterator[ServedEmulator]:
    yield served_organization
    control = served_organization.emulator.control
    control.set_faults([])
    control.set_limits({"requests": 6000})


def not_well(said: Said, name: str) -> str:
    """Return the one line about `name`, which is no good news."""
    assert "Traceback" not in said.out + said.err
    (line,) = (line for line in said.out.splitlines() if line[9:].startswith(f"{name}:"))
    assert line.startswith(("FAILED ", "warning")), line
    return line


def test_an_organization_that_fails_is_told_from_a_sign_in_that_does(desk: Desk, emulator: ServedEmulator) -> None:
    emulator.emulator.control.set_faults([{"do": "status", "status": 500, "message": "WhoAmI"}])
    said = desk.run("doctor", **by_secret(emulator))
    assert said.code == 1
    assert "500" in not_well(said, "organization")
    assert "sign-in failed" not in said.out


def test_an_organization_that_is_too_busy_is_said_to_be(desk: Desk, emulator: ServedEmulator) -> None:
    emulator.emulator.control.set_faults([{"do": "throttle", "facet": "count", "seconds": 60, "message": "WhoAmI"}])
    said = desk.run("doctor", **by_secret(emulator), DATAVERSE_RETRY_SECONDS="0")
    assert said.code == 1
    line = not_well(said, "organization")
    assert "too many requests" in line.lower() or "limit" in line.lower()


def test_a_token_that_is_turned_down_is_a_matter_of_signing_in(desk: Desk, emulator: ServedEmulator) -> None:
    emulator.emulator.control.set_faults([{"do": "challenge", "message": "WhoAmI"}])
    said = desk.run("doctor", **by_secret(emulator))
    assert said.code == 1
    line = not_well(said, "sign-in")
    assert "refused two tokens" in line
    assert "this machine's clock" in line


def test_batches_that_something_in_between_breaks_are_a_warning(desk: Desk, emulator: ServedEmulator) -> None:
    emulator.emulator.control.set_faults([{"do": "status", "status": 405, "form": "html", "message": "$batch"}])
    said = desk.run("doctor", **by_secret(emulator))
    line = not_well(said, "batches")
    assert "step by step" in line
    assert "proxy" in line
    assert said.code == 0, said.out


def test_few_requests_left_is_a_warning(desk: Desk, emulator: ServedEmulator) -> None:
    emulator.emulator.control.set_limits({"requests": 500})
    said = desk.run("doctor", **by_secret(emulator))
    line = not_well(said, "limits")
    assert "requests left" in line
    assert "wait five minutes" in line
    assert said.code == 0


def test_messages_that_may_not_be_read_are_a_warning_that_names_the_privilege(desk: Desk) -> None:
    desk.sql("DELETE FROM _roleprivileges WHERE privilege = 'prvReadSdkMessage'")
    said = desk.run("doctor")
    assert "prvReadSdkMessage" in not_well(said, "messages")
    assert said.code == 0


def test_privileges_that_may_not_be_read_are_a_warning_that_names_what_is_missing(desk: Desk) -> None:
    desk.sql("DELETE FROM _roleprivileges WHERE privilege = 'prvReadUser'")
    said = desk.run("doctor")
    line = not_well(said, "privileges")
    assert "prvReadUser" in line
    assert "security role" in line
    assert said.code == 0


def test_acting_as_somebody_who_is_nobody_there_is_found(desk: Desk, emulator: ServedEmulator) -> None:
    before = rows(emulator)
    nobody = "99999999-0000-4000-8000-000000000000"
    said = desk.run("doctor", **by_secret(emulator), DATAVERSE_CALLER_OBJECT_ID=nobody)
    assert said.code == 1
    assert "DATAVERSE_CALLER_OBJECT_ID" in said.out
    assert rows(emulator) == before


def test_a_host_that_cannot_be_reached_is_found_where_it_stops(desk: Desk, emulator: ServedEmulator) -> None:
    said = desk.run("doctor", **by_secret(emulator) | {"DATAVERSE_URL": "https://localhost:9"})
    assert said.code == 1
    line = not_well(said, "sign-in")
    assert "localhost refused the connection" in line
    assert "DATAVERSE_URL" in line
