"""An organization for a client that nobody here wrote: called in the process, and through TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from connector.clock import VirtualClock
from connector.emulator.background import served
from connector.emulator.embedded import open_embedded
from connector.emulator.identity.keys import Keys
from connector.emulator.seeding.emulator_options import MEMORY, EmulatorOptions
from tests.emulator.stranger.wire import Stranger

Organized = Callable[[EmulatorOptions], Stranger]
"""Makes an organization, in the process and on a virtual clock, and a client that has signed in."""


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys()


def _session(trust: str | None = None) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    if trust is not None:
        session.verify = trust
    return session


@pytest.fixture
def organized(keys: Keys) -> Iterator[Organized]:
    """A function that makes an organization from options."""
    with ExitStack() as stack:

        def make(options: EmulatorOptions) -> Stranger:
            embedded = open_embedded(MEMORY, VirtualClock(), options, keys)
            stack.callback(embedded.close)
            session = stack.enter_context(_session())
            session.mount("https://", embedded.adapter())
            credentials = (embedded.client_id, embedded.client_secret)
            return Stranger(session, embedded.url, embedded.authority, *credentials).sign_in()

        yield make


@pytest.fixture
def stranger(organized: Organized) -> Stranger:
    """A client that has signed in to an empty organization in the process."""
    return organized(EmulatorOptions(seeded=0))


@pytest.fixture(params=["in process", "over a socket"])
def anywhere(request: pytest.FixtureRequest, organized: Organized, keys: Keys, tmp_path: Path) -> Iterator[Stranger]:
    """The same client of the same organization through each face."""
    if request.param == "in process":
        yield organized(EmulatorOptions(seeded=12))
        return
    options = EmulatorOptions(seeded=12)
    with served(options, VirtualClock(), tmp_path / "emulator", keys) as one, _session(str(one.ca_file)) as session:
        yield Stranger(session, one.url, one.authority, one.client_id, one.client_secret).sign_in()
