"""The command `scripts/bench governor`."""

from __future__ import annotations

import argparse
import json
import sys
import time

from scripts.benchmarks import governor
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.records import keep

DRAWN = (
    "documented limits, 2 servers, 1 s",
    "limits drop and recover, 2 servers, 1 s",
    "plug-ins slow down, 2 servers, 1 s",
    "hidden limits of 1.5 times, never told, 2 servers, 1 s",
)
"""Whose curves are kept and drawn."""


def main(options: argparse.Namespace) -> int:
    """Play the scenarios and tell what came of it; returns 1 when a target is missed."""
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
