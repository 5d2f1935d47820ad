"""The connector itself: chunks of 300 through the closing loop, batches over threads, as its bulk jobs do it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

from connector import Intent, Outcome, close_many, connect, load_settings
from connector.assembly import Connection
from connector.bulk.runner import CHUNK, FEWEST_CHUNKS, MOST_BATCHES
from connector.bulk.spread import Crew, Spread
from connector.clock import SystemClock
from connector.dataverse.reading import read_rows
from connector.dataverse.webapi import Endpoint, Operation
from scripts.benchmarks.closers.cost import job, tell


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
    """Close two chunks at a time: one is read while the other is written."""
    lane, clock = connection.lanes[0], SystemClock()
    with ThreadPoolExecutor(MOST_BATCHES) as threads, ThreadPoolExecutor(FEWEST_CHUNKS) as chunks:
        width = lambda: lane.gate.pace().most_in_flight  # noqa: E731 - as short as it is there
        crew = Crew(threads, lane.gate.parts, width, threading.Event(), lambda _change: None)

        def close(start: int) -> int:
            intents = [Intent(key, Outcome.LOST) for key in keys[start : start + CHUNK]]
            reports = close_many(Spread(lane.organization, crew), intents, pause=clock.sleep)
            return sum(report.status == "closed" for report in reports)

        return sum(chunks.map(close, range(0, len(keys), CHUNK)))


def _read(connection: Connection) -> int:
    """Read as the connector always does: in the pages of 5,000 that the service gives unasked."""
    operation = Operation("GET", "opportunities?$select=name,statecode,statuscode")
    return len(read_rows(connection.handler, Endpoint(connection.base_url), operation, "rows"))


main()
