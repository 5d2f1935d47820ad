"""A reduced form of `scripts/bench governor`: ratios to the ceiling and refusals, on virtual time."""

from __future__ import annotations

import pytest

from scripts.benchmarks import scenarios
from scripts.benchmarks.scenarios import Scenario
from scripts.benchmarks.trial import PEERS, other, ours

REDUCED = [
    scenarios.documented(1, "50 ms", 300),
    scenarios.documented(4, "mixed 50 ms to 2 s", 600),
    scenarios.higher(2, "1 s", 900, headers=True),
    scenarios.dropping(1, "200 ms", 600),
    scenarios.slowing(1, "1 s", 600),
    scenarios.concurrency(1, "1 s", (2.0, 9.0), 2400),
    scenarios.concurrency(2, "2 s", (363.0, 427.0), 3600),
    scenarios.identities(2, 4, "2 s", 600),
]


@pytest.mark.parametrize("scenario", REDUCED, ids=lambda scenario: scenario.name)
def test_the_ceiling_is_reached_and_hardly_anything_refused(scenario: Scenario) -> None:
    figures = ours(scenario)
    assert figures.ratio_to_ceiling >= 0.95
    assert figures.share_429 < 0.005
    assert figures.early == 0
    assert figures.forecast is None or abs(figures.forecast) <= 0.15
    if scenario.recovers is not None:
        assert figures.recovered is not None
        assert figures.recovered <= 60


@pytest.mark.parametrize("peer", PEERS)
def test_other_clients_reach_less_of_it(peer: str) -> None:
    scenario = scenarios.documented(2, "1 s", 600)
    assert other(scenario, peer).ratio_to_ceiling < 0.8 < ours(scenario).ratio_to_ceiling


def test_a_service_allows_what_its_scarcest_budget_does() -> None:
    by_count, by_time = scenarios.documented(2, "50 ms", 600), scenarios.documented(2, "2 s", 600)
    assert by_count.service.allowed(0, 600) == pytest.approx(2 * 20 * 600)
    assert by_time.service.allowed(0, 600) == pytest.approx(2 * 2 * 600)
    dropping = scenarios.dropping(1, "50 ms", 300)
    assert dropping.service.allowed(0, 900) == pytest.approx(20 * 300 + 10 * 300 + 20 * 300)
