"""A cutover weekend in reduced form, on the virtual clock: `scripts/bench weekend` is the same with more rows."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from scripts.benchmarks.records import scratch
from scripts.benchmarks.weekend import rehearse

pytestmark = (
    pytest.mark.no_cover
)  # a simulation of hours; other tests cover the lines, and measuring takes four times as long


def test_a_weekend_with_outages_a_kill_and_an_operator_ends_with_every_row_accounted_for() -> None:
    with tempfile.TemporaryDirectory(prefix="weekend-", dir=scratch()) as folder:
        found = rehearse(Path(folder), 600)
    holds = found["holds"]
    assert isinstance(holds, dict)
    assert [name for name, well in holds.items() if not well] == [], found
    assert found["shifts"] == [-9, 0], "one process was killed, and the next one finished the job"
    hours = found["hours"]
    assert isinstance(hours, dict)
    assert hours["Fri"] > 100, "it slept between two windows"
    assert hours["Sat"] > 100
