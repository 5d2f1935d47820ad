"""FetchXML: as a query (`fetchXml`), and of the saved views that `savedQuery` and `userQuery` name.

Columns, order, filters, links to other tables of the slice (inner and outer, with columns and filters of their own) and
pages are understood. Aggregates, other links and every operator without a counterpart in `$filter` are refused by name.

Source: powerapps-docs, retrieve-and-execute-predefined-queries, page-results (FetchXML); FetchXML reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from connector.emulator.api.fetch_parts import DEEPEST, attributes_of, column_named, filter_of, order_of
from connector.emulator.api.operation import ApiRequest
from connector.emulator.api.plans import ReadPlan, make_plan
from connector.emulator.api.preferences import LARGEST_PAGE
from connector.emulator.api.rows import Annotations, FetchedRow, Json, wanted_columns, wire_name
from connector.emulator.odata.expressions import Expression, Logical, Order, Query
from connector.emulator.odata.functions import QueryContext
from connector.emulator.odata.lexer import ODataError
from connector.emulator.odata.sql import SqlCondition, compile_filter
from connector.emulator.rules.rule import refuse
from connector.emulator.world.schema import Kind, Schema, Table
from connector.emulator.world.store import Store, Value

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET

OPTIONS = {"savedQuery": "savedquery", "userQuery": "userquery"}
"""The options that execute a view, and the tables that hold them."""

FETCH = "fetchXml"


@dataclass(frozen=True, slots=True)
class FetchQuery:
    """A query in FetchXML as the read it becomes: its plan, and the tables that are joined to it.

    `linked` says which fetched expressions are columns of linked tables: key, place, whether a boolean. `size` is the
    number of rows of a page, None for what the request asks for; `paged` tells a query from a view.
    """

    plan: ReadPlan
    joins: str
    conditions: tuple[SqlCondition, ...]
    linked: tuple[tuple[str, int, bool], ...]
    tables: frozenset[str]
    page: int
    size: int | None
    paged: bool

    def joined(self, source: str) -> str:
        """Return FROM and WHERE with the linked tables in it."""
        return source.replace(" t WHERE", f" t {self.joins} WHERE", 1)

    def bound(self, context: QueryContext) -> list[Value]:
        """Return the parameters of the joins, which come first."""
        return [value for condition in self.conditions for value in condition.bound(context)]

    def rendered(self, out: Json, row: FetchedRow) -> Json:
        """Return the JSON of a row with the linked columns; properties without a value are left out (documented)."""
        for key, at, boolean in self.linked:
            out[key] = bool(row[at]) if boolean and row[at] is not None else row[at]
        return {name: value for name, value in out.items() if value is not None}


def fetch_of(request: ApiRequest, schema: Schema, store: Store, table: Table, annotations: Annotations) -> FetchQuery:
    """Return the query that the options of `request` hold or name, over `table`. Raises Refused, ODataError."""
    request.options.allow(*OPTIONS, FETCH, "$skiptoken")
    request.options.allow_aliases(set())
    values = request.options.values
    named = [name for name in (*OPTIONS, FETCH) if name in values]
    if len(named) > 1:
        raise ODataError(f"The query options {' and '.join(named)} cannot be used together.")
    if named == [FETCH]:
        return _Reader(schema, table, annotations).fetch(values[FETCH], paged=True)
    holder, key = OPTIONS[named[0]], values[named[0]].strip("{} ").lower()
    row = store.get(holder, key, ("returnedtypecode", "fetchxml"))
    if row is None:
        raise refuse("row.missing", schema.tables[holder].schema_name, key)
    if row["returnedtypecode"] != table.logical_name:
        raise ODataError(f"The view '{key}' is one of '{row['returnedtypecode']}', not of '{table.logical_name}'.")
    return _Reader(schema, table, annotations).fetch(str(row["fetchxml"] or ""), paged=False)


def _scope(table: Table, query: Query) -> str:
    """Return what a context says of a view: a lookup stands with its navigation property (Web API query sample)."""
    names = []
    for column in wanted_columns(table, query.select):
        names += [wire_name(column), column.name] if column.name in table.lookups else [wire_name(column)]
    return f"({','.join(names)})"


class _Reader:
    """Reads one query; joins, their conditions and the columns of linked tables gather on the way."""

    def __init__(self, schema: Schema, table: Table, annotations: Annotations) -> None:
        self._schema = schema
        self._table = table
        self._annotations = annotations
        self._joins: list[str] = []
        self._conditions: list[SqlCondition] = []
        self._linked: list[tuple[str, str, bool]] = []
        self._tables: set[str] = set()

    def fetch(self, text: str, *, paged: bool) -> FetchQuery:
        """Return what a text in FetchXML asks for. Raises ODataError and Refused for what is not understood."""
        import xml.etree.ElementTree as ET

        try:
            fetch = ET.fromstring(text)  # noqa: S314 - expat bounds what entities expand to
        except ET.ParseError as error:
            raise ODataError(f"The FetchXML could not be read: {error}.") from None
        attributes = attributes_of(fetch, "fetch", "top", "count", "page", "paging-cookie", "returntotalrecordcount")
        entities = list(fetch)
        name = attributes_of(entities[0], "entity", "name").get("name") if len(entities) == 1 else None
        if name != self._table.logical_name:
            raise ODataError(f"The FetchXML is not about '{self._table.logical_name}'.")
        query = self._query(entities[0])
        top, count, page = (_number(attributes, key) for key in ("top", "count", "page"))
        if top is not None and (count is not None or page is not None):
            raise ODataError("The FetchXML has top together with count or page.")
        total = attributes.get("returntotalrecordcount", "false") in ("true", "1")
        plan = make_plan(self._schema, self._table, replace(query, top=top, count=total), self._annotations)
        linked = tuple((key, plan.projection.fetch_also(sql), boolean) for key, sql, boolean in self._linked)
        return FetchQuery(
            replace(plan, scope=_scope(self._table, query)),
            " ".join(self._joins),
            tuple(self._conditions),
            linked,
            frozenset(self._tables),
            page or 1,
            count,
            paged,
        )

    def _query(self, entity: ET.Element) -> Query:
        table = self._table
        select: list[str] | None = []
        conditions: list[Expression] = []
        order: list[Order] = []
        for node in entity:
            if node.tag == "attribute":
                name = wire_name(column_named(table, attributes_of(node, "attribute", "name").get("name", "")))
                if select is not None:
                    select.append(name)
            elif node.tag == "all-attributes":
                select = None
            elif node.tag == "order":
                order.append(order_of(table, node))
            elif node.tag == "filter":
                conditions += filter_of(table, node)
            elif node.tag == "link-entity":
                self._link(node, table, "t", 1)
            else:
                raise refuse("emulator.not_implemented", f"<{node.tag}> in FetchXML")
        chosen = None if select is None else tuple(select or [table.primary_id])
        return Query(chosen, _all_of(conditions), tuple(order))

    def _link(self, node: ET.Element, parent: Table, parent_alias: str, depth: int) -> None:
        """Join one linked table, what is linked to it included."""
        attributes = attributes_of(node, "link-entity", "name", "from", "to", "alias", "link-type")
        kind, name = attributes.get("link-type", "inner"), attributes.get("name", "")
        if kind not in ("inner", "outer") or name not in self._schema.tables or depth > DEEPEST:
            raise refuse("emulator.not_implemented", f"a link of type '{kind}' to '{name}' in FetchXML")
        table, alias = self._schema.tables[name], f"l{len(self._joins)}"
        near, far = column_named(parent, attributes.get("to", "")), column_named(table, attributes.get("from", ""))
        tests = [f'{alias}."{far.name}" = {parent_alias}."{near.name}"']
        for column, place, other in ((near, parent_alias, table), (far, alias, parent)):
            if column.polymorphic:
                tests.append(f"{place}.\"{column.name}_type\" = '{other.logical_name}'")
        at = len(self._joins)
        self._joins.append("")
        self._tables.add(name)
        where = self._linked_columns(node, table, alias, attributes.get("alias") or f"{name}{at + 1}")
        if where is not None:
            compiled = compile_filter(self._schema, table, where, alias, self._annotations.closed)
            tests.append(compiled.sql)
            self._conditions.append(compiled)
        self._joins[at] = f'{"" if kind == "inner" else "LEFT "}JOIN "{name}" {alias} ON {" AND ".join(tests)}'
        for child in node:
            if child.tag == "link-entity":
                self._link(child, table, alias, depth + 1)

    def _linked_columns(self, node: ET.Element, table: Table, alias: str, shown: str) -> Expression | None:
        """Note the columns of a linked table, and return the condition on its rows."""
        conditions: list[Expression] = []
        for child in node:
            if child.tag == "attribute":
                column = column_named(table, attributes_of(child, "attribute", "name").get("name", ""))
                secured = (table.logical_name, column.name) in self._annotations.closed
                sql = "NULL" if secured else f'{alias}."{column.name}"'
                self._linked.append((f"{shown}.{column.name}", sql, column.kind is Kind.BOOLEAN))
            elif child.tag == "filter":
                conditions += filter_of(table, child)
            elif child.tag != "link-entity":
                raise refuse("emulator.not_implemented", f"<{child.tag}> in a link of FetchXML")
        return _all_of(conditions)


def _all_of(conditions: list[Expression]) -> Expression | None:
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    return Logical("and", tuple(conditions))


def _number(attributes: Mapping[str, str], name: str) -> int | None:
    text = attributes.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) <= LARGEST_PAGE * 100_000:
        raise ODataError(f"The {name} of the FetchXML is a whole number from 1 up, not '{text}'.")
    return int(text[:9])
