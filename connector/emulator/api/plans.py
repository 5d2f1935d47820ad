"""Turns the options of a read into a plan: what to fetch, under which condition, in which order, what to expand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote

from connector.emulator.api.paging import SortKey
from connector.emulator.api.rows import Annotations, Projection
from connector.emulator.odata.expressions import Expand, Order, Query
from connector.emulator.odata.lexer import ODataError
from connector.emulator.odata.parse import OPTION_RULES, parse_option, query_of, whole_number
from connector.emulator.odata.path import Options
from connector.emulator.odata.sql import (
    AliasedTable,
    Closed,
    SqlCondition,
    compile_filter,
    compile_order,
    no_property,
    related,
)
from connector.emulator.rules.rule import refuse
from connector.emulator.world.schema import Collection, Kind, Lookup, Schema, Table

MOST_EXPANDS = 15
"""Expand options in one query (join-tables.md)."""

READ_OPTIONS = ("$select", "$filter", "$orderby", "$expand", "$top", "$count", "$skiptoken")
ROW_OPTIONS = ("$select", "$expand")
OWNER_ID = "ownerid"


@dataclass(frozen=True, slots=True)
class Expansion:
    """One expanded navigation property: what leads to it, and the plan of its rows.

    `at` and `type_at` say where the fetched parent row holds the lookup's id and table (or its own id, for a
    collection). `reference` asks for addresses only. `options` is the query string of a next link.
    """

    name: str
    lookup: Lookup | None
    collection: Collection | None
    plan: ReadPlan
    at: int
    type_at: int
    reference: bool
    options: str
    principal: bool = False


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """How to answer one read of rows of `table`.

    `scope` is what a context address says in parentheses. `order` ends with the primary key, so that it is total;
    `sort_at` says where a fetched row holds what it is sorted by.
    """

    table: Table
    projection: Projection
    condition: SqlCondition | None
    order: tuple[SortKey, ...]
    sort_at: tuple[int, ...]
    expansions: tuple[Expansion, ...]
    top: int | None
    count: bool
    scope: str
    alias: str = "t"

    @property
    def select(self) -> str:
        """The SELECT list."""
        return ", ".join(self.projection.expressions)

    @property
    def order_by(self) -> str:
        """The ORDER BY list."""
        return ", ".join(f"{key.sql} DESC" if key.descending else key.sql for key in self.order)


def read_query(options: Options, allowed: tuple[str, ...]) -> Query:
    """Return the parsed options of a read; raises ODataError unless every option and alias was understood and used."""
    options.allow(*allowed)
    values, used = options.values, set[str]()
    by_rule = [name for name in OPTION_RULES if name in values and name != "$top"]
    read: dict[str, object] = {name: parse_option(name, values[name], options.aliases, used) for name in by_rule}
    if "$top" in values:
        read["$top"] = whole_number("$top", values["$top"])
    if "$count" in values:
        read["$count"] = _true_or_false(values["$count"])
    options.allow_aliases(used)
    return query_of(read, values)


def _true_or_false(text: str) -> bool:
    if text not in ("true", "false"):
        raise ODataError(f"Invalid value '{text}' for $count query option found. Valid values are 'true' and 'false'.")
    return text == "true"


def make_plan(schema: Schema, table: Table, query: Query, annotations: Annotations, alias: str = "t") -> ReadPlan:
    """Return the plan of a parsed query over `table`. Raises ODataError for what the table does not have."""
    projection = Projection(schema, table, query.select, annotations, alias)
    closed = annotations.closed
    condition = compile_filter(schema, table, query.filter, alias, closed) if query.filter is not None else None
    order = _order(schema, table, query.orderby, alias, closed)
    sort_at = tuple(projection.fetch_also(key.sql) for key in order)
    if _expands(query) > MOST_EXPANDS:
        raise ODataError(f"The number of $expand options exceeds the limit of {MOST_EXPANDS}.")
    names = [expand.navigation for expand in query.expand]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ODataError(f"The navigation property '{twice[0]}' is expanded more than once.")
    nested = alias != "t" or any(expand.query.expand for expand in query.expand)
    expansions = tuple(
        _expansion(schema, projection, expand, annotations, alias, nested=nested) for expand in query.expand
    )
    return ReadPlan(
        table,
        projection,
        condition,
        order,
        sort_at,
        expansions,
        query.top,
        query.count,
        _scope(query, expansions),
        alias,
    )


def _expands(query: Query) -> int:
    return sum(1 + _expands(expand.query) for expand in query.expand)


def _order(schema: Schema, table: Table, terms: tuple[Order, ...], alias: str, closed: Closed) -> tuple[SortKey, ...]:
    keys: list[SortKey] = []
    for term, (sql, text) in zip(terms, compile_order(schema, table, terms, alias, closed), strict=True):
        keys.append(SortKey(".".join(term.path.segments), sql, term.descending, text))
    key = f'{alias}."{table.primary_id}"'
    if not any(sort_key.sql == key for sort_key in keys):
        keys.append(SortKey(table.primary_id, key, descending=False, text=True))
    return tuple(keys)


def _scope(query: Query, expansions: tuple[Expansion, ...]) -> str:
    parts = [] if query.select is None else list(query.select)
    for expansion in expansions:
        inner = "/$ref()" if expansion.reference else f"({expansion.plan.scope[1:-1]})"
        parts += [expansion.name] * expansion.reference + [f"{expansion.name}{inner}"]
    return f"({','.join(parts)})" if parts else ""


def _expansion(
    schema: Schema, projection: Projection, expand: Expand, annotations: Annotations, alias: str, *, nested: bool
) -> Expansion:
    """Return one expansion; `nested` is whether any of the query has one inside it (join-tables). Raises Refused."""
    table = projection.table
    lookup, collection = table.lookups.get(expand.navigation), table.collections.get(expand.navigation)
    target = lookup.target if lookup else collection.table if collection else ""
    if target not in schema.tables:
        raise no_property(expand.navigation, table)
    if (lookup is not None or nested) and not expand.query.given.isdisjoint(("$orderby", "$top")):
        raise refuse("expand.options")
    if lookup is None and expand.reference:
        raise refuse("expand.reference")
    if lookup is not None:
        if "$filter" in expand.query.given:
            raise refuse("emulator.not_implemented", "$filter in an expand of a lookup")
        if table.columns[lookup.column].kind is Kind.OWNER:
            return _principal(schema, projection, expand, annotations, alias)
        at = projection.fetch_also(f'{alias}."{lookup.column}"')
        polymorphic = table.columns[lookup.column].polymorphic
        type_at = projection.fetch_also(f'{alias}."{lookup.column}_type"') if polymorphic else 0
    else:
        at, type_at = projection.fetch_also(f'{alias}."{table.primary_id}"'), 0
    plan = make_plan(schema, schema.tables[target], expand.query, annotations, "x")
    options = "&".join(quote(part, safe="$=,()'/:@*") for part in _split_options(expand.options))
    return Expansion(expand.navigation, lookup, collection, plan, at, type_at, expand.reference, options)


def _principal(
    schema: Schema, projection: Projection, expand: Expand, annotations: Annotations, alias: str
) -> Expansion:
    """Return the expansion of an owner: a principal, of which only `ownerid` is known ($metadata)."""
    for name in (*(expand.query.select or ()), *(inner.navigation for inner in expand.query.expand)):
        if name != OWNER_ID:
            raise ODataError(f"Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.principal'.")
    lookup = projection.table.lookups[expand.navigation]
    at = projection.fetch_also(f'{alias}."{lookup.column}"')
    plan = make_plan(schema, schema.tables[lookup.target], Query(), annotations, "x")
    plan = replace(plan, scope=f"({OWNER_ID})")
    return Expansion(expand.navigation, lookup, None, plan, at, 0, expand.reference, "", principal=True)


def _split_options(text: str) -> list[str]:
    """Split `$select=a;$filter=contains(b,';')` at its top-level semicolons."""
    parts, depth, quoted, begin = [], 0, False, 0
    for position, character in enumerate(text):
        if character == "'":
            quoted = not quoted
        elif not quoted and character in "()":
            depth += 1 if character == "(" else -1
        elif character == ";" and not quoted and depth == 0:
            parts.append(text[begin:position])
            begin = position + 1
    return [part for part in [*parts, text[begin:]] if part]


def related_rows(schema: Schema, parent: Table, collection: Collection, alias: str = "t") -> str:
    """Return FROM and WHERE of the rows of a collection, the parent's id bound as the first parameter."""
    sql = related(schema, AliasedTable("parent", parent), collection, alias)
    return sql.replace(f'parent."{parent.primary_id}"', "?")
