"""The command `scripts/bench truth`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from scripts.benchmarks import truth
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.records import keep, markdown

ROWS, WITH_PLUGINS, FEW = 4_000, 600, 200


def main(options: argparse.Namespace) -> int:
    """Play every plan, or random mixtures until stopped; returns 1 when anything is not as it was told."""
    logging.getLogger("connector").setLevel(logging.ERROR)  # thousands of expected failures
    if options.forever:
        return _forever(options.seed)
    whole, before = WITH_PLUGINS if options.plugins else ROWS, conditions()
    rows = FEW if options.quick else whole
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        counts = list(
            pool.map(partial(truth.play, rows=rows, seed=options.seed, plugins=options.plugins), truth.names())
        )
    head = (
        "plan",
        "closes",
        "twice",
        "missed",
        "wrongly reported",
        "trouble struck",
        "rows taken up again",
        "requests",
    )
    table = markdown(head, [(one.plan, *(f"{number:,}" for number in one.numbers())) for one in counts])
    well = all(one.well for one in counts)
    data = {
        "benchmark": "truth",
        "plugins": options.plugins,
        "conditions": before,
        "plans": [one.data() for one in counts],
        "well": well,
    }
    if options.keep:
        keep("truth-plugins" if options.plugins else "truth", data, table)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else table)
    return 0 if well else 1


def _forever(seed: int) -> int:
    """Play random mixtures until one goes wrong or Ctrl-C: one line of JSON each, and the sum of all at the end."""
    played: list[truth.Count] = []
    try:
        for one in truth.forever(FEW, seed):
            sys.stdout.write(json.dumps(one.data()) + "\n")
            sys.stdout.flush()
            played.append(one)
            if not one.well:
                break
    except KeyboardInterrupt:
        pass
    names = ("rows", "duplicates", "missed", "wrongly_reported", "struck", "again", "requests")
    total = {name: sum(getattr(one, name) for one in played) for name in names}
    sys.stdout.write(json.dumps({"plans": len(played), **total}) + "\n")
    return 0 if all(one.well for one in played) else 1
