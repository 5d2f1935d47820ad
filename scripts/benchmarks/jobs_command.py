"""The command `scripts/bench jobs`: bulk jobs as their user starts them, beside a naive script and another client."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.jobs import JobRun, cells, clients, play
from scripts.benchmarks.records import keep, markdown

HEAD = ("cell", "client", "least s", "took s", "least / took", "closed", "twice", "429", "behind s", "forecast error")
LEAST_RATIO = 0.6
SHORTEST = 5.0
"""Seconds: a cell whose least time is shorter has no target, since starting takes most of it."""
MOST_REFUSED, MOST_BEHIND, MOST_ERROR = 0.005, 2.0, 0.10


def main(options: argparse.Namespace) -> int:
    """Play every cell with every client, one after the other; returns 1 when a target is missed."""
    before = conditions()
    runs: list[JobRun] = []
    missed: list[str] = []
    for cell in cells(quick=options.quick):
        group = [play(cell, client, seed=options.seed) for client in clients()]
        runs += group
        missed += misses(group)
        sys.stderr.write(f"{cell.name}: {', '.join(f'{run.client} {run.took} s' for run in group)}\n")
    data = {
        "benchmark": "jobs",
        "conditions": before,
        "conditions_after": conditions(),
        "runs": [run.data() for run in runs],
        "missed": missed,
    }
    text = markdown(HEAD, [_row(run) for run in runs])
    if options.keep:
        keep("jobs", data, text)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else f"{text}\nmissed: {missed or 'nothing'}\n")
    return 1 if missed else 0


def misses(group: Sequence[JobRun]) -> list[str]:
    """Return the targets that our command, the first of the clients of a cell, missed there."""
    ours, *others = group
    if ours.took is None or ours.ratio is None:
        return [f"{ours.cell}: not done"]
    faster = [one.client for one in others if one.took is not None and one.took < ours.took]
    found = {
        "closed twice": ours.twice > 0,
        f"slower than {' and '.join(faster)}": bool(faster),
        "least / took": ours.least >= SHORTEST and ours.ratio < LEAST_RATIO,
        "429": ours.refused > MOST_REFUSED * ours.requests,
        "behind": (ours.behind or 0.0) > MOST_BEHIND,
        "forecast": (ours.forecast_error or 0.0) > MOST_ERROR,
    }
    return [f"{ours.cell}: {name}" for name, is_missed in found.items() if is_missed]


def _row(run: JobRun) -> tuple[str, ...]:
    values = (run.least, run.took, run.ratio, run.closed, run.twice, run.refused, run.behind, run.forecast_error)
    return run.cell, run.client, *("" if value is None else f"{value:,}" for value in values)
