"""The command `scripts/bench jobs`: bulk jobs as their user starts them, and larger ones on a virtual clock."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial

from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.jobs import Cell, JobRun, cells, clients, play
from scripts.benchmarks.records import FOLDER, keep, markdown
from scripts.benchmarks.virtual_jobs import play_virtually, virtual_cells

HEAD = (
    "clock", "cell", "client", "least s", "start s", "took s", "ratio", "closed", "twice", "requests", "429",
    "behind s", "forecast error",
)  # fmt: skip
LEAST_RATIO, LONG_RATIO, LONG = 0.6, 0.95, 100_000
"""The least time against the time taken, at least: of jobs, and of those with so many rows."""
SHORTEST = 5.0
"""Seconds: a real cell whose least time is shorter has no target but the others, since starting takes most of it."""
MOST_REFUSED, MOST_BEHIND, MOST_ERROR = 0.005, 1.0, 0.10
"""The share of answers 429, the seconds from when a row is closed to when the ledger has it, and the share of the whole
time by which an end was foreseen wrongly, at most."""


def main(options: argparse.Namespace) -> int:
    """Play the cells and keep them, each clock's in its part of one file; returns 1 when a target is missed."""
    before = conditions()
    with ProcessPoolExecutor(os.cpu_count(), initializer=_step_back if options.clock == "both" else None) as pool:
        virtual = _virtual(options, pool) if options.clock in ("virtual", "both") else iter(())
        groups = list(_real(options)) if options.clock in ("real", "both") else []
        groups += [[run] for run in virtual]
    missed = [line for group in groups for line in misses(group)]
    data: dict[str, object] = {"benchmark": "jobs"}
    for clock in ("real", "virtual"):
        if runs := [run.data() for group in groups for run in group if run.clock == clock]:
            data[clock] = {"conditions": before, "conditions_after": conditions(), "runs": runs}
    text = markdown(HEAD, [_row(run) for group in groups for run in group])
    text += f"\nMissed: {'; '.join(missed) or 'nothing'}.\n"
    if options.keep:
        keep("jobs", _kept() | data)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else text)
    return 1 if missed else 0


def _kept() -> dict[str, object]:
    """Return what is kept: the part of a clock that is not played now stays."""
    kept = FOLDER / "jobs.json"
    return dict(json.loads(kept.read_text(encoding="utf-8"))) if kept.exists() else {}


def _is_asked(cell: Cell, options: argparse.Namespace) -> bool:
    return not options.rows or cell.rows <= options.rows * cell.servers


def _real(options: argparse.Namespace) -> Iterator[list[JobRun]]:
    """Play cells with every client, one after the other; a first small one makes each client's bytecode."""
    for client in clients(Cell(1, 1)):
        play(Cell(1, 1), client)
    for cell in (each for each in cells(quick=options.quick) if _is_asked(each, options)):
        group = [play(cell, client, seed=options.seed) for client in clients(cell)]
        sys.stderr.write(f"{cell.name}: {', '.join(f'{run.client} {run.took} s' for run in group)}\n")
        yield group


BACK = 15
"""By how much nicer than the real cells the virtual ones are, which are played beside them."""


def _step_back() -> None:
    os.nice(BACK)


def _virtual(options: argparse.Namespace, pool: Executor) -> Iterator[JobRun]:
    """Play cells on the virtual clock in the background, the largest first."""
    cells_tried = [cell for cell in virtual_cells(quick=options.quick) if _is_asked(cell, options)]
    order = sorted(range(len(cells_tried)), key=lambda place: -cells_tried[place].rows)
    played = pool.map(partial(play_virtually, seed=options.seed), [cells_tried[place] for place in order])

    def runs() -> Iterator[JobRun]:
        by_place = dict(zip(order, played, strict=True))
        yield from (by_place[place] for place in sorted(by_place))

    return runs()


def misses(group: Sequence[JobRun]) -> list[str]:
    """Return the targets that our command, the first of the clients of a cell, missed there."""
    ours, *others = group
    if ours.took is None or ours.ratio is None:
        return [f"{ours.cell}: not done"]
    faster = [one.client for one in others if one.took is not None and one.took < ours.took]
    virtual = ours.clock == "virtual"
    wanted = LONG_RATIO if ours.closed >= LONG * LONG_RATIO else LEAST_RATIO
    found = {
        "closed twice": ours.twice > 0,
        f"slower than {' and '.join(faster)}": bool(faster),
        "least / took": (virtual or ours.least >= SHORTEST) and ours.ratio < wanted,
        "429": ours.refused > MOST_REFUSED * ours.requests,
        "before the end of a Retry-After": bool(ours.early),
        "behind": (ours.behind or 0.0) > MOST_BEHIND,
        "forecast": (ours.forecast_error or 0.0) > MOST_ERROR,
    }
    return [f"{ours.cell}: {name}" for name, is_missed in found.items() if is_missed]


def _row(run: JobRun) -> tuple[str, ...]:
    values = (
        run.least, run.start, run.took, run.ratio, run.closed, run.twice, run.requests, run.refused, run.behind,
        run.forecast_error,
    )  # fmt: skip
    return run.clock, run.cell, run.client, *("" if value is None else f"{value:,}" for value in values)
