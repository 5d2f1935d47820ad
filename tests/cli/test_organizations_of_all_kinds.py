"""Organizations and wishes of all kinds, through the command line over a socket, read back from the records."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connector.emulator.background import ServedEmulator
from connector.emulator.identity.issuer import USER_OBJECT_ID, local_tenant
from tests.cli.desk import Desk, Said
from tests.cli.signing import by_secret, organization_of, rows

OPPORTUNITY = "0c000000-0000-4000-8000-000000000001"
DRAFT, ACTIVE = "0d000000-0000-4000-8000-000000000001", "0d000000-0000-4000-8000-000000000002"
WORK_BASED = 192350001
OPEN, WON, LOST = 0, 1, 2
Q_DRAFT, Q_ACTIVE, Q_WON, Q_CLOSED = 0, 1, 2, 3


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[ServedEmulator]:
    """An organization with one opportunity that has a draft and an active quote."""
    with organization_of(local_tenant(), tmp_path / "tenant", seeded=3) as emulator:
        organization = emulator.emulator.organization
        opportunity = {"opportunityid": OPPORTUNITY, "name": "One", "statecode": 0, "statuscode": 1}
        organization.load_rows("opportunity", [opportunity])
        for number, (identity, state, status) in enumerate(((DRAFT, 0, 1), (ACTIVE, 1, 2)), start=1):
            quote: dict[str, object] = {"quoteid": identity, "name": f"Quote {number}", "quotenumber": f"QUO-{number}"}
            quote |= {"opportunityid": OPPORTUNITY, "statecode": state, "statuscode": status}
            organization.load_rows("quote", [quote])
        yield emulator


def found(emulator: ServedEmulator, statement: str, *values: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in emulator.emulator.organization.store.rows(statement, values)]


def states(emulator: ServedEmulator) -> tuple[int, dict[str, int]]:
    """The state of the opportunity and of each of its quotes that there is."""
    ((state,),) = found(emulator, "SELECT statecode FROM opportunity WHERE opportunityid = ?", OPPORTUNITY)
    quotes = found(emulator, "SELECT quoteid, statecode FROM quote WHERE opportunityid = ?", OPPORTUNITY)
    return state, dict(quotes)


def close(desk: Desk, emulator: ServedEmulator, *arguments: str, **settings: str) -> Said:
    return desk.run("close", OPPORTUNITY, *arguments, "--yes", "--json", **by_secret(emulator), **settings)


def called(emulator: ServedEmulator) -> list[str]:
    entries = emulator.emulator.control.journal(after=0, limit=5000)
    return [operation["message"] for entry in entries for operation in entry["operations"]]


def doctor_line(desk: Desk, emulator: ServedEmulator, name: str, **settings: str) -> str:
    lines = desk.run("doctor", **by_secret(emulator), **settings).out.splitlines()
    (line,) = (line for line in lines if line[9:].startswith(f"{name}:"))
    return line


# -- organizations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("atomic", ["auto", "off"])
@pytest.mark.parametrize("way", ["immediate", "background"])
@pytest.mark.parametrize(("option", "state"), [("--won", WON), ("--lost", LOST)])
def test_project_operations_close_their_own_quotes(
    desk: Desk, emulator: ServedEmulator, atomic: str, way: str, option: str, state: int
) -> None:
    assert "Not installed" in doctor_line(desk, emulator, "Project Operations")
    emulator.emulator.control.set_switches({"project_operations": way})
    assert "Has msdyn_CloseAllOpportunityQuotes" in doctor_line(desk, emulator, "Project Operations")
    store = emulator.emulator.organization.store
    with store.transaction():
        store.update("opportunity", OPPORTUNITY, {"msdyn_ordertype": WORK_BASED})
        for quote in (DRAFT, ACTIVE):
            store.update("quote", quote, {"msdyn_ordertype": WORK_BASED})
    said = close(desk, emulator, option, DATAVERSE_ATOMIC=atomic)
    assert (said.code, said.data["status"]) == (0, "closed"), said.err
    assert states(emulator) == (state, {DRAFT: Q_CLOSED, ACTIVE: Q_CLOSED})
    assert any(message.startswith("msdyn_") for message in called(emulator))
    assert close(desk, emulator, option, DATAVERSE_ATOMIC=atomic).data["status"] == "already_closed"
    assert emulator.emulator.control.closes(more_than=1) == []


@pytest.mark.parametrize("atomic", ["auto", "off"])
def test_an_action_of_the_organizations_own_is_called_where_it_exists(
    desk: Desk, emulator: ServedEmulator, atomic: str
) -> None:
    own = {"DATAVERSE_CLOSE_ACTION": "CloseOpportunity", "DATAVERSE_ATOMIC": atomic}
    before = rows(emulator)
    line = doctor_line(desk, emulator, "close action", **own)
    assert line.startswith("FAILED   close action: The organization has no action CloseOpportunity.")
    assert "DATAVERSE_CLOSE_ACTION" in line
    said = close(desk, emulator, "--won", **own)
    assert said.code == (1 if atomic == "auto" else 4), said.err
    assert "no table or action of this name" in said.err
    assert "`connector doctor`" in said.err
    assert atomic == "off" or rows(emulator) == before
    emulator.emulator.control.set_switches({"close_opportunity_message": "present"})
    assert doctor_line(desk, emulator, "close action", **own).startswith("ok ")
    assert close(desk, emulator, "--won", **own).code == 0
    assert states(emulator) == (WON, {DRAFT: Q_CLOSED, ACTIVE: Q_CLOSED})
    assert "CloseOpportunity" in called(emulator)
    assert "WinOpportunity" not in called(emulator)


# -- wishes -----------------------------------------------------------------------------------------------------------


def test_drafts_are_activated_and_closed_by_default(desk: Desk, emulator: ServedEmulator) -> None:
    assert close(desk, emulator, "--won").code == 0
    assert states(emulator) == (WON, {DRAFT: Q_CLOSED, ACTIVE: Q_CLOSED})


def test_drafts_are_deleted_when_asked(desk: Desk, emulator: ServedEmulator) -> None:
    assert close(desk, emulator, "--won", "--drafts", "delete").code == 0
    assert states(emulator) == (WON, {ACTIVE: Q_CLOSED})


def test_drafts_are_closed_as_they_are_where_the_organization_takes_it(desk: Desk, emulator: ServedEmulator) -> None:
    before = rows(emulator)
    refused = close(desk, emulator, "--won", "--drafts", "direct")
    assert refused.code == 1
    assert rows(emulator) == before
    emulator.emulator.control.set_switches({"draft_quote_close": "accept"})
    assert close(desk, emulator, "--won", "--drafts", "direct").code == 0
    assert states(emulator) == (WON, {DRAFT: Q_CLOSED, ACTIVE: Q_CLOSED})


def test_drafts_that_are_to_be_left_refuse_the_close(desk: Desk, emulator: ServedEmulator) -> None:
    before = rows(emulator)
    said = close(desk, emulator, "--won", DATAVERSE_DRAFTS="leave")
    assert (said.code, said.data["status"]) == (3, "refused")
    assert rows(emulator) == before


@pytest.mark.parametrize("winner", [DRAFT, ACTIVE])
@pytest.mark.parametrize("atomic", ["auto", "off"])
def test_the_winning_quote_is_won_and_the_others_are_closed(
    desk: Desk, emulator: ServedEmulator, winner: str, atomic: str
) -> None:
    said = close(desk, emulator, "--won", "--winning-quote", winner, DATAVERSE_ATOMIC=atomic)
    assert said.code == 0, said.err
    assert states(emulator) == (WON, {DRAFT: Q_CLOSED, ACTIVE: Q_CLOSED} | {winner: Q_WON})
    assert called(emulator).count("WinQuote") == 1


def test_all_that_is_said_of_a_lost_opportunity_is_in_the_records(desk: Desk, emulator: ServedEmulator) -> None:
    ((competitor, name), *_) = found(emulator, "SELECT competitorid, name FROM competitor ORDER BY 1")
    address = f"{emulator.url}/main.aspx?etn=competitor&id={competitor}&pagetype=entityrecord"
    said = close(
        desk, emulator, "--lost", "--status", "Out-Sold", "--quote-status", "Revised", "--competitor", address,
        "--closed-on", "2026-01-31", "--subject", "Too dear", "--description", "They said so.",
        "--opportunity-column", "category=Price", "--opportunity-column", "actualdurationminutes:int=30",
        "--quote-column", "category=Lost deals",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert name
    assert found(
        emulator, "SELECT statecode, statuscode, actualclosedate FROM opportunity WHERE opportunityid = ?", OPPORTUNITY
    ) == [(LOST, 5, "2026-01-31")]
    assert found(
        emulator,
        "SELECT subject, description, competitorid, category, actualdurationminutes FROM opportunityclose "
        "WHERE opportunityid = ?",
        OPPORTUNITY,
    ) == [("Too dear", "They said so.", competitor, "Price", 30)]
    closes = "SELECT category FROM quoteclose WHERE quoteid IN (?, ?)"
    assert found(emulator, closes, DRAFT, ACTIVE) == [("Lost deals",)] * 2
    assert found(emulator, "SELECT DISTINCT statuscode FROM quote WHERE opportunityid = ?", OPPORTUNITY) == [(7,)]


@pytest.mark.parametrize("rule", ["user", "utc"])
@pytest.mark.parametrize("bias", [660, 480, 0, -330, -720, -840])
def test_a_day_is_that_day_wherever_the_user_is(desk: Desk, emulator: ServedEmulator, bias: int, rule: str) -> None:
    """`bias` is minutes west of UTC: 660 is Pago Pago, -840 Kiritimati; `rule` is whose calendar the service takes."""
    emulator.emulator.control.set_switches({"close_date_zone": rule})
    store = emulator.emulator.organization.store
    with store.transaction():
        store.execute("UPDATE usersettings SET timezonebias = ?", (bias,))
    said = close(desk, emulator, "--won", "--closed-on", "2026-01-31")
    assert (said.code, said.err) == (0, "")
    assert found(emulator, "SELECT actualclosedate FROM opportunity WHERE opportunityid = ?", OPPORTUNITY) == [
        ("2026-01-31",)
    ]
    ends = found(emulator, "SELECT actualend FROM opportunityclose WHERE opportunityid = ?", OPPORTUNITY)
    ends += found(emulator, "SELECT actualend FROM quoteclose WHERE quoteid IN (?, ?)", DRAFT, ACTIVE)
    assert len(ends) == 3
    for (end,) in ends:
        there = datetime.fromisoformat(end).astimezone(UTC) - timedelta(minutes=bias)
        assert there.date().isoformat() == "2026-01-31"


# -- somebody else ----------------------------------------------------------------------------------------------------


def test_a_close_as_somebody_else_is_that_users_close(desk: Desk, emulator: ServedEmulator) -> None:
    ((user,),) = found(
        emulator, "SELECT systemuserid FROM systemuser WHERE azureactivedirectoryobjectid = ?", USER_OBJECT_ID
    )
    said = close(desk, emulator, "--won", DATAVERSE_CALLER_OBJECT_ID=USER_OBJECT_ID)
    assert said.code == 0, said.err
    by = found(emulator, "SELECT DISTINCT createdby FROM opportunityclose WHERE opportunityid = ?", OPPORTUNITY)
    by += found(emulator, "SELECT DISTINCT createdby FROM quoteclose WHERE quoteid IN (?, ?)", DRAFT, ACTIVE)
    assert by == [(user,), (user,)]


def test_somebody_who_is_nobody_there_is_said(desk: Desk, emulator: ServedEmulator) -> None:
    nobody = "99999999-0000-4000-8000-000000000000"
    before = rows(emulator)
    said = close(desk, emulator, "--won", DATAVERSE_CALLER_OBJECT_ID=nobody)
    assert said.code == 1
    assert "Traceback" not in said.err
    assert "DATAVERSE_CALLER_OBJECT_ID" in said.err
    assert rows(emulator) == before


def test_acting_for_others_needs_a_privilege_that_is_named(desk: Desk) -> None:
    desk.sql("DELETE FROM _roleprivileges WHERE privilege = 'prvActOnBehalfOfAnotherUser'")
    before = desk.rows()
    settings = {"DATAVERSE_URL": f"emulator:{desk.file}", "DATAVERSE_CALLER_OBJECT_ID": USER_OBJECT_ID}
    said = desk.run("close", desk.opportunity(actives=1), "--won", "--yes", **settings)
    assert said.code == 1
    assert "prvActOnBehalfOfAnotherUser" in said.err
    assert "Delegate" in said.err
    assert desk.rows() == before
