"""The desk that the tests of the command line work at."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from connector.clock import SystemClock
from connector.emulator.embedded import open_embedded
from connector.emulator.seeding.emulator_options import EmulatorOptions
from tests.cli.desk import Desk

# Windows has no terminals of Unix.
collect_ignore = ["test_terminal.py", "test_closing.py"] if sys.platform == "win32" else []


@pytest.fixture(scope="session")
def organization_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("organization") / "organization.db"
    open_embedded(path, SystemClock(), EmulatorOptions(seeded=60)).close()
    return path


@pytest.fixture
def desk(
    organization_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    for path in organization_file.parent.iterdir():
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Desk(tmp_path / organization_file.name, capsys, monkeypatch)
