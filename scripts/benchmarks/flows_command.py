"""The command `scripts/bench flows`: flows that deliver the same action again and again, on a virtual clock.

The engine, the endpoint and the emulated organization are those of `tests/service/flow_stage.py`; the organization's
own fault plan makes the trouble, and its journal says what was done. Nothing depends on the machine's speed.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path

from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.records import keep, markdown
from tests.service.flow_engine import LONGEST
from tests.service.flow_stage import Play, Played, played

ACTIONS, QUICK_ACTIONS = 10_000, 300
_DELIVERIES, _TROUBLES = 3, 40


def main(options: argparse.Namespace) -> int:
    """Play once; returns 1 when an action took effect twice or not at all, or an answer came late or differed."""
    logging.getLogger("connector").setLevel(logging.ERROR)
    play = Play(QUICK_ACTIONS if options.quick else ACTIONS, _DELIVERIES, _TROUBLES, options.seed, keyless=True)
    before = conditions(("fastapi",))
    with tempfile.TemporaryDirectory() as folder:
        found = played(play, Path(folder))
        figures, missed = _figures(play, found)
        found.close()
    data = {"benchmark": "flows", "conditions": before, "seed": options.seed, "figures": figures, "missed": missed}
    tables = markdown(("figure", "value"), [(name, f"{value:,g}") for name, value in figures.items()])
    if options.keep:
        keep("flows", data, tables)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else f"{tables}\nmissed: {missed or 'nothing'}\n")
    return 1 if missed else 0


def _figures(play: Play, found: Played) -> tuple[dict[str, float], list[str]]:
    engine, effects = found.engine, found.effects
    statuses = {status for answers in engine.answers.values() for status, _ in answers}
    figures: dict[str, float] = {
        "operations": play.actions,
        "deliveries": engine.ended,
        "requests of the engine, retries and polls among them": engine.requests,
        "requests to the organization": found.witness.requests,
        **{f"of them with the fault {name}": count for name, count in sorted(found.witness.faults.items())},
        "operations with exactly one set of effects, in the rows and in the journal": effects["once"],
        "hours": round(found.stage.clock.monotonic() / 3600, 1),
        "slowest answer, s": round(engine.slowest, 1),
        "requests that the engine cut at 120 s": engine.cuts,
    }
    missed = [name for name in effects if name != "once"]
    missed += [f"answers other than 200: {sorted(statuses)}"] if statuses != {200} else []
    missed += ["an answer after 100 s"] if engine.slowest >= LONGEST else []
    return figures, missed
