"""Writes a `$batch` and reads its answer: multipart/mixed by hand, since the standard library's is slow and lax.

A batch holds reads and change sets; a change set is one transaction. Sources: learn.microsoft.com
/power-apps/developer/data-platform/webapi/execute-batch-operations-using-web-api and OData 4.0 part 1, 11.7. All
line ends are CRLF. Answers come in the order of the operations; a change set that failed answers once, with the
Content-ID of the operation that failed; without `odata.continue-on-error` nothing follows the first failure. The
status of the whole says nothing about the parts: a multipart answer is read whatever it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from connector.dataverse.webapi import SERVICE_PATH, Operation
from connector.errors import InputError
from connector.handler import Response

MAX_OPERATIONS = 1_000
"""Operations in one batch, those inside change sets included."""

_PART = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
_BOUNDARY = re.compile(r'multipart/mixed\s*;(?:.*;)?\s*boundary="?([^";,\s]+)"?', re.IGNORECASE)
_CONTENT_ID = re.compile(rb"^content-id:[ \t]*(.*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_INTERIM = re.compile(rb"HTTP/\d\.\d 1\d\d(?: |\r|$)")
_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3,5})(?: |$)")


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Operations that happen together or not at all; reads may not be among them."""

    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """The answer to one operation; `content_id` is the number it was sent with, or None outside a change set."""

    response: Response
    content_id: int | None = None

    def succeeds_as(self, number: int) -> bool:
        """Return whether this is the success of the operation that was sent with that number."""
        return HTTPStatus.OK <= self.response.status < HTTPStatus.MULTIPLE_CHOICES and self.content_id in (None, number)


@dataclass(frozen=True, slots=True)
class SetAnswer:
    """The answers to one change set: one for each operation, or a single failure; `complete` if none was cut off."""

    parts: tuple[Part, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class Applied:
    """Every operation of the change set succeeded."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The change set failed and nothing of it happened; `index` is the operation that failed, as far as is told."""

    response: Response
    index: int | None


@dataclass(frozen=True, slots=True)
class Missing:
    """No complete answer for the change set: what became of it is not known."""


def write_batch(
    entries: Sequence[Operation | ChangeSet], boundary: str, headers: Sequence[tuple[str, str]] = ()
) -> bytes:
    """Return the body of a batch; `headers` go on every operation.

    Content-IDs count from 1 over the whole batch, in the order of the operations. Raises InputError for more than
    MAX_OPERATIONS.
    """
    common = "".join([f"{name}: {value}\r\n" for name, value in headers])
    pieces: list[str] = []
    content_id = 0
    for number, entry in enumerate(entries, 1):
        pieces.append(f"--{boundary}\r\n")
        if isinstance(entry, Operation):
            content_id += 1
            pieces.append(f"{_PART}\r\n{_message(entry, common)}\r\n")
            continue
        inner = f"changeset_{number}_{boundary}"
        pieces.append(f'Content-Type: multipart/mixed; boundary="{inner}"\r\n\r\n')
        for operation in entry.operations:
            content_id += 1
            pieces.append(f"--{inner}\r\n{_PART}Content-ID: {content_id}\r\n\r\n{_message(operation, common)}\r\n")
        pieces.append(f"--{inner}--\r\n\r\n")
    if content_id > MAX_OPERATIONS:
        raise InputError(f"A batch may hold {MAX_OPERATIONS} operations, not {content_id}.")
    pieces.append(f"--{boundary}--\r\n")
    return "".join(pieces).encode()


def _message(operation: Operation, common: str) -> str:
    """Return `operation` as an HTTP message; one without a body ends in the blank line that its reader needs."""
    lines = f"{operation.method} {SERVICE_PATH}{operation.path} HTTP/1.1\r\n{common}"
    if operation.if_match:
        lines += f"If-Match: {operation.if_match}\r\n"
    if not operation.body:
        return f"{lines}\r\n"
    return f"{lines}Content-Type: application/json; type=entry\r\n\r\n{operation.body}"


def read_batch(response: Response) -> list[Part | SetAnswer] | None:
    """Return the answers in a batch's response, in order, as far as they are complete; None if it is not multipart.

    Reading stops at the first thing that is not as the documents have it: what follows counts as missing.
    """
    boundary = _BOUNDARY.search(response.header("content-type") or "")
    if boundary is None:
        return None
    bodies, _ = _split(b"\r\n" + response.body, boundary[1])
    answers: list[Part | SetAnswer] = []
    for body in bodies:
        answer = _answer(body)
        if answer is None:
            break
        answers.append(answer)
    return answers


def match_change_sets(answers: Sequence[Part | SetAnswer], sizes: Sequence[int]) -> list[Applied | Refused | Missing]:
    """Return what became of each change set; `sizes` are their numbers of operations, in the order sent.

    An answer whose Content-ID belongs to another change set, or whose number of parts fits neither a success nor a
    failure, makes that change set and all behind it Missing.
    """
    fates: list[Applied | Refused | Missing] = []
    first = 1
    for size, answer in zip(sizes, answers, strict=False):
        fate = _fate(answer, first, size)
        if isinstance(fate, Missing):
            break
        fates.append(fate)
        first += size
    fates.extend([Missing()] * (len(sizes) - len(fates)))
    return fates


def _fate(answer: Part | SetAnswer, first: int, size: int) -> Applied | Refused | Missing:
    """Return what `answer` says of the change set whose Content-IDs are `first` to `first + size - 1`."""
    # OData has a failed change set answer with a bare part; Dataverse wraps it like a success. Both are read.
    parts = (answer,) if isinstance(answer, Part) else answer.parts
    whole = isinstance(answer, SetAnswer) and answer.complete and len(parts) == size
    if whole and all(part.succeeds_as(number) for number, part in enumerate(parts, first)):
        return Applied()
    indexes = [None if part.content_id is None else part.content_id - first for part in parts]
    if any(index is not None and not 0 <= index < size for index in indexes):
        return Missing()
    for part, index in zip(parts, indexes, strict=True):
        if part.response.status >= HTTPStatus.BAD_REQUEST:
            return Refused(part.response, index)
    return Missing()


def _split(body: bytes, boundary: str) -> tuple[list[bytes], bool]:
    """Return the complete parts of a multipart body that starts with CRLF, and whether its end was reached.

    A part is complete when a delimiter follows it.
    """
    pieces = body.split(b"\r\n--" + boundary.encode("latin-1", "replace"))
    parts: list[bytes] = []
    for piece in pieces[1:]:
        if piece.startswith(b"--"):
            return parts, True
        if not piece.startswith(b"\r\n"):
            break
        parts.append(piece[2:])
    else:
        parts = parts[:-1]  # the last one has no delimiter after it
    return parts, False


def _answer(body: bytes) -> Part | SetAnswer | None:
    """Return the answer in one part of a batch, or None if it is malformed."""
    head, blank, content = body.partition(b"\r\n\r\n")
    if not blank:
        return None
    boundary = _BOUNDARY.search(head.decode("latin-1"))
    if boundary is None:
        return _part(head, content)
    bodies, complete = _split(b"\r\n" + content, boundary[1])
    parts: list[Part] = []
    for inner in bodies:
        head, blank, content = inner.partition(b"\r\n\r\n")
        part = _part(head, content) if blank else None
        if part is None:
            return SetAnswer(tuple(parts), complete=False)
        parts.append(part)
    return SetAnswer(tuple(parts), complete)


def _part(head: bytes, content: bytes) -> Part | None:
    """Return the HTTP message in `content` with the Content-ID in the head of its part, or None if it is malformed.

    An answer without a body says what it has to say by its status, and a batch has many: its headers are not read.
    Interim answers before it (1xx) are passed over.
    """
    message, _, body = content.partition(b"\r\n\r\n")
    while _INTERIM.match(message):
        message, _, body = body.partition(b"\r\n\r\n")
    line, _, rest = message.partition(b"\r\n")
    status = _STATUS.match(line)
    content_id = _CONTENT_ID.search(head)
    number = content_id[1] if content_id else b""
    if status is None or (number and not (number.isdigit() and len(number) <= 6)):  # far beyond a batch
        return None
    headers = () if status[1] == b"204" else _headers(rest)
    return Part(Response(int(status[1]), headers, body), int(number) if number else None)


def _headers(lines: bytes) -> tuple[tuple[str, str], ...]:
    fields = (line.partition(":") for line in lines.decode("latin-1").split("\r\n"))
    return tuple([(name.strip(), value.strip()) for name, colon, value in fields if colon])
