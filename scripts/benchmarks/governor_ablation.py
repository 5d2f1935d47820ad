"""What each rule of pacing is worth: the same jobs and services with the rule taken out, in points of the ratio."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from connector.dataverse.pacing import governor, service_limits, throttled_server, web_servers
from scripts.benchmarks import governor_cells, governor_jobs, scenarios
from scripts.benchmarks.governor_jobs import Job
from scripts.benchmarks.trial import ours

JOBS = (Job(100, 1, 0.2), Job(1000, 4, 1.2), Job(3000, 1, 1.2), Job(3000, 8, 0.2), Job(10_000, 8, 0.2))
CHANGING = (
    scenarios.documented(8, "mixed 50 ms to 2 s", 900),
    scenarios.higher(2, "1 s", 2400, headers=False),
    scenarios.lower(2, "200 ms", 2400),
    scenarios.dropping(2, "1 s", 600),
    scenarios.growing(2, "1 s", 600),
    scenarios.slowing(1, "200 ms", 600),
    scenarios.slowing(2, "1 s", 600),
    scenarios.concurrency(2, "1 s", (2.0, 9.0), 2400),
    scenarios.concurrency(2, "1 s", (363.0, 427.0), 3600),
)


def _never(*_arguments: object, **_named: object) -> Any:
    return None


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


def ablate() -> Iterator[tuple[str, Mapping[str, Worth]]]:
    """Yield each rule and what each job and service loses without it."""
    whole = _play()
    for rule, (owner, name, instead) in RULES.items():
        with _without(owner, name, instead):
            parts = _play()
        yield (
            rule,
            {
                cell: Worth(100 * (whole[cell][0] - ratio), 100 * (refused - whole[cell][1]))
                for cell, (ratio, refused) in parts.items()
            },
        )


@contextmanager
def _without(owner: object, name: str, instead: object) -> Iterator[None]:
    if owner is service_limits.SlidingWindow:  # a slot cannot be patched: the whole class gives way to one without it
        plain = type("Window", (service_limits.SlidingWindow,), {name: instead})
        with patch.object(web_servers, "SlidingWindow", plain):
            yield
        return
    with patch.object(owner, name, instead):
        yield


def _play() -> Mapping[str, tuple[float, float]]:
    """Return for each job and service the ratio that was reached and the share of refusals."""
    shares = {job.name: (played.ratio, played.share_429) for job in JOBS for played in (governor_jobs.play(job),)}
    for cell in governor_cells.cells(quick=False):
        if cell.name.endswith(", 1.2 s"):
            played = governor_cells.play(cell)
            shares[cell.name] = played.together, played.share_429
    for scenario in CHANGING:
        figures = ours(scenario)
        shares[scenario.name] = figures.ratio_to_ceiling, figures.share_429
    return shares


def table(rows: Iterator[tuple[str, Mapping[str, Worth]]], tell: Callable[[str], object]) -> None:
    """Tell the worth of each rule, one line each: the most it is worth, and where; and the same of refusals."""
    tell("| rule | points | where | refused more, points | where |\n|---|---|---|---|---|\n")
    for rule, cells in rows:
        most = max(cells, key=lambda cell: cells[cell].ratio)
        worst = max(cells, key=lambda cell: cells[cell].refused)
        tell(f"| {rule} | {cells[most].ratio:.1f} | {most} | {cells[worst].refused:.2f} | {worst} |\n")
