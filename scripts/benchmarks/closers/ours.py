"""The connector itself: chunks of 300 through the closing loop, batches over threads, as its bulk jobs do it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

from connector import Intent, Outcome, close_many, connect, load_settings
from connector.assembly import Connection
from connector.bulk.spread import Crew, Spread
from connector.clock import SystemClock
from connector.dataverse.reading import read_rows
from connector.dataverse.webapi import Endpoint, Operation
from scripts.benchmarks.closers.cost import job, tell

CHUNK = 300


def main() -> None:
    """Close or read."""
    wanted = job()
    clock = SystemClock()
    connection = connect(load_settings(wanted["environment"], Path("/dev/null")), clock)
    try:
        connection.warm()
        connection.organization.metadata()
        keys = [UUID(key) for key in wanted["opportunities"]]
        tell(lambda: _close(connection, keys) if wanted["what"] == "close" else _read(connection))
    finally:
        connection.close()


def _close(connection: Connection, keys: list[UUID]) -> int:
    lane, clock = connection.lanes[0], SystemClock()
    closed = 0
    with ThreadPoolExecutor(8) as threads:
        crew = Crew(threads, lane.gate.parts, threading.Event(), lambda _change: None)
        for start in range(0, len(keys), CHUNK):
            intents = [Intent(key, Outcome.LOST) for key in keys[start : start + CHUNK]]
            reports = close_many(Spread(lane.organization, crew), intents, pause=clock.sleep)
            closed += sum(report.status.value == "closed" for report in reports)
    return closed


def _read(connection: Connection) -> int:
    """Read as the connector always does: in the pages of 5,000 that the service gives unasked."""
    operation = Operation("GET", "opportunities?$select=name,statecode,statuscode")
    return len(read_rows(connection.handler, Endpoint(connection.base_url), operation, "rows"))


main()
