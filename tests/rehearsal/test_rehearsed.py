"""Rehearsals beside the jobs themselves: the limits, servers and times of work of the organization are not told."""

from __future__ import annotations

from pathlib import Path

from scripts.benchmarks.rehearsed import AFTER, BEFORE, HiddenOrganization, rehearse_beside

WINDOW = 300.0


def right(said: float, took: float, share: float) -> bool:
    """So short a job ends in this window of the limits or in the next one."""
    off = abs(said - took)
    return off <= share * took or abs(off - WINDOW) <= 0.1 * WINDOW


def test_a_rehearsal_says_how_long_the_job_takes(tmp_path: Path) -> None:
    job = rehearse_beside(HiddenOrganization.drawn(3, 60.0), tmp_path, rows=220, pilot=120, ask=60)
    assert job.rows == 220
    assert right(job.before, job.took, BEFORE)
    assert right(job.after, job.took, AFTER)
