"""Reads answers: errors of every shape become the tree in `connector.errors`, JSON becomes plain values.

Shapes of an error body: `{"error": {"code", "message", annotations}}`, `{"Message"}`, nothing, HTML, or any of
these cut short. Codes come as hexadecimal text, as decimal text or empty. Sources: learn.microsoft.com
/power-apps/developer/data-platform/webapi/compose-http-requests-handle-errors and the samples of Microsoft's clients.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

from connector.dataverse import error_codes
from connector.dataverse.error_codes import Case
from connector.errors import (
    Broken,
    ConnectorError,
    Effect,
    Forbidden,
    Malformed,
    NotFound,
    Rejected,
    ServiceError,
    Stale,
    Throttled,
    Unanswered,
    Unauthorized,
)
from connector.handler import Response

_CDS = "@Microsoft.PowerApps.CDS."
_LONGEST_DETAIL = 4_000
_DEFAULT_WAIT = 5.0  # seconds; what Microsoft's ServiceClient waits when a 429 carries no Retry-After
_TITLE = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)
_PRIVILEGE = re.compile(r"\b(prv[A-Za-z0-9_]{1,100})\b")
_ON_TABLE = re.compile(r"for entity '([a-z0-9_]{1,100})'")
_AUTHORITY = re.compile(r"authorization_uri=\"?https://[^/\s\"]+/([A-Za-z0-9.-]+)/", re.IGNORECASE)
_ROW_MISSING = re.compile(r"([a-z][a-z0-9_]{1,100}) With Ids? = ([0-9a-f-]{36}) Do(?:es)? Not Exist", re.IGNORECASE)
_COLUMN = re.compile(
    r"\bproperty '([a-z][a-z0-9_.@]{0,99})' (?:was found in entity|does not exist|which only)", re.IGNORECASE
)
_LOOKUP = re.compile(r"do not support direct update of Entity Reference properties", re.IGNORECASE)
_PAYLOAD_CODE, _PAYLOAD_WORDS = "0x80048d19", "An error occurred while validating input parameters"
_NUMBER = re.compile(r"\d[\d,]*")
_DEADLOCK = re.compile(r"Sql Number: 1205\b|deadlock", re.IGNORECASE)
_KINDS: dict[int, type[ServiceError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound, 412: Stale}
_LIMITS = {
    "count": "the service protection limit on the number of requests",
    "time": "the service protection limit on execution time",
    "concurrency": "the service protection limit on concurrent requests",
    "other": "a limit of the service",
}
_BY_STATUS = {
    401: Case("the organization did not accept the token."),
    403: Case("the user is not allowed to do this.", "Run `connector doctor`: it checks the privileges."),
    404: Case("nothing was found at this address.", "Check DATAVERSE_URL and the id."),
    405: Case("the organization does not allow this operation here."),
    408: Case("the request took too long to arrive.", "Try again later.", Effect.UNKNOWN, transient=True),
    412: Case("the record is no longer as it was read.", "Look at it again before deciding."),
    413: Case("the request is too large for the organization.", "Send fewer opportunities in one batch."),
}


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What an error body says: the code in lower-case hexadecimal or empty, and the text or empty."""

    code: str
    detail: str


def expect(response: Response, subject: str) -> Response:
    """Return `response` if it is a success; else raise what `error_from` makes of it."""
    if 200 <= response.status < 300:
        return response
    raise error_from(response, subject)


def error_from(response: Response, subject: str) -> ServiceError:
    """Return the failure that `response` reports, for `subject` ("Closing quote 2222..."): never raises.

    `message` and `remedy` hold ids, names of privileges and numbers only; the service's own text, which may be a
    customer's, is in `detail`. A 429 gives Throttled with `retry_after` in seconds.
    """
    body = error_body(response)
    case = _case(response.status, body)
    request_id = service_request_id(response)
    facet = error_codes.FACETS.get(body.code)
    if facet is not None or response.status == 429:  # Too Many Requests
        return _throttled(response, body, facet or "other", subject)
    kind = _kind(response.status, case)
    error = kind(
        f"{subject}: {_sentence(response, body, case)}",
        status=response.status,
        code=body.code,
        detail=body.detail,
        request_id=request_id,
        remedy=_remedy(response, case),
    )
    if case.effect is not None:
        error.effect = case.effect
    if case.transient is not None:
        error.transient = case.transient
    return error


def error_body(response: Response) -> ErrorBody:
    """Return the code and text of an error body of any shape."""
    text = response.body.decode("utf-8", "replace").lstrip("\ufeff").strip()
    if not text.startswith("{"):
        return _named(response.status, "", "", _plain(text))
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return _named(response.status, *_salvaged(text))
    error = data.get("error", data.get("Error", data))
    if not isinstance(error, dict):
        return _named(response.status, "", "", "" if error is None else str(error))
    message = error.get("message") or error.get("Message") or error.get(f"{_CDS}InnerError.Message") or ""
    name = error.get(f"{_CDS}ErrorDetails.ApiExceptionMessageName") or error.get(
        f"{_CDS}ErrorDetails.ApiExceptionMesageName",  # as older builds spell it
    )
    return _named(response.status, _code(error.get("code")), str(name or ""), str(message))


def retry_after(response: Response) -> float | None:
    """Return the seconds that Retry-After asks for (a number or an HTTP date against the answer's Date), or None.

    Other numbers in the service's headers carry a thousands comma, so one is understood here too.
    """
    value = (response.header("retry-after") or "").strip()
    number = value.replace(",", "")
    if number.isascii() and number.isdigit() and len(number) < 10:  # longer is not a wait
        return float(number)
    until, now = http_date(value), http_date(response.header("date") or "")
    if until is None or now is None:
        return None
    return max(0.0, (until - now).total_seconds())


def service_request_id(response: Response) -> str:
    """Return the service's id of the request, for support: REQ_ID, else x-ms-service-request-id, else empty.

    A front end repeats the header, which arrives as two ids joined by a comma: the last is the one nearest the data.
    """
    value = response.header("req_id") or response.header("x-ms-service-request-id") or ""
    return value.rpartition(",")[2].strip()[:64]


def http_date(value: str) -> datetime | None:
    """Return the moment in an HTTP date header, in UTC, or None if it is not one."""
    try:
        moment = parsedate_to_datetime(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


@contextmanager
def decoding(subject: str) -> Iterator[None]:
    """Turn anything a decoder trips over into Unanswered: the answer is not what the Web API sends."""
    try:
        yield
    except ConnectorError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError, RecursionError):
        unreadable(subject)


def unreadable(subject: str) -> NoReturn:
    """Raise the failure of an answer that cannot be read, without what it trips over: it may be customer text."""
    raise Unanswered(
        f"{subject}: the answer is not one that the Dataverse Web API sends, or it was cut short.",
        remedy="Check that DATAVERSE_URL is the organization's own address; if it is, try again.",
    ) from None


def json_object(response: Response, subject: str) -> dict[str, Any]:
    """Return the JSON object in a successful `response`, decimals exact; raises as `expect`, or Unanswered."""
    with decoding(subject):
        data = json.loads(expect(response, subject).body, parse_float=Decimal)
        if isinstance(data, dict):
            return data
    unreadable(subject)


def _kind(status: int, case: Case) -> type[ServiceError]:
    if status >= 500:
        return Broken
    return _KINDS.get(status) or case.kind or Rejected


def _case(status: int, body: ErrorBody) -> Case:
    if body.code in error_codes.DEADLOCK_CODES and _DEADLOCK.search(body.detail):
        return error_codes.DEADLOCK
    malformed = _malformed(body) if status == 400 else None
    if malformed is not None:
        return malformed
    known = error_codes.CASES.get(body.code) or _BY_STATUS.get(status)
    if known is not None:
        return known
    if status >= 500:
        return Case(f"the service failed (HTTP {status}).", "Try again later.")
    if 300 <= status < 400:
        return Case(f"the answer was a redirect (HTTP {status}), which is not followed.", "Check DATAVERSE_URL.")
    return Case(f"the service turned it down (HTTP {status}).")


def _malformed(body: ErrorBody) -> Case | None:
    """Return the case of a body that the service does not understand; the name of a column is nobody's secret."""
    if column := _COLUMN.search(body.detail):
        sentence, remedy = f"the table has no column {column[1]}.", "Check the logical names of the columns."
    elif _LOOKUP.search(body.detail):
        sentence, remedy = "a lookup was given a plain value.", "Set a lookup as NAME@odata.bind: table(id)."
    elif body.code == _PAYLOAD_CODE or body.detail.startswith(_PAYLOAD_WORDS):
        sentence, remedy = "it does not understand a value.", "Check that each column is given a value of its type."
    else:
        return None
    return Case(sentence, remedy, Effect.NONE, transient=False, kind=Malformed)


def _sentence(response: Response, body: ErrorBody, case: Case) -> str:
    code = f" ({body.code})" if body.code else ""
    if body.code == "0x80040220" and (privilege := _PRIVILEGE.search(body.detail)):
        table = _ON_TABLE.search(body.detail)
        return f"the user lacks the privilege {privilege[1]}{f' on {table[1]}' if table else ''}{code}."
    if body.code == "0x80040217" and (row := _ROW_MISSING.match(body.detail)):
        return f"there is no {row[1].lower()} {row[2]}{code}."
    if response.status == 401 and (tenant := _AUTHORITY.search(response.header("www-authenticate") or "")):
        return f"the organization did not accept the token; it signs in with tenant {tenant[1]}."
    return f"{case.sentence[:-1]}{code}."


def _remedy(response: Response, case: Case) -> str:
    if response.status != 401 or case.remedy:
        return case.remedy
    return "Check that DATAVERSE_TENANT_ID is the organization's tenant and DATAVERSE_URL its address."


def _throttled(response: Response, body: ErrorBody, facet: str, subject: str) -> Throttled:
    asked = retry_after(response)
    wait = _DEFAULT_WAIT if asked is None else asked
    numbers = _NUMBER.findall(body.detail) if facet != "other" else []
    limit = f" ({', '.join(numbers)})" if numbers else ""
    return Throttled(
        f"{subject}: {_LIMITS[facet]}{limit} was reached.",
        retry_after=wait,
        facet=facet,
        status=response.status,
        code=body.code,
        detail=body.detail,
        request_id=service_request_id(response),
        remedy=f"Nothing happened; try again in {wait:.0f} seconds.",
    )


def _named(status: int, code: str, name: str, detail: str) -> ErrorBody:
    """Return the body with the code that its exception name or its text stands for, where the code is empty."""
    code = code or error_codes.NAMES.get(name, "")
    if not code:
        lowered = detail.lower()
        code = next((c for s, text, c in error_codes.TEXTS if s == status and text in lowered), "")
    return ErrorBody(code, detail[:_LONGEST_DETAIL])


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


def _plain(text: str) -> str:
    """Return the title of an HTML page, or the text itself."""
    title = _TITLE.search(text)
    return title[1].strip() if title else text
