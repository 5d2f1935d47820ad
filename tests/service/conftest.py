"""An endpoint on an emulated organization, fresh for each test; the signing key is made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.emulator.identity.keys import Keys
from connector.service import health
from tests.service.stage import Stage


@pytest.fixture(scope="session")
def emulator_keys() -> Keys:
    return Keys()


@pytest.fixture(autouse=True)
def _patient_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let probes wait for the store of a busy machine: a store that takes long is not what most tests are about."""
    monkeypatch.setattr(health, "PROBE_SECONDS", 60.0)


@pytest.fixture
def stage(tmp_path: Path, emulator_keys: Keys) -> Iterator[Stage]:
    made = Stage(tmp_path, keys=emulator_keys)
    yield made
    made.close()
