"""What a person allows a job: hours, rate, requests at once, rows, operations. It is kept with the job.

Whoever works on the job looks at it again and again, so it can be changed at any time. Rate, rows and operations are
counted in the ledger, when rows are claimed: so they hold for all workers together, on whatever machine.

Hours are those of a week: `22:00-08:00`, `mon-thu 20:00-06:00 Europe/Paris`, `fri 22:00-mon 06:00`. What counts is the
clock on the wall of the zone. An hour that comes twice in the night of a change of time is inside twice, and one that
is left out does not come.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any, Self
from zoneinfo import ZoneInfo

from connector.errors import InputError
from connector.ledger.jobs import Counts, ItemStatus

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


KEPT_AS = "limits"
"""What they are called among the options of a job."""
BURST = 2.0
"""Seconds of the rate that may be saved up: workers do not look at every moment."""
FIRST_OPERATIONS = 4.0
"""Operations that a row is taken to cost until some are done."""

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/|per)\s*(s|sec|second|m|min|minute|h|hour)", re.IGNORECASE)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_AS_THEY_ARE = ("at_most", "in_flight", "leave", "max_operations")
"""Limits that are kept as they are."""


@dataclass(frozen=True, slots=True)
class JobLimits:
    """The limits of a job; None, or no window, where nothing is said.

    `windows` are the hours in which it runs, `until` is when it stops, `at_most` is a rate as `10/s`, `in_flight` how
    many requests may be under way at once, `leave` how many rows stay to be done, `max_operations` how many requests
    may be counted towards the entitlement.
    """

    windows: tuple[TimeWindow, ...] = ()
    until: datetime | None = None
    at_most: str | None = None
    in_flight: int | None = None
    leave: int | None = None
    max_operations: int | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Return the limits among the options of a job."""
        data = options.get(KEPT_AS) or {}
        until = data.get("until")
        return cls(
            windows=tuple(read_window(text) for text in data.get("window", ())),
            until=None if until is None else datetime.fromisoformat(until),
            **{name: data.get(name) for name in _AS_THEY_ARE},
        )

    def data(self) -> dict[str, object]:
        """Return what is said, as plain data."""
        values: dict[str, object] = {
            "window": [window.text for window in self.windows],
            "until": None if self.until is None else self.until.astimezone(UTC).isoformat(),
            **{name: getattr(self, name) for name in _AS_THEY_ARE},
        }
        return {name: value for name, value in values.items() if value not in (None, [])}

    @property
    def rate(self) -> float | None:
        """Return the rows per second."""
        return None if self.at_most is None else read_rate(self.at_most)

    def opens_at(self, now: datetime) -> datetime | None:
        """Return until when the job sleeps; None while it may run."""
        return opens_at(self.windows, now)

    def reached(self, now: datetime, counts: Counts, operations: int) -> str:
        """Return the name of the limit that ends the job for now, or an empty text."""
        if self.until is not None and now >= self.until:
            return "until"
        if self.max_operations is not None and operations >= self.max_operations:
            return "max_operations"
        left = counts.of(ItemStatus.PENDING)
        pilot = self.leave is not None and 0 < left == counts.open and left <= self.leave
        return "limit" if pilot else ""

    def without_pilot(self) -> Self:
        """Return the limits without the one on rows."""
        return replace(self, leave=None)


def read_rate(text: str) -> float:
    """Return rows per second of a rate as `10/s`, `300/min` or `5000/h`. Raises InputError."""
    match = _RATE.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise InputError(f"{text!r} is no rate.", remedy="Write it as 10/s, 300/min or 5000/h.")
    return float(match[1]) / _SECONDS[match[2][0].lower()]


def saved_up(rate: float, allowance: float | None, since: float, now: float) -> float:
    """Return how many rows may be taken now: what was left at `since`, and what has come since, but no more than BURST.

    A clock that was set back adds nothing.
    """
    if allowance is None:
        return 1.0
    return min(max(1.0, BURST * rate), allowance + max(0.0, now - since) * rate)


def affordable(limits: JobLimits, counts: Counts, operations: int) -> int:
    """Return how many more rows the operations that are left may be enough for, by what rows have cost so far.

    One is tried while any are left: whether they are enough for it shows when it is planned.
    """
    if limits.max_operations is None:
        return counts.open
    if operations >= limits.max_operations:
        return 0
    done = counts.total - counts.open
    cost = operations / done if done and operations else FIRST_OPERATIONS
    claimed = counts.of(ItemStatus.CLAIMED)
    return max(int((limits.max_operations - operations) / cost), 1) - claimed
