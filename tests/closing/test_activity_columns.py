from __future__ import annotations

from datetime import UTC, date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.closing.activity_columns import iso_moment, moment_of

OFFSETS = st.integers(-12 * 60, 14 * 60)


@given(st.dates(min_value=date(1900, 1, 2), max_value=date(9999, 12, 30)), OFFSETS)
def test_the_moment_is_on_the_date_in_utc_and_for_the_acting_user(day: date, offset: int) -> None:
    moment = moment_of(day, offset)
    assert moment.tzinfo is UTC
    assert moment.date() == day
    assert (moment + timedelta(minutes=offset)).date() == day


@given(st.dates(min_value=date(1900, 1, 2), max_value=date(9999, 12, 30)), OFFSETS)
def test_an_hour_of_summer_time_does_not_move_the_date(day: date, offset: int) -> None:
    moment = moment_of(day, offset)
    for hour in (-60, 60):
        assert (moment + timedelta(minutes=offset + hour)).date() == day


@pytest.mark.parametrize(
    ("offset", "time"), [(0, "12:00"), (-600, "12:00"), (600, "12:00"), (660, "06:30"), (840, "05:00"), (-720, "18:00")]
)
def test_it_is_noon_but_for_those_more_than_ten_hours_away(offset: int, time: str) -> None:
    assert iso_moment(date(2026, 1, 31), offset) == f"2026-01-31T{time}:00Z"
