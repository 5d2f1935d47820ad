"""`$batch`: reads a multipart body into operations and change sets, has them executed in order, and answers in kind.

A body is multipart/mixed with HTTP messages inside. The service insists on CRLF line ends everywhere, the last line
included (support article on Web API client errors: "Stream was not readable."); `strict=False` accepts bare line feeds
too.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import responses

from connector.emulator.api.operation import VERSION
from connector.emulator.http.exchange import ApiResponse, OperationResult
from connector.emulator.rules.rule import refuse
from connector.emulator.world.store import Store
from connector.handler import Response


class MultipartError(Exception):
    """The body is not the multipart message its content type promises."""


@dataclass(frozen=True, slots=True)
class BodyPart:
    """One part of a multipart body: its headers (names in lower case) and the bytes after the blank line."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class InnerRequest:
    """The HTTP request inside a part of type application/http; `target` is as written on the request line."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


# RFC 2046, 5.1.1: up to 70 of these characters. The documents show the boundary with and without quotes.
_BOUNDARY = re.compile(r"""(?:^|;)\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))\s*(?:;|$)""", re.IGNORECASE)
_METHODS = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE"})


def boundary_of(content_type: str | None) -> str | None:
    """Return the boundary that a multipart/mixed content type names; None when it is of another type or names none."""
    if content_type is None:
        return None
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower() != "multipart/mixed":
        return None
    match = _BOUNDARY.search(parameters)
    return (match.group(1) or match.group(2)) if match else None


def split(body: bytes, boundary: str, *, strict: bool) -> list[BodyPart]:
    """Return the parts of `body` in order. Raises MultipartError when a delimiter, a header or a line end is wrong."""
    if not strict:
        body = body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    delimiter = b"--" + boundary.encode("latin-1", "replace")
    chunks = (b"\r\n" + body).split(b"\r\n" + delimiter)
    if len(chunks) < 2:  # a preamble and one part at the least
        raise MultipartError(f"The boundary '{boundary}' does not occur in the body.")
    parts: list[BodyPart] = []
    for chunk in chunks[1:]:
        if chunk.startswith(b"--"):
            if chunk.strip(b"- \t\r\n"):
                raise MultipartError("Text stands after the closing delimiter.")
            return parts
        parts.append(_part(chunk))
    raise MultipartError("The closing delimiter is missing.")


def _part(chunk: bytes) -> BodyPart:
    end_of_line, after = chunk[:2], chunk[2:]
    if end_of_line != b"\r\n":
        padding = chunk.lstrip(b" \t")
        if not padding.startswith(b"\r\n"):
            raise MultipartError("Stream was not readable.")
        after = padding[2:]
    if after.startswith(b"\r\n"):
        return BodyPart({}, after[2:])
    head, blank, body = after.partition(b"\r\n\r\n")
    if not blank:
        raise MultipartError("Stream was not readable.")
    return BodyPart(headers(head), body)


def headers(head: bytes) -> dict[str, str]:
    """Return the header lines of `head` by lower-case name. Raises MultipartError for a line without a name."""
    fields: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or "\n" in line:
            raise MultipartError("Stream was not readable.")
        key = name.lower()
        if key in fields and key != "prefer":
            raise MultipartError(f"The header '{name}' was given more than once.")
        fields[key] = f"{fields[key]}, {value.strip()}" if key in fields else value.strip()
    return fields


def inner_request(part: BodyPart) -> InnerRequest:
    """Return the request inside a part. Raises MultipartError when it is not one."""
    line_bytes, end, rest = part.body.partition(b"\r\n")
    words = line_bytes.decode("latin-1").split(" ")
    if not end or "\n" in words[-1]:
        raise MultipartError("Stream was not readable.")
    if len(words) < 3 or words[-1] != "HTTP/1.1" or words[0] not in _METHODS:  # method, target, version
        raise MultipartError(f"The request line '{line_bytes.decode('latin-1')[:200]}' could not be read.")
    target = " ".join(words[1:-1])
    if rest.startswith(b"\r\n"):
        return InnerRequest(words[0], target, {}, _body(rest[2:]))
    head, blank, body = rest.partition(b"\r\n\r\n")
    if not blank:
        # The second of the two line ends that must follow the last header belongs to the delimiter here.
        if rest and not rest.endswith(b"\r\n"):
            raise MultipartError("Stream was not readable.")
        return InnerRequest(words[0], target, headers(rest[:-2]) if rest else {})
    return InnerRequest(words[0], target, headers(head), _body(body))


def _body(body: bytes) -> bytes:
    return body if body.strip() else b""


def join(parts: list[bytes], boundary: str) -> bytes:
    """Return the multipart body made of `parts`, each already with its headers and its blank line."""
    delimiter = b"--" + boundary.encode("ascii")
    body = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts)
    return body + delimiter + b"--\r\n"


MOST_OPERATIONS = 1000
"""Operations in one batch, those inside change sets included (execute-batch-operations)."""

_STREAMING = "application/json; odata.metadata=minimal; odata.streaming=true"
_FAILED = HTTPStatus.BAD_REQUEST

_ENCODING = (
    "A missing or invalid 'Content-Transfer-Encoding' header was found. The 'Content-Transfer-Encoding' header must be "
    "specified for each batch operation, and its value must be 'binary'."
)
"""The words of OData.NET, which the service is built on."""


@dataclass(frozen=True, slots=True)
class SingleOperation:
    """One operation outside a change set."""

    request: InnerRequest


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Operations that happen together or not at all, each with its Content-ID."""

    requests: tuple[tuple[str, InnerRequest], ...]


@dataclass(slots=True)
class ContentIdReferences:
    """The rows that the operations of one change set have made or named so far, by Content-ID."""

    paths: dict[str, str] = field(default_factory=dict)

    def resolve(self, written: str) -> str:
        """Return the path that `$written` stands for, `/more` kept; raises Refused for an unknown Content-ID."""
        content_id, slash, rest = written.partition("/")
        if content_id not in self.paths:
            raise refuse("batch.content_id", content_id)
        return self.paths[content_id] + slash + rest


Execute = Callable[[InnerRequest, ContentIdReferences, bool], tuple[Response, OperationResult]]
"""Executes one operation; the last argument tells whether it stands in a change set."""


def read_batch(content_type: str | None, body: bytes, *, strict: bool) -> list[SingleOperation | ChangeSet]:
    """Return what a batch asks for; raises Refused (400) when any part of it cannot be understood."""
    boundary = boundary_of(content_type)
    if boundary is None:
        raise refuse("batch.body", f"The Content-Type '{content_type}' is not multipart/mixed with a boundary.")
    try:
        if strict and not body.endswith(b"\r\n"):
            raise MultipartError("Stream was not readable.")  # noqa: TRY301 - one wording for every wrong line end
        items = [_item(part, strict=strict) for part in split(body, boundary, strict=strict)]
    except MultipartError as error:
        raise refuse("batch.body", str(error)) from None
    count = sum(1 if isinstance(item, SingleOperation) else len(item.requests) for item in items)
    if count > MOST_OPERATIONS:
        raise refuse(
            "batch.content",
            "The current change set contains too many operations. Only change sets with a maximum number of "
            f"'{MOST_OPERATIONS}' operations are allowed.",
        )
    if not items:
        raise refuse("batch.body", "The batch has no parts.")
    return items


def _item(part: BodyPart, *, strict: bool) -> SingleOperation | ChangeSet:
    content_type = part.headers.get("content-type")
    inner = boundary_of(content_type)
    if inner is None:
        return SingleOperation(_request(part))
    unknown = set(part.headers) - {"content-type", "content-length", "content-transfer-encoding"}
    if unknown:
        raise MultipartError(f"The header '{min(unknown)}' is not known for a change set.")
    requests: dict[str, InnerRequest] = {}
    for member in split(part.body, inner, strict=strict):
        request = _request(member)
        content_id = member.headers.get("content-id") or request.headers.get("content-id") or ""
        _check_member(request, content_id, requests)
        requests[content_id] = request
    if not requests:
        raise MultipartError("A change set has no parts.")
    return ChangeSet(tuple(requests.items()))


def _request(part: BodyPart) -> InnerRequest:
    content_type = part.headers.get("content-type", "")
    if boundary_of(content_type) is not None:
        raise refuse("batch.content", "A change set cannot be nested in a change set.")
    if content_type.partition(";")[0].strip().lower() != "application/http":
        raise MultipartError(f"The Content-Type '{content_type}' of a part is not application/http.")
    unknown = set(part.headers) - {"content-type", "content-transfer-encoding", "content-id", "content-length"}
    if unknown:
        raise MultipartError(f"The header '{min(unknown)}' is not known for a part.")
    if part.headers.get("content-transfer-encoding", "").lower() != "binary":
        raise MultipartError(_ENCODING)
    request = inner_request(part)
    if request.target.partition("?")[0].rstrip("/").endswith("$batch"):
        raise refuse("batch.content", "A batch cannot be nested in a batch.")
    return request


def _check_member(request: InnerRequest, content_id: str, known: Container[str]) -> None:
    if request.method == "GET":
        raise refuse("batch.content", "An invalid HTTP method 'GET' was detected for a request in a change set.")
    if not content_id:
        raise refuse("batch.content_id_missing")
    if content_id in known:
        raise refuse(
            "batch.content",
            f"The content ID '{content_id}' was found more than once in the same change set or same batch request.",
        )


class _Undo(Exception):
    """Leaves the transaction of a change set, undoing it, with the status of the operation that failed."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Batch:
    """Executes what `read_batch` returned; `chance` gives the boundaries and the request ids of failures."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self._store = store
        self._chance = chance

    def answer(self, items: list[SingleOperation | ChangeSet], execute: Execute, *, go_on: bool) -> ApiResponse:
        """Execute in order; without `go_on` stop at the first failure, whose status is then that of the whole."""
        parts: list[bytes] = []
        operations: list[OperationResult] = []
        status: int = HTTPStatus.OK
        for item in items:
            if isinstance(item, SingleOperation):
                response, result = execute(item.request, ContentIdReferences(), False)  # noqa: FBT003 - see Execute
                operations.append(result)
                parts.append(self._part(response, item.request.headers.get("content-id")))
                failed = response.status
            else:
                part, failed = self._change_set(item, execute, operations)
                parts.append(part)
            if failed >= _FAILED and not go_on:
                status = failed
                break
        boundary = f"batchresponse_{self._guid()}"
        headers = (("Content-Type", f"multipart/mixed; boundary={boundary}"), VERSION)
        return ApiResponse(Response(status, headers, join(parts, boundary)), tuple(operations))

    def _change_set(
        self, change_set: ChangeSet, execute: Execute, operations: list[OperationResult]
    ) -> tuple[bytes, int]:
        """Return the part of a change set and the status it failed with, 200 when it did not; one part if it failed."""
        references, done = ContentIdReferences(), list[bytes]()
        status: int = HTTPStatus.OK
        try:
            with self._store.transaction():
                for content_id, request in change_set.requests:
                    response, result = execute(request, references, True)  # noqa: FBT003 - see Execute
                    operations.append(result)
                    done.append(self._part(response, content_id))
                    if response.status >= _FAILED:
                        raise _Undo(response.status)  # noqa: TRY301 - the transaction in between ends by it
                    _remember(references, content_id, request, response)
        except _Undo as failed:
            status = failed.status
            del done[:-1]
        boundary = f"changesetresponse_{self._guid()}"
        head = f"Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n".encode()
        return head + join(done, boundary).removesuffix(b"\r\n"), status

    def _part(self, response: Response, content_id: str | None) -> bytes:
        lines = ["Content-Type: application/http", "Content-Transfer-Encoding: binary"]
        if content_id:
            lines.append(f"Content-ID: {content_id}")
        lines += ["", f"HTTP/1.1 {response.status} {responses.get(response.status, 'Unknown')}"]
        if response.status >= _FAILED:
            lines.append(f"REQ_ID: {self._guid()}")
        for name, value in response.headers:
            if name == "OData-EntityId":
                lines.append(f"Location: {value}")
            streaming = name == "Content-Type" and response.status < _FAILED and "json" in value
            lines.append(f"{name}: {_STREAMING if streaming else value}")
        return "\r\n".join([*lines, "", ""]).encode() + response.body

    def _guid(self) -> str:
        digits = f"{self._chance.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


def _remember(references: ContentIdReferences, content_id: str, request: InnerRequest, response: Response) -> None:
    """Note which row a Content-ID stands for: the one that was made, else the one that the request named."""
    made = response.header("OData-EntityId")
    if made is not None:
        references.paths[content_id] = made
    elif request.method in ("PATCH", "PUT") and not request.target.startswith("$"):
        references.paths[content_id] = request.target.partition("?")[0]
