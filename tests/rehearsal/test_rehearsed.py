"""Rehearsals beside the jobs themselves: the limits, servers and times of work of the organization are not told."""

from __future__ import annotations

from pathlib import Path

from scripts.benchmarks.rehearsed import HiddenOrganization, rehearse_beside


def test_a_rehearsal_says_how_long_the_job_takes(tmp_path: Path) -> None:
    job = rehearse_beside(HiddenOrganization.drawn(3, 60.0), tmp_path, rows=220, pilot=120, ask=60)
    assert job.rows == 220
    assert job.well
