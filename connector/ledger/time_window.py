"""Hours of the week in which a job may run: `22:00-08:00`, `mon-thu 20:00-06:00 Europe/Paris`, `fri 22:00-mon 06:00`.

What counts is the clock on the wall of the zone. An hour that comes twice in the night of a change of time is inside
twice, and one that is left out does not come.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from connector.errors import InputError

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY, _WEEK = 24 * 60, 7 * 24 * 60
LONGEST_DAYS = 16
"""A day of the week comes within so many days, also where a change of time leaves out its hours once."""
_NAME = r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*"
_TIME = r"\d{1,2}:\d{2}"
_WINDOW = re.compile(
    rf"(?:(?P<days>{_NAME}(?:\s*[-,]\s*{_NAME})*)\s+)?(?P<start>{_TIME})\s*-\s*(?:(?P<last>{_NAME})\s+)?(?P<end>{_TIME})"
    r"(?:\s+(?P<zone>\S+))?",
    re.IGNORECASE,
)
_MOMENT = re.compile(
    r"(?:(?P<day>\d{4}-\d{2}-\d{2})[T ])?(?P<clock>\d{1,2}:\d{2}(?::\d{2})?)"
    r"(?P<offset>Z|[+-]\d{2}:\d{2})?(?:\s+(?P<zone>\S+))?"
)
_EXAMPLE = 'Write it as 22:00-08:00, "mon-fri 20:00-06:00 Europe/Stockholm" or "fri 22:00-mon 06:00".'


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Hours of the week: each of `starts` is a minute of it, counted from Monday, and `minutes` how long it is open.

    Without a zone they are those of the machine that works. `text` is how a person wrote it.
    """

    text: str
    starts: tuple[int, ...]
    minutes: int
    zone: tzinfo | None

    def is_open(self, now: datetime) -> bool:
        """Return whether `now`, which has a zone, is inside."""
        local = now.astimezone(self.zone)
        minute = local.weekday() * _DAY + local.hour * 60 + local.minute
        return any((minute - start) % _WEEK < self.minutes for start in self.starts)

    def may_open(self, now: datetime) -> Iterator[datetime]:
        """Yield the moments of two weeks at which it may begin; one of its hours may be left out in the first."""
        today = now.astimezone(self.zone).date()
        for date in (today + timedelta(days=number) for number in range(-1, LONGEST_DAYS)):
            for start in self.starts:
                if start % _WEEK // _DAY == date.weekday():
                    on_the_wall = datetime.combine(date, time(start % _DAY // 60, start % 60), self.zone)
                    yield from (on_the_wall.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
            midnight = datetime.combine(date, time(), UTC)
            quarters = [midnight + number * timedelta(minutes=15) for number in range(97)]
            if len({quarters[end].astimezone(self.zone).utcoffset() for end in (0, -1)}) > 1:
                yield from quarters  # clocks change on one of them


def read_window(text: str) -> TimeWindow:
    """Return the window that `text` says. Raises InputError."""
    match = _WINDOW.fullmatch(text.strip())
    if match is None:
        raise InputError(f"{text!r} is no time window.", remedy=_EXAMPLE)
    days = _days(match["days"]) if match["days"] else list(range(7))
    start, end = _minute(text, match["start"]), _minute(text, match["end"])
    minutes = (end - start) % _DAY or _DAY
    if match["last"]:
        if len(days) != 1 or match["days"] is None:
            raise InputError(f"{text!r} ends on one day and begins on several.", remedy=_EXAMPLE)
        minutes = ((_number(match["last"]) - days[0]) * _DAY + end - start) % _WEEK or _WEEK
    starts = tuple(day * _DAY + start for day in days)
    return TimeWindow(text.strip(), starts, minutes, read_zone(match["zone"]) if match["zone"] else None)


def read_zone(name: str) -> tzinfo:
    """Return a time zone by its name in the IANA database. Raises InputError."""
    if name.upper() in {"UTC", "Z"}:  # known everywhere, also where there is no database
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise InputError(f"There is no time zone {name!r}.", remedy="Name it as Europe/Stockholm or UTC.") from error


def opens_at(windows: tuple[TimeWindow, ...], now: datetime) -> datetime | None:
    """Return when the next of the windows opens; None while one is open, or where there is none."""
    if not windows or any(window.is_open(now) for window in windows):
        return None
    return min(begin for span in windows for begin in span.may_open(now) if begin > now and span.is_open(begin))


def read_moment(text: str, now: datetime) -> datetime:
    """Return the moment in UTC that a time means: the next one where no day is named. Raises InputError.

    It is written as `06:00`, `2026-01-31 06:00`, either with the name of a zone, or in full with an offset.
    """
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        raise _no_time(text)
    zone = read_zone(match["zone"]) if match["zone"] else None
    today = now.astimezone(zone).date()
    for day in [match["day"]] if match["day"] else [str(today), str(today + timedelta(days=1))]:
        try:
            moment = datetime.fromisoformat(f"{day}T{match['clock'].zfill(5)}{match['offset'] or ''}")
        except ValueError as error:
            raise _no_time(text) from error
        moment = (moment if match["offset"] else moment.replace(tzinfo=zone)).astimezone(UTC)
        if moment > now:
            return moment
    raise InputError(f"{text} is over already.", remedy="Name a time that is still to come.")


def _no_time(text: str) -> InputError:
    return InputError(f"{text!r} is no time.", remedy='Write it as 06:00 or "2026-01-31 06:00 Europe/Stockholm".')


def _days(text: str) -> list[int]:
    days: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin = _number(first)
        days += [(begin + step) % 7 for step in range((_number(last or first) - begin) % 7 + 1)]
    return sorted(set(days))


def _number(name: str) -> int:
    return _DAYS.index(name.strip()[:3].lower())


def _minute(text: str, written: str) -> int:
    hour, minute = (int(part) for part in written.split(":"))
    if minute > 59 or hour > 24 or (hour == 24 and minute):
        raise InputError(f"{text!r}: {written} is no time of day.", remedy=_EXAMPLE)
    return hour * 60 + minute
