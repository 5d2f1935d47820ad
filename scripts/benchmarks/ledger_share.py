"""What share of a job's time its ledger takes, when the service answers as slowly as it is thought to.

Run it with `python -m scripts.benchmarks.ledger_share [--rows N] [--keep]`: a job against an emulator in a process of
its own with its model of latency, every call of the ledger's database timed, loading the rows included.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from connector.assembly import connect
from connector.bulk.run.runner import Run
from connector.clock import SystemClock
from connector.ledger.database import Database, SqlRow, Transaction, Value
from connector.ledger.jobs import ItemStatus
from connector.ledger.ledger import Ledger
from connector.ledger.sqlite import SqliteDatabase
from connector.settings.environment import load
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.large_job import MOST_LEDGER_SHARE, NO_LIMITS, fill, rows_of
from scripts.benchmarks.records import keep, markdown
from scripts.benchmarks.served import Served


class Timed:
    """A database of a ledger that adds up how long it is at work: on the wall, and of this process's processor."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.skip_locked, self.lock = database.skip_locked, database.lock
        self.wall = self.processor = 0.0
        self.calls = 0

    @contextmanager
    def _timed(self) -> Iterator[None]:
        wall, processor = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.wall += time.perf_counter() - wall
            self.processor += time.thread_time() - processor
            self.calls += 1

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Time a transaction, from its beginning to its end on the disk."""
        with self._timed(), self._database.transaction() as transaction:
            yield transaction

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[SqlRow]:
        """Time a query."""
        with self._timed():
            return self._database.rows(statement, values)

    def stream(self, statement: str, values: Sequence[Value] = ()) -> Iterator[SqlRow]:
        """Pass a long query on; a run makes none."""
        return self._database.stream(statement, values)

    def hold(self, worker: int) -> None:
        """Time a sign of life."""
        with self._timed():
            self._database.hold(worker)

    def let_go(self, worker: int) -> None:
        """Time the end of one."""
        with self._timed():
            self._database.let_go(worker)

    def is_dead(self, worker: int) -> bool | None:
        """Time a look for one."""
        with self._timed():
            return self._database.is_dead(worker)

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def main() -> int:
    """Measure; returns 1 when the target is missed."""
    parser = argparse.ArgumentParser(description="Measure the ledger's share of a job's time at realistic latency.")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--keep", action="store_true", help="write the figures to scripts/benchmarks/results")
    options = parser.parse_args()
    data = measure(options.rows)
    if options.keep:
        keep("ledger_share", data, tables(data))
    sys.stdout.write(json.dumps(data, indent=1) + "\n")
    return 0 if data["well"] else 1


def measure(rows: int) -> Mapping[str, object]:
    """Return the figures of a job of so many open opportunities with a quote each."""
    before, clock = conditions(), SystemClock()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        Served("--empty", "--latency", "model") as served,
    ):
        served.control("PATCH", "limits", NO_LIMITS)
        fill(served, rows, rows)
        connection = connect(load(served.environment(), Path("/dev/null")))
        connection.warm()
        database = Timed(SqliteDatabase(Path(folder) / "jobs.db"))
        with Ledger(database, clock) as ledger:
            began = time.perf_counter()
            job = ledger.create("timed", rows_of(rows))
            ending = Run(ledger, job, connection.clients, clock, lambda _moment: None).work("bench")
            wall = time.perf_counter() - began
        connection.close()
    share = database.wall / wall
    return {
        "benchmark": "ledger_share",
        "conditions": before,
        "rows": rows,
        "closed": ending.counts.of(ItemStatus.CLOSED),
        "seconds": round(wall, 1),
        "rows_per_second": round(rows / wall, 1),
        "ledger_calls": database.calls,
        "ledger_seconds": round(database.wall, 3),
        "ledger_processor_seconds": round(database.processor, 3),
        "share": round(share, 5),
        "processor_share": round(database.processor / wall, 5),
        "well": share < MOST_LEDGER_SHARE and ending.well,
    }


def tables(data: Mapping[str, object]) -> str:
    """Return the figures as a table."""
    lines = [
        ("rows, each with a quote, at the emulator's model of latency", f"{data['rows']:,}"),
        ("time", f"{data['seconds']} s, {data['rows_per_second']} rows/s"),
        ("calls of the ledger's database", f"{data['ledger_calls']:,}"),
        ("time in them", f"{data['ledger_seconds']} s ({data['ledger_processor_seconds']} s of the processor)"),
        ("share of the time", f"{float(str(data['share'])):.2%} (at most {MOST_LEDGER_SHARE:.0%})"),
    ]
    return markdown(("figure", "value"), lines)


if __name__ == "__main__":
    sys.exit(main())
