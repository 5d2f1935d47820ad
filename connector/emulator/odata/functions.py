"""The functions of `Microsoft.Dynamics.CRM` in filters: which there are, what they take, and the SQL they become.

Source: https://learn.microsoft.com/power-apps/developer/data-platform/webapi/reference/queryfunctions. A range of
time is half open; days, weeks (from Sunday), months and years are those of the user's time zone. Where the reference
does not say whether the running unit belongs to it, "last x" reaches from the start of the unit x units ago to now,
"next x" from now to the end of the unit x units ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from operator import attrgetter

from connector.emulator.odata.expressions import Literal, LiteralKind, QueryFunction
from connector.emulator.odata.lexer import ODataError
from connector.emulator.odata.values import ID_KINDS, TEXT, day_text, fold, loosely, moment_text
from connector.emulator.rules.rule import refuse
from connector.emulator.world.schema import Column, Kind, names


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


_BEGIN: Mapping[str, Callable[[date], date]] = {
    "Days": lambda day: day,
    "Weeks": lambda day: days_later(day, -((day.weekday() + 1) % 7)),
    "Months": lambda day: day.replace(day=1),
    "Years": lambda day: day.replace(month=1, day=1),
}
"""When the running unit has begun."""

FIXED: Mapping[str, tuple[str, int, int]] = {
    "Today": ("Days", 0, 1),
    "Yesterday": ("Days", -1, 0),
    "Tomorrow": ("Days", 1, 2),
    "Last7Days": ("Days", -7, 1),
    "Next7Days": ("Days", 0, 8),
    **{
        f"{side}{unit}": (f"{unit}s", first, first + 1)
        for side, first in (("This", 0), ("Last", -1), ("Next", 1))
        for unit in ("Week", "Month", "Year")
    },
}
"""Functions without a value: the unit, and how many of it the range begins and ends after the running one began."""


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
    unit, first, last = FIXED[name]
    begun = _BEGIN[unit](asker.today)
    return Range(_shifted(unit, begun, first), _shifted(unit, begun, last))


def as_moment(edge: date | datetime, asker: QueryContext) -> str:
    """Return an edge of a range as the text of a stored moment."""
    moment = edge if isinstance(edge, datetime) else asker.midnight(edge)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def as_day(edge: date | datetime, asker: QueryContext) -> str:
    """Return an edge of a range as the text of a stored date."""
    if isinstance(edge, datetime):
        edge = (edge.astimezone(UTC) + timedelta(minutes=asker.utc_offset_minutes)).date()
    return edge.isoformat()


Value = str | int | float | None
LateValue = Callable[[QueryContext], Value]

LISTS = frozenset({"In", "NotIn", "Between", "NotBetween"})
USERS = {
    "EqualUserId": "user_id",
    "NotEqualUserId": "user_id",
    "EqualBusinessId": "business_unit_id",
    "NotEqualBusinessId": "business_unit_id",
}
IMPLEMENTED = frozenset(FIXED) | COUNTED | frozenset(ON) | {"NotOn"} | LISTS | frozenset(USERS)
"""The query functions that work here."""

REFUSED = frozenset(
    names(
        "Above AboveOrEqual ContainValues DoesNotContainValues EqualRoleBusinessId EqualUserLanguage "
        "EqualUserOrUserHierarchy EqualUserOrUserHierarchyAndTeams EqualUserOrUserTeams EqualUserTeams "
        "InFiscalPeriod InFiscalPeriodAndYear InFiscalYear InOrAfterFiscalPeriodAndYear "
        "InOrBeforeFiscalPeriodAndYear LastFiscalPeriod LastFiscalYear LastXFiscalPeriods LastXFiscalYears "
        "NextFiscalPeriod NextFiscalYear NextXFiscalPeriods NextXFiscalYears NotUnder ThisFiscalPeriod "
        "ThisFiscalYear Under UnderOrEqual"
    )
)
"""Documented query functions that are refused by name: hierarchies, teams, fiscal periods, multiple choices."""

_MOST = 10_000


def query_function(
    node: QueryFunction, sql: str, column: Column, into: list[Value | LateValue], *, negated: bool
) -> str:
    """Return the SQL of a query function on the column `sql`, appending its parameters to `into`. Raises ODataError."""
    name = node.name
    if name in REFUSED:
        raise refuse("emulator.not_implemented", f"the query function 'Microsoft.Dynamics.CRM.{name}'")
    if name not in IMPLEMENTED:
        raise ODataError(
            f"An unknown function with name 'Microsoft.Dynamics.CRM.{name}' was found. This may also be a function "
            "import or a key lookup on a navigation property, which is not allowed."
        )
    _check_arguments(node)
    if name in LISTS:
        return _list(node, sql, column, into, negated=negated)
    if name in USERS:
        if column.kind not in ID_KINDS:
            raise ODataError(f"The query function '{name}' needs a property that holds an id, not '{column.name}'.")
        into.append(attrgetter(USERS[name]))
        return _unless(f"{sql} = ?", sql, negated=negated != name.startswith("Not"))
    if column.kind not in (Kind.DATEONLY, Kind.DATETIME):
        raise ODataError(f"The query function '{name}' needs a date property, not '{column.name}'.")
    opposite = name == "NotOn"
    return _dates(node, sql, column, into, negated=negated != opposite)


def _check_arguments(node: QueryFunction) -> None:
    parameter = "PropertyValues" if node.name in LISTS else "PropertyValue"
    plain = node.name in FIXED or node.name in USERS
    expected = ("PropertyName",) if plain else ("PropertyName", parameter)
    if node.given != tuple(sorted(expected)):
        raise ODataError(
            f"The function 'Microsoft.Dynamics.CRM.{node.name}' takes the parameters {', '.join(expected)}, "
            f"but {', '.join(node.given) or 'none'} came."
        )


def _unless(test: str, sql: str, *, negated: bool) -> str:
    return f"(NOT {test} OR {sql} IS NULL)" if negated else test


def _list(node: QueryFunction, sql: str, column: Column, into: list[Value | LateValue], *, negated: bool) -> str:
    values: list[Value] = [loosely(column, value) for value in node.values]
    if column.kind in TEXT:
        sql, values = f"fold({sql})", [fold(str(value)) for value in values]
    opposite = negated != node.name.startswith("Not")
    if node.name.endswith("Between"):
        if len(values) != 2:  # a between has two ends
            raise ODataError(f"The query function '{node.name}' needs exactly two values.")
        into += values
        return _unless(f"({sql} BETWEEN ? AND ?)", sql, negated=opposite)
    if not values:
        raise ODataError(f"The query function '{node.name}' needs at least one value.")
    if len(values) > _MOST:
        raise ODataError(f"The query function '{node.name}' takes at most {_MOST} values.")
    into += values
    return _unless(f"({sql} IN ({', '.join('?' * len(values))}))", sql, negated=opposite)


def _dates(node: QueryFunction, sql: str, column: Column, into: list[Value | LateValue], *, negated: bool) -> str:
    name = node.name
    find: Callable[[QueryContext], Range]
    if name in FIXED:
        find = partial(fixed, name)
    elif name in COUNTED:
        find = partial(counted, name, _count(node))
    else:
        find = partial(_around, "On" if name == "NotOn" else name, _day(node.values[0]))
    text = as_day if column.kind is Kind.DATEONLY else as_moment
    tests = []
    probe = find(_SOME_ASKER)
    if probe.start is not None:
        into.append(partial(_edge, find, "start", text))
        tests.append(f"{sql} >= ?")
    if probe.end is not None:
        into.append(partial(_edge, find, "end", text))
        tests.append(f"{sql} < ?")
    return _unless(f"({' AND '.join(tests)})", sql, negated=negated)


def _count(node: QueryFunction) -> int:
    value = node.values[0].value
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:12])
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 1_000_000:  # far enough
        raise ODataError(f"The query function '{node.name}' needs a whole number from 1 up.")
    return value


def _day(literal: Literal) -> str:
    text = str(literal.value)
    if literal.kind not in (LiteralKind.DATE, LiteralKind.DATETIME, LiteralKind.STRING):
        raise ODataError(f"'{text}' is no date.")
    return day_text(text) if len(text) == len("2026-01-31") else moment_text(text)[0][:10]


def _around(name: str, day: str, _asker: QueryContext) -> Range:
    return Range(*ON[name](date.fromisoformat(day)))


def _edge(find: Callable[[QueryContext], Range], side: str, text: Callable[..., str], asker: QueryContext) -> Value:
    return text(getattr(find(asker), side), asker)


_SOME_ASKER = QueryContext(datetime(2026, 1, 1, tzinfo=UTC), "", "")
"""Which edges a function has does not depend on who asks; this one is asked when the filter is compiled."""
