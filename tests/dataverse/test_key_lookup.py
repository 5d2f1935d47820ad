"""Keys are looked up many at a time, in filters that an address can hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote
from uuid import UUID

from connector.closing.record_keys import COMPETITOR, RecordKey, RecordMatch
from connector.dataverse.key_lookup import FILTERS, VALUES, RecordLookup
from connector.dataverse.reading import WebApi
from connector.dataverse.webapi import Endpoint
from connector.handler import Request, Response
from tests.dataverse.wire import BASE, JSON, ok, part


class Competitors:
    """An organization with a competitor of each name that is asked for; it remembers the filters of each request."""

    def __init__(self, rows: Sequence[dict[str, str]] = ()) -> None:
        self.filters: list[list[str]] = []
        self.rows = rows

    def __call__(self, request: Request) -> Response:
        body = request.body.decode() if request.method == "POST" else f"GET {request.url} HTTP/1.1"
        filters = [unquote(found) for found in re.findall(r"\$filter=(\S+)", body)]
        self.filters.append(filters)
        answers = [ok({"value": list(self.rows)}) for _ in filters]
        if request.method == "GET":
            return answers[0]
        parts = b"".join(b"--b\r\n" + part(answer) + b"\r\n" for answer in answers)
        return Response(200, (("Content-Type", "multipart/mixed; boundary=b"), *JSON[1:]), parts + b"--b--")


def look_up(wire: Competitors, names: Sequence[str]) -> dict[str, list[RecordMatch]]:
    lookup = RecordLookup(WebApi(wire, Endpoint(BASE)))
    return {
        key.value: found for key, found in lookup.matches([RecordKey(COMPETITOR, "name", n) for n in names]).items()
    }


def test_three_hundred_values_go_into_a_filter_and_ten_filters_into_a_request() -> None:
    wire = Competitors()
    look_up(wire, [f"name {number}" for number in range(VALUES * FILTERS + 1)])
    assert [[found.count("'name ") for found in filters] for filters in wire.filters] == [[VALUES] * FILTERS, [1]]


def test_long_values_make_shorter_filters() -> None:
    wire = Competitors()
    look_up(wire, [f"{number:04d} {'ö' * 95}" for number in range(60)])
    assert max(len(found) for filters in wire.filters for found in filters) < 32_000
    assert sum(found.count("ö 0") + found.count("'00") for filters in wire.filters for found in filters) == 60


def test_a_value_with_a_quote_is_compared_by_itself() -> None:
    wire = Competitors([{"competitorid": str(UUID(int=1)), "name": "O'Brien & Co"}])
    assert look_up(wire, ["o'brien & co", "Plain"]) == {
        "o'brien & co": [RecordMatch(UUID(int=1), "O'Brien & Co")],
        "Plain": [],
    }
    (filters,) = wire.filters
    assert filters == [
        "Microsoft.Dynamics.CRM.In(PropertyName='name',PropertyValues=['plain']) or name eq 'o''brien & co'"
    ]
