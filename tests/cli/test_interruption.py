"""Ctrl-C in the middle of a close: the program says what stands, and the same command finishes the work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.cli.bulk.process import stopped_by_keyboard
from connector.clock import SystemClock
from connector.emulator.background import ServedEmulator, served
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import EmulatorOptions

PATIENCE = 120.0


def test_ctrl_break_of_windows_stops_a_job_as_ctrl_c_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    stopped: list[bool] = []
    with stopped_by_keyboard(lambda: stopped.append(True), lambda: None):
        signal.raise_signal(signal.SIGUSR1)
    assert stopped == [True]


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[ServedEmulator]:
    with served(EmulatorOptions(seeded=5), SystemClock(), tmp_path / "emulator", Keys()) as emulator:
        yield emulator


def start(emulator: ServedEmulator, *arguments: str) -> subprocess.Popen[str]:
    settings = {
        "DATAVERSE_URL": emulator.url,
        "DATAVERSE_CLIENT_ID": emulator.client_id,
        "DATAVERSE_CLIENT_SECRET": emulator.client_secret,
        "DATAVERSE_CA_FILE": str(emulator.ca_file),
        "DATAVERSE_ATOMIC": "off",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "connector", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **settings},
    )


def wait_for_the_fault(emulator: ServedEmulator) -> None:
    deadline = time.monotonic() + PATIENCE
    while not sum(emulator.emulator.control.faults()["acted"]):
        assert time.monotonic() < deadline, "the close did not come as far as winning the opportunity"
        time.sleep(0.01)


def first_opportunity_with_a_draft(emulator: ServedEmulator) -> str:
    (row, *_) = emulator.emulator.organization.store.rows(
        "SELECT o.opportunityid FROM opportunity o JOIN quote q ON q.opportunityid = o.opportunityid "
        "WHERE o.statecode = 0 AND q.statecode = 0 ORDER BY 1"
    )
    return str(row[0])


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_an_interrupted_close_says_what_stands_and_can_be_finished(emulator: ServedEmulator, form: list[str]) -> None:
    opportunity = first_opportunity_with_a_draft(emulator)
    held = {"do": "hold", "message": "WinOpportunity", "times": 1}
    emulator.emulator.control.set_faults({"faults": [held]})
    process = start(emulator, "close", opportunity, "--won", "--yes", *form)
    wait_for_the_fault(emulator)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert "Stopped from the keyboard. Now the opportunity is open" in err
    assert "is closed" in err
    assert "Run the same command again to finish" in err
    assert "Traceback" not in err
    if form:
        assert json.loads(out)["error"]["effect"] == "unknown"
    emulator.emulator.control.set_faults([])
    again = start(emulator, "close", opportunity, "--won", "--yes", "--json")
    out, err = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, err
    assert json.loads(out)["status"] in {"closed", "already_closed"}
    assert emulator.emulator.control.closes(more_than=1) == []
