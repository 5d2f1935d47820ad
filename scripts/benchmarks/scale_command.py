"""The command `scripts/bench scale`: the same job with more and more rows, through the command line and its ledger."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping

from scripts.benchmarks import large_job
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.records import keep, markdown

SIZES = (1_000, 10_000, 100_000, 1_000_000)
FEW = (1_000, 10_000)
HEAD = ("rows", "of them open", "plan, µs per row", "run, µs per row", "memory MB", "store, bytes per row")
MOST_OPEN = 100_000
"""Opportunities really closed; in a larger job the rest is closed already, as in a second run of an export."""


def main(options: argparse.Namespace) -> int:
    """Run a job of each size; returns 1 when a target is missed."""
    before = conditions()
    jobs = [large_job.measure(rows, min(rows, MOST_OPEN)) for rows in (FEW if options.quick else SIZES)]
    table = markdown(HEAD, [
        (f"{job['rows']:,}", f"{job['open']:,}", _per_row(job, "plan"), _per_row(job, "run"), f"{_memory(job):.0f}",
         str(job["store_bytes_per_row"])) for job in jobs
    ])  # fmt: skip
    missed = [f"{job['rows']}: {name}" for job in jobs for name, well in _targets(job).items() if not well]
    data = {"benchmark": "scale", "conditions": before, "jobs": jobs, "missed": missed}
    if options.keep:
        keep("scale", data, table)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else f"{table}\nmissed: {missed or 'nothing'}\n")
    return 1 if missed else 0


def _part(job: Mapping[str, object], name: str) -> Mapping[str, float]:
    part = job[name]
    assert isinstance(part, Mapping)  # noqa: S101 - as `large_job.measure` made it
    return part


def _per_row(job: Mapping[str, object], name: str) -> str:
    return f"{_part(job, name)['seconds'] / int(str(job['rows'])) * 1e6:,.0f}"


def _memory(job: Mapping[str, object]) -> float:
    return max(_part(job, name)["memory_mb"] for name in ("plan", "run"))


def _targets(job: Mapping[str, object]) -> Mapping[str, float]:
    return _part(job, "targets")
