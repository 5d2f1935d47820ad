"""The walks through the house: each stop exists, comes in the order that is told, and none is told twice."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
STOP = re.compile(r"^\d+\. `(connector/[\w/]+\.py)::([\w.]+)`", re.MULTILINE)
WALKS = {part.partition("\n")[0]: STOP.findall(part) for part in GUIDE.split("\n## ") if STOP.search(part)}
MOST_STOPS = 12
CLOSE, ROW, REQUEST = WALKS

TRACE = """
import sys, threading
stops, root = {}, sys.argv[1] + "/"
def note(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(root):
        stops.setdefault((code.co_filename.removeprefix(root), code.co_qualname))
threading.setprofile(note)
sys.setprofile(note)
WALK
sys.setprofile(None)
for path, name in list(stops):
    print(f"{path}::{name}")
"""
"""Prints what a walk calls, in the order of the first calls."""

ENDPOINT = """
from pathlib import Path
from tests.service.stage import Stage
stage = Stage(Path())
with stage.client() as client:
    answer = client.post(f"/opportunities/{stage.opportunity(1, 2)}/close", json={"outcome": "won"})
    assert answer.status_code == 200, answer.text
stage.close()
"""

COMMANDS = """
import contextlib, io
from connector.cli import main
for words in ARGUMENTS:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main(words)
"""


def names(path: Path) -> set[str]:
    """Return the functions and methods of a file by their qualified names."""
    found: set[str] = set()

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                if not isinstance(child, ast.ClassDef):
                    found.add(prefix + child.name)
                visit(child, f"{prefix}{child.name}.")

    visit(ast.parse(path.read_text(encoding="utf-8")), "")
    return found


def test_there_are_three_walks_and_no_stop_is_told_twice() -> None:
    assert len(WALKS) == 3
    stops = [stop for walk in WALKS.values() for stop in walk]
    assert len(stops) == len(set(stops))


@pytest.mark.parametrize("walk", WALKS)
def test_a_walk_is_short_and_each_of_its_stops_is_there(walk: str) -> None:
    assert 0 < len(WALKS[walk]) <= MOST_STOPS
    assert [f"{path}::{name}" for path, name in WALKS[walk] if name not in names(ROOT / path)] == []


def test_every_file_that_the_guide_names_is_there() -> None:
    links = [(ROOT / ".github" / link).resolve() for link in re.findall(r"\]\((\.\./[^)]+)\)", GUIDE)]
    paths = [ROOT / path for path in re.findall(r"`((?:connector|tests|scripts)/[\w/.]+)", GUIDE)]
    assert [str(path) for path in [*links, *paths] if not path.exists()] == []


def walked(walk: str, folder: Path) -> list[str]:
    """Go a walk in a process of its own and return the stops it comes by, in the order of the first calls."""
    code = TRACE.replace("WALK", walk)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DATAVERSE_URL": f"emulator:{folder / 'organization.db'}",
        "CONNECTOR_STORE": str(folder / "jobs.db"),
    }
    run = subprocess.run(
        [sys.executable, "-c", code, str(ROOT)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def commands(*arguments: list[str]) -> str:
    return COMMANDS.replace("ARGUMENTS", repr(arguments))


def test_a_close_a_row_and_a_request_go_the_ways_that_are_told(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("opportunityid,outcome\n00000003-0000-4000-8000-000000000003,won\n")
    for walk, code in (
        (CLOSE, commands(["close", "00000003-0000-4000-8000-000000000001", "--won", "--yes"])),
        (ROW, commands(["bulk", "run", "rows.csv", "--yes"], ["bulk", "report", "rows", "--out", "rows.jsonl"])),
        (REQUEST, ENDPOINT),
    ):
        told = [f"{path}::{name}" for path, name in WALKS[walk]]
        assert [stop for stop in walked(code, tmp_path) if stop in told] == told
