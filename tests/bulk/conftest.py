"""An organization with a store of jobs, for the tests of bulk."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.assembly import connect
from connector.clock import SystemClock
from connector.dataverse.policies import reads_only
from connector.handler import Handler, Request, Response
from connector.ledger.store import open_ledger
from connector.settings.environment import load
from tests.bulk.dam import PATIENCE
from tests.bulk.office import Office
from tests.ledger.conftest import clock, ledger, postgres_server, postgres_store, store

__all__ = ["clock", "ledger", "office", "postgres_server", "postgres_store", "store"]


FULL = b'{"error":{"code":"0x80072321","message":"Combined execution time of incoming requests exceeded limit."}}'


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    settings = load({"DATAVERSE_URL": f"emulator:{tmp_path / 'organization.db'}"}, Path(os.devnull))
    sent: list[Request] = []
    door = threading.Event()
    door.set()
    writes, most_writes = itertools.count(1), [10**9]

    def watched(handler: Handler) -> Handler:
        def noting(request: Request) -> Response:
            if "/api/data/" in request.url:
                sent.append(request)
                assert reads_only(request) or door.wait(PATIENCE)
                if not reads_only(request) and next(writes) > most_writes[0]:
                    return Response(429, (("Retry-After", "240"),), FULL)
            return handler(request)

        return noting

    connection = connect(settings, SystemClock(), watched=watched)
    connection.warm()
    with open_ledger(str(tmp_path / "jobs.db"), SystemClock()) as ledger:
        yield Office(tmp_path / "organization.db", connection, ledger, SystemClock(), sent, door, most_writes)
    connection.close()
