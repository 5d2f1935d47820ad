"""The scripts for administrators, as their schedulers run them: against an emulated organization in a file."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("close_stale.py", "apply_closures.py", "reconcile.py", "sync_changes.py")


class Office:
    """An organization in a file, a store of jobs, and what runs scripts against them."""

    def __init__(self, folder: Path) -> None:
        self.organization = folder / "organization.db"
        self.folder = folder
        clean = {name: text for name, text in os.environ.items() if not name.startswith(("DATAVERSE_", "CONNECTOR_"))}
        self.env = clean | {
            "DATAVERSE_URL": f"emulator:{self.organization}",
            "CONNECTOR_STORE": str(folder / "jobs.db"),
        }

    def start(self, *command: str) -> subprocess.Popen[str]:
        place = [str(ROOT / "scripts" / command[0])] if command[0].endswith(".py") else list(command[:1])
        return subprocess.Popen(
            [sys.executable, *place, *command[1:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.env, "PYTHONPATH": str(ROOT)},
            cwd=self.folder,
        )

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*command)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.organization)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def states(self) -> dict[str, int]:
        return {
            str(id_): int(str(state)) for id_, state in self.sql("SELECT opportunityid, statecode FROM opportunity")
        }

    def closed_more_than_once(self) -> list[tuple[object, ...]]:
        return self.sql(
            "SELECT opportunityid, COUNT(*) FROM opportunityclose WHERE statecode = 1 GROUP BY 1 HAVING COUNT(*) > 1"
        )


@pytest.fixture
def office(tmp_path: Path) -> Office:
    office = Office(tmp_path)
    made = office.run("-m", "connector", "doctor")
    assert office.organization.exists(), made.stderr
    office.sql("UPDATE opportunity SET estimatedclosedate = '2099-01-01' WHERE statecode = 0")
    return office


def make_stale(office: Office, count: int) -> list[str]:
    found = office.sql("SELECT opportunityid FROM opportunity WHERE statecode = 0 ORDER BY 1 LIMIT ?", count)
    ids = [str(id_) for (id_,) in found]
    for id_ in ids:
        office.sql("UPDATE opportunity SET estimatedclosedate = '2020-01-01' WHERE opportunityid = ?", id_)
    return ids


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_says_what_it_does_and_how_to_schedule_it(office: Office, script: str) -> None:
    told = office.run(script, "--help")
    assert told.returncode == 0
    assert "--apply" in told.stdout
    assert "cron" in told.stdout
    assert "schtasks" in told.stdout


def test_stale_opportunities_are_closed_only_with_apply_and_only_once(office: Office) -> None:
    stale = make_stale(office, 5)
    before = office.states()
    dry = office.run("close_stale.py", "--days", "180")
    assert dry.returncode == 0, dry.stderr
    assert "5 opportunities are stale" in dry.stdout
    assert office.states() == before

    both = [office.start("close_stale.py", "--days", "180", "--apply") for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    after = office.states()
    assert all(after[id_] == 2 for id_ in stale)
    assert {id_ for id_ in after if after[id_] != before[id_]} == set(stale)
    assert office.closed_more_than_once() == []

    again = office.run("close_stale.py", "--days", "180", "--apply")
    assert again.returncode == 0
    assert "No open opportunity" in again.stdout


def test_an_export_of_another_system_is_applied_under_its_own_headers(office: Office) -> None:
    ids = make_stale(office, 4)
    export = office.folder / "erp.csv"
    export.write_text("Opp Id,Result\n" + "".join(f"{{{id_.upper()}}},Won\n" for id_ in ids), encoding="utf-8")
    maps = ("--map", "Opp Id=opportunityid", "--map", "Result=outcome")
    before = office.states()
    assert office.run("apply_closures.py", str(export), *maps).returncode == 0
    assert office.states() == before

    for _ in range(2):
        done = office.run("apply_closures.py", str(export), *maps, "--apply")
        assert done.returncode == 0, done.stderr
    assert all(office.states()[id_] == 1 for id_ in ids)
    assert office.closed_more_than_once() == []


def test_reconciling_finds_what_was_opened_behind_a_job(office: Office) -> None:
    ids = make_stale(office, 3)
    assert office.run("close_stale.py", "--days", "180", "--apply").returncode == 0
    fine = office.run("reconcile.py")
    assert fine.returncode == 0, fine.stderr
    assert "3 rows checked: all match." in fine.stdout

    assert office.run("-m", "connector", "reopen", ids[0], "--yes").returncode == 0
    wrong = office.run("reconcile.py", "--apply")
    assert wrong.returncode == 1
    assert ids[0] in wrong.stdout
    assert office.states()[ids[0]] == 0


def jsonl(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def sync(office: Office) -> Callable[[], subprocess.CompletedProcess[str]]:
    return lambda: office.run("sync_changes.py", "out", "--apply")


def test_only_what_changed_since_last_time_is_handed_on(
    office: Office, sync: Callable[[], subprocess.CompletedProcess[str]]
) -> None:
    out = office.folder / "out"
    assert office.run("sync_changes.py", "out").returncode == 0
    assert not (out / "state.json").exists()

    assert sync().returncode == 0
    first = jsonl(out / "opportunities-000001.jsonl")
    assert first[0] == {"complete": True}
    assert len(first) == 1 + len(office.states())

    [stale] = make_stale(office, 1)
    assert office.run("-m", "connector", "close", stale, "--lost", "--yes").returncode == 0
    second = sync()
    assert second.returncode == 0, second.stderr
    changed = jsonl(out / "opportunities-000002.jsonl")
    assert [line["id"] for line in changed] == [stale]

    assert "0 changed" in sync().stdout
    assert not (out / "opportunities-000003.jsonl").exists()


def test_an_expired_token_hands_everything_on_again_and_says_so(
    office: Office, sync: Callable[[], subprocess.CompletedProcess[str]]
) -> None:
    out = office.folder / "out"
    sync()
    state = json.loads((out / "state.json").read_text(encoding="utf-8"))
    head, _, _ = state["link"].partition("$deltatoken=")
    state["link"] = f"{head}$deltatoken=1%2101%2f01%2f2020%2000%3a00%3a00"
    (out / "state.json").write_text(json.dumps(state), encoding="utf-8")
    again = sync()
    assert again.returncode == 0, again.stderr
    assert "expired" in again.stdout
    assert jsonl(out / "opportunities-000002.jsonl")[0] == {"complete": True}


def test_two_syncs_at_the_same_time_do_not_meet(office: Office) -> None:
    both = [office.start("sync_changes.py", "out", "--apply") for _ in range(2)]
    assert [process.wait(300) for process in both] == [0, 0]
    numbers = sorted(path.name for path in (office.folder / "out").glob("opportunities-*.jsonl"))
    assert numbers == ["opportunities-000001.jsonl"]
    for process in both:
        process.communicate()


def test_a_status_reason_that_is_not_there_is_said_once_and_nothing_is_closed(office: Office) -> None:
    make_stale(office, 3)
    before = office.states()
    for apply in ([], ["--apply"]):
        said = office.run("close_stale.py", "--days", "180", "--status", "Forgotten", *apply)
        assert said.returncode == 2
        assert said.stderr.count("The opportunity has no status reason 'Forgotten'") == 1
    assert office.states() == before


@pytest.mark.parametrize("script", ["close_stale.py --days 5", "reconcile.py"])
def test_missing_settings_end_a_script_as_they_end_the_commands(office: Office, script: str) -> None:
    del office.env["DATAVERSE_URL"]
    said = office.run(*script.split())
    assert said.returncode == 2
    assert said.stderr.startswith("Error: DATAVERSE_URL is missing;")


def test_a_job_that_was_undone_is_compared_but_not_tried_again(office: Office) -> None:
    (office.folder / "rows.csv").write_text(
        f"opportunityid,outcome\n{make_stale(office, 1)[0]},won\n{UUID(int=42)},won\n", encoding="utf-8"
    )
    assert office.run("-m", "connector", "bulk", "run", "rows.csv", "--yes").returncode == 1
    assert office.run("-m", "connector", "bulk", "undo", "rows", "--yes").returncode == 0
    before = office.states()
    said = office.run("reconcile.py", "--apply")
    assert (said.returncode, said.stderr) == (0, "")
    assert office.states() == before
