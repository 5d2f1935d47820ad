"""An emulator on a socket for clients that nobody here wrote; they trust its authority as their users would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.clock import SystemClock
from connector.emulator.background import ServedEmulator, served
from connector.emulator.command import ask
from connector.emulator.seeding.emulator_options import EmulatorOptions


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServedEmulator]:
    with served(EmulatorOptions(), SystemClock(), tmp_path / "emulator") as one:
        yield one


@pytest.fixture
def refusals(server: ServedEmulator) -> Iterator[list[str]]:
    """Requests the emulator refused, filled when the test body is over; the test says which it expects."""
    expected: list[str] = []
    yield expected
    journal = ask(f"{server.url}/_emulator/", server.ca_file, "GET", "journal?limit=1000")
    seen = [f"{one['status']} {one['title']}" for one in journal if one["status"] >= 400]
    assert seen == expected, json.dumps([one for one in journal if one["status"] >= 400], indent=1)
