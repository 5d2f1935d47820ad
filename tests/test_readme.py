"""Every command of the README and of each page is run as a reader would, in order, in one folder; code and settings too."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from connector.emulator.world.customization import Customization
from connector.emulator.world.schema_file import load_schema

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "connector" / "docs").glob("*.md")))
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)

ELSEWHERE = {
    # shown to do their job by tests of their own
    "scripts/test": "this is it",
    "scripts/demo": "tests/test_demo.py",
    "scripts/crash": "tests/crash",
    "scripts/bench": "tests/bench",
    "scripts/crash-bulk": "tests/bulk/test_kill.py",
}
SERVES = ("connector emulator", "connector serve")
"""Commands that serve until they are stopped."""


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return [match["text"] for match in BLOCK.finditer(text_of(page)) if match["language"] == language]


def commands(page: Path) -> list[str]:
    """Return the lines of all shell blocks, continued lines joined."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


@dataclass(slots=True)
class Reader:
    """Somebody with the README, a folder and the installed package."""

    folder: Path
    serving: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("DATAVERSE_", "CONNECTOR_"))}
        ours["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{ours['PATH']}"
        ours["CONNECTOR_STORE"] = str(self.folder / "jobs.db")
        return ours

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S602 - the README's own commands
            command, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def serve(self, command: str) -> None:
        self.serving.append(subprocess.Popen(["sh", "-c", f"exec {command}"], cwd=self.folder, env=self.environment))
        wanted = re.search(r"--ready-file (\S+)", command)
        patience = time.monotonic() + 120
        while wanted and not (self.folder / wanted[1]).exists():
            assert self.serving[-1].poll() is None, f"{command} ended"
            assert time.monotonic() < patience, f"{command} is not ready"
            time.sleep(0.05)

    def stop(self) -> None:
        for process in reversed(self.serving):
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) in {0, -signal.SIGTERM}  # uvicorn ends by the signal it was sent


@pytest.fixture
def reader(page: Path, tmp_path: Path) -> Iterator[Reader]:
    shutil.copy(ROOT / ".env.example", tmp_path)
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    for rows in blocks(page, "csv"):
        (tmp_path / "rows.csv").write_text(rows, encoding="utf-8")
    reader = Reader(tmp_path)
    yield reader
    reader.stop()


@every_page
def test_every_command_does_what_it_says(page: Path, reader: Reader) -> None:
    for command in commands(page):
        if command.split()[0] in ELSEWHERE:
            assert (ROOT / command.split()[0]).exists()
        elif command.startswith(SERVES):
            reader.serve(command)
        else:
            done = reader.run(command)
            assert done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"
    if "--ready-file ready.json" in text_of(page):
        assert json.loads((reader.folder / "ready.json").read_text())["url"].startswith("https://localhost:")


POWERSHELL_TRAPS = {
    # Windows PowerShell 5.1 and PowerShell 7 must both take a line
    "a list with && or ||, which 5.1 has not": r"&&|\|\|",
    "a variable set as in sh": r"^(export\s|[A-Z_]+=)",
    "a line continued as in sh": r"\\$",
    "an alias that means another program": r"^(curl|wget)\s",
    "a path with /bin/": r"\.venv/bin",
    "the error stream of a program turned away, which 5.1 wraps": r"2>",
}


def without_texts(line: str) -> str:
    """Return a line of PowerShell with its quoted texts empty: within them the traps are none."""
    return re.sub(r"'[^']*'|\"[^\"]*\"", "''", line)


def traps(line: str) -> list[str]:
    bare = without_texts(line)
    inner = [name for name, pattern in POWERSHELL_TRAPS.items() if re.search(pattern, bare)]
    if not re.match(r"(Invoke-|\$|\()", line) and re.search(r"'[^']*\"[^']*'", line):
        inner.append("double quotes within an argument of a program, which 5.1 takes away")
    return inner


def test_the_lines_for_powershell_are_free_of_what_one_of_its_versions_takes_otherwise() -> None:
    lines = [line for page in PAGES for text in blocks(page, "powershell") for line in text.splitlines()]
    assert len(lines) > 5
    assert {line: traps(line) for line in lines if traps(line)} == {}


@pytest.mark.parametrize(
    "line",
    [
        "cd x && y",
        "export A=1",
        "A=1 x",
        "x \\",
        "curl http://h",
        ". .venv/bin/activate",
        "x 2>$null",
        "x -d '{\"a\":1}'",
    ],
)
def test_each_trap_of_powershell_is_found(line: str) -> None:
    assert traps(line)


@every_page
def test_the_code_runs_as_it_stands(page: Path, reader: Reader) -> None:
    shutil.copy(reader.folder / ".env.example", reader.folder / ".env")
    for code in blocks(page, "python"):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=reader.folder, env=reader.environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout


@every_page
def test_the_settings_it_shows_exist(page: Path) -> None:
    known = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
    shown = {line.split("=")[0].strip() for text in blocks(page, "ini") for line in text.splitlines() if "=" in line}
    mentioned = set(re.findall(r"\b(?:DATAVERSE|CONNECTOR)_[A-Z_]+\b", text_of(page)))
    assert shown | mentioned <= known


@every_page
def test_its_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text_of(page))
    assert [link for link in links if not (page.parent / link).exists()] == []


@every_page
def test_the_scripts_it_names_exist(page: Path) -> None:
    assert [name for name in re.findall(r"`(scripts/[\w-]+)", text_of(page)) if not (ROOT / name).exists()] == []


def test_each_page_is_listed_for_people_and_for_machines() -> None:
    listed = re.findall(r"\]\((\S+\.md)\)", text_of(ROOT / "connector" / "docs" / "llms.txt"))
    assert sorted(listed) == [page.name for page in PAGES[1:]]


@every_page
def test_the_customizations_it_shows_fit_the_emulator(page: Path) -> None:
    for text in blocks(page, "json"):
        Customization.from_json(text).apply(load_schema())


@every_page
def test_its_pictures_are_small_and_say_in_words_what_they_show(page: Path) -> None:
    for words, place in re.findall(r"!\[(.*?)\]\((\S+?)\)", text_of(page)):
        assert len(words.split()) > 5, place
        assert (page.parent / place).stat().st_size < 120_000, place
