"""Reads error bodies of every shape: what is said, by which code, and which plug-in it comes from.

Shapes: `{"error": {"code", "message", annotations}}`, `{"Message"}`, nothing, HTML, or any of these cut short. Codes
come as hexadecimal text, as decimal text or empty. Sources: learn.microsoft.com
/power-apps/developer/data-platform/webapi/compose-http-requests-handle-errors and the samples of Microsoft's clients.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from connector.dataverse import error_codes
from connector.errors import NOWHERE, Origin
from connector.handler import Response

_CDS = "@Microsoft.PowerApps.CDS."
_LONGEST_DETAIL = _LONGEST_TRACE = 4_000
_TITLE = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)
_TAG = re.compile(r"<[a-z/][^<>]{0,1000}>", re.IGNORECASE)
_CLOSING_TAG = re.compile(r"</[a-z][a-z0-9]*>|<br ?/?>", re.IGNORECASE)
_IDENTIFIER = re.compile(r"[\w.,/+=\- ]{1,300}", re.ASCII)
_HALF = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
_SERVICES_OWN = ("Microsoft.Crm.", "System.")


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What an error body says: the code in lower-case hexadecimal or empty, the text or empty, and where it is from."""

    code: str
    detail: str
    origin: Origin = NOWHERE


def error_body(response: Response) -> ErrorBody:
    """Return the code and text of an error body of any shape."""
    text = response.body.decode("utf-8", "replace").lstrip("\ufeff").strip()
    if not text.startswith("{"):
        return _named(response.status, "", "", _plain(text))
    try:
        data = whole_text(json.loads(text), response.body)
    except (ValueError, RecursionError):
        return _named(response.status, *_salvaged(text))
    error = data.get("error", data.get("Error", data))
    if not isinstance(error, dict):
        return _named(response.status, "", "", "" if error is None else str(error))
    inner = error.get("innererror")
    texts = (
        error.get("message"),
        error.get("Message"),
        inner.get("message") if isinstance(inner, dict) else None,
        error.get(f"{_CDS}InnerError.Message"),
    )
    message = _without_tags(str(next((text for text in texts if text), "")))
    name = error.get(f"{_CDS}ErrorDetails.ApiExceptionMessageName") or error.get(
        f"{_CDS}ErrorDetails.ApiExceptionMesageName"  # as older builds spell it
    )
    body = _named(response.status, _code(error.get("code")), str(name or ""), message)
    return replace(body, origin=_origin(error))


def whole_text(data: Any, body: bytes) -> Any:
    """Return what `body` says in JSON with U+FFFD for halves of surrogate pairs, which no store and no screen takes.

    A text that was cut by its number of UTF-16 units, a plug-in's message say, may end in one.
    """
    return _whole(data) if _HALF.search(body) else data


def _whole(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _whole(value) for name, value in data.items()}
    if isinstance(data, list):
        return [_whole(value) for value in data]
    return data.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(data, str) else data


def sender_of(page: Response) -> str:
    """Return what an HTML page says of who sent it: its title and the headers Server and Via, or an empty text."""
    title = _TITLE.search(page.body[:_LONGEST_DETAIL].decode("utf-8", "replace"))
    signs = [("the page is called", title[1] if title else "")]
    signs += [(f"{name} is", page.header(name) or "") for name in ("Server", "Via")]
    return ", ".join(f"{what} {' '.join(text.split())[:100]!r}" for what, text in signs if text.strip())


def _origin(error: Mapping[str, Any]) -> Origin:
    """Return which plug-in and step the annotations name; the service's own logic is not worth naming."""
    details = f"{_CDS}ErrorDetails."
    plug_in = _name(error.get(f"{details}ApiExceptionSourceKey")).removeprefix("Plugin/").partition(",")[0]
    trace = str(error.get(f"{_CDS}TraceText") or "").strip()[:_LONGEST_TRACE]
    if not plug_in or plug_in.startswith(_SERVICES_OWN):
        return Origin(trace=trace) if trace else NOWHERE
    solutions = (f"{details}ApiStepSolutionNameKey", f"{details}ApiPluginSolutionNameKey")
    solution = next((name for key in solutions if (name := _name(error.get(key)))), "")
    return Origin(plug_in, _name(error.get(f"{details}ApiStepKey")), solution, trace)


def _name(value: object) -> str:
    """Return an annotation that is the name or id of a thing, and not a text."""
    text = str(value or "").strip()
    return text if _IDENTIFIER.fullmatch(text) and text.strip("0-") else ""


def _named(status: int, code: str, name: str, detail: str) -> ErrorBody:
    """Return the body with the code that its exception name or its text stands for, where the code is empty."""
    code = code or error_codes.NAMES.get(name, "")
    if not code:
        lowered = detail.lower()
        code = next((c for s, text, c in error_codes.TEXTS if s == status and text in lowered), "")
    return ErrorBody(code, detail if len(detail) <= _LONGEST_DETAIL else f"{detail[: _LONGEST_DETAIL - 1]}…")


def _code(value: object) -> str:
    """Return a code given as hexadecimal or decimal text (or a number) in lower-case hexadecimal; 0x0 is no code."""
    try:
        text = str(value).strip().lower()
        number = int(text, 16) if text.startswith("0x") else int(text)
    except ValueError:
        return ""
    return f"0x{number & 0xFFFFFFFF:08x}" if number else ""


def _salvaged(text: str) -> tuple[str, str, str]:
    """Return the code, no name and the text of a JSON error body that was cut short."""
    code = re.search(r'"code"\s*:\s*"([^"]*)"', text)
    message = re.search(r'"[mM]essage"\s*:\s*"((?:[^"\\]|\\.)*)', text)
    return _code(code[1] if code else ""), "", message[1] if message else ""


def _without_tags(text: str) -> str:
    """Return a text for people without the HTML that plug-ins write for a form's dialog."""
    if not _CLOSING_TAG.search(text):
        return text
    return " ".join(html.unescape(_TAG.sub(" ", text)).split())


def _plain(text: str) -> str:
    """Return the title of an HTML page, or the text itself."""
    title = _TITLE.search(text)
    return title[1].strip() if title else text
