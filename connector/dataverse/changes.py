"""Reads what changed of opportunities since last time, by the change tracking of the service.

Source: learn.microsoft.com/power-apps/developer/data-platform/use-change-tracking-synchronize-data-external-systems. A
first read returns every row and a delta link; following that link returns what changed since, and the next link of its
kind. Links expire (after 7 days by default).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from connector.dataverse.answers import json_object
from connector.dataverse.reading import rows_of
from connector.dataverse.rows import Row
from connector.dataverse.webapi import Endpoint, Operation
from connector.errors import Rejected
from connector.handler import Handler, Request

COLUMNS = "name,statecode,statuscode,estimatedvalue,actualvalue,estimatedclosedate,actualclosedate,modifiedon"
_SUBJECT = "Reading what changed of opportunities"
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
    handler: Handler,
    base_url: str,
    link: str = "",
    *,
    columns: str = COLUMNS,
    keep: Callable[[Row], bool] = everything,
) -> Changes:
    """Return what changed since `link` was given out, or every row when there is none or it has expired.

    Only the rows that `keep` says yes to are kept; a link goes on with the `columns` it began with. Raises
    ConnectorError; InputError for a link of another organization.
    """
    endpoint = Endpoint(base_url.rstrip("/"))
    if link:
        try:
            return _through(handler, endpoint, endpoint.follow(link), keep, complete=False)
        except Rejected:
            pass  # it has expired, or the organization was restored or reset: begin anew
    first = endpoint.request(Operation("GET", f"opportunities?$select={columns}"))
    return _through(handler, endpoint, first, keep, complete=True)


def _through(
    handler: Handler, endpoint: Endpoint, request: Request, keep: Callable[[Row], bool], *, complete: bool
) -> Changes:
    rows: list[Mapping[str, object]] = []
    deleted: list[str] = []
    while True:
        page = json_object(handler(_tracked(request)), _SUBJECT)
        for row in rows_of(page, _SUBJECT):
            if str(row.get("@odata.context", "")).endswith(_DELETED):
                deleted.append(str(row["id"]))
            elif keep(row):
                rows.append(_plain(row))
        if "@odata.nextLink" not in page:
            return Changes(tuple(rows), tuple(deleted), str(page["@odata.deltaLink"]), complete)
        request = endpoint.follow(page["@odata.nextLink"])


def _tracked(request: Request) -> Request:
    return replace(request, headers={**dict(request.headers), "prefer": "odata.track-changes"})


def _plain(row: Row) -> Mapping[str, object]:
    """Return the columns without what the service says about them."""
    return {name: value for name, value in row.items() if "@" not in name}
