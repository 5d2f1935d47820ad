"""Workers are killed at random moments; every row is closed once all the same, counted in the organization.

A few kills here; `scripts/crash-bulk` does 200 on SQLite and 50 on PostgreSQL.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import kills
import psycopg
import pytest

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
    print(score.line())  # noqa: T201 - the figures of a full run
    assert score.problems == []
    assert score.rows >= (2000 if FULL else 300)


def test_workers_on_many_machines_killed_again_and_again_close_every_row_once(
    tmp_path: Path, new_store: Callable[[], str]
) -> None:
    score = kills.kill_workers(tmp_path, new_store, kills=50 if FULL else 3, rows=2000 if FULL else 300, seed=SEED)
    print(score.line())  # noqa: T201 - the figures of a full run
    assert score.problems == []
    assert score.rows >= (2000 if FULL else 300)
