"""How a job is shown while it goes: a picture on a terminal, lines elsewhere."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console

from connector.bulk.run.plain_view import PLAIN_EVERY, PlainView, line_of
from connector.bulk.run.progress_meter import ProgressSnapshot
from connector.cli.bulk.job_views import view_on
from connector.cli.bulk.live import drawn
from connector.clock import VirtualClock
from connector.ledger.jobs import Counts, ItemStatus


@dataclass(frozen=True, slots=True)
class Pace:
    binding: str = "time"
    waiting: float = 0.0
    ceiling: float = 10.0
    in_flight: int = 3
    most_in_flight: int = 12
    servers: int = 2
    seconds_per_part: float = 0.3
    requests: int = 40
    executed: float = 12.0
    refused: int = 0


def moment(*paces: Pace, reasons: int = 0) -> ProgressSnapshot:
    told = {(ItemStatus.FAILED, f"[bold]{number}"): number for number in range(1, reasons + 1)}
    counts = Counts({ItemStatus.PENDING: 600, ItemStatus.CLOSED: 400, ItemStatus.FAILED: sum(told.values())}, told)
    lanes = tuple((f"user {number}", pace) for number, pace in enumerate(paces or (Pace(),)))
    return ProgressSnapshot("june", counts, 12, 0, 31.25, 40.0, 7200.0, lanes[0][1].binding, lanes)


def picture(shown: ProgressSnapshot) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(drawn(shown, datetime(2026, 6, 30, 23, 0, tzinfo=UTC)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_picture_says_how_far_how_fast_what_binds_and_when_it_ends() -> None:
    said = picture(moment())
    for part in ("400 of 1,000", "31.2 rows/s, at most 40.0", "the limit of execution time", "3 of 12 requests"):
        assert part in said
    assert "about 2026-07-01 01:00 (in 2 h 00 min)" in said
    assert "Waiting" not in said
    assert "Not done" not in said


def test_nothing_binds_a_job_that_is_finished() -> None:
    counts = Counts({ItemStatus.CLOSED: 2}, {})
    finished = ProgressSnapshot("june", counts, 0, 0, 31.25, 40.0, 0.0, "rows", (("user 1", Pace()),))
    assert "Bound by" not in picture(finished)
    assert "bound by" not in line_of(finished)
    assert "bound by the limit of execution time" in line_of(moment())


def test_a_picture_says_until_when_all_users_wait() -> None:
    said = picture(moment(Pace(waiting=42.0), Pace(waiting=60.0)))
    assert "until 23:00:42 (42 s)" in said
    assert "6 of 24 requests, 2 users" in said


def test_a_picture_counts_what_is_not_done_by_reason_the_most_frequent_first() -> None:
    said = picture(moment(reasons=7))
    assert "28" in said
    assert said.index("7 failed: [bold]7") < said.index("3 failed: [bold]3")
    assert "and 2 more reasons" in said


def test_where_there_is_no_terminal_a_line_comes_every_so_often() -> None:
    stream, clock = io.StringIO(), VirtualClock()
    view = view_on(stream, clock)
    assert isinstance(view, PlainView)
    for _ in range(11):
        view.show(moment())
        clock.sleep(PLAIN_EVERY / 5)
    view.end()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("400 of 1,000 (40%), 31.2/s, ceiling 40.0/s, bound by the limit of execution time")
