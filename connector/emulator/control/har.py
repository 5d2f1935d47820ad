"""The journal as HAR 1.2, the archive format that browsers' developer tools and HTTP viewers open.

Written to the letter of http://www.softwareishard.com/blog/har-12-spec/: fields that a reader may insist on are always
there, -1 and empty lists where nothing is known. What only an emulator knows stands in fields that begin with `_`, as
the format asks. Nothing that signs a caller in is in it: the journal does not keep it.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import parse_qsl

from connector.emulator.control.journal import Entry, masked, masked_url
from connector.emulator.http.responses import split_url
from connector.handler import Response

_UNKNOWN = -1
_FORM = "application/x-www-form-urlencoded"
_REASONS = {status.value: status.phrase for status in HTTPStatus}

Json = dict[str, object]


def har_data(entries: Iterable[Entry]) -> Json:
    """Return journal entries as one HAR document."""
    creator = {"name": "Dataverse emulator", "version": _version()}
    return {"log": {"version": "1.2", "creator": creator, "pages": [], "entries": [_entry(entry) for entry in entries]}}


def _entry(entry: Entry) -> Json:
    milliseconds = round(entry.seconds * 1000, 3)
    data = {
        "startedDateTime": entry.moment,
        "time": milliseconds,
        "request": _request(entry),
        "response": _response(entry),
        "cache": {},
        "timings": {"send": 0, "wait": milliseconds, "receive": 0},
        "comment": entry.title,
        "_number": entry.number,
        "_face": entry.face,
        "_caller": entry.user,
        "_server": entry.server,
        "_rule": entry.rule,
        "_fault": entry.fault,
        "_cut": entry.cut,
        "_findings": list(entry.findings),
    }
    data["_operations"] = entry.data()["operations"]
    return data


def _request(entry: Entry) -> Json:
    request = entry.request
    url = masked_url(request.url)
    data: Json = {
        "method": request.method,
        "url": url,
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": [{"name": name, "value": value} for name, value in request.headers.items()],
        "queryString": _pairs(split_url(url)[2]),
        "headersSize": _UNKNOWN,
        "bodySize": entry.request_size,
    }
    if entry.request_size:
        data["postData"] = _posted(entry)
    return data


def _posted(entry: Entry) -> Json:
    """Return what was sent: `params` of a form, `text` of all else; the format allows one of them."""
    kind, text = entry.request.header("content-type") or "", masked(entry.request)
    posted: Json = {"mimeType": kind}
    posted |= {"params": _pairs(text)} if kind.startswith(_FORM) else {"text": text}
    if entry.request_size > len(entry.request.body):
        posted["comment"] = f"The first {len(entry.request.body)} of {entry.request_size} bytes."
    return posted


def _response(entry: Entry) -> Json:
    response = entry.response
    content: Json = {"size": entry.response_size, "mimeType": _header(response, "content-type")}
    if response.body:
        content["text"] = response.body.decode(errors="replace")
    if entry.response_size > len(response.body):
        kept = f"The first {len(response.body)}" if response.body else "None"
        content["comment"] = f"{kept} of {entry.response_size} bytes are kept."
    return {
        "status": response.status,
        "statusText": _REASONS.get(response.status, ""),
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": [{"name": name, "value": value} for name, value in response.headers],
        "content": content,
        "redirectURL": _header(response, "location"),
        "headersSize": _UNKNOWN,
        "bodySize": entry.response_size,
    }


def _header(response: Response, header: str) -> str:
    return next((value for name, value in response.headers if name.lower() == header), "")


def _pairs(query: str) -> list[Json]:
    return [{"name": name, "value": value} for name, value in parse_qsl(query, keep_blank_values=True)]


def _version() -> str:
    """Return the version of the installed package; a checkout that is not installed has none."""
    from importlib import metadata

    try:
        return metadata.version("dataverse-close-connector")
    except metadata.PackageNotFoundError:
        return "0"
