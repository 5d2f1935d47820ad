"""The command `scripts/bench endpoint`."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks import endpoint
from scripts.benchmarks.conditions import conditions
from scripts.benchmarks.endpoint_load import Load
from scripts.benchmarks.large_job import NO_LIMITS
from scripts.benchmarks.records import keep, markdown
from scripts.benchmarks.served import Served

AT_ONCE, CONNECTIONS = 200, 16


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: requests per round of accepting, rounds, and after how many operations to look."""

    requests: int
    rounds: int
    looks: Sequence[int]


FULL, QUICK = Size(2000, 5, range(1000, 10_001, 1000)), Size(300, 1, range(100, 301, 100))
TARGETS: Mapping[str, float] = {
    "ready after, the slowest start, s": 1.0,
    "overhead of an accepted request, ms CPU": 1.5,
    "operations lost of those asked for at once": 0,
    "memory added between the first look and the last, MB": 3.0,
}
"""What a figure may be at most. Memory settles after about 1,000 operations, when the store's small cache is full."""


def main(options: argparse.Namespace) -> int:
    """Measure; returns 1 when a target is missed."""
    size = QUICK if options.quick else FULL
    before = conditions(("fastapi", "uvicorn"))
    rounds = [endpoint.accepting(size.requests) for _ in range(size.rounds)]
    ours, theirs = (sorted(values)[len(values) // 2] * 1000 for values in zip(*rounds, strict=True))
    figures = {
        "an accepted request, ms CPU": ours,
        "a request to a bare FastAPI app, ms CPU": theirs,
        "overhead of an accepted request, ms CPU": ours - theirs,
        **_served(size),
    }
    missed = [name for name, most in TARGETS.items() if figures[name] > most]
    data = {
        "benchmark": "endpoint",
        "conditions": before,
        "conditions_after": conditions(),
        "rounds_ms": [[1000 * value for value in one] for one in rounds],
        "figures": figures,
        "missed": missed,
    }
    tables = _tables(figures)
    if options.keep:
        keep("endpoint", data, tables)
    sys.stdout.write(json.dumps(data) + "\n" if options.json else f"{tables}\nmissed: {missed or 'nothing'}\n")
    return 1 if missed else 0


def _starts(organization: Served, rounds: int) -> dict[str, float]:
    """Run `connector serve` so many times on an empty store; returns from process start to the first 200 of /readyz.

    It has its bytecode, as an installed program has; a first start that makes it is not counted.
    """
    seconds, cpu = [], []
    with tempfile.TemporaryDirectory() as folder, endpoint.started(organization, Path(folder)):
        pass
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder, endpoint.started(organization, Path(folder)) as process:
            seconds.append(process.ready_after)
            cpu.append(process.ready_cpu)
    return {
        f"ready after, median of {rounds} starts, s": statistics.median(seconds),
        "ready after, the fastest start, s": min(seconds),
        "ready after, the slowest start, s": max(seconds),
        "ready after, median, s CPU": statistics.median(cpu),
    }


def _served(size: Size) -> dict[str, float]:
    """Measure what is served: first everything at once, then one operation after another, then accepting alone."""
    last = size.looks[-1]
    with tempfile.TemporaryDirectory() as name, Served() as organization:
        organization.control("PATCH", "limits", NO_LIMITS)
        folder = Path(name)
        rows = organization.load(AT_ONCE + last + size.requests, quotes=1)
        together, apart, accepted = rows[:AT_ONCE], rows[AT_ONCE : AT_ONCE + last], rows[AT_ONCE + last :]
        starts = _starts(organization, max(3, size.rounds))
        with endpoint.endpoint(organization, folder) as process:
            once = endpoint.at_once(process, together)
            growth = endpoint.one_after_another(process, apart, CONNECTIONS, size.looks)
            ours, our_cpu = endpoint.accepted_under_load(process, accepted, CONNECTIONS)
        with endpoint.bare(folder) as process:
            theirs, their_cpu = endpoint.accepted_under_load(process, accepted, CONNECTIONS)
        doubles = organization.control("GET", "closes?more_than=1")
    return {
        **starts,
        f"{AT_ONCE} at once: the slowest answer, s": max(once.seconds),
        "operations lost of those asked for at once": AT_ONCE - once.results["closed"] + len(doubles),
        f"operations, {CONNECTIONS} connections, answered with the result: median, ms": _ms(growth.loads, 50),
        f"operations, {CONNECTIONS} connections, answered with the result: p99, ms": _ms(growth.loads, 99),
        "operations a second": last / sum(load.took for load in growth.loads),
        **{f"memory after {count:,} operations, MB": value for count, value in growth.megabytes.items()},
        "memory added between the first look and the last, MB": _added(growth.megabytes),
        f"accepting under load, {CONNECTIONS} connections, p99, ms": _ms([ours], 99),
        "the same, bare FastAPI app, p99, ms": _ms([theirs], 99),
        "accepting under load, ms CPU of the server, its work among it": our_cpu * 1000,
        "the same, bare FastAPI app, ms CPU of the server": their_cpu * 1000,
    }


def _ms(loads: Sequence[Load], percent: int) -> float:
    return endpoint.percentile([value for load in loads for value in load.seconds], percent) * 1000


def _added(megabytes: Mapping[int, float]) -> float:
    first, *_, last = megabytes.values()
    return last - first


def _tables(figures: Mapping[str, float]) -> str:
    rows = [
        (name, f"{value:,.2f}", f"≤ {TARGETS[name]:g}" if name in TARGETS else "") for name, value in figures.items()
    ]
    return markdown(("figure", "measured", "target"), rows)
