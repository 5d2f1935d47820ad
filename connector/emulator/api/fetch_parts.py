"""The parts of FetchXML: conditions and filters as expressions, each operator as its counterpart in `$filter`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.emulator.api.rows import wire_name
from connector.emulator.odata.expressions import (
    Comparison,
    Expression,
    Literal,
    LiteralKind,
    Logical,
    Not,
    Order,
    Path,
    QueryFunction,
    TextMatch,
)
from connector.emulator.odata.lexer import ODataError
from connector.emulator.odata.sql import no_property
from connector.emulator.odata.values import ID_KINDS, TEXT
from connector.emulator.rules.rule import refuse
from connector.emulator.world.schema import FRACTION_KINDS, WHOLE_KINDS, Column, Kind, Table

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET

DEEPEST = 60
"""Levels of filters and links in a query."""

COMPARISONS = {"eq": "eq", "ne": "ne", "neq": "ne", "gt": "gt", "ge": "ge", "lt": "lt", "le": "le"}
TEXT_OPERATORS = {"begins-with": "startswith", "ends-with": "endswith"}
FUNCTIONS = {
    "in": "In",
    "not-in": "NotIn",
    "between": "Between",
    "not-between": "NotBetween",
    "eq-userid": "EqualUserId",
    "ne-userid": "NotEqualUserId",
    "eq-businessid": "EqualBusinessId",
    "ne-businessid": "NotEqualBusinessId",
    "on": "On",
    "on-or-after": "OnOrAfter",
    "on-or-before": "OnOrBefore",
    "today": "Today",
    "yesterday": "Yesterday",
    "tomorrow": "Tomorrow",
    **{
        f"{side}-{unit}": f"{side.title()}{unit.title()}"
        for side in ("this", "last", "next")
        for unit in ("week", "month", "year")
    },
    "last-seven-days": "Last7Days",
    "next-seven-days": "Next7Days",
    **{
        f"{side}-x-{unit}": f"{side.title()}X{unit.title()}"
        for side in ("last", "next")
        for unit in ("hours", "days", "weeks", "months", "years")
    },
    **{
        f"olderthan-x-{unit}": f"OlderThanX{unit.title()}"
        for unit in ("minutes", "hours", "days", "weeks", "months", "years")
    },
}
"""Condition operators of FetchXML, and the query function that means the same."""

_LISTS = ("In", "NotIn", "Between", "NotBetween")
_MEANINGLESS = {
    "fetch": {"version", "output-format", "mapping", "distinct", "no-lock", "savedqueryid"},
    "condition": {"uiname", "uitype", "uihidden"},
    "entity": set[str](),
    "attribute": set[str](),
    "order": set[str](),
    "link-entity": {"visible"},
    "filter": {"isquickfindfields"},
    "value": {"uiname", "uitype"},
}
"""Attributes that change nothing here: how the answer is written, or how a person sees the condition."""


def attributes_of(node: ET.Element, tag: str, *known: str) -> dict[str, str]:
    """Return the attributes of a node that must be `tag`. Raises Refused for an attribute that is not `known`."""
    if node.tag != tag:
        raise ODataError(f"The FetchXML has <{node.tag}> where <{tag}> is expected.")
    for name in node.attrib:
        if name not in known and name not in _MEANINGLESS[tag]:
            raise refuse("emulator.not_implemented", f"{name} of <{tag}> in FetchXML")
    return dict(node.attrib)


def column_named(table: Table, name: str) -> Column:
    """Return a column by its logical name. Raises ODataError."""
    if name not in table.columns:
        raise no_property(name, table)
    return table.columns[name]


def order_of(table: Table, node: ET.Element) -> Order:
    """Return what an order node sorts by."""
    attributes = attributes_of(node, "order", "attribute", "descending")
    column = column_named(table, attributes.get("attribute", ""))
    return Order(Path((wire_name(column),)), attributes.get("descending", "false") in ("true", "1"))


def filter_of(table: Table, node: ET.Element, depth: int = 1) -> list[Expression]:
    """Return the one expression that a filter is, none when it is empty."""
    if depth > DEEPEST:
        raise ODataError("Recursion depth exceeded allowed limit.")
    operator = attributes_of(node, "filter", "type").get("type", "and")
    if operator not in ("and", "or"):
        raise ODataError(f"A filter of FetchXML is of type and or or, not '{operator}'.")
    operands: list[Expression] = []
    for child in node:
        operands += filter_of(table, child, depth + 1) if child.tag == "filter" else [_condition(table, child)]
    return operands if len(operands) < 2 else [Logical(operator, tuple(operands))]  # one needs no operator


def _condition(table: Table, node: ET.Element) -> Expression:
    attributes = attributes_of(node, "condition", "attribute", "operator", "value")
    column, operator = column_named(table, attributes.get("attribute", "")), attributes.get("operator", "")
    for child in node:
        attributes_of(child, "value")
    values = [child.text or "" for child in node] or ([attributes["value"]] if "value" in attributes else [])
    path = Path((wire_name(column),))
    if operator in ("null", "not-null") and not values:
        return Comparison("eq" if operator == "null" else "ne", path, Literal(LiteralKind.NULL, None))
    if operator in COMPARISONS and len(values) == 1:
        return Comparison(COMPARISONS[operator], path, _literal(column, values[0]))
    if operator in ("like", "not-like", *TEXT_OPERATORS) and len(values) == 1:
        return _text(path, operator, values[0])
    if operator in FUNCTIONS:
        function = FUNCTIONS[operator]
        literals = tuple(_literal(column, value) for value in values) if function in _LISTS else _plain(values)
        parameter = ("PropertyValues",) if function in _LISTS else ("PropertyValue",) if values else ()
        return QueryFunction(function, Path((column.name,)), literals, ("PropertyName", *parameter))
    raise refuse(
        "emulator.not_implemented", f"the condition operator '{operator}' with {len(values)} values in FetchXML"
    )


def _text(path: Path, operator: str, value: str) -> Expression:
    """Return a text condition; `%` at an end of a `like` means any text there."""
    if operator in TEXT_OPERATORS:
        return TextMatch(TEXT_OPERATORS[operator], path, value)
    before, after = value.startswith("%"), value.endswith("%")
    if before and after:
        condition: Expression = TextMatch("contains", path, value[1:-1])
    elif before or after:
        condition = TextMatch("startswith" if after else "endswith", path, value.strip("%"))
    else:
        raise refuse("emulator.not_implemented", "the condition operator 'like' without % at an end in FetchXML")
    return Not(condition) if operator == "not-like" else condition


def _plain(values: list[str]) -> tuple[Literal, ...]:
    return tuple(
        Literal(LiteralKind.INTEGER, int(value)) if value.isdigit() else Literal(LiteralKind.STRING, value)
        for value in values
    )


def _literal(column: Column, text: str) -> Literal:
    """Return the value of a condition as a literal of the column's type. Raises ODataError when it does not fit."""
    kind = column.kind
    try:
        if kind in ID_KINDS:
            return Literal(LiteralKind.GUID, text.strip("{} ").lower())
        if kind in TEXT:
            return Literal(LiteralKind.STRING, text)
        if kind in WHOLE_KINDS:
            return Literal(LiteralKind.INTEGER, int(text))
        if kind in FRACTION_KINDS:
            return Literal(LiteralKind.DECIMAL, float(text))
        if kind is Kind.BOOLEAN:
            return Literal(LiteralKind.BOOLEAN, {"1": True, "true": True, "0": False, "false": False}[text.lower()])
    except (ValueError, KeyError):
        raise ODataError(f"'{text}' is no value for '{column.name}' in the FetchXML.") from None
    return Literal(LiteralKind.DATE if len(text) == len("2026-01-31") else LiteralKind.DATETIME, text)
