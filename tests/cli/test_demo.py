"""The demo from end to end, and its verdict on what is not as it should be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from connector.cli.demo_command import DemoStep, Expectation, is_verified
from connector.closing.model import Report, ReportStatus

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_closes_checks_and_leaves_nothing_behind(tmp_path: Path) -> None:
    misleading = {"HTTPS_PROXY": "http://127.0.0.1:9", "REQUESTS_CA_BUNDLE": os.devnull, "DATAVERSE_URL": "nonsense"}
    done = subprocess.run(
        [sys.executable, "-m", "connector", "demo", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **misleading, "TMPDIR": str(tmp_path)},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["verified"] is True
    assert told["url"].startswith("https://localhost:")
    assert [told[name]["status"] for name in ("plan", "won", "lost", "again")] == [
        "planned",
        "closed",
        "closed",
        "already_closed",
    ]
    assert {step["kind"] for step in told["won"]["steps"]} >= {"activate_quote", "close_quote", "close_opportunity"}
    assert told["plan"]["digest"] == told["won"]["digest"]
    assert all(fact["holds"] for fact in told["facts"])
    assert list(tmp_path.iterdir()) == []


def test_the_demo_of_project_operations_uses_its_messages(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "connector", "demo", "--scenario", "project-operations", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["verified"] is True
    assert [step["kind"] for step in told["lost"]["steps"]] == ["close_all_quotes", "close_opportunity"]
    assert [step["kind"] for step in told["won"]["steps"]] == ["close_project_quote", "close_opportunity"]
    states = {fact["fact"]: fact["found"] for fact in told["facts"]}
    assert set(states.values()) >= {"msdyn_CloseAllOpportunityQuotes", "msdyn_CloseQuoteAsWon"}
    won = [state for fact, state in states.items() if fact.startswith("state of quote") and "won" in fact]
    assert sorted(won) == ["Closed", "Won"], "the service closed the other quote itself"


def scene(name: str, status: ReportStatus) -> DemoStep:
    return DemoStep(name, name, Report(UUID(int=1), status))


@pytest.fixture
def scenes() -> dict[str, DemoStep]:
    return {
        "won": scene("won", ReportStatus.CLOSED),
        "lost": scene("lost", ReportStatus.CLOSED),
        "again": scene("again", ReportStatus.ALREADY_CLOSED),
        "facts": DemoStep("facts", "facts", (Expectation("state", "Won", "Won"),)),
    }


def test_it_is_verified_when_every_report_and_fact_is_as_it_should_be(scenes: dict[str, DemoStep]) -> None:
    assert is_verified(scenes)


@pytest.mark.parametrize("name", ["won", "lost", "again"])
def test_it_is_not_verified_when_a_report_is_another(scenes: dict[str, DemoStep], name: str) -> None:
    assert not is_verified(scenes | {name: scene(name, ReportStatus.REFUSED)})


@pytest.mark.parametrize("facts", [(), (Expectation("state", "Won", "Open"),)])
def test_it_is_not_verified_when_a_fact_does_not_hold_or_there_is_none(
    scenes: dict[str, DemoStep], facts: tuple[Expectation, ...]
) -> None:
    assert not is_verified(scenes | {"facts": replace(scenes["facts"], shown=facts)})


def run_script(folder: Path, tools: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / "demo")],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={"PATH": str(tools), "HOME": str(folder), **environment},
    )


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A machine's commands, without any Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("cat", "cksum", "dirname", "tail"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def test_the_script_says_what_is_missing_on_a_machine_without_python(tmp_path: Path, tools: Path) -> None:
    done = run_script(tmp_path, tools, DEMO_VENV=str(tmp_path / "venv"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "no Python 3.11 or newer was found. Install one" in done.stderr


def test_the_script_says_what_an_installation_needs_when_there_is_no_package_index(tmp_path: Path, tools: Path) -> None:
    with tempfile.TemporaryDirectory() as venv:
        done = run_script(
            tmp_path,
            tools,
            DEMO_VENV=f"{venv}/environment with a space",
            DEMO_PYTHON=sys.executable,
            PIP_INDEX_URL="http://127.0.0.1:9/simple",
            PIP_RETRIES="0",
            PIP_NO_CACHE_DIR="1",
        )
    assert done.returncode == 1
    assert "the installation failed" in done.stderr
    assert "PIP_INDEX_URL" in done.stderr
