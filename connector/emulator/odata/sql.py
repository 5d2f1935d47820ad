"""Compiles the tree of a filter into SQL over the store, with every value bound and negation pushed to the leaves.

A comparison with null behaves as the Web API's does: `ne` holds for rows without a value, and `not` turns that around;
SQL's third truth value never shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connector.emulator.odata.expressions import (
    Comparison,
    Expression,
    Lambda,
    Literal,
    LiteralKind,
    Logical,
    Not,
    Order,
    Path,
    QueryFunction,
    TextMatch,
)
from connector.emulator.odata.functions import LateValue, QueryContext, Value, query_function
from connector.emulator.odata.lexer import ODataError
from connector.emulator.odata.values import ID_KINDS, TEXT, fold, incompatible, moment_text, stored, wildcard
from connector.emulator.rules.rule import refuse
from connector.emulator.world.schema import Collection, Column, Kind, Lookup, Schema, Table

Closed = frozenset[tuple[str, str]]
"""Columns, as (table, column), that the caller may not read, and therefore not ask about either."""
_SQL = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_OPPOSITE = {"eq": "ne", "ne": "eq", "gt": "le", "ge": "lt", "lt": "ge", "le": "gt"}
_TEXT_TYPES = frozenset({"Edm.String", "Edm.Guid", "Edm.Date", "Edm.DateTimeOffset"})
_FLAT = 8
_LONGEST_PATTERN = 10_000
_ROUNDED = {"ge": "gt", "lt": "le"}  # against a moment whose fraction of a second was cut off


@dataclass(frozen=True, slots=True)
class SqlCondition:
    """A piece of SQL and its parameters; a Late parameter is computed when it is asked."""

    sql: str
    parameters: tuple[Value | LateValue, ...] = ()

    def bound(self, asker: QueryContext) -> list[Value]:
        """Return the parameters as they are for this asker."""
        return [parameter(asker) if callable(parameter) else parameter for parameter in self.parameters]


@dataclass(frozen=True, slots=True)
class AliasedTable:
    """A table under an alias, at which names are looked up."""

    alias: str
    table: Table


def no_property(name: str, table: Table) -> ODataError:
    """Return the refusal of a property that the table does not have, in the words of the service."""
    return ODataError(
        f"Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.{table.logical_name}'."
    )


def column_of(table: Table, name: str) -> Column:
    """Return the column that the wire name `name` means (`_x_value` for a lookup). Raises ODataError."""
    if name.startswith("_") and name.endswith("_value"):
        column = table.columns.get(name[1:-6])
        if column is not None and column.is_lookup:
            return column
        raise no_property(name, table)
    column = table.columns.get(name)
    if column is None or column.is_lookup or column.hidden:
        raise no_property(name, table)
    return column


def joined(schema: Schema, place: AliasedTable, lookup: Lookup, alias: str) -> str:
    """Return the FROM and WHERE of the row that `lookup` leads to from `place`."""
    target = schema.tables[lookup.target]
    column = place.table.columns[lookup.column]
    sql = f'FROM "{target.logical_name}" {alias} WHERE {alias}."{target.primary_id}" = {place.alias}."{lookup.column}"'
    if column.polymorphic:
        sql += f" AND {place.alias}.\"{lookup.column}_type\" = '{lookup.target}'"
    return sql


def related(schema: Schema, place: AliasedTable, collection: Collection, alias: str) -> str:
    """Return the FROM and WHERE of the rows of `collection` at `place`."""
    target = schema.tables[collection.table]
    own = f'{place.alias}."{place.table.primary_id}"'
    if collection.association is not None:
        link = collection.association
        return (
            f'FROM "{target.logical_name}" {alias} WHERE {alias}."{target.primary_id}" IN '
            f'(SELECT "{link.far}" FROM "{link.table}" WHERE "{link.near}" = {own})'
        )
    sql = f'FROM "{target.logical_name}" {alias} WHERE {alias}."{collection.column}" = {own}'
    if target.columns[collection.column].polymorphic:
        sql += f" AND {alias}.\"{collection.column}_type\" = '{place.table.logical_name}'"
    return sql


class FilterCompiler:
    """Compiles expressions over one table; parameters gather in the order in which they stand in the text."""

    __slots__ = ("_closed", "_count", "_schema", "parameters")

    def __init__(self, schema: Schema, closed: Closed = frozenset()) -> None:
        self._schema = schema
        self._closed = closed
        self._count = 0
        self.parameters: list[Value | LateValue] = []

    def expression(
        self, node: Expression, place: AliasedTable, variables: Mapping[str, AliasedTable], *, negated: bool
    ) -> str:
        """Return the SQL of `node`, or of its negation."""
        match node:
            case Logical():
                word = node.operator if not negated else ("or" if node.operator == "and" else "and")
                parts = [self.expression(operand, place, variables, negated=negated) for operand in node.operands]
                return _balanced(parts, word.upper())
            case Not():
                return self.expression(node.operand, place, variables, negated=not negated)
            case Comparison():
                return self._comparison(node, place, variables, negated=negated)
            case TextMatch():
                return self._text(node, place, variables, negated=negated)
            case QueryFunction():
                sql, column = self._attribute(node.path, place, variables)
                return query_function(node, sql, column, self.parameters, negated=negated)
            case Lambda():
                return self._lambda(node, place, variables, negated=negated)

    def _attribute(self, path: Path, place: AliasedTable, variables: Mapping[str, AliasedTable]) -> tuple[str, Column]:
        """Return the SQL and column of a query function's property: it goes by its logical name, a lookup too.

        Source: a recorded answer to `In(PropertyName='_opportunityid_value', ...)`, which has no such attribute.
        """
        if len(path.segments) > 1:
            return self.column(path, place, variables)
        column = place.table.columns.get(path.segments[0])
        if column is None:
            named = f"'{place.table.schema_name}' entity doesn't contain attribute with Name = '{path.segments[0]}'"
            raise ODataError(f"{named}.")
        return self._readable(place, column)

    def column(self, path: Path, place: AliasedTable, variables: Mapping[str, AliasedTable]) -> tuple[str, Column]:
        """Return the SQL of the value at the end of `path`, and its column. Raises ODataError."""
        segments = path.segments
        if segments[0] in variables and len(segments) > 1:
            place, segments = variables[segments[0]], segments[1:]
        if len(segments) == 1:
            return self._readable(place, column_of(place.table, segments[0]))
        lookup = place.table.lookups.get(segments[0])
        if lookup is None or lookup.target not in self._schema.tables:
            raise no_property(segments[0], place.table)
        inner = AliasedTable(self._alias(), self._schema.tables[lookup.target])
        sql, column = self.column(Path(segments[1:]), inner, {})
        return f"(SELECT {sql} {joined(self._schema, place, lookup, inner.alias)})", column

    def _readable(self, place: AliasedTable, column: Column) -> tuple[str, Column]:
        if (place.table.logical_name, column.name) in self._closed:
            raise refuse("column.secured_query")
        return f'{place.alias}."{column.name}"', column

    def _alias(self) -> str:
        self._count += 1
        return f"n{self._count}"

    def _comparison(
        self, node: Comparison, place: AliasedTable, variables: Mapping[str, AliasedTable], *, negated: bool
    ) -> str:
        operator = _OPPOSITE[node.operator] if negated else node.operator
        if isinstance(node.left, Literal):
            raise ODataError("The left side of a comparison must be a property.")
        sql, column = self.column(node.left, place, variables)
        if isinstance(node.right, Path):
            other, second = self.column(node.right, place, variables)
            return _columns(sql, column, other, second, node.operator, negated=negated)
        if node.right.kind is LiteralKind.NULL:
            if node.operator not in ("eq", "ne"):
                raise incompatible(column, node.right, node.operator)
            return f"{sql} IS NULL" if operator == "eq" else f"{sql} IS NOT NULL"
        return self._with_value(sql, column, node.right, operator, negated=negated)

    def _with_value(self, sql: str, column: Column, literal: Literal, operator: str, *, negated: bool) -> str:
        if operator not in ("eq", "ne") and (column.kind in ID_KINDS or column.kind is Kind.BOOLEAN):
            raise incompatible(column, literal, operator)
        value = stored(column, literal, operator)
        if column.kind is Kind.DATETIME and literal.kind is LiteralKind.DATETIME and moment_text(str(literal.value))[1]:
            if operator in ("eq", "ne"):
                return "0" if operator == "eq" else "1"
            operator = _ROUNDED.get(operator, operator)
        if column.kind in TEXT:
            sql, value = f"fold({sql})", fold(str(value)) or ""
        self.parameters.append(value)
        test = f"{sql} {_SQL[operator]} ?"
        # What is not there is unequal to everything, and neither less nor greater than anything.
        return f"({test} OR {sql} IS NULL)" if operator == "ne" or (negated and operator != "eq") else test

    def _text(
        self, node: TextMatch, place: AliasedTable, variables: Mapping[str, AliasedTable], *, negated: bool
    ) -> str:
        sql, column = self.column(node.path, place, variables)
        if column.kind not in TEXT:
            raise ODataError(
                f"No function signature for the function with name '{node.function}' matches the specified arguments. "
                f"The function signatures considered are: {node.function}"
                "(Edm.String Nullable=true, Edm.String Nullable=true)."
            )
        if len(node.text) > _LONGEST_PATTERN:
            raise ODataError(f"The text of {node.function} is longer than {_LONGEST_PATTERN} characters.")
        self.parameters.append(wildcard(node.text, node.function))
        test = f"fold({sql}) GLOB ?"
        return f"(NOT {test} OR {sql} IS NULL)" if negated else test

    def _lambda(
        self, node: Lambda, place: AliasedTable, variables: Mapping[str, AliasedTable], *, negated: bool
    ) -> str:
        segments = node.path.segments
        if segments[0] in variables and len(segments) > 1:
            place, segments = variables[segments[0]], segments[1:]
        if len(segments) != 1 or segments[0] not in place.table.collections:
            raise no_property(segments[0], place.table)
        collection = place.table.collections[segments[0]]
        inner = AliasedTable(self._alias(), self._schema.tables[collection.table])
        sql = f"SELECT 1 {related(self._schema, place, collection, inner.alias)}"
        every = node.quantifier == "all"
        if node.body is not None:
            if node.variable in variables:
                raise ODataError(f"The range variable '{node.variable}' has already been declared.")
            scope = {**variables, node.variable: inner}
            sql += f" AND {self.expression(node.body, inner, scope, negated=every)}"
        return f"{'NOT ' if every != negated else ''}EXISTS ({sql})"

    def order(self, term: Order, place: AliasedTable) -> tuple[str, bool]:
        """Return what a term of $orderby sorts by, a lookup by the primary name of its row (order-rows).

        With it, whether that is text, as ids and dates are too.
        """
        sql, column = self.column(term.path, place, {})
        if column.kind in TEXT:
            return f"fold({sql})", True
        if column.is_lookup and len(term.path.segments) == 1:
            return f"fold({name_of(self._schema, place, column)})", True
        return sql, column.kind.edm in _TEXT_TYPES


def name_of(schema: Schema, place: AliasedTable, column: Column) -> str:
    """Return the SQL of the primary name of the row that a lookup column points at."""
    names = []
    for target in (schema.tables[target] for target in column.targets if target in schema.tables):
        lookup = Lookup("", column.name, target.logical_name)
        names.append(f'(SELECT m."{target.primary_name}" {joined(schema, place, lookup, "m")})')
    if not names:
        return "NULL"
    return names[0] if len(names) == 1 else f"coalesce({', '.join(names)})"


def _balanced(parts: Sequence[str], word: str) -> str:
    """Join tests so that the tree SQLite makes of them stays shallow: it takes no more than 1,000 levels."""
    if len(parts) <= _FLAT:
        return f"({f' {word} '.join(parts)})"
    middle = len(parts) // 2
    return f"({_balanced(parts[:middle], word)} {word} {_balanced(parts[middle:], word)})"


def _columns(sql: str, column: Column, other: str, second: Column, operator: str, *, negated: bool) -> str:
    if column.kind.edm != second.kind.edm:
        raise ODataError(
            "A binary operator with incompatible types was detected. Found operand types "
            f"'{column.kind.edm}' and '{second.kind.edm}' for operator kind 'Equal'."
        )
    if column.kind in TEXT:
        sql, other = f"fold({sql})", f"fold({other})"
    if operator in ("eq", "ne"):
        return f"{sql} {'IS' if (operator == 'eq') != negated else 'IS NOT'} {other}"
    test = f"coalesce({sql} {_SQL[operator]} {other}, 0)"
    return f"NOT {test}" if negated else test


def compile_filter(
    schema: Schema, table: Table, node: Expression, alias: str = "t", closed: Closed = frozenset()
) -> SqlCondition:
    """Return the SQL condition that `node` puts on rows of `table`. Raises ODataError, Refused for `closed` columns."""
    compiler = FilterCompiler(schema, closed)
    place = AliasedTable(alias, table)
    sql = compiler.expression(node, place, {}, negated=False)
    return SqlCondition(sql, tuple(compiler.parameters))


def compile_order(
    schema: Schema, table: Table, terms: tuple[Order, ...], alias: str = "t", closed: Closed = frozenset()
) -> list[tuple[str, bool]]:
    """Return what to sort by, each with whether it is text. Raises ODataError, Refused for a `closed` column."""
    compiler = FilterCompiler(schema, closed)
    return [compiler.order(term, AliasedTable(alias, table)) for term in terms]
