"""The command `scripts/bench clock`: scenarios of the governor again on the real clock, beside their simulation."""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from scripts.benchmarks import real_clock
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.records import keep, markdown

SECONDS, FEW = 120.0, 40.0
"""How long each scenario is played; all at the same time, since they mostly wait."""
NEAR = 0.03
"""How far the real share of the ceiling may be from the simulated one."""
HEAD = ("scenario, windows of 20 s", "real: of the ceiling", "refused", "simulated: of the ceiling", "refused")


def main(options: argparse.Namespace) -> int:
    """Play the scenarios; returns 1 when the simulation does not tell the truth."""
    before, seconds = conditions(), FEW if options.quick else SECONDS
    with ProcessPoolExecutor(len(real_clock.CASES)) as pool:
        pairs = list(pool.map(partial(real_clock.compare, seconds=seconds), real_clock.CASES))
    table = markdown(HEAD, [
        (one.name, f"{one.real:.1%}", f"{one.real_429:.2%}", f"{one.simulated:.1%}", f"{one.simulated_429:.2%}")
        for one in pairs
    ])  # fmt: skip
    data = {
        "benchmark": "clock",
        "conditions": before,
        "conditions_after": conditions(),
        "seconds": seconds,
        "pairs": [one.data() for one in pairs],
    }
    if options.keep:
        keep("clock", data, table)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else table)
    return 0 if all(abs(one.real - one.simulated) <= NEAR for one in pairs) else 1
