"""The day of a close without a date, and the way back to what was before a close."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.cli.desk import Desk
from tests.days import zone_of_another_day


@pytest.fixture
def place(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk in a zone whose day is not that of UTC at this hour."""
    monkeypatch.setenv("DATAVERSE_TIME_ZONE", zone_of_another_day())
    return desk


def here() -> str:
    """Return the day in the zone of `place`."""
    return datetime.now(ZoneInfo(os.environ["DATAVERSE_TIME_ZONE"])).date().isoformat()


@pytest.mark.parametrize("atomic", ["auto", "off"])
def test_a_close_without_a_date_gets_the_day_of_the_callers_zone_and_says_whose_it_is(
    place: Desk, atomic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATAVERSE_ATOMIC", atomic)
    opportunity, today = place.opportunity(actives=1), here()
    plan = place.run("plan", opportunity, "--won")
    assert f"The close date is {today}, the day it is now by Pacific/" in " ".join(plan.out.split())
    said = place.run("close", opportunity, "--won", "--yes", "--json")
    assert said.code == 0, said.err
    assert today in said.data["notes"][0]
    assert said.data["digest"] == plan.out.rpartition("Digest: ")[2].split()[0], (
        "the day is no part of what is approved"
    )
    rows = place.sql("SELECT actualclosedate FROM opportunity WHERE opportunityid = ?", opportunity)
    assert rows == [(today,)]


def test_a_doctor_names_the_day_and_whose_it_is(place: Desk) -> None:
    said = place.run("doctor")
    assert f"today: A close without a date gets {here()}, the day it is now by Pacific/" in said.out
    assert "currencies: Amounts are rounded to the decimals of their currency: EUR 2, USD 2." in said.out


def test_logic_that_changes_the_currency_meanwhile_is_told_in_text_as_in_json(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logic = tmp_path / "logic.py"
    logic.write_text(SWAPS, encoding="utf-8")
    monkeypatch.setenv("DATAVERSE_EMULATOR_PLUGINS", str(logic))
    amount, (one, other) = "--actual-revenue=1234.56", (desk.opportunity(actives=1), desk.opportunity(actives=1))
    assert desk.run("close", one, "--won", "--yes", "--json", amount).data["record"]["currency"] == "Euro"
    assert "actual revenue 1,234.56 Euro;" in desk.run("close", other, "--won", "--yes", amount).out


def test_a_close_that_fails_says_nothing_of_the_day_it_would_have_had(
    place: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logic = tmp_path / "logic.py"
    logic.write_text(ABORTS, encoding="utf-8")
    monkeypatch.setenv("DATAVERSE_EMULATOR_PLUGINS", str(logic))
    said = place.run("close", place.opportunity(actives=1), "--won", "--yes")
    assert said.code == 1
    assert "the day it is now by" not in said.out.rpartition("Digest:")[2]


def test_an_unknown_zone_is_a_setting_to_correct(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAVERSE_TIME_ZONE", "Mars/Olympus")
    said = desk.run("plan", desk.opportunity(actives=1), "--won")
    assert said.code == 2
    assert "DATAVERSE_TIME_ZONE is 'Mars/Olympus', no time zone that is known here" in said.err


@pytest.mark.parametrize(("setting", "stored"), [("none", None), ("zero", 0.0)])
def test_a_lost_close_without_a_revenue_says_what_is_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, setting: str, stored: float | None
) -> None:
    monkeypatch.setenv("DATAVERSE_LOST_REVENUE", setting)
    opportunity = desk.opportunity(actives=1)
    said = desk.run("close", opportunity, "--lost", "--yes", "--json")
    assert ("No actual revenue is written." in str(said.data["notes"])) is (stored is None)
    assert desk.sql("SELECT actualvalue FROM opportunity WHERE opportunityid = ?", opportunity) == [(stored,)]


SWAPS = """
def plugin(context):
    if (context.message, context.stage) == ("WinOpportunity", "post"):
        (euro,) = context.query("transactioncurrency", isocurrencycode="EUR")
        currency = {"transactioncurrencyid": euro["transactioncurrencyid"]}
        context.update("opportunity", context.record_id, currency)
"""
ABORTS = """
def plugin(context):
    if context.message == "WinOpportunity":
        context.abort("No.")
"""
COLUMNS = "SELECT statuscode, actualvalue, actualclosedate, closeprobability FROM opportunity WHERE opportunityid = ?"
CHANCES = """
def plugin(context):
    if context.stage == "post" and context.message in ("WinOpportunity", "LoseOpportunity"):
        context.update("opportunity", context.record_id, {"closeprobability": 100})
"""


@pytest.mark.parametrize("way", ["reopen", "bulk undo"])
@pytest.mark.parametrize(("status", "chance"), [(2, 35), (2, None), (1, 0)])
def test_the_way_back_leads_to_what_was(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, status: int, chance: int | None
) -> None:
    logic = tmp_path / "logic.py"
    logic.write_text(CHANCES, encoding="utf-8")
    monkeypatch.setenv("DATAVERSE_EMULATOR_PLUGINS", str(logic))
    monkeypatch.setenv("CONNECTOR_STORE", str(tmp_path / "jobs.db"))
    opportunity = desk.opportunity(actives=1)
    desk.sql("UPDATE opportunity SET statuscode = ?, closeprobability = ? WHERE opportunityid = ?", status, chance,
             opportunity)  # fmt: skip
    before = desk.sql(COLUMNS, opportunity)
    rows = tmp_path / "rows.csv"
    rows.write_text(f"opportunityid,outcome,actual_revenue\n{opportunity},won,12.50\n", encoding="utf-8")
    if way == "reopen":
        assert desk.run("close", opportunity, "--won", "--actual-revenue", "12.50", "--yes").code == 0
    else:
        assert desk.run("bulk", "run", str(rows), "--job", "j", "--yes").code == 0
    assert desk.sql(COLUMNS, opportunity)[0][:2] == (3, 12.5)
    back = ("reopen", opportunity) if way == "reopen" else ("bulk", "undo", "j")
    said = desk.run(*back, "--yes")
    assert said.code == 0, said.err
    after = desk.sql(COLUMNS, opportunity)
    assert after[0][:3] == before[0][:3]
    assert after == before or (chance is None and way == "reopen"), "no probability is nothing that an id can tell"
