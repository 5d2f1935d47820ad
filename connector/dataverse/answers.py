"""Reads answers: errors of every shape become the tree in `connector.errors`, JSON becomes plain values.

Source: learn.microsoft.com/power-apps/developer/data-platform/webapi/compose-http-requests-handle-errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NoReturn

from connector.dataverse import error_codes
from connector.dataverse.error_bodies import ErrorBody, error_body, whole_text
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

_DEFAULT_WAIT = 5.0  # seconds; what Microsoft's ServiceClient waits when a 429 carries no Retry-After
_LONGEST_WAIT = 86_400.0
_NO_HTTP_STATUS = 600
_PRIVILEGE = re.compile(r"\b(prv[A-Za-z0-9_]{1,100})\b")
_ON_TABLE = re.compile(r"for entity '([a-z0-9_]{1,100})'")
_RIGHT = re.compile(r"AccessRights: ([A-Za-z]{1,40})")
_AUTHORITY = re.compile(r"authorization_uri=\"?https://[^/\s\"]+/([A-Za-z0-9.-]+)/", re.IGNORECASE)
_ROW_MISSING = re.compile(r"([a-z][a-z0-9_]{1,100}) With Ids? = ([0-9a-f-]{36}) Do(?:es)? Not Exist", re.IGNORECASE)
_COLUMN = re.compile(
    r"\bproperty '([a-z][a-z0-9_.@]{0,99})' (?:was found in entity|does not exist|which only)", re.IGNORECASE
)
_LOOKUP = re.compile(r"do not support direct update of Entity Reference properties", re.IGNORECASE)
_PAYLOAD_CODE, _PAYLOAD_WORDS = "0x80048d19", "An error occurred while validating input parameters"
_INVALID_STATE = re.compile(r"target state|invalid state|not in (?:a|an|the) \w+ state|state transition", re.IGNORECASE)
_TOO_LARGE = re.compile(
    r"exceed.{0,60}\b(?:batch|change ?set|requests|operations)\b|too many (?:operations|requests) in"
    r"|(?:batch|change ?set)(?: size)? exceed",
    re.IGNORECASE,
)
_NO_TELLING = ("", "0x80040216")
_NUMBER = re.compile(r"\d[\d,]*")
_DEADLOCK = re.compile(r"Sql Number: 1205\b|deadlock", re.IGNORECASE)
_KINDS: dict[int, type[ServiceError]] = {
    HTTPStatus.UNAUTHORIZED: Unauthorized,
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.PRECONDITION_FAILED: Stale,
}
_LIMITS = {
    "count": "the service protection limit on the number of requests",
    "time": "the service protection limit on execution time",
    "concurrency": "the service protection limit on concurrent requests",
    "other": "a limit of the service",
}
_BY_STATUS: Mapping[int, Case] = {
    HTTPStatus.UNAUTHORIZED: Case("the organization did not accept the token."),
    HTTPStatus.FORBIDDEN: Case(
        "the user is not allowed to do this.", "Run `connector doctor`: it checks the privileges."
    ),
    HTTPStatus.NOT_FOUND: Case("nothing was found at this address.", "Check DATAVERSE_URL and the id."),
    HTTPStatus.METHOD_NOT_ALLOWED: Case("the organization does not allow this operation here."),
    HTTPStatus.REQUEST_TIMEOUT: Case(
        "the request took too long to arrive.", "Try again later.", Effect.UNKNOWN, transient=True
    ),
    HTTPStatus.PRECONDITION_FAILED: Case(
        "the record is no longer as it was read.", "Look at it again before deciding."
    ),
}


def expect(response: Response, subject: str) -> Response:
    """Return `response` if it is a success; else raise what `error_from` makes of it."""
    if HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
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
    if facet is not None or (response.status == HTTPStatus.TOO_MANY_REQUESTS and not _is_own_logic(body)):
        return _throttled(response, body, facet or "other", subject)
    kind = _kind(response.status, body, case)
    error = kind(
        f"{subject}: {_sentence(response, body, case)}",
        status=response.status,
        code=body.code,
        detail=body.detail,
        request_id=request_id,
        remedy=_remedy(response, case),
        origin=body.origin,
    )
    error.timed_out = case.timed_out and not body.origin.plug_in  # a plug-in is as slow with less at once
    error.lasting = case.lasting or _fails_oddly(response.status, body)
    if case.effect is not None:
        error.effect = case.effect
    elif body.origin.plug_in:
        error.effect = Effect.NONE  # a plug-in that is named ended the transaction it runs in
    if case.transient is not None:
        error.transient = case.transient
    return error


def retry_after(response: Response) -> float | None:
    """Return the seconds that Retry-After asks for (a number or an HTTP date against the answer's Date), or None.

    Other numbers in the service's headers carry a thousands comma, so one is understood here too. A day is the longest.
    """
    value = (response.header("retry-after") or "").strip()
    number = value.replace(",", "")
    if number.isascii() and number.isdigit():
        return min(_LONGEST_WAIT, float(number))
    until, now = http_date(value), http_date(response.header("date") or "")
    if until is None or now is None:
        return None
    return min(_LONGEST_WAIT, max(0.0, (until - now).total_seconds()))


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
        body = expect(response, subject).body
        data = whole_text(json.loads(body, parse_float=Decimal), body)
        if isinstance(data, dict):
            return data
    unreadable(subject)


def _is_own_logic(body: ErrorBody) -> bool:
    """Return whether the organization's own logic speaks: then the status is its own choice, and tells nothing.

    Source: PluginHttpStatusCode (Microsoft.Xrm.Sdk): a plug-in may end with 401, 403, 404, 412, 429 and others.
    """
    return body.code in error_codes.RULES or bool(body.origin.plug_in and body.code not in error_codes.CASES)


def _kind(status: int, body: ErrorBody, case: Case) -> type[ServiceError]:
    if _is_server_error(status):
        return Broken
    if _is_own_logic(body):
        return Rejected
    return case.kind or _KINDS.get(status) or Rejected


def _is_server_error(status: int) -> bool:
    """Return whether the service failed; actions of the organization's own may answer with numbers beyond these."""
    return HTTPStatus.INTERNAL_SERVER_ERROR <= status < _NO_HTTP_STATUS


def _case(status: int, body: ErrorBody) -> Case:
    if body.code in error_codes.DEADLOCK_CODES and _DEADLOCK.search(body.detail):
        return error_codes.DEADLOCK
    own = error_codes.STOPPED if _is_own_logic(body) and not _is_server_error(status) else None
    by_text = _told_by_text(status, body) if not own and not _is_server_error(status) else None
    known = by_text or error_codes.CASES.get(body.code) or own or _BY_STATUS.get(status)
    if known is not None:
        return known
    if _is_server_error(status):
        return Case(f"the service failed (HTTP {status}).", "Try again later.")
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return Case(f"the answer was a redirect (HTTP {status}), which is not followed.", "Check DATAVERSE_URL.")
    return Case(f"the service turned it down (HTTP {status}).")


def _told_by_text(status: int, body: ErrorBody) -> Case | None:
    """Return what the text of a refusal tells that its code does not."""
    bad = status == HTTPStatus.BAD_REQUEST
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or (bad and _TOO_LARGE.search(body.detail)):
        return error_codes.TOO_LARGE
    if body.code in _NO_TELLING and _INVALID_STATE.search(body.detail):
        return error_codes.INVALID_STATE
    return _malformed(body) if bad else None


def _fails_oddly(status: int, body: ErrorBody) -> bool:
    """Return whether a failure of the service is none that passes by itself as a rule, as a busy gateway's does."""
    return (
        status == HTTPStatus.INTERNAL_SERVER_ERROR
        and body.code not in error_codes.CASES
        and not _DEADLOCK.search(body.detail)
    )


def _malformed(body: ErrorBody) -> Case | None:
    """Return the case of a body that the service does not understand; the name of a column is no secret."""
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
    inside = f", in the plug-in {body.origin.plug_in}" if body.origin.plug_in else ""
    if body.code == "0x80040220" and (privilege := _PRIVILEGE.search(body.detail)):
        table = _ON_TABLE.search(body.detail)
        return f"the user lacks the privilege {privilege[1]}{f' on {table[1]}' if table else ''}{code}{inside}."
    if body.code == "0x80048306" and (right := _RIGHT.search(body.detail)):
        return f"the user lacks {right[1]} to this row{code}{inside}."
    if body.code == "0x80040217" and (row := _ROW_MISSING.match(body.detail)):
        return f"there is no {row[1].lower()} {row[2]}{code}{inside}."
    if response.status == HTTPStatus.UNAUTHORIZED and (
        tenant := _AUTHORITY.search(response.header("www-authenticate") or "")
    ):
        return f"the organization did not accept the token; it signs in with tenant {tenant[1]}."
    if body.origin.plug_in and _is_own_logic(body):
        solution = f" of the solution {body.origin.solution}" if body.origin.solution else ""
        step = f", step {body.origin.step_id}" if body.origin.step_id else ""
        return f"{case.sentence[:-1]}{code}: {body.origin.plug_in}{solution}{step}."
    return f"{case.sentence[:-1]}{code}{inside}."


def _remedy(response: Response, case: Case) -> str:
    if response.status != HTTPStatus.UNAUTHORIZED or case.remedy:
        return case.remedy
    return "Check that DATAVERSE_TENANT_ID is the organization's tenant and DATAVERSE_URL its address."


def _throttled(response: Response, body: ErrorBody, facet: str, subject: str) -> Throttled:
    told_wait = retry_after(response)
    wait = _DEFAULT_WAIT if told_wait is None else told_wait
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
