"""`connector org` at a terminal, and the warning of a plan that is older than the metadata."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from connector.clock import SystemClock
from connector.emulator.embedded import open_embedded
from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.cli.desk import Desk
from tests.organization.asked import KEYS, OWN


@pytest.fixture(scope="session")
def organization_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("organization") / "organization.db"
    open_embedded(path, SystemClock(), EmulatorOptions(seeded=10), KEYS).close()
    return path


@pytest.fixture
def desk(organization_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:  # fmt: skip
    shutil.copy(organization_file, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONNECTOR_STORE", str(tmp_path / "jobs.db"))
    return Desk(tmp_path / organization_file.name, capsys, monkeypatch)


def customize(desk: Desk) -> None:
    open_embedded(desk.file, SystemClock(), EmulatorOptions(customization=OWN), KEYS).close()


def test_a_capture_is_taken_brought_up_to_date_and_compared(desk: Desk) -> None:
    before = desk.rows()
    said = desk.run("org", "capture", "--out", "old.json", "--volumes")
    assert said.code == 0
    assert "Nothing was changed" in said.out
    assert [line.split()[0:2] for line in said.out.splitlines() if line.startswith("answers")] == [["answers", "not"]]
    assert desk.rows() == before
    customize(desk)
    shutil.copy("old.json", "new.json")
    said = desk.run("org", "capture", "--out", "new.json", "--json")
    assert said.data["sections"]["columns"]["read"] == "all"
    said = desk.run("org", "diff", "old.json", "new.json")
    assert "+ columns opportunity.new_region" in said.out
    changes = {
        each["section"] for each in desk.run("org", "diff", "old.json", "new.json", "--json").data["differences"]
    }
    assert {"columns", "choices", "reasons", "keys", "volumes"} <= changes


def test_a_file_that_is_no_capture_is_left_alone(desk: Desk) -> None:
    Path("letters.json").write_text("[1]", encoding="utf-8")
    said = desk.run("org", "capture", "--out", "letters.json")
    assert said.code == 2
    assert "no capture" in said.err
    assert Path("letters.json").read_text(encoding="utf-8") == "[1]"


def test_a_run_says_that_the_metadata_moved_since_its_plan(desk: Desk) -> None:
    key = desk.opportunity(drafts=0, actives=0)
    Path("rows.csv").write_text(f"opportunityid,outcome\n{key},lost\n", encoding="utf-8")
    assert desk.run("bulk", "plan", "rows.csv").code == 0
    assert json.loads(Path("rows.plan.jsonl").read_text(encoding="utf-8").splitlines()[0])["metadata"]
    customize(desk)
    said = desk.run("bulk", "run", "rows.plan.jsonl", "--yes")
    assert "metadata changed since this plan was made" in said.err
    assert said.code == 0
