"""Saved views: `savedQuery` and `userQuery` execute the FetchXML that a row of savedquery or userquery holds.

What such rows may say is what simple views say: columns, order, and conditions on the table's own columns. Links to
other tables, aggregates and every operator without a counterpart in `$filter` are refused by name.

Source: powerapps-docs, retrieve-and-execute-predefined-queries; FetchXML reference.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from connector.emulator.api.operation import OperationRequest
from connector.emulator.api.plans import ReadPlan, make_plan
from connector.emulator.api.rows import Annotations, wanted_columns, wire_name
from connector.emulator.odata.expressions import (
    Comparison,
    Expression,
    Literal,
    LiteralKind,
    Logical,
    Not,
    Order,
    Path,
    Query,
    QueryFunction,
    TextMatch,
)
from connector.emulator.odata.lexer import ODataError
from connector.emulator.odata.sql import no_property
from connector.emulator.odata.values import ID_KINDS, TEXT
from connector.emulator.rules.rule import refuse
from connector.emulator.world.schema import FRACTION_KINDS, WHOLE_KINDS, Column, Kind, Schema, Table
from connector.emulator.world.store import Store

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET

OPTIONS = {"savedQuery": "savedquery", "userQuery": "userquery"}
"""The options that execute a view, and the tables that hold them."""

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
    "fetch": {"version", "output-format", "mapping", "distinct", "no-lock", "savedqueryid", "returntotalrecordcount"},
    "condition": {"uiname", "uitype", "uihidden"},
    "entity": set[str](),
    "attribute": set[str](),
    "order": set[str](),
    "filter": {"isquickfindfields"},
    "value": {"uiname", "uitype"},
}
"""Attributes that change nothing here: how the answer is written, or how a person sees the condition."""


def view_plan(
    request: OperationRequest, schema: Schema, store: Store, table: Table, annotations: Annotations
) -> ReadPlan:
    """Return the plan of the view that the options of `request` name, over `table`. Raises Refused, ODataError."""
    request.options.allow(*OPTIONS, "$skiptoken")
    request.options.allow_aliases(set())
    named = [name for name in OPTIONS if name in request.options.values]
    if len(named) > 1:
        raise ODataError("The query options 'savedQuery' and 'userQuery' cannot be used together.")
    holder, key = OPTIONS[named[0]], request.options.values[named[0]].strip("{} ").lower()
    row = store.get(holder, key, ("returnedtypecode", "fetchxml"))
    if row is None:
        raise refuse("row.missing", schema.tables[holder].schema_name, key)
    if row["returnedtypecode"] != table.logical_name:
        raise ODataError(f"The view '{key}' is one of '{row['returnedtypecode']}', not of '{table.logical_name}'.")
    query = read_fetch(table, str(row["fetchxml"] or ""))
    plan = make_plan(schema, table, query, annotations)
    return replace(plan, scope=_scope(table, query))


def _scope(table: Table, query: Query) -> str:
    """Return what a context says of a view: a lookup stands with its navigation property (Web API query sample)."""
    names = []
    for column in wanted_columns(table, query.select):
        names += [wire_name(column), column.name] if column.name in table.lookups else [wire_name(column)]
    return f"({','.join(names)})"


def read_fetch(table: Table, text: str) -> Query:
    """Return what the FetchXML of a view asks of `table`. Raises ODataError and Refused for what is not understood."""
    import xml.etree.ElementTree as ET

    try:
        fetch = ET.fromstring(text)  # noqa: S314 - one's own organization, on one's own machine
    except ET.ParseError as error:
        raise ODataError(f"The FetchXML of the view could not be read: {error}.") from None
    top = _attributes(fetch, "fetch", "top").get("top")
    entities = list(fetch)
    if len(entities) != 1 or _attributes(entities[0], "entity", "name").get("name") != table.logical_name:
        raise ODataError(f"The FetchXML of the view is not about '{table.logical_name}'.")
    select: list[str] | None = []
    conditions: list[Expression] = []
    order: list[Order] = []
    for node in entities[0]:
        if node.tag == "attribute":
            name = wire_name(_column(table, _attributes(node, "attribute", "name").get("name", "")))
            if select is not None:
                select.append(name)
        elif node.tag == "all-attributes":
            select = None
        elif node.tag == "order":
            order.append(_order(table, node))
        elif node.tag == "filter":
            conditions += _filter(table, node)
        else:
            raise refuse("emulator.not_implemented", f"<{node.tag}> in the FetchXML of a view")
    where = conditions[0] if len(conditions) == 1 else Logical("and", tuple(conditions)) if conditions else None
    chosen = None if select is None else tuple(select or [table.primary_id])
    return Query(chosen, where, tuple(order), top=int(top) if top and top.isdigit() else None)


def _attributes(node: ET.Element, tag: str, *known: str) -> dict[str, str]:
    if node.tag != tag:
        raise ODataError(f"The FetchXML of the view has <{node.tag}> where <{tag}> is expected.")
    for name in node.attrib:
        if name not in known and name not in _MEANINGLESS[tag]:
            raise refuse("emulator.not_implemented", f"{name} of <{tag}> in the FetchXML of a view")
    return dict(node.attrib)


def _column(table: Table, name: str) -> Column:
    if name not in table.columns:
        raise no_property(name, table)
    return table.columns[name]


def _order(table: Table, node: ET.Element) -> Order:
    attributes = _attributes(node, "order", "attribute", "descending")
    column = _column(table, attributes.get("attribute", ""))
    return Order(Path((wire_name(column),)), attributes.get("descending", "false") in ("true", "1"))


def _filter(table: Table, node: ET.Element) -> list[Expression]:
    """Return the one expression that a filter is, none when it is empty."""
    operator = _attributes(node, "filter", "type").get("type", "and")
    if operator not in ("and", "or"):
        raise ODataError(f"A filter of FetchXML is of type and or or, not '{operator}'.")
    operands: list[Expression] = []
    for child in node:
        operands += _filter(table, child) if child.tag == "filter" else [_condition(table, child)]
    return operands if len(operands) < 2 else [Logical(operator, tuple(operands))]  # one needs no operator


def _condition(table: Table, node: ET.Element) -> Expression:
    attributes = _attributes(node, "condition", "attribute", "operator", "value")
    column, operator = _column(table, attributes.get("attribute", "")), attributes.get("operator", "")
    for child in node:
        _attributes(child, "value")
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
    raise refuse("emulator.not_implemented", f"the condition operator '{operator}' with {len(values)} values in a view")


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
        raise refuse("emulator.not_implemented", "the condition operator 'like' without % at an end in a view")
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
        raise ODataError(f"'{text}' is no value for '{column.name}' in the FetchXML of the view.") from None
    return Literal(LiteralKind.DATE if len(text) == len("2026-01-31") else LiteralKind.DATETIME, text)
