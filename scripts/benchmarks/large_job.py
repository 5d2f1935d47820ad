"""A job of a million rows against an emulator in a process of its own: time, memory of the client, cost of the ledger.

Run it with `python -m scripts.benchmarks.large_job [--rows N] [--open N]`. Rows that are not open are closed already,
as in a second run of an export: they are read and accounted for, but not written.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from subprocess import PIPE, Popen
from uuid import UUID

from connector.clock import SystemClock
from connector.closing.model import Intent, Outcome
from connector.ledger.jobs import ItemResult, ItemStatus, Row
from connector.ledger.store import open_ledger
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.records import keep, markdown
from scripts.benchmarks.served import Served, cpu_seconds, memory_mb, opportunity_key, opportunity_row, quote_row

MOST_MEMORY = 160.0
"""Megabytes that the client may take, whatever the number of rows."""
MOST_LEDGER_SHARE = 0.02
"""Share of the wall time that the ledger may take at a realistic rate."""
REALISTIC_RATE = 160.0
"""Rows per second: what the documented limits give one user on 8 web servers (1,200 seconds of execution in every 300
on each) when a row takes 0.2 s, which is fast for a close with a quote."""
SEEDED_AT_ONCE = 5000
"""Rows in one request to the emulator."""
NO_LIMITS = {"enforced": False, "requests": 100_000_000, "execution_seconds": 1e9}
"""What is measured is the client: no budget binds."""


def main() -> int:
    """Measure; returns 1 when a target is missed."""
    parser = argparse.ArgumentParser(description="Measure a large job: time, memory of the client, cost of the ledger.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--open", type=int, default=None, help="open opportunities among them; else all")
    parser.add_argument("--keep", action="store_true", help="write the figures to scripts/benchmarks/results")
    options = parser.parse_args()
    data = measure(options.rows, options.rows if options.open is None else min(options.open, options.rows))
    missed = [name for name, well in data["targets"].items() if not well]  # type: ignore[attr-defined]
    if options.keep:
        keep("large_job", data, tables(data))
    sys.stdout.write(json.dumps(data, indent=1) + "\n")
    return 1 if missed else 0


def measure(rows: int, opened: int) -> Mapping[str, object]:
    """Return the figures of a job of so many rows, of which so many are open with a quote each."""
    before = conditions()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file, organization = Path(folder) / "rows.csv", Path(folder) / "organization.db"
        with Served("--empty", "--db", str(organization)) as served:
            served.control("PATCH", "limits", NO_LIMITS)
            began = time.perf_counter()
            fill(served, rows, opened)
            _write(file, rows)
            seeded = time.perf_counter() - began
            environment = {**os.environ, **served.environment(), "CONNECTOR_STORE": str(Path(folder) / "jobs.db")}
            plan = _client(["plan", str(file), "--json"], environment, (0, 3))
            run = _client(["run", str(file), "--job", "big", "--yes", "--json"], environment, (0,))
            emulator_cpu = round(cpu_seconds(served.pid), 1)
            size = (Path(folder) / "jobs.db").stat().st_size
        effects = _effects(organization)
    ledger = ledger_seconds(min(rows, 200_000))
    peak = max(plan["memory_mb"], run["memory_mb"])
    said = run["said"]
    assert isinstance(said, Mapping)
    return {
        "benchmark": "large_job",
        "conditions": before,
        "rows": rows,
        "open": opened,
        "seeded_seconds": round(seeded, 1),
        "plan": plan,
        "run": run,
        "emulator_cpu_seconds": emulator_cpu,
        "effects": effects,
        "store_bytes_per_row": round(size / rows),
        "ledger_seconds_per_row": ledger,
        "ledger_share": round(ledger * REALISTIC_RATE, 4),
        "targets": {
            "memory": peak < MOST_MEMORY,
            "ledger": ledger * REALISTIC_RATE < MOST_LEDGER_SHARE,
            "accounted for": said["closed"] == opened and said["already_closed"] == rows - opened,
            "closed once each": set(effects.values()) == {opened},
        },
    }


def _effects(organization: Path) -> Mapping[str, int]:
    """Return what a job left in the organization's database, counted in its tables: one number if all is well."""
    counted = {
        "opportunities with a close": "SELECT COUNT(DISTINCT opportunityid) FROM opportunityclose",
        "closes of opportunities": "SELECT COUNT(*) FROM opportunityclose",
        "quotes with a close": "SELECT COUNT(DISTINCT quoteid) FROM quoteclose",
        "closes of quotes": "SELECT COUNT(*) FROM quoteclose",
        "closed quotes": "SELECT COUNT(*) FROM quote WHERE statecode = 3",
    }
    with closing(sqlite3.connect(organization)) as connection:
        return {name: connection.execute(sql).fetchone()[0] for name, sql in counted.items()}


def tables(data: Mapping[str, object]) -> str:
    """Return the figures as a table."""
    plan, run, effects = data["plan"], data["run"], data["effects"]
    assert isinstance(effects, Mapping)
    assert isinstance(plan, Mapping)
    assert isinstance(run, Mapping)
    lines: Sequence[Sequence[str]] = [
        ("rows (of which open, with a quote each)", f"{data['rows']:,} ({data['open']:,})"),
        (
            "planned in",
            f"{plan['seconds']:,.0f} s, {plan['cpu_seconds']:,.0f} s of processor, memory {plan['memory_mb']:.0f} MB",
        ),
        (
            "run in",
            f"{run['seconds']:,.0f} s, {run['cpu_seconds']:,.0f} s of processor, memory {run['memory_mb']:.0f} MB",
        ),
        ("closes counted in the organization", f"{min(effects.values()):,} to {max(effects.values()):,}"),
        ("job store", f"{data['store_bytes_per_row']} bytes per row"),
        ("ledger", f"{float(str(data['ledger_seconds_per_row'])) * 1e6:.0f} µs per row"),
        (f"share of the wall time at {REALISTIC_RATE:.0f} rows/s", f"{float(str(data['ledger_share'])):.2%}"),
    ]
    return markdown(("figure", "value"), lines)


def ledger_seconds(rows: int, chunk: int = 300) -> float:
    """Return the seconds that the ledger takes for a row from loading to its result, alone on a file."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, open_ledger(f"{folder}/j.db", SystemClock()) as ledger:
        began = time.perf_counter()
        job = ledger.create("big", rows_of(rows))
        worker = ledger.enter("bench")
        report = _report(random.Random(1))
        while items := worker.claim(job, chunk):
            worker.record(job, [ItemResult(item.row, item.epoch, ItemStatus.CLOSED, "", report) for item in items])
        worker.leave()
        return (time.perf_counter() - began) / rows


def rows_of(count: int) -> Iterator[Row]:
    """Yield the rows of a job that wins the first `count` opportunities."""
    for number in range(1, count + 1):
        yield Row(number, Intent(opportunity_key(number), Outcome.WON))


def _report(chance: random.Random) -> dict[str, object]:
    """Return what is kept of a close with one quote."""
    steps = [
        {
            "kind": "close_quote", "record": str(UUID(int=chance.getrandbits(128))), "table": "quote",
            "label": "Close quote", "result": "done", "activity_id": str(UUID(int=chance.getrandbits(128))),
            "request_id": str(UUID(int=chance.getrandbits(128))),
        }
        for _ in range(2)
    ]  # fmt: skip
    return {"status": "closed", "steps": steps, "rounds": 1}


def fill(served: Served, rows: int, opened: int) -> None:
    """Add the opportunities: the open ones first, each with an active quote, then those that are won already."""
    for low in range(1, rows + 1, SEEDED_AT_ONCE):
        numbers = range(low, min(low + SEEDED_AT_ONCE, rows + 1))
        found = [_opportunity(number, opened) for number in numbers]
        served.control("POST", "seed", {"opportunity": found})
        quotes = [quote_row(number, 1) for number in numbers if number <= opened]
        if quotes:
            served.control("POST", "seed", {"quote": quotes})


def _opportunity(number: int, opened: int) -> Mapping[str, object]:
    row = opportunity_row(number)
    return row if number <= opened else {**row, "statecode": 1, "statuscode": 3}


def _write(file: Path, rows: int) -> None:
    with file.open("w", encoding="utf-8") as out:
        out.write("opportunityid,outcome\n")
        out.writelines(f"{opportunity_key(number)},won\n" for number in range(1, rows + 1))


def _client(arguments: Sequence[str], environment: Mapping[str, str], well: Sequence[int]) -> dict[str, float]:
    """Run a command of `connector bulk` and return its seconds, the peak of its memory and what it said."""
    began, peak, cpu = time.perf_counter(), 0.0, 0.0
    command = [sys.executable, "-m", "connector", "bulk", *arguments]
    with tempfile.TemporaryFile() as out, Popen(command, env=environment, stdout=out, stderr=PIPE) as process:
        while process.poll() is None:
            try:
                peak, cpu = max(peak, memory_mb(process.pid, peak=True)), cpu_seconds(process.pid)
            except (OSError, StopIteration):
                break
            time.sleep(0.2)
        _, said_aside = process.communicate()
        out.seek(0)
        said = out.read()
    if process.returncode not in well:
        raise RuntimeError(said_aside.decode() + said.decode())
    seconds = time.perf_counter() - began
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "memory_mb": round(peak, 1),
        "said": json.loads(said),
    }


if __name__ == "__main__":
    sys.exit(main())
