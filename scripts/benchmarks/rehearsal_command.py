"""The command `scripts/bench rehearsal`: rehearsals beside the jobs themselves, in organizations drawn by chance."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

from scripts.benchmarks import large_rehearsal
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.records import keep, markdown
from scripts.benchmarks.rehearsed import HiddenOrganization, RehearsedJob, rehearse_beside

ORGANIZATIONS, FEW = 6, 2
"""Organizations in full and in the reduced form; a row takes some twenty milliseconds of one processor."""


def _rehearsed(rows: int, execution: float, seed: int) -> RehearsedJob:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        hidden = HiddenOrganization.drawn(seed, execution)
        return rehearse_beside(hidden, Path(folder), rows=rows, pilot=rows // 3, ask=150)


def main(options: argparse.Namespace) -> int:
    """Rehearse and run, and tell how far off the rehearsals are; returns 1 where one is too far off."""
    if options.rows:
        return large_rehearsal.main(options.rows, options.seed, kept=options.keep)
    rows, execution = (400, 50.0) if options.quick else (3000, 250.0)
    before, seeds = conditions(), range(options.seed, options.seed + (FEW if options.quick else ORGANIZATIONS))
    with ProcessPoolExecutor() as pool:  # each has a clock of its own, so that they may run side by side
        jobs = list(pool.map(partial(_rehearsed, rows, execution), seeds))
    cells = [
        (str(job.seed), f"{job.rows:,}", str(job.servers), f"{job.took:,.0f} s", *job.before.cells(job.took),
         *job.after.cells(job.took)) for job in jobs
    ]  # fmt: skip
    heads = (
        "seed",
        "rows",
        "servers",
        "took",
        "said with --ask",
        "off",
        "range",
        "said after the pilot",
        "off",
        "range",
    )
    text = markdown(heads, cells)
    data = {"benchmark": "rehearsal", "conditions": before, "jobs": [asdict(job) for job in jobs]}
    if options.keep:
        keep("rehearsal", data, text)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else text)
    return 0 if all(job.well for job in jobs) else 1
