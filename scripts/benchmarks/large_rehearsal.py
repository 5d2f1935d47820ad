"""The command `connector bulk rehearse` on a plan of many rows: its time, and the memory it takes at most."""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from connector.organization.capture_file import capture_text
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.records import keep, markdown
from scripts.benchmarks.rehearsed import HiddenOrganization, prepared

MINUTES, MEGABYTES = 15, 1000
"""What a rehearsal may take."""
PATTERN = 300
"""Rows that are planned; the others are like them, each of another opportunity."""
OF_A_CUSTOMER = 4
"""Rows of one customer, on average."""


@dataclass(frozen=True, slots=True)
class LargeRehearsal:
    """A rehearsal of so many rows: seconds of time and of processor, megabytes at most, seconds that the job takes."""

    rows: int
    seconds: float
    processor: float
    megabytes: float
    takes: dict[str, float]


def rehearse_many(rows: int, seed: int, folder: Path) -> LargeRehearsal:
    """Rehearse a plan of so many rows in a process of its own."""
    capture, plan = prepared(HiddenOrganization.drawn(seed, 1200.0), folder, PATTERN)
    like, large = folder / "capture.json", folder / "large.plan.jsonl"
    like.write_text(capture_text(capture), encoding="utf-8")
    _multiply(plan, large, rows, random.Random(seed))
    command = [sys.executable, "-m", "connector", "bulk", "rehearse", str(large), "--like", str(like), "--json"]
    environment = os.environ | {"DATAVERSE_URL": f"emulator:{folder / 'organization.db'}"}
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    cases = {case["case"]: case for case in json.loads(run.stdout)["cases"]}
    assert cases["likely"]["curve"][-1][1] == rows
    takes = {name: float(case["seconds"]) for name, case in cases.items()}
    return LargeRehearsal(rows, time.monotonic() - began, processor, after.ru_maxrss / 1024, takes)


def _multiply(plan: Path, large: Path, rows: int, chance: random.Random) -> None:
    """Write a plan of so many rows like those of `plan`."""
    head, *lines, end = plan.read_text(encoding="utf-8").splitlines()
    pattern, steps = [json.loads(line) for line in lines], 0
    pattern = [row for row in pattern if row["status"] == "planned"]
    with large.open("w", encoding="utf-8") as file:
        file.write(head + "\n")
        for number in range(1, rows + 1):
            row = pattern[number % len(pattern)]
            customer = str(UUID(int=chance.randrange(rows // OF_A_CUSTOMER + 1)))
            request = row["request"] | {"opportunityid": str(UUID(int=10**30 + number))}
            record = row["record"] | {"customer": customer}
            file.write(json.dumps(row | {"row": number, "request": request, "record": record}) + "\n")
            steps += len(row["steps"])
        summary = json.loads(end)["summary"] | {"rows": rows, "planned": rows, "steps": steps}
        file.write(json.dumps({"summary": summary}) + "\n")


def main(rows: int, seed: int, *, kept: bool) -> int:
    """Rehearse, and tell; returns 1 where it takes too long, or too much memory."""
    before = conditions()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        large = rehearse_many(rows, seed, Path(folder))
    heads = ("rows", "time", "processor", "memory", "the job takes")
    takes = " to ".join(f"{large.takes[name] / 3600:.1f}" for name in ("fast", "slow"))
    cells = (
        f"{rows:,}",
        f"{large.seconds:,.0f} s",
        f"{large.processor:,.0f} s",
        f"{large.megabytes:,.0f} MB",
        f"{takes} h",
    )
    text = markdown(heads, [cells])
    if kept:
        keep("large_rehearsal", {"benchmark": "large_rehearsal", "conditions": before, "job": asdict(large)}, text)
    sys.stdout.write(text)
    fits = large.seconds <= MINUTES * 60 and large.megabytes <= MEGABYTES
    return 0 if fits and large.takes["fast"] <= large.takes["likely"] <= large.takes["slow"] else 1
