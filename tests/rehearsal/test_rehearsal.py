"""Rehearsals: every row done in the model, as long as the limits demand, and a pilot makes them right."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from connector.bulk.planning import read_summary
from connector.bulk.status import status_data
from connector.clock import SystemClock, VirtualClock
from connector.closing.model import Intent, Outcome
from connector.emulator.embedded import open_embedded
from connector.emulator.seeding.emulator_options import EmulatorOptions
from connector.emulator.seeding.twin import Twin
from connector.emulator.stand_ins import LogicStub, all_stand_ins
from connector.errors import InputError
from connector.ledger.jobs import Row
from connector.ledger.store import temporary_ledger
from connector.organization.capture_file import capture_text
from connector.organization.capture_model import Capture, Coverage, TimeFact, sorted_section
from connector.organization.side_effects import SideEffects
from connector.rehearsal import rehearsal, rehearsal_model
from connector.rehearsal.rehearsal import CaseResult, Rehearsal, RehearsalResult
from connector.rehearsal.rehearsal_model import LogicRefusal, RowCost, RowShape, planned_shapes
from scripts.benchmarks.jobs import Cell
from scripts.benchmarks.virtual_jobs import play_virtually
from tests.cli.desk import Desk
from tests.organization.asked import KEYS
from tests.organization.captures import capture_of, plain

pytestmark = (
    pytest.mark.no_cover
)  # a simulation of hours; other tests cover the lines, and measuring takes four times as long


@pytest.fixture(scope="module")
def capture() -> Capture:
    return capture_of("flows_on_close", plain())


def rows(count: int, outcome: Outcome = Outcome.LOST) -> list[RowShape]:
    keys = [UUID(int=10**30 + number) for number in range(count)]
    return [RowShape(key, Intent(keys[0], outcome), number % 2, 1) for number, key in enumerate(keys)]


def rehearse(count: int, capture: Capture, **how: Any) -> list[CaseResult]:
    return Rehearsal(capture, **how).play(rows(count)).cases


def test_the_whole_job_is_done_and_takes_as_long_as_the_limits_demand(capture: Capture) -> None:
    (case,) = rehearse(260, capture, measured=RowCost(10.0, 1))
    assert case.curve[-1][1] == 260
    least = (260 * 10.0 - 1200) / 1200 * 300  # 1,200 seconds of execution at once, then as many each five minutes
    assert least * 0.9 <= case.seconds <= least + 360  # the last five minutes are begun and not filled
    assert case.binding == "time"
    assert (case.servers, case.throttled) == (1, 0)


def test_more_users_and_more_servers_take_less(capture: Capture) -> None:
    alone, together, wide = (
        rehearse(180, capture, users=users, measured=RowCost(10.0, servers))[0].seconds
        for users, servers in ((1, 1), (2, 1), (1, 3))
    )
    assert together < alone
    assert wide < alone


def test_what_a_pilot_showed_makes_the_rehearsal_right(capture: Capture) -> None:
    job = play_virtually(Cell(190, 1, seconds=10.0), seed=3)
    (case,) = rehearse(190, capture, measured=RowCost(10.0, 1))
    assert case.seconds == pytest.approx(job.took, rel=0.05)


def test_what_a_pilot_measured_besides_its_writes_is_not_counted_twice(capture: Capture) -> None:
    (case,) = rehearse(200, capture, measured=RowCost(0.9, 1, rows=100))
    assert case.besides > 0
    assert case.seconds_per_row + case.besides == pytest.approx(0.9, rel=0.05)
    (writes,) = rehearse(200, capture, measured=RowCost(0.9, 1))
    assert writes.seconds_per_row == pytest.approx(0.9)


def test_without_a_pilot_it_tells_a_range(capture: Capture) -> None:
    cases = rehearse(100, capture)
    assert [case.name for case in cases] == ["fast", "likely", "slow"]
    assert cases[0].seconds < cases[1].seconds < cases[2].seconds
    usual = 0.5 * (0.35 + 0.40) + 0.5 * (2 * 0.35 + 0.15 + 0.40)
    assert cases[1].seconds_per_row == pytest.approx(usual * math.exp(0.35**2 / 2), rel=0.01)


def test_own_steps_take_their_mean_time_unless_they_are_left_out(capture: Capture) -> None:
    steps = [row.model_copy(update={"message": "Lose", "stage": 40}) for row in capture.steps.rows]
    times = [TimeFact(plug_in=steps[0].plug_in, average_ms=1500.0, executions=1, failure_percent=0)]
    slow = capture.model_copy(update={"steps": sorted_section(steps), "times": sorted_section(times)})
    does = all_stand_ins(Twin(json.loads(capture_text(slow))), {})
    usual = rehearse(50, capture)[1].seconds_per_row
    more = 1.5 * math.exp(0.35**2 / 2)
    assert rehearse(50, slow, stand_ins=does)[1].seconds_per_row == pytest.approx(usual + more, rel=0.01)
    bypassing = rehearse(50, slow, stand_ins=does, bypass=("sync",))
    assert bypassing[1].seconds_per_row == pytest.approx(usual, rel=0.01)


def test_stand_ins_refuse_rows_by_where_they_end_and_by_chance(capture: Capture) -> None:
    step = capture.steps.rows[0].model_copy(update={"message": "Lose", "stage": 40})
    logical = capture.model_copy(update={"steps": sorted_section([step])})
    plan = [replace(row, number=number, value=Decimal(number)) for number, row in enumerate(rows(60), 1)]

    def played(does: str, bypass: tuple[str, ...] = ()) -> RehearsalResult:
        stand_ins = {step.id: LogicStub.of(step.name, does)}
        return Rehearsal(logical, bypass=bypass, measured=RowCost(1.0), stand_ins=stand_ins).play(plan)

    small = played("refuse where statecode eq 2 and estimatedvalue le 7 with Too small.")
    assert [(number, refusal.reason) for number, _, refusal in small.rows] == [(n, "Too small.") for n in range(1, 8)]
    assert (small.likely.refused, small.likely.curve[-1][1], small.unsure) == (7, 60, 0)
    assert dict(small.causes) == {LogicRefusal("Pricing", "Too small."): 7}
    assert small.effects.flow_runs_maybe.total() == 60 - 7  # a row that is refused sets nothing off
    assert played("refuse where estimatedvalue le 7 with No.", ("sync",)).likely.refused == 0
    assert played("refuse where ye_sessionhours gt 3 with No.").unsure > 0
    assert played("refuse 100 %").likely.refused == 60
    assert 5 < played("refuse 30 %").likely.refused < 35


def test_rows_that_were_asked_tell_a_range_around_their_mean(capture: Capture) -> None:
    cases = rehearse(60, capture, measured=RowCost(24.0, error=0.2))
    assert [round(case.seconds_per_row / 24, 2) for case in cases] == [0.8, 1.0, 1.2]
    assert cases[0].seconds <= cases[1].seconds <= cases[2].seconds


def test_a_job_that_ends_at_the_edge_of_a_window_is_told_as_the_middle_of_both_ends(capture: Capture) -> None:
    fast, likely, slow = rehearse(60, capture, measured=RowCost(39.0, 1, error=0.1))
    assert slow.seconds - fast.seconds > 200  # one window more
    assert fast.seconds < likely.seconds < slow.seconds
    assert likely.curve[-1] == (likely.seconds, 60)


def whole_effects(capture: Capture) -> SideEffects:
    return Rehearsal(capture, measured=RowCost(20.0, 1)).play(rows(450)).effects


def test_of_a_large_job_a_part_is_played_and_the_rest_goes_on_at_its_rate(
    capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rehearse(450, capture, measured=RowCost(20.0, 1))[0]
    monkeypatch.setitem(rehearsal.MOST_PLAYED, "likely", 225)
    part = rehearse(450, capture, measured=RowCost(20.0, 1))[0]
    assert part.seconds == pytest.approx(whole.seconds, rel=0.2)
    assert part.curve[-1][1] == whole.curve[-1][1] == 450
    monkeypatch.undo()
    few = Rehearsal(capture, measured=RowCost(20.0, 1)).play(rows(450)[::2], 450)
    assert few.likely.seconds == part.seconds
    assert sum(few.effects.flow_runs.values()) == sum(whole_effects(capture).flow_runs.values())


def test_the_fast_case_is_never_slower_than_the_slow_one_however_little_of_them_is_played(
    capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in (7, 20):
        monkeypatch.setattr(rehearsal, "MOST_PLAYED", {"likely": 1000, "fast": part, "slow": part})
        cases = rehearse(60, capture, measured=RowCost(0.05, error=0.01))
        assert cases[0].seconds <= cases[1].seconds <= cases[2].seconds
        assert [case.curve[-1] for case in cases] == [(case.seconds, 60) for case in cases]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows names the file, and removes it when it is closed")
def test_the_ledger_of_a_rehearsal_leaves_nothing_however_the_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    with temporary_ledger(SystemClock()) as ledger:
        ledger.create("x", (Row(number, Intent(UUID(int=number), Outcome.LOST)) for number in range(1, 20_001)))
        assert ledger.counts("x").total == 20_000, "more than SQLite keeps in memory"
        assert list(tmp_path.iterdir()) == []


def test_a_plan_with_nothing_to_close_and_a_capture_without_reasons_are_refused(capture: Capture) -> None:
    with pytest.raises(InputError, match="nothing to rehearse"):
        Rehearsal(capture).play([])
    blind = capture.model_copy(
        update={
            "reasons": capture.reasons.model_copy(update={"rows": (), "read": Coverage.REFUSED, "why": "Not allowed."})
        }
    )
    with pytest.raises(InputError, match=r"no status reasons of opportunity\. Not allowed"):
        rehearse(1, blind)


def test_a_plan_that_breaks_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.plan.jsonl"
    path.write_text('{"plan": 1}\n{"row"', encoding="utf-8")
    with pytest.raises(InputError, match="line 2"):
        list(planned_shapes(path))
    with pytest.raises(InputError, match="breaks off"):
        read_summary(path)


# --- at a terminal ---


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    file = tmp_path / "organization.db"
    open_embedded(file, SystemClock(), EmulatorOptions(seeded=40), KEYS).close()
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("CONNECTOR_STORE", str(tmp_path / "jobs.db"))
    return Desk(file, capsys, monkeypatch)


def test_a_plan_is_rehearsed_and_what_is_not_known_comes_first(desk: Desk) -> None:
    assert desk.run("org", "capture", "--out", "capture.json").code == 0
    plan = ("bulk", "plan", "--where", "statecode eq 0", "--lost", "--out", "all.plan.jsonl")
    planned = desk.run(*plan, "--json").data["planned"]
    before = desk.rows()
    said = desk.run("bulk", "rehearse", "all.plan.jsonl", "--like", "capture.json")
    assert said.code == 0
    assert said.out.startswith("Rehearsed against a model, not in the organization.")
    assert "requests count: under 1 % of a day's entitlement (500,000 for a tenant" in said.out
    assert said.out.index("How many web servers") < said.out.index("likely")
    data = desk.run("bulk", "rehearse", "all.plan.jsonl", "--like", "capture.json", "--users", "2", "--json").data
    assert (data["rehearsed"], data["rows"], data["users"]) == ("against a model", planned, 2)
    assert all(case["curve"][-1][1] == planned for case in data["cases"])
    times = {(each["users"], each["servers"]): each["seconds"] for each in data["with"]}
    assert times[1, 1] > times[8, 8] > 0
    assert times[2, 1] == data["cases"][1]["seconds"]
    assert data["entitlement"]["requests"] > data["summary"]["steps"]
    assert desk.rows() == before


def test_a_page_is_one_file_that_says_first_what_is_not_known(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = (
        VirtualClock()
    )  # so that a set that asks something takes longer than one that asks nothing, and nothing else does
    monkeypatch.setattr(SystemClock, "monotonic", lambda _self: clock.monotonic())
    monkeypatch.setattr(SystemClock, "sleep", lambda _self, seconds: clock.sleep(seconds))
    slow = Path("slow.py")
    slow.write_text("def plugin(context):\n    context.sleep(0.1)\n", encoding="utf-8")
    monkeypatch.setenv("DATAVERSE_EMULATOR_PLUGINS", str(slow))
    assert desk.run("org", "capture", "--out", "capture.json").code == 0
    asking = ("bulk", "plan", "--where", "statecode eq 0", "--lost", "--out", "all.plan.jsonl", "--ask", "4", "--yes")
    assert desk.run(*asking).code == 0
    said = desk.run("bulk", "rehearse", "all.plan.jsonl", "--like", "capture.json", "--out", "all.html", "--json")
    assert (said.code, said.data["work"]) == (0, "asked")
    page = Path("all.html").read_text(encoding="utf-8")
    assert page.count("<html") == page.count("<svg") == 1
    assert page.count('<path d="M0.0 240.0') == len(said.data["cases"])
    assert page.index("What it does not know") < page.index("under load") < page.index("Rows done over time")
    assert not re.findall(r"<script|src=|href=|@import|url\(", page)


def test_a_pilot_teaches_work_per_row(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert desk.run("org", "capture", "--out", "capture.json").code == 0
    key = desk.opportunity(drafts=0, actives=1)
    Path("rows.csv").write_text(f"opportunityid,outcome\n{key},lost\n", encoding="utf-8")
    plan = desk.run("bulk", "plan", "--where", "statecode eq 0", "--lost", "--out", "all.plan.jsonl", "--json")
    assert plan.data["planned"] > 1
    unlearned = ("bulk", "rehearse", "all.plan.jsonl", "--like", "capture.json")
    _, assumed, _ = desk.run(*unlearned, "--json").data["cases"]
    rehearsal_command = (*unlearned, "--learn", "rows")
    said = desk.run(*rehearsal_command)
    assert said.code != 0
    assert "rows" in said.err
    assert desk.run("bulk", "run", "rows.csv", "--yes").code == 0
    took = desk.run("bulk", "status", "rows", "--json").data["governor"]
    assert took["executed_per_row"] > 0
    quick = {"governor": took | {"executed_per_row": 0.01}}  # whatever this machine took
    monkeypatch.setattr(rehearsal_model, "status_data", lambda *of: status_data(*of) | quick)
    said = desk.run(*rehearsal_command, "--json")
    assert said.code == 0, said.err
    _, case, _ = said.data["cases"]
    assert case["seconds_per_row"] < assumed["seconds_per_row"]
    assert not any("web servers" in sentence for sentence in said.data["not_known"])


def test_bad_files_are_a_sentence(desk: Desk) -> None:
    assert desk.run("org", "capture", "--out", "capture.json").code == 0
    Path("no.plan.jsonl").write_text("{}\n", encoding="utf-8")
    said = desk.run("bulk", "rehearse", "no.plan.jsonl", "--like", "capture.json")
    assert (said.code, "another version" in said.err) == (2, True)
    shutil.copy("capture.json", "cut.json")
    Path("cut.json").write_text(Path("cut.json").read_text(encoding="utf-8")[:900], encoding="utf-8")
    assert json.loads(Path("capture.json").read_text(encoding="utf-8"))["capture"] == 2
    assert "cut off" in desk.run("bulk", "rehearse", "no.plan.jsonl", "--like", "cut.json").err or said.err
