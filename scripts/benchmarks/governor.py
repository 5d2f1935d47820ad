"""`scripts/bench governor`: how much of what the service allows is used, and how often it has to refuse."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor

from scripts.benchmarks import scenarios
from scripts.benchmarks.scenarios import Scenario
from scripts.benchmarks.trial import PEERS, Figures, other, ours

_COMPARED = ("documented limits, 4 servers, 200 ms", "documented limits, 1 server, 1 s", "limits drop and recover")
"""Where the others are tried in the quick form: scenarios that begin like this. In the full one: two servers, too."""


def run(*, quick: bool) -> tuple[list[Figures], list[Figures]]:
    """Play the scenarios on all processors; returns the connector's figures and those of the other rules."""
    names = [one.name for one in _scenarios(quick=quick)]
    compared = [name for name in names if name.startswith(_COMPARED) or (not quick and "2 servers" in name)]
    jobs = [(name, "", quick) for name in names] + [(name, peer, quick) for name in compared for peer in PEERS]
    jobs.sort(key=lambda job: -_size(job))
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        played = list(pool.map(_play, jobs))
    order = {name: number for number, name in enumerate(names)}
    played.sort(key=lambda one: order[one.name])
    return [one for one in played if one.rule not in PEERS], [one for one in played if one.rule in PEERS]


def table(figures: Iterable[Figures], others: Sequence[Figures]) -> str:
    """Return the figures as a Markdown table: the share of the ceiling used, and of requests answered 429."""
    by_peer = {(one.name, one.rule): one for one in others}
    peers = [peer for peer in PEERS if any(one.rule == peer for one in others)]
    lines = ["| scenario | this connector | " + " | ".join(peers) + " |", "|---|---|" + "---|" * len(peers)]
    for one in figures:
        cells = [_cell(one)] + [_cell(by_peer.get((one.name, peer))) for peer in peers]
        lines.append(f"| {one.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def summary(figures: Sequence[Figures]) -> Mapping[str, object]:
    """Return the worst figures, to be held against the targets."""
    recovered = [one.recovered for one in figures if one.name.startswith(("limits drop", "plug-ins"))]
    errors = [abs(one.forecast) for one in figures if one.forecast is not None]
    return {
        "scenarios": len(figures),
        "least_ratio_to_ceiling": round(min(one.ratio_to_ceiling for one in figures), 4),
        "most_share_429": round(max(one.share_429 for one in figures), 6),
        "sent_before_retry_after_was_over": sum(one.early for one in figures),
        "slowest_recovery_seconds": max((-1.0 if one is None else one for one in recovered), default=None),
        "never_recovered": sum(one is None for one in recovered),
        "most_forecast_error": round(max(errors), 4) if errors else None,
        "missed": [one.name for one in figures if one.ratio_to_ceiling < 0.95 or one.share_429 >= 0.005],
    }


def _scenarios(*, quick: bool) -> list[Scenario]:
    return list(scenarios.quick() if quick else scenarios.full())


def _play(job: tuple[str, str, bool]) -> Figures:
    name, peer, quick = job
    scenario = next(one for one in _scenarios(quick=quick) if one.name == name)
    return other(scenario, peer) if peer else ours(scenario)


def _size(job: tuple[str, str, bool]) -> float:
    name, peer, quick = job
    scenario = next(one for one in _scenarios(quick=quick) if one.name == name)
    return scenario.service.allowed(0, scenario.seconds) * (0.3 if peer else 1.0)


def _cell(one: Figures | None) -> str:
    return "" if one is None else f"{one.ratio_to_ceiling:.1%}, {one.share_429:.2%} refused"
