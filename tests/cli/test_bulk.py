from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from connector.clock import SystemClock
from connector.ledger.shared_state import take_user
from connector.ledger.store import open_ledger
from tests.bulk.dam import PATIENCE
from tests.bulk.office import leave_unread

from tests.cli.desk import Desk, Said  # isort: skip
from tests.cli.terminal import on_terminal


def write(desk: Desk, name: str = "rows.csv", count: int = 30, outcome: str = "won") -> list[str]:
    ids = [str(id_) for (id_,) in desk.sql("SELECT opportunityid FROM opportunity WHERE statecode = 0 ORDER BY 1")]
    lines = ["opportunityid,outcome", *(f"{id_},{outcome}" for id_ in ids[:count])]
    (desk.file.parent / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ids[:count]


def bulk(desk: Desk, *arguments: str) -> Said:
    store = str(desk.file.parent / "jobs.db")
    return desk.run("bulk", *arguments, DATAVERSE_URL=f"emulator:{desk.file}", CONNECTOR_STORE=store)


def test_a_file_is_closed_and_every_row_accounted_for(desk: Desk) -> None:
    ids = write(desk)
    said = bulk(desk, "run", "rows.csv", "--job", "june", "--yes", "--json")
    assert said.code == 0
    assert said.data["total"] == said.data["closed"] == len(ids)
    assert said.data["pending"] == said.data["failed"] == 0
    assert said.data["users"][0]["refused"] == 0
    status = bulk(desk, "status", "june", "--json")
    assert status.code == 0
    wanted = {"total": 30, "closed": 30, "already_closed": 0, "refused": 0, "failed": 0, "pending": 0}
    assert {name: status.data[name] for name in wanted} == wanted


def test_the_same_command_again_changes_nothing(desk: Desk) -> None:
    write(desk)
    bulk(desk, "run", "rows.csv", "--job", "june", "--yes")
    before = desk.rows()
    assert bulk(desk, "run", "rows.csv", "--job", "june", "--yes", "--json").code == 0
    assert bulk(desk, "resume", "june", "--yes", "--json").data["closed"] == 30
    assert desk.rows() == before


def test_resume_and_retry_change_nothing_before_they_are_answered(desk: Desk, tmp_path: Path) -> None:
    write(desk)
    bulk(desk, "run", "rows.csv", "--job", "june", "--yes")
    place = {"DATAVERSE_URL": f"emulator:{desk.file}", "CONNECTOR_STORE": str(desk.file.parent / "jobs.db")}
    with open_ledger(place["CONNECTOR_STORE"], SystemClock()) as ledger:
        assert leave_unread(ledger, "june") == 30
    before = bulk(desk, "status", "june", "--json").data
    seen = on_terminal("bulk", "resume", "june", columns=120, folder=tmp_path, answer="n\n", **place)
    assert "To be read again, since an earlier run ended just after it did them: 30 rows" in seen.text
    assert "Go on with the 30 rows of job june that are left? [y/N]" in seen.text
    assert "nothing was changed" in seen.text
    assert bulk(desk, "retry", "june", "--yes").code == 4, "rows are left to be read"
    assert bulk(desk, "status", "june", "--json").data == before
    again = bulk(desk, "run", "rows.csv", "--job", "june", "--yes", "--json")
    assert (again.data["closed"], again.data["operations"] > before["operations"]) == (30, True), "looked at again"
    assert "finished at" not in again.err


def test_one_request_is_told_as_one(desk: Desk) -> None:
    Path("one.csv").write_text("opportunityid,outcome\n00000003-0000-4000-8000-00000000ffff,won\n", encoding="utf-8")
    assert "about 1 request sent, 1 Power Platform request counted" in bulk(desk, "plan", "one.csv").out


def test_a_folder_is_no_file_of_rows(desk: Desk) -> None:
    said = bulk(desk, "plan", ".")
    assert (said.code, said.err.splitlines()[0]) == (2, "Error: . is not a file.")


def test_other_rows_under_the_name_of_a_job_are_refused(desk: Desk) -> None:
    write(desk)
    bulk(desk, "run", "rows.csv", "--job", "june", "--yes")
    write(desk, "other.csv", 10, "lost")
    said = bulk(desk, "run", "other.csv", "--job", "june", "--yes")
    assert said.code == 1
    assert "other rows" in said.err


def test_a_plan_is_written_run_and_undone(desk: Desk) -> None:
    ids = write(desk)
    said = bulk(desk, "plan", "rows.csv", "--json")
    assert said.code == 0
    assert said.data["planned"] == len(ids)
    assert said.data["forecast"]["requests"] > 0
    assert bulk(desk, "run", said.data["plan"], "--job", "june", "--yes", "--json").data["closed"] == len(ids)
    assert bulk(desk, "reconcile", "june", "--json").data == {
        "job": "june",
        "checked": 30,
        "mismatches": [],
        "open": 0,
        "left_later_by_other_jobs": 0,
        "not_compared": {},
    }
    before = desk.rows()
    said = bulk(desk, "undo", "june", "--dry-run", "--json")
    assert said.data == {"job": "june", "would_reopen": len(ids), "would_refuse": 0, "problems": []}
    assert "Nothing was changed" in bulk(desk, "undo", "june", "--dry-run").out
    assert desk.rows() == before
    assert bulk(desk, "undo", "june", "--yes", "--json").data["reopened"] == len(ids)
    assert bulk(desk, "undo", "june", "--dry-run", "--json").data["would_reopen"] == 0
    bulk(desk, "run", "rows.csv", "--job", "july", "--yes")
    again = bulk(desk, "undo", "june", "--yes", "--json")
    assert (again.code, again.data["job"], again.data["reopened"]) == (0, "june.undo", len(ids))
    assert "The job june was undone at " in again.err, "it is not told as done now, when all are closed again"
    bulk(desk, "run", "rows.csv", "--job", "august", "--yes")
    nothing = bulk(desk, "undo", "august", "--yes")
    assert "The job august closed nothing, so nothing is done." in nothing.err
    assert bulk(desk, "status", "august.undo").code == 1
    assert bulk(desk, "status", "june", "--json").data["undone"] == len(ids)


def test_exit_codes_say_whether_all_is_well(desk: Desk) -> None:
    ids = write(desk, count=4)
    write(desk, "lost.csv", 2, "lost")
    assert bulk(desk, "run", "lost.csv", "--yes").code == 0
    assert bulk(desk, "run", "rows.csv", "--yes").code == 3
    Path("none.csv").write_text(f"opportunityid,outcome\n{uuid4()},won\n", encoding="utf-8")
    said = bulk(desk, "run", "none.csv", "--yes", "--json")
    assert said.code == 1
    assert said.data["reasons"] == [{"status": "failed", "reason": "NotFound", "count": 1}]
    said = bulk(desk, "report", "rows", "--dead-letters", "dead.csv", "--json")
    assert said.code == 3
    assert said.data["files"] == {"dead.csv": 2}
    assert sum(ids[0] in line for line in Path("dead.csv").read_text(encoding="utf-8").splitlines()) == 1


def test_a_mismatch_ends_reconciliation_with_a_failure(desk: Desk) -> None:
    ids = write(desk, count=3)
    bulk(desk, "run", "rows.csv", "--yes")
    desk.sql("UPDATE opportunity SET statecode = 0, statuscode = 1 WHERE opportunityid = ?", ids[1])
    said = bulk(desk, "reconcile", "rows", "--json")
    assert said.code == 1
    assert [each["row"] for each in said.data["mismatches"]] == [2]


def test_failed_rows_are_tried_again(desk: Desk) -> None:
    ids = write(desk, count=3)
    desk.sql("UPDATE opportunity SET statecode = 2, statuscode = 4 WHERE opportunityid = ?", ids[0])
    assert bulk(desk, "run", "rows.csv", "--yes").code == 3
    desk.sql("UPDATE opportunity SET statecode = 0, statuscode = 1 WHERE opportunityid = ?", ids[0])
    assert bulk(desk, "retry", "rows", "--refused", "--yes", "--json").data["closed"] == 3


def test_bad_rows_are_told_with_file_and_row_and_nothing_is_touched(desk: Desk) -> None:
    before = desk.rows()
    ids = write(desk, count=3)
    Path("rows.csv").write_text(f"opportunityid,outcome\n{ids[0]},won\n{ids[0]},lost\n", encoding="utf-8")
    said = bulk(desk, "run", "rows.csv", "--yes")
    assert said.code == 2
    assert "row 2" in said.err
    assert "contradicts row 1" in said.err
    assert desk.rows() == before
    assert bulk(desk, "status", "--json").data == {"jobs": []}


@pytest.mark.parametrize("verb", ["resume", "pause", "cancel", "status", "retry", "report", "reconcile", "undo"])
def test_an_unknown_job_is_told(desk: Desk, verb: str) -> None:
    said = bulk(desk, verb, "nothing", "--json")
    assert said.code == 1
    assert "There is no job 'nothing'" in said.data["error"]["message"]
    assert not (desk.file.parent / "jobs.db").exists()


def test_without_agreement_nothing_is_changed(desk: Desk) -> None:
    write(desk)
    before = desk.rows()
    assert bulk(desk, "run", "rows.csv").code == 2
    assert desk.rows() == before


def test_a_job_that_is_being_worked_on_is_left_to_who_does(desk: Desk) -> None:
    write(desk)
    bulk(desk, "run", "rows.csv", "--job", "june", "--yes")
    with open_ledger(str(desk.file.parent / "jobs.db"), SystemClock()) as ledger:
        worker = ledger.enter("elsewhere:7", "june")
        said = bulk(desk, "resume", "june", "--yes")
        worker.leave()
    assert said.code == 1
    assert "elsewhere:7" in said.err
    assert "--join" in said.err


def test_an_interrupted_run_says_how_to_go_on_and_does(desk: Desk) -> None:
    write(desk, count=60)
    store = desk.file.parent / "jobs.db"
    environment = {**os.environ, "DATAVERSE_URL": f"emulator:{desk.file}", "CONNECTOR_STORE": str(store)}
    command = [sys.executable, "-m", "connector", "bulk", "run", "rows.csv", "--job", "june", "--yes", "--json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not store.exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE)
    if process.returncode == 4:
        assert json.loads(out)["pending"] > 0
    assert bulk(desk, "run", "rows.csv", "--job", "june", "--yes", "--json").data["closed"] == 60


def test_the_governor_of_a_short_run_can_be_seen_afterwards(desk: Desk) -> None:
    write(desk, count=3)
    bulk(desk, "run", "rows.csv", "--yes")
    governor = bulk(desk, "status", "rows", "--json").data["governor"]
    assert governor["users"][0]["requests"] > 0
    assert {"binding", "waiting", "rate", "ceiling", "left", "at"} <= governor.keys()


def test_a_user_is_in_one_process_at_a_time(desk: Desk) -> None:
    write(desk, count=3)
    store = str(desk.file.parent / "jobs.db")
    with open_ledger(store, SystemClock()) as ledger:
        worker = ledger.enter("elsewhere:7")
        (url,) = bulk_url(desk)
        assert take_user(ledger, worker, f"emulator@{url}")
        command = [sys.executable, "-m", "connector", "bulk", "run", "rows.csv", "--yes", "--json"]
        environment = {**os.environ, "DATAVERSE_URL": f"emulator:{desk.file}", "CONNECTOR_STORE": store}
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
            assert process.stderr is not None
            assert any(line.startswith("Waiting: every user") for line in process.stderr)
            worker.leave()
            out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, json.loads(out)["closed"]) == (0, 3)


def bulk_url(desk: Desk) -> set[str]:
    """The address of the embedded organization, as a plan of no rows names it."""
    bulk(desk, "plan", "--where", "estimatedvalue lt -1", "--won", "--out", "none.plan.jsonl")
    return {json.loads(Path("none.plan.jsonl").read_text(encoding="utf-8").splitlines()[0])["organization"]}


@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_there_is_nothing_to_stop_of_a_finished_job(desk: Desk, verb: str) -> None:
    write(desk, count=1)
    bulk(desk, "run", "rows.csv", "--yes")
    assert bulk(desk, verb, "rows").out == "It is finished: every row has its result, and nothing was changed.\n"
    assert bulk(desk, "status", "rows", "--json").data["desired_state"] == "run"


def test_a_person_is_told_where_to_read_why_rows_were_not_done(desk: Desk) -> None:
    Path("none.csv").write_text(f"opportunityid,outcome\n{uuid4()},won\n", encoding="utf-8")
    said = bulk(desk, "run", "none.csv", "--job", "our june", "--yes")
    assert "Job our june: 1 row, finished." in said.out
    assert "what to do about each: connector bulk report 'our june' --dead-letters FILE.csv" in said.out
    # who only reads the store needs no organization and no way to sign in
    said = desk.run("bulk", "report", "our june", "--dead-letters", "again.csv", DATAVERSE_URL="")
    assert said.out.endswith("again.csv: 1 row written.\n")
    assert "our june" in desk.run("bulk", "status", DATAVERSE_URL="").out
    said = bulk(desk, "plan", "none.csv")
    assert "Plan of 1 row in https://org.emulator.invalid: 1 failed." in said.out
    assert "failed: There is no opportunity" in said.out
    assert "By reason: 1 not found. none.plan.jsonl has the row, and why." in said.out


def test_a_plan_sums_up_by_outcome_and_currency_and_says_what_to_type_next(desk: Desk) -> None:
    said = bulk(desk, "plan", "--where", "estimatedvalue gt 0", "--lost", "--limit", "7", "--out", "p.plan.jsonl")
    assert said.code == 0
    assert "7 planned." in said.out
    rows = [line.split() for line in said.out.splitlines() if line.startswith("Lost, Canceled")]
    assert sum(int(row[2]) for row in rows) == 7
    assert {" ".join(row[4:]) for row in rows} <= {"US Dollar", "Euro"}
    assert said.out.endswith("  connector bulk run p.plan.jsonl\n")
    data = bulk(desk, "plan", "--where", "estimatedvalue gt 0", "--lost", "--out", "q.plan.jsonl", "--json").data
    assert sum(group["rows"] for group in data["closes"]) == data["planned"] > 7


def test_a_plan_remarks_what_is_far_from_the_others_and_shows_it_again_before_it_is_run(desk: Desk) -> None:
    desk.sql("UPDATE opportunity SET estimatedvalue = 100")
    ids = [id_ for (id_,) in desk.sql("SELECT opportunityid FROM opportunity WHERE statecode = 0 ORDER BY 1 LIMIT 3")]
    for id_, name in zip(ids, ("Old", "New", "Much"), strict=True):
        desk.sql("UPDATE opportunity SET name = ? WHERE opportunityid = ?", name, id_)
    cells = ("1999-01-31,100", "2962-01-31,100", "2026-01-31,1000.01")
    text = "\n".join(f"{id_},won,{more}" for id_, more in zip(ids, cells, strict=True))
    Path("far.csv").write_text(f"opportunityid,outcome,closed_on,actual_revenue\n{text}\n")
    days = "Close dates given: from 1999-01-31 ('Old') to 2962-01-31 ('New'), in the future."
    amount = "Actual revenue far from the estimated value: 1 row, first 'Much', 1,000.01 and not 100.00."
    planned = bulk(desk, "plan", "far.csv").out
    assert days in planned
    assert amount in planned
    before = bulk(desk, "run", "far.plan.jsonl")
    assert before.code == 2, "nobody could agree"
    assert days in before.out
    assert amount in before.out
    assert bulk(desk, "plan", "far.csv", "--json").data["close_dates"] == [["1999-01-31", "Old"], ["2962-01-31", "New"]]


@pytest.mark.parametrize("name", ["-x", "two\nlines", "bell\a", " ", "x" * 201])
def test_a_job_gets_no_name_that_cannot_be_shown_and_typed(desk: Desk, name: str) -> None:
    write(desk, count=1)
    said = bulk(desk, "run", "rows.csv", "--job", name, "--yes")
    assert said.code == 2
    assert "cannot be the name of a job" in said.err
    assert bulk(desk, "status", "--json").data == {"jobs": []}


def test_results_are_not_written_under_the_name_of_another_kind_of_file(desk: Desk) -> None:
    write(desk, count=1)
    bulk(desk, "run", "rows.csv", "--yes")
    before = set(Path().iterdir())
    for names in (["--out", "june.pdf"], ["--out", "-"], ["--out", "june.csv", "--dead-letters", "bad.xlsx"]):
        said = bulk(desk, "report", "rows", *names)
        assert said.code == 2
        assert f"written to {names[-1]}: the name does not say what kind of file it shall be" in said.err
    twice = bulk(desk, "report", "rows", "--out", "june.csv", "--dead-letters", "./june.csv")
    assert (twice.code, "name a file for each" in twice.err) == (2, True)
    assert set(Path().iterdir()) == before


def test_what_begins_as_a_plan_but_is_for_no_organization_is_refused(desk: Desk) -> None:
    Path("odd.plan").write_text('{"plan": 1}\n', encoding="utf-8")
    said = bulk(desk, "run", "odd.plan", "--yes")
    assert said.code == 2
    assert "odd.plan was planned for no organization, not for" in said.err


def test_the_commands_stand_in_the_order_of_their_use_and_say_a_whole_sentence(desk: Desk) -> None:
    said = bulk(desk, "--help").out
    listed = [line.split()[0] for line in said.partition("Commands:")[2].splitlines() if line.strip()]
    assert listed[:3] == ["plan", "run", "resume"]
    assert "..." not in said.partition("Commands:")[2]


def test_rows_that_a_rule_stops_in_words_of_their_own_are_counted_together(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logic = tmp_path / "logic.py"
    logic.write_text(
        "def plugin(context):\n"
        "    if (context.message, context.stage) == ('WinOpportunity', 'pre'):\n"
        "        deal = context.retrieve('opportunity', context.record_id)\n"
        "        context.abort(f\"{deal['name']} has no approval.\")\n"
    )
    monkeypatch.setenv("DATAVERSE_EMULATOR_PLUGINS", str(logic))
    desk.run("doctor")
    rows = desk.sql("SELECT opportunityid FROM opportunity WHERE statecode = 0 ORDER BY 1 LIMIT 3")
    for (key,), name in zip(rows, ("Alpine roof", "Bridge (phase two)", "Cellar"), strict=True):
        desk.sql("UPDATE opportunity SET name = ? WHERE opportunityid = ?", name, key)
    file = tmp_path / "rows.csv"
    file.write_text("opportunityid,outcome\n" + "".join(f"{key},won\n" for (key,) in rows))
    out = desk.run("bulk", "run", str(file), "--yes").out
    assert "3    of these: 0x80040265 … has no approval." in out
