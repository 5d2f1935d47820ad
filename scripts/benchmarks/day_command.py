"""The command `scripts/bench day`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time

from scripts.benchmarks import day
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.records import keep, markdown

HEAD = (
    "simulated hours", "closes", "tokens asked for", "outages", "their seconds", "rows taken up again", "failed",
    "left open", "twice",
)  # fmt: skip


def main(options: argparse.Namespace) -> int:
    """Play the day; returns 1 when a row failed or was closed twice."""
    logging.getLogger("connector").setLevel(logging.ERROR)  # thousands of expected failures
    before, began = conditions(), time.monotonic()
    found = day.play(2 if options.quick else day.HOURS, options.seed)
    data = {"benchmark": "day", "conditions": before, "seconds": round(time.monotonic() - began, 1), **found.data()}
    table = markdown(HEAD, [tuple(f"{value:,}" for value in found.data().values())])
    if options.keep:
        keep("day", data, table)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else table)
    return 1 if found.failed or found.left_open or found.duplicates else 0
