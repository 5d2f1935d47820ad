"""Closes and the way back against an emulated organization with reasons and logic of its own."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import connector.emulator.examples
from connector import Intent, Outcome, Query, close_many, connect, load_settings, run_command

ON_HOLD = 2
EXAMPLES = Path(connector.emulator.examples.__file__).parent


def test_undoing_a_job_gives_back_the_status_reason_that_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "organization.db"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATAVERSE_URL", f"emulator:{file}")
    monkeypatch.setenv("CONNECTOR_STORE", str(tmp_path / "jobs.db"))
    with connect(load_settings()) as connection:
        first, second, *_ = connection.organization.find(Query(where="statecode eq 0"))

    def statuses() -> list[int]:
        with closing(sqlite3.connect(file)) as database:
            rows = database.execute(
                "SELECT statuscode FROM opportunity WHERE opportunityid IN (?, ?) ORDER BY opportunityid",
                sorted((str(first), str(second))),
            )
            return [row[0] for row in rows]

    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE opportunity SET statuscode = ? WHERE opportunityid = ?", (ON_HOLD, str(first)))
    before = statuses()
    assert ON_HOLD in before
    rows = tmp_path / "rows.csv"
    rows.write_text(f"opportunityid,outcome\n{first},lost\n{second},lost\n", encoding="utf-8")
    assert run_command(["bulk", "run", str(rows), "--yes"]) == 0
    assert statuses() == [4, 4]
    assert run_command(["bulk", "undo", "rows", "--yes"]) == 0
    assert statuses() == before


def test_an_organization_that_closes_the_other_quotes_itself_is_closed_in_pieces_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATAVERSE_URL", f"emulator:{tmp_path / 'organization.db'}")
    monkeypatch.setenv("DATAVERSE_EMULATOR_PLUGINS", str(EXAMPLES / "close_siblings.py"))
    with connect(load_settings()) as connection:
        organization = connection.organization
        ids = list(organization.find(Query(where="statecode eq 0")))
        seen = organization.observe(ids)
        several = [one for one in ids if sum(quote.is_open for quote in seen[one].quotes) > 1]
        assert several
        reports = close_many(connection, [Intent(one, Outcome.LOST) for one in several])
        after = organization.observe(several)
    assert {report.status.value for report in reports} == {"closed"}
    assert any("done in pieces" in warning for report in reports for warning in report.warnings)
    assert not any(quote.is_open for snapshot in after.values() for quote in snapshot.quotes)
