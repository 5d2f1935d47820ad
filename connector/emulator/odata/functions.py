"""The functions of `Microsoft.Dynamics.CRM` in filters: which there are, what they take, and the SQL they become."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial

from connector.emulator.odata.date_ranges import (
    COUNTED,
    FIXED,
    ON,
    QueryContext,
    Range,
    as_day,
    as_moment,
    counted,
    fixed,
)
from connector.emulator.odata.expressions import Literal, LiteralKind, QueryFunction
from connector.emulator.odata.lexer import ODataError
from connector.emulator.odata.values import ID_KINDS, TEXT, day_text, fold, loosely, moment_text
from connector.emulator.rules.rule import refuse
from connector.emulator.world.schema import Column, Kind, names

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
        into.append(partial(_attribute, USERS[name]))
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


def _attribute(name: str, asker: QueryContext) -> Value:
    value: Value = getattr(asker, name)
    return value


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
