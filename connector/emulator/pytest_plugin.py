"""Fixtures for tests of Dataverse clients: an emulated organization per test, in the process or on a socket.

    def test_my_client(dataverse_emulator):
        session.mount(dataverse_emulator.url, dataverse_emulator.adapter())

Both are filled with the same 300 opportunities each time and keep nothing. The in-process one has a virtual clock: its
waits take no time and `dataverse_emulator.emulator.control` moves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.clock import SystemClock, VirtualClock
from connector.emulator.background import ServedEmulator, served
from connector.emulator.embedded import EmbeddedEmulator, open_embedded
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import MEMORY, EmulatorOptions


@pytest.fixture(scope="session")
def dataverse_emulator_keys() -> Keys:
    """Return the signing key that all emulators of a test run share: making one takes a while."""
    return Keys()


@pytest.fixture
def dataverse_emulator(dataverse_emulator_keys: Keys) -> Iterator[EmbeddedEmulator]:
    """Return an emulated organization in this process, fresh for the test, on a virtual clock."""
    embedded = open_embedded(MEMORY, VirtualClock(), keys=dataverse_emulator_keys)
    yield embedded
    embedded.close()


@pytest.fixture
def dataverse_emulator_server(dataverse_emulator_keys: Keys, tmp_path: Path) -> Iterator[ServedEmulator]:
    """Return an emulated organization that listens on a port of this machine, fresh for the test, in real time."""
    with served(EmulatorOptions(), SystemClock(), tmp_path / "emulator", dataverse_emulator_keys) as emulator:
        yield emulator
