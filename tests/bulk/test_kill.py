"""Workers are killed at random moments; every row is closed once all the same, counted in the organization.

A few kills here, and deaths around some of a run's commits. In full they are 200 kills on SQLite and 50 on PostgreSQL,
and deaths around all commits: `scripts/crash-bulk`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from connector.clock import SystemClock
from connector.ledger.store import open_ledger
from tests.bulk import dying_run, kills

FULL = os.environ.get("CRASH_BULK") == "full"
SEED = int(os.environ.get("CRASH_SEED", "1"))


@pytest.fixture
def new_store(postgres_server: str) -> Callable[[], str]:
    """Return what makes a new, empty database and returns its address."""
    numbers = itertools.count(1)

    def make() -> str:
        name = f"killed{next(numbers)}"
        with psycopg.connect(postgres_server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return postgres_server.replace("/postgres?", f"/{name}?")

    return make


def test_a_run_killed_again_and_again_closes_every_row_once(tmp_path: Path) -> None:
    score = kills.kill_runs(tmp_path, kills=200 if FULL else 5, rows=2000 if FULL else 300, seed=SEED)
    print(score.line())
    assert score.problems == []
    assert score.rows >= (2000 if FULL else 300)


def test_workers_on_many_machines_killed_again_and_again_close_every_row_once(
    tmp_path: Path, new_store: Callable[[], str]
) -> None:
    score = kills.kill_workers(tmp_path, new_store, kills=50 if FULL else 3, rows=2000 if FULL else 300, seed=SEED)
    print(score.line())
    assert score.problems == []
    assert score.rows >= (2000 if FULL else 300)


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_run_that_dies_at_any_of_its_commits_is_finished_by_the_same_command(tmp_path: Path, side: str) -> None:
    """Every commit of the loading, the claims, the results and the end; all of them in the full form."""
    step = 1 if FULL else 3
    for commit in itertools.count(1 + SEED % step, step):
        place = tmp_path / str(commit)
        with kills.scene(place, str(place / "jobs.db"), 3, seed=SEED, trouble=()) as at:
            run = ["bulk", "run", str(at.write_rows()), "--job", "killed", "--yes", "--json"]
            moment = commit if side == "after" else -commit
            died = at.start("tests/bulk/dying_run.py", str(moment), *run).wait(kills.PATIENCE) == dying_run.DEAD
            again = at.start("-m", "connector", *run).wait(kills.PATIENCE)
            score = kills.Score()
            with open_ledger(at.store, SystemClock()) as ledger:
                at.judge(ledger, "killed", score)
        assert (again, score.problems, score.rows) == (0, [], 3), f"{side} commit {commit}"
        if not died:
            return
