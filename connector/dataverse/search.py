"""Finds the opportunities that a filter or a saved view means, page by page.

Sources: learn.microsoft.com/power-apps/developer/data-platform/webapi/query/filter-rows and .../page-results,
.../retrieve-and-execute-predefined-queries (`savedQuery` for system views, `userQuery` for a user's own, each by the id
that `savedqueries` and `userqueries` have under the name).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import chain
from urllib.parse import quote
from uuid import UUID

from connector.clock import Clock
from connector.closing.organization import Query
from connector.dataverse.answers import decoding, unreadable
from connector.dataverse.reading import pages, read_object, read_rows, rows_of
from connector.dataverse.webapi import Endpoint, Operation
from connector.errors import InputError
from connector.handler import Handler

SYSTEM, OWN = "savedquery", "userquery"
"""The tables of views: those of the system, and those that users have saved."""

_PARAMETERS = {SYSTEM: "savedQuery", OWN: "userQuery"}
_SETS = {SYSTEM: "savedqueries", OWN: "userqueries"}
_OPEN = "statecode eq 0"
_SUBJECT = "Finding opportunities"
_PAGE = 5000  # rows: the largest and the default page; a full one without a next link is not believed to be the last


class Search:
    """Looks for opportunities through `handler`."""

    def __init__(self, handler: Handler, endpoint: Endpoint, clock: Clock) -> None:
        self._handler = handler
        self._endpoint = endpoint
        self._clock = clock

    def ids(self, query: Query) -> Iterator[UUID]:
        """Yield the ids of the opportunities that `query` means; one that moves while pages are read may come twice."""
        operation = self._of_view(query.view) if query.view else self._of_conditions(query)
        first = read_object(self._handler, self._endpoint, operation, _SUBJECT)
        others = pages(self._handler, self._endpoint, first.get("@odata.nextLink"), _SUBJECT)
        for page in chain([first], others):
            yield from _ids(page, in_view=bool(query.view))

    def _of_conditions(self, query: Query) -> Operation:
        conditions = [_OPEN]
        if query.older_than is not None:
            day = self._clock.now().date() - timedelta(days=query.older_than)
            conditions.append(f"estimatedclosedate lt {day.isoformat()}")
        if query.where:
            conditions.append(f"({query.where})")
        return Operation("GET", f"opportunities?$select=opportunityid&$filter={_quoted(' and '.join(conditions))}")

    def _of_view(self, view: str) -> Operation:
        found = [(table, id_) for table in (SYSTEM, OWN) for id_ in self._views(table, view)]
        if not found:
            raise InputError(
                f"There is no view {view!r} of opportunities that this user can see.",
                remedy="Check its name, or give its id: the address of the view in the browser has it as viewid.",
            )
        if len(found) > 1:
            listed = ", ".join(f"{id_} ({'system' if table == SYSTEM else 'own'})" for table, id_ in found)
            raise InputError(f"{len(found)} views are called {view!r}: {listed}.", remedy="Give the id of one.")
        ((table, id_),) = found
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
        rows = read_rows(self._handler, self._endpoint, operation, subject)
        with decoding(subject):
            return [UUID(row[f"{table}id"]) for row in rows]


def _ids(page: dict[str, object], *, in_view: bool) -> list[UUID]:
    rows = rows_of(page, _SUBJECT)
    if in_view and len(rows) >= _PAGE and page.get("@odata.nextLink") is None:
        unreadable(_SUBJECT)  # how views are paged is not documented: half a view must not pass for a whole one
    with decoding(_SUBJECT):
        return [UUID(row["opportunityid"]) for row in rows]


def _quoted(condition: str) -> str:
    return quote(condition, safe="()',:$/@=")
