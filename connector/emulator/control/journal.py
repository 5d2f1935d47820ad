"""Every request as it was and as it was answered, in bounded memory, without secrets.

Nothing in an entry depends on chance outside the emulator's seed or on another clock than the emulator's, so the same
traffic with the same plan and seed leaves the same journal, byte for byte.

Told as HAR 1.2, the archive format that browsers' developer tools and HTTP viewers open, exactly as
http://www.softwareishard.com/blog/har-12-spec/ has it: fields that a reader may insist on are always there, -1 and
empty lists where nothing is known. What only an emulator knows stands in fields that begin with `_`, as the format
asks. Nothing that signs a caller in is in it: the journal does not keep it.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from http import HTTPStatus
from http.client import responses
from urllib.parse import parse_qsl

from connector.emulator.http.exchange import OperationResult, split_url
from connector.emulator.world.schema import names
from connector.handler import Request, Response

KEPT_HEADERS = names(
    "prefer if-match if-none-match x-ms-client-request-id x-ms-correlation-id mscrmcallerid "
    "callerobjectid content-type user-agent"
)
KEPT_ANSWER_HEADERS = frozenset(
    names(
        "Content-Type Content-Disposition Date ETag Location OData-EntityId OData-Version Preference-Applied "
        "REQ_ID Retry-After WWW-Authenticate x-ms-dop-hint x-ms-ratelimit-burst-remaining-xrm-requests "
        "x-ms-ratelimit-time-remaining-xrm-requests x-ms-service-request-id"
    )
)
BODY_KEPT = 2000
"""Bytes of a body that are kept."""
_SECRETS = re.compile(
    r"((?:^|[?&#])(?:client_secret|client_assertion|assertion|access_token|id_token|refresh_token|password|code"
    r"|device_code|code_verifier)=)[^&#]*"
)
_CREDENTIALS = re.compile(r"^((?:proxy-)?authorization|cookie)(:[ \t]*)[^\r\n]+", re.IGNORECASE | re.MULTILINE)
_HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Entry:
    """One request and its answer. `at` is the emulator's time, `seconds` how long the answer was held back."""

    number: int
    at: datetime
    face: str
    """Who answered: `web api`, `identity` or `control`."""
    title: str
    user: str
    server: int
    request: Request
    status: int
    error: str
    """Code and message of an error answer."""
    rule: str
    operations: tuple[OperationResult, ...]
    fault: str
    cut: str
    seconds: float
    findings: tuple[str, ...]
    response: Response
    request_size: int = 0
    """Bytes of the whole body, of which `request` has the beginning."""
    response_size: int = 0

    @property
    def moment(self) -> str:
        """When the request was answered, in ISO 8601 to the millisecond."""
        return self.at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

    @property
    def target(self) -> str:
        """Path and query, secrets masked."""
        return "/" + masked_url(self.request.url).partition("://")[2].partition("/")[2]

    def data(self) -> dict[str, object]:
        """Return the entry as plain data, secrets masked."""
        return {
            "number": self.number,
            "at": self.moment,
            "face": self.face,
            "title": self.title,
            "user": self.user,
            "server": self.server,
            "method": self.request.method,
            "target": self.target,
            "headers": {name: value for name in KEPT_HEADERS if (value := self.request.header(name)) is not None},
            "body": masked(self.request),
            "status": self.status,
            "error": self.error,
            "rule": self.rule,
            "operations": [asdict(result) for result in self.operations],
            "fault": self.fault,
            "cut": self.cut,
            "seconds": round(self.seconds, 6),
            "findings": list(self.findings),
        }


class Journal:
    """The latest entries, oldest forgotten first, and counts of everything since the last clearing."""

    def __init__(self, size: int = 5000) -> None:
        self._entries: deque[Entry] = deque(maxlen=size)
        self.number = 0
        self.statuses: dict[int, int] = {}
        self.titles: dict[str, int] = {}

    def next_number(self) -> int:
        """Return the number of a request that begins."""
        self.number += 1
        return self.number

    def add(self, entry: Entry) -> None:
        """Keep an entry."""
        self._entries.append(entry)
        self.statuses[entry.status] = self.statuses.get(entry.status, 0) + 1
        title = entry.title.partition(":")[0]
        if title in self.titles or len(self.titles) < 200:  # bounds memory against made-up names
            self.titles[title] = self.titles.get(title, 0) + 1

    def clear(self) -> None:
        """Forget everything and number from one again."""
        self._entries.clear()
        self.number = 0
        self.statuses.clear()
        self.titles.clear()

    def entries(self, *, after: int = 0, limit: int = 200) -> list[Entry]:
        """Return the entries whose number is greater than `after`, at most `limit`, oldest first."""
        return list(self._since(after))[:limit]

    def latest(self, limit: int) -> list[Entry]:
        """Return the last entries, newest first."""
        return list(reversed(self._entries))[:limit]

    def text(self) -> str:
        """Return all kept entries as JSON lines, stable for the same traffic."""
        return "".join(json.dumps(entry.data(), sort_keys=True) + "\n" for entry in self._entries)

    def _since(self, after: int) -> Iterator[Entry]:
        return (entry for entry in self._entries if entry.number > after)


def kept_request(request: Request) -> Request:
    """Return what the journal keeps of a request: no credentials in headers, a bounded body."""
    headers = {name: value for name, value in request.headers.items() if name in KEPT_HEADERS}
    return Request(request.method, request.url, headers, request.body[:BODY_KEPT])


def kept_answer(response: Response, face: str) -> Response:
    """Return what the journal keeps of an answer: no cookies, a bounded body; none of the identity provider's."""
    headers = [pair for pair in response.headers if pair[0] in KEPT_ANSWER_HEADERS]
    if face != "identity":
        return Response(response.status, tuple(headers), response.body[:BODY_KEPT])
    return Response(response.status, tuple((name, masked_url(value)) for name, value in headers))


def masked(request: Request) -> str:
    """Return the kept body as text, secrets of form fields and credentials within a batch hidden."""
    text, kind = request.body.decode(errors="replace"), request.header("content-type") or ""
    if kind.startswith("application/x-www-form-urlencoded"):
        return _SECRETS.sub(lambda value: value[1] + _HIDDEN, text)
    if kind.startswith("multipart/"):
        return _CREDENTIALS.sub(lambda value: value[1] + value[2] + _HIDDEN, text)
    return text


def masked_url(url: str) -> str:
    """Return an address with the secrets in its query and fragment hidden."""
    return _SECRETS.sub(lambda value: value[1] + _HIDDEN, url) if "=" in url else url


def error_of(response: Response) -> str:
    """Return code and message of an error answer in any of the shapes the service uses, or an empty text."""
    if response.status < HTTPStatus.BAD_REQUEST or not response.body:
        return ""
    try:
        data = json.loads(response.body)
    except ValueError:
        return ""
    error = data.get("error") if isinstance(data, dict) else None
    if isinstance(error, dict):
        return f"{error.get('code', '')} {error.get('message', '')}".strip()
    if isinstance(error, str):
        return f"{error} {str(data.get('error_description', '')).partition(' Trace ID:')[0]}".strip()
    return str(data.get("Message", "")) if isinstance(data, dict) else ""


_UNKNOWN = -1
_FORM = "application/x-www-form-urlencoded"

Json = dict[str, object]


def har_data(entries: Iterable[Entry]) -> Json:
    """Return journal entries as one HAR document."""
    creator = {"name": "Dataverse emulator", "version": _version()}
    return {"log": {"version": "1.2", "creator": creator, "pages": [], "entries": [_entry(entry) for entry in entries]}}


def _entry(entry: Entry) -> Json:
    milliseconds = round(entry.seconds * 1000, 3)
    return {
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
        "_operations": entry.data()["operations"],
    }


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
        part = f"The first {len(response.body)}" if response.body else "None"
        content["comment"] = f"{part} of {entry.response_size} bytes are kept."
    return {
        "status": response.status,
        "statusText": responses.get(response.status, ""),
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
