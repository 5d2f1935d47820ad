"""What was closed and reopened is in the audit log, by whichever door, and a close never depends on it."""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from connector import Intent, Outcome, ReopenIntent, close_many, connect, load_settings, reopen_opportunity
from connector.clock import SystemClock
from connector.errors import InputError
from connector.ledger.store import open_ledger
from tests.cli.desk import Desk, Said

ME = f"{getpass.getuser()} on {socket.gethostname()}"


def entries(said: Said) -> list[dict[str, object]]:
    return [json.loads(line) for line in said.out.splitlines()]


@pytest.fixture(autouse=True)
def called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line runs within the tests, whose own program may have any name."""
    monkeypatch.setattr(sys, "argv", ["connector"])


def test_a_close_and_its_way_back_are_entries_with_who_and_where(desk: Desk) -> None:
    opportunity = desk.opportunity(drafts=1)
    desk.run("close", opportunity, "--won", "--yes", "--description", "Secret remark")
    desk.run("close", opportunity, "--won", "--yes")
    desk.run("reopen", opportunity, "--yes")
    said = desk.run("log", opportunity, "--json")
    found = entries(said)
    assert [entry["event"] for entry in found] == ["closed", "already_closed", "reopened"]
    assert {(entry["door"], entry["by"], entry["host"], entry["user"]) for entry in found} == {
        ("command", ME, socket.gethostname(), "emulator")
    }
    assert found[0]["outcome"] == "won"
    changes = found[0]["changes"]
    assert isinstance(changes, list)
    assert [change["after"]["state"] for change in changes] == [1, 3]
    assert "Secret" not in said.out


def test_every_row_of_a_job_and_of_its_undoing_is_an_entry(desk: Desk, tmp_path: Path) -> None:
    ids = [str(row[0]) for row in desk.sql("SELECT opportunityid FROM opportunity WHERE statecode = 0 LIMIT 5")]
    (tmp_path / "rows.csv").write_text("opportunityid,outcome\n" + "".join(f"{id_},lost\n" for id_ in ids))
    desk.run("bulk", "run", "rows.csv", "--job", "june", "--yes")
    desk.run("bulk", "undo", "june", "--yes")
    found = entries(desk.run("log", "--json"))
    assert [entry["event"] for entry in found] == ["closed"] * 5 + ["reopened"] * 5
    assert {entry["opportunity"] for entry in found} == set(ids)
    assert {entry["job"] for entry in found} == {"june", "june.undo"}
    assert {(entry["door"], entry["by"], entry["user"]) for entry in found} == {("job", ME, "emulator")}
    assert len(entries(desk.run("log", "--job", "june", "--json"))) == 5
    assert len(entries(desk.run("log", "--job", "june", "--limit", "2", "--json"))) == 2


def test_a_script_is_named_as_the_door(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/scripts/nightly.py"])
    desk.run("close", desk.opportunity(), "--lost", "--yes")
    (entry,) = entries(desk.run("log", "--json"))
    assert (entry["door"], entry["by"]) == ("script", f"{ME} (nightly.py)")


def test_a_python_program_leaves_an_entry_for_each_record_and_none_that_is_open(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/scripts/ours.py"])
    first, second = UUID(desk.opportunity(drafts=1)), UUID(desk.opportunity())
    with connect(load_settings({**os.environ, "DATAVERSE_URL": f"emulator:{desk.file}"})) as connection:
        close_many(connection, [Intent(first, Outcome.LOST), Intent(second, Outcome.WON)])
        reopen_opportunity(connection, ReopenIntent(first))
        with pytest.raises(InputError):
            close_many(connection, [Intent(first, Outcome.LOST), Intent(first, Outcome.WON)])
    kept = entries(desk.run("log", "--json"))
    assert [(entry["opportunity"], entry["event"]) for entry in kept] == [
        (str(first), "closed"),
        (str(second), "closed"),
        (str(first), "reopened"),
        (str(first), "failed"),
        (str(first), "failed"),
    ]
    assert {(entry["door"], entry["by"]) for entry in kept} == {("script", f"{ME} (ours.py)")}


def test_the_table_says_in_words_what_happened(desk: Desk) -> None:
    opportunity = desk.opportunity(actives=1)
    assert desk.run("log").out == "The log has no entry of this kind.\n"
    desk.run("close", opportunity, "--lost", "--yes")
    desk.run("close", opportunity, "--won", "--yes")
    lines = desk.run("log").out.splitlines()
    assert lines[0].startswith("Audit log of https://")
    assert "closed as lost" in lines[2]
    assert "refused: closed with other outcome" in lines[3]
    shown = desk.run("show", opportunity).out
    assert "closed as lost" in shown
    assert [entry["event"] for entry in desk.run("show", opportunity, "--json").data["log"]] == ["closed", "refused"]


@pytest.mark.parametrize("since", ["7d", "12h", "2020-01-31", "2020-01-31T08:00"])
def test_a_time_may_be_a_day_a_moment_or_a_period(desk: Desk, since: str) -> None:
    desk.run("close", desk.opportunity(), "--lost", "--yes")
    assert len(entries(desk.run("log", "--since", since, "--json"))) == 1
    assert entries(desk.run("log", "--since", "2999-01-01", "--json")) == []


def test_a_time_that_is_none_says_how_to_write_one(desk: Desk) -> None:
    said = desk.run("log", "--since", "yesterday")
    assert said.code == 2
    assert "2026-01-31" in said.err


def test_a_close_stands_where_the_log_cannot_be_written_and_says_so(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    opportunity = desk.opportunity(drafts=1)
    desk.monkeypatch.setenv("CONNECTOR_STORE", str(tmp_path / "file" / "jobs.db"))
    said = desk.run("close", opportunity, "--won", "--yes")
    assert said.code == 0
    assert "Warning: The audit log does not have this. The job store" in said.err
    assert desk.sql("SELECT statecode FROM opportunity WHERE opportunityid = ?", opportunity) == [(1,)]
    assert desk.run("show", opportunity).code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets few users make links")
def test_what_only_reads_the_store_works_where_it_cannot_be_written(desk: Desk, tmp_path: Path) -> None:
    """A worker of it is dead, and a file beside it cannot be made: SQLite cannot open it to write, as on a full disk."""
    store = tmp_path / "jobs.db"
    desk.monkeypatch.setenv("CONNECTOR_STORE", str(store))
    opportunity = desk.opportunity(drafts=1)
    (tmp_path / "june.csv").write_text(f"opportunityid,outcome\n{opportunity},won\n")
    assert desk.run("bulk", "run", "june.csv", "--yes").code == 0
    with open_ledger(str(store), SystemClock()) as ledger:
        ledger.enter("another:1", "june")
    (tmp_path / "jobs.db-shm").symlink_to(tmp_path / "no folder" / "file")
    status = desk.run("bulk", "status", "june", "--json").data
    assert (status["closed"], status["workers"]) == (1, [])
    assert "closed as won" in desk.run("log").out
    assert "closed as won" in desk.run("show", opportunity).out
    assert "1 row checked: all match." in desk.run("bulk", "reconcile", "june").out
    assert desk.run("bulk", "report", "june", "--out", "out.csv").code == 0
    written = desk.run("bulk", "set", "june", "--limit", "1")
    assert (written.code, written.err.count("jobs.db cannot be opened")) == (1, 1)
    (tmp_path / "jobs.db-wal").write_text("what another process wrote last is here and cannot be read")
    assert desk.run("bulk", "status").code == 1


@pytest.mark.parametrize("encoding", ["cp437", "cp1252"])
def test_a_console_that_lacks_a_character_shows_something_else_and_goes_on(desk: Desk, encoding: str) -> None:
    opportunity = desk.opportunity(drafts=1)
    desk.sql("UPDATE opportunity SET name = ? WHERE opportunityid = ?", "Łódź 東京 \u0130 €", opportunity)
    environment = {
        **os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "DATAVERSE_URL": f"emulator:{desk.file}",
    }  # fmt: skip
    for arguments in (["close", opportunity, "--won", "--yes"], ["show", opportunity]):
        done = subprocess.run(
            [sys.executable, "-m", "connector", *arguments], capture_output=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
        done.stdout.decode(encoding)
