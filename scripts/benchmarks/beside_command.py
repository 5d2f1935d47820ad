"""The command `scripts/bench beside`: every client under the same fault plans, counted on the server."""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from scripts.benchmarks import clients, truth_beside
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.records import keep, markdown
from scripts.benchmarks.trial import OURS
from scripts.benchmarks.truth_beside import Beside

ROWS, FEW = 200, 60


def main(options: argparse.Namespace) -> int:
    """Play every plan with every client; returns 1 when this connector did or told anything wrong."""
    rows, before, modules = FEW if options.quick else ROWS, conditions(), clients.node_modules()
    names = [name for name, program in clients.CLIENTS.items() if isinstance(modules, Path) or program[-3:] != ".js"]
    jobs = [(plan, name) for plan in truth_beside.NAMES for name in names]
    play = partial(_play, rows=rows, seed=options.seed)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each client is a process of its own
        played = list(pool.map(play, jobs))
    well = not any(one.duplicates or one.missed or one.wrongly_reported for one in played if one.client == OURS)
    table = _table(played, names, rows)
    data = {
        "benchmark": "beside",
        "conditions": before,
        "rows": rows,
        "plans": [one.data() for one in played],
        "skipped": [modules] if isinstance(modules, str) else [],
        "well": well,
    }
    if options.keep:
        keep("beside", data, table)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else table)
    return 0 if well else 1


def _play(job: tuple[str, str], rows: int, seed: int) -> Beside:
    return truth_beside.play(*job, rows, seed)


def _table(played: list[Beside], names: list[str], rows: int) -> str:
    found = {(one.plan, one.client): one for one in played}
    head = (f"of {rows} closes: twice / missed / wrongly reported", *names)
    lines = [(plan, *(_cell(found[plan, name]) for name in names)) for plan in truth_beside.NAMES]
    return markdown(head, lines)


def _cell(one: Beside) -> str:
    return f"{one.duplicates} / {one.missed} / {one.wrongly_reported}, {one.runs} runs"
