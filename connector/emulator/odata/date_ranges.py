"""The query functions about time and the asking user: `Microsoft.Dynamics.CRM.LastXDays` and the like, as ranges.

Source: https://learn.microsoft.com/power-apps/developer/data-platform/webapi/reference/queryfunctions. A range is half
open; days, weeks (from Sunday), months and years are those of the user's time zone. Where the reference does not say
whether the running unit belongs to it, "last x" reaches from the start of the unit x units ago to now, "next x" from
now to the end of the unit x units ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta


@dataclass(frozen=True, slots=True)
class QueryContext:
    """Who asks, and when: what a filter may refer to without naming it. The offset is in minutes east of UTC."""

    now: datetime
    user_id: str
    business_unit_id: str
    utc_offset_minutes: int = 0

    @property
    def today(self) -> date:
        """The calendar day of the user."""
        return (self.now.astimezone(UTC) + timedelta(minutes=self.utc_offset_minutes)).date()

    def midnight(self, day: date) -> datetime:
        """Return when `day` begins for the user, in UTC."""
        return datetime.combine(day, time(), UTC) - timedelta(minutes=self.utc_offset_minutes)


@dataclass(frozen=True, slots=True)
class Range:
    """From `start` up to but not including `end` (None: no bound): days of the user, or moments in UTC."""

    start: date | datetime | None
    end: date | datetime | None


def months_later(day: date, months: int) -> date:
    """Return the same day so many months later (or earlier), or the last day of that month."""
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    year = min(max(year, 1), 9999)
    for candidate in (day.day, 30, 29, 28):
        try:
            return date(year, month + 1, candidate)
        except ValueError:
            continue
    raise AssertionError(day)  # every month has a 28th


def days_later(day: date, days: int) -> date:
    """Return the day so many days later (or earlier), kept within the calendar."""
    try:
        return day + timedelta(days=days)
    except OverflowError:
        return date.max if days > 0 else date.min


def _week(day: date) -> date:
    return days_later(day, -((day.weekday() + 1) % 7))


def _month(day: date) -> date:
    return day.replace(day=1)


def _year(day: date) -> date:
    return day.replace(month=1, day=1)


Fixed = Callable[[date], tuple[date, date]]

FIXED: dict[str, Fixed] = {
    "Today": lambda day: (day, days_later(day, 1)),
    "Yesterday": lambda day: (days_later(day, -1), day),
    "Tomorrow": lambda day: (days_later(day, 1), days_later(day, 2)),
    "Last7Days": lambda day: (days_later(day, -7), days_later(day, 1)),
    "Next7Days": lambda day: (day, days_later(day, 8)),
    "ThisWeek": lambda day: (_week(day), days_later(_week(day), 7)),
    "LastWeek": lambda day: (days_later(_week(day), -7), _week(day)),
    "NextWeek": lambda day: (days_later(_week(day), 7), days_later(_week(day), 14)),
    "ThisMonth": lambda day: (_month(day), months_later(_month(day), 1)),
    "LastMonth": lambda day: (months_later(_month(day), -1), _month(day)),
    "NextMonth": lambda day: (months_later(_month(day), 1), months_later(_month(day), 2)),
    "ThisYear": lambda day: (_year(day), months_later(_year(day), 12)),
    "LastYear": lambda day: (months_later(_year(day), -12), _year(day)),
    "NextYear": lambda day: (months_later(_year(day), 12), months_later(_year(day), 24)),
}
"""Functions without a value, as days [start, end) around the user's day."""


def _shifted(unit: str, day: date, count: int) -> date:
    if unit == "Days":
        return days_later(day, count)
    if unit == "Weeks":
        return days_later(day, 7 * count)
    return months_later(day, count if unit == "Months" else 12 * count)


_SMALL = {"Minutes": 60, "Hours": 3600}
_LARGE = ("Days", "Weeks", "Months", "Years")

COUNTED: frozenset[str] = frozenset(
    [f"{side}X{unit}" for side in ("Last", "Next") for unit in ("Hours", *_LARGE)]
    + [f"OlderThanX{unit}" for unit in ("Minutes", "Hours", *_LARGE)]
)
"""Functions with one whole number from 1 up."""

ON: dict[str, Callable[[date], tuple[date | None, date | None]]] = {
    "On": lambda day: (day, days_later(day, 1)),
    "OnOrBefore": lambda day: (None, days_later(day, 1)),
    "OnOrAfter": lambda day: (day, None),
}
"""Functions with one date."""


def _seconds_from(moment: datetime, seconds: int) -> datetime:
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        year = 9999 if seconds > 0 else 1
        return datetime(year, 1, 1, tzinfo=UTC)


def counted(name: str, count: int, asker: QueryContext) -> Range:
    """Return the range of a COUNTED function at this moment."""
    side, unit = name.split("X", 1)
    now, today = asker.now.astimezone(UTC), asker.today
    if unit in _SMALL:
        distance = count * _SMALL[unit]
        if side == "OlderThan":
            return Range(None, _seconds_from(now, -distance))
        if side == "Last":
            return Range(_seconds_from(now, -distance), now + timedelta(seconds=1))
        return Range(now, _seconds_from(now, distance + 1))
    if side == "OlderThan":
        return Range(None, _shifted(unit, today, -count))
    if side == "Last":
        return Range(_shifted(unit, today, -count), days_later(today, 1))
    return Range(today, days_later(_shifted(unit, today, count), 1))


def fixed(name: str, asker: QueryContext) -> Range:
    """Return the range of a FIXED function at this moment."""
    return Range(*FIXED[name](asker.today))


def as_moment(edge: date | datetime, asker: QueryContext) -> str:
    """Return an edge of a range as the text of a stored moment."""
    moment = edge if isinstance(edge, datetime) else asker.midnight(edge)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def as_day(edge: date | datetime, asker: QueryContext) -> str:
    """Return an edge of a range as the text of a stored date."""
    if isinstance(edge, datetime):
        edge = (edge.astimezone(UTC) + timedelta(minutes=asker.utc_offset_minutes)).date()
    return edge.isoformat()
