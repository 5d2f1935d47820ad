"""Takes `$batch` bodies apart and puts batch answers together: multipart/mixed with HTTP messages inside.

The service insists on CRLF line ends everywhere, the last line included (support article on Web API client errors:
"Stream was not readable."); `strict=False` accepts bare line feeds too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


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
