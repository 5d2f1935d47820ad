"""The whole emulator, through each of its faces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.clock import Clock, SystemClock
from connector.emulator.background import served
from connector.emulator.embedded import EmbeddedEmulator, open_embedded
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import MEMORY, EmulatorOptions
from tests.emulator.whole.face import Face, MakeFace, embedded_face, session_for


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys()


@pytest.fixture(params=["in process", "over a socket"])
def face(request: pytest.FixtureRequest, keys: Keys, tmp_path: Path) -> Iterator[Face]:
    """The same emulator twice: called in the process, and through TLS."""
    if request.param == "in process":
        embedded = open_embedded(MEMORY, SystemClock(), EmulatorOptions(seeded=20), keys)
        made = embedded_face(embedded)
        yield made
        made.session.close()
        embedded.close()
        return
    with served(EmulatorOptions(seeded=20), SystemClock(), tmp_path / "emulator", keys) as one:
        session = session_for(str(one.ca_file))
        yield Face(session, one.emulator, one.url, one.authority, one.client_id, one.client_secret)
        session.close()


@pytest.fixture
def make_face(keys: Keys) -> Iterator[MakeFace]:
    """A function that makes an in-process face from a clock and options."""
    made: list[tuple[Face, EmbeddedEmulator]] = []

    def make(clock: Clock, options: EmulatorOptions) -> Face:
        embedded = open_embedded(MEMORY, clock, options, keys)
        made.append((embedded_face(embedded), embedded))
        return made[-1][0]

    yield make
    for face, embedded in made:
        face.session.close()
        embedded.close()
