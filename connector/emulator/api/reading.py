"""Reads: one row, a property, addresses, collections with paging and counts, and what is expanded in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import unquote_plus

from connector.emulator.api.ask import VERSION, Ask, applied, ok
from connector.emulator.api.paging import FIRST_PAGE, Cookie, beyond, next_token, read_token
from connector.emulator.api.plans import (
    READ_OPTIONS,
    ROW_OPTIONS,
    Expansion,
    Plan,
    make_plan,
    read_query,
    related_rows,
)
from connector.emulator.api.preferences import LARGEST_PAGE, METADATA_VERSION, TOTAL, TOTAL_EXCEEDED
from connector.emulator.api.rows import Annotations, Fetched, Json, wire_name
from connector.emulator.api.views import OPTIONS, view_plan
from connector.emulator.odata.options import Options
from connector.emulator.odata.sql import column_of
from connector.emulator.odata.tokens import ODataError
from connector.emulator.rules.rule import refuse
from connector.emulator.world.schema import Collection, Kind, Lookup, Schema, Table
from connector.emulator.world.store import Value
from connector.emulator.world.world import World
from connector.handler import Response

MOST_COUNTED = 5000
"""What a count is capped at (count-rows.md)."""
_PLANS_KEPT = 2000


class Reading:
    """Answers GET for rows of `schema`; plans are remembered by table, query string and annotations."""

    def __init__(self, world: World, schema: Schema) -> None:
        self._world = world
        self._schema = schema
        self._store = world.store
        self._plans: dict[tuple[str, str, Annotations, bool], Plan] = {}

    def plan(self, ask: Ask, table: Table, *, row: bool) -> Plan:
        """Return the plan of a read and check the caller's right to every table in it. Raises ODataError, Refused."""
        annotations = Annotations.of(ask.preferences)
        key = (table.logical_name, ask.query, annotations, row)
        plan = self._plans.get(key)
        if plan is None:
            query = read_query(ask.options, ROW_OPTIONS if row else READ_OPTIONS)
            plan = make_plan(self._schema, table, query, annotations)
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.clear()
            if "$skiptoken" not in ask.options.values:
                self._plans[key] = plan
        self._check(ask, plan)
        return plan

    def _view(self, ask: Ask, table: Table) -> Plan:
        """Return the plan of the saved view that the options name. Raises ODataError, Refused."""
        for name, holder in OPTIONS.items():
            if name in ask.options.values:
                self._world.check_read(ask.caller, holder)
        self._world.check_read(ask.caller, table.logical_name)
        return view_plan(ask, self._schema, self._store, table)

    def _check(self, ask: Ask, plan: Plan) -> None:
        self._world.check_read(ask.caller, plan.table.logical_name)
        for one in plan.expansions:
            self._check(ask, one.plan)

    # --- one row ------------------------------------------------------------------------------------------------

    def row(self, ask: Ask, table: Table, key: str) -> Response:
        """Answer GET of one row, with ETag and If-None-Match."""
        ask.about("Retrieve", table.logical_name, key)
        plan = self.plan(ask, table, row=True)
        found = self.fetch(plan, key)
        etag = str(found[0])
        if self._not_modified(ask, plan, etag):
            return Response(304, (VERSION, ("ETag", etag)))
        context = {"@odata.context": ask.context(f"{table.entity_set}{plan.scope}/$entity")}
        body = context | self.render(ask, plan, found)
        return ok(body, ("ETag", etag), *applied(ask.preferences, "annotations"))

    def fetch(self, plan: Plan, key: str) -> Fetched:
        """Return the fetched row with this id; raises Refused (404)."""
        table = plan.table
        sql = f'SELECT {plan.select} FROM "{table.logical_name}" t WHERE t."{table.primary_id}" = ?'
        found = self._store.rows(sql, (key,))
        if not found:
            raise refuse("row.missing", table.schema_name, key)
        return found[0]

    @staticmethod
    def _not_modified(ask: Ask, plan: Plan, etag: str) -> bool:
        """Whether If-None-Match holds; never with $expand or annotations (perform-conditional-operations)."""
        given = ask.headers.get("if-none-match")
        if given is None or given == "null" or plan.expansions or ask.preferences.annotations:
            return False
        return given == "*" or etag in [one.strip() for one in given.split(",")]

    def property(self, ask: Ask, table: Table, key: str, name: str, *, raw: bool) -> Response:
        """Answer GET of one property, as JSON or (`/$value`) as text; 204 when it has no value."""
        ask.about("Retrieve", table.logical_name, key)
        ask.options.allow()
        self._world.check_read(ask.caller, table.logical_name)
        column = column_of(table, name)
        found = self._store.get(table.logical_name, key, (column.name,))
        if found is None:
            raise refuse("row.missing", table.schema_name, key)
        value: object = found[column.name]
        if value is None:
            return Response(204, (VERSION,))
        if column.kind is Kind.BOOLEAN:
            value = bool(value)
        if raw:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            return Response(200, (("Content-Type", "text/plain"), VERSION), text.encode())
        return ok({"@odata.context": ask.context(f"{table.entity_set}({key})/{wire_name(column)}"), "value": value})

    # --- navigation -----------------------------------------------------------------------------------------------

    def single(self, ask: Ask, table: Table, key: str, lookup: Lookup, *, reference: bool) -> Response:
        """Answer GET of the row that a lookup leads to, or of its address; 204 when it leads nowhere."""
        self._world.check_read(ask.caller, table.logical_name)
        column = table.columns[lookup.column]
        columns = (lookup.column, f"{lookup.column}_type") if column.polymorphic else (lookup.column,)
        found = self._store.get(table.logical_name, key, columns)
        if found is None:
            raise refuse("row.missing", table.schema_name, key)
        leads = found[lookup.column]
        if leads is None or (column.polymorphic and found[f"{lookup.column}_type"] != lookup.target):
            ask.about("Retrieve", table.logical_name, key)
            return Response(204, (VERSION,))
        target = self._schema.tables[lookup.target]
        if not reference:
            return self.row(ask, target, str(leads))
        ask.about("Retrieve", table.logical_name, key)
        ask.options.allow()
        return ok({"@odata.context": ask.context("$ref"), "@odata.id": f"{ask.root}/{target.entity_set}({leads})"})

    def related(self, ask: Ask, table: Table, key: str, collection: Collection, *, reference: bool) -> Response:
        """Answer GET of the rows of a collection-valued navigation property, or of their addresses."""
        self._world.check_read(ask.caller, table.logical_name)
        if not self._store.exists(table.logical_name, key):
            raise refuse("row.missing", table.schema_name, key)
        target = self._schema.tables[collection.table]
        source = related_rows(self._schema, table, collection)
        return self._collection(ask, target, source, [key], reference=reference)

    # --- collections ----------------------------------------------------------------------------------------------

    def collection(self, ask: Ask, table: Table) -> Response:
        """Answer GET of an entity set."""
        return self._collection(ask, table, f'FROM "{table.logical_name}" t WHERE 1', [], reference=False)

    def _collection(self, ask: Ask, table: Table, source: str, bound: list[Value], *, reference: bool) -> Response:
        ask.about("RetrieveMultiple", table.logical_name)
        if ask.headers.get("if-none-match") not in (None, "null"):
            raise ODataError("The header 'if-none-match' has no meaning for a collection.")
        in_view = not OPTIONS.keys().isdisjoint(ask.options.values)
        plan = self._view(ask, table) if in_view else self.plan(ask, table, row=False)
        source, bound = self._narrowed(ask, plan, source, bound)
        token = ask.options.values.get("$skiptoken")
        cookie = read_token(token, plan.order) if token is not None else FIRST_PAGE
        rows, more = self._page(ask, plan, source, bound, cookie)
        scope = f"{table.entity_set}{plan.scope}" if not reference else "Collection($ref)"
        body: Json = {"@odata.context": ask.context(scope)}
        body |= self._counts(ask, plan, source, bound)
        if reference:
            at = plan.sort_at[-1]
            body["value"] = [{"@odata.id": f"{ask.root}/{table.entity_set}({row[at]})"} for row in rows]
        elif in_view:
            body["value"] = [_without_nulls(self.render(ask, plan, row)) for row in rows]
        else:
            body["value"] = [self.render(ask, plan, row) for row in rows]
        if more:
            body["@odata.nextLink"] = self._next_link(ask.root, ask.path, ask.query, plan, cookie.page, rows)
        return ok(body, *applied(ask.preferences, "page", "annotations"))

    def _narrowed(self, ask: Ask, plan: Plan, source: str, bound: list[Value]) -> tuple[str, list[Value]]:
        if plan.condition is None:
            return source, bound
        values = plan.condition.bound(ask.asker(self._world.clock.now()))
        return f"{source} AND {plan.condition.sql}", [*bound, *values]

    def _page(
        self, ask: Ask, plan: Plan, source: str, bound: list[Value], cookie: Cookie
    ) -> tuple[list[Fetched], bool]:
        """Return the rows of one page and whether more follow; `$top` counts only without a page size."""
        asked = ask.preferences.page_size
        size = asked or LARGEST_PAGE
        final = asked is None and plan.top is not None and plan.top <= LARGEST_PAGE
        if final and plan.top is not None:
            size = plan.top
        if cookie.last:
            test, values = beyond(plan.order, cookie.last)
            source, bound = f"{source} AND {test}", [*bound, *values]
        sql = f"SELECT {plan.select} {source} ORDER BY {plan.order_by} LIMIT {size + 1}"
        rows: list[Fetched] = list(self._store.rows(sql, bound))
        return rows[:size], len(rows) > size and not final

    @staticmethod
    def _next_link(root: str, path: str, query: str, plan: Plan, page: int, rows: Sequence[Fetched]) -> str:
        first, last = ([row[at] for at in plan.sort_at] for row in (rows[0], rows[-1]))
        kept = [pair for pair in query.split("&") if pair and unquote_plus(pair.partition("=")[0]) != "$skiptoken"]
        return f"{root}/{path}?" + "&".join([*kept, f"$skiptoken={next_token(page, plan.order, first, last)}"])

    def _counts(self, ask: Ask, plan: Plan, source: str, bound: list[Value]) -> Json:
        body: Json = {}
        counted = self._counted(source, bound) if plan.count else -1
        if plan.count:
            body["@odata.count"] = min(counted, MOST_COUNTED)
        wants = ask.preferences.wants
        if ask.preferences.annotations:
            if wants(TOTAL):
                body[f"@{TOTAL}"] = min(counted, MOST_COUNTED)
            if wants(TOTAL_EXCEEDED):
                body[f"@{TOTAL_EXCEEDED}"] = counted > MOST_COUNTED
            if wants(METADATA_VERSION):
                body[f"@{METADATA_VERSION}"] = str(1 + len(self._world.customization.to_json()))
        return body

    def _counted(self, source: str, bound: list[Value]) -> int:
        sql = f"SELECT count(*) FROM (SELECT 1 {source} LIMIT {MOST_COUNTED + 1})"
        return int(str(self._store.rows(sql, bound)[0][0]))

    def count(self, ask: Ask, table: Table, source: str = "", bound: Sequence[Value] = ()) -> Response:
        """Answer `/$count` of an entity set (or of the rows of `source`), as text, at most 5,000."""
        ask.about("RetrieveMultiple", table.logical_name)
        ask.options.allow("$filter")
        plan = self.plan(ask, table, row=False)
        source, values = self._narrowed(ask, plan, source or f'FROM "{table.logical_name}" t WHERE 1', list(bound))
        text = str(min(self._counted(source, values), MOST_COUNTED))
        return Response(200, (("Content-Type", "text/plain"), VERSION), text.encode())

    # --- rendering ------------------------------------------------------------------------------------------------

    def render(self, ask: Ask, plan: Plan, row: Fetched) -> Json:
        """Return the JSON of a fetched row with everything expanded in it."""
        out = plan.projection.render(row, ask.caller.utc_offset_minutes)
        for one in plan.expansions:
            if one.lookup is not None:
                out[one.name] = self._expanded_row(ask, one, row)
            else:
                self._expanded_rows(ask, one, plan, row, out)
        return out

    def _expanded_row(self, ask: Ask, one: Expansion, row: Fetched) -> Json | None:
        target, leads = one.plan.table, row[one.at]
        if leads is None or (one.type_at and row[one.type_at] != target.logical_name):
            return None
        if one.reference:
            return {"@odata.id": f"{ask.root}/{target.entity_set}({leads})"}
        sql = f'SELECT {one.plan.select} FROM "{target.logical_name}" x WHERE x."{target.primary_id}" = ?'
        found = self._store.rows(sql, (leads,))
        return self.render(ask, one.plan, found[0]) if found else None

    def _expanded_rows(self, ask: Ask, one: Expansion, plan: Plan, row: Fetched, out: Json) -> None:
        if one.collection is None:
            raise AssertionError(one.name)  # an expansion has a lookup or a collection
        inner, parent = one.plan, plan.table
        source = related_rows(self._schema, parent, one.collection, "x")
        source, bound = self._narrowed(ask, inner, source, [row[one.at]])
        page = replace_page_size(ask, inner)
        rows, more = self._page(page, inner, source, bound, FIRST_PAGE)
        if one.reference:
            at = inner.sort_at[-1]
            out[one.name] = [{"@odata.id": f"{ask.root}/{inner.table.entity_set}({found[at]})"} for found in rows]
        else:
            out[one.name] = [self.render(ask, inner, found) for found in rows]
        if more:
            path = f"{parent.entity_set}({row[one.at]})/{one.name}" + ("/$ref" if one.reference else "")
            out[f"{one.name}@odata.nextLink"] = self._next_link(ask.root, path, one.options, inner, 1, rows)


def _without_nulls(row: Json) -> Json:
    """Return what the answer of a saved view holds: properties without a value are left out (documented)."""
    return {name: value for name, value in row.items() if value is not None}


def replace_page_size(ask: Ask, plan: Plan) -> Ask:
    """Return `ask` as it pages nested rows: a nested `$top` counts, whatever the page size of the whole answer."""
    if plan.top is None:
        return ask
    return replace(ask, preferences=replace(ask.preferences, page_size=None))


def check_read(ask: Ask) -> None:
    """Raise ODataError when a GET comes with a body or with If-Match, which mean nothing for it."""
    if ask.body.strip():
        raise ODataError("A GET request has no body.")
    if ask.headers.get("if-match") not in (None, "null"):
        raise ODataError("The header 'if-match' has no meaning for this request.")


def no_options(options: Options) -> None:
    """Raise ODataError when any option is given."""
    options.allow()
    if options.aliases:
        raise ODataError("Parameter aliases are not used here.")
