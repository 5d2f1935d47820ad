"""The command `scripts/bench scale`: more and more rows, more processes, more users."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from scripts.benchmarks import crews, large_job
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.crews import Crew
from scripts.benchmarks.records import FOLDER, keep, markdown

SIZES = (1_000, 10_000, 100_000)
FEW = (1_000, 10_000)
HEAD = ("rows", "of them open", "plan, µs per row", "run, µs per row", "memory MB", "store, bytes per row")
CREW_HEAD = ("worker processes", "users", "closes", "seconds", "closes per second", "their CPU, s", "answered 429")
ABOUT_CREWS = """\
Several processes and users. The service is modelled here (about 1.2 s of work for a close with two quotes, the
documented limits), so that the service is what everybody waits for, and not the few processors, which the emulator has
to share with all of them. What a user may use up does not grow with processes; it grows with users, and with web
servers. A second process is for a machine that may fail, or for more than one machine's worth of work.
"""
SIDE_BY_SIDE = 3
"""Crews that are measured at the same time, since they mostly wait."""


def main(options: argparse.Namespace) -> int:
    """Run a job of each size, and one by each crew; returns 1 when a target is missed.

    A million rows are `python -m scripts.benchmarks.large_job --keep`, whose kept result is taken in.
    """
    before = conditions()
    jobs: list[Mapping[str, Any]] = [large_job.measure(rows, rows) for rows in (FEW if options.quick else SIZES)]
    jobs += _kept(FOLDER / "large_job.json")
    rows = crews.FEW if options.quick else crews.ROWS_A_USER
    found = _crews(crews.CREWS[:3] if options.quick else crews.CREWS, rows)
    missed = [f"{job['rows']}: {name}" for job in jobs for name, well in job["targets"].items() if not well]
    missed += [f"{crew.processes} processes, {crew.users} users" for crew in found if crew.twice or not crew.whole]
    data = {
        "benchmark": "scale",
        "conditions": before,
        "conditions_after": conditions(),
        "jobs": jobs,
        "crews": [crew.data() for crew in found],
        "missed": missed,
    }
    text = _text(jobs, found)
    if options.keep:
        keep("scale", data, text)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else f"{text}\nmissed: {missed or 'nothing'}\n")
    return 1 if missed else 0


def _crews(wanted: Sequence[tuple[int, int]], rows: int) -> list[Crew]:
    with ProcessPoolExecutor(SIDE_BY_SIDE) as pool:
        return list(pool.map(crews.work, *zip(*wanted, strict=True), [rows] * len(wanted)))


def _kept(file: Path) -> list[Mapping[str, Any]]:
    """Return the large job that was measured before, if there is one."""
    return [json.loads(file.read_text(encoding="utf-8"))] if file.exists() else []


def _text(jobs: Sequence[Mapping[str, Any]], found: Sequence[Crew]) -> str:
    sizes = markdown(HEAD, [
        (f"{job['rows']:,}", f"{job['open']:,}", _per_row(job, "plan"), _per_row(job, "run"),
         f"{max(job[part]['memory_mb'] for part in ('plan', 'run')):.0f}", str(job["store_bytes_per_row"]))
        for job in jobs
    ])  # fmt: skip
    several = markdown(CREW_HEAD, [
        (str(one.processes), str(one.users), f"{one.closed:,}", f"{one.seconds:.0f}", f"{one.rate:.1f}",
         f"{one.cpu_seconds:.1f}", str(one.refused))
        for one in found
    ])  # fmt: skip
    return f"{sizes}\n{ABOUT_CREWS}\n{several}"


def _per_row(job: Mapping[str, Any], name: str) -> str:
    return f"{job[name]['seconds'] / job['rows'] * 1e6:,.0f}"
