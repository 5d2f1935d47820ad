"""Reads: one row, a property, addresses, collections with paging and counts, and what is expanded in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import unquote_plus

from connector.emulator.api.fetchxml import FETCH, OPTIONS, FetchQuery, fetch_of
from connector.emulator.api.operation import VERSION, ApiRequest, applied, ok
from connector.emulator.api.paging import FIRST_PAGE, PagingCookie, beyond, next_link, next_token, read_token
from connector.emulator.api.plans import (
    OWNER_ID,
    READ_OPTIONS,
    ROW_OPTIONS,
    Expansion,
    ReadPlan,
    make_plan,
    read_query,
    related_rows,
)
from connector.emulator.api.preferences import (
    LARGEST_PAGE,
    METADATA_VERSION,
    MORE_RECORDS,
    PAGING_COOKIE,
    TOTAL,
    TOTAL_EXCEEDED,
)
from connector.emulator.api.rows import Annotations, FetchedRow, Json, wire_name
from connector.emulator.odata.lexer import ODataError
from connector.emulator.odata.path import Options
from connector.emulator.odata.sql import column_of
from connector.emulator.rules.rule import refuse
from connector.emulator.world.schema import Collection, Kind, Lookup, Schema, Table
from connector.emulator.world.store import Value
from connector.emulator.world.world import World
from connector.handler import Response

MOST_COUNTED = 5000
"""What a count is capped at (count-rows.md)."""
_PLANS_KEPT = 2000


class ReadOperations:
    """Answers GET for rows of `schema`; plans are remembered by table, query string and annotations."""

    def __init__(self, world: World, schema: Schema) -> None:
        self._world = world
        self._schema = schema
        self._store = world.store
        self._plans: dict[tuple[str, str, Annotations, bool], ReadPlan] = {}

    def plan(self, request: ApiRequest, table: Table, *, row: bool) -> ReadPlan:
        """Return the plan of a read and check the caller's right to every table in it. Raises ODataError, Refused."""
        annotations = self._annotations(request)
        key = (table.logical_name, request.query, annotations, row)
        plan = self._plans.get(key)
        if plan is None:
            query = read_query(request.options, ROW_OPTIONS if row else READ_OPTIONS)
            plan = make_plan(self._schema, table, query, annotations)
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.clear()
            if "$skiptoken" not in request.options.values:
                self._plans[key] = plan
        self._check(request, plan)
        return plan

    def _fetch(self, request: ApiRequest, table: Table) -> FetchQuery | None:
        """Return the FetchXML that the options hold or name; None when they do not. Raises ODataError, Refused."""
        named = [name for name in (*OPTIONS, FETCH) if name in request.options.values]
        if not named:
            return None
        for holder in (OPTIONS[name] for name in named if name in OPTIONS):
            self._world.check_read(request.caller, holder)
        self._world.check_read(request.caller, table.logical_name)
        fetch = fetch_of(request, self._schema, self._store, table, self._annotations(request))
        for name in sorted(fetch.tables):
            self._world.check_read(request.caller, name)
        return fetch

    def _annotations(self, request: ApiRequest) -> Annotations:
        return Annotations.of(request.preferences, self._world.closed_columns(request.caller, "read"))

    def _check(self, request: ApiRequest, plan: ReadPlan) -> None:
        self._world.check_read(request.caller, plan.table.logical_name)
        for expansion in plan.expansions:
            self._check(request, expansion.plan)

    # --- one row ------------------------------------------------------------------------------------------------

    def row(self, request: ApiRequest, table: Table, key: str) -> Response:
        """Answer GET of one row, with ETag and If-None-Match."""
        request.about("Retrieve", table.logical_name, key)
        plan = self.plan(request, table, row=True)
        self._world.access.require_row(request.caller, table, "Read", key)
        row_values = self.fetch(plan, key)
        etag = str(row_values[0])
        if self._not_modified(request, plan, etag):
            return Response(HTTPStatus.NOT_MODIFIED, (VERSION, ("ETag", etag)))
        context = {"@odata.context": request.context(f"{table.entity_set}{plan.scope}/$entity")}
        body = context | self.render(request, plan, row_values)
        return ok(body, ("ETag", etag), *applied(request.preferences, "annotations"))

    def fetch(self, plan: ReadPlan, key: str) -> FetchedRow:
        """Return the fetched row with this id; raises Refused (404)."""
        table = plan.table
        sql = f'SELECT {plan.select} FROM "{table.logical_name}" t WHERE t."{table.primary_id}" = ?'
        rows = self._store.rows(sql, (key,))
        if not rows:
            raise refuse("row.missing", table.schema_name, key)
        return rows[0]

    @staticmethod
    def _not_modified(request: ApiRequest, plan: ReadPlan, etag: str) -> bool:
        """Whether If-None-Match holds; never with $expand or annotations (perform-conditional-operations)."""
        tag = request.headers.get("if-none-match")
        if tag is None or tag == "null" or plan.expansions or request.preferences.annotations:
            return False
        return tag == "*" or etag in [part.strip() for part in tag.split(",")]

    def property(self, request: ApiRequest, table: Table, key: str, name: str, *, raw: bool) -> Response:
        """Answer GET of one property, as JSON or (`/$value`) as text; 204 when it has no value."""
        request.about("Retrieve", table.logical_name, key)
        request.options.allow()
        self._world.check_read(request.caller, table.logical_name)
        self._world.access.require_row(request.caller, table, "Read", key)
        column = column_of(table, name)
        row = self._store.get(table.logical_name, key, (column.name,))
        if row is None:
            raise refuse("row.missing", table.schema_name, key)
        value: object = row[column.name]
        closed = (table.logical_name, column.name) in self._world.closed_columns(request.caller, "read")
        if value is None or closed:
            return Response(HTTPStatus.NO_CONTENT, (VERSION,))
        if column.kind is Kind.BOOLEAN:
            value = bool(value)
        if raw:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            return Response(HTTPStatus.OK, (("Content-Type", "text/plain"), VERSION), text.encode())
        return ok({"@odata.context": request.context(f"{table.entity_set}({key})/{wire_name(column)}"), "value": value})

    # --- navigation -----------------------------------------------------------------------------------------------

    def single(self, request: ApiRequest, table: Table, key: str, lookup: Lookup, *, reference: bool) -> Response:
        """Answer GET of the row that a lookup leads to, or of its address; 204 when it leads nowhere."""
        self._world.check_read(request.caller, table.logical_name)
        column = table.columns[lookup.column]
        columns = (lookup.column, f"{lookup.column}_type") if column.polymorphic else (lookup.column,)
        row = self._store.get(table.logical_name, key, columns)
        if row is None:
            raise refuse("row.missing", table.schema_name, key)
        leads = row[lookup.column]
        if leads is None or (column.polymorphic and row[f"{lookup.column}_type"] != lookup.target):
            request.about("Retrieve", table.logical_name, key)
            return Response(HTTPStatus.NO_CONTENT, (VERSION,))
        target = self._schema.tables[lookup.target]
        if not reference:
            return self.row(request, target, str(leads))
        request.about("Retrieve", table.logical_name, key)
        request.options.allow()
        return ok(
            {"@odata.context": request.context("$ref"), "@odata.id": f"{request.root}/{target.entity_set}({leads})"}
        )

    def related(
        self, request: ApiRequest, table: Table, key: str, collection: Collection, *, reference: bool
    ) -> Response:
        """Answer GET of the rows of a collection-valued navigation property, or of their addresses."""
        self._world.check_read(request.caller, table.logical_name)
        if not self._store.exists(table.logical_name, key):
            raise refuse("row.missing", table.schema_name, key)
        target = self._schema.tables[collection.table]
        source = related_rows(self._schema, table, collection)
        return self._collection(request, target, source, [key], reference=reference)

    # --- collections ----------------------------------------------------------------------------------------------

    def collection(self, request: ApiRequest, table: Table) -> Response:
        """Answer GET of an entity set."""
        return self._collection(request, table, f'FROM "{table.logical_name}" t WHERE 1', [], reference=False)

    def _collection(
        self, request: ApiRequest, table: Table, source: str, bound: list[Value], *, reference: bool
    ) -> Response:
        request.about("RetrieveMultiple", table.logical_name)
        if request.headers.get("if-none-match") not in (None, "null"):
            raise ODataError("The header 'if-none-match' has no meaning for a collection.")
        fetch = self._fetch(request, table)
        plan = fetch.plan if fetch is not None else self.plan(request, table, row=False)
        if fetch is not None:
            source = fetch.joined(source)
            bound = [*fetch.bound(request.asker(self._world.clock.now())), *bound]
        source, bound = self._narrowed(request, plan, source, bound)
        token = request.options.values.get("$skiptoken")
        cookie = read_token(token, plan.order) if token is not None else FIRST_PAGE
        rows, more = self._page(_as_fetched(request, fetch), plan, source, bound, cookie, fetch)
        scope = f"{table.entity_set}{plan.scope}" if not reference else "Collection($ref)"
        body: Json = {"@odata.context": request.context(scope)}
        body |= self._counts(request, plan, source, bound)
        if reference:
            at = plan.sort_at[-1]
            body["value"] = [{"@odata.id": f"{request.root}/{table.entity_set}({row[at]})"} for row in rows]
        elif fetch is not None:
            body["value"] = [fetch.rendered(self.render(request, plan, row), row) for row in rows]
        else:
            body["value"] = [self.render(request, plan, row, linked=True) for row in rows]
        if fetch is not None and fetch.paged:
            body |= self._fetch_page(request, fetch, rows, more=more)
        elif more:
            body["@odata.nextLink"] = next_link(
                f"{request.root}/{request.path}", request.query, _token(plan, cookie.page, rows)
            )
        return ok(body, *applied(request.preferences, "page", "annotations"))

    @staticmethod
    def _fetch_page(request: ApiRequest, fetch: FetchQuery, rows: Sequence[FetchedRow], *, more: bool) -> Json:
        """Return the annotations by which a query in FetchXML is paged (page-results)."""
        body: Json = {}
        if request.preferences.wants(MORE_RECORDS):
            body[f"@{MORE_RECORDS}"] = more
        if rows and request.preferences.wants(PAGING_COOKIE):
            cookie = unquote_plus(_token(fetch.plan, fetch.page, rows))
            body[f"@{PAGING_COOKIE}"] = cookie.replace("%", "%25")  # encoded twice, as documented
        return body

    def _narrowed(
        self, request: ApiRequest, plan: ReadPlan, source: str, bound: list[Value]
    ) -> tuple[str, list[Value]]:
        within_reach = self._world.access.sees(request.caller, plan.table, "Read", plan.alias)
        source = source if within_reach == "1" else f"{source} AND {within_reach}"
        if plan.condition is None:
            return source, bound
        values = plan.condition.bound(request.asker(self._world.clock.now()))
        return f"{source} AND {plan.condition.sql}", [*bound, *values]

    def _page(
        self,
        request: ApiRequest,
        plan: ReadPlan,
        source: str,
        bound: list[Value],
        cookie: PagingCookie,
        fetch: FetchQuery | None = None,
        *,
        whole: bool = False,
    ) -> tuple[list[FetchedRow], bool]:
        """Return the rows of one page and whether more follow; `$top` counts only without a page size.

        A page is as long as was asked for, or, where it is `whole`, as a page can be.
        """
        page_size = None if whole else request.preferences.page_size
        size = page_size or LARGEST_PAGE
        final = page_size is None and plan.top is not None and plan.top <= LARGEST_PAGE
        if final and plan.top is not None:
            size = plan.top
        if cookie.last:
            test, values = beyond(plan.order, cookie.last)
            source, bound = f"{source} AND {test}", [*bound, *values]
        sql = f"SELECT {plan.select} {source} ORDER BY {plan.order_by} LIMIT {size + 1}"
        sql += f" OFFSET {size * (fetch.page - 1)}" if fetch is not None and fetch.paged else ""
        rows: list[FetchedRow] = list(self._store.rows(sql, bound))
        return rows[:size], len(rows) > size and not final

    def _counts(self, request: ApiRequest, plan: ReadPlan, source: str, bound: list[Value]) -> Json:
        body: Json = {}
        counted = self._counted(source, bound) if plan.count else -1
        if plan.count:
            body["@odata.count"] = min(counted, MOST_COUNTED)
        wants = request.preferences.wants
        if request.preferences.annotations:
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

    def count(self, request: ApiRequest, table: Table, source: str = "", bound: Sequence[Value] = ()) -> Response:
        """Answer `/$count` of an entity set (or of the rows of `source`), as text, at most 5,000."""
        request.about("RetrieveMultiple", table.logical_name)
        request.options.allow("$filter")
        plan = self.plan(request, table, row=False)
        source, values = self._narrowed(request, plan, source or f'FROM "{table.logical_name}" t WHERE 1', list(bound))
        text = str(min(self._counted(source, values), MOST_COUNTED))
        return Response(HTTPStatus.OK, (("Content-Type", "text/plain"), VERSION), text.encode())

    # --- rendering ------------------------------------------------------------------------------------------------

    def render(self, request: ApiRequest, plan: ReadPlan, row: FetchedRow, *, linked: bool = False) -> Json:
        """Return the JSON of a fetched row with everything expanded in it; `linked` is whether it is one of a set."""
        out = plan.projection.render(row, request.caller.utc_offset_minutes)
        for expansion in plan.expansions:
            if expansion.lookup is not None:
                if expansion.reference:
                    out[f"_{expansion.lookup.column}_value"] = row[expansion.at]
                out[expansion.name] = self._expanded_row(request, expansion, row)
            elif expansion.collection is not None:
                source = related_rows(self._schema, plan.table, expansion.collection, "x")
                out |= self._expanded_rows(request, expansion, plan, source, row[expansion.at], linked=linked)
        return out

    def _expanded_row(self, request: ApiRequest, expansion: Expansion, row: FetchedRow) -> Json | None:
        target, leads = expansion.plan.table, row[expansion.at]
        if leads is None or (expansion.type_at and row[expansion.type_at] != target.logical_name):
            return None
        if expansion.reference:
            return {"@odata.id": f"{request.root}/{target.entity_set}({leads})"}
        if expansion.principal:
            return {"@odata.type": f"#Microsoft.Dynamics.CRM.{target.logical_name}", OWNER_ID: leads}
        where = f'x."{target.primary_id}" = ? AND {self._world.access.sees(request.caller, target, "Read", "x")}'
        sql = f'SELECT {expansion.plan.select} FROM "{target.logical_name}" x WHERE {where}'
        rows = self._store.rows(sql, (leads,))
        return self.render(request, expansion.plan, rows[0]) if rows else None

    def _expanded_rows(
        self, request: ApiRequest, expansion: Expansion, plan: ReadPlan, source: str, key: Value, *, linked: bool
    ) -> Json:
        """Return the rows of an expanded collection (`source`, of the row `key`) and their link.

        Where no expand is inside another they come whole, in a set with the address of all of them; else in pages of
        the size asked for, and a full page comes with the address of the next (join-tables).
        """
        inner = expansion.plan
        nested = plan.alias != "t" or any(sibling.plan.expansions for sibling in plan.expansions)
        source, bound = self._narrowed(request, inner, source, [key])
        rows, more = self._page(request, inner, source, bound, FIRST_PAGE, whole=not nested)
        out: Json = {expansion.name: [self.render(request, inner, row) for row in rows]}
        url = f"{request.root}/{plan.table.entity_set}({key})/{expansion.name}"
        if more or (nested and len(rows) == request.preferences.page_size):
            out[f"{expansion.name}@odata.nextLink"] = next_link(url, expansion.options, _token(inner, 1, rows))
        elif linked and not nested:
            out[f"{expansion.name}@odata.nextLink"] = f"{url}?{expansion.options}".rstrip("?")
        return out


def _token(plan: ReadPlan, page: int, rows: Sequence[FetchedRow]) -> str:
    """Return the `$skiptoken` of what follows these rows of a page."""
    first, last = ([row[at] for at in plan.sort_at] for row in (rows[0], rows[-1]))
    return next_token(page, plan.order, first, last)


def _as_fetched(request: ApiRequest, fetch: FetchQuery | None) -> ApiRequest:
    """Return `request` as it pages a query in FetchXML: its own count is the size of a page."""
    if fetch is None or fetch.size is None:
        return request
    size = min(fetch.size, LARGEST_PAGE)
    return replace(request, preferences=replace(request.preferences, page_size=size))


def check_read(request: ApiRequest) -> None:
    """Raise ODataError when a GET comes with a body or with If-Match, which mean nothing for it."""
    if request.body.strip():
        raise ODataError("A GET request has no body.")
    if request.headers.get("if-match") not in (None, "null"):
        raise ODataError("The header 'if-match' has no meaning for this request.")


def no_options(options: Options) -> None:
    """Raise ODataError when any option is given."""
    options.allow()
    if options.aliases:
        raise ODataError("Parameter aliases are not used here.")
