"""Reads through a handler: one answer, all the pages of a set, several answers at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

from connector.dataverse.answers import decoding, expect, json_object, unreadable
from connector.dataverse.batch import Part, read_batch, write_batch
from connector.dataverse.rows import Row
from connector.dataverse.webapi import Endpoint, Operation
from connector.handler import Handler, Response

_TURNED_AWAY = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)


def read_object(handler: Handler, endpoint: Endpoint, operation: Operation, subject: str) -> dict[str, Any]:
    """Return the JSON object that `operation` answers; raises the failure of the request, or Unanswered."""
    return json_object(handler(endpoint.request(operation)), subject)


def read_rows(handler: Handler, endpoint: Endpoint, operation: Operation, subject: str) -> list[Row]:
    """Return the rows of the set that `operation` reads, through all its pages; raises as `read_object`."""
    page = read_object(handler, endpoint, operation, subject)
    rows = rows_of(page, subject)
    return rows + read_on(handler, endpoint, page.get("@odata.nextLink"), subject)


def read_on(handler: Handler, endpoint: Endpoint, link: object, subject: str) -> list[Row]:
    """Return the rows from next link `link` on, if there is one."""
    return [row for page in pages(handler, endpoint, link, subject) for row in rows_of(page, subject)]


def pages(handler: Handler, endpoint: Endpoint, link: object, subject: str) -> Iterator[dict[str, Any]]:
    """Yield the pages from next link `link` on, if there is one; a link that comes back is an unreadable answer."""
    seen: set[str] = set()
    while link is not None:
        if not isinstance(link, str) or link in seen:
            unreadable(subject)
        seen.add(link)
        with decoding(subject):
            request = endpoint.follow(link)
        page = json_object(handler(request), subject)
        yield page
        link = page.get("@odata.nextLink")


def rows_of(page: Row, subject: str, name: str = "value") -> list[Row]:
    """Return the rows that `page` has under `name`; Unanswered if they are not rows."""
    rows = page.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        unreadable(subject)
    return rows


def read_sets(handler: Handler, endpoint: Endpoint, operations: Sequence[Operation], subject: str) -> list[list[Row]]:
    """Return the rows of several sets, each through all its pages, asked for in one request; raises as `read_rows`.

    What fails inside the batch is asked for again by itself, so that it is re-sent like any other read.
    """
    sets = []
    for operation, answer in zip(operations, read_several(handler, endpoint, operations, subject), strict=True):
        failed = answer.status >= HTTPStatus.BAD_REQUEST
        page = read_object(handler, endpoint, operation, subject) if failed else json_object(answer, subject)
        sets.append(rows_of(page, subject) + read_on(handler, endpoint, page.get("@odata.nextLink"), subject))
    return sets


def read_several(handler: Handler, endpoint: Endpoint, operations: Sequence[Operation], subject: str) -> list[Response]:
    """Return the answers to several reads, in order and whatever their status: in one batch, singly where that fails.

    Raises when the batch is turned away for who asks or how often, which single reads would not change.
    """
    boundary = f"batch_{endpoint.new_id()}"
    response = handler(endpoint.batch(write_batch(operations, boundary, endpoint.part_headers()), boundary))
    if response.status in _TURNED_AWAY:
        expect(response, subject)
    answers = [part.response for part in read_batch(response) or [] if isinstance(part, Part)]
    return answers + [handler(endpoint.request(operation)) for operation in operations[len(answers) :]]
