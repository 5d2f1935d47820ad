"""One scenario played by one rule, and the figures that come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from connector.dataverse.pacing.governor import Governor
from connector.dataverse.pacing.permits import Binding
from connector.dataverse.pacing.service_limits import Budget
from scripts.benchmarks.peers import Loop, Sql4Cds, Threads
from scripts.benchmarks.scenarios import Scenario
from scripts.benchmarks.virtual_service import Load, Outcome, Rule

REACHED = 0.95
"""The share of the ceiling that counts as being there."""
SPAN = 60.0
"""Seconds over which a rate is taken after a limit has recovered."""
FIRST_SHARE = 0.05
"""After this share of the rows the end must be foreseen."""
BIN = 10.0
"""Seconds of a point in the curves."""

OURS = "this connector"
PEERS: Mapping[str, Callable[[], Rule]] = {
    "naive loop": Loop,
    "52 threads, Retry-After": Threads,
    "Sql4Cds's rule": Sql4Cds,
}


@dataclass(frozen=True, slots=True)
class Figures:
    """What a trial showed. `recovered` is seconds, `forecast` the error as a share, None where there is nothing to say.

    `curve` has the requests answered per second in bins of ten seconds, `ceiling` what was allowed in them.
    """

    name: str
    rule: str
    ratio_to_ceiling: float
    share_429: float
    answered: int
    refused: int
    early: int
    recovered: float | None
    forecast: float | None
    curve: tuple[float, ...]
    ceiling: tuple[float, ...]

    def data(self, *, curves: bool) -> dict[str, object]:
        """Return the figures as plain data."""
        told: dict[str, object] = {
            "name": self.name,
            "rule": self.rule,
            "ratio_to_ceiling": round(self.ratio_to_ceiling, 4),
            "share_429": round(self.share_429, 6),
            "answered": self.answered,
            "refused": self.refused,
            "sent_before_retry_after_was_over": self.early,
            "seconds_to_recover": self.recovered,
            "forecast_error": None if self.forecast is None else round(self.forecast, 4),
        }
        if curves:
            told["curve"] = [round(value, 2) for value in self.curve]
            told["ceiling"] = [round(value, 2) for value in self.ceiling]
        return told


def ours(scenario: Scenario) -> Figures:
    """Play a scenario with the connector's governor, one for each identity."""
    window = scenario.service.limits.window_seconds
    governors = [Governor(0.0, Budget(window=window)) for _ in range(scenario.service.identities)]
    load = Load(scenario.service, governors)
    rows = int(0.9 * scenario.service.allowed(0, scenario.seconds))
    while len(load.outcome.answered) < FIRST_SHARE * rows:
        load.step()
    foreseen = _foreseen(load, governors, rows)
    outcome = load.run(scenario.seconds)
    service = scenario.service
    alone = service.identities == 1  # several at once make each other wait at first, which is over later
    steady = not service.changes and len(service.means) == 1 and not scenario.settled and alone
    error = foreseen / outcome.answered[rows - 1] - 1 if steady and len(outcome.answered) >= rows else None
    return _figures(scenario, OURS, outcome, error)


def other(scenario: Scenario, peer: str) -> Figures:
    """Play a scenario with another client's rule, one for each identity."""
    load = Load(scenario.service, [PEERS[peer]() for _ in range(scenario.service.identities)])
    return _figures(scenario, peer, load.run(scenario.seconds), None)


def _foreseen(load: Load, governors: list[Governor], rows: int) -> float:
    """Return when the rows would be done, as the connector foresees it."""
    done, at = len(load.outcome.answered), load.now
    paces = [governor.pace(at, "write") for governor in governors]
    executed = sum(pace.executed for pace in paces) / sum(pace.requests - pace.in_flight / 2 for pace in paces)
    share = (rows - done) / len(governors)
    free = all(pace.binding is not Binding.LATENCY for pace in paces)
    fastest = float("inf") if free else 1.1 * done / at / len(governors)
    return at + max(governor.seconds_for(at, share, share * executed, fastest) for governor in governors)


def _figures(scenario: Scenario, rule: str, outcome: Outcome, forecast: float | None) -> Figures:
    service, start, end = scenario.service, scenario.settled, scenario.seconds
    bins = int(end / BIN)
    counts = [0] * (bins + 1)
    for at in outcome.answered:
        counts[min(bins, int(at / BIN))] += 1
    return Figures(
        scenario.name,
        rule,
        outcome.count(start, end) / service.allowed(start, end),
        outcome.share_refused,
        len(outcome.answered),
        len(outcome.refused),
        outcome.early,
        None if scenario.recovers is None else _recovered(scenario, outcome),
        forecast,
        tuple(count / BIN for count in counts[:bins]),
        tuple(service.ceiling(number * BIN) for number in range(bins)),
    )


def _recovered(scenario: Scenario, outcome: Outcome) -> float | None:
    """Return the seconds after which the rate of the following minute is the ceiling again; None if it never is."""
    assert scenario.recovers is not None
    for late in range(0, int(scenario.seconds - scenario.recovers - SPAN), 5):
        start = scenario.recovers + late
        if outcome.count(start, start + SPAN) >= REACHED * SPAN * scenario.service.ceiling(start):
            return float(late)
    return None
