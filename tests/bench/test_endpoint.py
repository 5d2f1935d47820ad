"""The endpoint under load, reduced: what is lost, done twice or kept in memory; never how long it took."""

from __future__ import annotations

from pathlib import Path

from scripts.benchmarks import endpoint
from scripts.benchmarks.endpoint_command import AT_ONCE
from scripts.benchmarks.served import Served


def test_what_is_asked_for_at_once_is_done_once_and_none_is_lost(tmp_path: Path) -> None:
    with Served() as organization, endpoint.endpoint(organization, tmp_path) as process:
        opportunities = organization.load(AT_ONCE + 60, quotes=1)
        together = endpoint.at_once(process, opportunities[:AT_ONCE])
        apart = endpoint.one_after_another(process, opportunities[AT_ONCE:], connections=4, looks=(30, 60))
        again = endpoint.at_once(process, opportunities[:AT_ONCE])
        assert together.results == again.results == {"closed": AT_ONCE}
        assert [load.results for load in apart.loads] == [{"closed": 30}, {"closed": 30}]
        assert set(apart.megabytes) == {30, 60}
        ours = {str(opportunity) for opportunity in opportunities}
        closes = [found for found in organization.control("GET", "closes") if found["id"] in ours]
        assert [found["closes"] for found in closes if found["table"] == "opportunity"] == [1] * len(opportunities)
        assert organization.control("GET", "closes?more_than=1") == []
