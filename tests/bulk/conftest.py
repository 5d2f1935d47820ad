"""An organization with a store of jobs, for the tests of bulk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.assembly import connect
from connector.clock import SystemClock
from connector.handler import Handler, Request, Response
from connector.ledger.store import open_ledger
from connector.settings.environment import load
from tests.bulk.office import Office
from tests.ledger.conftest import clock, ledger, postgres_server, postgres_store, store

__all__ = ["clock", "ledger", "office", "postgres_server", "postgres_store", "store"]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    settings = load({"DATAVERSE_URL": f"emulator:{tmp_path / 'organization.db'}"}, Path(os.devnull))
    sent: list[Request] = []

    def watched(handler: Handler) -> Handler:
        def noting(request: Request) -> Response:
            if "/api/data/" in request.url:
                sent.append(request)
            return handler(request)

        return noting

    connection = connect(settings, SystemClock(), watched=watched)
    connection.warm()
    with open_ledger(str(tmp_path / "jobs.db"), SystemClock()) as ledger:
        yield Office(tmp_path / "organization.db", connection, ledger, SystemClock(), sent)
    connection.close()
