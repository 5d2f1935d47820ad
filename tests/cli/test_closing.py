"""Planning, closing and reopening from the command line, as a person or a script does."""

import os
import pty
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.cli.desk import Desk


def test_a_plan_shows_each_record_by_name_and_ends_with_a_digest(desk: Desk) -> None:
    said = desk.run("plan", desk.opportunity(drafts=1, actives=1), "--won")
    assert said.code == 0
    lines = said.out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Plan for '"))
    assert [line.split("  ")[0] for line in lines[start + 2 : start + 6]] == ["1", "2", "3", "4"]
    assert any(line.startswith("Note: The close date is ") for line in lines)
    assert lines[-1].startswith("Digest: ")


def test_a_plan_changes_nothing(desk: Desk) -> None:
    before = desk.rows()
    assert desk.run("plan", desk.opportunity(drafts=1, actives=1), "--lost", "--json").data["status"] == "planned"
    assert desk.rows() == before


def test_a_close_on_a_day_far_away_is_remarked_also_where_nobody_was_asked(desk: Desk) -> None:
    said = desk.run("close", desk.opportunity(actives=1), "--won", "--yes", "--closed-on", "9999-12-31")
    assert "Note: The close date 9999-12-31 is " in said.out


def test_a_close_with_json_is_one_object_that_names_every_step(desk: Desk) -> None:
    opportunity = desk.opportunity(drafts=1, actives=1)
    said = desk.run("close", opportunity, "--won", "--yes", "--json")
    assert (said.code, said.err) == (0, "")
    assert said.data["status"] == "closed"
    assert said.data["opportunity_id"] == opportunity
    assert [(step["kind"], step["result"]) for step in said.data["steps"]] in [
        [("activate_quote", "done"), ("close_quote", "done"), ("close_quote", "done"), ("close_opportunity", "done")],
        [("close_quote", "done"), ("activate_quote", "done"), ("close_quote", "done"), ("close_opportunity", "done")],
    ]
    assert all(step["record"] for step in said.data["steps"])
    assert said.data["record"]["state"] == "won", "the record as it stands, not as it was"
    assert {quote["state"] for quote in said.data["record"]["quotes"]} == {"closed"}


def test_the_second_run_changes_nothing_and_says_so(desk: Desk) -> None:
    opportunity = desk.opportunity(drafts=1, actives=1)
    first = desk.run("close", opportunity, "--won", "--yes")
    after = desk.rows()
    second = desk.run("close", opportunity, "--won", "--yes", "--json")
    assert (first.code, second.code, second.data["status"]) == (0, 0, "already_closed")
    assert "Closed: '" in first.out
    assert desk.rows() == after


def test_the_other_outcome_is_refused(desk: Desk) -> None:
    opportunity = desk.opportunity(actives=1)
    desk.run("close", opportunity, "--won", "--yes")
    after = desk.rows()
    said = desk.run("close", opportunity, "--lost", "--yes")
    assert said.code == 3
    assert said.out.startswith("Refused: The opportunity is already closed as won")
    assert desk.rows() == after


def test_a_close_bound_to_a_digest_does_that_plan_without_asking(desk: Desk) -> None:
    opportunity = desk.opportunity(actives=1)
    digest = desk.run("plan", opportunity, "--won", "--json").data["digest"]
    said = desk.run("close", opportunity, "--won", "--if-plan", digest, "--json")
    assert (said.code, said.data["status"], said.data["digest"]) == (0, "closed", digest)


def test_a_close_bound_to_another_digest_is_refused_and_changes_nothing(desk: Desk) -> None:
    before = desk.rows()
    said = desk.run("close", desk.opportunity(actives=1), "--won", "--if-plan", "0" * 16, "--json")
    assert (said.code, said.data["status"], said.data["reason_code"]) == (3, "refused", "plan_changed")
    assert desk.rows() == before


def test_every_option_of_an_intent_reaches_the_record(desk: Desk) -> None:
    opportunity = desk.opportunity(actives=1)
    competitor = desk.sql("SELECT competitorid FROM competitor ORDER BY 1")[0][0]
    said = desk.run(
        "close", opportunity, "--lost", "--yes", "--status", "Out-Sold", "--quote-status", "Canceled",
        "--closed-on", "2026-01-31", "--actual-revenue", "0", "--subject", "Too late", "--description", "They waited.",
        "--competitor", "{" + competitor.upper() + "}",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert desk.sql(
        "SELECT statecode, statuscode, actualclosedate FROM opportunity WHERE opportunityid = ?", opportunity
    ) == [(2, 5, "2026-01-31")]
    assert desk.sql("SELECT DISTINCT statuscode FROM quote WHERE opportunityid = ? AND statecode = 3", opportunity)[-1:]
    assert desk.sql(
        "SELECT subject, description, competitorid FROM opportunityclose WHERE opportunityid = ?", opportunity
    ) == [("Too late", "They waited.", competitor)]


def test_reopening_is_the_way_back(desk: Desk) -> None:
    opportunity = desk.opportunity(drafts=1, actives=1)
    desk.run("close", opportunity, "--won", "--yes")
    said = desk.run("reopen", opportunity, "--yes", "--json")
    assert (said.code, said.data["status"]) == (0, "reopened")
    assert desk.sql("SELECT statecode FROM opportunity WHERE opportunityid = ?", opportunity) == [(0,)]
    assert desk.run("reopen", opportunity, "--yes", "--json").data["status"] == "already_open"


def test_the_way_back_is_planned_and_bound_to_its_digest_too(desk: Desk) -> None:
    opportunity = desk.opportunity(drafts=1, actives=1)
    assert desk.run("reopen", opportunity, "--dry-run", "--json").data["status"] == "already_open"
    desk.run("close", opportunity, "--won", "--yes")
    planned = desk.run("reopen", opportunity, "--dry-run", "--json").data
    assert [step["kind"] for step in planned["steps"]] == ["reopen_opportunity", "reopen_quote", "reopen_quote"]
    assert desk.run("reopen", opportunity, "--if-plan", "0" * 16).code == 3
    assert desk.run("reopen", opportunity, "--if-plan", planned["digest"]).code == 0


def test_without_a_terminal_and_without_consent_nothing_is_done(desk: Desk) -> None:
    before = desk.rows()
    with Path(os.devnull).open(encoding="utf-8") as nobody:
        desk.monkeypatch.setattr(sys, "stdin", nobody)
        close = desk.run("close", desk.opportunity(actives=1), "--won")
        reopen = desk.run("reopen", desk.opportunity(actives=1))
    assert (close.code, reopen.code) == (2, 2)
    assert "There is no terminal to ask on, so nothing was changed. Agree with --yes" in close.err
    assert desk.rows() == before


def on_a_terminal(desk: Desk, answer: bytes, *arguments: str) -> tuple[int, bytes]:
    """Run the program with a terminal for everything and answer its question."""
    command = [sys.executable, "-m", "connector", *arguments]
    mine, its = pty.openpty()
    environment = {**os.environ, "DATAVERSE_URL": f"emulator:{desk.file}", "TERM": "dumb", "COLUMNS": "160"}
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment, cwd=desk.file.parent)
    os.close(its)
    seen, answered = b"", False
    while True:
        try:
            piece = os.read(mine, 4096)
        except OSError:
            break
        if not piece:
            break
        seen += piece
        if not answered and b"[y/N]" in seen:
            os.write(mine, answer)
            answered = True
    os.close(mine)
    return process.wait(), seen


def test_on_a_terminal_the_plan_is_shown_and_yes_does_it(desk: Desk) -> None:
    opportunity = desk.opportunity(drafts=1, actives=1)
    code, seen = on_a_terminal(desk, b"y\n", "close", opportunity, "--won")
    assert code == 0, seen
    assert (
        seen.index(b"Plan for")
        < seen.index(b"Close it as won on 20")
        < seen.index(b" in org.emulator.invalid?")
        < seen.index(b"Closed:")
    )


@pytest.mark.parametrize(("answer", "ends"), [(b"n\n", 3), (b"\n", 3), (b"\x04", 130)])
def test_on_a_terminal_anything_but_yes_changes_nothing(desk: Desk, answer: bytes, ends: int) -> None:
    before = desk.rows()
    code, seen = on_a_terminal(desk, answer, "close", desk.opportunity(actives=1), "--won")
    assert code == ends, seen
    assert b"nothing was changed" in seen
    assert desk.rows() == before


def test_what_is_not_there_is_said_to_be_not_there(desk: Desk) -> None:
    said = desk.run("close", str(uuid.uuid4()), "--won", "--yes", "--json")
    assert said.code == 1
    assert said.data["status"] == "failed"
    assert "There is no opportunity" in said.data["error"]["message"]
