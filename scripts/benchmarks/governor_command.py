"""The command `scripts/bench governor`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from scripts.benchmarks import governor, governor_ablation, governor_cells, governor_jobs
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.records import keep, markdown

DRAWN = (
    "documented limits, 2 servers, 1 s",
    "limits drop and recover, 2 servers, 1 s",
    "plug-ins slow down, 2 servers, 1 s",
    "hidden limits of 1.5 times, never told, 2 servers, 1 s",
)
"""Whose curves are kept and drawn."""


def main(options: argparse.Namespace) -> int:
    """Play the scenarios and tell what came of it; returns 1 when a target is missed."""
    if options.ablate:
        rules = []
        for rule in governor_ablation.ablate():
            rules.append(rule)
            sys.stderr.write(f"{len(rules)} of {len(governor_ablation.RULES)} rules: {rule[0]}\n")
        if options.keep:
            keep("governor-ablation", governor_ablation.data(rules), governor_ablation.table(rules))
        sys.stdout.write(governor_ablation.table(rules))
        return 0
    if options.jobs or options.cells:
        return _jobs_and_cells(options)
    began, before = time.monotonic(), conditions()
    figures, others = governor.run(quick=options.quick)
    summary = governor.summary(figures)
    data = {
        "benchmark": "governor",
        "conditions": before,
        "seconds": round(time.monotonic() - began, 1),
        "summary": summary,
        "scenarios": [one.data(curves=False) for one in figures],
        "others": [one.data(curves=False) for one in others],
    }
    tables = governor.table(figures, others)
    if options.keep:
        curves = [one.data(curves=True) for one in (*figures, *others) if one.name in DRAWN]
        keep("governor-quick" if options.quick else "governor", {**data, "curves": curves}, tables)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else f"{tables}\n{json.dumps(summary, indent=2)}\n")
    return 1 if summary["missed"] else 0


def _jobs_and_cells(options: argparse.Namespace) -> int:
    """Play jobs of a number of rows, and services that are not as documented."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = list(
            pool.map(partial(governor_jobs.play, seed=options.seed), governor_jobs.jobs() if options.jobs else ())
        )
        numbers = range(len(list(governor_cells.cells(quick=options.quick)))) if options.cells else range(0)
        services = list(pool.map(partial(_cell, seed=options.seed, quick=options.quick), numbers))
    rows = [[job.name, f"{job.least:,.1f} s", f"{job.took:,.1f} s", f"{job.ratio:.2f}", _refused(job)] for job in jobs]
    tables = markdown(["job", "least time", "took", "ratio", "refused"], rows) if jobs else ""
    head = ["service", "together", "ours", "ours when they have left", "refused"]
    lines = [
        [one.name, *(_percent(share) for share in (one.together, one.ours, one.after)), _refused(one)]
        for one in services
    ]
    tables += markdown(head, lines) if services else ""
    data = {
        "benchmark": "governor jobs",
        "jobs": [job.data() for job in jobs],
        "cells": [cell.data() for cell in services],
    }
    if options.keep:
        keep("governor-jobs", data, tables)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else tables)
    return int(any(job.ratio < governor_jobs.LEAST_SHARE or job.early for job in jobs))


def _cell(number: int, *, seed: int, quick: bool) -> governor_cells.CellFigures:
    """Play one of the services; they hold functions, which do not go to another process."""
    return governor_cells.play(list(governor_cells.cells(quick=quick))[number], seed=seed)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _refused(figures: governor_jobs.JobFigures | governor_cells.CellFigures) -> str:
    return f"{figures.share_429:.2%}"
