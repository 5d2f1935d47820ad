"""How a job is shown while it goes: a picture on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from connector.bulk.run.live_view import LiveView, drawn
from connector.bulk.run.plain_view import PLAIN_EVERY, PlainView, line_of
from connector.cli.bulk.job_views import show_counts, show_jobs, view_on
from connector.cli.screen import RowCounter
from connector.clock import VirtualClock
from connector.ledger.jobs import Counts


def user(waiting: float = 0.0) -> dict[str, object]:
    return {"name": "user", "in_flight": 3, "most_in_flight": 12, "waiting": waiting}


def status(*users: Mapping[str, object], reasons: int = 0, **more: object) -> dict[str, object]:
    """Return the status of a job of 1,000 rows, as `status_data` has it."""
    failed = [{"status": "failed", "reason": f"[bold]{n}", "count": n} for n in range(reasons, 0, -1)]
    of_users = list(users or (user(),))
    pace = {
        "binding": "time",
        "waiting": min(float(str(one["waiting"])) for one in of_users),
        "rate": 31.25,
        "ceiling": 40.0,
        "left": 7200.0,
        "in_hand": 12,
        "in_doubt": 2,
        "users": of_users,
    }
    data: dict[str, object] = {
        "job": "june",
        "desired_state": "run",
        "total": 1000 + sum(range(reasons + 1)),
        "pending": 560,
        "claimed": 40,
        "refused": 0,
        "failed": sum(range(reasons + 1)),
        "reasons": failed,
        "tried_later": [],
        "workers": ["host:1"],
        "governor": pace,
    }
    return data | more


def picture(data: Mapping[str, object], stopping: float | None = None, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(drawn(data, datetime(2026, 6, 30, 23, 0, tzinfo=UTC), stopping, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_picture_says_how_far_how_fast_what_binds_and_when_it_ends() -> None:
    said = picture(status())
    for part in (
        "Job june",
        "400 of 1,000 (40%)",
        "31.2 rows/s in the last 30 s; the limits allow 40.0",
        "the limit of execution time",
        "3 of 12 requests; 2 rows in doubt",
        "about 2026-07-01 01:00 (in 2 h 00 min)",
    ):
        assert part in said
    assert "Waiting" not in said
    assert "Not done" not in said


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_picture_is_one_panel_that_fits(width: int) -> None:
    lines = picture(status(reasons=7), width=width).splitlines()
    assert max(map(len, lines)) <= min(width, 100)
    assert len({len(line) for line in lines}) == 1
    assert len(lines) < 20


def test_before_the_end_is_known_it_says_so() -> None:
    pace = dict(status()["governor"]) | {"left": None, "ceiling": None}  # type: ignore[call-overload]
    assert "not known yet" in picture(status(governor=pace))
    assert "not known yet" in line_of(status(governor=pace))


@pytest.mark.parametrize("terminal", [True, False])
def test_something_long_says_how_far_it_is(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, clock = io.StringIO(), VirtualClock()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    counter = RowCounter("{} rows read", clock.monotonic)
    assert [*counter.counted(range(3))] == [0, 1, 2]
    assert stream.getvalue() == "", "what is short says nothing"
    for _ in counter.counted(range(50)):
        clock.sleep(0.25)
    lines = re.findall(r"[0-9]+ rows read", stream.getvalue())
    assert lines == ([f"{count} rows read" for count in range(4, 50, 4)] if terminal else ["40 rows read"])
    assert stream.getvalue().endswith(f"\r{' ' * 12}\r") == terminal


def test_nothing_is_said_of_a_rate_before_there_is_one() -> None:
    pace = dict(status()["governor"]) | {"rate": 0.0, "left": None}  # type: ignore[call-overload]
    assert line_of(status(governor=pace)) == "400 of 1,000 (40%)"
    assert "/s" not in picture(status(governor=pace))


def test_nothing_binds_a_job_that_is_finished() -> None:
    finished = status(pending=0, claimed=0)
    assert "Limited by" not in picture(finished)
    assert "limited by" not in line_of(finished)
    assert "limited by the limit of execution time" in line_of(status())


def test_when_all_rows_are_done_it_says_how_long_the_last_ones_are_still_checked() -> None:
    pace = dict(status()["governor"]) | {"left": 240.0}  # type: ignore[call-overload]
    done = status(pending=0, claimed=0, governor=pace)
    assert "the last rows are read again, about 23:04:00 (in 4 min)" in picture(done)
    assert "the last rows are read again, about 4 min left" in line_of(done)


def test_a_picture_says_until_when_all_users_wait() -> None:
    said = picture(status(user(42.0), user(60.0)))
    assert "until 23:00:42 (42 s)" in said
    assert "6 of 24 requests, 2 users" in said


def test_rows_that_are_tried_later_are_told_with_their_reason_and_when() -> None:
    later = [{"reason": "0x80044151", "count": 3, "seconds": 15.0}]
    assert "3 0x80044151, at the end of the job, not before 23:00:15" in picture(status(tried_later=later))
    assert "3 tried later, 0x80044151, not before 15 s from now" in line_of(status(tried_later=later))


def test_when_it_stops_it_says_what_it_waits_for_and_how_long() -> None:
    assert "waiting for 12 rows in flight (3 s so far)" in picture(status(), stopping=3.0)
    said = picture(status(user(42.0)), stopping=0.0)
    assert "Waiting     until 23:00:42" in said
    assert "makes wait" not in said, "what was not sent is let go"


def test_when_it_has_stopped_nothing_is_waited_for() -> None:
    said = picture(status(workers=[]), stopping=3.0)
    assert "Stopping" not in said
    assert "In flight" not in said


def test_a_picture_counts_what_is_not_done_by_reason_the_most_frequent_first() -> None:
    said = picture(status(reasons=7))
    assert "28" in said
    assert said.index("7 failed: [bold]7") < said.index("3 failed: [bold]3")
    assert "and 2 more reasons" in said


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_is_logged_meanwhile_comes_above_the_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    handler = logging.StreamHandler(terminal)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    view = view_on(terminal, VirtualClock())
    assert isinstance(view, LiveView)
    view.show(status())
    logging.getLogger("connector").warning("a line of the log")
    view.show(status())
    view.end()
    written = terminal.getvalue()
    assert written.index("a line of the log") < written.rindex("Job june")
    assert handler.stream is terminal


def test_where_there_is_no_terminal_a_line_comes_every_so_often() -> None:
    stream, clock = io.StringIO(), VirtualClock()
    view = view_on(stream, clock)
    assert isinstance(view, PlainView)
    for _ in range(11):
        view.show(status())
        clock.sleep(PLAIN_EVERY / 5)
    view.end()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(
        "400 of 1,000 (40%), 31.2 rows/s in the last 30 s; the limits allow 40.0, limited by the limit of execution time"
    )


def test_the_status_of_a_job_says_what_holds_it_and_what_is_tried_later_as_the_panel_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    later = [{"reason": "Broken", "count": 3, "seconds": 42.0}]
    place = {"state": "ready", "organization": "https://o", "created": "2026-06-30T20:00:00+00:00"}
    data = status() | place | {"tried_later": later}
    pace = data["governor"]
    assert isinstance(pace, dict)
    pace |= {"binding": "waiting", "waiting": 287.4, "rate": 0.0, "left": None}
    show_counts("june", Counts({}, {}), data)
    said = capsys.readouterr().out
    assert "\n           3  tried later, broken, not before 42 s from now\n" in said
    assert (
        "Limited by the wait that the service asked for (Retry-After), time left not known yet, waiting 5 min more.\n"
        in said
    )


def test_a_job_that_stands_still_lasted_until_its_last_run_ended(capsys: pytest.CaptureFixture[str]) -> None:
    begun, stopped = "2026-06-30T20:00:00+00:00", {"at": "2026-06-30T20:07:00+00:00"}
    data: dict[str, Any] = {
        "state": "ready",
        "workers": [],
        "organization": "https://o",
        "started_by": "me",
        "created": begun,
    }
    jobs = [status(**data, last_run=run, finished=None) for run in (stopped, None)]
    paused = status(**data, last_run=None, finished=None)
    paused["governor"] = {"at": "2026-06-30T20:09:00+00:00"}
    show_jobs([*jobs, paused], datetime(2026, 6, 30, 23, 0, tzinfo=UTC))
    assert re.findall(r"\d+ (?:min|h \d+ min)", capsys.readouterr().out) == ["7 min", "3 h 00 min", "9 min"]
