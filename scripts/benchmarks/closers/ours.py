"""The connector itself: chunks of 300 through the closing loop, batches over threads, as its bulk jobs do it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

from connector import Intent, Outcome, close_many, connect, load_settings
from connector.assembly import Connection
from connector.bulk.run.runner import CHUNK, FEWEST_CHUNKS, MOST_BATCHES
from connector.bulk.run.spread import Crew, Spread
from connector.clock import SystemClock
from scripts.benchmarks.closers.cost import job, tell


def main() -> None:
    """Close."""
    wanted = job()
    connection = connect(load_settings(wanted["environment"], Path("/dev/null")), SystemClock())
    try:
        connection.warm()
        connection.organization.metadata()
        keys = [UUID(key) for key in wanted["opportunities"]]
        tell(lambda: _close(connection, keys))
    finally:
        connection.close()


def _close(connection: Connection, keys: list[UUID]) -> int:
    """Close two chunks at a time: one is read while the other is written."""
    lane, clock = connection.clients[0], SystemClock()
    with ThreadPoolExecutor(MOST_BATCHES) as threads, ThreadPoolExecutor(FEWEST_CHUNKS) as chunks:

        def width() -> int:
            return lane.gate.pace().most_in_flight

        crew = Crew(threads, lane.gate.parts, width, threading.Event(), lambda _change: None)

        def close(start: int) -> int:
            intents = [Intent(key, Outcome.LOST) for key in keys[start : start + CHUNK]]
            reports = close_many(Spread(lane.organization, crew), intents, pause=clock.sleep)
            return sum(report.status == "closed" for report in reports)

        return sum(chunks.map(close, range(0, len(keys), CHUNK)))


main()
