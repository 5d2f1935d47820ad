"""What each rule of pacing is worth: the same jobs and services with the rule taken out, in points of the ratio."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from connector.dataverse.pacing import concurrency, governor, service_limits, web_servers
from scripts.benchmarks import governor_cells, governor_jobs
from scripts.benchmarks.governor_jobs import Job

JOBS = (Job(100, 1, 0.2), Job(1000, 4, 1.2), Job(3000, 1, 1.2), Job(3000, 8, 0.2))


def _never(*_arguments: object, **_named: object) -> Any:
    return None


RULES: Mapping[str, tuple[object, str, object]] = {
    # rule: what holds it, its name there, what stands in for it
    "unused budget at once": (service_limits.SlidingWindow, "fresh", property(lambda _: False, _never)),
    "what comes back over a sixth of a window": (service_limits.Budget, "spread", property(lambda b: b.window / 60)),
    "exploring at first": (governor, "EXPLORING_AT_FIRST", 1),
    "exploring later": (governor, "EXPLORE_EVERY", 1_000_000),
    "one request goes first": (governor, "PROBE_SECONDS", 0.0),
    "further back": (governor.Governor, "_further_back", lambda _: 0.0),
    "leaving others more": (web_servers.ReservedQuota, "more", _never),
    "margin where left is told": (web_servers, "TOLD_MARGIN", 1.0),
    "margin where it is not": (web_servers, "MARGIN", 1.0),
    "fewer while answers are slow": (concurrency, "SLOW", 1e9),
    "one long request counts as ten": (concurrency, "LONGEST", 1e9),
    "measuring more than is counted": (service_limits, "MOST_BIAS", 0.0),
    "looking for higher limits": (service_limits, "GROWTH", 0.0),
    "what one server learnt holds for all": (service_limits.LimitEstimate, "told_elsewhere", _never),
    "what one server let pass holds for all": (service_limits.LimitEstimate, "proven", _never),
}


def ablate() -> Iterator[tuple[str, Mapping[str, float]]]:
    """Yield each rule and the points that each job and service loses without it; first all rules, with the ratios."""
    whole = _play()
    yield "all rules", whole
    for rule, (owner, name, instead) in RULES.items():
        with _without(owner, name, instead):
            yield rule, {cell: 100 * (whole[cell] - ratio) for cell, ratio in _play().items()}


@contextmanager
def _without(owner: object, name: str, instead: object) -> Iterator[None]:
    if owner is service_limits.SlidingWindow:  # a slot cannot be patched: the whole class gives way to one without it
        plain = type("Window", (service_limits.SlidingWindow,), {name: instead})
        with patch.object(web_servers, "SlidingWindow", plain):
            yield
        return
    with patch.object(owner, name, instead):
        yield


def _play() -> Mapping[str, float]:
    ratios: dict[str, float] = {job.name: governor_jobs.play(job).ratio for job in JOBS}
    for cell in governor_cells.cells(quick=True):
        ratios[cell.name] = governor_cells.play(cell).together
    return ratios


def table(rows: Iterator[tuple[str, Mapping[str, float]]], tell: Callable[[str], object]) -> None:
    """Tell the worth of each rule, one line each: the most it is worth, and where."""
    for rule, cells in rows:
        if rule == "all rules":
            continue
        where = max(cells, key=lambda cell: cells[cell])
        tell(f"| {rule} | {cells[where]:.1f} | {where} |\n")
