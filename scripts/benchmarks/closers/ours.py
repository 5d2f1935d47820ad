"""The connector itself: rows through the pipeline of its bulk jobs."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

from connector import Intent, Outcome, connect, load_settings
from connector.assembly import Connection
from connector.bulk.run.decision import SendOrder
from connector.bulk.run.paced_client import MOST_IN_FLIGHT
from connector.bulk.run.pipeline import Pipeline
from connector.clock import SystemClock
from connector.ledger.jobs import Item, ItemStatus
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
    """Let all of them through."""
    changed = threading.Event()
    with ThreadPoolExecutor(MOST_IN_FLIGHT) as threads:
        pipeline = Pipeline(connection.clients[0], threads, SystemClock(), random.random, changed.set, SendOrder())
        pipeline.add([Item(row, 1, 1, Intent(key, Outcome.LOST)) for row, key in enumerate(keys, 1)])
        while not pipeline.idle:
            changed.wait(0.1)
            changed.clear()
            pipeline.go_on(0)
    return sum(verdict.result.status is ItemStatus.CLOSED for verdict in pipeline.take_decisions().verdicts)


main()
