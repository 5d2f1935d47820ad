"""Small ways to say an HTTP response: JSON, HTML, plain text, a redirect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl

from connector.handler import Request, Response

Headers = tuple[tuple[str, str], ...]


def json_response(status: int, data: object, headers: Headers = ()) -> Response:
    """Return `data` as JSON."""
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(status, (("Content-Type", "application/json; charset=utf-8"), *headers), body)


def html_response(status: int, html: str, headers: Headers = ()) -> Response:
    """Return a page."""
    return Response(status, (("Content-Type", "text/html; charset=utf-8"), *headers), html.encode())


def text_response(status: int, text: str, content_type: str = "text/plain; charset=utf-8") -> Response:
    """Return plain text."""
    return Response(status, (("Content-Type", content_type),), text.encode())


def redirect(location: str) -> Response:
    """Return a 302 to `location`."""
    return Response(HTTPStatus.FOUND, (("Location", location),))


def split_url(url: str) -> tuple[str, str, str]:
    """Return origin (`https://host:port`), path and query of an absolute URL, all as they stand, no fragment."""
    scheme, _, rest = url.partition("://")
    cut = len(rest)
    for mark in "/?#":
        position = rest.find(mark)
        if position != -1:
            cut = min(cut, position)
    path, _, query = rest[cut:].partition("#")[0].partition("?")
    return f"{scheme}://{rest[:cut]}", path or "/", query


def query_fields(query: str) -> Mapping[str, str]:
    """Return the fields of a query or form, percent-decoded; the last one of a name wins."""
    return dict(parse_qsl(query, keep_blank_values=True))


def form_fields(request: Request) -> Mapping[str, str]:
    """Return the fields of a form body; bytes that are not UTF-8 become replacement characters."""
    return query_fields(request.body.decode(errors="replace"))
