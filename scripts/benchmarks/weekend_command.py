"""The command `scripts/bench weekend`: a cutover weekend on the virtual clock, in full."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.records import keep, markdown, scratch
from scripts.benchmarks.weekend import rehearse

ROWS, FEW = 100_000, 600
"""Rows in full and in the reduced form; `--rows` says another number. A row takes about two milliseconds of one
processor, the emulator's share included."""


def main(options: argparse.Namespace) -> int:
    """Let the weekend pass and tell what came of it; returns 1 where something does not hold."""
    rows = options.rows or (FEW if options.quick else ROWS)
    before = conditions()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=scratch()) as folder:
        found = rehearse(Path(folder), rows)
    data = {"benchmark": "weekend", "conditions": before, **found}
    holds = found["holds"]
    assert isinstance(holds, dict)
    lines = [(name, "yes" if well else "NO") for name, well in holds.items()]
    figures = ("rows", "rejected", "counts", "operations", "hours", "shifts", "seconds")
    text = markdown(("figure", "value"), [(name, str(found[name])) for name in figures]) + "\n"
    text += markdown(("what must hold", "it does"), lines)
    if options.keep:
        keep("weekend", data, text)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else text)
    return 0 if all(holds.values()) else 1
