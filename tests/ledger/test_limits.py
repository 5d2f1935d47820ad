"""What a person allows a job: hours, rate, rows, operations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.clock import VirtualClock
from connector.errors import InputError
from connector.ledger.job_limits import JobLimits, opens_at, read_moment, read_rate, read_window, saved_up
from connector.ledger.jobs import DesiredState
from connector.ledger.ledger import Ledger
from connector.ledger.store import open_ledger
from tests.ledger.rows import closed, rows

STOCKHOLM = ZoneInfo("Europe/Stockholm")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=STOCKHOLM)


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ("22:00-08:00", "2026-11-27 23:30", "2026-11-27 08:00"),
        ("22:00-08:00", "2026-11-28 07:59", "2026-11-27 21:59"),
        ("fri 22:00-08:00", "2026-11-28 03:00", "2026-11-28 23:00"),
        ("fri 22:00-mon 06:00", "2026-11-30 05:59", "2026-11-30 06:00"),
        ("Mon-Thu,Sat 20:00-06:00", "2026-11-27 05:00", "2026-11-28 05:00"),
        ("sat-sun 00:00-24:00", "2026-11-29 23:59", "2026-11-30 00:00"),
        ("sunday 23:00-01:00", "2026-11-30 00:30", "2026-11-29 00:30"),
    ],
)
def test_a_window_is_the_clock_on_the_wall_of_its_zone(window: str, inside: str, outside: str) -> None:
    read = read_window(f"{window} Europe/Stockholm")
    assert read.is_open(at(inside))
    assert not read.is_open(at(outside))


def test_the_night_of_a_change_of_time_has_the_hours_that_it_has() -> None:
    spring, autumn = read_window("02:30-04:00 Europe/Stockholm"), read_window("02:00-03:00 Europe/Stockholm")
    opened = opens_at((spring,), at("2026-03-28 23:00"))
    assert opened == at("2026-03-29 03:00"), "02:30 does not come, so it opens when 03:00 does"
    first, second = datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert autumn.is_open(first)
    assert autumn.is_open(second), "the hour comes twice"


ZONES = {
    "Europe/Stockholm": ("2026-03-29", "2026-10-25"),
    "America/New_York": ("2026-03-08", "2026-11-01"),
    "America/Santiago": ("2026-04-05", "2026-09-06"),  # midnight comes twice, or not at all
    "Australia/Lord_Howe": ("2026-04-05", "2026-10-04"),  # half an hour
    "Asia/Kathmandu": ("2026-03-08", "2026-12-31"),  # none
}
WINDOWS = [
    "22:00-08:00", "fri 22:00-mon 06:00", "sat 01:00-sun 02:30", "sun 02:00-03:00", "02:30-03:15", "02:15-02:45",
    "00:15-01:15", "00:00-00:30", "23:30-00:30", "wed,fri 12:00-12:01",
]  # fmt: skip


@given(
    st.lists(st.sampled_from(WINDOWS), min_size=1, max_size=2),
    st.sampled_from([(zone, day) for zone, days in ZONES.items() for day in days]),
    st.integers(-200, 36),
)
def test_it_opens_at_the_first_minute_that_is_inside(windows: list[str], night: tuple[str, str], hours: int) -> None:
    read = tuple(read_window(f"{text} {night[0]}") for text in windows)
    now = datetime.fromisoformat(night[1]).replace(tzinfo=UTC) + timedelta(hours=hours, minutes=hours % 60)
    opened = opens_at(read, now)
    if opened is None:
        assert any(window.is_open(now) for window in read)
        return
    assert any(window.is_open(opened) for window in read)
    minutes = int((opened - now).total_seconds() // 60)
    for minute in {*range(0, minutes, max(1, minutes // 200)), *range(max(0, minutes - 60), minutes)}:
        assert not any(window.is_open(now + timedelta(minutes=minute)) for window in read)


@pytest.mark.parametrize(
    "text", ["", "22-8", "22:00", "25:00-26:00", "22:61-23:00", "mon-fri 22:00-sat 08:00", "22:00-08:00 Mars/Base", "fry 1:00-2:00"]
)  # fmt: skip
def test_what_is_no_window_is_told(text: str) -> None:
    with pytest.raises(InputError):
        read_window(text)


def test_a_time_without_a_day_is_the_next_one() -> None:
    now = at("2026-11-27 23:00")
    assert read_moment("06:00 Europe/Stockholm", now) == at("2026-11-28 06:00")
    assert read_moment("23:30 Europe/Stockholm", now) == at("2026-11-27 23:30")
    assert read_moment("2026-11-28T06:00+01:00", now) == at("2026-11-28 06:00")
    for text in ("2026-11-27 22:00 Europe/Stockholm", "soon", "6", "2026-13-01 06:00"):
        with pytest.raises(InputError):
            read_moment(text, now)


def test_rates_are_read_and_saved_up_for_two_seconds() -> None:
    assert [read_rate(text) for text in ("10/s", "300/min", "36 per hour")] == [10, 5, 0.01]
    for text in ("10", "0/s", "-1/s", "x/s"):
        with pytest.raises(InputError):
            read_rate(text)
    assert saved_up(10, 0.0, 100.0, 101.0) == 10
    assert saved_up(10, 0.0, 100.0, 900.0) == 20
    assert saved_up(10, 3.0, 100.0, 50.0) == 3, "a clock that was set back adds nothing"


def limited(ledger: Ledger, count: int, **said: Any) -> Any:
    return ledger.create("june", rows(count), options={"limits": JobLimits(**said).data()})


def test_several_workers_share_one_rate(ledger: Ledger, clock: VirtualClock) -> None:
    job = limited(ledger, 400, at_most="5/s")
    workers = [ledger.enter(f"w{number}:1", "june") for number in range(3)]
    taken: list[tuple[float, int]] = []
    for step in range(240):
        worker = workers[step % 3]
        items = worker.claim(job, 100)
        worker.record(job, closed(items))
        taken.append((clock.monotonic(), len(items)))
        clock.sleep(0.25)
    total = sum(count for _, count in taken)
    assert 290 <= total <= 5 * 60 + 1
    for start in range(50):
        inside = sum(count for moment, count in taken if start <= moment < start + 10)
        assert inside <= 5 * 10 + 10
    ledger.set_limits("june", JobLimits(at_most="50/s"))
    clock.sleep(1.0)
    assert len(workers[0].claim(job, 100)) == 1
    clock.sleep(1.0)
    assert len(workers[0].claim(job, 100)) == 50
    for worker in workers:
        worker.leave()


def test_a_pilot_leaves_the_other_rows_untouched(ledger: Ledger) -> None:
    job = limited(ledger, 10, leave=7)
    worker = ledger.enter("w:1", "june")
    items = worker.claim(job, 100)
    assert [item.row for item in items] == [1, 2, 3]
    worker.record(job, closed(items))
    assert worker.claim(job, 100) == []
    now, counts = ledger.clock.now(), ledger.counts("june")
    assert worker.limits(job)[0].reached(now, counts, 0) == "limit"
    ledger.set_limits("june", JobLimits())
    assert len(worker.claim(job, 100)) == 7
    worker.leave()


def test_operations_are_counted_and_claims_taper_off(ledger: Ledger) -> None:
    job = limited(ledger, 100, max_operations=40)
    worker = ledger.enter("w:1", "june")
    taken = []
    for _ in range(12):
        items = worker.claim(job, 100)
        worker.record(job, closed(items))
        worker.spend(job, 3 * len(items))
        taken.append(len(items))
    assert ledger.job("june").operations == 3 * sum(taken) <= 42, "a worker refuses what is more, when it is planned"
    limits, used = worker.limits(job)
    assert limits.reached(ledger.clock.now(), ledger.counts("june"), used) == ("max_operations" if used >= 40 else "")
    worker.leave()


def test_a_limit_that_pauses_a_job_is_named_and_overrules_no_person(ledger: Ledger) -> None:
    job = limited(ledger, 3)
    worker = ledger.enter("w:1", "june")
    worker.pause(job, "until")
    assert ledger.job("june").desired_state is DesiredState.PAUSE
    assert ledger.paused_by(ledger.job("june")) == "until"
    ledger.set_desired_state("june", DesiredState.CANCEL)
    worker.pause(job, "until")
    assert ledger.job("june").desired_state is DesiredState.CANCEL
    worker.leave()


def test_limits_come_back_as_they_were_said(store: str, clock: VirtualClock) -> None:
    said = JobLimits(
        windows=(read_window("22:00-08:00"), read_window("fri 22:00-mon 06:00 Europe/Stockholm")),
        until=datetime(2027, 1, 1, tzinfo=UTC),
        at_most="10/s",
        in_flight=8,
        leave=3,
        max_operations=1000,
    )
    with open_ledger(store, clock) as ledger:
        ledger.create("june", rows(3), options={"other": 1})
        ledger.set_limits("june", said)
    with open_ledger(store, clock) as ledger:
        job = ledger.job("june")
        assert (JobLimits.of(job.options), job.options["other"]) == (said, 1)
        assert [event.kind for event in ledger.events("june")] == ["created", "limits"]
