"""What a person sees at 80, 120 and 200 columns, compared as text with the files in `screens`.

After a wanted change make them anew, and read what changed: SCREENS=write python -m pytest tests/cli/test_screens.py
"""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connector.cli.program import run
from connector.clock import SystemClock, VirtualClock
from connector.emulator.embedded import open_embedded
from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.cli.test_bulk_views import picture, status

SCREENS = Path(__file__).parent / "screens"
NOW = datetime(2026, 7, 1, 10, 0, tzinfo=UTC)
WIDTHS = (80, 120, 200)
ID = "00000003-0000-4000-8000-00000000000"
COMMANDS = (
    "doctor",
    "list --limit 3",
    "list --owner Nobody",
    f"show {ID}5",
    f"plan {ID}1 --won --closed-on 2026-06-30 --actual-revenue 12500",
    f"plan {ID}2 --lost --competitor 'Fourth Coffee' --description 'Too dear'",
    f"close {ID}1 --won",
    f"close {ID}1 --won --yes",
    f"close {ID}1 --won --yes",
    f"close {ID}1 --lost --yes",
    f"show {ID}1",
    f"reopen {ID}1",
    "log",
    "bulk plan rows.csv",
    "bulk run rows.csv --limit 1",
    "bulk run rows.csv --yes --limit 1",
    "bulk status",
    "bulk resume rows --yes",
    "bulk retry rows --yes --refused",
    "bulk status rows",
    "bulk reconcile rows",
)


class Terminal(io.StringIO):
    """What is written to a terminal, and the answer n to every question."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]  # the stubs have bytes here
        self.write("n\n")
        return "n\n"


@pytest.fixture
def seat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with an organization and a file of rows, at a time that stands still, in UTC wherever the machine is."""
    monkeypatch.setattr(SystemClock, "now", lambda _self: NOW)
    monkeypatch.setattr("socket.gethostname", lambda: "desk")
    monkeypatch.setattr("sys.argv", ["connector"])
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    monkeypatch.setattr("connector.cli.screen.COUNTED_EVERY", {True: float("inf")})  # no test depends on the machine
    settings = {"DATAVERSE_URL": "emulator:organization.db", "CONNECTOR_STORE": "jobs.db", "NO_COLOR": "1", "TZ": "UTC"}
    for name, value in {**settings, "XDG_STATE_HOME": str(tmp_path), "DATAVERSE_TIME_ZONE": "UTC"}.items():
        monkeypatch.setenv(name, value)
    time.tzset()
    monkeypatch.chdir(tmp_path)
    open_embedded(tmp_path / "organization.db", VirtualClock(NOW), EmulatorOptions(seeded=12)).close()
    rows = (f"{ID}3,won", f"{ID}4,lost", f"{ID}5,won", f"{ID}f,won")
    Path("rows.csv").write_text("\n".join(("opportunityid,outcome", *rows)), encoding="utf-8")
    yield
    monkeypatch.undo()
    time.tzset()


def transcript(width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what the commands show one after the other on a terminal of so many columns, and the panel of a job."""
    monkeypatch.setenv("COLUMNS", str(width))
    terminal = Terminal()
    for stream in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, stream, terminal)
    for command in COMMANDS:
        terminal.write(f"$ connector {command}\n")
        working = command.startswith("bulk") and "--yes" in command
        monkeypatch.setattr(sys, "stderr", io.StringIO() if working else terminal)  # a panel depends on the machine

        code = run(shlex.split(command))
        terminal.write(f"(exit code {code})\n\n")
    monkeypatch.undo()
    live = picture(status(reasons=7), width=width), picture(status(), stopping=12.0, width=width)
    return re.sub(r"[^\S\n]+$", "", "\n".join((terminal.getvalue(), "The panel", *live)), flags=re.MULTILINE)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.usefixtures("seat")
def test_every_screen_is_as_it_was_looked_at(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, file = transcript(width, monkeypatch), SCREENS / f"{width}.txt"
    if os.environ.get("SCREENS") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(seen, encoding="utf-8")
    assert seen == file.read_text(encoding="utf-8")


def test_a_narrow_terminal_breaks_no_word_and_leaves_none_out() -> None:
    words = {width: set((SCREENS / f"{width}.txt").read_text("utf-8").split()) for width in WIDTHS}
    drawn = re.compile("[\u2500-\u257f]+")
    assert {word for word in words[80] ^ words[200] if not drawn.search(word)} == set()
    for width in WIDTHS:
        asked = re.compile(r"^\$ |\[y/N\]")  # what waits for a key is broken by the terminal itself
        lines = (SCREENS / f"{width}.txt").read_text("utf-8").splitlines()
        assert max(len(line) for line in lines if not asked.search(line)) <= width
