"""Finds the opportunities that a filter, a saved view or a query in FetchXML means, and those changed since last time.

Sources: learn.microsoft.com/power-apps/developer/data-platform/webapi/query/filter-rows and .../page-results,
.../retrieve-and-execute-predefined-queries (`savedQuery` for system views, `userQuery` for a user's own, each by the
id that `savedqueries` and `userqueries` have under the name); .../fetchxml/retrieve-data (`fetchXml`) and
.../fetchxml/page-results (the cookie comes encoded twice inside an element of its own, and goes into `paging-
cookie`); .../use-change-tracking-synchronize-data-external-systems: a first read returns every row and a delta link;
following that link returns what changed since, and the next link of its kind. Links expire (after 7 days by default).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain
from typing import Any
from urllib.parse import quote, unquote
from uuid import UUID

from connector.clock import Clock
from connector.closing.organization import Query
from connector.dataverse.answers import decoding, json_object, unreadable
from connector.dataverse.reading import Row, WebApi, rows_of
from connector.dataverse.webapi import Endpoint, Operation
from connector.errors import InputError, Rejected
from connector.handler import Handler, Request

_ANNOTATIONS = 'odata.include-annotations="Microsoft.PowerApps.CDS.*,Microsoft.Dynamics.CRM.*"'
_MORE, _COOKIE = "@Microsoft.Dynamics.CRM.morerecords", "@Microsoft.Dynamics.CRM.fetchxmlpagingcookie"
_LONGEST = 30_000
"""Characters of an address; a longer query goes inside a batch."""
_EXAMPLE = 'Write one query, as <fetch><entity name="opportunity"><filter>...</filter></entity></fetch>.'


def fetch_pages(api: WebApi, text: str, subject: str) -> Iterator[dict[str, Any]]:
    """Yield the pages that a query finds, each opportunity with its id; raises InputError for what is no such query."""
    fetch = _query(text)
    api = WebApi(api.handler, replace(api.endpoint, annotations=_ANNOTATIONS))
    number = 1
    while True:
        operation = Operation("GET", f"opportunities?fetchXml={quote(ET.tostring(fetch, encoding='unicode'), safe='')}")
        if len(operation.path) > _LONGEST:
            (answer,) = api.read_several([operation], subject)
            page = json_object(answer, subject)
        else:
            page = api.read_object(operation, subject)
        yield page
        if page.get(_MORE) is not True or "top" in fetch.attrib:
            return
        if not rows_of(page, subject):
            unreadable(subject)
        number += 1
        fetch.set("page", str(number))
        if cookie := _cookie(page.get(_COOKIE)):
            fetch.set("paging-cookie", cookie)


def _query(text: str) -> ET.Element:
    """Return a query about opportunities that asks for nothing but their ids; raises InputError."""
    try:
        fetch = ET.fromstring(text)  # noqa: S314 - a file of the user's own, and expat bounds what entities expand to
    except ET.ParseError as error:
        raise InputError(f"The FetchXML cannot be read: {error}.", remedy=_EXAMPLE) from None
    entities = fetch.findall("entity")
    names = [entity.get("name", "") for entity in entities]
    if fetch.tag != "fetch" or names != ["opportunity"]:
        what = f"is about {', '.join(names)}" if fetch.tag == "fetch" and names else "is no query of a table"
        raise InputError(f"The FetchXML {what}, and must be one about opportunities.", remedy=_EXAMPLE)
    if fetch.get("aggregate") in ("true", "1"):
        raise InputError("The FetchXML counts or sums, and finds no opportunities.", remedy=_EXAMPLE)
    if fetch.get("paging-cookie") or fetch.get("page", "1") != "1":
        raise InputError(
            "The FetchXML begins in the middle of its rows.", remedy="Take page and paging-cookie out: all are read."
        )
    for parent in list(entities[0].iter()):  # those of link-entities too
        for node in [node for node in parent if node.tag in ("attribute", "all-attributes")]:
            parent.remove(node)
    entities[0].insert(0, ET.Element("attribute", {"name": "opportunityid"}))
    return fetch


def _cookie(written: object) -> str:
    """Return the cookie inside the element that an answer has; empty where there is none."""
    try:
        element = ET.fromstring(written) if isinstance(written, str) else None  # noqa: S314 - the organization's answer
    except ET.ParseError:
        element = None
    return "" if element is None else unquote(unquote(element.get("pagingcookie", "")))


SYSTEM, OWN = "savedquery", "userquery"
"""The tables of views: those of the system, and those that users have saved."""

_PARAMETERS = {SYSTEM: "savedQuery", OWN: "userQuery"}
_SETS = {SYSTEM: "savedqueries", OWN: "userqueries"}
_OPEN = "statecode eq 0"
_SUBJECT = "Finding opportunities"
_PAGE = 5000
"""Rows of the largest page, which is the default."""
_SMALL_PAGE = 2500


class Search:
    """Looks for opportunities through the Web API."""

    def __init__(self, api: WebApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock

    def ids(self, query: Query) -> Iterator[UUID]:
        """Yield the ids of the opportunities that `query` means; one that moves while pages are read may come twice."""
        if query.fetchxml:
            for page in fetch_pages(self._api, query.fetchxml, _SUBJECT):
                yield from _ids(page)
            return
        if query.view:
            first = self._first_of_view(self._of_view(query.view))
        else:
            first = self._api.read_object(self._of_conditions(query), _SUBJECT)
        others = self._api.pages(first.get("@odata.nextLink"), _SUBJECT)
        for page in chain([first], others):
            yield from _ids(page)

    def _first_of_view(self, operation: Operation) -> dict[str, object]:
        """Return the first page of a view.

        How views are paged is not documented, and half a view must not pass for a whole one. So a full page that names
        no next one is asked for again in smaller pages: where those go on, pages do, and the last one is the last.
        """
        first = self._api.read_object(operation, _SUBJECT)
        if not _may_be_half(first, _PAGE):
            return first
        request = self._api.endpoint.request(operation)
        prefer = {"prefer": f"odata.maxpagesize={_SMALL_PAGE}"}
        first = json_object(self._api.handler(replace(request, headers={**request.headers, **prefer})), _SUBJECT)
        if _may_be_half(first, _SMALL_PAGE):
            unreadable(_SUBJECT)
        return first

    def _of_conditions(self, query: Query) -> Operation:
        conditions = [_OPEN]
        if query.older_than is not None:
            day = self._clock.now().date() - timedelta(days=query.older_than)
            conditions.append(f"estimatedclosedate lt {day.isoformat()}")
        if query.where:
            conditions.append(f"({query.where})")
        return Operation("GET", f"opportunities?$select=opportunityid&$filter={_quoted(' and '.join(conditions))}")

    def _of_view(self, view: str) -> Operation:
        views = [(table, id_) for table in (SYSTEM, OWN) for id_ in self._views(table, view)]
        if not views:
            raise InputError(
                f"There is no view {view!r} of opportunities that this user can see.",
                remedy="Check its name, or give its id: the address of the view in the browser has it as viewid.",
            )
        if len(views) > 1:
            listed = ", ".join(f"{id_} ({'system' if table == SYSTEM else 'own'})" for table, id_ in views)
            raise InputError(f"{len(views)} views are called {view!r}: {listed}.", remedy="Give the id of one.")
        ((table, id_),) = views
        return Operation("GET", f"opportunities?{_PARAMETERS[table]}={id_}")

    def _views(self, table: str, view: str) -> list[UUID]:
        """Return the ids of the views of opportunities in `table` which have this id or name."""
        try:
            condition = f"{table}id eq {UUID(view)}"
        except ValueError:
            condition = "name eq '{}'".format(view.replace("'", "''"))
        condition = _quoted(f"{condition} and returnedtypecode eq 'opportunity'")
        subject = f"Looking for the view {view!r}"
        operation = Operation("GET", f"{_SETS[table]}?$select={table}id&$filter={condition}")
        rows = self._api.read_rows(operation, subject)
        with decoding(subject):
            return [UUID(row[f"{table}id"]) for row in rows]


def _may_be_half(page: dict[str, object], size: int) -> bool:
    return len(rows_of(page, _SUBJECT)) >= size and page.get("@odata.nextLink") is None


def _ids(page: dict[str, object]) -> list[UUID]:
    with decoding(_SUBJECT):
        return [UUID(row["opportunityid"]) for row in rows_of(page, _SUBJECT)]


def _quoted(condition: str) -> str:
    return quote(condition, safe="()',:$/@=")


COLUMNS = "name,statecode,statuscode,estimatedvalue,actualvalue,estimatedclosedate,actualclosedate,modifiedon"
_CHANGES = "Reading what changed of opportunities"
_DELETED = "/$deletedEntity"


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed: rows by their columns, ids of deleted ones, and the link that leads to what changes from now on.

    `complete` says that these are all rows there are, not only those that changed: at the first time, and when the link
    had expired.

    >>> with connect(load_settings()) as connection:
    ...     first = connection.changes()
    ...     since = connection.changes(first.link)
    >>> first.complete, since.rows
    (True, ())
    """

    rows: tuple[Mapping[str, object], ...]
    deleted: tuple[str, ...]
    link: str
    complete: bool


def everything(_row: Row) -> bool:
    """Keep every row."""
    return True


def read_changes(
    handler: Handler, base_url: str, link: str = "", *, columns: str = COLUMNS, keep: Callable[[Row], bool] = everything
) -> Changes:
    """Return what changed since `link` was given out, or every row when there is none or it has expired.

    Only the rows that `keep` says yes to are kept; a link goes on with the `columns` it began with. Raises
    ConnectorError; InputError for a link of another organization.
    """
    api = WebApi(handler, Endpoint(base_url.rstrip("/")))
    if link:
        try:
            return _through(api, api.endpoint.follow(link), keep, complete=False)
        except Rejected:
            pass  # it has expired, or the organization was restored or reset: begin anew
    first = api.endpoint.request(Operation("GET", f"opportunities?$select={columns}"))
    return _through(api, first, keep, complete=True)


def _through(api: WebApi, request: Request, keep: Callable[[Row], bool], *, complete: bool) -> Changes:
    rows: list[Mapping[str, object]] = []
    deleted: list[str] = []
    while True:
        tracked = replace(request, headers={**dict(request.headers), "prefer": "odata.track-changes"})
        page = json_object(api.handler(tracked), _CHANGES)
        for row in rows_of(page, _CHANGES):
            if str(row.get("@odata.context", "")).endswith(_DELETED):
                deleted.append(str(row["id"]))
            elif keep(row):
                rows.append(_plain(row))
        if "@odata.nextLink" not in page:
            return Changes(tuple(rows), tuple(deleted), str(page["@odata.deltaLink"]), complete)
        request = api.endpoint.follow(page["@odata.nextLink"])


def _plain(row: Row) -> Mapping[str, object]:
    """Return the columns without what the service says about them."""
    return {name: value for name, value in row.items() if "@" not in name}
