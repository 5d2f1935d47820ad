"""The answers of planned failures and of limits, word for word where a wording is known."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from http import HTTPStatus

from connector.emulator.http.responses import html_response, json_response
from connector.emulator.limits.faults import Fault
from connector.emulator.limits.protection import Throttle
from connector.emulator.rules.rule import Refused, refuse
from connector.handler import Response

JSON_TYPE = ("Content-Type", "application/json; odata.metadata=minimal")

_FAILURES: Mapping[int, tuple[str, str]] = {
    500: ("0x80040216", "An unexpected error occurred."),
    503: ("0x8004a001", "The server is busy and the request was not completed. Try again later."),
}
_NAMES: Mapping[int, str] = {
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


def operation_refusal(fault: Fault, schema_name: str, record_id: str) -> Refused:
    """Return what an operation fault raises inside the operation."""
    values: Mapping[str, tuple[str, ...]] = {
        "lock_timeout": (schema_name, record_id),
        "plugin_abort": (fault.text,),
        "plugin_reverts_quote": (fault.text,),
    }
    name = "plugin" if fault.do in ("plugin_abort", "plugin_reverts_quote") else fault.do
    return refuse(f"fault.{name}", *values.get(fault.do, ()))


def throttled(verdict: Throttle) -> Response:
    """Return the 429 of a service protection limit."""
    return _error(
        HTTPStatus.TOO_MANY_REQUESTS, verdict.code, verdict.message, (("Retry-After", str(verdict.retry_after)),)
    )


def refused(error: Refused) -> Response:
    """Return the error answer of a refusal that comes before the Web API looks at the request."""
    return _error(error.status, error.code, error.message)


def failure(fault: Fault) -> Response:
    """Return the answer of a planned `status` fault (of a reset too, where the client does not see it)."""
    status, name = fault.status, _NAMES.get(fault.status, "Error")
    if fault.form == "html":
        page = (
            '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN""http://www.w3.org/TR/html4/strict.dtd">\r\n'
            f"<HTML><HEAD><TITLE>{name}</TITLE></HEAD>\r\n<BODY><h2>{name}</h2>\r\n<hr><p>HTTP Error {status}. The "
            "service is unavailable.</p>\r\n</BODY></HTML>\r\n"
        )
        return html_response(status, page)
    if fault.form == "empty":
        return Response(status)
    if fault.form == "message":
        return json_response(status, {"Message": "An error has occurred."})
    code, message = _FAILURES.get(status, _FAILURES[500])
    return _error(status, code, message)


def token_failure(fault: Fault) -> Response:
    """Return the answer of a planned failure of the identity provider."""
    if fault.do == "throttle":
        text = "AADSTS90055: The server is too busy. Try again later."
        body = {"error": "temporarily_unavailable", "error_description": text, "error_codes": [90055]}
        return json_response(
            HTTPStatus.TOO_MANY_REQUESTS, body, (("Retry-After", str(max(1, math.ceil(fault.seconds)))),)
        )
    if fault.form == "json" and fault.do == "status":
        text = "AADSTS90033: A transient error has occurred. Please try again."
        data = {"error": "temporarily_unavailable", "error_description": text, "error_codes": [90033]}
        return json_response(fault.status, data)
    return failure(fault)


def _error(status: int, code: str, message: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    body = json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False).encode()
    return Response(status, (JSON_TYPE, ("OData-Version", "4.0"), *headers), body)
