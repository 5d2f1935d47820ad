"""The moment that stands for a calendar date.

`opportunity.actualclosedate` is a date without time or zone (DateOnly), but it is set from
`opportunityclose.actualend`, a moment that is shown in each user's own zone (UserLocal). No document says whether the
service takes the date of that moment in UTC or in the zone of the acting user; a midnight lands on the day before for
half of the world. So the moment sent is one which has the wanted date in both. That is noon UTC for everybody up to
ten hours away from it, and for the rest, from Norfolk Island to Kiritimati, the middle of the hours that have this
date in both zones. Either leaves room for summer time: the user's offset today, or without summer time, need not be
the one on the date.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

_NOON = 12 * 60
_FAR = 10 * 60
_DAY = 24 * 60


def moment_of(day: date, utc_offset_minutes: int) -> datetime:
    """Return a moment, in UTC, which is on `day` both in UTC and at the given offset east of it (in minutes)."""
    midnight = datetime.combine(day, time(), UTC)
    return midnight + timedelta(minutes=_minute_of_day(utc_offset_minutes))


def iso_moment(day: date, utc_offset_minutes: int) -> str:
    """Return `moment_of` the way the Web API writes a moment: `2026-01-31T12:00:00Z`."""
    return moment_of(day, utc_offset_minutes).strftime("%Y-%m-%dT%H:%M:%SZ")


def _minute_of_day(offset: int) -> int:
    return _NOON if abs(offset) <= _FAR else (_DAY - offset) // 2
