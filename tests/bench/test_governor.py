"""A reduced form of `scripts/bench governor`: ratios to the ceiling and refusals, on virtual time."""

from __future__ import annotations

import pytest

from scripts.benchmarks import governor_cells, governor_jobs, scenarios
from scripts.benchmarks.governor_jobs import Job
from scripts.benchmarks.scenarios import Scenario
from scripts.benchmarks.trial import PEERS, other, ours

pytestmark = (
    pytest.mark.no_cover
)  # a simulation of hours; other tests cover the lines, and measuring takes four times as long

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


@pytest.mark.parametrize(
    "job",
    [Job(100, 1, 1.2), Job(300, 4, 1.2), Job(1000, 1, 0.2), Job(300, 1, 1.2, lost=0.01), Job(300, 1, 1.2, beside=2)],
    ids=str,
)
def test_a_job_is_done_in_less_than_twice_the_least_time(job: Job) -> None:
    figures = governor_jobs.play(job)
    assert figures.ratio >= governor_jobs.LEAST_SHARE
    assert figures.share_429 < 0.005
    assert figures.early == 0


def test_beside_a_polite_neighbour_both_get_on_and_all_is_ours_when_it_has_left() -> None:
    (cell,) = (cell for cell in governor_cells.cells(quick=True) if cell.name.startswith("1 polite"))
    figures = governor_cells.play(cell)
    assert figures.together >= 0.9
    assert 0.6 <= figures.ours <= 0.8, "it takes a quarter of what there is"
    assert figures.after is not None
    assert figures.after >= 0.95
    assert figures.share_429 < 0.005
