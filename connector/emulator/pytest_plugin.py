"""Fixtures for tests of Dataverse clients: an emulated organization per test, in the process or on a socket.

    def test_my_client(dataverse_emulator):
        session.mount(dataverse_emulator.url, dataverse_emulator.adapter())

Both are filled with the same 300 opportunities each time and keep nothing. Override the fixture
`dataverse_emulator_options` for another organization, or name files of plug-ins in the option of pytest's settings
`dataverse_emulator_plugins`. The in-process one has a virtual clock: its
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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of pytest's settings."""
    parser.addini("dataverse_emulator_plugins", "Files of the emulated organization's own logic.", "paths", default=[])


@pytest.fixture
def dataverse_emulator_options(pytestconfig: pytest.Config) -> EmulatorOptions:
    """Return what the emulated organization of a test is: override it for another one."""
    return EmulatorOptions(plugins=tuple(pytestconfig.getini("dataverse_emulator_plugins")))


@pytest.fixture
def dataverse_emulator(
    dataverse_emulator_keys: Keys, dataverse_emulator_options: EmulatorOptions
) -> Iterator[EmbeddedEmulator]:
    """Return an emulated organization in this process, fresh for the test, on a virtual clock."""
    embedded = open_embedded(MEMORY, VirtualClock(), dataverse_emulator_options, dataverse_emulator_keys)
    yield embedded
    embedded.close()


@pytest.fixture
def dataverse_emulator_server(
    dataverse_emulator_keys: Keys, dataverse_emulator_options: EmulatorOptions, tmp_path: Path
) -> Iterator[ServedEmulator]:
    """Return an emulated organization that listens on a port of this machine, fresh for the test, in real time."""
    with served(dataverse_emulator_options, SystemClock(), tmp_path / "emulator", dataverse_emulator_keys) as emulator:
        yield emulator
