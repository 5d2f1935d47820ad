"""What each rule of pacing is worth: the same jobs and services with the rule taken out, in points of the ratio."""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import Any
from unittest.mock import patch

from connector.dataverse.pacing import governor, service_limits, throttled_server, web_servers
from scripts.benchmarks import governor_cells, governor_jobs, scenarios
from scripts.benchmarks.governor_jobs import Job
from scripts.benchmarks.jobs import Cell
from scripts.benchmarks.records import markdown
from scripts.benchmarks.scenarios import Scenario
from scripts.benchmarks.trial import ours
from scripts.benchmarks.virtual_jobs import play_virtually

JOBS = (
    Job(100, 1, 0.2),
    Job(300, 1, 0.2, beside=2),
    Job(300, 1, 1.2, lost=0.01),
    Job(1000, 4, 1.2),
    Job(3000, 1, 1.2),
    Job(3000, 4, 1.2, lost=0.003),
    Job(3000, 8, 0.2),
    Job(10_000, 8, 0.2),
)
WHOLE_JOBS = (
    Cell(1000, 1),
    Cell(1000, 1, bad=True),
    Cell(1010, 1),
    Cell(3000, 1, bad=True),
    Cell(6000, 1, seconds=0.1),
    Cell(10_000, 4, bad=True),
)
"""With run, pipeline and ledger: only they say how much is left to be done."""
CHANGING = (
    scenarios.documented(8, "mixed 50 ms to 2 s", 900),
    scenarios.higher(2, "1 s", 2400, headers=False),
    scenarios.lower(2, "200 ms", 2400),
    scenarios.lower(2, "mixed 50 ms to 2 s", 3600),
    scenarios.dropping(2, "1 s", 600),
    scenarios.growing(2, "1 s", 600),
    scenarios.slowing(1, "200 ms", 600),
    scenarios.slowing(2, "1 s", 600),
    scenarios.concurrency(2, "1 s", (2.0, 9.0), 2400),
    scenarios.concurrency(2, "1 s", (363.0, 427.0), 3600),
)
ALIKE = ("1 server, 1.2 s", "3 servers, 1.2 s", "40 at once, 4 servers, 1.2 s", "110 s, 4 servers, 0.2 s")
"""How the names of the services end that are tried: of those on four servers one, since the others lose alike."""
SEEDS, WHOLE_SEEDS, SERVICE_SEEDS = 4, 2, 8
"""Plays of each job, of each whole job, and of each service where chance is worth several points: their mean counts.
Whole jobs are played twice: a rule is worth tens of points there, or nothing."""
LENGTH = 3600.0
"""Seconds of a service that is otherwise: 12 windows, a third of what `scripts/bench governor --cells` plays."""


def _never(*_arguments: object, **_named: object) -> Any:
    return None


def _all_at_once(server: web_servers.WebServer, now: float) -> None:
    server.guarded_until = now


RULES: Mapping[str, tuple[object, str, object]] = {
    # rule: what holds it, its name there, what stands in for it
    "unused budget at once": (service_limits.SlidingWindow, "fresh", property(lambda _: False, _never)),
    "what comes back over a twentieth of a window": (
        service_limits.Budget,
        "spread",
        property(lambda b: b.window / 120),
    ),
    "exploring at first": (governor, "EXPLORING_AT_FIRST", 1),
    "exploring later": (governor, "EXPLORE_EVERY", 1_000_000),
    "one request goes first": (throttled_server, "PROBE_SECONDS", 0.0),
    "further back": (governor, "further_back", lambda *_: 0.0),
    "leaving others more": (web_servers.ReservedQuota, "more", _never),
    "what is left is spent more evenly then": (web_servers, "EVENNESS", 0),
    "what others used comes back evenly": (service_limits.SlidingWindow, "add_aged", _never),
    "fewer at once where others may be": (web_servers.WebServer, "guard", _all_at_once),
    "what hangs is not others' use": (governor, "LONGEST_WORK", 0.0),
    "a cookie that does not choose is seen through": (governor, "MOST_STRAYED", 1_000_000),
    "what lost its answer is still at work": (web_servers.WebServer, "lost", _never),
    "few at once until a cookie is seen to choose": (governor, "SHARE_BY_CHANCE", 2.0),
    "twice as long after a search in vain": (service_limits, "MOST_DOUBLINGS", 0),
    "the last four windows as they come": (governor, "fits", lambda *_: False),
    "no crowd where less than a tenth is left": (web_servers, "SPARE", 0.0),
    "the last request carries the rest": (governor, "last_parts", _never),
    "several rows a request where requests are scarce": (governor, "fewest_parts", lambda *_: 1),
    "margin where left is told": (web_servers, "TOLD_MARGIN", 1.0),
    "measuring more than is counted": (service_limits, "MOST_BIAS", 0.0),
    "looking for higher limits": (service_limits, "GROWTH", 0.0),
    "what one server learnt holds for all": (service_limits.LimitEstimate, "told_elsewhere", _never),
}


@dataclass(frozen=True, slots=True)
class Worth:
    """What was lost without a rule: points of the ratio, and points of requests that were refused in addition."""

    ratio: float
    refused: float


Played = tuple[str, float, float]
"""A job or service, the ratio that was reached there, and the share of refusals."""


def ablate() -> Iterator[tuple[str, Mapping[str, Worth]]]:
    """Yield each rule and what each job and service loses without it, played on all processors."""
    number = len(_plays())
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        played = pool.map(_play, product(("", *RULES), range(number)))
        whole = {cell: figures for cell, *figures in (next(played) for _ in range(number))}
        for rule in RULES:
            parts = [next(played) for _ in range(number)]
            yield (
                rule,
                {
                    cell: Worth(100 * (whole[cell][0] - ratio), 100 * (refused - whole[cell][1]))
                    for cell, ratio, refused in parts
                },
            )


@contextmanager
def _without(rule: str) -> Iterator[None]:
    owner, name, instead = RULES.get(rule, (governor, "EXPLORE_EVERY", governor.EXPLORE_EVERY))
    if name == "fresh":  # a slot cannot be patched: the whole class gives way to one without it
        plain = type("Window", (service_limits.SlidingWindow,), {name: instead})
        owner, name, instead = web_servers, "SlidingWindow", plain
    with patch.object(owner, name, instead):
        yield


def _play(task: tuple[str, int]) -> Played:
    rule, place = task
    random.seed(1)
    with _without(rule):
        return _plays()[place]()


def _plays() -> Sequence[Callable[[], Played]]:
    """Return what is played; by number, since services hold functions, which do not go to another process."""
    cells = [cell for cell in governor_cells.cells(length=LENGTH) if cell.name.endswith(ALIKE)]
    return [
        *[partial(_job, job) for job in JOBS],
        *[partial(_whole_job, cell) for cell in WHOLE_JOBS],
        *[partial(_service, cell) for cell in cells],
        *[partial(_changing, scenario) for scenario in CHANGING],
    ]


def _job(job: Job) -> Played:
    return _mean(job.name, [(run.ratio, run.share_429) for run in map(partial(_seeded_job, job), range(1, SEEDS + 1))])


def _seeded_job(job: Job, seed: int) -> governor_jobs.JobFigures:
    return governor_jobs.play(job, seed=seed)


def _whole_job(cell: Cell) -> Played:
    runs = [play_virtually(cell, seed=seed) for seed in range(1, WHOLE_SEEDS + 1)]
    return _mean(f"whole job, {cell.name}", [(run.ratio or 0.0, run.refused / run.requests) for run in runs])


def _service(cell: Scenario) -> Played:
    by_chance = cell.service.neighbours or not cell.service.steers
    seeds = range(1, SERVICE_SEEDS + 1) if by_chance else (1,)
    runs = [governor_cells.play(cell, seed=seed) for seed in seeds]
    return _mean(cell.name, [(run.together, run.share_429) for run in runs])


def _changing(scenario: Scenario) -> Played:
    figures = ours(scenario)
    return scenario.name, figures.ratio_to_ceiling, figures.share_429


def _mean(name: str, runs: Sequence[tuple[float, float]]) -> Played:
    ratios, refused = zip(*runs, strict=True)
    return name, statistics.fmean(ratios), statistics.fmean(refused)


def data(rows: Sequence[tuple[str, Mapping[str, Worth]]]) -> dict[str, object]:
    """Return the worth of each rule in each job and service as plain data."""
    return {
        "benchmark": "governor ablation",
        "rules": {rule: {cell: asdict(worth) for cell, worth in cells.items()} for rule, cells in rows},
    }


def table(rows: Sequence[tuple[str, Mapping[str, Worth]]]) -> str:
    """Return the worth of each rule as a table: the most it is worth, and where; and the same of refusals."""
    lines = []
    for rule, cells in rows:
        most = max(cells, key=lambda cell: cells[cell].ratio)
        worst = max(cells, key=lambda cell: cells[cell].refused)
        lines.append([rule, f"{cells[most].ratio:.1f}", most, f"{cells[worst].refused:.2f}", worst])
    return markdown(["rule", "points", "where", "refused more, points", "where"], lines)
