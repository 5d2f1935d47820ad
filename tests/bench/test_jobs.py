"""A reduced form of `scripts/bench jobs`: the command itself, and what is counted of it. No times are held."""

from __future__ import annotations

from typing import Any

import pytest

from connector.bulk.run.progress_meter import WINDOW, ProgressMeter, ProgressSnapshot
from scripts.benchmarks.jobs import NAIVE, OURS, Cell, JobRun, Watched, cells, play
from scripts.benchmarks.jobs_command import misses
from scripts.benchmarks.virtual_jobs import STARTING_READS, play_virtually

pytestmark = (
    pytest.mark.no_cover
)  # a simulation of hours; other tests cover the lines, and measuring takes four times as long


@pytest.mark.parametrize("bad", [False, True], ids=["good", "bad rows"])
def test_the_command_closes_each_row_once_and_is_not_turned_away(bad: bool) -> None:
    cell = Cell(40, 4, bad)
    run = play(cell, OURS)
    assert (run.closed, run.twice, run.refused) == (cell.good_rows, 0, 0)
    assert run.took is not None
    assert run.requests < 2 * cell.rows, "rows are read many at a time and closed in one request each, at most"


def test_a_naive_script_closes_them_too_with_a_request_for_each_write() -> None:
    run = play(Cell(20, 4), NAIVE)
    assert (run.closed, run.twice) == (20, 0)
    assert run.requests >= 20 * 4
    assert run.behind is None


def test_the_bad_rows_are_three_in_a_thousand_and_not_at_the_ends() -> None:
    assert Cell(1000, 1, bad=True).bad_rows == [250, 500, 750]
    assert Cell(100, 1, bad=True).bad_rows == [50]
    assert Cell(100, 1).bad_rows == []
    assert len(list(cells(quick=False))) == 22


def test_the_least_time_is_what_the_documented_limits_allow() -> None:
    assert Cell(520, 1).least == pytest.approx(12.0)
    assert Cell(520, 4).least == pytest.approx(3.0)
    assert Cell(2000, 1).least == pytest.approx(300 + 1200 / 52)


def test_the_telling_is_behind_by_the_time_until_it_tells_what_was_so() -> None:
    watched = Watched(Cell(100, 1))
    watched.looks = [
        (0.0, 0, 0, None),
        (1.0, 50, 0, None),
        (2.0, 80, 20, 8.0),
        (4.0, 100, 60, 2.0),
        (5.0, 100, 100, 0.0),
    ]
    assert watched.behind() == 3.0
    assert watched.took() == 4.0
    assert watched.forecast_error() == 1.5


def test_a_target_that_is_missed_is_named() -> None:
    ours = JobRun("cell", OURS, 100, 0, 10.0, 0.5, 12.0, 0.83, 120, 0, None, 0.5, 0.05)
    naive = JobRun("cell", NAIVE, 100, 0, 10.0, 0.2, 11.0, 0.91, 400, 0)
    assert misses([ours]) == []
    assert misses([ours, naive]) == ["cell: slower than naive, 40 threads"]
    bad = JobRun("cell", OURS, 100, 1, 10.0, 0.5, 20.0, 0.5, 120, 2, None, 3.0, 0.2)
    assert [line.partition(": ")[2] for line in misses([bad])] == [
        "closed twice", "least / took", "429", "behind", "forecast",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "servers", "seconds", "bad"),
    [(300, 1, 1.2, False), (1000, 4, 1.2, True), (1500, 1, 1.2, False), (1000, 1, 0.2, True)],
)
def test_a_job_is_done_in_less_than_twice_the_least_time_and_its_end_is_told_truly(
    rows: int, servers: int, seconds: float, bad: bool
) -> None:
    run = play_virtually(Cell(rows, servers, bad, seconds))
    assert run.ratio is not None
    assert run.ratio >= 0.6
    assert (run.closed, run.twice, run.refused, run.early) == (rows - 3 * bad, 0, 0, 0)
    assert run.behind is not None
    assert run.behind <= 2.0
    assert run.forecast_error is None or run.forecast_error <= 0.1
    assert run.requests < 1.05 * rows


@pytest.mark.parametrize("cell", [Cell(300, 1), Cell(1000, 1)], ids=lambda cell: cell.name)
def test_a_row_costs_one_write_and_two_hundredths_of_a_read_at_most(cell: Cell) -> None:
    run = play_virtually(cell)
    assert run.closed == cell.rows
    assert run.requests - STARTING_READS <= 1.02 * cell.rows


@pytest.mark.parametrize("seed", [2, 4])
def test_a_job_a_little_too_large_for_a_window_does_not_wait_for_the_next_one(seed: int) -> None:
    run = play_virtually(Cell(1000, 1, seconds=1.22), seed=seed)
    assert run.least > 300, "that is what all its work needs, if no request is to cross the limit"
    assert run.took is not None
    assert run.took < 100
    assert (run.closed, run.twice, run.refused, run.early) == (1000, 0, 0, 0)


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, ProgressSnapshot]]:
    """Return what runs tell from now on, each with its moment."""
    snapshot = ProgressMeter.snapshot
    seen: list[tuple[float, ProgressSnapshot]] = []

    def see(meter: ProgressMeter, *args: Any, **more: Any) -> ProgressSnapshot:
        seen.append((meter._clock.monotonic(), snapshot(meter, *args, **more)))
        return seen[-1][1]

    monkeypatch.setattr(ProgressMeter, "snapshot", see)
    return seen


def test_no_end_is_told_while_the_rows_that_are_left_hang(snapshots: list[tuple[float, ProgressSnapshot]]) -> None:
    play_virtually(Cell(100, 1, bad=True, seconds=0.2))
    hanging = [seen.left for _, seen in snapshots if seen.counts.open and seen.paces[0][1].since_sent > 10]
    assert len(hanging) > 50
    assert set(hanging) == {None}


def test_while_the_last_rows_wait_to_be_checked_it_is_told_until_when(
    snapshots: list[tuple[float, ProgressSnapshot]],
) -> None:
    play_virtually(Cell(1000, 1, seconds=1.22), seed=2)
    told = [(at, seen.left) for at, seen in snapshots if not seen.counts.open and seen.left is not None]
    end, _ = told[-1]
    assert end - told[0][0] > 200, "the window has no room for the reads"
    assert max(abs(at + left - end) for at, left in told) < 0.1 * WINDOW


@pytest.mark.parametrize(("cell", "seed"), [(Cell(300, 1), 3), (Cell(100, 1, bad=True), 3)])
def test_no_end_is_told_where_the_last_rows_may_take_a_tenth_of_the_whole_time_longer(cell: Cell, seed: int) -> None:
    assert (play_virtually(cell, seed=seed).forecast_error or 0.0) <= 0.1
