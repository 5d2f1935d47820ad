"""Clocks that disagree, tokens that live for seconds, and trouble with tokens in the middle of a close."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from connector.clock import SystemClock
from connector.emulator.background import ServedEmulator, served
from connector.emulator.identity.issuer import local_tenant
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.cli.desk import Desk
from tests.cli.signing import (
    Certificate,
    an_open_opportunity,
    by_secret,
    is_won,
    new_certificate,
    organization_of,
    place,
    rows,
    tenant_with,
)

MINUTES, DAYS = timedelta(minutes=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Skewed:
    """The clock of a service that is `ahead` of this machine's."""

    system: SystemClock
    ahead: timedelta

    def now(self) -> datetime:
        return self.system.now() + self.ahead

    def monotonic(self) -> float:
        return self.system.monotonic()

    def sleep(self, seconds: float) -> None:
        self.system.sleep(seconds)


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return new_certificate()


@pytest.mark.parametrize("ahead", [-2 * DAYS, -10 * MINUTES, 10 * MINUTES, 2 * DAYS], ids=str)
def test_a_clock_that_is_wrong_does_not_keep_a_secret_from_closing_but_the_doctor_says_so(
    desk: Desk, tmp_path: Path, ahead: timedelta
) -> None:
    with served(EmulatorOptions(seeded=30), Skewed(SystemClock(), ahead), tmp_path / "skewed", Keys()) as emulator:
        opportunity = an_open_opportunity(emulator)
        said = desk.run("close", opportunity, "--won", "--yes", **by_secret(emulator))
        assert said.code == 0, said.err
        assert is_won(emulator, opportunity)
        doctor = desk.run("doctor", **by_secret(emulator))
    (line,) = (line for line in doctor.out.splitlines() if line.startswith("FAILED"))
    assert line.startswith("FAILED   clock: This machine's clock")
    assert ("behind" if ahead > timedelta() else "ahead") in line
    assert "Set this machine's clock" in line


@pytest.mark.parametrize("ahead", [20 * MINUTES, 2 * DAYS], ids=str)
def test_a_certificate_signs_with_the_time_so_a_wrong_clock_is_said(
    desk: Desk, certificate: Certificate, tmp_path: Path, ahead: timedelta
) -> None:
    options = EmulatorOptions(seeded=2, tenant=tenant_with(certificate))
    with served(options, Skewed(SystemClock(), ahead), tmp_path / "skewed", Keys()) as emulator:
        settings = place(emulator) | {
            "DATAVERSE_CLIENT_ID": emulator.client_id,
            "DATAVERSE_CLIENT_CERTIFICATE": str(certificate.pem(tmp_path / "one.pem")),
        }
        before = rows(emulator)
        said = desk.run("close", "00000003-0000-4000-8000-000000000001", "--won", "--yes", **settings)
        assert said.code == 1
        assert "outside its time" in said.err
        assert "Check this machine's clock" in said.err
        assert rows(emulator) == before


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[ServedEmulator]:
    with organization_of(local_tenant(), tmp_path / "tenant") as emulator:
        yield emulator


STEPWISE = {"DATAVERSE_ATOMIC": "off"}


def test_tokens_that_live_for_seconds_are_renewed_between_the_steps(desk: Desk, tmp_path: Path) -> None:
    """A step takes longer than a token lives, so the next is sent with another."""
    with organization_of(replace(local_tenant(), token_lifetime=5), tmp_path / "tenant") as emulator:
        slow = {"do": "slow", "when": "before", "message": "CloseQuote", "seconds": 5.5, "times": 1}
        emulator.emulator.control.set_faults({"faults": [slow]})
        opportunity = an_open_opportunity(emulator)
        said = desk.run("close", opportunity, "--won", "--yes", **by_secret(emulator), **STEPWISE)
        assert said.code == 0, said.err
        assert is_won(emulator, opportunity)
        assert tokens_asked_for(emulator) > 1
        assert emulator.emulator.control.closes(more_than=1) == []


@pytest.mark.parametrize("how", [{}, STEPWISE], ids=["atomic", "stepwise"])
def test_a_session_revoked_in_the_middle_of_a_close_is_answered_with_its_claims(
    desk: Desk, emulator: ServedEmulator, how: dict[str, str]
) -> None:
    opportunity = an_open_opportunity(emulator)
    challenge = {"do": "challenge", "message": "CloseQuote", "times": 1}
    emulator.emulator.control.set_faults({"faults": [challenge]})
    said = desk.run("close", opportunity, "--won", "--yes", **by_secret(emulator), **how)
    assert said.code == 0, said.err
    assert is_won(emulator, opportunity)
    assert tokens_asked_for(emulator) == 2
    assert emulator.emulator.control.closes(more_than=1) == []


def test_a_sign_in_service_that_stumbles_in_the_middle_is_asked_again(desk: Desk, emulator: ServedEmulator) -> None:
    opportunity = an_open_opportunity(emulator)
    challenge = {"do": "challenge", "message": "WinOpportunity", "times": 1}
    # Before the second token is asked for come the description of the service and the first token.
    down = {"do": "status", "status": 503, "message": "token", "nth": 3, "times": 2}
    emulator.emulator.control.set_faults({"faults": [challenge, down]})
    said = desk.run("close", opportunity, "--won", "--yes", **by_secret(emulator), **STEPWISE)
    assert said.code == 0, said.err
    assert is_won(emulator, opportunity)


def tokens_asked_for(emulator: ServedEmulator) -> int:
    entries = emulator.emulator.control.journal(after=0, limit=5000)
    return sum(entry["title"] == "token" for entry in entries)
